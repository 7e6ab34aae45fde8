/**
 * One timer for all timeouts of a loop, as in µSockets: sockets have deadlines, and a sweep looks
 * at them. Setting a timeout is a few stores, whatever the number of sockets, and reads no clock:
 * what is set is *pending*, a negative number that tells how long, until the next tick begins it,
 * which makes it a deadline, a positive number of the sweep's clock. Beginning late, it is never
 * early; with two ticks to a granule, one to begin and one to notice, it is at most a granule late.
 *
 * These numbers lie side by side in arrays, not in the sockets: once connections have come and
 * gone, sockets lie anywhere, and a walk over them would wait for memory at each. A socket has its
 * place in these arrays, its slot, from the first timeout that it sets until it closes.
 * @module
 */
import * as dispatch from "./dispatch.ts";
import type { Loop } from "./loop.ts";
import type { Socket } from "./socket.ts";
import type { Timer } from "./timer.ts";

/** A timeout that is not set: a deadline that never comes. */
const NONE = Infinity;
/**
 * How long one tick calls handlers, in milliseconds: those that came together are due together,
 * thousands behind an attack, and each may take 20 µs to close.
 */
const TELLING_MS = 1;
/** The rest is due so much later, behind what else is ready. */
const PAUSE_MS = 1;
/** How many numbers an array has room for at the least. */
const LENGTH_MIN = 64;

/**
 * What a timeout of `ms` is until a tick begins it; 0 is due at that tick itself. Rounded up, and
 * one more for the fraction that the clock of the tick drops.
 *
 * @internal
 */
export function pendingTimeout(ms: number): number {
  return ms === 0 ? -1 : -2 - Math.ceil(ms);
}

/** One kind of timeout: what each socket of a loop has set of it. @internal */
export class Timeouts {
  /**
   * By slot: none, pending, or a deadline. Behind the last slot there is none, nor behind the end of
   * the array: a kind that nobody sets takes no memory.
   */
  times: Float64Array = new Float64Array(0);
  /** Whether something was set or disarmed since the last tick, which the next must look at. */
  hasChanges = false;
  /**
   * Without changes, nothing is due before this: most ticks of a quiet loop need not walk. Behind a
   * walk that called handlers it has passed, so that the next tick looks at what is left.
   */
  nextDue = NONE;
  /** Calls the handler of a socket whose timeout is due. */
  readonly expired: (socket: Socket) => void;
  readonly #sweep: TimerSweep;

  constructor(sweep: TimerSweep, expired: (socket: Socket) => void) {
    this.#sweep = sweep;
    this.expired = expired;
  }

  /** Sets the timeout of a socket that is not closed. */
  set(socket: Socket, ms: number): void {
    const { slot } = socket;
    const { times } = this;
    if (slot >= 0 && slot < times.length) times[slot] = pendingTimeout(ms);
    else this.#setFirst(socket, ms);
    if (!this.hasChanges) this.#sweep.firstChange(this);
  }

  /** Disarms the timeout of a socket. */
  disarm({ slot }: Socket): void {
    if (slot < 0 || slot >= this.times.length || this.times[slot] === NONE) return;
    this.times[slot] = NONE;
    if (!this.hasChanges) this.#sweep.firstChange(this);
  }

  /** Disarms a socket that leaves its slot, and moves there what is in the last: maybe its own. */
  leave(socket: Socket, last: number): void {
    this.disarm(socket);
    const { times } = this;
    if (last < times.length) {
      times[socket.slot] = times[last];
      times[last] = NONE;
    }
    if (4 * last <= times.length && times.length > LENGTH_MIN) this.#resize(times.length / 2);
  }

  /**
   * Begins what is pending, and finds the earliest deadline. A walk of its own, which calls nobody:
   * what handlers set while others expire is later than `now`, and stays pending.
   */
  begin(now: number): void {
    const { times } = this;
    const { length } = times;
    let earliest = NONE;
    for (let slot = 0; slot < length; slot++) {
      let at = times[slot];
      if (at >= earliest) continue; // most are
      if (at < 0) times[slot] = at = now - 1 - at;
      if (at < earliest) earliest = at;
    }
    this.hasChanges = false;
    this.nextDue = earliest;
  }

  /** Sets a timeout that there is no slot or no number for. */
  #setFirst(socket: Socket, ms: number): void {
    if (socket.slot < 0) this.#sweep.enter(socket);
    let length = Math.max(this.times.length, LENGTH_MIN);
    while (length <= socket.slot) length *= 2;
    if (length > this.times.length) this.#resize(length);
    this.times[socket.slot] = pendingTimeout(ms);
  }

  #resize(length: number): void {
    const { times } = this;
    this.times = new Float64Array(length).fill(NONE);
    this.times.set(times.subarray(0, length));
  }
}

