/**
 * A socket on Deno's async Conn.
 *
 * One read is pending at any time, unless the socket is paused; writes go through a bounded buffer,
 * one operation at a time. Everything that completes becomes an event in the completion queue, so
 * that handlers run inside iterations.
 * @module
 */
import type { SocketContext } from "../context.ts";
import * as dispatch from "../dispatch.ts";
import { CloseCode, toError } from "../errors.ts";
import type { KeepAliveTimings } from "../options.ts";
import type { TlsInfo, TlsOptions } from "../tls_options.ts";
import { Socket } from "../socket.ts";
import {
  CLIENT,
  CLOSED,
  CONNECTING,
  FAILED,
  HANDSHAKING,
  PAUSED,
  PEER_ENDED,
  WANTS_WRITABLE,
} from "../socket_state.ts";
import type { DenoBackend } from "./backend.ts";
import type { Completion, Writer } from "./completions.ts";
import { close, ipOf, isTls, isUnix, portOf } from "./conn.ts";
import { closeCodeOf } from "./errors.ts";
import type { Lingerer } from "./lingering.ts";
import { Receiver } from "./receiver.ts";
import { SendBuffer } from "./send_buffer.ts";
import { SocketTls, type TlsOwner } from "./socket_tls.ts";
import { TcpOptions } from "./tcp_options.ts";
import { createDenoTls, type DenoTls, refuse } from "./tls.ts";

/** What a socket has to deliver in the next iteration. */
const OPEN_EVENT = 1 << 0;
const READ_EVENT = 1 << 1;
const WRITABLE_EVENT = 1 << 2;
const WRITE_ERROR_EVENT = 1 << 3;
const HANDSHAKE_EVENT = 1 << 4, CONNECT_ERROR_EVENT = 1 << 5;

/** How far the FIN has come. */
const FIN_NONE = 0, FIN_WANTED = 1, FIN_SENDING = 2, FIN_SENT = 3;

