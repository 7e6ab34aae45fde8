/**
 * Polls: events of any descriptor.
 * @module
 */
import * as dispatch from "./dispatch.ts";
import type { Loop } from "./loop.ts";

/** The descriptor can be read without blocking: `LIBUS_SOCKET_READABLE`. */
export const READABLE = 1;
/** The descriptor can be written without blocking: `LIBUS_SOCKET_WRITABLE`. */
export const WRITABLE = 2;

/** Options of a poll. */
export interface PollOptions<T = undefined> {
  /**
   * Called with the events that are ready, `READABLE`, `WRITABLE` or both; 0 for a hang-up or an
   * error alone.
   */
  onReady: (poll: Poll<T>, events: number) => void;
  /** A fallthrough poll does not keep the loop running. @default {false} */
  fallthrough?: boolean;
  /** User data: `poll.ext`. */
  ext?: T;
}

/**
 * Watches a descriptor that something else owns: a pipe, an eventfd, another library's socket.
 * Comes from `Loop.createPoll()`, on backends with descriptors only. It keeps the loop running
 * while it is started, unless it falls through.
 *
 * Stands for `us_poll_t`.
 */
export abstract class Poll<T = unknown> {
  /** The loop this poll belongs to. */
  readonly loop: Loop;
  /** The descriptor; stopping or freeing the poll leaves it open. */
  readonly fd: number;
  /** User data. */
  ext: T;
  readonly #fire: (events: number) => void;
  readonly #fallthrough: boolean;
  #events = 0;
  #isFreed = false;

  /** For backends. @internal */
  constructor(loop: Loop, fd: number, options: PollOptions<T>) {
    this.loop = loop;
    this.fd = fd;
    this.ext = options.ext as T;
    this.#fire = (events) => options.onReady(this, events);
    this.#fallthrough = options.fallthrough === true;
    loop.polls.add(this);
  }

  /** The events that are polled for: 0 when stopped. As `us_poll_events`. */
  get events(): number {
    return this.#events;
  }

  /** Starts polling for `READABLE`, `WRITABLE` or both. As `us_poll_start`. */
  start(events: number): void {
    this.change(events);
  }

  /** Polls for other events from here on; 0 stops. As `us_poll_change`. */
  change(events: number): void {
    if (this.#isFreed) throw new Deno.errors.BadResource("Cannot start a poll: it is freed");
    if ((events & ~(READABLE | WRITABLE)) !== 0) {
      throw new RangeError(
        `Cannot start a poll: "events" must be READABLE, WRITABLE or both, not ${events}`,
      );
    }
    const before = this.#events;
    if (events === before) return;
    this.update(before, events);
    this.#events = events;
    if (this.#fallthrough || (before === 0) === (events === 0)) return;
    if (events === 0) this.loop.release();
    else this.loop.retain();
  }

  /** Stops polling; `start()` goes on. As `us_poll_stop`. */
  stop(): void {
    if (!this.#isFreed) this.change(0);
  }

  /** Stops polling for good. As `us_poll_free`. */
  free(): void {
    this.stop();
    this.#isFreed = true;
    this.loop.polls.delete(this);
  }

  /** Frees the poll. */
  [Symbol.dispose](): void {
    this.free();
  }

  /** Changes what the native selector watches for, or throws. */
  protected abstract update(before: number, events: number): void;

  /** For backends: delivers what is ready, inside an iteration. */
  protected ready(events: number): void {
    if (this.#events !== 0) dispatch.guarded(this.loop, this.#fire, events);
  }
}
