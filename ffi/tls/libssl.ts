/**
 * OpenSSL: one table of symbols of libssl and of libcrypto, which comes with it, opened at the first
 * need.
 * @module
 */

/** What is called of OpenSSL; the C prototypes stand beside. Sizes are `i32`, for fast calls. */
export const SYMBOLS = {
  // int OPENSSL_init_ssl(uint64_t opts, const OPENSSL_INIT_SETTINGS *settings)
  OPENSSL_init_ssl: { parameters: ["u64", "pointer"], result: "i32" },

  // unsigned long ERR_get_error(void)
  ERR_get_error: { parameters: [], result: "u64" },
  // void ERR_clear_error(void)
  ERR_clear_error: { parameters: [], result: "void" },
  // const char *ERR_reason_error_string(unsigned long e)
  ERR_reason_error_string: { parameters: ["u64"], result: "pointer" },

  // const BIO_METHOD *BIO_s_mem(void)
  BIO_s_mem: { parameters: [], result: "pointer" },
  // BIO *BIO_new(const BIO_METHOD *type)
  BIO_new: { parameters: ["pointer"], result: "pointer" },
  // BIO *BIO_new_mem_buf(const void *buf, int len)
  BIO_new_mem_buf: { parameters: ["buffer", "i32"], result: "pointer" },
  // BIO *BIO_new_socket(int sock, int close_flag)
  BIO_new_socket: { parameters: ["i32", "i32"], result: "pointer" },
  // int BIO_up_ref(BIO *a)
  BIO_up_ref: { parameters: ["pointer"], result: "i32" },
  // int BIO_free(BIO *a)
  BIO_free: { parameters: ["pointer"], result: "i32" },
  // int BIO_read(BIO *b, void *data, int dlen)
  BIO_read: { parameters: ["pointer", "buffer", "i32"], result: "i32" },
  // int BIO_write(BIO *b, const void *data, int dlen)
  BIO_write: { parameters: ["pointer", "buffer", "i32"], result: "i32" },
  // size_t BIO_ctrl_pending(BIO *b)
  BIO_ctrl_pending: { parameters: ["pointer"], result: "i32" },
  // long BIO_ctrl(BIO *bp, int cmd, long larg, void *parg)
  BIO_ctrl: { parameters: ["pointer", "i32", "i64", "pointer"], result: "i32" },

  // X509 *PEM_read_bio_X509(BIO *bp, X509 **x, pem_password_cb *cb, void *u)
  PEM_read_bio_X509: { parameters: ["pointer", "pointer", "pointer", "buffer"], result: "pointer" },
  // EVP_PKEY *PEM_read_bio_PrivateKey(BIO *bp, EVP_PKEY **x, pem_password_cb *cb, void *u)
  PEM_read_bio_PrivateKey: {
    parameters: ["pointer", "pointer", "pointer", "buffer"],
    result: "pointer",
  },
  // DH *PEM_read_bio_DHparams(BIO *bp, DH **x, pem_password_cb *cb, void *u)
  PEM_read_bio_DHparams: {
    parameters: ["pointer", "pointer", "pointer", "buffer"],
    result: "pointer",
  },
  // void DH_free(DH *r)
  DH_free: { parameters: ["pointer"], result: "void" },
  // void EVP_PKEY_free(EVP_PKEY *key)
  EVP_PKEY_free: { parameters: ["pointer"], result: "void" },
  // void X509_free(X509 *a)
  X509_free: { parameters: ["pointer"], result: "void" },
  // int X509_check_issued(X509 *issuer, X509 *subject)
  X509_check_issued: { parameters: ["pointer", "pointer"], result: "i32" },
  // int X509_check_private_key(const X509 *x, const EVP_PKEY *k)
  X509_check_private_key: { parameters: ["pointer", "pointer"], result: "i32" },
  // const char *X509_verify_cert_error_string(long n)
  X509_verify_cert_error_string: { parameters: ["i64"], result: "pointer" },
  // int X509_STORE_add_cert(X509_STORE *ctx, X509 *x)
  X509_STORE_add_cert: { parameters: ["pointer", "pointer"], result: "i32" },
  // int i2d_X509_bio(BIO *bp, X509 *x509)
  i2d_X509_bio: { parameters: ["pointer", "pointer"], result: "i32" },
  // int X509_VERIFY_PARAM_set1_ip_asc(X509_VERIFY_PARAM *param, const char *ipasc)
  X509_VERIFY_PARAM_set1_ip_asc: { parameters: ["pointer", "buffer"], result: "i32" },

  // const SSL_METHOD *TLS_method(void)
  TLS_method: { parameters: [], result: "pointer" },
  // SSL_CTX *SSL_CTX_new(const SSL_METHOD *method)
  SSL_CTX_new: { parameters: ["pointer"], result: "pointer" },
  // void SSL_CTX_free(SSL_CTX *ctx)
  SSL_CTX_free: { parameters: ["pointer"], result: "void" },
  // long SSL_CTX_ctrl(SSL_CTX *ctx, int cmd, long larg, void *parg)
  SSL_CTX_ctrl: { parameters: ["pointer", "i32", "i64", "pointer"], result: "i32" },
  // uint64_t SSL_CTX_set_options(SSL_CTX *ctx, uint64_t options)
  SSL_CTX_set_options: { parameters: ["pointer", "u64"], result: "u64" },
  // int SSL_CTX_set_cipher_list(SSL_CTX *ctx, const char *str)
  SSL_CTX_set_cipher_list: { parameters: ["pointer", "buffer"], result: "i32" },
  // int SSL_CTX_set_ciphersuites(SSL_CTX *ctx, const char *str)
  SSL_CTX_set_ciphersuites: { parameters: ["pointer", "buffer"], result: "i32" },
  // int SSL_CTX_use_certificate(SSL_CTX *ctx, X509 *x)
  SSL_CTX_use_certificate: { parameters: ["pointer", "pointer"], result: "i32" },
  // int SSL_CTX_use_PrivateKey(SSL_CTX *ctx, EVP_PKEY *pkey)
  SSL_CTX_use_PrivateKey: { parameters: ["pointer", "pointer"], result: "i32" },
  // X509_STORE *SSL_CTX_get_cert_store(const SSL_CTX *ctx)
  SSL_CTX_get_cert_store: { parameters: ["pointer"], result: "pointer" },
  // int SSL_CTX_set_default_verify_paths(SSL_CTX *ctx)
  SSL_CTX_set_default_verify_paths: { parameters: ["pointer"], result: "i32" },
  // int SSL_CTX_add_client_CA(SSL_CTX *ctx, X509 *cacert)
  SSL_CTX_add_client_CA: { parameters: ["pointer", "pointer"], result: "i32" },
  // void SSL_CTX_set_verify(SSL_CTX *ctx, int mode, SSL_verify_cb callback)
  SSL_CTX_set_verify: { parameters: ["pointer", "i32", "pointer"], result: "void" },
  // int SSL_CTX_set_session_id_context(SSL_CTX *ctx, const unsigned char *id, unsigned int len)
  SSL_CTX_set_session_id_context: { parameters: ["pointer", "buffer", "u32"], result: "i32" },
  // int SSL_CTX_set_num_tickets(SSL_CTX *ctx, size_t num_tickets)
  SSL_CTX_set_num_tickets: { parameters: ["pointer", "u64"], result: "i32" },
  // int SSL_CTX_set_alpn_protos(SSL_CTX *ctx, const unsigned char *protos, unsigned int len)
  SSL_CTX_set_alpn_protos: { parameters: ["pointer", "buffer", "u32"], result: "i32" },
  // void SSL_CTX_set_alpn_select_cb(SSL_CTX *ctx, SSL_CTX_alpn_select_cb_func cb, void *arg)
  SSL_CTX_set_alpn_select_cb: { parameters: ["pointer", "pointer", "pointer"], result: "void" },

  // SSL *SSL_new(SSL_CTX *ctx)
  SSL_new: { parameters: ["pointer"], result: "pointer" },
  // void SSL_free(SSL *ssl)
  SSL_free: { parameters: ["pointer"], result: "void" },
  // void SSL_set_bio(SSL *ssl, BIO *rbio, BIO *wbio)
  SSL_set_bio: { parameters: ["pointer", "pointer", "pointer"], result: "void" },
  // void SSL_set0_wbio(SSL *s, BIO *wbio)
  SSL_set0_wbio: { parameters: ["pointer", "pointer"], result: "void" },
  // BIO *SSL_get_wbio(const SSL *ssl)
  SSL_get_wbio: { parameters: ["pointer"], result: "pointer" },
  // void SSL_set_accept_state(SSL *ssl)
  SSL_set_accept_state: { parameters: ["pointer"], result: "void" },
  // void SSL_set_connect_state(SSL *ssl)
  SSL_set_connect_state: { parameters: ["pointer"], result: "void" },
  // long SSL_ctrl(SSL *ssl, int cmd, long larg, void *parg)
  SSL_ctrl: { parameters: ["pointer", "i32", "i64", "buffer"], result: "i32" },
  // void SSL_set_verify(SSL *s, int mode, SSL_verify_cb callback)
  SSL_set_verify: { parameters: ["pointer", "i32", "pointer"], result: "void" },
  // int SSL_set1_host(SSL *s, const char *hostname)
  SSL_set1_host: { parameters: ["pointer", "buffer"], result: "i32" },
  // void SSL_set_hostflags(SSL *s, unsigned int flags)
  SSL_set_hostflags: { parameters: ["pointer", "u32"], result: "void" },
  // X509_VERIFY_PARAM *SSL_get0_param(SSL *ssl)
  SSL_get0_param: { parameters: ["pointer"], result: "pointer" },
  // int SSL_do_handshake(SSL *ssl)
  SSL_do_handshake: { parameters: ["pointer"], result: "i32" },
  // int SSL_read(SSL *ssl, void *buf, int num)
  SSL_read: { parameters: ["pointer", "buffer", "i32"], result: "i32" },
  // int SSL_write(SSL *ssl, const void *buf, int num)
  SSL_write: { parameters: ["pointer", "buffer", "i32"], result: "i32" },
  // int SSL_shutdown(SSL *ssl)
  SSL_shutdown: { parameters: ["pointer"], result: "i32" },
  // void SSL_set_shutdown(SSL *ssl, int mode)
  SSL_set_shutdown: { parameters: ["pointer", "i32"], result: "void" },
  // int SSL_get_error(const SSL *ssl, int ret)
  SSL_get_error: { parameters: ["pointer", "i32"], result: "i32" },
  // int SSL_in_init(const SSL *s)
  SSL_in_init: { parameters: ["pointer"], result: "i32" },

  // const char *SSL_get_version(const SSL *ssl)
  SSL_get_version: { parameters: ["pointer"], result: "pointer" },
  // const SSL_CIPHER *SSL_get_current_cipher(const SSL *ssl)
  SSL_get_current_cipher: { parameters: ["pointer"], result: "pointer" },
  // const char *SSL_CIPHER_get_name(const SSL_CIPHER *cipher)
  SSL_CIPHER_get_name: { parameters: ["pointer"], result: "pointer" },
  // const char *SSL_get_servername(const SSL *s, int type)
  SSL_get_servername: { parameters: ["pointer", "i32"], result: "pointer" },
  // void SSL_get0_alpn_selected(const SSL *ssl, const unsigned char **data, unsigned int *len)
  SSL_get0_alpn_selected: { parameters: ["pointer", "buffer", "buffer"], result: "void" },
  // int SSL_session_reused(const SSL *ssl)
  SSL_session_reused: { parameters: ["pointer"], result: "i32" },
  // long SSL_get_verify_result(const SSL *ssl)
  SSL_get_verify_result: { parameters: ["pointer"], result: "i32" },
  // X509 *SSL_get1_peer_certificate(const SSL *ssl), as OpenSSL 3 calls it
  SSL_get1_peer_certificate: { parameters: ["pointer"], result: "pointer", optional: true },
  // the same in OpenSSL 1.1
  SSL_get_peer_certificate: { parameters: ["pointer"], result: "pointer", optional: true },

  // SSL_SESSION *SSL_get1_session(SSL *ssl)
  SSL_get1_session: { parameters: ["pointer"], result: "pointer" },
  // int SSL_set_session(SSL *ssl, SSL_SESSION *session)
  SSL_set_session: { parameters: ["pointer", "pointer"], result: "i32" },
  // int SSL_SESSION_is_resumable(const SSL_SESSION *s)
  SSL_SESSION_is_resumable: { parameters: ["pointer"], result: "i32" },
  // void SSL_SESSION_free(SSL_SESSION *session)
  SSL_SESSION_free: { parameters: ["pointer"], result: "void" },
} as const satisfies Deno.ForeignLibraryInterface;