/** Sweeps the sockets of one loop. @internal */
export class TimerSweep {
  /** Of connecting, the handshake, `end()` or a latched error. */
  readonly library: Timeouts = new Timeouts(this, dispatch.libraryTimedOut);
  /** Of `timeout()`. */
  readonly short: Timeouts = new Timeouts(this, dispatch.timedOut);
  /** Of `longTimeout()`. */
  readonly long: Timeouts = new Timeouts(this, dispatch.longTimedOut);
  /** In the order in which they are called when due together. */
  readonly #kinds = [this.library, this.short, this.long];
  /** By slot, without gaps: the sockets that had a timeout and are not closed. */
  readonly #sockets: Socket[] = [];
  readonly #loop: Loop;
  readonly #tickMs: number;
  readonly #epoch = performance.now();
  #timer: Timer | null = null;

  constructor(loop: Loop, granularityMs: number) {
    this.#loop = loop;
    this.#tickMs = Math.max(granularityMs / 2, 1); // finer than 1 ms is for no timer of Deno's
  }

  /** Gives a socket a slot, behind all others. */
  enter(socket: Socket): void {
    socket.slot = this.#sockets.push(socket) - 1;
  }

  /** Disarms a socket that closes, and takes its slot back: the last socket moves there. */
  leave(socket: Socket): void {
    const { slot } = socket;
    const mover = this.#sockets.pop()!;
    const last = this.#sockets.length;
    for (const timeouts of this.#kinds) timeouts.leave(socket, last);
    if (slot < last) {
      this.#sockets[slot] = mover;
      mover.slot = slot;
    }
    socket.slot = -1;
  }

  /** Takes note of the first timeout of a kind that is set or disarmed since a tick. */
  firstChange(timeouts: Timeouts): void {
    timeouts.hasChanges = true;
    this.resume();
  }

  /** Sweeps again if it has stopped, for sockets may be left. */
  resume(): void {
    if (this.#timer === null && !this.#loop.isFreed) this.#start();
  }

  // Apart, or V8 makes all of this part of `Timeouts.set()`, which takes 2 ns more then.
  #start(): void {
    this.#timer = this.#loop.createTimer({ fallthrough: true });
    this.#timer.set(() => this.#tick(), this.#tickMs, this.#tickMs);
    for (const timeouts of this.#kinds) timeouts.hasChanges = true;
  }

  /** Stops sweeping until a timeout is set again. */
  stop(): void {
    this.#timer?.close();
    this.#timer = null;
    for (const timeouts of this.#kinds) timeouts.hasChanges = false;
  }

  #tick(): void {
    const now = this.#now();
    if (this.#beginAll(now) > now) return;
    const end = performance.now() + TELLING_MS;
    let isDone = true;
    for (const timeouts of this.#kinds) {
      if (timeouts.nextDue <= now) isDone &&= this.#expire(timeouts, now, end);
    }
    // What handlers set begins here, not at the next tick: set again and again, it comes a tick sooner.
    if (this.#kinds.some(({ hasChanges }) => hasChanges)) this.#beginAll(this.#now());
    if (!isDone) this.#timer?.set(() => this.#tick(), PAUSE_MS, this.#tickMs);
  }

  /** A whole number, for deadlines are. */
  #now(): number {
    return Math.floor(performance.now() - this.#epoch);
  }

  /** Begins what is pending; returns the earliest deadline. */
  #beginAll(now: number): number {
    let earliest = NONE;
    for (const timeouts of this.#kinds) {
      if (timeouts.hasChanges || timeouts.nextDue <= now) timeouts.begin(now);
      earliest = Math.min(earliest, timeouts.nextDue);
    }
    if (earliest === NONE) this.stop();
    return earliest;
  }

  /**
   * Calls the handlers of what is due, until all is told or the time has come to `end`; returns whether
   * all is told. From the end: when they have a slot given back, the last one moves there. Either the
   * walk has been at both, or it comes to where that one is now.
   */
  #expire(timeouts: Timeouts, now: number, end: number): boolean {
    let { times } = timeouts;
    for (let slot = times.length; --slot >= 0;) {
      if (times[slot] > now || times[slot] < 0) continue;
      times[slot] = NONE;
      timeouts.expired(this.#sockets[slot]);
      if (performance.now() >= end) return false; // or it was the last, which costs a tick
      times = timeouts.times; // it may have grown or shrunk
      slot = Math.min(slot, times.length);
    }
    return true;
  }
}
