/** A loop of no backend on a clock that stands still until it is told to go on. */
import type { Backend } from "../../src/backend.ts";
import type { SocketContext } from "../../src/context.ts";
import type { Handlers } from "../../src/handlers.ts";
import { Loop } from "../../src/loop.ts";
import { Socket } from "../../src/socket.ts";
import { OPENED } from "../../src/socket_state.ts";
import type { Timeouts } from "../../src/timer_sweep.ts";
import { Timer } from "../../src/timer.ts";

/** Of the loops of {@linkcode World}. */
export const GRANULARITY_MS = 4000;
/** How late a timeout may be: rounding up to whole milliseconds costs up to 2 of them. */
export const LATE_MS = GRANULARITY_MS + 2;

/** What `performance.now()` says between {@linkcode stopClock} and {@linkcode restartClock}. */
export const clock = { now: 0, reads: 0 };
const { now: realNow } = performance;

/** Makes `performance.now()` stand still at 1 s. */
export function stopClock(): void {
  clock.now = 1000;
  clock.reads = 0;
  performance.now = () => {
    clock.reads++;
    return clock.now;
  };
}

/** Gives `performance.now()` back. */
export function restartClock(): void {
  performance.now = realNow;
}

/** A timer that expires when it is told to. */
export class FakeTimer extends Timer {
  nextAt = Infinity;
  #repeatMs = 0;

  get isClosed(): boolean {
    return !this.loop.timers.has(this);
  }

  expire(): void {
    this.nextAt = this.#repeatMs > 0 ? this.nextAt + this.#repeatMs : Infinity;
    this.expired();
  }

  protected override arm(ms: number, repeatMs: number): void {
    this.nextAt = clock.now + ms;
    this.#repeatMs = repeatMs;
  }

  protected override disarm(): void {
    this.nextAt = Infinity;
  }

  protected override release(): void {}
}

/** A socket of no connection. */
export class FakeSocket extends Socket {
  override readonly remoteAddress = "";
  override readonly remotePort = 0;
  override readonly localAddress = "";
  override readonly localPort = 0;
  override readonly tls = null;
  override readonly serverNameUserData = undefined;
  override readonly nativeHandle = null;
  override readonly peerName = "nowhere";
  override setNoDelay(): void {}
  override setKeepAlive(): void {}
  override upgradeTls(): void {}
  protected override sendBytes = () => 0;
  protected override sendBytes2 = () => 0;
  protected override sendFlush(): void {}
  protected override sendFin(): void {}
  protected override sendReset(): void {}
  protected override receivePause(): void {}
  protected override receiveResume(): void {}
  protected override release(): void {}
}

/**
 * What a socket has of `timeout()`, of `longTimeout()` and of the library: Infinity for none,
 * negative while pending, else a deadline.
 */
export function timeoutsOf(socket: Socket): { short: number; long: number; library: number } {
  const { short, long, library } = socket.context.loop.sweep;
  const at = ({ times }: Timeouts) => times[socket.slot] ?? Infinity;
  return { short: at(short), long: at(long), library: at(library) };
}

/** A loop whose timers and sockets are the ones above, and what happened on it. */
export class World {
  readonly timers: FakeTimer[] = [];
  readonly events: string[] = [];
  readonly names = new Map<Socket, string>();
  readonly loop: Loop;
  readonly context: SocketContext;

  constructor(handlers: Handlers = {}) {
    const backend = {
      name: "fake",
      createTimer: (loop: Loop, options: { fallthrough?: boolean }) => {
        const timer = new FakeTimer(loop, options);
        this.timers.push(timer);
        return timer;
      },
      activityChanged() {},
      free() {},
    };
    this.loop = new Loop(() => backend as unknown as Backend, {
      timeoutGranularityMs: GRANULARITY_MS,
      onError: (error) => {
        throw error;
      },
    }) as Loop;
    const note = (event: string) => (socket: Socket) => {
      this.events.push(`${clock.now / 1000} ${event} ${this.names.get(socket)}`);
    };
    this.context = this.loop.createContext({
      onTimeout: note("timeout"),
      onLongTimeout: note("long"),
      onConnectError: note("connect error"),
      onClose: note("close"),
      ...handlers,
    }) as unknown as SocketContext;
  }

  open(name = `${this.names.size}`, context = this.context, flags = OPENED): Socket {
    const socket = new FakeSocket(context, flags, undefined);
    this.names.set(socket, name);
    return socket;
  }

  /** Lets time pass, timers expiring on their way. */
  pass(ms: number): void {
    const until = clock.now + ms;
    while (true) {
      const due = this.timers.filter((timer) => timer.nextAt <= until);
      if (due.length === 0) break;
      const first = due.reduce((a, b) => a.nextAt <= b.nextAt ? a : b);
      clock.now = Math.max(clock.now, first.nextAt);
      first.expire();
    }
    clock.now = Math.max(clock.now, until); // handlers may have taken longer
  }
}
