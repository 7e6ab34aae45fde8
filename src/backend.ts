/**
 * The seam: what a backend is, and what it owes the core.
 *
 * A backend moves bytes; the core decides what they mean. A backend *delivers*: it calls `opened`,
 * `received`, `writable`, `ended`, `failed`, `writeFailed`, `connectFailed`, `serverNameAsked` and
 * `handshaken` of `dispatch.ts`. Whether it learns of them because an operation completed (Deno's `Conn`, io_uring)
 * or because a descriptor became ready (epoll) is its own affair: nothing here speaks of readiness.
 *
 * ## The contract
 *
 * 1. **Iterations.** Events are delivered between `loop.beginIteration()` and
 *    `loop.endIteration()`, in the loop's thread, never nested, never from inside a call that user
 *    code made (`resume()`, `connect()` … return first), and never before `run()`, `runBlocking()`
 *    or `integrate()`. One iteration delivers all events that are there. While
 *    `loop.lowPriority.isWaiting`, another iteration follows without waiting for an event.
 * 2. **Sockets.** One object per connection: a subclass of `Socket`, constructed with `CONNECTING`,
 *    `CLIENT` and `HANDSHAKING` as they apply, then opened by `dispatch.opened`. The core keeps
 *    state, timeouts and accounting; the protected methods move bytes. They are called only in
 *    states where they make sense (nothing is sent after `sendFin`, `release` is called once and
 *    last), and must not call back into `dispatch` themselves.
 * 3. **Bytes.** `received` gets every byte once and in order, in views valid during the call, never
 *    an empty one. What came before an error or the end is delivered before it. While `PAUSED`
 *    neither `received` nor `ended` is delivered; what is in flight is held.
 * 4. **Room.** After `sendBytes` accepted less than it was given, `writable` is delivered once
 *    there is room. Spurious calls do no harm: the core forwards one per short write.
 * 5. **Errors.** The first fatal error is delivered by `failed` (nothing can be read any more) or
 *    `writeFailed` (there may still be bytes to read: go on, and deliver `ended` or `failed` at
 *    their end). Codes are of `CloseCode`.
 * 6. **TLS** lives below the seam. A socket with `HANDSHAKING` gets `handshaken`, or `failed` with
 *    `CloseCode.Tls`. Handshakes that the backend starts ask `loop.lowPriority` for
 *    admission; where the platform starts them, accepting is paced instead.
 * 7. **Release.** What was accepted is still sent after `release()`, in the background; work that
 *    remains there is counted with `loop.retain()` and `loop.release()`. `release()` may come from
 *    inside a handler of that very socket: native resources that a call further up the stack still
 *    uses, and the bytes a handler holds, go when the iteration ends at the earliest.
 * 8. **Refusal.** What a backend cannot do throws `Deno.errors.NotSupported` with the option's name
 *    and the backend that can, before anything is changed.
 *
 * @module
 */
import type { SocketContext } from "./context.ts";
import type { ListenSocket } from "./listen_socket.ts";
import type { Loop } from "./loop.ts";
import type { ConnectOptions, ListenOptions, LoopOptions } from "./options.ts";
import type { TlsOptions } from "./tls_options.ts";
import type { Poll, PollOptions } from "./poll.ts";
import type { Socket } from "./socket.ts";
import type { Timer, TimerOptions } from "./timer.ts";
import type { WakeupHandle } from "./wakeup.ts";

/** Makes the backend of a loop: what `LoopOptions.backend` takes. */
export type BackendFactory = (loop: Loop, options: BackendOptions) => Backend;

/** The loop options that concern backends, defaults filled in. */
export type BackendOptions = Required<
  Pick<LoopOptions, "recvBufferBytes" | "sendBufferBytes" | "sliceMs">
>;

/** What moves the bytes of one loop. Programs choose one and never call it. */
export interface Backend {
  /** `"deno"`, `"epoll"`, … */
  readonly name: string;
  /** What other threads wake the loop up with. */
  readonly wakeupHandle: WakeupHandle;
  /**
   * Checks TLS options, reads and parses what they name; the result becomes
   * `SocketContext.secureContext`.
   */
  createSecureContext(options: TlsOptions): unknown;
  /** The last context that shares it is freed. */
  releaseSecureContext(secureContext: unknown): void;
  /** Listens, or throws. Options that make no sense anywhere were refused before. */
  listen(context: SocketContext, options: ListenOptions<unknown>): ListenSocket;
  /** Starts to connect and returns the connecting socket. */
  connect<S, C>(
    context: SocketContext<S, C>,
    options: ConnectOptions<unknown>,
    ext: S,
  ): Socket<S, C>;
  /** Makes a socket of an open connection; it opens in a later iteration. */
  adoptHandle<S, C>(context: SocketContext<S, C>, handle: unknown): Socket<S, C>;
  /** Makes a timer, disarmed. */
  createTimer<T>(loop: Loop, options: TimerOptions<T>): Timer<T>;
  /** Makes a poll, stopped, or throws NotSupported. */
  createPoll<T>(loop: Loop, fd: number, options: PollOptions<T>): Poll<T>;
  /** Serves one more name with TLS, or throws NotSupported. */
  addServerName(context: SocketContext, pattern: string, tls: TlsOptions, userData: unknown): void;
  /** Stops serving a name. */
  removeServerName(context: SocketContext, pattern: string): void;
  /** What `addServerName()` was given for the pattern that matches. */
  findServerNameUserData(context: SocketContext, hostname: string): unknown;
  /** The native handle of a context: an SSL_CTX, or null. */
  nativeHandle(context: SocketContext): unknown;
  /**
   * Delivers events until the loop has nothing left to do, sharing the thread with the rest of
   * Deno.
   */
  run(): Promise<void>;
  /** The same, blocking the thread, or throws NotSupported. */
  runBlocking(): void;
  /** Delivers events from here on, sharing the thread with the rest of Deno. */
  integrate(): void;
  /** Runs an iteration soon, with `loop.woken()`. */
  wakeup(): void;
  /** The loop got its first or lost its last reason to keep running. */
  activityChanged(isActive: boolean): void;
  /** Everything of the loop is closed: gives the rest back. */
  free(): void;
}
