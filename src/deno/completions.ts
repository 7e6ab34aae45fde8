/**
 * Operations of Deno's complete one by one, as promises. Those that complete in one turn of Deno's
 * loop are gathered here and delivered as one iteration of ours.
 * @module
 */
import { setImmediate } from "node:timers";
import * as dispatch from "../dispatch.ts";
import type { Loop } from "../loop.ts";

/** Something that has an event to deliver. */
export interface Completion {
  /** Delivers it, inside an iteration. */
  complete(): void;
}

/** Something whose writes go out together at the end of an iteration. */
export interface Writer {
  /** Sends what was written since. */
  sendNow(): void;
}

/** The queue of one loop. */
export class CompletionQueue {
  readonly #loop: Loop;
  #queue: Completion[] = [];
  #spare: Completion[] = [];
  #unflushed: Writer[] = [];
  #isScheduled = false;
  #isTurnScheduled = false;
  #isDelivering = false;
  #isStarted = false;
  readonly #deliver = () => this.#iterate();

  constructor(loop: Loop) {
    this.#loop = loop;
  }

  /** Lets events through from here on; those that waited first. */
  start(): void {
    this.#isStarted = true;
    this.schedule();
  }

  /** Holds events back until {@linkcode start}. */
  stop(): void {
    this.#isStarted = false;
  }

  /** Everything is closed: what is still queued gives back what it holds, and delivers nothing. */
  free(): void {
    this.stop();
    for (const completion of this.#queue) completion.complete();
    this.#queue.length = 0;
  }

  /** Adds an event for the next iteration. */
  enqueue(completion: Completion): void {
    this.#queue.push(completion);
    this.schedule();
  }

  /**
   * Flushes the writer at the end of the iteration, or of the caller's turn: what it writes until
   * then goes as one.
   */
  flushLater(writer: Writer): void {
    this.#unflushed.push(writer);
    if (!this.#isDelivering && this.#unflushed.length === 1) queueMicrotask(() => this.#flush());
  }

  /** Runs an iteration in this turn, whether or not there are events. */
  schedule(): void {
    if (this.#isScheduled || !this.#isStarted) return;
    this.#isScheduled = true;
    // Promises that Deno resolves in one turn run their reactions before this one: that gathers
    // them.
    queueMicrotask(this.#deliver);
  }

  /** Handshakes that are put off need another iteration, after the rest of Deno had a turn. */
  scheduleHandshakes(): void {
    if (!this.#loop.lowPriority.isWaiting || this.#isTurnScheduled) return;
    this.#isTurnScheduled = true;
    setImmediate(() => {
      this.#isTurnScheduled = false;
      this.schedule();
    });
  }

  #iterate(): void {
    this.#isScheduled = false;
    if (!this.#isStarted) return;
    const batch = this.#queue;
    this.#queue = this.#spare;
    this.#isDelivering = true;
    this.#loop.beginIteration();
    for (let i = 0; i < batch.length; i++) {
      try {
        batch[i].complete();
      } catch (error) { // a mistake of ours: the other events must not suffer
        dispatch.reportError(this.#loop, error);
      }
    }
    this.#isDelivering = false;
    this.#flush();
    this.#loop.endIteration();
    batch.length = 0;
    this.#spare = batch;
    this.scheduleHandshakes();
  }

  #flush(): void {
    for (let i = 0; i < this.#unflushed.length; i++) this.#unflushed[i].sendNow();
    this.#unflushed.length = 0;
  }
}
