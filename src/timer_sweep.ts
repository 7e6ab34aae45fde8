/**
 * One timer for all timeouts of a loop, as in µSockets: sockets carry deadlines, and a sweep looks
 * at them. Setting a timeout is a few stores, whatever the number of sockets, and reads no clock:
 * what is set is *pending*, a negative number that tells how long, until the next tick begins it,
 * which makes it a deadline, a positive number of the sweep's clock. Beginning late, it is never
 * early; with two ticks to a granule, one to begin and one to notice, it is at most a granule late.
 * @module
 */
import * as dispatch from "./dispatch.ts";
import type { Loop } from "./loop.ts";
import type { Timer } from "./timer.ts";

/**
 * What a timeout of `ms` is until a tick begins it; 0 is due at that tick itself. Rounded up, and
 * one more for the fraction that the clock of the tick drops. Whole numbers keep V8's fields small.
 *
 * @internal
 */
export function pendingTimeout(ms: number): number {
  return ms === 0 ? -1 : -2 - Math.ceil(ms);
}

/** Sweeps the sockets of one loop. @internal */
export class TimerSweep {
  readonly #loop: Loop;
  readonly #tickMs: number;
  readonly #epoch = performance.now();
  #timer: Timer | null = null;
  /** Whether something was set or disarmed since the last tick, which the next must look at. */
  #hasChanges = false;
  /**
   * Without changes, nothing is due before this: most ticks of a quiet loop need not walk. Behind a
   * walk that called handlers it has passed, so that the next tick looks at what is left.
   */
  #nextDue = Infinity;

  constructor(loop: Loop, granularityMs: number) {
    this.#loop = loop;
    this.#tickMs = Math.max(granularityMs / 2, 1); // finer than 1 ms is for no timer of Deno's
  }

  /** Takes note that a timeout of some socket was set or disarmed. */
  noteChange(): void {
    if (!this.#hasChanges) this.#firstChange();
  }

  /** Stops sweeping until a timeout is set again. */
  stop(): void {
    this.#timer?.close();
    this.#timer = null;
    this.#hasChanges = false;
  }

  #firstChange(): void {
    if (this.#loop.isFreed) return;
    this.#hasChanges = true;
    if (this.#timer !== null) return;
    this.#timer = this.#loop.createTimer({ fallthrough: true });
    this.#timer.set(() => this.#tick(), this.#tickMs, this.#tickMs);
  }

  #tick(): void {
    const now = this.#now();
    if (!this.#hasChanges && now < this.#nextDue) return;
    this.#beginAll(now);
    if (this.#nextDue > now) return;
    this.#expire(now);
    // What handlers set begins here, not at the next tick: set again and again, it comes a tick sooner.
    if (this.#hasChanges && !this.#loop.isFreed) this.#beginAll(this.#now());
  }

  /** From 1, for 0 is none; a whole number, for deadlines are. */
  #now(): number {
    return Math.floor(performance.now() - this.#epoch) + 1;
  }

  #beginAll(now: number): void {
    this.#hasChanges = false;
    this.#nextDue = this.#begin(now);
    if (this.#nextDue === Infinity) this.stop();
  }

  /**
   * Begins what is pending; returns the earliest deadline. A walk of its own, which calls nobody:
   * what handlers set while others expire is later than `now`, and stays pending.
   */
  #begin(now: number): number {
    let earliest = Infinity;
    for (const context of this.#loop.contexts) {
      for (let socket = context.head; socket !== null; socket = socket.next) {
        if (socket.timeoutAt < 0) socket.timeoutAt = now - 1 - socket.timeoutAt;
        if (socket.longTimeoutAt < 0) socket.longTimeoutAt = now - 1 - socket.longTimeoutAt;
        if (socket.libraryTimeoutAt < 0) {
          socket.libraryTimeoutAt = now - 1 - socket.libraryTimeoutAt;
        }
        earliest = earlier(earliest, socket.timeoutAt);
        earliest = earlier(earliest, socket.longTimeoutAt);
        earliest = earlier(earliest, socket.libraryTimeoutAt);
      }
    }
    return earliest;
  }

  /** Calls the handlers of what is due. */
  #expire(now: number): void {
    for (const context of this.#loop.contexts) {
      let socket = context.head;
      while (socket !== null) {
        context.cursor = socket.next; // unlink() moves the cursor on when a handler closes or adopts that one
        if (isDue(socket.libraryTimeoutAt, now)) {
          socket.libraryTimeoutAt = 0;
          dispatch.libraryTimedOut(socket);
        }
        if (isDue(socket.timeoutAt, now)) {
          socket.timeoutAt = 0;
          dispatch.timedOut(socket);
        }
        if (isDue(socket.longTimeoutAt, now)) {
          socket.longTimeoutAt = 0;
          dispatch.longTimedOut(socket);
        }
        socket = context.cursor;
      }
    }
  }
}

function isDue(at: number, now: number): boolean {
  return at > 0 && at <= now;
}

function earlier(earliest: number, at: number): number {
  return at !== 0 && at < earliest ? at : earliest;
}
