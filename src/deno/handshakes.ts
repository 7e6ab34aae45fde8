/**
 * TLS handshakes under way.
 *
 * Deno runs a handshake in the background from the moment a connection is accepted, and closing a
 * TlsConn before its handshake ended leaves the TCP connection open until the peer speaks or goes
 * away. So a client that says nothing holds a descriptor whatever we do, and all there is to do is
 * to bound how many.
 * @module
 */
import { close } from "./conn.ts";

/**
 * With so many handshakes unfinished, those of closed sockets among them, a loop accepts no more
 * TLS connections.
 */
const MOST = 1024;

/** The handshakes of one loop. */
export class Handshakes {
  #unfinished = 0;
  /** Closed by the user or by time; their handshakes go on. */
  readonly #abandoned = new Set<Deno.TlsConn>();
  readonly #onRoom: () => void;

  /** @param onRoom Called when a listener that found {@linkcode isFull} may accept again. */
  constructor(onRoom: () => void) {
    this.#onRoom = onRoom;
  }

  /** Whether accepting must wait. */
  get isFull(): boolean {
    return this.#unfinished >= MOST;
  }

  /** A handshake began. */
  begin(): void {
    this.#unfinished++;
  }

  /** A handshake ended, well or badly. */
  end(conn: Deno.TlsConn): void {
    this.#abandoned.delete(conn);
    if (this.#unfinished-- === MOST) this.#onRoom();
  }

  /**
   * The socket closed in the middle of its handshake. The Conn is to be closed when that ends, or
   * by closeAbandoned().
   */
  abandon(conn: Deno.TlsConn): void {
    this.#abandoned.add(conn);
  }

  /** Closes a Conn that nobody wants any more, as soon as its handshake has ended. */
  discard(conn: Deno.TlsConn): void {
    this.begin();
    this.abandon(conn);
    const end = () => {
      this.end(conn);
      close(conn);
    };
    conn.handshake().then(end, end);
  }

  /**
   * Lets go of what would keep the process alive: the descriptors stay open until their peers go
   * away.
   */
  closeAbandoned(): void {
    for (const conn of this.#abandoned) close(conn);
    this.#abandoned.clear();
  }
}
