/**
 * Bridges to the rest of Deno: sockets as WHATWG streams and in the shape of `Deno.Conn`, listeners
 * in the shape of `Deno.Listener`, so that code written for those runs on any backend.
 *
 * Everything here is made of promises, and they go on only where the loop shares its thread with
 * Deno: `loop.integrate()` or `loop.run()`, not `runBlocking()`. Before one of them was called
 * nothing happens at all: neither `connect()` nor `accept()` resolves.
 *
 * @example A server that answers in capital letters, and a client
 * ```ts
 * import { Loop } from "@usockets/usockets";
 * import { connect, listen } from "@usockets/usockets/streams";
 *
 * const loop = new Loop(); // or new Loop({ backend: epoll })
 * loop.integrate();
 * const listener = listen(loop, { host: "127.0.0.1", port: 0 });
 * const capitals = () =>
 *   new TransformStream<string, string>({
 *     transform: (text, controller) => controller.enqueue(text.toUpperCase()),
 *   });
 * (async () => {
 *   for await (const conn of listener) {
 *     conn.readable
 *       .pipeThrough(new TextDecoderStream())
 *       .pipeThrough(capitals())
 *       .pipeThrough(new TextEncoderStream())
 *       .pipeTo(conn.writable)
 *       .catch(() => {}); // that client is gone
 *   }
 * })();
 *
 * const conn = await connect(loop, { port: listener.addr.port });
 * await conn.write(new TextEncoder().encode("hello"));
 * await conn.closeWrite();
 * console.assert(await new Response(conn.readable).text() === "HELLO");
 * listener.close();
 * await loop.shutdown();
 * loop.free();
 * ```
 *
 * @module
 */
import { SocketContext } from "./context.ts";
import type { Loop } from "./loop.ts";
import type { ConnectOptions, ListenOptions } from "./options.ts";
import { Socket } from "./socket.ts";
import { Bridge, checkFree, contextOf } from "./streams/bridge.ts";
import { SocketConn } from "./streams/conn.ts";
import { SocketListener } from "./streams/listener.ts";

export { SocketConn, SocketListener };

/** Options of {@linkcode connect}: those of `SocketContext.connect()`, but for `ext`. */
export interface ConnConnectOptions extends Omit<ConnectOptions, "ext"> {
  /** Gives up when it is aborted: `connect()` then rejects with its reason. */
  signal?: AbortSignal;
}

/**
 * Takes a socket over, from inside any of its handlers or outside of them: from here on none of its
 * context's handlers is called, and what comes is read from the Conn. In `onData`, the bytes of that
 * very call are the caller's. A socket that still connects or shakes hands may be taken, too: reads
 * and writes wait. TLS stays with the socket; its timeouts are cleared, and a pause is over.
 *
 * @throws {TypeError} For what is no socket of this library.
 * @throws {Deno.errors.BadResource} For a socket that is closed, or behind `end()`.
 * @throws {Deno.errors.Busy} For a socket that has a Conn already.
 *
 * @example A protocol that begins with a line, then goes on as a stream
 * ```ts
 * import { Loop } from "@usockets/usockets";
 * import { toConn } from "@usockets/usockets/streams";
 *
 * const loop = new Loop();
 * const listener = loop.createContext({
 *   onData(socket, line) {
 *     console.assert(new TextDecoder().decode(line) === "gzip\n");
 *     const { readable, writable } = toConn(socket);
 *     readable.pipeThrough(new CompressionStream("gzip")).pipeTo(writable).catch(() => {});
 *   },
 * }).listen({ host: "127.0.0.1", port: 0 });
 * loop.createContext({
 *   onOpen(socket) {
 *     socket.write("gzip\n");
 *     socket.shutdown(); // and nothing behind it
 *   },
 *   onClose: () => listener.close(),
 * }).connect({ port: listener.port });
 * await loop.run();
 * ```
 */
export function toConn(socket: Socket): SocketConn {
  if (!(socket instanceof Socket)) {
    throw new TypeError("Cannot make a Conn: that is no socket of this library");
  }
  checkFree(socket);
  return new SocketConn(new Bridge(socket, ""));
}

/**
 * Connects; resolves when the transport is open, and rejects with what `onConnectError` would get.
 * With TLS, the handshake may still be under way: `handshake()` tells. Reads wait for it, and what is
 * written is accepted, and sent behind it.
 *
 * @param from A loop for plain connections, or a context that brings its TLS. None of its handlers is
 * called.
 *
 * @throws (as a rejection) As `SocketContext.connect()` does, and `signal.reason`.
 *
 * @example TLS
 * ```ts ignore
 * import { Loop } from "@usockets/usockets";
 * import { connect } from "@usockets/usockets/streams";
 *
 * const loop = new Loop();
 * loop.integrate();
 * const secure = loop.createContext({ tls: {} });
 * using conn = await connect(secure, {
 *   host: "example.com",
 *   port: 443,
 *   signal: AbortSignal.timeout(5000),
 * });
 * console.log((await conn.handshake()).alpnProtocol);
 * ```
 */
export function connect(
  from: Loop | SocketContext,
  options: ConnConnectOptions & { path: string },
): Promise<SocketConn<Deno.UnixAddr>>;
/** Connects to a TCP port. */
export function connect(
  from: Loop | SocketContext,
  options: ConnConnectOptions,
): Promise<SocketConn<Deno.NetAddr>>;
export async function connect(
  from: Loop | SocketContext,
  { signal, ...options }: ConnConnectOptions,
): Promise<SocketConn> {
  signal?.throwIfAborted();
  const context = from instanceof SocketContext ? from : contextOf(from);
  // With user data, so that the context's socketExt() is not asked for some.
  const socket = context.connect({ ...options, ext: null } as ConnectOptions<unknown>);
  const bridge = new Bridge(socket as Socket, options.path ?? "");
  const abort = () => bridge.close();
  signal?.addEventListener("abort", abort);
  try {
    await bridge.opened();
    signal?.throwIfAborted(); // meanwhile
  } catch (error) {
    throw signal?.aborted ? signal.reason : error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
  return new SocketConn(bridge);
}

/**
 * Listens; connections come from `accept()` or by iterating.
 *
 * @param on A loop for plain connections, or a context that brings its TLS and server names. Of its
 * handlers only `onPreOpen` and `onServerName` are called.
 *
 * @throws As `SocketContext.listen()` does.
 *
 * @example
 * ```ts
 * import { Loop } from "@usockets/usockets";
 * import { listen } from "@usockets/usockets/streams";
 *
 * const loop = new Loop();
 * const listener = listen(loop, { host: "127.0.0.1", port: 0 });
 * console.assert(listener.addr.port > 0);
 * listener.close();
 * await loop.run();
 * ```
 */
export function listen(
  on: Loop | SocketContext,
  options: ListenOptions & { path: string },
): SocketListener<Deno.UnixAddr>;
/** Listens on a TCP port. */
export function listen(
  on: Loop | SocketContext,
  options: ListenOptions,
): SocketListener<Deno.NetAddr>;
export function listen(
  on: Loop | SocketContext,
  options: ListenOptions,
): SocketListener {
  return new SocketListener(on, options);
}
