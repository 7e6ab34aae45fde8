/**
 * The opt-in backend: libc's sockets and epoll, called through Deno.dlopen.
 * @module
 */
import type { Backend, BackendOptions } from "../src/backend.ts";
import type { SocketContext } from "../src/context.ts";
import type { ListenSocket } from "../src/listen_socket.ts";
import type { Loop } from "../src/loop.ts";
import type { ConnectOptions, ListenOptions } from "../src/options.ts";
import { namedTlsOptions, type TlsOptions } from "../src/tls_options.ts";
import type { Poll, PollOptions } from "../src/poll.ts";
import type { Socket } from "../src/socket.ts";
import type { Timer, TimerOptions } from "../src/timer.ts";
import { signal, type WakeupHandle, WakeupSignal } from "../src/wakeup.ts";
import { connect } from "./connect.ts";
import {
  EFD_CLOEXEC,
  EFD_NONBLOCK,
  EPOLLIN,
  IPPROTO_TCP,
  SO_ACCEPTCONN,
  TCP_NODELAY,
} from "./constants.ts";
import { check } from "./errno.ts";
import { Gathering } from "./gathering.ts";
import { Ledger } from "./ledger.ts";
import { type Libc, openLibc } from "./libc.ts";
import { EpollListenSocket } from "./listen_socket.ts";
import { checkRawDescriptors } from "./permissions.ts";
import { EpollPoll } from "./poll.ts";
import { ReceiveBuffer } from "./receive_buffer.ts";
import { Selector, type Watched } from "./selector.ts";
import { EpollSocket } from "./socket.ts";
import {
  checkStreamSocket,
  getOption,
  remoteAddressOf,
  setNonblocking,
  setOption,
} from "./sockets.ts";
import { thread } from "./thread.ts";
import { EpollTimer, TimerQueue } from "./timers.ts";
import { TlsBuffers } from "./tls/buffers.ts";
import { type Libssl, openLibssl } from "./tls/libssl.ts";
import type { Lingering } from "./tls/lingering.ts";
import { SecureContext } from "./tls/secure_context.ts";
import { checkServer, secureServer } from "./tls/start.ts";
import { signalEventfd } from "./wakeup.ts";

/**
 * Makes the backend on Linux's epoll, called through `Deno.dlopen`: the speed of C. It needs
 * `--allow-ffi` beside `--allow-net`, and Linux on x86-64 or aarch64.
 *
 * @throws {Deno.errors.NotSupported} On other systems.
 * @throws {Deno.errors.NotCapable} Without `--allow-ffi`.
 *
 * @example
 * ```ts
 * import { epoll, Loop } from "@usockets/usockets";
 *
 * if (Deno.build.os === "linux") {
 *   const loop = new Loop({ backend: epoll });
 *   loop.createTimer().set(() => console.assert(loop.backendName === "epoll"), 1);
 *   loop.runBlocking(); // nothing but the loop runs in this thread until it is done
 *   loop.free();
 * }
 * ```
 */
export function epoll(loop: Loop, options: BackendOptions): Backend {
  return new EpollBackend(loop, options);
}

/** What reading an eventfd fills. */
const counter = new Uint8Array(new ArrayBuffer(8));

/** Something that the next iteration delivers without a descriptor being ready. */
export interface Deferred {
  deliver(): void;
}

/** The epoll backend of one loop. */
export class EpollBackend implements Backend {
  readonly name = "epoll";
  readonly loop: Loop;
  readonly libc: Libc;
  readonly ledger = new Ledger();
  readonly selector: Selector;
  readonly timers: TimerQueue;
  readonly buffer: ReceiveBuffer;
  readonly gathering: Gathering;
  readonly sliceMs: number;
  readonly sendBufferBytes: number;
  /** Closed TLS sockets with something to send. */
  readonly lingering: Set<Lingering> = new Set();
  readonly #signal: WakeupSignal;
  readonly #eventfd: number;
  readonly #recvBufferBytes: number;
  readonly #wakeup: Watched = { generation: 0, ready: () => this.#woken() };
  /** Made for the first TLS socket. */
  #tls: TlsBuffers | null = null;
  #deferred: Deferred[] = [];
  #isBlocking = false;
  #isFreed = false;
  #running: PromiseWithResolvers<void> | null = null;

