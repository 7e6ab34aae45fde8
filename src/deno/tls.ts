/**
 * TLS options for Deno's own TLS (rustls): what it can honour, read and checked when a context is
 * created.
 * @module
 */
import { getBuiltinModule } from "node:process";
import { notSupported } from "../errors.ts";
import type { TlsOptions } from "../tls_options.ts";
import { readPems } from "../pem.ts";

/**
 * What a context's TLS options became: PEM in memory, ready for listenTls(), startTls() and
 * connectTls().
 */
export interface DenoTls {
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly caCerts: string[];
  readonly alpnProtocols: string[] | undefined;
  readonly serverName: string | undefined;
  /** A client has no use for it, and a server cannot honour it: see {@linkcode checkServer}. */
  readonly requestCert: boolean;
}

/** Options of libssl that Deno has no counterpart for. */
const UNSUPPORTED = [
  "dhParamsFile",
  "ciphers",
  "ciphersuites",
  "preferLowMemory",
  "ktls",
] as const;

/** Reads and checks the options; see SocketContext.secureContext. */
export function createDenoTls(options: TlsOptions): DenoTls {
  refuseUnsupported(options);
  const { cert, key, ca } = readPems(options);
  if (ca !== undefined) checkCertificates(`CA certificates ${options.caFile ?? ""}`, ca);
  return {
    cert,
    key: cert === undefined || key === undefined ? undefined : checkKey(cert, key, options),
    caCerts: ca === undefined ? [] : [ca],
    alpnProtocols: options.alpnProtocols,
    serverName: options.serverName,
    requestCert: options.requestCert === true,
  };
}

/** Throws where a server would let in clients that it is to verify. */
export function checkServer(tls: DenoTls): void {
  if (tls.requestCert) refuse('the TLS option "requestCert"');
}

/** Throws NotSupported for what another backend can do. */
export function refuse(what: string): never {
  throw notSupported(what, "deno", "the epoll backend does");
}

function refuseUnsupported(options: TlsOptions): void {
  for (const name of UNSUPPORTED) {
    if (options[name] !== undefined && options[name] !== false) {
      refuse(`the TLS option "${name}"`);
    }
  }
  const { rejectUnauthorized, minVersion = "TLSv1.2", maxVersion = "TLSv1.3" } = options;
  if (rejectUnauthorized === false) refuse('the TLS option "rejectUnauthorized: false"');
  if (options.sessionTickets === false) refuse('the TLS option "sessionTickets: false"');
  // rustls speaks these two and can be told nothing else.
  if (minVersion !== "TLSv1.2") refuse(`the TLS option "minVersion: ${minVersion}"`);
  if (maxVersion !== "TLSv1.3") refuse(`the TLS option "maxVersion: ${maxVersion}"`);
}

/**
 * Checks the certificate chain and its key against each other; returns the key as rustls reads it.
 */
function checkKey(cert: string, key: string, options: TlsOptions): string {
  const [certificate] = checkCertificates(`certificate ${options.certFile ?? ""}`, cert);
  const isEncrypted = /BEGIN ENCRYPTED PRIVATE KEY|Proc-Type: 4,ENCRYPTED/.test(key);
  const why = options.passphrase === undefined ? "it needs a passphrase" : "wrong passphrase";
  const privateKey = attempt(
    `private key ${options.keyFile ?? ""}`,
    () => crypto().createPrivateKey({ key, passphrase: options.passphrase }),
    isEncrypted ? why : undefined,
  );
  if (!certificate.checkPrivateKey(privateKey)) {
    throw new Deno.errors.InvalidData(
      "Cannot create a TLS context: the private key is not the certificate's",
    );
  }
  // rustls reads no encrypted keys, so decrypt it here; PKCS#8 is what every version of it takes.
  return isEncrypted ? privateKey.export({ type: "pkcs8", format: "pem" }) as string : key;
}

/**
 * Parses every certificate of the text: rustls would skip what it cannot read, or tell much later.
 */
function checkCertificates(what: string, text: string) {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/g) ?? [""];
  return blocks.map((block) => attempt(what, () => new (crypto().X509Certificate)(block)));
}

/** Only loops with TLS pay for loading it. */
function crypto() {
  return getBuiltinModule("node:crypto");
}

/** Runs what parses PEM; what it throws becomes InvalidData with the thing's name. */
function attempt<T>(what: string, parse: () => T, why?: string): T {
  try {
    return parse();
  } catch (error) {
    const cause = error as Error;
    throw new Deno.errors.InvalidData(
      `Cannot read the ${what.trimEnd()}: ${why ?? `no valid PEM (${cause.message})`}`,
      { cause },
    );
  }
}
