/**
 * What a program writes: the handlers of a socket context.
 * @module
 */
import type { SocketContext } from "./context.ts";
import type { TlsInfo } from "./tls_options.ts";
import type { Socket } from "./socket.ts";

/**
 * The handlers of a socket context. A missing one does nothing, but for `onEnd`, whose default
 * closes the socket. One that throws closes its socket with `CloseCode.Handler`. What an async
 * handler returns is ignored.
 *
 * They stand where µSockets has `us_socket_context_on_*`.
 */
export interface Handlers<S = unknown, C = unknown> {
  /**
   * A connection was accepted and is nobody's yet. `handle` is the backend's own: a `Deno.Conn` or
   * a descriptor. Return true to let the library go on with it, false to own it from here.
   */
  onPreOpen?(handle: unknown, ip: string): boolean;
  /**
   * The transport is open. `ip` is the peer's address, `""` on unix sockets. With TLS the handshake is
   * still to come: what is written here is sent when it is done.
   */
  onOpen?(socket: Socket<S, C>, isClient: boolean, ip: string): void;
  /**
   * Bytes came: never none. They are a view that is valid during the call only; copy what is kept.
   */
  onData?(socket: Socket<S, C>, data: Uint8Array): void;
  /** After a short write, once: there is room again. */
  onWritable?(socket: Socket<S, C>): void;
  /**
   * The peer sent its FIN or close_notify, and every byte before it was delivered. Default:
   * `socket.close()`.
   */
  onEnd?(socket: Socket<S, C>): void;
  /** The socket is closed; nothing comes after this. `code` is the user's own or a `CloseCode`. */
  onClose?(socket: Socket<S, C>, code: number, reason: unknown): void;
  /** `socket.timeout()` ran out. */
  onTimeout?(socket: Socket<S, C>): void;
  /** `socket.longTimeout()` ran out. */
  onLongTimeout?(socket: Socket<S, C>): void;
  /**
   * A `connect()` failed; the socket never opened and there will be no `onClose`. Without this handler
   * it fails in silence.
   */
  onConnectError?(socket: Socket<S, C>, error: Error): void;
  /**
   * TLS is agreed on, and verified as far as the options ask. A handshake that fails is an `onClose`
   * with `CloseCode.Tls`.
   */
  onHandshake?(socket: Socket<S, C>, info: TlsInfo): void;
  /** A client asks for a server name that no `addServerName()` matches: it may be added here. */
  onServerName?(context: SocketContext<S, C>, hostname: string): void;
}
