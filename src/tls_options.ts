/**
 * The options of TLS, their validation, and what a handshake tells.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { checkNames, checkNumber, quote } from "./options.ts";

/** TLS of a context; the names are µSockets' own, and PEM text in memory beside them. */
export interface TlsOptions {
  /** Path of the certificate chain, PEM. */
  certFile?: string;
  /** Path of the private key, PEM. */
  keyFile?: string;
  /** Decrypts the private key. */
  passphrase?: string;
  /** Path of Diffie-Hellman parameters, PEM. */
  dhParamsFile?: string;
  /** Path of the certificates to trust, PEM. */
  caFile?: string;
  /** OpenSSL cipher list for TLS 1.2 and below. */
  ciphers?: string;
  /** Free the buffers of idle connections. */
  preferLowMemory?: boolean;
  /** The certificate chain, PEM. */
  cert?: string;
  /** The private key, PEM. */
  key?: string;
  /** The certificates to trust, PEM. */
  ca?: string;
  /**
   * Protocols to offer or accept, in order of preference, such as `["h2", "http/1.1"]`. A peer that
   * offers none is let in; `onHandshake` tells.
   */
  alpnProtocols?: string[];
  /** The lowest version to speak. @default {"TLSv1.2"} */
  minVersion?: TlsVersion;
  /** The highest version to speak. @default {"TLSv1.3"} */
  maxVersion?: TlsVersion;
  /** Cipher suites of TLS 1.3. */
  ciphersuites?: string;
  /** Ask clients for a certificate. */
  requestCert?: boolean;
  /** Refuse peers whose certificate does not verify. @default {true} */
  rejectUnauthorized?: boolean;
  /** The name a server must prove. @default {the host connected to} */
  serverName?: string;
  /** How long a handshake may take. @default {10} */
  handshakeTimeoutSeconds?: number;
  /**
   * Let a client come back without a whole handshake: a server hands out session tickets, a client
   * resumes what it agreed on with a server last. @default {true}
   */
  sessionTickets?: boolean;
  /**
   * Let the kernel encrypt what is sent, where it can (Linux with its `tls` module): `socket.tls.ktls`
   * tells. Elsewhere this changes nothing. The kernel cannot change keys: with TLS 1.3, a peer that
   * asks for new ones (KeyUpdate, which is rare) ends the connection.
   */
  ktls?: boolean;
}

/** A version of TLS. */
export type TlsVersion = "TLSv1" | "TLSv1.1" | "TLSv1.2" | "TLSv1.3";

/**
 * What a TLS handshake agreed on. What a backend cannot learn is `undefined`: see docs/backends.md.
 */
export interface TlsInfo {
  /** The protocol agreed on by ALPN, or null. */
  readonly alpnProtocol: string | null;
  /** The server name that was asked for. */
  readonly serverName?: string;
  /** The protocol version, such as `"TLSv1.3"`. */
  readonly protocol?: string;
  /** The cipher suite's name, such as `"TLS_AES_256_GCM_SHA384"`. */
  readonly cipher?: string;
  /** Whether an earlier session was resumed. */
  readonly resumed?: boolean;
  /** Whether the peer proved who it is: false without a certificate, and for one that fails. */
  readonly authorized?: boolean;
  /**
   * What is wrong with the peer's certificate, such as `"CERT_HAS_EXPIRED"`, the last of several: the
   * names are those of OpenSSL and Node. Null when nothing is, and without a certificate. Only with
   * `rejectUnauthorized: false` can it be anything else.
   */
  readonly authorizationError?: string | null;
  /**
   * The peer's certificate, with `subject`, `issuer`, `subjectAltName`, `validTo`,
   * `fingerprint256`, `raw` (DER) and `toString()` (PEM); null when it showed none.
   */
  readonly peerCertificate?: X509Certificate | null;
  /** Whether the kernel encrypts what is sent. */
  readonly ktls?: boolean;
}

const TLS_NAMES =
  ("certFile keyFile passphrase dhParamsFile caFile ciphers preferLowMemory cert key ca " +
    "alpnProtocols minVersion maxVersion ciphersuites requestCert rejectUnauthorized serverName " +
    "handshakeTimeoutSeconds sessionTickets ktls").split(" ");
