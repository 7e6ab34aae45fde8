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
import { epoll } from "./ffi/backend.ts";
import { reclaim as reclaimLoop } from "./ffi/reclaim.ts";
import { signalDescriptor } from "./ffi/wakeup.ts";
import type { Backend, BackendOptions } from "./src/backend.ts";
import { denoConn } from "./src/deno/backend.ts";
import { Loop as CoreLoop } from "./src/loop.ts";
import type { LoopOptions } from "./src/options.ts";
import { signal, type WakeupHandle } from "./src/wakeup.ts";

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
} from "./src/options.ts";
export { Poll, type PollOptions, READABLE, WRITABLE } from "./src/poll.ts";
export { Socket } from "./src/socket.ts";
export { Timer, type TimerOptions } from "./src/timer.ts";
export type { TlsInfo, TlsOptions, TlsVersion } from "./src/tls_options.ts";
export type { WakeupHandle } from "./src/wakeup.ts";
export { epoll } from "./ffi/backend.ts";

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

/**
 * The fastest backend that works here: epoll on Linux where `--allow-ffi` is granted, else Deno's own
 * Conn. Never asks for a permission, and never throws because one is missing.
 *
 * @example
 * ```ts
 * import { autoBackend, Loop } from "@usockets/usockets";
 *
 * using loop = new Loop({ backend: autoBackend });
 * console.assert(["epoll", "deno"].includes(loop.backendName));
 * ```
 */
export function autoBackend(loop: CoreLoop, options: BackendOptions): Backend {
  if (Deno.permissions.querySync({ name: "ffi" }).state === "granted") {
    try {
      return epoll(loop, options);
    } catch (error) {
      const { NotCapable, NotSupported } = Deno.errors;
      if (!(error instanceof NotSupported || error instanceof NotCapable)) throw error;
    }
  }
  return denoConn(loop, options);
}

/**
 * Wakes up the loop that `handle` names, from any thread: its `onWakeup` runs soon, in its own
 * thread. Wakeups coalesce: several may make one call, and none is lost. Does nothing after the
 * loop is freed. A Worker that wakes up an epoll loop needs `--allow-ffi` as the loop itself does.
 *
 * As `us_wakeup_loop`.
 *
 * @example
 * ```ts
 * import { Loop, wakeup } from "@usockets/usockets";
 *
 * const loop = new Loop({ onWakeup: (loop) => loop.free() });
 * const code = `onmessage = async ({ data }) => {
 *   const { wakeup } = await import(data.url);
 *   wakeup(data.handle);
 *   close();
 * };`;
 * const worker = new Worker(`data:text/javascript,${encodeURIComponent(code)}`, { type: "module" });
 * const url = import.meta.resolve("@usockets/usockets");
 * worker.postMessage({ url, handle: loop.wakeupHandle });
 * loop.createTimer().set(() => {}, 60_000); // keeps the loop running: a wakeup alone does not
 * await loop.run();
 * wakeup(loop.wakeupHandle); // freed: does nothing
 * ```
 */
export function wakeup(handle: WakeupHandle): void {
  signal(handle, signalDescriptor);
}

/**
 * Frees an epoll loop of another thread. A loop whose thread still runs frees itself, even one that
 * blocks it; when its Worker was terminated in the middle, whatever it left open (sockets,
 * listeners, timers) is closed from here. Resolves to how many descriptors that were; 0 for a loop
 * that freed itself.
 *
 * `Worker.terminate()` ends a Worker's thread without giving it a chance to clean up, and one that
 * blocks in `runBlocking()` only when it wakes up: so call this in place of `terminate()`, or behind
 * it.
 *
 * @throws {Deno.errors.Busy} (as a rejection) When the thread does something else for 10 s.
 * @throws {Deno.errors.NotCapable} (as a rejection) Without `--allow-ffi`.
 *
 * @example
 * ```ts
 * import { epoll, Loop, reclaim, type WakeupHandle } from "@usockets/usockets";
 *
 * if (Deno.build.os === "linux") {
 *   const code = `onmessage = async ({ data: url }) => {
 *     const { epoll, Loop } = await import(url);
 *     const loop = new Loop({ backend: epoll });
 *     loop.createContext().listen({ host: "127.0.0.1", port: 0 });
 *     postMessage(loop.wakeupHandle);
 *     loop.runBlocking();
 *     close();
 *   };`;
 *   const worker = new Worker(`data:text/javascript,${encodeURIComponent(code)}`, {
 *     type: "module",
 *   });
 *   worker.postMessage(import.meta.resolve("@usockets/usockets"));
 *   const handle = await new Promise<WakeupHandle>((resolve) => {
 *     worker.onmessage = ({ data }) => resolve(data);
 *   });
 *   await reclaim(handle); // its port is free again
 * }
 * ```
 */
export function reclaim(handle: WakeupHandle): Promise<number> {
  return reclaimLoop(handle);
}
