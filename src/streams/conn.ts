/**
 * A socket in the shape of `Deno.Conn`.
 * @module
 */
import type { KeepAliveTimings } from "../options.ts";
import type { Socket } from "../socket.ts";
import type { TlsInfo } from "../tls_options.ts";
import type { Bridge } from "./bridge.ts";

/**
 * A socket with the interface of `Deno.Conn`: promises and streams in place of handlers. It comes
 * from `toConn()`, `connect()` or `listen()`.
 *
 * It behaves as Deno's own do, but for this:
 *
 * - The directions are independent. `writable.close()` is `closeWrite()`: it ends ours with a FIN,
 *   and reading goes on. `readable.cancel()` drops what still comes, and writing goes on. When both
 *   are done the socket closes. (With Deno's own, each closes the connection.)
 * - `write()` resolves when all of its bytes are accepted, in the order of the calls.
 * - `writable.abort()`, or a stream piped into it that fails, resets the connection, so that the peer
 *   does not take what it got for all. Where there is no RST (TCP and TLS on the Deno backend, unix
 *   sockets) it can only close the socket, which looks to the peer as any other end.
 * - When the connection fails, what came before is read first; then all operations reject with the
 *   library's reason.
 *
 * Received bytes wait, up to 256 KiB and one event's worth on top, until they are asked for; then the
 * peer is slowed down. `read()` and `readable` may be mixed: each byte goes to one of them.
 *
 * @example
 * ```ts
 * import { Loop } from "@usockets/usockets";
 * import { connect, listen } from "@usockets/usockets/streams";
 *
 * const loop = new Loop();
 * loop.integrate();
 * using listener = listen(loop, { host: "127.0.0.1", port: 0 });
 * const [client, server] = await Promise.all([
 *   connect(loop, { port: listener.addr.port }),
 *   listener.accept(),
 * ]);
 * const echoed = server.readable.pipeTo(server.writable);
 * await client.write(new TextEncoder().encode("hello"));
 * await client.closeWrite();
 * console.assert(await new Response(client.readable).text() === "hello");
 * await echoed;
 * loop.free();
 * ```
 */
export class SocketConn<A extends Deno.Addr = Deno.Addr> implements Deno.Conn<A> {
  readonly #bridge: Bridge;

  /** @internal */
  constructor(bridge: Bridge) {
    this.#bridge = bridge;
  }

  /**
   * What is underneath: for `tls`, `timeout()`, `upgradeTls()` and the like. `timeout()` and
   * `longTimeout()` fail the Conn with `Deno.errors.TimedOut` when they run out; its `ext` is taken.
   * A context that adopts it takes it away from this Conn.
   */
  get socket(): Socket {
    return this.#bridge.socket;
  }

  /** The local address; port 0 of no host while connecting. Stays when the socket is closed. */
  get localAddr(): A {
    return this.#bridge.localAddr as Deno.Addr as A;
  }

  /** The peer's address; port 0 of no host while connecting. Stays when the socket is closed. */
  get remoteAddr(): A {
    return this.#bridge.remoteAddr as Deno.Addr as A;
  }

  /**
   * Reads what is there into `p`, or waits for some; resolves to how many bytes, null for the end.
   * `p` is the Conn's until then.
   */
  read(p: Uint8Array): Promise<number | null> {
    return this.#bridge.receiver.read(p);
  }

  /**
   * Writes all of `p`; resolves to its length when the last byte was accepted. `p` must not change
   * until then. Writes do not overtake each other.
   */
  write(p: Uint8Array): Promise<number> {
    return this.#bridge.sender.write(p);
  }

  /**
   * Ends our direction, behind all writes: FIN, and close_notify on TLS. Reading goes on; when the
   * peer has ended too, the socket closes.
   */
  closeWrite(): Promise<void> {
    return this.#bridge.sender.closeWrite();
  }

  /**
   * Closes the socket. What was accepted is still sent; what is pending is rejected with
   * `Deno.errors.Interrupted`, whatever comes later with `Deno.errors.BadResource`.
   *
   * @throws {Deno.errors.BadResource} The second time.
   */
  close(): void {
    if (!this.#bridge.close()) throw new Deno.errors.BadResource("The Conn is closed");
  }

  /** Closes the socket; does nothing the second time. */
  [Symbol.dispose](): void {
    this.#bridge.close();
  }

  /**
   * What is received, as a stream of bytes; readers may bring buffers of their own. `cancel()` drops
   * what still comes.
   */
  get readable(): ReadableStream<Uint8Array<ArrayBuffer>> {
    return this.#bridge.receiver.stream;
  }

  /**
   * What is to be sent, as a stream. `close()` is {@linkcode closeWrite}; `abort()`, or a chunk that is
   * no Uint8Array, resets the connection.
   */
  get writable(): WritableStream<Uint8Array> {
    return this.#bridge.sender.stream;
  }

  /** Has the socket keep its loop running, which it does by default. */
  ref(): void {
    this.#bridge.setReferenced(true);
  }

  /**
   * Lets the loop's `run()` end, and the process, while this socket is open. Nothing moves on a loop
   * that does not run.
   */
  unref(): void {
    this.#bridge.setReferenced(false);
  }

  /**
   * Resolves to what TLS agreed on when it has; rejects when it fails. Nobody has to wait for it:
   * reads and writes do.
   *
   * @throws {TypeError} (as a rejection) For a socket that speaks no TLS.
   */
  handshake(): Promise<TlsInfo> {
    return this.#bridge.handshake();
  }

  /** See `Socket.setNoDelay()`. */
  setNoDelay(noDelay = true): void {
    this.#bridge.socket.setNoDelay(noDelay);
  }

  /** See `Socket.setKeepAlive()`. */
  setKeepAlive(keepAlive = true, timings?: KeepAliveTimings): void {
    this.#bridge.socket.setKeepAlive(keepAlive, timings);
  }
}
