/**
 * The timers of a loop, on one timerfd: making a timer takes no descriptor, so that it works when
 * they have run out.
 * @module
 */
import type { Loop } from "../src/loop.ts";
import { Timer, type TimerOptions } from "../src/timer.ts";
import { CLOCK_MONOTONIC, EPOLLIN, TFD_CLOEXEC, TFD_NONBLOCK } from "./constants.ts";
import { check } from "./errno.ts";
import type { Ledger } from "./ledger.ts";
import type { Libc } from "./libc.ts";
import type { Selector, Watched } from "./selector.ts";

/** Something that is due at a time of `performance.now()`. */
interface Entry {
  due: number;
  fire(now: number): void;
}

/** What is due when. */
export class TimerQueue implements Watched {
  generation = 0;
  readonly #libc: Libc;
  readonly #selector: Selector;
  readonly #ledger: Ledger;
  readonly #fd: number;
  /** The next one first. Most are later than those before, and go to the end. */
  readonly #entries: Entry[] = [];
  #armedFor = Infinity;
  #isClosed = false;

  constructor(libc: Libc, selector: Selector, ledger: Ledger) {
    this.#libc = libc;
    this.#selector = selector;
    this.#ledger = ledger;
    this.#fd = createTimerfd(libc, ledger);
    selector.add(this.#fd, this, EPOLLIN);
  }

  /** When the next one is due; Infinity for never. */
  get nextDue(): number {
    return this.#entries.length === 0 ? Infinity : this.#entries[0].due;
  }

  /** Calls `fire` when it is due. */
  insert(entry: Entry): void {
    this.#entries.splice(this.#firstBehind(entry.due), 0, entry);
    this.#arm();
  }

  /** Takes one out that is not due yet. */
  delete(entry: Entry): void {
    const entries = this.#entries;
    for (let i = this.#firstBehind(entry.due) - 1; i >= 0 && entries[i].due === entry.due; i--) {
      if (entries[i] !== entry) continue;
      entries.splice(i, 1);
      return this.#arm();
    }
  }

  /** Fires what is due. */
  ready(): void {
    this.#armedFor = -Infinity; // the descriptor stays readable until it is set anew
    const now = performance.now();
    while (this.nextDue <= now) this.#entries.shift()!.fire(now);
    this.#arm();
  }

  /** Closes the descriptor. */
  close(): void {
    this.#isClosed = true;
    this.#selector.remove(this.#fd, this);
    this.#ledger.close(this.#libc, this.#fd);
  }

  /** Where one belongs that is due then, behind those due at the same time. */
  #firstBehind(due: number): number {
    const entries = this.#entries;
    let low = 0, high = entries.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (entries[middle].due > due) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #arm(): void {
    const due = this.nextDue;
    if (due === this.#armedFor || this.#isClosed) return; // a callback may have freed the loop
    this.#armedFor = due;
    const ms = due === Infinity ? 0 : Math.max(due - performance.now(), 1e-6);
    setTimerfd(this.#libc, this.#fd, ms, 0);
  }
}

/** A timer of the epoll backend. */
export class EpollTimer<T = unknown> extends Timer<T> implements Entry {
  due = 0;
  readonly #queue: TimerQueue;
  #repeatMs = 0;

  constructor(loop: Loop, options: TimerOptions<T>, queue: TimerQueue) {
    super(loop, options);
    this.#queue = queue;
  }

  /** Expiries that the loop had no time for are one. */
  fire(now: number): void {
    if (this.#repeatMs > 0) {
      const missed = Math.floor((now - this.due) / this.#repeatMs);
      this.due = Math.max(this.due + this.#repeatMs * (missed + 1), now + SHORTEST_MS);
      this.#queue.insert(this);
    }
    this.expired();
  }

  protected override arm(ms: number, repeatMs: number): void {
    this.due = performance.now() + ms;
    this.#repeatMs = repeatMs;
    this.#queue.insert(this);
  }

  protected override disarm(): void {
    this.#queue.delete(this);
  }

  protected override release(): void {}
}

/** A shorter period would not move the clock's floating-point number on. */
const SHORTEST_MS = 1e-3;

/** Creates a timerfd, disarmed. */
export function createTimerfd(libc: Libc, ledger: Ledger): number {
  const fd = libc.timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  check(libc, "Cannot create a timer descriptor", fd);
  ledger.own(fd);
  return fd;
}

/**
 * `struct itimerspec`: two of `struct timespec`, the interval and the time to the first expiry, each
 * seconds and nanoseconds in 64 bits, of which 32 are enough.
 */
const spec = new Uint32Array(new ArrayBuffer(32));
const specBytes = new Uint8Array(spec.buffer);

/** 136 years: 32 bits of seconds. */
const FOR_EVER_MS = (2 ** 32 - 1) * 1000;

/** Arms a timerfd, or disarms it with 0; what has expired is forgotten. Never early. */
export function setTimerfd(libc: Libc, fd: number, ms: number, repeatMs: number): void {
  setTimespec(0, repeatMs);
  setTimespec(4, ms);
  libc.timerfd_settime(fd, 0, specBytes, null);
}

function setTimespec(at: number, time: number): void {
  const ms = Math.min(time, FOR_EVER_MS);
  const nanoseconds = Math.ceil((ms % 1000) * 1e6);
  const seconds = Math.floor(ms / 1000) + Math.floor(nanoseconds / 1e9);
  spec[at] = seconds;
  spec[at + 2] = nanoseconds % 1e9;
}
