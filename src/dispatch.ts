/**
 * The one place where an event of a socket becomes a call of user code, and where what that code
 * throws is handled. Backends deliver into these functions during an iteration of the loop; each
 * checks the socket's state first, so a backend need not know what handlers did to the socket a
 * moment ago.
 * @module
 */
import type { SocketContext } from "./context.ts";
import { CloseCode, toError } from "./errors.ts";
import type { Loop } from "./loop.ts";
import type { Socket } from "./socket.ts";
import {
  CLIENT,
  CLOSED,
  CONNECTING,
  DISCARDS,
  ENDING,
  FAILED,
  FAILED_MS,
  HANDSHAKING,
  OPENED,
  PAUSED,
  PEER_ENDED,
  SHUT_DOWN,
  WANTS_WRITABLE,
} from "./socket_state.ts";

/**
 * Asks `onPreOpen` about a connection just accepted: true to go on, false when the callback owns
 * the handle now. Throws what the handler threw; the backend then closes the handle and calls
 * {@linkcode reportError}.
 */
export function preOpen(context: SocketContext, handle: unknown, ip: string): boolean {
  return context.onPreOpen === undefined || context.onPreOpen(handle, ip) !== false;
}

/** The transport is open: accepted, adopted or connected. */
export function opened(socket: Socket, ip: string): void {
  if ((socket.flags & (CLOSED | OPENED)) !== 0) return;
  const { context } = socket;
  const { loop } = context;
  const isClient = (socket.flags & CLIENT) !== 0;
  // A write while connecting accepted nothing; its onWritable is due right behind onOpen.
  const owed = socket.flags & WANTS_WRITABLE;
  socket.flags &= ~(CONNECTING | WANTS_WRITABLE);
  socket.limitHandshake((socket.flags & HANDSHAKING) === 0 ? 0 : undefined);
  loop.counters.open++;
  if (isClient) loop.counters.connected++;
  else loop.counters.accepted++;
  try {
    // A client's user data exists since connect(). Only now is an onClose owed: should socketExt()
    // throw, nobody has seen this socket.
    const socketExt = socket.acceptedBy?.socketExt ?? context.socketExt;
    if (!isClient && socketExt !== undefined && socket.ext === undefined) socket.ext = socketExt();
    if ((socket.flags & CLOSED) !== 0) return; // socketExt() freed the context
    socket.flags |= OPENED;
    context.onOpen?.(socket, isClient, ip);
  } catch (error) {
    handlerThrew(socket, error);
  }
  if (owed !== 0 && (socket.flags & WANTS_WRITABLE) === 0) {
    socket.flags |= WANTS_WRITABLE;
    writable(socket);
  }
}

/** A connect failed for good: every address was tried, or time is up. */
export function connectFailed(socket: Socket, error: Error): void {
  if ((socket.flags & (CLOSED | OPENED)) !== 0) return;
  socket.terminate(CloseCode.System, error); // emits nothing: it never opened
  try {
    socket.context.onConnectError?.(socket, error);
  } catch (thrown) {
    reportError(socket.context.loop, thrown, socket);
  }
}

/** A client asks for a server name that is not there: `onServerName` of a context may add it. */
export function serverNameAsked(socket: Socket, context: SocketContext, hostname: string): void {
  if ((socket.flags & CLOSED) !== 0) return;
  try {
    context.onServerName?.(context, hostname);
  } catch (error) {
    handlerThrew(socket, error);
  }
}

/** TLS is agreed on: `socket.tls` tells what. */
export function handshaken(socket: Socket): void {
  if ((socket.flags & (CLOSED | HANDSHAKING)) !== HANDSHAKING) return;
  socket.flags &= ~HANDSHAKING;
  if ((socket.flags & ENDING) !== 0) return;
  socket.setLibraryTimeout(-1);
  try {
    socket.context.onHandshake?.(socket, socket.tls!);
  } catch (error) {
    handlerThrew(socket, error);
  }
}

/** Bytes came. The view need only be valid during the call. */
export function received(socket: Socket, bytes: Uint8Array): void {
  if ((socket.flags & CLOSED) !== 0) return;
  const { context } = socket;
  context.loop.counters.bytesIn += bytes.length;
  if ((socket.flags & (DISCARDS | FAILED)) !== 0) {
    if ((socket.flags & FAILED) !== 0) socket.setLibraryTimeout(FAILED_MS); // there may be more
    if ((socket.flags & DISCARDS) !== 0) return;
  }
  try {
    callOnData(context, socket, bytes);
  } catch (error) {
    handlerThrew(socket, error);
  }
}

// Apart from the `try` above: V8 makes a program's handler part of what calls it, and compiles the
// loops of one that stands in a `try` so that they take 1.4 times as long.
function callOnData(context: SocketContext, socket: Socket, bytes: Uint8Array): void {
  context.onData?.(socket, bytes);
}

