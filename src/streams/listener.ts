/**
 * A listener in the shape of `Deno.Listener`.
 * @module
 */
import { SocketContext } from "../context.ts";
import type { ListenSocket } from "../listen_socket.ts";
import type { Loop } from "../loop.ts";
import type { ListenOptions } from "../options.ts";
import type { Socket } from "../socket.ts";
import { Bridge } from "./bridge.ts";
import { SocketConn } from "./conn.ts";

/** An `accept()` that waits. */
interface Waiter<A extends Deno.Addr> {
  resolve(conn: SocketConn<A>): void;
  reject(error: unknown): void;
}

/**
 * A listener with the interface of `Deno.Listener`. It comes from `listen()`.
 *
 * The loop accepts connections as they come. Those that nobody has asked for yet are paused, so that
 * their peers can send no more than the kernel holds; `maxConnections` bounds how many there are.
 *
 * @example
 * ```ts
 * import { Loop } from "@usockets/usockets";
 * import { listen } from "@usockets/usockets/streams";
 *
 * const loop = new Loop();
 * const listener = listen(loop, { host: "127.0.0.1", port: 0 });
 * setTimeout(() => listener.close(), 10);
 * const serving = (async () => {
 *   for await (const conn of listener) conn.readable.pipeTo(conn.writable).catch(() => {});
 * })();
 * await loop.run();
 * await serving;
 * ```
 */
export class SocketListener<A extends Deno.Addr = Deno.Addr>
  implements Deno.Listener<SocketConn<A>, A> {
  /** What is underneath: its `closed` tells when the address is free again. */
  readonly socket: ListenSocket;
  /** The address that is listened on. */
  readonly addr: A;
  readonly #context: SocketContext;
  /** Open sockets that nobody has asked for yet; they leave when they close. */
  readonly #waiting = new Set<Socket>();
  readonly #accepts: Waiter<A>[] = [];
  #isClosed = false;
  #hasEnded = false;

  /** @internal */
  constructor(parent: Loop | SocketContext, options: ListenOptions) {
    const handlers = {
      onOpen: (socket: Socket) => this.#opened(socket),
      onClose: (socket: Socket) => void this.#waiting.delete(socket),
    };
    this.#context = parent instanceof SocketContext
      ? parent.createChild<unknown>({
        ...handlers,
        socketExt: () => undefined,
        onPreOpen: (handle, ip) => parent.onPreOpen?.(handle, ip) ?? true,
        onServerName: (_context, hostname) => parent.onServerName?.(parent, hostname),
      }) as SocketContext
      : parent.createContext(handlers) as unknown as SocketContext;
    try {
      this.socket = this.#context.listen(options);
    } catch (error) {
      this.#context.free();
      throw error;
    }
    const { host, port } = this.socket;
    const addr: Deno.Addr = port === 0
      ? { transport: "unix", path: host }
      : { transport: "tcp", hostname: host, port };
    this.addr = addr as A;
    this.socket.closed.then(() => this.#end()); // by close(), or with its loop or context
  }

  /** Waits for the next connection. Its TLS handshake may still be under way. */
  accept(): Promise<SocketConn<A>> {
    if (this.#isClosed || this.#hasEnded) return Promise.reject(closed());
    for (const socket of this.#waiting) {
      this.#waiting.delete(socket);
      return Promise.resolve(new SocketConn<A>(new Bridge(socket, "")));
    }
    return new Promise((resolve, reject) => this.#accepts.push({ resolve, reject }));
  }

  /**
   * Stops listening, and closes the connections that nobody has asked for. A pending `accept()`
   * rejects with `Deno.errors.BadResource`, iterations end.
   *
   * @throws {Deno.errors.BadResource} The second time.
   */
  close(): void {
    if (this.#isClosed) throw closed();
    this.#isClosed = true;
    this.#end();
  }

  /** Stops listening; does nothing the second time. */
  [Symbol.dispose](): void {
    if (!this.#isClosed) this.close();
  }

  /** The connections as they come, until the listener closes. Leaving the iteration closes it. */
  async *[Symbol.asyncIterator](): AsyncGenerator<SocketConn<A>, void, void> {
    try {
      while (true) yield await this.accept();
    } catch (error) {
      if (!(error instanceof Deno.errors.BadResource)) throw error;
    } finally {
      this[Symbol.dispose]();
    }
  }

  /** Does nothing: a listener keeps its loop running until it closes. */
  ref(): void {}

  /**
   * Cannot be done: a listener keeps its loop running until it closes.
   *
   * @throws {Deno.errors.NotSupported} Always.
   */
  unref(): void {
    throw new Deno.errors.NotSupported(
      "Cannot unref a listener: it keeps its loop running until it closes",
    );
  }

  #opened(socket: Socket): void {
    const waiter = this.#accepts.shift();
    if (waiter !== undefined) return waiter.resolve(new SocketConn<A>(new Bridge(socket, "")));
    this.#waiting.add(socket);
    socket.pause();
  }

  #end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#context.free(); // the listener, and who waits
    for (const { reject } of this.#accepts.splice(0)) reject(closed());
  }
}

function closed(): Error {
  return new Deno.errors.BadResource("The listener is closed");
}
