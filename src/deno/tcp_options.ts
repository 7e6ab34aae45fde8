/**
 * TCP_NODELAY and SO_KEEPALIVE of a Conn. Deno needs the Conn's writing half to set them, and throws
 * while a write is under way: then they wait for its end.
 * @module
 */

type Option = "setNoDelay" | "setKeepAlive";

/** The options that a socket could not set yet. */
export class TcpOptions {
  readonly #waiting = new Map<Option, boolean>();

  /** Sets an option, now or when {@linkcode apply} is called. */
  set(conn: Deno.TcpConn, option: Option, enable: boolean, isWriting: boolean): void {
    if (isWriting) this.#waiting.set(option, enable);
    else conn[option](enable);
  }

  /** No write is under way any more. */
  apply(conn: Deno.TcpConn): void {
    for (const [option, enable] of this.#waiting) {
      try {
        conn[option](enable);
      } catch { /* a connection that is dead by now shows it elsewhere */ }
    }
    this.#waiting.clear();
  }
}