/** There is room again. Does nothing unless a write was short since. */
export function writable(socket: Socket): void {
  const { flags } = socket;
  if ((flags & WANTS_WRITABLE) === 0 || (flags & (CLOSED | CONNECTING | FAILED)) !== 0) return;
  socket.flags = flags & ~WANTS_WRITABLE;
  if ((flags & SHUT_DOWN) !== 0) return;
  try {
    socket.context.onWritable?.(socket);
  } catch (error) {
    handlerThrew(socket, error);
  }
}

/** The peer's direction ended in order, after its last byte. */
export function ended(socket: Socket): void {
  const { flags } = socket;
  if ((flags & (CLOSED | PEER_ENDED)) !== 0) return;
  if ((flags & FAILED) !== 0) return socket.terminateFailed();
  socket.flags = flags | PEER_ENDED;
  if ((flags & ENDING) !== 0) return socket.terminate(CloseCode.Clean, undefined);
  try {
    if (socket.context.onEnd === undefined) socket.close();
    else socket.context.onEnd(socket);
  } catch (error) {
    handlerThrew(socket, error);
  }
  if ((socket.flags & SHUT_DOWN) !== 0) socket.terminateEnded();
}

/**
 * The connection is dead, and every byte received before that was delivered. While the socket is
 * paused the error waits for `resume()`, as bytes would, unless an `onWritable` is owed: that one
 * can never come, and the user may be waiting for nothing else.
 */
export function failed(socket: Socket, code: number, reason: unknown): void {
  if ((socket.flags & CLOSED) !== 0) return;
  // Nothing that could be missing is of use behind end(), and many peers just go away then.
  if ((socket.flags & ENDING) !== 0 && code === CloseCode.Truncated) {
    return socket.terminate(CloseCode.Clean, undefined);
  }
  socket.latch(code, reason);
  const { flags } = socket;
  // A handshake that failed has no bytes before it.
  if ((flags & HANDSHAKING) !== 0 || (flags & (PAUSED | WANTS_WRITABLE)) !== PAUSED) {
    socket.terminateFailed();
  }
}

/**
 * A write found the connection dead. Bytes that came before may still wait: the backend goes on
 * reading, and its `ended` or `failed` then closes the socket with this first error. So does a
 * second without a byte: a unix peer can shut down its reading side and live on.
 */
export function writeFailed(socket: Socket, code: number, reason: unknown): void {
  if ((socket.flags & (CLOSED | FAILED)) !== 0) return;
  socket.latch(code, reason);
  const { flags } = socket;
  if (
    (flags & PEER_ENDED) !== 0 || (flags & (PAUSED | WANTS_WRITABLE)) === (PAUSED | WANTS_WRITABLE)
  ) {
    socket.terminateFailed();
  } else if ((flags & PAUSED) === 0) {
    socket.setLibraryTimeout(FAILED_MS);
  }
}

/** `timeout()` ran out. */
export function timedOut(socket: Socket): void {
  if ((socket.flags & CLOSED) !== 0) return;
  try {
    socket.context.onTimeout?.(socket);
  } catch (error) {
    handlerThrew(socket, error);
  }
}

/** `longTimeout()` ran out. */
export function longTimedOut(socket: Socket): void {
  if ((socket.flags & CLOSED) !== 0) return;
  try {
    socket.context.onLongTimeout?.(socket);
  } catch (error) {
    handlerThrew(socket, error);
  }
}

/** The library's own deadline passed: of what, the socket's state tells. */
export function libraryTimedOut(socket: Socket): void {
  const { flags } = socket;
  if ((flags & CLOSED) !== 0) return;
  if ((flags & CONNECTING) !== 0) {
    connectFailed(
      socket,
      new Deno.errors.TimedOut(`Cannot connect to ${socket.peerName}: timed out`),
    );
  } else if ((flags & FAILED) !== 0) {
    socket.terminateFailed();
  } else if ((flags & ENDING) !== 0) {
    socket.terminate(CloseCode.Clean, undefined);
  } else if ((flags & HANDSHAKING) !== 0) {
    const why = "Cannot finish the TLS handshake: the peer took too long";
    failed(socket, CloseCode.Tls, new Deno.errors.TimedOut(why)); // nothing can be sent any more
  }
}

/** The socket closed: the last call for it. Only `Socket.terminate()` calls this. */
export function closed(socket: Socket, code: number, reason: unknown): void {
  try {
    socket.context.onClose?.(socket, code, reason);
  } catch (error) {
    reportError(socket.context.loop, error, socket);
  }
}

/** Runs a callback that belongs to no socket: of the loop, a timer or a poll. */
export function guarded<T>(loop: Loop, callback: (argument: T) => void, argument: T): void {
  try {
    callback(argument);
  } catch (error) {
    reportError(loop, error);
  }
}

/** Tells the user what a handler threw. */
export function reportError(loop: Loop, error: unknown, socket?: Socket): void {
  const { onError } = loop;
  if (onError === undefined) return globalThis.reportError(error);
  try {
    onError(error, socket);
  } catch (thrown) {
    globalThis.reportError(thrown);
  }
}

function handlerThrew(socket: Socket, error: unknown): void {
  socket.terminate(CloseCode.Handler, toError(error));
  reportError(socket.context.loop, error, socket);
}
