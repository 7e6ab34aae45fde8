/**
 * What a context's TLS options become: an SSL_CTX, and the server names below it.
 * @module
 */
import { copyTlsOptions, type TlsOptions } from "../../src/tls_options.ts";
import { readPems } from "../../src/pem.ts";
import { alpnSelector, encodeProtocols, verifyAllCallback } from "./callbacks.ts";
import {
  SSL_CTRL_MODE,
  SSL_CTRL_SET_MAX_PROTO_VERSION,
  SSL_CTRL_SET_MIN_PROTO_VERSION,
  SSL_CTRL_SET_SESS_CACHE_MODE,
  SSL_MODE_RELEASE_BUFFERS,
  SSL_OP_CIPHER_SERVER_PREFERENCE,
  SSL_OP_ENABLE_KTLS,
  SSL_OP_NO_RENEGOTIATION,
  SSL_OP_NO_TICKET,
  SSL_OP_PRIORITIZE_CHACHA,
  SSL_SESS_CACHE_OFF,
  SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
  SSL_VERIFY_NONE,
  SSL_VERIFY_PEER,
  TLS_VERSIONS,
} from "./constants.ts";
import { useCertificate, useDhParams, useTrusted } from "./credentials.ts";
import { opensslError } from "./errors.ts";
import type { Handle, Libssl } from "./libssl.ts";
import { ServerNames } from "./server_names.ts";
import { Sessions } from "./sessions.ts";
import { cString } from "./strings.ts";

const WHAT = "Cannot create a TLS context";

/**
 * For TLS 1.2: those with forward secrecy and authenticated encryption, as rustls has them and as
 * Mozilla's "intermediate" recommends. The last two need `dhParamsFile`.
 */
const CIPHERS = [
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
  "DHE-RSA-AES128-GCM-SHA256",
  "DHE-RSA-AES256-GCM-SHA384",
].join(":");

/** Who asks for TLS 1.0 or 1.1 gets what those can do, SHA-1 and CBC: nothing less works. */
const OLD_CIPHERS = "DEFAULT@SECLEVEL=0";

/** What a server name stands for. */
export interface NamedContext {
  readonly secure: SecureContext;
  readonly userData: unknown;
}

/** An SSL_CTX with what the library has to know beside. */
export class SecureContext {
  readonly libssl: Libssl;
  readonly handle: Handle;
  /** What it was made of, but for its key: for names that are added. */
  readonly options: TlsOptions;
  readonly names = new ServerNames<NamedContext>();
  /** Of a client, to be resumed. */
  readonly sessions: Sessions;
  /** Whether it can serve. */
  readonly hasCertificate: boolean;
  /** What a client's server must prove unless connect() says otherwise. */
  readonly serverName: string | undefined;
  /** What SSL_set_verify() is told for a client. */
  readonly clientVerifyMode: number;
  readonly wantsKtls: boolean;
  #freeAlpn: (() => void) | null = null;
  /** Whether certificates to trust were loaded. */
  #hasTrust = false;
  /** Contexts, names and sockets that need it. */
  #users = 1;

  /**
   * @throws {TypeError} For options that contradict each other.
   * @throws {Deno.errors.InvalidData} For what OpenSSL refuses, with its reason.
   */
  constructor(libssl: Libssl, options: TlsOptions) {
    const { cert, key, ca } = readPems(options);
    this.libssl = libssl;
    this.options = { ...copyTlsOptions(options), key: undefined, passphrase: undefined };
    this.hasCertificate = cert !== undefined;
    this.serverName = options.serverName;
    const rejects = options.rejectUnauthorized !== false;
    this.clientVerifyMode = rejects ? SSL_VERIFY_PEER : SSL_VERIFY_NONE;
    this.wantsKtls = options.ktls === true;
    this.sessions = new Sessions(libssl, options.sessionTickets !== false);
    libssl.ERR_clear_error();
    const handle = libssl.SSL_CTX_new(libssl.TLS_method());
    if (handle === null) throw opensslError(libssl, WHAT);
    this.handle = handle;
    try {
      this.#setModes(options);
      this.#setVersionsAndCiphers(options);
      if (cert !== undefined) {
        useCertificate(libssl, handle, cert, key!, options);
      }
      if (options.dhParamsFile !== undefined) useDhParams(libssl, handle, options.dhParamsFile);
      if (ca !== undefined) {
        useTrusted(libssl, handle, ca, options.caFile);
        this.#hasTrust = true;
      }
      if (options.requestCert) this.#requestCertificates(rejects);
      if (options.alpnProtocols?.length) this.#setProtocols(options.alpnProtocols);
    } catch (error) {
      this.release();
      throw error;
    }
  }

