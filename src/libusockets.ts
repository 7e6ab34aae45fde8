/**
 * libusockets.h in TypeScript: every public function of µSockets under its C name, with its
 * parameters in C's order, as a thin layer over the library. For programs and manuals that are to be
 * followed line by line; a new program reads better on {@link "."}.
 *
 * What differs from C:
 *
 * - `ext_size` gives a zeroed `Uint8Array` of that size; a function in its place gives any value.
 * - `hint` of `us_create_loop` is a backend, such as `epoll`, or null for the default one.
 * - `us_loop_run` blocks where the backend can, and returns a promise in any case: `await` it.
 * - What the system refuses is null, as in C, and `us_last_error` tells why. Mistakes throw.
 * - Nothing has to be cast, and nothing is freed by hand but loops and contexts.
 * - Clients verify servers and their names, for which only a subjectAltName counts; no port is shared
 *   unless it is asked for.
 * - A timeout is never early and up to `LIBUS_TIMEOUT_GRANULARITY` late; in C it is never late. One of 4 s
 *   that `on_timeout` sets again comes every 6 s: who counts per second asks the clock.
 * - A listen socket is no socket, but for `us_socket_local_port`: a timer does what C does with its
 *   timeout.
 *
 * The structures are the library's own objects, so that what C does not have is there too, such as
 * `s.pause()`.
 *
 * @example The echo server of µSockets
 * ```ts
 * import {
 *   us_create_loop,
 *   us_create_socket_context,
 *   us_listen_socket_close,
 *   us_loop_free,
 *   us_loop_run,
 *   us_socket_close,
 *   us_socket_context_connect,
 *   us_socket_context_listen,
 *   us_socket_context_on_close,
 *   us_socket_context_on_data,
 *   us_socket_context_on_open,
 *   us_socket_local_port,
 *   us_socket_timeout,
 *   us_socket_write,
 * } from "@usockets/usockets/libusockets";
 *
 * const SSL = 0;
 * const loop = us_create_loop(null, null, null, null, 0);
 *
 * const echo_context = us_create_socket_context(SSL, loop, 0, {})!;
 * us_socket_context_on_open(SSL, echo_context, (s, _is_client, _ip, _ip_length) => {
 *   us_socket_timeout(SSL, s, 30);
 *   return s;
 * });
 * us_socket_context_on_data(SSL, echo_context, (s, data, length) => {
 *   us_socket_write(SSL, s, data, length, 0);
 *   us_socket_timeout(SSL, s, 30);
 *   return s;
 * });
 * us_socket_context_on_close(SSL, echo_context, (s) => {
 *   us_listen_socket_close(SSL, listen_socket!); // this one serves only once
 *   return s;
 * });
 *
 * const listen_socket = us_socket_context_listen(SSL, echo_context, null, 0, 0, 8);
 * if (listen_socket === null) throw new Error("Failed to listen");
 *
 * const client_context = us_create_socket_context(SSL, loop, 0, {})!;
 * us_socket_context_on_open(SSL, client_context, (s) => us_socket_write(SSL, s, "Hello", 5, 0));
 * us_socket_context_on_data(SSL, client_context, (s, _data, length) => {
 *   console.assert(length === 5);
 *   us_socket_close(SSL, s);
 * });
 * us_socket_context_connect(
 *   SSL,
 *   client_context,
 *   "127.0.0.1",
 *   us_socket_local_port(SSL, listen_socket),
 *   0,
 *   0,
 * );
 *
 * await us_loop_run(loop);
 * us_loop_free(loop);
 * ```
 *
 * @module
 */
export {
  us_adopt_accepted_socket,
  us_listen_socket_close,
  us_socket_context_adopt_socket,
  us_socket_context_connect,
  us_socket_context_connect_unix,
  us_socket_context_listen,
  us_socket_context_listen_unix,
} from "./libusockets/connections.ts";
export {
  us_create_child_socket_context,
  us_create_socket_context,
  us_socket_context_add_server_name,
  us_socket_context_close,
  us_socket_context_ext,
  us_socket_context_find_server_name_userdata,
  us_socket_context_free,
  us_socket_context_get_native_handle,
  us_socket_context_loop,
  us_socket_context_on_close,
  us_socket_context_on_connect_error,
  us_socket_context_on_data,
  us_socket_context_on_end,
  us_socket_context_on_long_timeout,
  us_socket_context_on_open,
  us_socket_context_on_pre_open,
  us_socket_context_on_server_name,
  us_socket_context_on_timeout,
  us_socket_context_on_writable,
  us_socket_context_remove_server_name,
  us_socket_context_timestamp,
} from "./libusockets/context.ts";
export { us_last_error } from "./libusockets/failure.ts";
export * from "./libusockets/first_generation.ts";
export {
  us_create_loop,
  us_loop_ext,
  us_loop_free,
  us_loop_integrate,
  us_loop_iteration_number,
  us_loop_run,
  us_wakeup_loop,
} from "./libusockets/loop.ts";
export * from "./libusockets/poll.ts";
export * from "./libusockets/socket.ts";
export * from "./libusockets/timer.ts";
export * from "./libusockets/types.ts";
