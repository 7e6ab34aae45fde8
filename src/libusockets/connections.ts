/**
 * Where sockets come from: listening, connecting, adopting.
 * @module
 */
// deno-lint-ignore-file camelcase -- the header's names
import type { ConnectOptions, ListenOptions } from "../../mod.ts";
import { check } from "./context.ts";
import { extMaker, makeExt, resizedExt } from "./ext.ts";
import { orNull } from "./failure.ts";
import {
  LIBUS_LISTEN_DEFAULT,
  LIBUS_LISTEN_EXCLUSIVE_PORT,
  LIBUS_LISTEN_REUSE_PORT,
  type us_ext_size,
  type us_listen_socket_t,
  type us_socket_context_t,
  type us_socket_t,
} from "./types.ts";

/**
 * Listens for connections. Null when the system refuses; `us_last_error` tells why.
 *
 * ```c
 * struct us_listen_socket_t *us_socket_context_listen(int ssl,
 *     struct us_socket_context_t *context, const char *host, int port, int options,
 *     int socket_ext_size);
 * ```
 *
 * @param host Null: all interfaces.
 * @param port 0: the system chooses one, which `us_socket_local_port` of the listen socket tells.
 * @param options One of `LIBUS_LISTEN_*`.
 * @param socket_ext_size User data of each accepted socket.
 * @throws {Deno.errors.NotSupported} For an option that the backend cannot honour.
 * @throws {Deno.errors.NotCapable} Without the permission.
 */
export function us_socket_context_listen(
  ssl: number,
  context: us_socket_context_t,
  host: string | null,
  port: number,
  options: number,
  socket_ext_size: us_ext_size,
): us_listen_socket_t | null {
  const where = host === null ? { port } : { host, port };
  return listen(ssl, context, where, options, socket_ext_size);
}

/**
 * Listens on a unix socket. Null when the system refuses; `us_last_error` tells why.
 *
 * ```c
 * struct us_listen_socket_t *us_socket_context_listen_unix(int ssl,
 *     struct us_socket_context_t *context, const char *path, int options, int socket_ext_size);
 * ```
 */
export function us_socket_context_listen_unix(
  ssl: number,
  context: us_socket_context_t,
  path: string,
  options: number,
  socket_ext_size: us_ext_size,
): us_listen_socket_t | null {
  return listen(ssl, context, { path }, options, socket_ext_size);
}

function listen(
  ssl: number,
  context: us_socket_context_t,
  where: ListenOptions,
  options: number,
  socket_ext_size: us_ext_size,
): us_listen_socket_t | null {
  check(ssl, context, "listen");
  const socketExt = extMaker(socket_ext_size);
  const shared = sharing(options);
  return orNull(context.loop, () => context.listen({ ...where, ...shared, socketExt }));
}

function sharing(options: number): ListenOptions {
  switch (options) {
    case LIBUS_LISTEN_DEFAULT:
      return {};
    case LIBUS_LISTEN_EXCLUSIVE_PORT:
      return { exclusive: true };
    case LIBUS_LISTEN_REUSE_PORT:
      return { reusePort: true };
    default:
      throw new RangeError(
        `Cannot listen: "options" must be one of LIBUS_LISTEN_*, not ${options}`,
      );
  }
}

/**
 * Stops listening; connections stay.
 *
 * ```c
 * void us_listen_socket_close(int ssl, struct us_listen_socket_t *ls);
 * ```
 */
export function us_listen_socket_close(_ssl: number, ls: us_listen_socket_t): void {
  ls.close();
}

/**
 * Connects. Lands in `on_open`, or in `on_connect_error` (`on_close` where there is none). Null when
 * the system refuses at once.
 *
 * ```c
 * struct us_socket_t *us_socket_context_connect(int ssl, struct us_socket_context_t *context,
 *     const char *host, int port, int options, int socket_ext_size);
 * ```
 *
 * @param host Null: this machine.
 * @param options None is defined: 0.
 * @param socket_ext_size User data of the socket.
 */
export function us_socket_context_connect(
  ssl: number,
  context: us_socket_context_t,
  host: string | null,
  port: number,
  options: number,
  socket_ext_size: us_ext_size,
): us_socket_t | null;
/**
 * Connects from a given address, as later versions of the header have it.
 *
 * ```c
 * struct us_socket_t *us_socket_context_connect(int ssl, struct us_socket_context_t *context,
 *     const char *host, int port, const char *source_host, int options, int socket_ext_size);
 * ```
 *
 * @param source_host The local address to connect from; null for any.
 */
