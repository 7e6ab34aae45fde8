/**
 * One timer for all timeouts of a loop, as in µSockets: sockets carry deadlines, and a sweep at the
 * loop's granularity looks at them. Setting a timeout costs a clock read and a few stores, whatever
 * the number of sockets.
 * @module
 */
import * as dispatch from "./dispatch.ts";
import type { Loop } from "./loop.ts";
import type { Socket } from "./socket.ts";
import { CLOSED } from "./socket_state.ts";
import type { Timer } from "./timer.ts";

/** Sweeps the sockets of one loop. @internal */
export class TimerSweep {
  readonly #loop: Loop;
  readonly #granularityMs: number;
  readonly #epoch = performance.now();
  #timer: Timer | null = null;
  /** Sockets that have a deadline. */
  #armed = 0;
  /** No deadline lies before this one: most sweeps need not walk. */
  #nextDue = Infinity;

  constructor(loop: Loop, granularityMs: number) {
    this.#loop = loop;
    this.#granularityMs = granularityMs;
  }

  /**
   * The deadline `ms` from now. Rounded up: a timeout is never early. Whole numbers from 1 keep
   * V8's fields small.
   */
  deadlineIn(ms: number): number {
    return Math.ceil(performance.now() - this.#epoch + ms) + 1;
  }

  /** Takes note that one of the socket's three deadlines changed. */
  rearm(socket: Socket): void {
    let due = socket.timeoutAt;
    if (socket.longTimeoutAt !== 0 && (due === 0 || socket.longTimeoutAt < due)) {
      due = socket.longTimeoutAt;
    }
    if (socket.libraryTimeoutAt !== 0 && (due === 0 || socket.libraryTimeoutAt < due)) {
      due = socket.libraryTimeoutAt;
    }
    const before = socket.deadline;
    socket.deadline = due;
    if (due === 0) {
      if (before !== 0) this.#armed--;
      return;
    }
    if (due < this.#nextDue) this.#nextDue = due;
    if (before === 0) {
      this.#armed++;
      if (this.#timer === null) this.#start();
    }
  }

  /** Stops sweeping until a deadline is set again. */
  stop(): void {
    this.#timer?.close();
    this.#timer = null;
  }

  #start(): void {
    if (this.#loop.isFreed) return;
    this.#timer = this.#loop.createTimer({ fallthrough: true });
    this.#timer.set(() => this.#sweep(), this.#granularityMs, this.#granularityMs);
  }

  #sweep(): void {
    if (this.#armed === 0) return this.stop();
    const now = performance.now() - this.#epoch + 1;
    if (now < this.#nextDue) return;
    this.#nextDue = Infinity; // found anew below, and by rearm() for what handlers set meanwhile
    for (const context of this.#loop.contexts) {
      let socket = context.head;
      while (socket !== null) {
        context.cursor = socket.next; // unlink() moves the cursor on when a handler closes or adopts that one
        const due = socket.deadline;
        if (due !== 0) {
          if (due <= now) this.#expire(socket, now);
          else if (due < this.#nextDue) this.#nextDue = due;
        }
        socket = context.cursor;
      }
    }
  }

  #expire(socket: Socket, now: number): void {
    if (socket.libraryTimeoutAt !== 0 && socket.libraryTimeoutAt <= now) {
      socket.libraryTimeoutAt = 0;
      this.rearm(socket);
      dispatch.libraryTimedOut(socket);
    }
    if (socket.timeoutAt !== 0 && socket.timeoutAt <= now) {
      socket.timeoutAt = 0;
      this.rearm(socket);
      dispatch.timedOut(socket);
    }
    if (socket.longTimeoutAt !== 0 && socket.longTimeoutAt <= now) {
      socket.longTimeoutAt = 0;
      this.rearm(socket);
      dispatch.longTimedOut(socket);
    }
    // What is not due yet must be seen by a later sweep.
    if ((socket.flags & CLOSED) === 0 && socket.deadline !== 0) this.rearm(socket);
  }
}
