/**
 * The first ("alpha") generation of the header: names that its manual has and the next one has not.
 * TLS had functions of its own then, in place of the parameter `ssl`.
 * @module
 */
// deno-lint-ignore-file camelcase -- the header's names
import { us_socket_context_listen } from "./connections.ts";
import {
  us_create_socket_context,
  us_socket_context_on_close,
  us_socket_context_on_data,
  us_socket_context_on_open,
  us_socket_context_on_timeout,
  us_socket_context_on_writable,
} from "./context.ts";
import { makeExt } from "./ext.ts";
import { lastLoop } from "./loop.ts";
import { us_socket_write } from "./socket.ts";
import type {
  us_ext_size,
  us_listen_socket_t,
  us_loop_t,
  us_returned,
  us_socket_context_options_t,
  us_socket_context_t,
  us_socket_t,
} from "./types.ts";

/**
 * Makes a context with TLS.
 *
 * ```c
 * struct us_ssl_socket_context *us_create_ssl_socket_context(struct us_loop *loop,
 *     int context_ext_size, struct us_ssl_socket_context_options options);
 * ```
 *
 * @deprecated Use {@linkcode us_create_socket_context} with `ssl` 1.
 */
export function us_create_ssl_socket_context(
  loop: us_loop_t,
  context_ext_size: us_ext_size,
  options: us_socket_context_options_t,
): us_socket_context_t | null {
  return us_create_socket_context(1, loop, context_ext_size, options);
}

/**
 * A connection is open.
 *
 * ```c
 * void us_ssl_socket_context_on_open(struct us_ssl_socket_context *context,
 *     void (*on_open)(struct us_ssl_socket *s));
 * ```
 *
 * @deprecated Use {@linkcode us_socket_context_on_open} with `ssl` 1.
 */
export function us_ssl_socket_context_on_open(
  context: us_socket_context_t,
  on_open: (s: us_socket_t) => us_returned,
): void {
  us_socket_context_on_open(1, context, on_open);
}

/**
 * A socket is closed.
 *
 * ```c
 * void us_ssl_socket_context_on_close(struct us_ssl_socket_context *context,
 *     void (*on_close)(struct us_ssl_socket *s));
 * ```
 *
 * @deprecated Use {@linkcode us_socket_context_on_close} with `ssl` 1.
 */
export function us_ssl_socket_context_on_close(
  context: us_socket_context_t,
  on_close: (s: us_socket_t) => us_returned,
): void {
  us_socket_context_on_close(1, context, on_close);
}

/**
 * Bytes came.
 *
 * ```c
 * void us_ssl_socket_context_on_data(struct us_ssl_socket_context *context,
 *     void (*on_data)(struct us_ssl_socket *s, char *data, int length));
 * ```
 *
 * @deprecated Use {@linkcode us_socket_context_on_data} with `ssl` 1.
 */
export function us_ssl_socket_context_on_data(
  context: us_socket_context_t,
  on_data: (s: us_socket_t, data: Uint8Array, length: number) => us_returned,
): void {
  us_socket_context_on_data(1, context, on_data);
}

/**
 * There is room again after a short write.
 *
 * ```c
 * void us_ssl_socket_context_on_writable(struct us_ssl_socket_context *context,
 *     void (*on_writable)(struct us_ssl_socket *s));
 * ```
 *
 * @deprecated Use {@linkcode us_socket_context_on_writable} with `ssl` 1.
 */
export function us_ssl_socket_context_on_writable(
  context: us_socket_context_t,
  on_writable: (s: us_socket_t) => us_returned,
): void {
  us_socket_context_on_writable(1, context, on_writable);
}

/**
 * `us_ssl_socket_timeout` ran out.
 *
 * ```c
 * void us_ssl_socket_context_on_timeout(struct us_ssl_socket_context *context,
 *     void (*on_timeout)(struct us_ssl_socket *s));
 * ```
 *
 * @deprecated Use {@linkcode us_socket_context_on_timeout} with `ssl` 1.
 */
