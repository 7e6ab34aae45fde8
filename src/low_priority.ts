/**
 * TLS handshakes are costly, so each iteration of a loop takes on but a few of them: a burst of new
 * clients must not starve the connections that are open. µSockets has the same queue and the same
 * budget. But where iterations take long, a few in each would starve the new ones until their time is
 * up: then handshakes get a share of the time.
 * @module
 */

/** How many handshakes one iteration may go on with, at least and at most. */
const BUDGET = 5, BUDGET_MAX = 64;

/**
 * One handshake for so many milliseconds since the last iteration. A step takes 0.15 to 0.3 ms with
 * keys of P-256, so that they get up to a twelfth of the time.
 */
const MS_EACH = 4;

/** How many handshakes may begin, or go on, when the last turn took so long. @internal */
export function handshakesFor(turnMs: number, least: number): number {
  return Math.min(BUDGET_MAX, Math.max(least, Math.floor(turnMs / MS_EACH)));
}

/** Something that waits for its turn to spend time on a handshake. @internal */
export interface LowPriority {
  /**
   * Its turn has come. Returns false if it has no more use for it, so that the next one gets it.
   */
  readmit(): boolean;
}

/** The queue of one loop. @internal */
export class LowPriorityQueue {
  #budget = BUDGET;
  #waiting: LowPriority[] = [];
  /** When the last iteration began; 0 where nobody waited. */
  #beganAt = 0;

  /**
   * True: go on now. False: the budget is spent, and `readmit()` will be called in a later
   * iteration.
   */
  admit(waiter: LowPriority): boolean {
    if (this.#budget > 0) {
      this.#budget--;
      return true;
    }
    this.#waiting.push(waiter);
    return false;
  }

  /**
   * Whether some wait: the backend must then run another iteration without waiting for an event.
   */
  get isWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** Step 2 of an iteration. */
  readmit(): void {
    this.#budget = BUDGET;
    if (this.#waiting.length === 0) {
      this.#beganAt = 0;
      return;
    }
    const now = performance.now();
    if (this.#beganAt !== 0) this.#budget = handshakesFor(now - this.#beganAt, BUDGET);
    this.#beganAt = now;
    let taken = 0;
    while (this.#budget > 0 && taken < this.#waiting.length) {
      if (this.#waiting[taken++].readmit()) this.#budget--;
    }
    this.#waiting.splice(0, taken);
  }
}