  /** One more user. */
  retain(): this {
    this.#users++;
    return this;
  }

  /** One user less; connections that are open live on, OpenSSL counts them. */
  release(): void {
    if (--this.#users > 0) return;
    for (const { secure } of this.names.values()) secure.release();
    this.sessions.free();
    this.#freeAlpn?.();
    this.libssl.SSL_CTX_free(this.handle);
  }

  /** Loads the system's trust store, at the first need, unless there is `ca`. */
  loadTrust(): void {
    if (this.#hasTrust) return;
    this.#hasTrust = true;
    this.libssl.SSL_CTX_set_default_verify_paths(this.handle);
    this.libssl.ERR_clear_error(); // a file or a directory of it may be missing
  }

  #setModes(options: TlsOptions): void {
    const { libssl, handle } = this;
    // Sessions live in tickets with the clients: a cache here would grow by what clients send.
    libssl.SSL_CTX_ctrl(handle, SSL_CTRL_SET_SESS_CACHE_MODE, BigInt(SSL_SESS_CACHE_OFF), null);
    const name = cString("usockets");
    libssl.SSL_CTX_set_session_id_context(handle, name, name.length - 1);
    if (options.preferLowMemory) {
      libssl.SSL_CTX_ctrl(handle, SSL_CTRL_MODE, BigInt(SSL_MODE_RELEASE_BUFFERS), null);
    }
    let flags = SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
      SSL_OP_PRIORITIZE_CHACHA;
    if (options.ktls) flags |= SSL_OP_ENABLE_KTLS;
    if (options.sessionTickets === false) {
      flags |= SSL_OP_NO_TICKET;
      libssl.SSL_CTX_set_num_tickets(handle, 0n);
    }
    libssl.SSL_CTX_set_options(handle, flags);
  }

  #setVersionsAndCiphers(options: TlsOptions): void {
    const { libssl, handle } = this;
    const { minVersion = "TLSv1.2", maxVersion = "TLSv1.3" } = options;
    if (TLS_VERSIONS[minVersion] > TLS_VERSIONS[maxVersion]) {
      throw new RangeError(
        `${WHAT}: "minVersion" ${minVersion} is higher than "maxVersion" ${maxVersion}`,
      );
    }
    const set = (control: number, version: bigint) =>
      this.#check(libssl.SSL_CTX_ctrl(handle, control, version, null), "the TLS versions");
    set(SSL_CTRL_SET_MIN_PROTO_VERSION, TLS_VERSIONS[minVersion]);
    set(SSL_CTRL_SET_MAX_PROTO_VERSION, TLS_VERSIONS[maxVersion]);
    const isOld = TLS_VERSIONS[minVersion] < TLS_VERSIONS["TLSv1.2"];
    const ciphers = options.ciphers ?? (isOld ? OLD_CIPHERS : CIPHERS);
    this.#check(libssl.SSL_CTX_set_cipher_list(handle, cString(ciphers)), `"ciphers" "${ciphers}"`);
    const { ciphersuites } = options;
    if (ciphersuites === undefined) return;
    this.#check(
      libssl.SSL_CTX_set_ciphersuites(handle, cString(ciphersuites)),
      `"ciphersuites" "${ciphersuites}"`,
    );
  }

  #requestCertificates(rejects: boolean): void {
    const { libssl, handle } = this;
    this.loadTrust();
    const mode = rejects ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_PEER;
    libssl.SSL_CTX_set_verify(handle, mode, rejects ? null : verifyAllCallback());
  }

  #setProtocols(protocols: readonly string[]): void {
    const { libssl, handle } = this;
    const bytes = encodeProtocols(protocols);
    const failed = libssl.SSL_CTX_set_alpn_protos(handle, bytes, bytes.length); // 0 is success
    this.#check(failed === 0 ? 1 : 0, "the ALPN protocols");
    const { callback, argument, free } = alpnSelector(bytes);
    libssl.SSL_CTX_set_alpn_select_cb(handle, callback, argument);
    this.#freeAlpn = free;
  }

  #check(result: number, what: string): void {
    if (result <= 0) throw opensslError(this.libssl, `${WHAT}: cannot use ${what}`);
  }
}
