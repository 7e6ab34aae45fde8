/**
 * Timers on setTimeout and setInterval.
 * @module
 */
import type { Loop } from "../loop.ts";
import { Timer, type TimerOptions } from "../timer.ts";
import type { Completion, CompletionQueue } from "./completions.ts";

/** A timer of the Deno backend. */
export class DenoTimer<T> extends Timer<T> implements Completion {
  readonly #completions: CompletionQueue;
  #id: ReturnType<typeof setTimeout> | undefined;
  #isQueued = false;
  #hasExpired = false;

  constructor(loop: Loop, options: TimerOptions<T>, completions: CompletionQueue) {
    super(loop, options);
    this.#completions = completions;
  }

  /** Delivers the expiry, unless the timer was set anew or closed meanwhile. */
  complete(): void {
    this.#isQueued = false;
    if (!this.#hasExpired) return;
    this.#hasExpired = false;
    this.expired();
  }

  protected override arm(ms: number, repeatMs: number): void {
    const delay = Math.min(ms, LONGEST_MS);
    this.#id = setTimeout(() => {
      if (ms > LONGEST_MS) return this.arm(ms - LONGEST_MS, repeatMs);
      this.#id = undefined;
      if (repeatMs > 0) this.#repeat(repeatMs);
      this.#expire();
    }, delay);
    unref(this.#id);
  }

  protected override disarm(): void {
    clearTimeout(this.#id);
    this.#id = undefined;
    this.#hasExpired = false;
  }

  protected override release(): void {}

  #repeat(repeatMs: number): void {
    if (repeatMs > LONGEST_MS) return this.arm(repeatMs, repeatMs);
    this.#id = setInterval(() => this.#expire(), repeatMs);
    unref(this.#id);
  }

  #expire(): void {
    this.#hasExpired = true;
    if (this.#isQueued) return;
    this.#isQueued = true;
    this.#completions.enqueue(this);
  }
}

/** setTimeout() takes a signed 32-bit number of milliseconds: longer waits are made of several. */
const LONGEST_MS = 2 ** 31 - 1;

/**
 * The loop keeps the process alive while it has a reason to, not its timers: see
 * DenoBackend.activityChanged().
 */
function unref(id: unknown): void {
  Deno.unrefTimer(id as number); // Deno's own timers are numbers; the types say what Node's would be
}
