/**
 * TLS handshakes are costly, so each iteration of a loop takes on but a few of them: a burst of new
 * clients must not starve the connections that are open. µSockets has the same queue and the same
 * budget.
 * @module
 */

/** How many handshakes one iteration may go on with. */
const BUDGET = 5;

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
    if (this.#waiting.length === 0) return;
    let taken = 0;
    while (this.#budget > 0 && taken < this.#waiting.length) {
      if (this.#waiting[taken++].readmit()) this.#budget--;
    }
    this.#waiting.splice(0, taken);
  }
}
