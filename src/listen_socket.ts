/**
 * A listener.
 * @module
 */
import type { SocketContext } from "./context.ts";
import type { ListenOptions } from "./options.ts";

/**
 * Accepts connections into its context until it is closed. Comes from `SocketContext.listen()`. No
 * error of accepting a connection ends it; running out of descriptors makes it wait and try again.
 *
 * Stands for `us_listen_socket_t`.
 *
 * @example
 * ```ts
 * import { Loop } from "@usockets/usockets";
 *
 * const loop = new Loop();
 * const listener = loop.createContext().listen({ host: "127.0.0.1", port: 0 });
 * console.assert(listener.port > 0);
 * listener.close();
 * await loop.run();
 * await listener.closed; // the port is free again
 * ```
 */
export abstract class ListenSocket {
  /** The context that gets the connections. */
  readonly context: SocketContext;
  /** The port that is listened on; 0 for unix sockets. */
  abstract readonly port: number;
  /** The address that is listened on; the path for unix sockets. */
  abstract readonly host: string;
  /** Resolves when the listener is closed and its address is free again. Never rejects. */
  readonly closed: Promise<void>;
  /** Makes the user data of its sockets; absent, the context does. @internal */
  readonly socketExt: (() => unknown) | undefined;
  /** How many open connections came from here. @internal */
  connections = 0;
  readonly #maxConnections: number;
  readonly #resolveClosed: () => void;
  #isClosed = false;

  /** For backends: keeps the loop running until the listener is gone. @internal */
  constructor(context: SocketContext, options: ListenOptions<unknown>) {
    this.context = context;
    this.socketExt = options.socketExt;
    this.#maxConnections = options.maxConnections ?? Infinity;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.closed = promise;
    this.#resolveClosed = resolve;
    context.listeners.add(this);
    context.loop.retain();
  }

  /** Whether as many connections are open as may be. @internal */
  get isFull(): boolean {
    return this.connections >= this.#maxConnections;
  }

  /** Whether {@linkcode close} was called. @internal */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Stops accepting. Open connections stay; `closed` resolves when the address is free again.
   * Closing twice does nothing. As `us_listen_socket_close`.
   */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.context.listeners.delete(this);
    this.stop();
  }

  /** Closes the listener. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** One of its connections closed. @internal */
  connectionClosed(): void {
    const wasFull = this.isFull;
    this.connections--;
    if (wasFull && !this.#isClosed) this.acceptMore();
  }

  /** Closes the native listener, and calls {@linkcode stopped} when its address is free. */
  protected abstract stop(): void;
  /** There is room again after `maxConnections` was reached. */
  protected abstract acceptMore(): void;

  /** The address is free. */
  protected stopped(): void {
    this.#resolveClosed();
    this.context.loop.release();
  }
}
