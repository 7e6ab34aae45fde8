/**
 * The TLS of one connection: an SSL that reads from and writes to memory. It knows nothing of
 * sockets' states or of descriptors: ciphertext comes in by {@linkcode TlsChannel.feed} and goes out
 * by its transport.
 *
 * libssl could own the descriptor (SSL_set_fd), which is two calls a request in place of five. But
 * there a write that has no room leaves an encrypted record behind that counts as not written, and
 * whether there is one cannot be asked. Here what is accepted is exact.
 * @module
 */
import { CHUNK_BYTES, type TlsBuffers } from "./buffers.ts";
import {
  BIO_CTRL_GET_KTLS_SEND,
  BIO_NOCLOSE,
  SSL_CTRL_SET_TLSEXT_HOSTNAME,
  SSL_ERROR_SSL,
  SSL_ERROR_WANT_READ,
  SSL_ERROR_WANT_WRITE,
  SSL_ERROR_ZERO_RETURN,
  SSL_RECEIVED_SHUTDOWN,
  SSL_SENT_SHUTDOWN,
  TLSEXT_NAMETYPE_HOST_NAME,
  X509_CHECK_FLAG_NEVER_CHECK_SUBJECT,
  X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
} from "./constants.ts";
import { handshakeCutShort, opensslError, tlsError } from "./errors.ts";
import { concat, memory } from "./memory.ts";
import type { Handle } from "./libssl.ts";
import type { SecureContext } from "./secure_context.ts";
import { cString, readCString } from "./strings.ts";

/** A name must be among the alternative names, and whole; RFC 9525 forbids the common name. */
const HOST_FLAGS = X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT;

/** What carries the ciphertext. */
export interface Transport {
  /** Sends the first bytes of a buffer; returns how many it took. */
  transmit(bytes: Uint8Array, length: number, more: boolean): number;
}

/** What a client expects of its server. */
export interface Expectations {
  /** The name or address that the server must prove; `""` for none. */
  readonly serverName: string;
  /** Under what its sessions are kept. */
  readonly sessionKey: string;
}

/** The TLS of one connection. */
export class TlsChannel {
  /** The handshake is done. */
  isEstablished = false;
  /** The peer sent close_notify. */
  isEnded = false;
  /** Why nothing works any more. */
  error: Error | null = null;
  /** The kernel encrypts: what is written goes to the transport as it is. */
  isOffloaded = false;
  /** Nothing can be sent before the rest of a message of TLS itself has come. */
  awaitsMore = false;
  /** Null when it is freed. */
  #ssl: Handle | null;
  readonly #buffers: TlsBuffers;
  readonly #transport: Transport;
  /** `""` for a server. */
  readonly #serverName: string;
  /** Ciphertext that the transport had no room for. */
  #output: Uint8Array | null = null;
  /** OpenSSL writes to the descriptor itself, and had no room. */
  #isBlocked = false;
  /** Ciphertext that OpenSSL did not get to, as it had no room to answer. */
  #unread: Uint8Array<ArrayBuffer> | null = null;

