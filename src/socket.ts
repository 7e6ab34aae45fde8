/**
 * A connection, whatever moves its bytes.
 * @module
 */
import type { SocketContext } from "./context.ts";
import * as dispatch from "./dispatch.ts";
import { CloseCode } from "./errors.ts";
import type { ListenSocket } from "./listen_socket.ts";
import { checkNumber, type KeepAliveTimings } from "./options.ts";
import type { TlsInfo, TlsOptions } from "./tls_options.ts";
import {
  CANNOT_WRITE,
  CLOSED,
  CONNECTING,
  DISCARDS,
  ENDING,
  FAILED,
  FAILED_MS,
  OPENED,
  PAUSED,
  PEER_ENDED,
  SHUT_DOWN,
  WANTS_WRITABLE,
} from "./socket_state.ts";

/** Why a connection closes: the code and the reason of `onClose`. */
interface Failure {
  readonly code: number;
  readonly reason: unknown;
}

const IN_ORDER: Failure = { code: CloseCode.Clean, reason: undefined };

/**
 * A network connection: TCP, unix or TLS, all with the same interface. It belongs to a context,
 * which has its handlers, and carries typed user data in `ext`. It comes from `listen()`,
 * `connect()` or `adoptHandle()`, never from a constructor call of a program.
 *
 * Stands for `us_socket_t`. A backend's socket is a subclass that implements the protected methods.
 *
 * @example
 * ```ts
 * import { Loop } from "@usockets/usockets";
 *
 * const loop = new Loop();
 * const server = loop.createContext({
 *   onData(socket, data) {
 *     socket.write(data);
 *     socket.end();
 *   },
 * });
 * const listener = server.listen({ host: "127.0.0.1", port: 0 });
 * const client = loop.createContext({
 *   onOpen: (socket) => void socket.write("hello"),
 *   onData: (_socket, data) => console.assert(new TextDecoder().decode(data) === "hello"),
 *   onClose: () => listener.close(),
 * });
 * client.connect({ port: listener.port });
 * await loop.run();
 * ```
 */
export abstract class Socket<S = unknown, C = unknown> {
  /** The context this socket belongs to; `adopt()` changes it. */
  readonly context: SocketContext<S, C>;
  /** User data, made by the context's `socketExt()` or given to `connect()` or `adopt()`. */
  ext: S;
  /** Bits of socket_state.ts. @internal */
  flags: number;
  /** Neighbours in the context's list. @internal */
  previous: Socket | null = null;
  /** @internal */
  next: Socket | null = null;
  /** Where the sweep has its timeouts; negative until the first is set, and when closed. @internal */
  slot: number = -1;
  /** The listener that counts this connection. @internal */
  acceptedBy: ListenSocket | null = null;
  #latched: Failure | null = null;
  /** For backends: of a write that failed, until an iteration tells it. */
  protected writeFailure: { code: number; reason: unknown } | null = null;

  /**
   * For backends: links the socket into its context and keeps the loop running until it closes.
   * @internal
   */
  constructor(context: SocketContext<S, C>, flags: number, ext: S) {
    this.context = context;
    this.ext = ext;
    this.flags = flags;
    context.link(this as Socket);
    context.loop.retain();
  }

  /** Whether the socket is closed; every call on it then does nothing. */
  get isClosed(): boolean {
    return (this.flags & CLOSED) !== 0;
  }

  /** Whether our direction has ended, by `shutdown()` or `end()`. */
  get isShutDown(): boolean {
    return (this.flags & SHUT_DOWN) !== 0;
  }

  /** Whether the transport is open: neither connecting nor closed. */
  get isEstablished(): boolean {
    return (this.flags & (OPENED | CLOSED)) === OPENED;
  }

  /** The peer's address; `""` for unix sockets and while connecting. Still there in `onClose`. */
  abstract get remoteAddress(): string;
  /** The peer's port; 0 for unix sockets and while connecting. */
  abstract get remotePort(): number;
  /** The local address; `""` for unix sockets and while connecting. */
  abstract get localAddress(): string;
  /** The local port; 0 for unix sockets and while connecting. */
  abstract get localPort(): number;
  /** What TLS agreed on; null for a plain socket and until `onHandshake`. */
  abstract get tls(): TlsInfo | null;
  /** What `addServerName()` was given for the name the client asked for. */
  abstract get serverNameUserData(): unknown;
  /** The backend's own handle: a `Deno.Conn`, a descriptor, or null while connecting. */
  abstract get nativeHandle(): unknown;

