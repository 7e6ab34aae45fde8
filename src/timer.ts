/**
 * Precise timers.
 * @module
 */
import * as dispatch from "./dispatch.ts";
import type { Loop } from "./loop.ts";
import { checkNumber } from "./options.ts";

/** Options of a timer. */
export interface TimerOptions<T = undefined> {
  /** A fallthrough timer does not keep the loop running. @default {false} */
  fallthrough?: boolean;
  /** User data: `timer.ext`. */
  ext?: T;
}

/**
 * A precise and costly timer, for the few things that need one; sockets have `timeout()`. Comes
 * from `Loop.createTimer()`. It keeps the loop running while it is armed, unless it falls through.
 *
 * Stands for `us_timer_t`.
 *
 * @example
 * ```ts
 * import { Loop } from "@usockets/usockets";
 *
 * const loop = new Loop();
 * let ticks = 0;
 * loop.createTimer().set((timer) => {
 *   if (++ticks === 3) timer.close();
 * }, 5, 5);
 * await loop.run();
 * console.assert(ticks === 3);
 * ```
 */
export abstract class Timer<T = unknown> {
  /** The loop this timer belongs to. */
  readonly loop: Loop;
  /** User data. */
  ext: T;
  /** Whether the loop may end while this timer is armed. */
  readonly isFallthrough: boolean;
  #fire: (() => void) | null = null;
  #repeats = false;
  #isArmed = false;
  #isClosed = false;

  /** For backends. @internal */
  constructor(loop: Loop, options: TimerOptions<T>) {
    this.loop = loop;
    this.ext = options.ext as T;
    this.isFallthrough = options.fallthrough === true;
    loop.timers.add(this);
  }

  /**
   * Calls `callback` in `ms` milliseconds, then every `repeatMs`; 0 for `repeatMs` means once, 0
   * for both disarms the timer. Setting it again replaces what was set. Expiries that the loop had
   * no time for are one call. As `us_timer_set`.
   *
   * @throws {RangeError} For negative times.
   * @throws {Deno.errors.BadResource} When the timer or its loop is closed.
   */
  set(callback: (timer: Timer<T>) => void, ms: number, repeatMs = 0): void {
    if (typeof callback !== "function") {
      throw new TypeError(`Cannot set a timer: the callback must be a function, not ${callback}`);
    }
    checkNumber("set a timer", "ms", ms ?? NaN, 0);
    checkNumber("set a timer", "repeatMs", repeatMs, 0);
    if (this.#isClosed) throw new Deno.errors.BadResource("Cannot set a timer: it is closed");
    this.disarm();
    if (ms === 0 && repeatMs === 0) return this.#setArmed(false);
    this.#fire = () => callback(this);
    this.#repeats = repeatMs > 0;
    this.#setArmed(true);
    this.arm(ms, repeatMs);
  }

  /** Disarms the timer for good. Closing twice does nothing. As `us_timer_close`. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.disarm();
    this.#setArmed(false);
    this.loop.timers.delete(this);
    this.release();
  }

  /** Closes the timer. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Starts the native timer. */
  protected abstract arm(ms: number, repeatMs: number): void;
  /** Stops the native timer; an expiry not yet delivered is forgotten. */
  protected abstract disarm(): void;
  /** Gives the native timer back. */
  protected abstract release(): void;

  /** For backends: delivers an expiry, inside an iteration. */
  protected expired(): void {
    if (!this.#isArmed || this.#fire === null) return;
    if (!this.#repeats) this.#setArmed(false);
    dispatch.guarded(this.loop, this.#fire, undefined);
  }

  #setArmed(armed: boolean): void {
    if (armed === this.#isArmed) return;
    this.#isArmed = armed;
    if (this.isFallthrough) return;
    if (armed) this.loop.retain();
    else this.loop.release();
  }
}
