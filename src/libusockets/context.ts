/**
 * Socket contexts and their callbacks: `us_socket_context_*`.
 *
 * `ssl` is a number of C's: not 0 for a context with TLS. It must be what the context was made with.
 *
 * @module
 */
// deno-lint-ignore-file camelcase -- the header's names
import { CloseCode } from "../../mod.ts";
import { makeExt } from "./ext.ts";
import { orNull } from "./failure.ts";
import { ipBytes } from "./ip_bytes.ts";
import { tlsOptions } from "./tls.ts";
import {
  LIBUS_TIMEOUT_GRANULARITY,
  type us_ext_size,
  type us_loop_t,
  type us_returned,
  type us_socket_context_options_t,
  type us_socket_context_t,
  type us_socket_t,
} from "./types.ts";

/** Throws unless the context is what `ssl` says: in C the two are of different sizes. @internal */
export function check(ssl: number, context: us_socket_context_t, what: string): void {
  const isTls = context.secureContext !== null;
  if (Boolean(ssl) === isTls) return;
  throw new TypeError(
    `Cannot ${what}: "ssl" is ${ssl}, but the context was made ${isTls ? "with" : "without"} TLS`,
  );
}

/** What every context made here does, until the program says otherwise. @internal */
export function withDefaults(context: us_socket_context_t): us_socket_context_t {
  // The older header has no on_connect_error: a connection "lands in on_open or on_close".
  context.onConnectError = (socket, error) => {
    context.onClose?.(socket, CloseCode.System, error);
  };
  return context;
}

/**
 * Makes a context: what a group of sockets does. Null when its certificates cannot be read;
 * `us_last_error` tells why. A client verifies the chain and the name of a server, which C leaves to
 * the program: `rejectUnauthorized: false` says no.
 *
 * ```c
 * struct us_socket_context_t *us_create_socket_context(int ssl, struct us_loop_t *loop,
 *     int ext_size, struct us_socket_context_options_t options);
 * ```
 *
 * @param ssl Not 0: its sockets speak TLS, with `options`.
 * @param options As in C they count for nothing where `ssl` is 0.
 * @throws {Deno.errors.NotSupported} For an option that the backend cannot honour.
 */
export function us_create_socket_context(
  ssl: number,
  loop: us_loop_t,
  ext_size: us_ext_size,
  options: us_socket_context_options_t,
): us_socket_context_t | null {
  const ext = makeExt(ext_size);
  const tls = ssl ? tlsOptions(options) : undefined;
  return orNull(loop, () => withDefaults(loop.createContext({ tls, ext }) as us_socket_context_t));
}

/**
 * Closes what is open, and takes the context off its loop.
 *
 * ```c
 * void us_socket_context_free(int ssl, struct us_socket_context_t *context);
 * ```
 */
export function us_socket_context_free(ssl: number, context: us_socket_context_t): void {
  check(ssl, context, "free a context");
  context.free();
}

/**
 * Is asked about each connection just accepted: what returns `fd` lets the library go on with it,
 * anything else, such as -1, makes it the callback's.
 *
 * ```c
 * void us_socket_context_on_pre_open(int ssl, struct us_socket_context_t *context,
 *     LIBUS_SOCKET_DESCRIPTOR (*on_pre_open)(struct us_socket_context_t *context,
 *         LIBUS_SOCKET_DESCRIPTOR fd, char *ip, int ip_length));
 * ```
 *
 * @param on_pre_open Gets the backend's handle as `fd`: a descriptor, or a `Deno.Conn`; and the bytes
 * of the peer's address.
 */
export function us_socket_context_on_pre_open(
  ssl: number,
  context: us_socket_context_t,
  on_pre_open: (
    context: us_socket_context_t,
    fd: unknown,
    ip: Uint8Array,
    ip_length: number,
  ) => unknown,
): void {
  check(ssl, context, "set on_pre_open");
  context.onPreOpen = (handle, ip) => {
    const bytes = ipBytes(ip);
    return on_pre_open(context, handle, bytes, bytes.length) === handle;
  };
}

/**
 * A connection is open.
 *
 * ```c
 * void us_socket_context_on_open(int ssl, struct us_socket_context_t *context,
 *     struct us_socket_t *(*on_open)(struct us_socket_t *s, int is_client, char *ip, int ip_length));
 * ```
 *
 * @param on_open Gets 1 as `is_client` for a socket of `us_socket_context_connect`, and the bytes of
 * the peer's address: 4, 16, or none on unix sockets.
 */
