/**
 * Sockets: `us_socket_*`. `ssl` is there for C's order: a socket knows whether it speaks TLS.
 * @module
 */
// deno-lint-ignore-file camelcase -- the header's names
import { ListenSocket } from "../../mod.ts";
import { ipBytes } from "./ip_bytes.ts";
import type { us_listen_socket_t, us_socket_context_t, us_socket_t } from "./types.ts";

const encoder = new TextEncoder();

/** The first `length` bytes. */
function bytesOf(data: Uint8Array | string, length: number, what: string): Uint8Array {
  const bytes = typeof data === "string" ? encoder.encode(data) : data;
  if (length === bytes.length) return bytes;
  if (!(bytes instanceof Uint8Array)) return bytes; // which write() refuses
  if (Number.isInteger(length) && length >= 0 && length < bytes.length) {
    return bytes.subarray(0, length);
  }
  throw new RangeError(`Cannot write ${length} bytes of a ${what} that has ${bytes.length}`);
}

/**
 * Sends the first `length` bytes of `data`; returns how many were accepted. After a short write
 * `on_writable` tells that there is room again, for the rest.
 *
 * ```c
 * int us_socket_write(int ssl, struct us_socket_t *s, const char *data, int length,
 *     int msg_more);
 * ```
 *
 * @param data Bytes, or a string, which is UTF-8.
 * @param msg_more Not 0: more follows at once.
 * @throws {RangeError} When the data is shorter than that.
 */
export function us_socket_write(
  _ssl: number,
  s: us_socket_t,
  data: Uint8Array | string,
  length: number,
  msg_more: number,
): number {
  return s.write(bytesOf(data, length, "buffer"), Boolean(msg_more));
}

/**
 * Sends a header and a payload as one; returns how many bytes of both together were accepted.
 *
 * ```c
 * int us_socket_write2(int ssl, struct us_socket_t *s, const char *header, int header_length,
 *     const char *payload, int payload_length);
 * ```
 *
 * @throws {RangeError} When one of them is shorter than that.
 */
export function us_socket_write2(
  _ssl: number,
  s: us_socket_t,
  header: Uint8Array | string,
  header_length: number,
  payload: Uint8Array | string,
  payload_length: number,
): number {
  return s.write2(
    bytesOf(header, header_length, "header"),
    bytesOf(payload, payload_length, "payload"),
  );
}

/**
 * Calls `on_timeout` once, `seconds` from now or up to `LIBUS_TIMEOUT_GRANULARITY` later; 0 disarms it.
 *
 * ```c
 * void us_socket_timeout(int ssl, struct us_socket_t *s, unsigned int seconds);
 * ```
 */
export function us_socket_timeout(_ssl: number, s: us_socket_t, seconds: number): void {
  s.timeout(seconds);
}

/**
 * Calls `on_long_timeout` once, `minutes` from now; 0 disarms it.
 *
 * ```c
 * void us_socket_long_timeout(int ssl, struct us_socket_t *s, unsigned int minutes);
 * ```
 */
export function us_socket_long_timeout(_ssl: number, s: us_socket_t, minutes: number): void {
  s.longTimeout(minutes);
}

/**
 * The socket's user data.
 *
 * ```c
 * void *us_socket_ext(int ssl, struct us_socket_t *s);
 * ```
 */
export function us_socket_ext<T = Uint8Array>(_ssl: number, s: us_socket_t): T {
  return s.ext as T;
}

/**
 * The socket's context.
 *
 * ```c
 * struct us_socket_context_t *us_socket_context(int ssl, struct us_socket_t *s);
 * ```
 */
export function us_socket_context(_ssl: number, s: us_socket_t): us_socket_context_t {
  return s.context;
}

/**
 * Sends now what `msg_more` held back.
 *
 * ```c
 * void us_socket_flush(int ssl, struct us_socket_t *s);
 * ```
 */
export function us_socket_flush(_ssl: number, s: us_socket_t): void {
  s.flush();
}

/**
 * Ends our direction, behind everything accepted: FIN, and close_notify with TLS.
 *
 * ```c
 * void us_socket_shutdown(int ssl, struct us_socket_t *s);
 * ```
 */
export function us_socket_shutdown(_ssl: number, s: us_socket_t): void {
  s.shutdown();
}

