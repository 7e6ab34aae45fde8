/**
 * An end of TLS that does nothing by itself: OpenSSL on memory. The test carries its ciphertext, in
 * the pieces and at the moments it likes.
 */
import type { TlsOptions } from "@usockets/usockets";
import { SSL_CTRL_SET_TLSEXT_HOSTNAME, SSL_ERROR_ZERO_RETURN } from "../../ffi/tls/constants.ts";
import { takeReason } from "../../ffi/tls/errors.ts";
import { type Handle, openLibssl } from "../../ffi/tls/libssl.ts";
import { SecureContext } from "../../ffi/tls/secure_context.ts";
import { cString } from "../../ffi/tls/strings.ts";
import { concat, writeAll } from "./streams.ts";

const SSL_CTRL_SET_MAX_SEND_FRAGMENT = 52;
const SSL_KEY_UPDATE_REQUESTED = 1;

/** What the library itself does not call. */
const SYMBOLS = {
  // int SSL_key_update(SSL *s, int updatetype)
  SSL_key_update: { parameters: ["pointer", "i32"], result: "i32" },
  // int SSL_new_session_ticket(SSL *s), of OpenSSL 3
  SSL_new_session_ticket: { parameters: ["pointer"], result: "i32", optional: true },
} as const satisfies Deno.ForeignLibraryInterface;

let opened: Deno.DynamicLibrary<typeof SYMBOLS>["symbols"] | undefined;

function openMore() {
  openLibssl(); // or says that there is none
  try {
    return opened ??= Deno.dlopen("libssl.so.3", SYMBOLS).symbols;
  } catch {
    return opened ??= Deno.dlopen("libssl.so.1.1", SYMBOLS).symbols;
  }
}

/** Whether a server can send tickets when it likes. */
export function hasTicketsAtWill(): boolean {
  return openMore().SSL_new_session_ticket !== null;
}

/** One end. A client trusts everybody; a server sends tickets only when it is told to. */
export class HandDriven {
  /** The other's close_notify came. */
  isEnded = false;
  readonly #libssl = openLibssl();
  readonly #secure: SecureContext;
  readonly #ssl: Handle;
  readonly #incoming: Handle;
  readonly #outgoing: Handle;

  constructor(role: "client" | "server", options: TlsOptions, serverName?: string) {
    const libssl = this.#libssl;
    this.#secure = new SecureContext(libssl, options);
    libssl.SSL_CTX_set_num_tickets(this.#secure.handle, 0n);
    this.#ssl = libssl.SSL_new(this.#secure.handle)!;
    this.#incoming = libssl.BIO_new(libssl.BIO_s_mem())!;
    this.#outgoing = libssl.BIO_new(libssl.BIO_s_mem())!;
    libssl.SSL_set_bio(this.#ssl, this.#incoming, this.#outgoing);
    if (role === "server") libssl.SSL_set_accept_state(this.#ssl);
    else libssl.SSL_set_connect_state(this.#ssl);
    if (serverName !== undefined) this.askFor(serverName);
  }

  /** What a client asks for, from its next ClientHello on. */
  askFor(serverName: string): void {
    const name = cString(serverName);
    this.#check(this.#libssl.SSL_ctrl(this.#ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0n, name));
  }

  /** Messages come in records of 512 bytes. */
  sendSmallRecords(): void {
    const set = SSL_CTRL_SET_MAX_SEND_FRAGMENT;
    this.#check(this.#libssl.SSL_ctrl(this.#ssl, set, 512n, new Uint8Array(0)));
  }

  // ---- ciphertext ----

  /** What is to be sent. */
  take(): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(this.#libssl.BIO_ctrl_pending(this.#outgoing));
    if (bytes.length > 0) this.#libssl.BIO_read(this.#outgoing, bytes, bytes.length);
    return bytes;
  }

  /** What came. */
  feed(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#libssl.BIO_write(this.#incoming, bytes, bytes.length);
  }

  // ---- what passes through ----

  /** Goes on as far as it can; returns whether the handshake is done. */
  handshake(): boolean {
    const result = this.#libssl.SSL_do_handshake(this.#ssl);
    const reason = takeReason(this.#libssl);
    if (result !== 1 && reason !== "") throw new Error(`The peer cannot shake hands: ${reason}`);
    return result === 1;
  }

  write(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.#check(this.#libssl.SSL_write(this.#ssl, bytes, bytes.length));
  }

  /** All that can be decrypted by now; see `isEnded`. */
  read(): Uint8Array {
    const chunks: Uint8Array[] = [];
    const buffer = new Uint8Array(16_384);
    for (;;) {
      const count = this.#libssl.SSL_read(this.#ssl, buffer, buffer.length);
      if (count > 0) {
        chunks.push(buffer.slice(0, count));
        continue;
      }
      this.isEnded = this.#libssl.SSL_get_error(this.#ssl, count) === SSL_ERROR_ZERO_RETURN;
      const reason = takeReason(this.#libssl);
      if (reason !== "") throw new Error(`The peer cannot read: ${reason}`);
      return concat(chunks);
    }
  }

  /** close_notify. */
  end(): void {
    this.#libssl.SSL_shutdown(this.#ssl);
    this.#libssl.ERR_clear_error();
  }

  /** Takes a new key, and wants the other to do so too. */
  requestKeyUpdate(): void {
    this.#check(openMore().SSL_key_update(this.#ssl, SSL_KEY_UPDATE_REQUESTED));
    this.handshake();
  }

  /** A ticket, of a server. */
  sendTicket(): void {
    this.#check(openMore().SSL_new_session_ticket!(this.#ssl));
    this.handshake();
  }

  // ---- over a connection of Deno's ----

  /** Sends what is to be sent. */
  async send(conn: Deno.Conn): Promise<void> {
    await writeAll(conn, this.take());
  }

  /** Reads once, so many bytes at most; returns whether there were any. */
  async receive(conn: Deno.Conn, most = 65_536): Promise<boolean> {
    const buffer = new Uint8Array(most);
    const count = await conn.read(buffer);
    if (count === null) return false;
    this.feed(buffer.subarray(0, count));
    return true;
  }

  /** Agrees on everything. */
  async shakeHands(conn: Deno.Conn, most?: number): Promise<void> {
    while (!this.handshake()) {
      await this.send(conn);
      if (!await this.receive(conn, most)) throw new Error("The peer's handshake was cut short");
    }
    await this.send(conn);
  }

  /** Everything until the other's close_notify; fails where the transport ends without. */
  async readAll(conn: Deno.Conn, most?: number): Promise<Uint8Array> {
    const chunks: Uint8Array[] = [];
    for (;;) {
      chunks.push(this.read());
      if (this.isEnded) return concat(chunks);
      if (!await this.receive(conn, most)) throw new Error("The peer's stream was cut short");
    }
  }

  free(): void {
    this.#libssl.ERR_clear_error();
    this.#libssl.SSL_free(this.#ssl);
    this.#secure.release();
  }

  [Symbol.dispose](): void {
    this.free();
  }

  #check(result: number): void {
    if (result <= 0) throw new Error(`The peer cannot go on: ${takeReason(this.#libssl)}`);
  }
}
