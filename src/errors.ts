/**
 * Why a socket closed, and the one way to say that a backend cannot do something.
 * @module
 */

/**
 * Why the library closed a socket: the `code` of `onClose`. User codes are 0 and above and come
 * through unchanged; the library's own are negative, each with an `Error` as `reason`.
 *
 * µSockets has two codes (clean and reset); these tell a clean end, a reset and a truncated TLS
 * stream apart.
 *
 * @example
 * ```ts
 * import { CloseCode, Loop } from "@usockets/usockets";
 *
 * using loop = new Loop();
 * loop.createContext({
 *   onClose(_socket, code, reason) {
 *     if (code === CloseCode.Reset) console.warn("the peer reset the connection", reason);
 *   },
 * });
 * ```
 */
export const CloseCode = {
  /** Both directions ended in order, or `close()` was called without a code. */
  Clean: 0,
  /** The peer reset the connection, or is gone: ECONNRESET, EPIPE, ECONNABORTED. */
  Reset: -1,
  /** A TLS stream ended without close_notify: bytes may be missing. */
  Truncated: -2,
  /** The TLS handshake or a TLS record failed, or the handshake took too long. */
  Tls: -3,
  /** A handler threw; `reason` is what it threw. */
  Handler: -4,
  /** The loop or the context was freed, or the grace period of `shutdown()` ended. */
  Freed: -5,
  /** Any other error of the operating system, such as a network that went down. */
  System: -6,
} as const;

/** One of the values of {@linkcode CloseCode}. */
export type CloseCode = typeof CloseCode[keyof typeof CloseCode];

/**
 * The error for what a backend cannot do: names the option and the backend that can.
 *
 * @internal
 */
export function notSupported(
  what: string,
  backendName: string,
  alternative: string,
): Deno.errors.NotSupported {
  return new Deno.errors.NotSupported(
    `Cannot use ${what}: the ${backendName} backend does not support it (${alternative})`,
  );
}

/**
 * What was thrown as an `Error`, so that every negative close code has one as its reason. @internal
 */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown), { cause: thrown });
}

/**
 * The same class of error with a message that says what could not be done: "Cannot X: why".
 *
 * @internal
 */
export function explain(what: string, error: unknown): Error {
  const cause = toError(error);
  const Class = Object.values(Deno.errors).find((known) => cause.constructor === known) ?? Error;
  const explained = new Class(`${what}: ${cause.message}`, { cause });
  const { code } = cause as { code?: string };
  return code === undefined ? explained : Object.assign(explained, { code });
}