export function us_socket_context_on_open(
  ssl: number,
  context: us_socket_context_t,
  on_open: (s: us_socket_t, is_client: number, ip: Uint8Array, ip_length: number) => us_returned,
): void {
  check(ssl, context, "set on_open");
  context.onOpen = (socket, isClient, ip) => {
    const bytes = ipBytes(ip);
    on_open(socket, isClient ? 1 : 0, bytes, bytes.length);
  };
}

/**
 * A socket is closed.
 *
 * ```c
 * void us_socket_context_on_close(int ssl, struct us_socket_context_t *context,
 *     struct us_socket_t *(*on_close)(struct us_socket_t *s, int code, void *reason));
 * ```
 *
 * @param on_close Gets what `us_socket_close` was given, or a `CloseCode` and an `Error`.
 */
export function us_socket_context_on_close(
  ssl: number,
  context: us_socket_context_t,
  on_close: (s: us_socket_t, code: number, reason: unknown) => us_returned,
): void {
  check(ssl, context, "set on_close");
  context.onClose = on_close;
}

/**
 * Bytes came. They are valid during the call only.
 *
 * ```c
 * void us_socket_context_on_data(int ssl, struct us_socket_context_t *context,
 *     struct us_socket_t *(*on_data)(struct us_socket_t *s, char *data, int length));
 * ```
 */
export function us_socket_context_on_data(
  ssl: number,
  context: us_socket_context_t,
  on_data: (s: us_socket_t, data: Uint8Array, length: number) => us_returned,
): void {
  check(ssl, context, "set on_data");
  context.onData = (socket, data) => void on_data(socket, data, data.length);
}

/**
 * There is room again after a short write.
 *
 * ```c
 * void us_socket_context_on_writable(int ssl, struct us_socket_context_t *context,
 *     struct us_socket_t *(*on_writable)(struct us_socket_t *s));
 * ```
 */
export function us_socket_context_on_writable(
  ssl: number,
  context: us_socket_context_t,
  on_writable: (s: us_socket_t) => us_returned,
): void {
  check(ssl, context, "set on_writable");
  context.onWritable = on_writable;
}

/**
 * `us_socket_timeout` ran out.
 *
 * ```c
 * void us_socket_context_on_timeout(int ssl, struct us_socket_context_t *context,
 *     struct us_socket_t *(*on_timeout)(struct us_socket_t *s));
 * ```
 */
export function us_socket_context_on_timeout(
  ssl: number,
  context: us_socket_context_t,
  on_timeout: (s: us_socket_t) => us_returned,
): void {
  check(ssl, context, "set on_timeout");
  context.onTimeout = on_timeout;
}

/**
 * `us_socket_long_timeout` ran out.
 *
 * ```c
 * void us_socket_context_on_long_timeout(int ssl, struct us_socket_context_t *context,
 *     struct us_socket_t *(*on_long_timeout)(struct us_socket_t *s));
 * ```
 */
export function us_socket_context_on_long_timeout(
  ssl: number,
  context: us_socket_context_t,
  on_long_timeout: (s: us_socket_t) => us_returned,
): void {
  check(ssl, context, "set on_long_timeout");
  context.onLongTimeout = on_long_timeout;
}

/**
 * The peer has ended its direction. Without it the socket closes.
 *
 * ```c
 * void us_socket_context_on_end(int ssl, struct us_socket_context_t *context,
 *     struct us_socket_t *(*on_end)(struct us_socket_t *s));
 * ```
 */
export function us_socket_context_on_end(
  ssl: number,
  context: us_socket_context_t,
  on_end: (s: us_socket_t) => us_returned,
): void {
  check(ssl, context, "set on_end");
  context.onEnd = on_end;
}

/**
 * A connection could not be made. Without it `on_close` is called, as the older header has it.
 *
 * ```c
 * void us_socket_context_on_connect_error(int ssl, struct us_socket_context_t *context,
 *     struct us_socket_t *(*on_connect_error)(struct us_socket_t *s, int code));
 * ```
 *
 * @param on_connect_error Gets `CloseCode.System` as `code`, and behind it, other than in C, the error.
 */
export function us_socket_context_on_connect_error(
  ssl: number,
  context: us_socket_context_t,
  on_connect_error: (s: us_socket_t, code: number, error: Error) => us_returned,
): void {
  check(ssl, context, "set on_connect_error");
  context.onConnectError = (socket, error) => {
    on_connect_error(socket, CloseCode.System, error);
  };
}

/**
 * The context's user data.
 *
 * ```c
 * void *us_socket_context_ext(int ssl, struct us_socket_context_t *context);
 * ```
 */
export function us_socket_context_ext<T = Uint8Array>(
  _ssl: number,
  context: us_socket_context_t,
): T {
  return context.ext as T;
}

/**
 * The context's loop.
 *
 * ```c
 * struct us_loop_t *us_socket_context_loop(int ssl, struct us_socket_context_t *context);
 * ```
 */