  /** @param expectations Of a client; null for a server. */
  constructor(
    buffers: TlsBuffers,
    secure: SecureContext,
    transport: Transport,
    fd: number,
    expectations: Expectations | null,
  ) {
    const { libssl } = buffers;
    this.#buffers = buffers;
    this.#transport = transport;
    this.#serverName = expectations?.serverName ?? "";
    libssl.ERR_clear_error();
    const ssl = this.#ssl = libssl.SSL_new(secure.handle);
    if (ssl === null) throw opensslError(libssl, "Cannot start TLS", Error);
    const { bio } = buffers.incoming;
    libssl.BIO_up_ref(bio);
    libssl.SSL_set_bio(ssl, bio, this.#outgoing(secure.wantsKtls, fd));
    if (expectations === null) libssl.SSL_set_accept_state(ssl);
    else this.#expect(secure, expectations);
  }

  /** The SSL; null when it is freed. */
  get ssl(): Handle | null {
    return this.#ssl;
  }

  /** Whether something waits for room. */
  get hasOutput(): boolean {
    return this.#output !== null || this.#isBlocked;
  }

  /**
   * Whether more waits than a write leaves behind: answers of TLS itself, to a peer that asks and does
   * not read. It must not be read from, or there would be no end of them.
   */
  get isCongested(): boolean {
    return this.#output !== null && this.#output.length > 2 * CHUNK_BYTES;
  }

  /** Whether it is this name, in any case, that the client asked for in the end. */
  isFor(serverName: string): boolean {
    const asked = this.#buffers.libssl.SSL_get_servername(this.#ssl, TLSEXT_NAMETYPE_HOST_NAME);
    // OpenSSL does not know it of a session of TLS 1.2 that was resumed.
    return asked === null || readCString(asked).toLowerCase() === serverName.toLowerCase();
  }

  /** Takes ciphertext that came. {@linkcode handshake} or {@linkcode read} must follow. */
  feed(bytes: Uint8Array<ArrayBuffer>, length: number): void {
    this.#buffers.incoming.feed(bytes, length);
  }

  /** Goes on with the handshake as far as it can; see `isEstablished` and `error`. */
  handshake(): void {
    const { libssl } = this.#buffers;
    libssl.ERR_clear_error();
    const result = libssl.SSL_do_handshake(this.#ssl);
    this.#isBlocked = false;
    if (result === 1) {
      this.isEstablished = true;
      this.#send(false);
      return this.#useKtls();
    }
    const reason = libssl.SSL_get_error(this.#ssl, result);
    if (reason === SSL_ERROR_WANT_WRITE) this.#block();
    else if (reason !== SSL_ERROR_WANT_READ) this.#failed("Cannot finish the TLS handshake");
    if (reason === SSL_ERROR_ZERO_RETURN) this.error = handshakeCutShort(); // by a close_notify
    this.#send(false); // an answer, or an alert that says why
  }

  /**
   * Decrypts all that came: returns how many bytes lie in `buffers.plain`. `isEnded` and `error`
   * hold behind those.
   */
  read(): number {
    const { libssl, incoming, outgoing, plain } = this.#buffers;
    if (plain.bytes.length === 0) plain.isRestored();
    const { bytes } = plain;
    let total = 0, count = libssl.SSL_read(this.#ssl, bytes, bytes.length);
    while (count > 0) {
      total += count;
      if (incoming.length === 0) {
        // What a request is: nothing is left. Answers that TLS itself gives are rare.
        if (!outgoing.isEmpty) this.#send(false);
        this.awaitsMore = false;
        return total;
      }
      count = libssl.SSL_read(this.#ssl, bytes.subarray(total), bytes.length - total);
    }
    this.#nothingMore(count);
    if (this.awaitsMore) this.awaitsMore = libssl.SSL_in_init(this.#ssl) === 1;
    return total;
  }

  /** Encrypts and sends; returns how many bytes were accepted. */
  write(bytes: Uint8Array, more: boolean): number {
    if (this.error !== null) return 0;
    // Without `more`: the kernel would keep the record open, and no flush() would close it.
    if (this.isOffloaded) return this.#transport.transmit(bytes, bytes.length, false);
    const { libssl } = this.#buffers;
    let accepted = 0;
    while (accepted < bytes.length && this.#output === null) {
      const length = Math.min(bytes.length - accepted, CHUNK_BYTES);
      const chunk = accepted === 0 ? bytes : bytes.subarray(accepted);
      const result = libssl.SSL_write(this.#ssl, chunk, length);
      if (result <= 0) {
        this.#cannotWrite(result);
        return accepted;
      }
      accepted += length;
      this.#send(more || accepted < bytes.length);
    }
    return accepted;
  }

  /** Sends what waits for room; `hasOutput` tells whether some is left. */
  flush(): void {
    if (this.#isBlocked) {
      if (this.isEstablished) this.closeNotify();
      else this.#goOn();
    }
    const output = this.#output;
    if (output !== null) {
      const sent = this.#transport.transmit(output, output.length, false);
      this.#output = sent < output.length ? output.subarray(sent) : null;
    }
  }

  /** Ends our direction; returns false where that has to wait for more of the peer. */
  closeNotify(): boolean {
    const { libssl } = this.#buffers;
    this.awaitsMore = libssl.SSL_in_init(this.#ssl) === 1;
    if (this.awaitsMore) return false;
    const result = libssl.SSL_shutdown(this.#ssl);
    this.#isBlocked = result < 0 &&
      libssl.SSL_get_error(this.#ssl, result) === SSL_ERROR_WANT_WRITE;
    if (result < 0) libssl.ERR_clear_error();
    this.#send(false);
    return true;
  }

  /** Keeps the session for the next connection to that server. */
  keepSession(secure: SecureContext, key: string): void {
    secure.sessions.keep(key, this.#ssl!);
  }

  /** Gives the SSL back, and drops what waits for room. */
  free(): void {
    if (this.#ssl === null) return;
    const { libssl } = this.#buffers;
    // Without a word OpenSSL would take the session for a bad one, and it may be kept.
    if (this.isEstablished && this.error === null) {
      libssl.SSL_set_shutdown(this.#ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    }
    libssl.SSL_free(this.#ssl);
    this.#ssl = null;
    this.#output = null;
    this.#isBlocked = false;
  }

  #expect(secure: SecureContext, { serverName, sessionKey }: Expectations): void {
    const { libssl } = this.#buffers;
    const ssl = this.#ssl!;
    libssl.SSL_set_connect_state(ssl);
    libssl.SSL_set_verify(ssl, secure.clientVerifyMode, null);
    secure.loadTrust();
    secure.sessions.offer(sessionKey, ssl);
    if (serverName === "") return;
    const name = cString(serverName.replace(/\.$/, ""));
    if (libssl.X509_VERIFY_PARAM_set1_ip_asc(libssl.SSL_get0_param(ssl), name) === 1) return;
    libssl.ERR_clear_error(); // no address, so a name
    libssl.SSL_set_hostflags(ssl, HOST_FLAGS);
    if (
      libssl.SSL_set1_host(ssl, name) !== 1 ||
      libssl.SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0n, name) !== 1
    ) {
      this.error = opensslError(libssl, `Cannot use the server name ${serverName}`);
    }
  }

  /**
   * Where OpenSSL writes to: the memory of the loop, or for kTLS the descriptor, since at the moment
   * when keys are agreed on it hands them to the kernel.
   */
  #outgoing(wantsKtls: boolean, fd: number): Handle {
    const { libssl, outgoing: { bio } } = this.#buffers;
    if (wantsKtls) return libssl.BIO_new_socket(fd, BIO_NOCLOSE)!;
    libssl.BIO_up_ref(bio);
    return bio;
  }

  /** Finds out whether the kernel has taken the keys; where not, memory goes on. */
  #useKtls(): void {
    const { libssl, outgoing: { bio } } = this.#buffers;
    const used = libssl.SSL_get_wbio(this.#ssl);
    if (Deno.UnsafePointer.equals(used, bio)) return;
    this.isOffloaded = libssl.BIO_ctrl(used, BIO_CTRL_GET_KTLS_SEND, 0n, null) === 1;
    if (this.isOffloaded) return;
    libssl.BIO_up_ref(bio);
    libssl.SSL_set0_wbio(this.#ssl, bio);
  }

  /** SSL_read has nothing more to give: finds out why. */
  #nothingMore(result: number): void {
    const { libssl, incoming } = this.#buffers;
    const ssl = this.#ssl!;
    let reason = libssl.SSL_get_error(ssl, result);
    if (reason === SSL_ERROR_SSL && libssl.SSL_in_init(ssl) === 0) {
      libssl.ERR_clear_error(); // somebody else's error: one of its own leaves no connection open
      reason = libssl.SSL_get_error(ssl, result);
    }
    if (reason === SSL_ERROR_ZERO_RETURN) {
      this.isEnded = true;
      incoming.clear(); // nothing counts behind it
    } else if (reason !== SSL_ERROR_WANT_READ) {
      this.#failed("Cannot read");
    }
    this.#send(false);
  }

  /**
   * In the middle of a message of TLS itself, a ticket or a new key, nothing can be written; the
   * bytes are not taken then.
   */
  #cannotWrite(result: number): void {
    this.awaitsMore = this.#buffers.libssl.SSL_get_error(this.#ssl, result) === SSL_ERROR_WANT_READ;
    if (!this.awaitsMore) this.#failed("Cannot write");
  }

  /** The memory is shared: what is not read goes aside. */
  #block(): void {
    const { incoming, libssl } = this.#buffers;
    this.#isBlocked = true;
    const { length } = incoming;
    if (length === 0) return;
    this.#unread = memory(length);
    libssl.BIO_read(incoming.bio, this.#unread, length);
  }

  /** There may be room now for what the handshake could not send. */
  #goOn(): void {
    const unread = this.#unread;
    this.#unread = null;
    if (unread !== null) this.feed(unread, unread.length);
    this.handshake();
  }

  #failed(what: string): void {
    this.error = tlsError(this.#buffers.libssl, this.#ssl!, what, this.#serverName);
    this.#buffers.incoming.clear();
  }

  /** Sends what OpenSSL has written; what has no room waits. */
  #send(more: boolean): void {
    const { outgoing, scratch } = this.#buffers;
    for (;;) {
      const length = outgoing.take(scratch);
      if (length <= 0) return;
      if (this.#output !== null) {
        this.#output = concat(this.#output, scratch.subarray(0, length));
      } else {
        const sent = this.#transport.transmit(scratch, length, more);
        if (sent < length) this.#output = scratch.slice(sent, length);
      }
      if (length < scratch.length) return;
    }
  }
}