const STRING_NAMES = [
  "certFile",
  "keyFile",
  "caFile",
  "dhParamsFile",
  "passphrase",
  "ciphers",
  "ciphersuites",
] as const;
const TLS_VERSIONS = ["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"];

/** Throws for TLS options that make no sense on any backend. @internal */
export function checkTlsOptions(options: TlsOptions): void {
  const what = "create a TLS context";
  checkNames(what, options, TLS_NAMES);
  checkNumber(what, "handshakeTimeoutSeconds", options.handshakeTimeoutSeconds, 0);
  for (const name of ["minVersion", "maxVersion"] as const) {
    const version = options[name];
    if (version !== undefined && !TLS_VERSIONS.includes(version)) {
      throw new TypeError(
        `Cannot ${what}: "${name}" must be one of ${TLS_VERSIONS.join(", ")}, not ${
          quote(version)
        }`,
      );
    }
  }
  const pems = { cert: "certificate", key: "private key", ca: "CA certificates" } as const;
  for (const name of ["cert", "key", "ca"] as const) {
    const text = options[name];
    if (text === undefined || (typeof text === "string" && text.includes("-----BEGIN "))) continue;
    throw new Deno.errors.InvalidData(
      `Cannot read the ${pems[name]}: "${name}" must be PEM text; "${name}File" takes a path`,
    );
  }
  const { alpnProtocols } = options;
  if (alpnProtocols !== undefined && !Array.isArray(alpnProtocols)) {
    throw new TypeError(
      `Cannot ${what}: "alpnProtocols" must be an array, not ${quote(alpnProtocols)}`,
    );
  }
  for (const protocol of alpnProtocols ?? []) {
    const bytes = new TextEncoder().encode(protocol).length;
    if (typeof protocol === "string" && bytes > 0 && bytes < 256) continue;
    throw new TypeError(
      `Cannot ${what}: an ALPN protocol has 1 to 255 bytes, unlike ${JSON.stringify(protocol)}`,
    );
  }
  if (options.serverName !== undefined) checkServerName(what, "serverName", options.serverName);
  for (const name of STRING_NAMES) {
    const value = options[name];
    if (value === undefined || (typeof value === "string" && !value.includes("\0"))) continue;
    const unlike = name === "passphrase" ? "" : `, unlike ${quote(value)}`; // a secret is not told
    throw new TypeError(`Cannot ${what}: "${name}" must be a string without a NUL${unlike}`);
  }
}

/** Throws for what is no server name, nor a pattern of one. @internal */
export function checkServerName(what: string, option: string, name: unknown): void {
  // OpenSSL would take a leading dot for "any name below".
  if (typeof name === "string" && name !== "" && !/^\.|[\0\s]/.test(name)) return;
  throw new TypeError(`Cannot ${what}: "${option}" must be a server name, not ${quote(name)}`);
}

/** What says who a server is, and no more. */
const IDENTITY = ["certFile", "keyFile", "passphrase", "cert", "key", "serverName"] as const;

/**
 * The options of one more server name: its own, and what they do not say as its context has it.
 * Whoever demands client certificates does so for each name, unless it is told otherwise.
 *
 * @internal
 */
export function namedTlsOptions(own: TlsOptions, ofContext: TlsOptions): TlsOptions {
  const options = { ...ofContext };
  for (const name of IDENTITY) delete options[name];
  if ((own.ca ?? own.caFile) !== undefined) {
    delete options.ca;
    delete options.caFile;
  }
  return Object.assign(options, copyTlsOptions(own));
}

/**
 * What is said, in an object of its own. Also what a prototype says: whoever reads an option sees
 * that, so a copy must not do without it.
 *
 * @internal
 */
export function copyTlsOptions(options: TlsOptions): TlsOptions {
  const said = TLS_NAMES.map((name) => [name, options[name as keyof TlsOptions]]);
  return Object.fromEntries(said.filter(([, value]) => value !== undefined));
}
