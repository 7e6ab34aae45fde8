/**
 * The event loop: the root of everything, one per thread as a rule.
 * @module
 */
import type { Backend, BackendFactory } from "./backend.ts";
import { SocketContext, type SocketContextOptions } from "./context.ts";
import * as dispatch from "./dispatch.ts";
import { CloseCode } from "./errors.ts";
import type { Handlers } from "./handlers.ts";
import { LowPriorityQueue } from "./low_priority.ts";
import {
  checkFunction,
  checkLoopOptions,
  checkNames,
  checkNumber,
  type LoopOptions,
  type LoopStats,
  type ShutdownOptions,
} from "./options.ts";
import type { TlsOptions } from "./tls_options.ts";
import type { Poll, PollOptions } from "./poll.ts";
import type { Socket } from "./socket.ts";
import { TimerSweep } from "./timer_sweep.ts";
import type { Timer, TimerOptions } from "./timer.ts";
import type { WakeupHandle } from "./wakeup.ts";

/**
 * The event loop without a default backend. Programs use the `Loop` of `mod.ts`, which has one.
 *
 * Stands for `us_loop_t`.
 */
export class Loop<L = unknown> {
  /** User data. */
  ext: L;
  /** @internal */
  readonly backend: Backend;
  /** Every context that is not freed. @internal */
  readonly contexts: Set<SocketContext> = new Set();
  /** Every timer that is not closed. @internal */
  readonly timers: Set<Timer> = new Set();
  /** Every poll that is not freed. @internal */
  readonly polls: Set<Poll> = new Set();
  /** @internal */
  readonly sweep: TimerSweep;
  /** @internal */
  readonly lowPriority: LowPriorityQueue = new LowPriorityQueue();
  /** What `stats()` reports. @internal */
  readonly counters = { open: 0, accepted: 0, connected: 0, bytesIn: 0, bytesOut: 0 };
  /** @internal */
  readonly onError: ((error: unknown, socket?: Socket) => void) | undefined;
  readonly #onWakeup: ((loop: Loop) => void) | undefined;
  readonly #onPre: ((loop: Loop) => void) | undefined;
  readonly #onPost: ((loop: Loop) => void) | undefined;
  #iterationNumber = 0;
  /** How many things keep the loop running. */
  #active = 0;
  #isRunning = false;
  #isFreed = false;
  #shutdown: Promise<void> | null = null;
  #drained: (() => void) | null = null;

  /** @internal */
  constructor(backend: BackendFactory, options: LoopOptions<L>) {
    checkLoopOptions(options as LoopOptions);
    const {
      timeoutGranularityMs = 4000,
      recvBufferBytes = 524_288,
      sendBufferBytes = 65_536,
      sliceMs = 2,
    } = options;
    this.ext = options.ext as L;
    this.onError = options.onError;
    this.#onWakeup = options.onWakeup as ((loop: Loop) => void) | undefined;
    this.#onPre = options.onPre as ((loop: Loop) => void) | undefined;
    this.#onPost = options.onPost as ((loop: Loop) => void) | undefined;
    this.sweep = new TimerSweep(this as Loop, timeoutGranularityMs);
    this.backend = backend(this as Loop, { recvBufferBytes, sendBufferBytes, sliceMs });
  }

  /** The backend's name, such as `"deno"`. */
  get backendName(): string {
    return this.backend.name;
  }

  /** How many iterations were begun. As `us_loop_iteration_number`. */
  get iterationNumber(): number {
    return this.#iterationNumber;
  }

  /** Whether {@linkcode free} was called: nothing can be begun on the loop any more. */
  get isFreed(): boolean {
    return this.#isFreed;
  }

  /**
   * Whether {@linkcode shutdown} was called: `listen()` and `connect()` are refused from then on. A
   * client that reconnects in `onClose` asks this first.
   */
  get isShuttingDown(): boolean {
    return this.#shutdown !== null;
  }

  /** Whether something keeps the loop running. @internal */
  get isActive(): boolean {
    return this.#active > 0;
  }