/** The functions of OpenSSL; tests put others in their place, that count or fail. */
export type Libssl = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** An SSL, an SSL_CTX, a BIO, …: something of OpenSSL's. */
export type Handle = Deno.PointerObject;

/** OpenSSL 3, and 1.1 where only that is there. */
const NAMES = ["libssl.so.3", "libssl.so.1.1"];

/**
 * Not to tear everything down when the process exits, since other threads may still be at it then.
 */
const OPENSSL_INIT_NO_ATEXIT = 0x0008_0000n;

let opened: Libssl | undefined;

/**
 * The functions of OpenSSL, opened once per thread.
 *
 * @throws {Deno.errors.NotSupported} Where there is no OpenSSL 3 or 1.1.1.
 */
export function openLibssl(): Libssl {
  return opened ??= open();
}

/** Puts other functions in the place of OpenSSL's, for contexts made from here on. For tests. */
export function replaceLibssl(libssl: Libssl | undefined): void {
  opened = libssl;
}

function open(): Libssl {
  const reasons: string[] = [];
  for (const name of NAMES) {
    try {
      const { symbols } = Deno.dlopen(name, SYMBOLS);
      symbols.OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, null);
      return symbols;
    } catch (error) {
      if (error instanceof Deno.errors.NotCapable) throw error;
      reasons.push((error as Error).message);
    }
  }
  throw new Deno.errors.NotSupported(
    `Cannot use TLS on the epoll backend: it needs OpenSSL 3 or 1.1.1 (${reasons.join("; ")})`,
  );
}
