// deno-lint-ignore-file camelcase -- the names are those of OpenSSL
/**
 * OpenSSL without memory, now and then. What its manual pages call the result of a failure is given in
 * place of the call; what would have been made was not.
 */
import { randomOf } from "../../examples/support/hammer_plan.ts";
import { SSL_ERROR_SSL } from "../../ffi/tls/constants.ts";
import { type Libssl, SYMBOLS } from "../../ffi/tls/libssl.ts";

type Name = keyof Libssl;
type Call = (...args: unknown[]) => unknown;

/**
 * How a function says that it had no memory: by null, by a number, or as `"dead"`, where the whole SSL
 * is of no use any more: it says SSL_ERROR_SSL, as behind every call of SSLfatal() (ssl_local.h).
 * `undefined` is for those that need none, or cannot say so. The table has an entry for each symbol, or
 * it does not compile: who adds one decides here.
 */
export const FAILURES: Record<Name, null | 0 | 1 | "dead" | undefined> = {
  OPENSSL_init_ssl: undefined,
  ERR_get_error: undefined,
  ERR_clear_error: undefined,
  ERR_reason_error_string: undefined,
  BIO_s_mem: undefined,
  BIO_new: null,
  BIO_new_mem_buf: null,
  BIO_new_socket: null,
  BIO_up_ref: undefined,
  BIO_free: undefined,
  BIO_read: undefined,
  BIO_write: undefined, // what is written was read into before, and has room
  BIO_ctrl_pending: undefined,
  BIO_ctrl: undefined,
  PEM_read_bio_X509: null,
  PEM_read_bio_PrivateKey: null,
  PEM_read_bio_DHparams: null,
  DH_free: undefined,
  EVP_PKEY_free: undefined,
  X509_free: undefined,
  X509_check_issued: undefined,
  X509_check_private_key: undefined,
  X509_verify_cert_error_string: undefined,
  X509_STORE_add_cert: 0,
  i2d_X509_bio: 0,
  X509_VERIFY_PARAM_set1_ip_asc: undefined, // 0 is "no address", too
  TLS_method: undefined,
  SSL_CTX_new: null,
  SSL_CTX_free: undefined,
  SSL_CTX_ctrl: undefined, // the same for all that it does
  SSL_CTX_set_options: undefined,
  SSL_CTX_set_cipher_list: 0,
  SSL_CTX_set_ciphersuites: 0,
  SSL_CTX_use_certificate: 0,
  SSL_CTX_use_PrivateKey: 0,
  SSL_CTX_get_cert_store: undefined,
  SSL_CTX_set_default_verify_paths: undefined, // nothing depends on it here: tests have a CA
  SSL_CTX_add_client_CA: 0,
  SSL_CTX_set_verify: undefined,
  SSL_CTX_set_session_id_context: undefined,
  SSL_CTX_set_num_tickets: undefined,
  SSL_CTX_set_alpn_protos: 1,
  SSL_CTX_set_alpn_select_cb: undefined,
  SSL_new: null,
  SSL_free: undefined,
  SSL_set_bio: undefined,
  SSL_set0_wbio: undefined,
  SSL_get_wbio: undefined,
  SSL_set_accept_state: undefined,
  SSL_set_connect_state: undefined,
  SSL_ctrl: 0,
  SSL_set_verify: undefined,
  SSL_set1_host: 0,
  SSL_set_hostflags: undefined,
  SSL_get0_param: undefined,
  SSL_do_handshake: "dead",
  SSL_read: "dead",
  SSL_write: "dead",
  SSL_shutdown: "dead",
  SSL_set_shutdown: undefined,
  SSL_get_error: undefined,
  SSL_in_init: undefined,
  SSL_get_version: undefined,
  SSL_get_current_cipher: undefined,
  SSL_CIPHER_get_name: undefined,
  SSL_get_servername: undefined,
  SSL_get0_alpn_selected: undefined,
  SSL_session_reused: undefined,
  SSL_get_verify_result: undefined,
  SSL_get1_peer_certificate: undefined, // a reference more
  SSL_get_peer_certificate: undefined,
  SSL_get1_session: undefined,
  SSL_set_session: 0,
  SSL_SESSION_is_resumable: undefined,
  SSL_SESSION_free: undefined,
};

/** Functions of OpenSSL that lack memory. */
export class FaultyLibssl {
  readonly libssl: Libssl;
  /** The names of those that did. */
  readonly injected: Name[] = [];
  /** Nothing fails before. */
  isOn = false;
  /** By address: what is of no use any more. */
  readonly #dead = new Set<bigint>();

  /** @param rate How often a call fails, of 1. */
  constructor(real: Libssl, seed: number, rate: number) {
    const calls = { ...real } as unknown as Record<string, Call>;
    Object.keys(SYMBOLS).forEach((key, index) => {
      const name = key as Name;
      const failure = FAILURES[name];
      const call = calls[name];
      if (failure === undefined || !call) return; // this OpenSSL has it under another name
      const random = randomOf(seed, 1000 + index);
      calls[name] = (...args) => {
        if (failure === "dead" && this.#dead.has(addressOf(args[0]))) return -1;
        if (random(1_000_000) >= rate * 1_000_000 || !this.isOn) return call(...args);
        this.injected.push(name);
        if (failure !== "dead") return failure;
        this.#dead.add(addressOf(args[0]));
        return -1;
      };
    });
    const isDead = (ssl: unknown) => this.#dead.has(addressOf(ssl));
    const { SSL_get_error: getError, SSL_in_init: isInInit, SSL_free: free } = calls;
    calls.SSL_get_error = (ssl, result) => isDead(ssl) ? SSL_ERROR_SSL : getError(ssl, result);
    calls.SSL_in_init = (ssl) => isDead(ssl) ? 1 : isInInit(ssl);
    calls.SSL_free = (ssl) => {
      this.#dead.delete(addressOf(ssl));
      free(ssl);
    };
    this.libssl = calls as unknown as Libssl;
  }
}

function addressOf(handle: unknown): bigint {
  return Deno.UnsafePointer.value(handle as Deno.PointerValue);
}