  /**
   * Makes a context: the handlers of a group of sockets. The types of `socket.ext` and
   * `context.ext` follow from `socketExt` and `ext`; sockets that get their `ext` from `connect()` need
   * a `socketExt` too, which gives its type. As `us_create_socket_context`.
   *
   * @throws {Deno.errors.NotFound|Deno.errors.NotCapable} For a certificate file that cannot be
   * read.
   * @throws {Deno.errors.InvalidData} For a certificate, key or passphrase that is wrong.
   * @throws {Deno.errors.NotSupported} For a TLS option that the backend cannot honour.
   */
  createContext<S, C = undefined>(
    options: Handlers<S, C> & { socketExt: () => S; ext?: C; tls?: TlsOptions },
  ): SocketContext<S, C>;
  /** Makes a context whose sockets have no user data. */
  createContext<C = undefined>(
    options?: Handlers<undefined, C> & { socketExt?: undefined; ext?: C; tls?: TlsOptions },
  ): SocketContext<undefined, C>;
  createContext<S, C>(options: SocketContextOptions<S, C> = {}): SocketContext<S, C> {
    this.#check("create a context");
    return new SocketContext<S, C>(this as Loop, options);
  }

  /** Makes a timer, disarmed. As `us_create_timer`. */
  createTimer<T = undefined>(options: TimerOptions<T> = {}): Timer<T> {
    this.#check("create a timer");
    checkNames("create a timer", options, ["fallthrough", "ext"]);
    return this.backend.createTimer<T>(this as Loop, options);
  }

  /**
   * Makes a poll of a descriptor, stopped. As `us_create_poll`.
   *
   * @throws {Deno.errors.NotSupported} On the Deno backend, which has no descriptors.
   */
  createPoll<T = undefined>(fd: number, options: PollOptions<T>): Poll<T> {
    this.#check("create a poll");
    checkNumber("create a poll", "fd", fd, 0, true);
    checkNames("create a poll", options, ["onReady", "fallthrough", "ext"]);
    checkFunction("create a poll", "onReady", options.onReady ?? null);
    return this.backend.createPoll<T>(this as Loop, fd, options);
  }

  /**
   * Runs the loop beside the rest of Deno: promises, timers, fetch and other I/O go on. Resolves
   * when nothing is left that keeps it running: listeners, sockets (paused and half-open ones too),
   * connects, armed timers, started polls. It may be run again after. As `us_loop_run`, without
   * blocking the thread.
   *
   * @throws {Deno.errors.Busy} (as a rejection) When the loop runs already.
   */
  async run(): Promise<void> {
    this.#begin("run");
    try {
      await this.backend.run();
    } finally {
      this.#isRunning = false;
    }
  }

  /**
   * Runs the loop and nothing else in this thread until nothing is left that keeps it running: the
   * fastest way. As `us_loop_run`.
   *
   * @throws {Deno.errors.NotSupported} On the Deno backend, which cannot block.
   * @throws {Deno.errors.Busy} When the loop runs already.
   */
  runBlocking(): void {
    this.#begin("run");
    try {
      this.backend.runBlocking();
    } finally {
      this.#isRunning = false;
    }
  }

  /**
   * Hooks the loop into Deno's own without waiting for it: its events come from here on, whenever
   * there are some, and what keeps it running keeps the process alive. As `us_loop_integrate`.
   *
   * @throws {Deno.errors.Busy} When the loop runs already.
   */
  integrate(): void {
    this.#begin("integrate");
    try {
      this.backend.integrate();
    } catch (error) { // out of descriptors
      this.#isRunning = false;
      throw error;
    }
  }

