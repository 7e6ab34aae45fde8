/**
 * Timers: `us_timer_*`.
 * @module
 */
// deno-lint-ignore-file camelcase -- the header's names
import { makeExt } from "./ext.ts";
import { orNull } from "./failure.ts";
import type { us_ext_size, us_loop_t, us_timer_t } from "./types.ts";

/**
 * Makes a timer, disarmed; null when the system has none left.
 *
 * ```c
 * struct us_timer_t *us_create_timer(struct us_loop_t *loop, int fallthrough,
 *     unsigned int ext_size);
 * ```
 *
 * @param fallthrough Not 0: it does not keep the loop running.
 */
export function us_create_timer(
  loop: us_loop_t,
  fallthrough: number,
  ext_size: us_ext_size,
): us_timer_t | null {
  const ext = makeExt(ext_size);
  return orNull(loop, () => loop.createTimer({ fallthrough: Boolean(fallthrough), ext }));
}

/**
 * The timer's user data.
 *
 * ```c
 * void *us_timer_ext(struct us_timer_t *timer);
 * ```
 */
export function us_timer_ext<T = Uint8Array>(timer: us_timer_t): T {
  return timer.ext as T;
}

/**
 * Disarms a timer for good.
 *
 * ```c
 * void us_timer_close(struct us_timer_t *timer);
 * ```
 */
export function us_timer_close(timer: us_timer_t): void {
  timer.close();
}

/**
 * Calls `cb` in `ms` milliseconds, then every `repeat_ms`; 0 for `repeat_ms` means once, 0 for both
 * disarms the timer.
 *
 * ```c
 * void us_timer_set(struct us_timer_t *timer, void (*cb)(struct us_timer_t *t), int ms,
 *     int repeat_ms);
 * ```
 *
 * @throws {RangeError} For negative times.
 * @throws {Deno.errors.BadResource} When the timer or its loop is closed.
 *
 * @example Three ticks
 * ```ts
 * import {
 *   us_create_loop,
 *   us_create_timer,
 *   us_loop_free,
 *   us_loop_run,
 *   us_timer_close,
 *   us_timer_ext,
 *   us_timer_set,
 * } from "@usockets/usockets/libusockets";
 *
 * const loop = us_create_loop(null, null, null, null, 0);
 * const timer = us_create_timer(loop, 0, 1)!; // one byte of user data: a counter
 * us_timer_set(timer, (t) => {
 *   if (++us_timer_ext(t)[0] === 3) us_timer_close(t);
 * }, 5, 5);
 * await us_loop_run(loop);
 * console.assert(us_timer_ext(timer)[0] === 3);
 * us_loop_free(loop);
 * ```
 */
export function us_timer_set(
  timer: us_timer_t,
  cb: (timer: us_timer_t) => void,
  ms: number,
  repeat_ms: number,
): void {
  timer.set(cb, ms, repeat_ms);
}

/**
 * The timer's loop.
 *
 * ```c
 * struct us_loop_t *us_timer_loop(struct us_timer_t *t);
 * ```
 */
export function us_timer_loop(t: us_timer_t): us_loop_t {
  return t.loop;
}