/**
 * Drops everything received from here on. `on_end` comes when the peer ends; in C, where this is a
 * way to close a little later, it comes with the next iteration.
 *
 * ```c
 * void us_socket_shutdown_read(int ssl, struct us_socket_t *s);
 * ```
 */
export function us_socket_shutdown_read(_ssl: number, s: us_socket_t): void {
  s.shutdownRead();
}

/**
 * 1 when our direction has ended, else 0.
 *
 * ```c
 * int us_socket_is_shut_down(int ssl, struct us_socket_t *s);
 * ```
 */
export function us_socket_is_shut_down(_ssl: number, s: us_socket_t): number {
  return Number(s.isShutDown);
}

/**
 * 1 when the socket is closed, else 0.
 *
 * ```c
 * int us_socket_is_closed(int ssl, struct us_socket_t *s);
 * ```
 */
export function us_socket_is_closed(_ssl: number, s: us_socket_t): number {
  return Number(s.isClosed);
}

/**
 * 1 when the connection is open: neither connecting nor closed; else 0.
 *
 * ```c
 * int us_socket_is_established(int ssl, struct us_socket_t *s);
 * ```
 */
export function us_socket_is_established(_ssl: number, s: us_socket_t): number {
  return Number(s.isEstablished);
}

/**
 * Closes the socket: `on_close` is called before this returns. One that is still connecting is
 * cancelled, and calls nothing. Returns the socket.
 *
 * ```c
 * struct us_socket_t *us_socket_close(int ssl, struct us_socket_t *s, int code, void *reason);
 * ```
 *
 * @param code For `on_close`; the older header has neither it nor `reason`.
 * @throws {RangeError} For a negative code: those are the library's own.
 */
export function us_socket_close(
  _ssl: number,
  s: us_socket_t,
  code?: number,
  reason?: unknown,
): us_socket_t {
  s.close(code, reason);
  return s;
}

/**
 * Cancels a connect; does nothing for a socket that is open. Returns the socket.
 *
 * ```c
 * struct us_socket_t *us_socket_close_connecting(int ssl, struct us_socket_t *s);
 * ```
 */
export function us_socket_close_connecting(_ssl: number, s: us_socket_t): us_socket_t {
  if (!s.isEstablished) s.close();
  return s;
}

/**
 * Copies the peer's address, 4 or 16 bytes, into `buf`.
 *
 * ```c
 * void us_socket_remote_address(int ssl, struct us_socket_t *s, char *buf, int *length);
 * ```
 *
 * @param length Its first element has the size of `buf`, and gets how many bytes were copied: 0 for a
 * unix socket, and where there is not enough room.
 */
export function us_socket_remote_address(
  _ssl: number,
  s: us_socket_t,
  buf: Uint8Array,
  length: { [index: number]: number },
): void {
  const ip = ipBytes(s.remoteAddress);
  const fits = ip.length <= Math.min(length[0], buf.length);
  if (fits) buf.set(ip);
  length[0] = fits ? ip.length : 0;
}

/**
 * The local port, also of a listen socket, which in C is a socket too.
 *
 * ```c
 * int us_socket_local_port(int ssl, struct us_socket_t *s);
 * ```
 */
export function us_socket_local_port(_ssl: number, s: us_socket_t | us_listen_socket_t): number {
  return s instanceof ListenSocket ? s.port : s.localPort;
}

/**
 * The peer's port.
 *
 * ```c
 * int us_socket_remote_port(int ssl, struct us_socket_t *s);
 * ```
 */
export function us_socket_remote_port(_ssl: number, s: us_socket_t): number {
  return s.remotePort;
}

/**
 * The backend's own handle: a descriptor or a `Deno.Conn`; null while connecting. In C it is an `SSL`
 * where there is TLS.
 *
 * ```c
 * void *us_socket_get_native_handle(int ssl, struct us_socket_t *s);
 * ```
 */
export function us_socket_get_native_handle(_ssl: number, s: us_socket_t): unknown {
  return s.nativeHandle;
}

/**
 * What `us_socket_context_add_server_name` was given for the name that the client asked for.
 *
 * ```c
 * void *us_socket_server_name_userdata(int ssl, struct us_socket_t *s);
 * ```
 */
export function us_socket_server_name_userdata(_ssl: number, s: us_socket_t): unknown {
  return s.serverNameUserData;
}