  /**
   * Makes `onWakeup` run soon. Other threads call `wakeup(handle)` instead. As `us_wakeup_loop`.
   */
  wakeup(): void {
    if (!this.#isFreed) this.backend.wakeup();
  }

  /** Names this loop to other threads, for `wakeup(handle)`; can be sent by `postMessage()`. */
  get wakeupHandle(): WakeupHandle {
    return this.backend.wakeupHandle;
  }

  /**
   * Ends the loop gracefully: closes the listeners at once, lets open sockets go on for
   * `graceSeconds`, closes what is left with `CloseCode.Freed`, then closes timers and polls, so
   * that `run()` ends. Resolves when all is closed. A loop that does not run has no grace to give.
   * Calling it again with a shorter time has no effect: the first call rules.
   *
   * @throws {RangeError} For a negative time.
   */
  shutdown(options: ShutdownOptions = {}): Promise<void> {
    checkNames("shut down", options, ["graceSeconds"]);
    const { graceSeconds = 10 } = options;
    checkNumber("shut down", "graceSeconds", graceSeconds, 0);
    if (this.#shutdown !== null || this.#isFreed) return this.#shutdown ?? Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#shutdown = promise;
    this.#beginShutdown(graceSeconds, resolve);
    return promise;
  }

  /** Counters since the loop was made. */
  stats(): LoopStats {
    return { ...this.counters, iterations: this.#iterationNumber };
  }

  /**
   * Frees the loop: sockets close with `CloseCode.Freed`, listeners, timers and polls close, a
   * `run()` under way ends. Freeing twice does nothing. As `us_loop_free`.
   */
  free(): void {
    if (this.#isFreed) return;
    this.#isFreed = true;
    for (const context of this.contexts) context.free();
    this.sweep.stop();
    for (const timer of this.timers) timer.close();
    for (const poll of this.polls) poll.free();
    this.backend.free();
    this.#drained?.();
  }

  /** Frees the loop. */
  [Symbol.dispose](): void {
    this.free();
  }

  /** One more thing keeps the loop running. @internal */
  retain(): void {
    if (this.#active++ === 0) this.backend.activityChanged(true);
  }

  /** One thing less keeps the loop running. @internal */
  release(): void {
    if (this.#active === 0) throw new Error("released more often than retained");
    if (--this.#active > 0) return;
    this.sweep.stop(); // no socket is left that could have a timeout
    this.backend.activityChanged(false);
  }

  /** Steps 1 to 3 of an iteration; 4 is the backend's. @internal */
  beginIteration(): void {
    this.#iterationNumber++;
    this.lowPriority.readmit();
    if (this.#onPre !== undefined) dispatch.guarded(this as Loop, this.#onPre, this as Loop);
  }

  /** Step 6 of an iteration, behind the backend's step 5. @internal */
  endIteration(): void {
    if (this.#onPost !== undefined) dispatch.guarded(this as Loop, this.#onPost, this as Loop);
  }

  /** For backends: a wakeup arrived. @internal */
  woken(): void {
    if (this.#onWakeup !== undefined) dispatch.guarded(this as Loop, this.#onWakeup, this as Loop);
  }

  /** A socket was unlinked for good. @internal */
  socketClosed(): void {
    if (this.#drained !== null && !this.#hasSockets()) this.#drained();
  }

  #begin(what: string): void {
    this.#check(what);
    if (this.#isRunning) throw new Deno.errors.Busy(`Cannot ${what}: the loop runs already`);
    this.#isRunning = true;
  }

  // Plain callbacks, so that it works while the loop blocks the thread and no promise goes on.
  #beginShutdown(graceSeconds: number, resolve: () => void): void {
    const listeners = [...this.contexts].flatMap((context) => [...context.listeners]);
    for (const listener of listeners) listener.close();
    const timer = this.createTimer({ fallthrough: true });
    this.#drained = () => {
      this.#drained = null;
      timer.close();
      this.#closeEverything(graceSeconds);
      Promise.all(listeners.map((listener) => listener.closed)).then(() => resolve());
    };
    if (!this.#hasSockets() || !this.#isRunning || graceSeconds === 0) this.#drained();
    else timer.set(() => this.#drained?.(), graceSeconds * 1000);
  }

  #closeEverything(graceSeconds: number): void {
    const reason = new Deno.errors.Interrupted(
      `Closed: still open ${graceSeconds} s after shutdown() was called`,
    );
    for (const context of this.contexts) context.closeAll(CloseCode.Freed, reason);
    for (const timer of this.timers) if (!timer.isFallthrough) timer.close();
    for (const poll of this.polls) poll.free();
  }

  #hasSockets(): boolean {
    for (const context of this.contexts) if (context.head !== null) return true;
    return false;
  }

  #check(what: string): void {
    if (this.#isFreed) throw new Deno.errors.BadResource(`Cannot ${what}: the loop is freed`);
  }
}