/** A socket of the Deno backend. */
export class DenoSocket<S = unknown, C = unknown> extends Socket<S, C>
  implements Completion, Writer, TlsOwner, Lingerer {
  readonly #backend: DenoBackend;
  /** Null while connecting. */
  #conn: Deno.Conn | null;
  readonly #peerName: string;
  #events = 0;

  readonly #receiver: Receiver;
  /** Made by the first write. */
  #sending: SendBuffer | null = null;
  #isFlushQueued = false;
  #writeError: unknown = undefined;
  readonly #onWrote = (bytes: number) => this.#wrote(bytes);
  readonly #onWriteError = (error: unknown) => this.#writeFailed(error);
  /** How many of the outgoing bytes were written before upgradeTls() and go in the clear. */
  #plainBytes = 0;

  #fin = FIN_NONE;
  /** Made by the first one that is set. */
  #tcpOptions: TcpOptions | null = null;
  #connectError: Error | null = null;
  #cancelConnect: (() => void) | null = null;
  #tls: SocketTls | null = null;
  /** The host that connect() was given. */
  #host = "";
  /** After close(): bytes are still to be sent. */
  #isLingering = false;

  constructor(
    backend: DenoBackend,
    context: SocketContext<S, C>,
    flags: number,
    ext: S,
    conn: Deno.Conn | null,
    peerName: string,
  ) {
    super(context, flags | CONNECTING, ext);
    this.#backend = backend;
    this.#conn = conn;
    this.#peerName = peerName;
    this.#receiver = new Receiver(backend.buffers, () => this.#readDone());
  }

  // ---- what a program sees ----

  override get remoteAddress(): string {
    return ipOf(this.#conn?.remoteAddr);
  }

  override get remotePort(): number {
    return portOf(this.#conn?.remoteAddr);
  }

  override get localAddress(): string {
    return ipOf(this.#conn?.localAddr);
  }

  override get localPort(): number {
    return portOf(this.#conn?.localAddr);
  }

  override get tls(): TlsInfo | null {
    return this.#tls?.info ?? null;
  }

  override get serverNameUserData(): unknown {
    return undefined;
  }

  override get nativeHandle(): Deno.Conn | null {
    return this.#conn;
  }

  override get peerName(): string {
    return this.#peerName;
  }

  override setNoDelay(enable = true): void {
    this.#setTcpOption("setNoDelay", enable);
  }

  override setKeepAlive(enable = true, timings?: KeepAliveTimings): void {
    if (timings !== undefined) refuse("the timings of setKeepAlive()");
    this.#setTcpOption("setKeepAlive", enable);
  }

  #setTcpOption(option: "setNoDelay" | "setKeepAlive", enable: boolean): void {
    const conn = this.#conn;
    if (conn === null || this.isClosed || isUnix(conn)) return;
    if (isTls(conn) || this.#tls?.hasTakenConn) refuse(`${option}() on a TLS socket`);
    const isWriting = this.#sending?.isInFlight || this.#fin === FIN_SENDING;
    this.#tcpOptions ??= new TcpOptions();
    this.#tcpOptions.set(conn as Deno.TcpConn, option, enable, isWriting === true);
  }

  override upgradeTls(options?: TlsOptions, received?: Uint8Array): void {
    if (this.isClosed) return;
    if (received?.length) refuse('"received" of upgradeTls()');
    if (this.#tls !== null) throw new Deno.errors.Busy("Cannot start TLS: it is started already");
    const conn = this.#conn;
    if (conn === null || (this.flags & CLIENT) === 0 || isUnix(conn)) {
      refuse("upgradeTls() here: only an open TCP connection that connect() made can start TLS");
    }
    const shared = options === undefined ? this.context.secureContext : null;
    const tls = shared as DenoTls | null ?? createDenoTls(options ?? {});
    if (tls.cert !== undefined) refuse("a client certificate in upgradeTls()");
    // startTls() fails with Busy and loses the connection while a read is pending, and a read
    // cannot be cancelled.
    if (this.#receiver.isReading || this.#receiver.hasResult) {
      refuse("upgradeTls() outside of onOpen and onData, while a read is under way");
    }
    this.useTls(tls, this.#host || this.remoteAddress);
    this.limitHandshake(options?.handshakeTimeoutSeconds);
    this.#plainBytes = this.#sending?.outgoingBytes ?? 0;
    this.sendNow();
    this.#startTls();
  }

  // ---- opening ----

  /** What connect() was given: the name that a TLS server must prove unless told otherwise. */
  useHost(host: string): void {
    this.#host = host;
  }

  /** Speaks TLS once the transport is open. */
  useTls(options: DenoTls | null, host: string): void {
    this.flags |= HANDSHAKING;
    this.#tls = new SocketTls(this, this.#backend.handshakes, options, host);
  }

  /** How to cancel the connect under way. */
  onCancel(cancel: () => void): void {
    this.#cancelConnect = cancel;
  }

  /** The transport is open: `onOpen` comes in the next iteration. */
  connected(conn: Deno.Conn): void {
    this.#cancelConnect = null;
    if (this.isClosed) return this.#discard(conn);
    this.#conn = conn;
    this.#event(OPEN_EVENT);
  }

  /** Every address failed: `onConnectError` comes in the next iteration. */
  connectFailed(error: Error): void {
    this.#cancelConnect = null;
    if (this.isClosed) return;
    this.#connectError = error;
    this.#event(CONNECT_ERROR_EVENT);
  }

  /** Opens now, in an iteration. */
  open(): void {
    dispatch.opened(this as Socket, this.remoteAddress);
    if (this.isGone) return; // closed with bytes to send, it still wants its handshake
    if ((this.flags & HANDSHAKING) === 0) return this.#read();
    if (isTls(this.#conn!)) this.#tls!.handshake(this.#conn);
    else this.#startTls();
  }

  /** Starts TLS on a plain Conn when what goes in the clear is sent. */
  #startTls(): void {
    if (this.#sending?.isInFlight) return; // #wrote() comes back to it
    this.#tls!.start(this.#conn as Deno.TcpConn, this.context.loop.lowPriority);
    this.#backend.completions.scheduleHandshakes();
  }

  get isGone(): boolean {
    return this.isClosed && !this.#isLingering;
  }

  tlsStarted(conn: Deno.TlsConn): void {
    this.#conn = conn;
    if (this.isGone) this.#discard(conn);
    else this.#tls!.handshake(conn);
  }

  /** Closes a Conn that came too late. */
  #discard(conn: Deno.Conn): void {
    if (isTls(conn)) this.#backend.handshakes.discard(conn);
    else close(conn);
  }

  handshakeDone(): void {
    if (!this.isClosed) this.#event(HANDSHAKE_EVENT);
    else if (this.#isLingering && this.#tls!.error === undefined) this.sendNow();
    else this.giveUp();
  }

  // ---- events ----

  /** Delivers what completed since the last iteration. */
  complete(): void {
    const events = this.#events;
    this.#events = 0;
    if ((this.flags & CLOSED) !== 0) return;
    if ((events & CONNECT_ERROR_EVENT) !== 0) {
      return dispatch.connectFailed(this as Socket, this.#connectError!);
    }
    if ((events & OPEN_EVENT) !== 0) this.open();
    if ((events & HANDSHAKE_EVENT) !== 0) this.#completeHandshake();
    if ((events & WRITE_ERROR_EVENT) !== 0) {
      const error = this.#writeError;
      dispatch.writeFailed(this as Socket, closeCodeOf(error), toError(error));
    }
    if ((events & WRITABLE_EVENT) !== 0) dispatch.writable(this as Socket);
    if ((events & READ_EVENT) !== 0) this.#completeRead();
  }

  #event(event: number): void {
    if (this.#events === 0) this.#backend.completions.enqueue(this);
    this.#events |= event;
  }

  #completeHandshake(): void {
    const { error } = this.#tls!;
    if (error !== undefined) {
      // A peer that goes away in the middle of a handshake ended no stream: nothing was truncated.
      const code = closeCodeOf(error) === CloseCode.Reset ? CloseCode.Reset : CloseCode.Tls;
      return dispatch.failed(this as Socket, code, toError(error));
    }
    dispatch.handshaken(this as Socket);
    if (this.isClosed) return;
    this.sendNow();
    this.#read();
  }

  // ---- receiving ----

  /** Starts a read, unless there is a reason not to. */
  #read(): void {
    if ((this.flags & (CLOSED | CONNECTING | HANDSHAKING | PAUSED | PEER_ENDED)) !== 0) return;
    const receiver = this.#receiver;
    if (receiver.isReading || receiver.hasResult || receiver.isLent) return;
    receiver.read(this.#conn!);
  }

  #readDone(): void {
    if (this.isClosed) this.#receiver.release();
    else this.#event(READ_EVENT);
  }

  #completeRead(): void {
    const receiver = this.#receiver;
    if (this.isClosed || !receiver.hasResult) return;
    if (receiver.error !== undefined) {
      return dispatch.failed(this as Socket, closeCodeOf(receiver.error), toError(receiver.error));
    }
    if ((this.flags & PAUSED) !== 0) return; // held until resume()
    if (receiver.bytes === null) {
      receiver.hasResult = false;
      return dispatch.ended(this as Socket);
    }
    dispatch.received(this as Socket, receiver.lend());
    receiver.giveBack();
    if (this.isClosed) receiver.release();
    else this.#read();
  }

  protected override receivePause(): void {}

  protected override receiveResume(): void {
    if (this.#receiver.hasResult) this.#event(READ_EVENT);
    else this.#read();
  }

  // ---- sending ----

  protected override sendBytes(bytes: Uint8Array, _more: boolean): number {
    const sending = this.#sending ??= new SendBuffer(this.#backend.buffers);
    const accepted = Math.min(bytes.length, this.#backend.sendBufferBytes - sending.unsentBytes);
    if (accepted <= 0) return 0;
    sending.append(accepted === bytes.length ? bytes : bytes.subarray(0, accepted));
    this.#flushLater();
    return accepted;
  }

  protected override sendBytes2(header: Uint8Array, payload: Uint8Array): number {
    const accepted = this.sendBytes(header, true);
    return accepted < header.length ? accepted : accepted + this.sendBytes(payload, false);
  }

  protected override sendFlush(): void {} // what is written in one iteration goes out as one

  protected override sendFin(): void {
    this.#fin = FIN_WANTED;
    this.#flushLater();
  }

  protected override sendReset(): void {
    refuse("reset()");
  }

  #flushLater(): void {
    if (this.#isFlushQueued) return;
    this.#isFlushQueued = true;
    this.#backend.completions.flushLater(this);
  }

  /** Sends what was accepted, then the FIN. One operation at a time: its end calls this again. */
  sendNow(): void {
    this.#isFlushQueued = false;
    const sending = this.#sending;
    if (this.#conn === null || this.#writeError !== undefined || sending?.isInFlight) return;
    this.#tcpOptions?.apply(this.#conn as Deno.TcpConn);
    // Bytes written during the handshake wait for its end; those before upgradeTls() go in the
    // clear.
    const isHandshake = (this.flags & HANDSHAKING) !== 0 && this.#tls!.info === null;
    if (isHandshake && this.#plainBytes === 0) return;
    if (sending !== null && sending.outgoingBytes > 0) {
      sending.takeOff(isHandshake ? this.#plainBytes : sending.outgoingBytes);
      this.#plainBytes = 0;
      this.#write();
    } else if (this.#fin === FIN_WANTED) {
      this.#sendFinNow();
    } else if (this.#isLingering && this.#fin !== FIN_SENDING) {
      this.giveUp();
    }
  }

  #write(): void {
    this.#conn!.write(this.#sending!.inFlight()).then(this.#onWrote, this.#onWriteError);
  }

  #wrote(bytes: number): void {
    const sending = this.#sending!;
    if (this.#isLingering) this.#backend.lingering.progress(this);
    if (!sending.wrote(bytes)) return this.#write();
    this.sendNow();
    if ((this.flags & HANDSHAKING) !== 0 && this.#tls!.info === null) this.#startTls();
    if (
      (this.flags & WANTS_WRITABLE) !== 0 &&
      sending.unsentBytes <= this.#backend.sendBufferBytes >> 1
    ) {
      this.#event(WRITABLE_EVENT);
    }
  }

  #writeFailed(error: unknown): void {
    this.#writeError = error ?? new Error("write failed");
    this.#sending!.clear();
    if (this.isClosed) this.giveUp();
    else this.#event(WRITE_ERROR_EVENT);
  }

  #sendFinNow(): void {
    this.#fin = FIN_SENDING;
    this.#conn!.closeWrite().then(() => this.#finDone(undefined), (error) => this.#finDone(error));
  }

  #finDone(error: unknown): void {
    this.#fin = FIN_SENT;
    this.#tcpOptions?.apply(this.#conn as Deno.TcpConn);
    if (this.#isLingering) this.giveUp();
    // A peer that reset meanwhile: the read tells, with what came before.
    else if (
      error !== undefined && !this.isClosed && !this.#receiver.isReading &&
      !this.#receiver.hasResult
    ) {
      this.#writeError = error;
      this.#event(WRITE_ERROR_EVENT);
    }
  }

  // ---- closing ----

  protected override release(): void {
    this.#cancelConnect?.();
    this.#receiver.release();
    if (this.#hasToSend() && !this.context.loop.isFreed) {
      this.#isLingering = true;
      this.#backend.lingering.add(this, (this.flags & HANDSHAKING) === 0 ? this.#conn : null);
      this.#flushLater();
    } else {
      this.giveUp();
    }
  }

  /** Whether something must go out before the Conn is closed: accepted bytes, and close_notify. */
  #hasToSend(): boolean {
    // An error of reading is none of sending: a TLS peer may have ended its side the wrong way.
    if (this.#writeError !== undefined || this.#tls?.error !== undefined) return false;
    if ((this.flags & (HANDSHAKING | FAILED)) === (HANDSHAKING | FAILED)) return false; // too slow
    // Closing a TlsConn only begins to send close_notify; closeWrite() tells when it is out.
    if (this.#tls !== null && this.#fin === FIN_NONE) this.#fin = FIN_WANTED;
    const hasNotify = this.#tls !== null && this.#tls.info !== null && this.#fin === FIN_WANTED;
    return hasNotify || this.#fin === FIN_SENDING || (this.#sending?.unsentBytes ?? 0) > 0;
  }

  /** Closes the Conn, whatever is still to be sent. */
  giveUp(): void {
    const conn = this.#conn;
    if (conn !== null && !this.#tls?.hasTakenConn) {
      if (this.#tls?.isHandshaking) this.#backend.handshakes.abandon(conn as Deno.TlsConn);
      else close(conn);
    }
    this.released();
    if (!this.#isLingering) return;
    this.#isLingering = false;
    this.#backend.lingering.delete(this);
  }
}
