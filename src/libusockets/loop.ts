/**
 * Loops: `us_loop_*`.
 * @module
 */
// deno-lint-ignore-file camelcase -- the header's names
import { type BackendFactory, CoreLoop, Loop, wakeup, type WakeupHandle } from "../../mod.ts";
import { makeExt } from "./ext.ts";
import type { us_ext_size, us_loop_callback, us_loop_t } from "./types.ts";

/**
 * Makes a loop.
 *
 * ```c
 * struct us_loop_t *us_create_loop(void *hint, void (*wakeup_cb)(struct us_loop_t *loop),
 *     void (*pre_cb)(struct us_loop_t *loop), void (*post_cb)(struct us_loop_t *loop),
 *     unsigned int ext_size);
 * ```
 *
 * @param hint What moves the bytes, such as `epoll`; null for `denoConn`. In C it is a foreign loop.
 * @param wakeup_cb Runs after `us_wakeup_loop`. As the two that follow, it may be null.
 * @param pre_cb Runs at the start of each iteration.
 * @param post_cb Runs at the end of each iteration.
 * @throws {Deno.errors.NotSupported|Deno.errors.NotCapable} Where the backend does not work.
 */
export function us_create_loop(
  hint: BackendFactory | null,
  wakeup_cb: us_loop_callback,
  pre_cb: us_loop_callback,
  post_cb: us_loop_callback,
  ext_size: us_ext_size,
): us_loop_t {
  const loop = new Loop<unknown>({
    backend: hint ?? undefined,
    onWakeup: wakeup_cb ?? undefined,
    onPre: pre_cb ?? undefined,
    onPost: post_cb ?? undefined,
    ext: makeExt(ext_size),
  });
  loopOfThread = loop;
  return loop;
}

/** The last one made: the functions of the first generation without a loop mean this one. */
let loopOfThread: us_loop_t | null = null;

/** The loop that this thread made last. @internal */
export function lastLoop(): us_loop_t {
  if (loopOfThread === null || loopOfThread.isFreed) {
    throw new Deno.errors.BadResource("Cannot find a loop: this thread has made none, or freed it");
  }
  return loopOfThread;
}

/**
 * Frees a loop at once, and closes what is open on it.
 *
 * ```c
 * void us_loop_free(struct us_loop_t *loop);
 * ```
 */
export function us_loop_free(loop: us_loop_t): void {
  loop.free();
  if (loopOfThread === loop) loopOfThread = null;
}

/**
 * The loop's user data.
 *
 * ```c
 * void *us_loop_ext(struct us_loop_t *loop);
 * ```
 */
export function us_loop_ext<T = Uint8Array>(loop: us_loop_t): T {
  return loop.ext as T;
}

/**
 * Runs a loop until nothing is left that keeps it running. On a backend that can, it blocks the
 * thread, as in C, and is done when this returns; else (the default one) the promise tells when. So
 * `await` it. What must not stand still meanwhile takes `us_loop_integrate` in its place.
 *
 * ```c
 * void us_loop_run(struct us_loop_t *loop);
 * ```
 *
 * @throws {Deno.errors.Busy} (as a rejection) When the loop runs already.
 */
export async function us_loop_run(loop: us_loop_t): Promise<void> {
  try {
    loop.runBlocking();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotSupported)) throw error;
    await loop.run();
  }
}

/**
 * Makes a loop's `wakeup_cb` run in its own thread. Other threads, which cannot have the loop, pass
 * its `wakeupHandle`.
 *
 * ```c
 * void us_wakeup_loop(struct us_loop_t *loop);
 * ```
 */
export function us_wakeup_loop(loop: us_loop_t | WakeupHandle): void {
  if (loop instanceof CoreLoop) loop.wakeup();
  else wakeup(loop);
}

/**
 * Hooks a loop into Deno's own: its events come from here on, beside everything else.
 *
 * ```c
 * void us_loop_integrate(struct us_loop_t *loop);
 * ```
 *
 * @throws {Deno.errors.Busy} When the loop runs already.
 */
export function us_loop_integrate(loop: us_loop_t): void {
  loop.integrate();
}

/**
 * How many iterations were begun.
 *
 * ```c
 * long long us_loop_iteration_number(struct us_loop_t *loop);
 * ```
 */
export function us_loop_iteration_number(loop: us_loop_t): number {
  return loop.iterationNumber;
}
