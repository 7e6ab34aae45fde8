/** What OpenSSL makes of a ClientHello, by itself. */
import { TLSEXT_NAMETYPE_HOST_NAME } from "../../../ffi/tls/constants.ts";
import { takeReason } from "../../../ffi/tls/errors.ts";
import { openLibssl } from "../../../ffi/tls/libssl.ts";
import { SecureContext } from "../../../ffi/tls/secure_context.ts";
import { readCString } from "../../../ffi/tls/strings.ts";
import type { CertifiedKey } from "../../support/certificates.ts";

const HANDSHAKE = 22;

/** A server that answers ClientHellos, and goes no further. */
export class HelloJudge implements Disposable {
  readonly #libssl = openLibssl();
  readonly #secure: SecureContext;

  constructor(certificate: CertifiedKey) {
    this.#secure = new SecureContext(this.#libssl, { ...certificate });
  }

  /** The server name that it finds, `""` for none; null where it does not answer with a ServerHello. */
  serverNameIn(bytes: Uint8Array): string | null {
    const libssl = this.#libssl;
    const ssl = libssl.SSL_new(this.#secure.handle)!;
    const incoming = libssl.BIO_new(libssl.BIO_s_mem())!;
    const outgoing = libssl.BIO_new(libssl.BIO_s_mem())!;
    libssl.SSL_set_bio(ssl, incoming, outgoing);
    libssl.SSL_set_accept_state(ssl);
    try {
      const copy = bytes.slice();
      if (copy.length > 0) libssl.BIO_write(incoming, copy, copy.length);
      libssl.SSL_do_handshake(ssl);
      const answer = new Uint8Array(1);
      const hasAnswered = libssl.BIO_ctrl_pending(outgoing) > 0 &&
        libssl.BIO_read(outgoing, answer, 1) === 1 && answer[0] === HANDSHAKE;
      takeReason(libssl); // of what may follow the ClientHello
      if (!hasAnswered) return null;
      const name = libssl.SSL_get_servername(ssl, TLSEXT_NAMETYPE_HOST_NAME);
      return name === null ? "" : readCString(name);
    } finally {
      libssl.SSL_free(ssl);
    }
  }

  [Symbol.dispose](): void {
    this.#secure.release();
  }
}