export function us_socket_context_loop(_ssl: number, context: us_socket_context_t): us_loop_t {
  return context.loop;
}

/**
 * Makes a context of its own callbacks that shares this one's TLS.
 *
 * ```c
 * struct us_socket_context_t *us_create_child_socket_context(int ssl,
 *     struct us_socket_context_t *context, int context_ext_size);
 * ```
 */
export function us_create_child_socket_context(
  ssl: number,
  context: us_socket_context_t,
  context_ext_size: us_ext_size,
): us_socket_context_t {
  check(ssl, context, "create a child context");
  const ext = makeExt(context_ext_size);
  return withDefaults(context.createChild({ ext }) as us_socket_context_t);
}

/**
 * Closes all listeners and sockets of the context.
 *
 * ```c
 * void us_socket_context_close(int ssl, struct us_socket_context_t *context);
 * ```
 */
export function us_socket_context_close(ssl: number, context: us_socket_context_t): void {
  check(ssl, context, "close a context");
  context.close();
}

/**
 * The tick that timeouts are counted in: one more every `LIBUS_TIMEOUT_GRANULARITY` seconds, 15 bits
 * wide as in C. Timeouts here carry deadlines and need none.
 *
 * ```c
 * unsigned short us_socket_context_timestamp(int ssl, struct us_socket_context_t *context);
 * ```
 */
export function us_socket_context_timestamp(_ssl: number, _context: us_socket_context_t): number {
  return Math.floor(performance.now() / (LIBUS_TIMEOUT_GRANULARITY * 1000)) & 0x7fff;
}

/**
 * The native handle of a context with TLS: a pointer to an `SSL_CTX`. Null for any other, and on the
 * default backend.
 *
 * ```c
 * void *us_socket_context_get_native_handle(int ssl, struct us_socket_context_t *context);
 * ```
 */
export function us_socket_context_get_native_handle(
  _ssl: number,
  context: us_socket_context_t,
): unknown {
  return context.nativeHandle;
}

/**
 * Serves a server name with a certificate of its own; `*` stands for any one label. The same pattern
 * again renews its certificate. What `options` do not say is as the context has it. In C this fails in
 * silence; here see the errors.
 *
 * ```c
 * void us_socket_context_add_server_name(int ssl, struct us_socket_context_t *context,
 *     const char *hostname_pattern, struct us_socket_context_options_t options, void *user);
 * ```
 *
 * @param user What `us_socket_server_name_userdata` gives for clients that ask for the name.
 * @throws {Deno.errors.InvalidData|Deno.errors.NotFound} For a certificate that cannot be read.
 * @throws {Deno.errors.NotSupported} On the default backend.
 */
export function us_socket_context_add_server_name(
  ssl: number,
  context: us_socket_context_t,
  hostname_pattern: string,
  options: us_socket_context_options_t,
  user: unknown,
): void {
  check(ssl, context, "add a server name");
  context.addServerName(hostname_pattern, tlsOptions(options), user);
}

/**
 * Stops serving a pattern.
 *
 * ```c
 * void us_socket_context_remove_server_name(int ssl, struct us_socket_context_t *context,
 *     const char *hostname_pattern);
 * ```
 *
 * @throws {Deno.errors.NotSupported} On the default backend.
 */
export function us_socket_context_remove_server_name(
  ssl: number,
  context: us_socket_context_t,
  hostname_pattern: string,
): void {
  check(ssl, context, "remove a server name");
  context.removeServerName(hostname_pattern);
}

/**
 * A client asks for a server name that is not served: it may be added now.
 *
 * ```c
 * void us_socket_context_on_server_name(int ssl, struct us_socket_context_t *context,
 *     void (*cb)(struct us_socket_context_t *context, const char *hostname));
 * ```
 */
export function us_socket_context_on_server_name(
  ssl: number,
  context: us_socket_context_t,
  cb: (context: us_socket_context_t, hostname: string) => void,
): void {
  check(ssl, context, "set on_server_name");
  context.onServerName = cb;
}

/**
 * What `us_socket_context_add_server_name` was given for the pattern that matches; undefined for none.
 *
 * ```c
 * void *us_socket_context_find_server_name_userdata(int ssl, struct us_socket_context_t *context,
 *     const char *hostname_pattern);
 * ```
 *
 * @throws {Deno.errors.NotSupported} On the default backend.
 */
export function us_socket_context_find_server_name_userdata(
  ssl: number,
  context: us_socket_context_t,
  hostname_pattern: string,
): unknown {
  check(ssl, context, "find a server name");
  return context.findServerNameUserData(hostname_pattern);
}
