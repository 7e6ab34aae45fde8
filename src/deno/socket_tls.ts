/**
 * TLS of one socket: starting it on a plain Conn, and its handshake.
 * @module
 */
import type { LowPriority, LowPriorityQueue } from "../low_priority.ts";
import type { TlsInfo } from "../tls_options.ts";
import type { Handshakes } from "./handshakes.ts";
import type { DenoTls } from "./tls.ts";

/** What the socket has to do with it. */
export interface TlsOwner {
  /** startTls() made this of the plain Conn. */
  tlsStarted(conn: Deno.TlsConn): void;
  /** The handshake ended: see `info` and `error`. */
  handshakeDone(): void;
  /** Whether TLS is of use to it no more. */
  readonly isGone: boolean;
}

/** The TLS of one socket. */
export class SocketTls implements LowPriority {
  /** What was agreed on; null until then. */
  info: TlsInfo | null = null;
  /** Why nothing was. */
  error: unknown = undefined;
  /** A handshake is under way on a TlsConn. */
  isHandshaking = false;
  /** startTls() has the plain Conn: nobody else may use or close it. */
  hasTakenConn = false;
  readonly #owner: TlsOwner;
  readonly #handshakes: Handshakes;
  readonly #options: DenoTls | null;
  readonly #serverName: string;
  #plain: Deno.TcpConn | null = null;

  /** @param options Of a client; null where the Conn comes as a TlsConn. */
  constructor(owner: TlsOwner, handshakes: Handshakes, options: DenoTls | null, host: string) {
    this.#owner = owner;
    this.#handshakes = handshakes;
    this.#options = options;
    this.#serverName = options?.serverName ?? host;
  }

  /** Starts TLS on a plain Conn as soon as an iteration's budget for handshakes allows it. */
  start(conn: Deno.TcpConn, lowPriority: LowPriorityQueue): void {
    if (this.#plain !== null) return; // started already
    this.#plain = conn;
    if (lowPriority.admit(this)) this.readmit();
  }

  /** Its turn has come. */
  readmit(): boolean {
    if (this.#owner.isGone) return false;
    this.hasTakenConn = true;
    const options = this.#options!;
    Deno.startTls(this.#plain!, {
      hostname: this.#serverName,
      caCerts: options.caCerts,
      alpnProtocols: options.alpnProtocols,
    }).then((conn) => {
      this.hasTakenConn = false;
      this.#owner.tlsStarted(conn);
    }, (error) => {
      this.hasTakenConn = false;
      this.error = error ?? new Error("startTls failed");
      this.#owner.handshakeDone();
    });
    return true;
  }

  /** Waits for the handshake, which Deno runs by itself. */
  handshake(conn: Deno.TlsConn): void {
    this.isHandshaking = true;
    this.#handshakes.begin();
    const settle = () => {
      this.isHandshaking = false;
      this.#handshakes.end(conn);
      this.#owner.handshakeDone();
    };
    conn.handshake().then(({ alpnProtocol }) => {
      this.info = {
        alpnProtocol: alpnProtocol ?? null,
        // Of a server rustls tells neither the name nor anything else; a client lets in nobody else.
        ...(this.#options === null ? {} : {
          serverName: this.#serverName,
          authorized: true,
          authorizationError: null,
        }),
      };
      settle();
    }, (error) => {
      this.error = error ?? new Error("handshake failed");
      settle();
    });
  }
}
