/**
 * How the functions of the header fail: what the system refuses is null, as in C, and the reason is
 * kept; a mistake of the program throws.
 * @module
 */
// deno-lint-ignore-file camelcase -- the header's names
import type { us_loop_t } from "./types.ts";

const lastErrors = new WeakMap<us_loop_t, Error>();

/**
 * Why the last function that returned null on this loop did so: what C programs read from `errno`.
 * Null when none has.
 *
 * @example
 * ```ts
 * import {
 *   us_create_loop,
 *   us_create_socket_context,
 *   us_last_error,
 *   us_loop_free,
 *   us_socket_context_listen,
 * } from "@usockets/usockets/libusockets";
 *
 * const loop = us_create_loop(null, null, null, null, 0);
 * const context = us_create_socket_context(0, loop, 0, {})!;
 * const listen_socket = us_socket_context_listen(0, context, "192.0.2.1", 3000, 0, 0);
 * console.assert(listen_socket === null); // TEST-NET-1 is no address of this machine
 * console.assert(us_last_error(loop) instanceof Deno.errors.AddrNotAvailable);
 * us_loop_free(loop);
 * ```
 */
export function us_last_error(loop: us_loop_t): Error | null {
  return lastErrors.get(loop) ?? null;
}

/** Null for what the system refuses. @internal */
export function orNull<T>(loop: us_loop_t, make: () => T): T | null {
  try {
    return make();
  } catch (error) {
    if (!(error instanceof Error) || isMistake(error)) throw error;
    lastErrors.set(loop, error);
    return null;
  }
}

/** Whether the program must be changed, or started in another way. */
function isMistake(error: Error): boolean {
  const { BadResource, NotCapable, NotSupported } = Deno.errors;
  return [TypeError, RangeError, BadResource, NotCapable, NotSupported]
    .some((Mistake) => error instanceof Mistake);
}