  constructor(loop: Loop, options: BackendOptions) {
    this.loop = loop;
    this.sliceMs = options.sliceMs;
    this.sendBufferBytes = options.sendBufferBytes;
    this.#recvBufferBytes = options.recvBufferBytes;
    const libc = this.libc = openLibc();
    this.selector = new Selector(libc, this.ledger);
    try {
      this.timers = new TimerQueue(libc, this.selector, this.ledger);
      this.#eventfd = libc.eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
      check(libc, "Cannot create an event descriptor", this.#eventfd);
      this.ledger.own(this.#eventfd);
      this.selector.add(this.#eventfd, this.#wakeup, EPOLLIN);
    } catch (error) { // out of descriptors
      this.ledger.closeAll(libc);
      throw error;
    }
    this.#signal = new WakeupSignal(this.#eventfd, libc.gettid(), this.ledger.shared);
    this.buffer = new ReceiveBuffer(options.recvBufferBytes);
    this.gathering = new Gathering(libc);
  }

  get wakeupHandle(): WakeupHandle {
    return this.#signal.handle;
  }

  /** Whether the loop owns its thread now. */
  get isBlocking(): boolean {
    return this.#isBlocking;
  }

  /** What all TLS sockets of the loop share. */
  tlsBuffers(libssl: Libssl): TlsBuffers {
    return this.#tls ??= new TlsBuffers(libssl, this.#recvBufferBytes);
  }

  // ---- what the core asks for ----

  createSecureContext(options: TlsOptions): SecureContext {
    const libssl = openLibssl();
    this.tlsBuffers(libssl); // here there is somebody to tell if memory runs out
    return new SecureContext(libssl, options);
  }

  releaseSecureContext(secureContext: unknown): void {
    (secureContext as SecureContext).release();
  }

  listen(context: SocketContext, options: ListenOptions<unknown>): ListenSocket {
    return new EpollListenSocket(this, context, options);
  }

  connect<S, C>(
    context: SocketContext<S, C>,
    options: ConnectOptions<unknown>,
    ext: S,
  ): Socket<S, C> {
    return connect(this, context, options, ext);
  }

  adoptHandle<S, C>(context: SocketContext<S, C>, handle: unknown): Socket<S, C> {
    const what = "Cannot adopt a handle";
    if (!Number.isSafeInteger(handle) || (handle as number) < 0) {
      throw new TypeError(
        `${what}: the epoll backend takes descriptors, which are whole numbers, not ${handle}`,
      );
    }
    const fd = handle as number;
    checkRawDescriptors("adoptHandle()");
    this.ledger.checkFree(fd, what);
    checkStreamSocket(this.libc, fd, what);
    if (getOption(this.libc, fd, SO_ACCEPTCONN, what) !== 0) {
      throw new TypeError(`${what}: descriptor ${fd} is a listener`);
    }
    const secure = context.secureContext as SecureContext | null;
    if (secure !== null) checkServer(what, secure);
    setNonblocking(this.libc, fd, what);
    const { ip, port } = remoteAddressOf(this.libc, fd);
    if (ip !== "") setOption(this.libc, fd, IPPROTO_TCP, TCP_NODELAY, 1);
    const socket = new EpollSocket<S, C>(context, 0, undefined as S);
    if (secure !== null) secureServer(socket as EpollSocket, secure);
    socket.attach(fd, ip, port);
    this.defer(socket);
    return socket;
  }

  createTimer<T>(loop: Loop, options: TimerOptions<T>): Timer<T> {
    return new EpollTimer<T>(loop, options, this.timers);
  }

  createPoll<T>(loop: Loop, fd: number, options: PollOptions<T>): Poll<T> {
    checkRawDescriptors("createPoll()");
    this.ledger.checkFree(fd, "Cannot create a poll");
    return new EpollPoll<T>(loop, fd, options, this.selector);
  }

  addServerName(context: SocketContext, pattern: string, tls: TlsOptions, userData: unknown): void {
    const what = "Cannot add a server name";
    const parent = context.secureContext as SecureContext | null;
    if (parent === null) throw new TypeError(`${what}: the context has no "tls"`);
    const secure = new SecureContext(parent.libssl, namedTlsOptions(tls, parent.options));
    try {
      checkServer(what, secure);
    } catch (error) {
      secure.release();
      throw error;
    }
    parent.names.set(pattern, { secure, userData })?.secure.release();
  }

  removeServerName(context: SocketContext, pattern: string): void {
    const parent = context.secureContext as SecureContext | null;
    parent?.names.delete(pattern)?.secure.release();
  }

  findServerNameUserData(context: SocketContext, hostname: string): unknown {
    return (context.secureContext as SecureContext | null)?.names.find(hostname)?.userData;
  }

  nativeHandle(context: SocketContext): Deno.PointerValue {
    return (context.secureContext as SecureContext | null)?.handle ?? null;
  }

  // ---- running ----

  run(): Promise<void> {
    thread.add(this);
    this.#running = Promise.withResolvers<void>();
    return this.#running.promise;
  }

  integrate(): void {
    thread.add(this);
  }

  runBlocking(): void {
    this.#isBlocking = true;
    try {
      while (this.loop.isActive && !this.#isFreed) this.poll(true);
    } finally {
      this.#isBlocking = false;
    }
  }

  /** For the thread: nothing is left to do. Returns whether a `run()` ends with that. */
  finish(): boolean {
    const running = this.#running;
    this.#running = null;
    running?.resolve();
    return running !== null;
  }

  /** For the thread: it cannot go on. */
  fail(error: unknown): void {
    if (this.#running === null) reportError(error);
    else this.#running.reject(error);
    this.#running = null;
  }

  wakeup(): void {
    signal(this.wakeupHandle, (fd) => signalEventfd(this.libc, fd));
  }

  activityChanged(isActive: boolean): void {
    thread.activityChanged(this, isActive);
  }

  free(): void {
    this.#isFreed = true;
    this.#deferred = [];
    for (const lingering of this.lingering) lingering.giveUp();
    this.#tls?.free();
    thread.remove(this, () => this.#closeDescriptors());
    this.finish();
  }

  /** Whether {@linkcode free} was called. */
  get isFreed(): boolean {
    return this.#isFreed;
  }

  // ---- iterations ----

  /** Delivers something in the next iteration, and sees to it that there is one soon. */
  defer(deferred: Deferred): void {
    this.#deferred.push(deferred);
    thread.kick();
  }

  /** Whether the next iteration must not wait for an event. */
  get isUrgent(): boolean {
    return this.#deferred.length > 0 || this.loop.lowPriority.isWaiting;
  }

  /** Waits for events, or looks only, and runs an iteration with them. Returns whether it was one. */
  poll(waits: boolean): boolean {
    const { loop, selector } = this;
    let count = selector.wait(waits && !this.isUrgent ? -1 : 0);
    if (this.#deferred.length === 0 && selector.isInternal(count)) {
      selector.dispatch(count);
      if (!loop.lowPriority.isWaiting) return false;
      count = 0;
    }
    loop.beginIteration();
    if (this.#deferred.length > 0) this.#deliverDeferred();
    selector.dispatch(count);
    if (!this.#isFreed) loop.endIteration();
    return true;
  }

  /** Those that come in meanwhile are for the next iteration. */
  #deliverDeferred(): void {
    const deferred = this.#deferred;
    this.#deferred = [];
    for (const one of deferred) one.deliver();
  }

  #woken(): void {
    this.libc.read(this.#eventfd, counter, counter.length); // first: what comes from here on is new
    if (this.#signal.isRevoked) this.loop.free();
    else if (this.#signal.take()) this.loop.woken();
  }

  /** Ends a wait for this loop's events in another thread. */
  interruptWait(): void {
    signalEventfd(this.libc, this.#eventfd);
  }

  #closeDescriptors(): void {
    this.timers.close();
    this.selector.close();
    if (this.#signal.free()) this.ledger.close(this.libc, this.#eventfd);
  }
}