export function us_ssl_socket_context_on_timeout(
  context: us_socket_context_t,
  on_timeout: (s: us_socket_t) => us_returned,
): void {
  us_socket_context_on_timeout(1, context, on_timeout);
}

/**
 * Listens with TLS.
 *
 * ```c
 * struct us_listen_socket *us_ssl_socket_context_listen(struct us_ssl_socket_context *context,
 *     const char *host, int port, int options, int socket_ext_size);
 * ```
 *
 * @deprecated Use {@linkcode us_socket_context_listen} with `ssl` 1.
 */
export function us_ssl_socket_context_listen(
  context: us_socket_context_t,
  host: string | null,
  port: number,
  options: number,
  socket_ext_size: us_ext_size,
): us_listen_socket_t | null {
  return us_socket_context_listen(1, context, host, port, options, socket_ext_size);
}

/**
 * Sends bytes with TLS.
 *
 * ```c
 * int us_ssl_socket_write(struct us_ssl_socket *s, const char *data, int length);
 * ```
 *
 * @deprecated Use {@linkcode us_socket_write} with `ssl` 1.
 */
export function us_ssl_socket_write(
  s: us_socket_t,
  data: Uint8Array | string,
  length: number,
): number {
  return us_socket_write(1, s, data, length, 0);
}

/**
 * Calls `on_timeout` once, `seconds` from now.
 *
 * ```c
 * void us_ssl_socket_timeout(struct us_ssl_socket *s, unsigned int seconds);
 * ```
 *
 * @deprecated Use `us_socket_timeout` with `ssl` 1.
 */
export function us_ssl_socket_timeout(s: us_socket_t, seconds: number): void {
  s.timeout(seconds);
}

/**
 * The socket's context, as the manual calls it.
 *
 * ```c
 * void *us_get_socket_context(struct us_socket *s);
 * ```
 *
 * @deprecated Use `us_socket_context`.
 */
export function us_get_socket_context(s: us_socket_t): us_socket_context_t {
  return s.context;
}

/**
 * The socket's context.
 *
 * ```c
 * void *us_socket_get_context(struct us_socket *s);
 * ```
 *
 * @deprecated Use `us_socket_context`.
 */
export function us_socket_get_context(s: us_socket_t): us_socket_context_t {
  return s.context;
}

/**
 * Makes a socket belong to a context. Its user data stays.
 *
 * ```c
 * void us_socket_context_link(struct us_socket_context *context, struct us_socket *s);
 * ```
 *
 * @deprecated Use `us_socket_context_adopt_socket`.
 */
export function us_socket_context_link(context: us_socket_context_t, s: us_socket_t): void {
  context.adopt(s, s.ext);
}

/**
 * Connects, on the loop that this thread made last. The socket belongs to nobody until
 * {@linkcode us_socket_context_link} gives it a context, for which `cb` is the place.
 *
 * ```c
 * void us_context_connect(const char *host, int port, int options, int ext_size,
 *     void (*cb)(struct us_socket *), void *user_data);
 * ```
 *
 * @param options None is defined: 0.
 * @param cb Gets the open socket, or null when there is none, and, other than in C, `user_data`.
 * @throws {Deno.errors.BadResource} When this thread has no loop.
 * @deprecated Use `us_socket_context_connect`.
 */
export function us_context_connect(
  host: string | null,
  port: number,
  options: number,
  ext_size: us_ext_size,
  cb: (s: us_socket_t | null, user_data: unknown) => void,
  user_data: unknown,
): void {
  if (options !== 0) throw new RangeError(`Cannot connect: "options" must be 0, not ${options}`);
  const ext = makeExt(ext_size);
  const context = lastLoop().createContext<unknown>({
    onOpen(socket) {
      cb(socket, user_data);
      if (socket.context !== context) context.free();
    },
    onConnectError() {
      context.free();
      cb(null, user_data);
    },
    onClose: () => context.free(),
  }) as unknown as us_socket_context_t;
  try {
    context.connect({ port, ...(host === null ? {} : { host }), ext });
  } catch (error) { // a port that is none, or no permission
    context.free();
    throw error;
  }
}