  /**
   * Sends bytes, or a string as UTF-8. Returns how many bytes were accepted, 0 to all; accepted
   * bytes are sent in order and never lost by the library. After a short write one `onWritable`
   * tells that there is room again. The library queues nothing else: the rest is the caller's to
   * keep. On a socket that is closed, shut down or still connecting it returns 0.
   *
   * @param data The bytes; may be reused as soon as this returns.
   * @param more More follows at once (MSG_MORE): the system may wait for it to fill a packet.
   *
   * @throws {TypeError} For what is neither a Uint8Array nor a string.
   *
   * As `us_socket_write`.
   */
  write(data: Uint8Array | string, more?: boolean): number {
    const bytes = typeof data === "string" ? encode(data) : checkBytes(data, "data");
    if ((this.flags & CANNOT_WRITE) !== 0) return bytes.length === 0 ? 0 : this.#refuseWrite();
    const accepted = this.sendBytes(bytes, more === true);
    if (accepted < bytes.length) this.flags |= WANTS_WRITABLE;
    this.context.loop.counters.bytesOut += accepted;
    return accepted;
  }

  /**
   * Sends a header and a payload as one: one system call where there is one. Returns the bytes
   * accepted of both together, like {@linkcode write}. As `us_socket_write2`.
   */
  write2(header: Uint8Array, payload: Uint8Array): number {
    checkBytes(header, "header");
    checkBytes(payload, "payload");
    if ((this.flags & CANNOT_WRITE) !== 0) {
      return this.write(header.length === 0 ? payload : header);
    }
    const accepted = this.sendBytes2(header, payload);
    if (accepted < header.length + payload.length) this.flags |= WANTS_WRITABLE;
    this.context.loop.counters.bytesOut += accepted;
    return accepted;
  }

  /** Sends now what `more` held back. As `us_socket_flush`. */
  flush(): void {
    if ((this.flags & CANNOT_WRITE) === 0) this.sendFlush();
  }

  /**
   * Ends our direction: FIN, and close_notify on TLS, behind everything accepted. The peer may go
   * on sending. When it has ended too, the socket closes with code 0, at once if it has already. As
   * `us_socket_shutdown`.
   */
  shutdown(): void {
    const { flags } = this;
    if ((flags & (CONNECTING | CLOSED | SHUT_DOWN)) !== 0) return;
    this.flags = (flags | SHUT_DOWN) & ~WANTS_WRITABLE;
    if ((flags & FAILED) !== 0) return;
    if ((flags & PEER_ENDED) !== 0) this.terminateEnded();
    else this.sendFin();
  }

  /** Drops everything received from here on. `onEnd` still comes. As `us_socket_shutdown_read`. */
  shutdownRead(): void {
    if ((this.flags & CLOSED) === 0) this.flags |= DISCARDS;
  }

  /**
   * The polite way out: sends what was accepted, then FIN (and close_notify), drops what still
   * comes until the peer's FIN or for `lingerSeconds`, then closes with code 0. No other event
   * comes meanwhile. A socket that is still connecting is closed.
   *
   * @param lingerSeconds How long to wait for the peer, to the loop's timeout granularity. @default
   * {5}
   * @throws {RangeError} For a negative time.
   */
  end(lingerSeconds = 5): void {
    checkNumber("end", "lingerSeconds", lingerSeconds, 0);
    if ((this.flags & (CLOSED | ENDING)) !== 0) return;
    if ((this.flags & CONNECTING) !== 0) return this.close();
    this.clearTimeouts();
    this.flags |= ENDING | DISCARDS;
    this.shutdown(); // closes at once where the peer has ended already
    if ((this.flags & CLOSED) !== 0) return;
    this.setLibraryTimeout(lingerSeconds * 1000);
    this.resume();
  }

  /**
   * Closes the socket: `onClose` is called before this returns, and nothing after it. What was
   * accepted is still sent in the background; input left unread may turn the FIN into a RST, so
   * `end()` is what a server wants behind a last response. A socket that is still connecting is
   * cancelled, and emits nothing. As `us_socket_close`.
   *
   * @param code Comes through to `onClose` unchanged. @default {0}
   * @param reason Comes through to `onClose` unchanged.
   * @throws {RangeError} For a negative or fractional code: those are the library's own.
   */
  close(code = 0, reason?: unknown): void {
    checkNumber("close", "code", code, 0, true);
    this.terminate(code, reason);
  }