export function us_socket_context_connect(
  ssl: number,
  context: us_socket_context_t,
  host: string | null,
  port: number,
  source_host: string | null,
  options: number,
  socket_ext_size: us_ext_size,
): us_socket_t | null;
export function us_socket_context_connect(
  ssl: number,
  context: us_socket_context_t,
  host: string | null,
  port: number,
  ...rest: [number, us_ext_size] | [string | null, number, us_ext_size]
): us_socket_t | null {
  const [source_host, options, socket_ext_size] = rest.length === 2 ? [null, ...rest] : rest;
  return connect(
    ssl,
    context,
    {
      port,
      ...(host === null ? {} : { host }),
      ...(source_host === null ? {} : { sourceHost: source_host }),
    },
    options,
    socket_ext_size,
  );
}

/**
 * Connects to a unix socket.
 *
 * ```c
 * struct us_socket_t *us_socket_context_connect_unix(int ssl,
 *     struct us_socket_context_t *context, const char *server_path, int options,
 *     int socket_ext_size);
 * ```
 */
export function us_socket_context_connect_unix(
  ssl: number,
  context: us_socket_context_t,
  server_path: string,
  options: number,
  socket_ext_size: us_ext_size,
): us_socket_t | null {
  return connect(ssl, context, { path: server_path }, options, socket_ext_size);
}

function connect(
  ssl: number,
  context: us_socket_context_t,
  where: ConnectOptions,
  options: number,
  socket_ext_size: us_ext_size,
): us_socket_t | null {
  check(ssl, context, "connect");
  if (options !== 0) throw new RangeError(`Cannot connect: "options" must be 0, not ${options}`);
  const ext = makeExt(socket_ext_size);
  return orNull(context.loop, () => context.connect({ ...where, ext }));
}

/**
 * Moves a socket to another context of its loop. The socket stays the same object, which is also what
 * this returns, and its user data begins with what was there.
 *
 * ```c
 * struct us_socket_t *us_socket_context_adopt_socket(int ssl,
 *     struct us_socket_context_t *context, struct us_socket_t *s, int ext_size);
 * ```
 *
 * @param ext_size The new size of the user data; -1 leaves it as it is.
 * @throws {TypeError} When the socket belongs to another loop.
 *
 * @example An upgrade from one protocol to another
 * ```ts
 * import {
 *   us_create_child_socket_context,
 *   us_create_loop,
 *   us_create_socket_context,
 *   us_loop_free,
 *   us_socket_context_adopt_socket,
 *   us_socket_context_on_data,
 *   us_socket_write,
 * } from "@usockets/usockets/libusockets";
 *
 * const loop = us_create_loop(null, null, null, null, 0);
 * const http_context = us_create_socket_context(0, loop, 0, {})!;
 * const websocket_context = us_create_child_socket_context(0, http_context, 0);
 * us_socket_context_on_data(0, http_context, (s) => {
 *   us_socket_write(0, s, "HTTP/1.1 101 Switching Protocols\r\n\r\n", 36, 0);
 *   return us_socket_context_adopt_socket(0, websocket_context, s, 64);
 * });
 * us_loop_free(loop);
 * ```
 */
export function us_socket_context_adopt_socket(
  ssl: number,
  context: us_socket_context_t,
  s: us_socket_t,
  ext_size: us_ext_size,
): us_socket_t {
  check(ssl, context, "adopt a socket");
  if (s.isClosed) return s;
  const ext = ext_size === -1 ? s.ext : resizedExt(s.ext, ext_size);
  return context.adopt(s, ext);
}

/**
 * Makes a socket of a connection that something else accepted. `on_open` follows once the loop runs;
 * in C it is called before this returns.
 *
 * ```c
 * struct us_socket_t *us_adopt_accepted_socket(int ssl, struct us_socket_context_t *context,
 *     LIBUS_SOCKET_DESCRIPTOR client_fd, unsigned int socket_ext_size, char *addr_ip,
 *     int addr_ip_length);
 * ```
 *
 * @param client_fd The backend's handle: a descriptor, or a `Deno.Conn`. It is the library's now.
 * @param addr_ip There for C's order: the system is asked for the address.
 * @throws {TypeError} For what is no such handle.
 */
export function us_adopt_accepted_socket(
  ssl: number,
  context: us_socket_context_t,
  client_fd: unknown,
  socket_ext_size: us_ext_size,
  _addr_ip?: Uint8Array,
  _addr_ip_length?: number,
): us_socket_t {
  check(ssl, context, "adopt a handle");
  return context.adoptHandle(client_fd, makeExt(socket_ext_size));
}
