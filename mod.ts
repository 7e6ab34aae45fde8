/**
 * A small, exact networking foundation for Deno: event loops, socket contexts and sockets with the
 * model and the vocabulary of µSockets, TLS with the same interface as TCP, and one timer sweep for
 * all timeouts.
 *
 * @example An echo server that loses no byte to a slow reader
 * ```ts
 * import { Loop } from "@usockets/usockets";
 *
 * const loop = new Loop();
 * const echo = loop.createContext({
 *   socketExt: () => ({ rest: new Uint8Array(0) }), // typed user data of every new socket
 *   onData(socket, data) {
 *     const written = socket.write(data);
 *     if (written < data.length) { // the peer reads slowly: keep the rest, stop reading
 *       socket.ext.rest = data.slice(written);
 *       socket.pause();
 *     }
 *   },
 *   onWritable(socket) {
 *     socket.ext.rest = socket.ext.rest.subarray(socket.write(socket.ext.rest));
 *     if (socket.ext.rest.length === 0) socket.resume();
 *   },
 * });
 * const listener = echo.listen({ port: 0 });
 * setTimeout(() => listener.close(), 10);
 * await loop.run();
 * ```
 *
 * @module
 */
import { denoConn } from "./src/deno/backend.ts";
import { Loop as CoreLoop } from "./src/loop.ts";
import type { LoopOptions } from "./src/options.ts";

export type { Backend, BackendFactory, BackendOptions } from "./src/backend.ts";
export { SocketContext, type SocketContextOptions } from "./src/context.ts";
export { denoConn } from "./src/deno/backend.ts";
export { CloseCode } from "./src/errors.ts";
export type { Handlers } from "./src/handlers.ts";
export { ListenSocket } from "./src/listen_socket.ts";
export { Loop as CoreLoop } from "./src/loop.ts";
export type {
  ConnectOptions,
  KeepAliveTimings,
  ListenOptions,
  LoopOptions,
  LoopStats,
  ShutdownOptions,
  TlsInfo,
  TlsOptions,
  TlsVersion,
} from "./src/options.ts";
export { Poll, type PollOptions, READABLE, WRITABLE } from "./src/poll.ts";
export { Socket } from "./src/socket.ts";
export { Timer, type TimerOptions } from "./src/timer.ts";
export { wakeup, type WakeupHandle } from "./src/wakeup.ts";

/**
 * An event loop: makes contexts, timers and polls, and runs until none of them has anything left to
 * do.
 *
 * Stands for `us_loop_t`. Its members are those of {@linkcode CoreLoop}.
 *
 * @example
 * ```ts
 * import { Loop } from "@usockets/usockets";
 *
 * const loop = new Loop({ onPost: (loop) => console.assert(loop.iterationNumber > 0) });
 * loop.createTimer().set(() => {}, 1);
 * await loop.run(); // nothing is left after the timer
 * loop.free();
 * ```
 */
export class Loop<L = unknown> extends CoreLoop<L> {
  /**
   * Makes a loop; importing or making one opens nothing yet.
   *
   * @param options `backend` chooses what moves the bytes; absent, Deno's own Conn does.
   * @throws {RangeError} For options out of range.
   */
  constructor(options: LoopOptions<L> = {}) {
    super(options.backend ?? denoConn, options);
  }
}