  /**
   * Closes the socket with a RST and drops what was accepted. `onClose` comes with code 0.
   *
   * @throws {Deno.errors.NotSupported} On the Deno backend, which has no way to send a RST.
   */
  reset(): void {
    if ((this.flags & CLOSED) !== 0) return;
    this.sendReset();
    this.terminate(CloseCode.Clean, undefined);
  }

  /**
   * Calls `onTimeout` once, between `seconds` and `seconds` plus the loop's granularity from now.
   * Setting it again replaces it; 0 disarms it. It runs while connecting too. As
   * `us_socket_timeout`, without its limit of 240 ticks.
   *
   * @throws {RangeError} For a negative time.
   */
  timeout(seconds: number): void {
    checkNumber("set a timeout", "seconds", seconds, 0);
    if ((this.flags & (CLOSED | ENDING)) !== 0) return;
    const { short } = this.context.loop.sweep;
    if (seconds === 0) short.disarm(this as Socket);
    else short.set(this as Socket, seconds * 1000);
  }

  /**
   * Like {@linkcode timeout}, in minutes and independent of it, for `onLongTimeout`. As
   * `us_socket_long_timeout`.
   */
  longTimeout(minutes: number): void {
    checkNumber("set a long timeout", "minutes", minutes, 0);
    if ((this.flags & (CLOSED | ENDING)) !== 0) return;
    const { long } = this.context.loop.sweep;
    if (minutes === 0) long.disarm(this as Socket);
    else long.set(this as Socket, minutes * 60_000);
  }

  /** Stops `onData` and `onEnd`, so that the peer is slowed down, until {@linkcode resume}. */
  pause(): void {
    if ((this.flags & (CLOSED | PAUSED | ENDING)) !== 0) return;
    this.flags |= PAUSED;
    // What came before a latched error waits now. But who pauses behind a short write awaits an
    // onWritable that will never come: that socket closes all the same.
    if ((this.flags & (FAILED | WANTS_WRITABLE)) === FAILED) this.setLibraryTimeout(-1);
    this.receivePause();
  }

  /**
   * Goes on with what was held back since {@linkcode pause}; its events come in a later turn, not
   * inside this call.
   */
  resume(): void {
    if ((this.flags & (CLOSED | PAUSED)) !== PAUSED) return;
    this.flags &= ~PAUSED;
    if ((this.flags & FAILED) !== 0) this.setLibraryTimeout(FAILED_MS);
    this.receiveResume();
  }

  /**
   * Whether small writes go out at once (TCP_NODELAY), which is the default. Does nothing on unix
   * sockets.
   *
   * @throws {Deno.errors.NotSupported} For TLS sockets on the Deno backend.
   */
  abstract setNoDelay(enable?: boolean): void;

  /**
   * Whether idle connections are probed (SO_KEEPALIVE). Does nothing on unix sockets, and while
   * connecting: `onOpen` is the place for it.
   *
   * @throws {Deno.errors.NotSupported} For timings and TLS sockets on the Deno backend.
   */
  abstract setKeepAlive(enable?: boolean, timings?: KeepAliveTimings): void;

  /**
   * Starts TLS on a plain socket (STARTTLS) behind everything written before; nothing that comes from
   * here on reaches `onData` undecrypted. `onHandshake` tells when it is agreed on; what is written
   * until then is sent encrypted after.
   *
   * @param options Absent: the TLS of the socket's context, if that has some. A server with many
   * connections adopts them into such a context first, so that certificates are read only once.
   * @param received Bytes that `onData` got already and that belong to TLS: what came behind the
   * command in the same call, of a peer that does not wait for the answer.
   *
   * @throws {Deno.errors.NotSupported} Where the backend cannot: see docs/backends.md.
   * @throws {Deno.errors.Busy} When TLS is started already.
   * @throws {Deno.errors.NotConnected} When the socket is not open yet, or one direction has ended.
   * @throws {TypeError|Deno.errors.InvalidData} As `createContext()` for its `tls`.
   */
  abstract upgradeTls(options?: TlsOptions, received?: Uint8Array): void;

  /** Where this socket is or was to connect to, for messages. @internal */
  abstract get peerName(): string;

