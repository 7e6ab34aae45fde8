/**
 * The default backend: Deno.listen, Deno.connect and their async Conn.
 * @module
 */
import { setImmediate } from "node:timers";
import type { Backend, BackendOptions } from "../backend.ts";
import type { SocketContext } from "../context.ts";
import type { ListenSocket } from "../listen_socket.ts";
import type { Loop } from "../loop.ts";
import type { ConnectOptions, ListenOptions } from "../options.ts";
import type { TlsOptions } from "../tls_options.ts";
import type { Poll } from "../poll.ts";
import type { Socket } from "../socket.ts";
import type { Timer, TimerOptions } from "../timer.ts";
import { signal, type WakeupHandle, WakeupSignal } from "../wakeup.ts";
import { BufferPool } from "./buffers.ts";
import { type Completion, CompletionQueue } from "./completions.ts";
import { ipOf, isTls } from "./conn.ts";
import { connect } from "./connect.ts";
import { Handshakes } from "./handshakes.ts";
import { Lingering } from "./lingering.ts";
import { DenoListenSocket } from "./listen_socket.ts";
import { DenoSocket } from "./socket.ts";
import { DenoTimer } from "./timer.ts";
import { checkServer, createDenoTls, type DenoTls, refuse } from "./tls.ts";

/**
 * Makes the backend on Deno's own networking: works wherever Deno does, with Deno's permissions.
 */
export function denoConn(loop: Loop, options: BackendOptions): Backend {
  return new DenoBackend(loop, options);
}

/** The Deno backend of one loop. */
export class DenoBackend implements Backend {
  readonly name = "deno";
  readonly sendBufferBytes: number;
  readonly completions: CompletionQueue;
  readonly buffers = new BufferPool();
  readonly listeners = new Set<DenoListenSocket>();
  readonly lingering: Lingering;
  readonly handshakes = new Handshakes(() => this.#acceptMore());
  readonly #loop: Loop;
  readonly #signal = new WakeupSignal();
  readonly #wakeup: Completion = { complete: () => this.#signal.take() && this.#woken() };
  #isWaiting = false;
  #isStarted = false;
  #isFreed = false;
  #keepAlive: ReturnType<typeof setInterval> | undefined;
  #isChecking = false;
  #finish: (() => void) | null = null;

  constructor(loop: Loop, options: BackendOptions) {
    this.#loop = loop;
    this.sendBufferBytes = options.sendBufferBytes;
    this.completions = new CompletionQueue(loop);
    this.lingering = new Lingering(loop);
  }

  /** Whether events are delivered. */
  get isStarted(): boolean {
    return this.#isStarted;
  }

  get wakeupHandle(): WakeupHandle {
    return this.#signal.handle;
  }

  createSecureContext(options: TlsOptions): DenoTls {
    return createDenoTls(options);
  }

  listen(context: SocketContext, options: ListenOptions<unknown>): ListenSocket {
    return new DenoListenSocket(this, context, options);
  }

  connect<S, C>(
    context: SocketContext<S, C>,
    options: ConnectOptions<unknown>,
    ext: S,
  ): Socket<S, C> {
    return connect(this, context, options, ext);
  }

  adoptHandle<S, C>(context: SocketContext<S, C>, handle: unknown): Socket<S, C> {
    if (typeof handle === "number") refuse("descriptors in adoptHandle()");
    const conn = handle as Deno.Conn;
    for (const method of ["read", "write", "close", "closeWrite"] as const) {
      if (typeof conn?.[method] !== "function") {
        throw new TypeError("Cannot adopt: the handle is not a Deno.Conn");
      }
    }
    if (context.secureContext !== null && !isTls(conn)) {
      refuse("TLS on the server side of an adopted plain Conn");
    }
    if (context.secureContext !== null) checkServer(context.secureContext as DenoTls);
    const socket = new DenoSocket<S, C>(
      this,
      context,
      0,
      undefined as S,
      null,
      ipOf(conn.remoteAddr),
    );
    if (isTls(conn)) socket.useTls(null, "");
    socket.connected(conn);
    return socket;
  }

  createTimer<T>(loop: Loop, options: TimerOptions<T>): Timer<T> {
    return new DenoTimer<T>(loop, options, this.completions);
  }

  createPoll<T>(): Poll<T> {
    refuse("createPoll()");
  }

  releaseSecureContext(): void {}

  addServerName(): void {
    refuse("addServerName()");
  }

  removeServerName(): void {
    refuse("removeServerName()");
  }

  findServerNameUserData(): unknown {
    refuse("findServerNameUserData()");
  }

  nativeHandle(): null {
    return null;
  }

  run(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#finish = () => {
      this.#finish = null;
      this.#isStarted = false;
      this.completions.stop();
      this.#updateKeepAlive();
      resolve();
    };
    this.integrate();
    if (!this.#loop.isActive) this.#checkFinished();
    return promise;
  }

  runBlocking(): void {
    refuse("runBlocking()");
  }

  integrate(): void {
    this.#isStarted = true;
    this.completions.start();
    this.#updateKeepAlive();
    this.#acceptMore();
    this.#waitForWakeup();
  }

  wakeup(): void {
    signal(this.wakeupHandle, () => {});
  }

  activityChanged(isActive: boolean): void {
    this.#updateKeepAlive();
    if (!isActive) this.#checkFinished();
  }

  free(): void {
    this.#isFreed = true;
    this.completions.free();
    this.lingering.free();
    this.handshakes.closeAbandoned();
    this.#signal.free();
    this.#updateKeepAlive();
    this.#finish?.();
  }

  /** Whoever closes the last thing may open another one in the same turn: looks again behind it. */
  #checkFinished(): void {
    if (this.#isChecking || !this.#isStarted) return;
    this.#isChecking = true;
    setImmediate(() => {
      this.#isChecking = false;
      if (this.#loop.isActive) return;
      this.handshakes.closeAbandoned();
      this.#finish?.();
    });
  }

  /**
   * Conns with no operation pending do not keep the process alive, but a loop with work left does.
   */
  #updateKeepAlive(): void {
    const isNeeded = this.#isStarted && this.#loop.isActive && !this.#isFreed;
    if (isNeeded && this.#keepAlive === undefined) {
      this.#keepAlive = setInterval(() => {}, 2 ** 31 - 1);
    } else if (!isNeeded) {
      clearInterval(this.#keepAlive);
      this.#keepAlive = undefined;
    }
  }

  #acceptMore(): void {
    for (const listener of this.listeners) listener.accept();
  }

  /** Other threads' wakeups become an event; the next is waited for when that one was delivered. */
  async #waitForWakeup(): Promise<void> {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    const isSignalled = await this.#signal.wait();
    if (isSignalled) this.completions.enqueue(this.#wakeup);
  }

  #woken(): void {
    if (this.#isFreed) return;
    this.#isWaiting = false;
    this.#waitForWakeup(); // the signal is taken by now: nothing that comes during onWakeup is lost
    this.#loop.woken();
  }
}