  /** Accepts 0 to all bytes for sending; later calls `dispatch.writable` when it accepted less. */
  protected abstract sendBytes(bytes: Uint8Array, more: boolean): number;
  /** Accepts 0 to all bytes of both. */
  protected abstract sendBytes2(header: Uint8Array, payload: Uint8Array): number;
  /** Sends what `more` held back. */
  protected abstract sendFlush(): void;
  /** Ends our direction behind everything accepted. */
  protected abstract sendFin(): void;
  /** Makes the release that follows a RST, or throws NotSupported. */
  protected abstract sendReset(): void;
  /** Delivers neither bytes nor the end until {@linkcode receiveResume}. */
  protected abstract receivePause(): void;
  /** Delivers again, in a later iteration. */
  protected abstract receiveResume(): void;
  /** Gives the connection back, once; what was accepted is still sent. Cancels a connect. */
  protected abstract release(): void;

  /** A write before the socket is open, or when it is about to fail, is a short one. */
  #refuseWrite(): 0 {
    if ((this.flags & (CLOSED | SHUT_DOWN)) !== 0) return 0;
    this.flags |= WANTS_WRITABLE;
    // Its onWritable will never come, and a paused socket may be waiting for nothing else.
    if ((this.flags & (FAILED | PAUSED)) === (FAILED | PAUSED)) this.setLibraryTimeout(0);
    return 0;
  }

  /** For backends: the connection is gone, and its listener may accept another. */
  protected released(): void {
    this.acceptedBy?.connectionClosed();
    this.acceptedBy = null;
  }

  /** Bounds a handshake, as its context does unless it is told; 0 for no bound. @internal */
  limitHandshake(seconds: number = this.context.handshakeTimeoutMs / 1000): void {
    this.setLibraryTimeout(seconds === 0 ? -1 : seconds * 1000);
  }

  /** Sets the library's own timeout: 0 for the next tick, negative for none. @internal */
  setLibraryTimeout(ms: number): void {
    if ((this.flags & CLOSED) !== 0) return;
    const { library } = this.context.loop.sweep;
    if (ms < 0) library.disarm(this as Socket);
    else library.set(this as Socket, ms);
  }

  /** Keeps the first fatal error; writes accept nothing from here on. @internal */
  latch(code: number, reason: unknown): void {
    if ((this.flags & FAILED) !== 0) return;
    this.flags |= FAILED;
    this.#latched = { code, reason };
  }

  /** Closes with the latched error. @internal */
  terminateFailed(): void {
    const { code, reason } = this.#latched!;
    this.terminate(code, reason);
  }

  /** Both directions ended: in order, unless it is known that a write failed. @internal */
  terminateEnded(): void {
    const { code, reason } = this.writeFailure ?? IN_ORDER;
    this.terminate(code, reason);
  }

  /** Closes with any code: the library's own way. @internal */
  terminate(code: number, reason: unknown): void {
    const { flags } = this;
    if ((flags & CLOSED) !== 0) return;
    this.flags = flags | CLOSED;
    if (this.slot >= 0) this.context.loop.sweep.leave(this as Socket);
    this.context.unlink(this);
    const { counters } = this.context.loop;
    if ((flags & CONNECTING) === 0) counters.open--;
    // onClose before the handle goes, so that addresses can still be asked for.
    if ((flags & OPENED) !== 0) dispatch.closed(this, code, reason);
    this.release();
    const { loop } = this.context;
    loop.release();
    loop.socketClosed();
  }

  /** Disarms what the user set; the library's own timeout stays. @internal */
  clearTimeouts(): void {
    const { sweep } = this.context.loop;
    sweep.short.disarm(this as Socket);
    sweep.long.disarm(this as Socket);
  }
}

const encoder = new TextEncoder();
/** Where strings become bytes; made at the first need. */
let scratch: Uint8Array<ArrayBuffer> | undefined;
const SCRATCH_BYTES = 65_536;

/**
 * A string as UTF-8, until the next one is asked for: whoever sends bytes is done with them when it
 * returns. `encode()` makes an array each time, which takes three to seven times as long.
 */
function encode(text: string): Uint8Array {
  if (text.length <= SCRATCH_BYTES) {
    scratch ??= new Uint8Array(SCRATCH_BYTES);
    const { read, written } = encoder.encodeInto(text, scratch);
    if (read === text.length) return scratch.subarray(0, written);
  }
  return encoder.encode(text);
}

/** Other views and ArrayBuffers are an easy slip from JavaScript, and would send something else. */
function checkBytes(data: Uint8Array, name: string): Uint8Array {
  if (data instanceof Uint8Array) return data;
  const kind = (data as object | null)?.constructor?.name ?? String(data);
  const wanted = name === "data" ? "a Uint8Array or a string" : "a Uint8Array";
  throw new TypeError(`Cannot write: "${name}" must be ${wanted}, not ${kind}`);
}
