/**
 * A socket on a descriptor of its own.
 *
 * Reads and writes are made when user code or the selector asks for them; nothing is buffered here,
 * the kernel holds what was accepted. What a write learns of its connection becomes an event of the
 * next iteration.
 * @module
 */
import type { SocketContext } from "../src/context.ts";
import * as dispatch from "../src/dispatch.ts";
import { CloseCode, toError } from "../src/errors.ts";
import type { KeepAliveTimings } from "../src/options.ts";
import type { TlsInfo, TlsOptions } from "../src/tls_options.ts";
import { Socket } from "../src/socket.ts";
import {
  CLIENT,
  CLOSED,
  CONNECTING,
  FAILED,
  HANDSHAKING,
  PAUSED,
  PEER_ENDED,
  SHUT_DOWN,
  WANTS_WRITABLE,
} from "../src/socket_state.ts";
import type { Address } from "./address.ts";
import type { Deferred, EpollBackend } from "./backend.ts";
import {
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  IPPROTO_TCP,
  MSG_MORE,
  MSG_NOSIGNAL,
  SHUT_WR,
  TCP_CORK,
  TCP_NODELAY,
} from "./constants.ts";
import { closeCodeOf, EAGAIN, EINTR, ENOBUFS, ENOMEM, lastErrno, systemError } from "./errno.ts";
import { checkKeepAlive, setKeepAlive } from "./keep_alive.ts";
import { READ_EVENTS, type Watched } from "./selector.ts";
import { localAddressOf, pendingError, resetOnClose, setOption } from "./sockets.ts";
import type { SocketTls } from "./tls/socket_tls.ts";
import { upgrade } from "./tls/start.ts";

/** Linux sends no more than this at once. */
const BYTES_MAX = 0x7fff_f000;

/** What a socket waits for before it is open: `close()` cancels it. */
export interface Opening {
  /** Where to, for messages. */
  readonly peerName: string;
  cancel(): void;
}

/** A socket of the epoll backend. */
export class EpollSocket<S = unknown, C = unknown> extends Socket<S, C>
  implements Watched, Deferred {
  generation = 0;
  /** -1 before there is one, and after it was closed. */
  #fd = -1;
  /** What the selector watches for; 0 when it is not registered. */
  #interest = 0;
  /** `""` and 0 for unix sockets and while connecting. */
  #remoteIp = "";
  #remotePort = 0;
  #local: Address | null = null;
  /** The connect under way, or what connected to, for messages. */
  #opening: Opening | null = null;
  /** Why it cannot be watched any more, until the next iteration closes it; null for none. */
  #watchError: unknown = null;
  /** Bytes were sent with `more` and nothing since. */
  #isCorked = false;
  /** Nothing can be sent any more: the transport failed, or `reset()` was called. */
  #isBroken = false;
  /** What connect() was given, `""` for a unix path: a TLS server has to prove it. */
  host = "";
  /** Null for a plain socket. */
  #tls: SocketTls | null = null;

  constructor(context: SocketContext<S, C>, flags: number, ext: S) {
    super(context, flags | CONNECTING, ext);
  }

  /** The backend of its loop. */
  get backend(): EpollBackend {
    return this.context.loop.backend as EpollBackend;
  }

  // ---- what a program sees ----

  override get remoteAddress(): string {
    return this.#remoteIp;
  }

  override get remotePort(): number {
    return this.#remotePort;
  }

  override get localAddress(): string {
    return this.#localAddress().ip;
  }

  override get localPort(): number {
    return this.#localAddress().port;
  }

  override get tls(): TlsInfo | null {
    return this.#tls?.info ?? null;
  }

  override get serverNameUserData(): unknown {
    return this.#tls?.serverNameUserData;
  }

  override get nativeHandle(): number | null {
    return this.#fd === -1 ? null : this.#fd;
  }

  override get peerName(): string {
    return this.#opening?.peerName ?? this.#remoteIp;
  }

  override setNoDelay(enable = true): void {
    if (this.#hasTcp()) {
      setOption(this.backend.libc, this.#fd, IPPROTO_TCP, TCP_NODELAY, enable ? 1 : 0);
    }
  }

  override setKeepAlive(enable = true, timings: KeepAliveTimings = {}): void {
    checkKeepAlive(timings);
    if (this.#hasTcp()) setKeepAlive(this.backend.libc, this.#fd, enable, timings);
  }

  override upgradeTls(options?: TlsOptions, received?: Uint8Array): void {
    if (this.isClosed) return;
    const what = "Cannot start TLS";
    if (this.#tls !== null) throw new Deno.errors.Busy(`${what}: it is started already`);
    const { flags } = this;
    if ((flags & CONNECTING) !== 0) {
      throw new Deno.errors.NotConnected(`${what}: the socket is not open yet`);
    }
    if ((flags & (SHUT_DOWN | PEER_ENDED | FAILED)) !== 0) {
      throw new Deno.errors.NotConnected(`${what}: the connection has ended`);
    }
    upgrade(this as EpollSocket, options, received);
  }

  #localAddress(): Address {
    if (this.#local === null) {
      if (this.#fd === -1) return { ip: "", port: 0 };
      this.#local = localAddressOf(this.backend.libc, this.#fd);
    }
    return this.#local;
  }

  #hasTcp(): boolean {
    return this.#fd !== -1 && this.#remoteIp !== "";
  }

  // ---- opening ----

  /** What it waits for while connecting. */
  awaitOpening(opening: Opening): void {
    this.#opening = opening;
  }

  /** Speaks TLS from the start, or from here on. */
  useTls(tls: SocketTls): void {
    this.flags |= HANDSHAKING;
    this.#tls = tls;
  }

  /** Starts the handshake on an open socket, with what was received of it already. */
  beginTls(received: Uint8Array | undefined): void {
    const tls = this.#tls!;
    this.rewatch();
    if (received !== undefined && received.length > 0) tls.unread(received);
    else this.backend.defer({ deliver: () => tls.begin() });
  }

  /** Takes a connected descriptor, without opening yet. */
  attach(fd: number, remoteIp: string, remotePort: number): void {
    this.#fd = fd;
    this.backend.ledger.own(fd);
    this.#remoteIp = remoteIp;
    this.#remotePort = remotePort;
  }

  /** Opens, in an iteration. */
  open(): void {
    this.#opening = null;
    try {
      this.#register(this.#wanted()); // before onOpen: a handler that pauses takes it out again
    } catch (error) { // the system's limit of watched descriptors
      if ((this.flags & CLIENT) !== 0) dispatch.connectFailed(this as Socket, toError(error));
      else this.terminate(CloseCode.System, error);
      return;
    }
    dispatch.opened(this as Socket, this.#remoteIp);
    this.#tls?.begin();
  }

  /** No address could be connected to. */
  connectFailed(error: Error): void {
    this.#opening = null;
    dispatch.connectFailed(this as Socket, error);
  }

  // ---- events ----

  /** What an iteration delivers for it that is no readiness of its descriptor. */
  deliver(): void {
    const failure = this.writeFailure;
    this.writeFailure = null;
    if ((this.flags & CLOSED) !== 0) return this.#tls?.lingering?.giveUp();
    if ((this.flags & CONNECTING) !== 0) return this.open(); // adopted
    if (this.#watchError !== null) return this.terminate(CloseCode.System, this.#watchError);
    if (failure === null) return;
    dispatch.writeFailed(this as Socket, failure.code, failure.reason);
    this.rewatch();
  }

  /** A write that cannot be made: the next iteration delivers the error. */
  failLater(code: number, error: Error): void {
    if (this.writeFailure === null) this.backend.defer(this);
    this.writeFailure ??= { code, reason: error };
  }

  ready(events: number): void {
    // What handlers did in this very iteration counts: they may have paused or closed it.
    if ((this.#interest & EPOLLOUT) !== 0) {
      if ((events & (EPOLLERR | EPOLLHUP)) === 0) {
        if ((events & EPOLLOUT) !== 0) this.#sendable();
      } else if ((this.#interest & EPOLLIN) === 0) {
        return this.#hungUp(); // perhaps without EPOLLOUT: what the peer left unread fills a unix socket
      }
    }
    if ((events & READ_EVENTS) !== 0 && (this.#interest & EPOLLIN) !== 0) this.#receive(events);
  }

  #sendable(): void {
    if (this.#tls === null) dispatch.writable(this as Socket);
    else this.#tls.sendable();
    this.rewatch();
  }

  /**
   * Reads once: level-triggered, the rest shows in the next iteration, and other sockets get their
   * turn. But behind a hang-up or an error nothing comes any more, and they would hide what was
   * received before: then to the end.
   */
  #receive(events: number): void {
    const { libc, buffer } = this.backend;
    do {
      const count = libc.recv(this.#fd, buffer.bytes, buffer.bytes.length, 0);
      if (count > 0) {
        if (this.#tls === null) dispatch.received(this as Socket, buffer.view(count));
        else this.#tls.received(buffer.bytes, count);
      } else if (count === 0) {
        if (buffer.isRestored()) continue;
        if (this.writeFailure !== null) this.deliver(); // it took the error that this end stands for
        if (this.#tls === null) dispatch.ended(this as Socket);
        else this.#tls.transportEnded();
        return this.rewatch();
      } else if (!this.#receiveFailed(events)) {
        return;
      }
    } while ((events & (EPOLLERR | EPOLLHUP)) !== 0 && (this.#interest & EPOLLIN) !== 0);
  }

  /** Returns whether to read again. */
  #receiveFailed(events: number): boolean {
    const errno = lastErrno(this.backend.libc);
    if (errno === EINTR) return true;
    if (errno !== EAGAIN) this.#failed("Cannot read", errno);
    else if ((events & EPOLLERR) !== 0) this.#hungUp();
    return false;
  }

  /** An error or a hang-up, and nothing to read. */
  #hungUp(): void {
    const errno = pendingError(this.backend.libc, this.#fd);
    if (errno !== 0) return this.#failed("Cannot read", errno);
    // The peer is gone for good, which level-triggered would be told for ever. A write finds out:
    // who owes one is asked for it.
    if (this.#tls === null) dispatch.writable(this as Socket);
    else this.#tls.sendable();
    if ((this.flags & CLOSED) !== 0) return this.#tls?.lingering?.giveUp();
    this.rewatch(); // for room again, if the system had no memory for that write
  }

  #failed(what: string, errno: number): void {
    const error = systemError(this.backend.libc, what, errno);
    this.#isBroken = true;
    if (this.#tls === null) dispatch.failed(this as Socket, closeCodeOf(errno), error);
    else this.#tls.transportFailed(closeCodeOf(errno), error);
    if (this.#fd !== -1) this.#watch(0); // paused: resume() finds out what is left
  }

  // ---- what the selector watches for ----

  /** What its state asks for. */
  #wanted(): number {
    const { flags } = this;
    if (this.#tls !== null) return this.#tls.wanted(flags);
    const reads = (flags & (PAUSED | PEER_ENDED)) === 0 ? EPOLLIN : 0;
    const writes = (flags & (WANTS_WRITABLE | FAILED | SHUT_DOWN)) === WANTS_WRITABLE;
    return writes ? reads | EPOLLOUT : reads;
  }

  /** Its state may ask for something else now. */
  rewatch(): void {
    if (this.#fd !== -1) this.#watch(this.#wanted());
  }

  /**
   * Hang-ups and errors cannot be masked, and level-triggered they would be told for ever: so who
   * waits for nothing leaves the selector.
   */
  #watch(events: number): void {
    try {
      this.#register(events);
    } catch (error) { // the system's limit of watched descriptors; no call of user code may throw it
      if (this.#watchError === null) this.backend.defer(this);
      this.#watchError ??= error;
    }
  }

  #register(events: number): void {
    const before = this.#interest;
    if (events === before) return;
    const { selector } = this.backend;
    if (before === 0) selector.add(this.#fd, this, events);
    else if (events === 0) selector.remove(this.#fd, this);
    else selector.modify(this.#fd, this, events);
    this.#interest = events;
  }

  protected override receivePause(): void {
    if (this.#interest !== 0) this.#watch(this.#wanted());
  }

  protected override receiveResume(): void {
    if ((this.flags & CONNECTING) !== 0) return;
    if (this.#tls === null) this.rewatch();
    else this.#tls.resumed();
  }

  // ---- sending ----

  protected override sendBytes(bytes: Uint8Array, more: boolean): number {
    if (bytes.length === 0) return 0;
    if (this.#tls !== null) return this.#tls.send(bytes, more);
    return this.transmit(bytes, bytes.length, more);
  }

  /** Sends the first bytes of a buffer as they are. */
  transmit(bytes: Uint8Array, length: number, more: boolean): number {
    this.#isCorked = more;
    const sent = this.backend.libc.send(
      this.#fd,
      bytes,
      Math.min(length, BYTES_MAX),
      more ? MSG_NOSIGNAL | MSG_MORE : MSG_NOSIGNAL,
    );
    return sent === length ? sent : this.#shortWrite(sent, length);
  }

  protected override sendBytes2(header: Uint8Array, payload: Uint8Array): number {
    if (header.length === 0) return this.sendBytes(payload, false);
    if (payload.length === 0) return this.sendBytes(header, false);
    if (this.#tls !== null) return this.#tls.send2(header, payload);
    if (payload.length > BYTES_MAX - header.length) { // in two calls
      const sent = this.sendBytes(header, true);
      return sent < header.length ? sent : sent + this.sendBytes(payload, false);
    }
    this.#isCorked = false;
    const sent = this.backend.gathering.send(this.#fd, header, payload);
    const total = header.length + payload.length;
    return sent === total ? sent : this.#shortWrite(sent, total);
  }

  /**
   * Returns what was accepted, and arranges what follows: room again, or the end. On a connection
   * that is dead the first write is accepted, as it would have been a moment earlier: it goes nowhere,
   * and no `onWritable` is owed that could never come.
   */
  #shortWrite(sent: number, total: number): number {
    if (sent < 0) {
      const errno = lastErrno(this.backend.libc);
      if (errno !== EAGAIN && errno !== EINTR && errno !== ENOBUFS && errno !== ENOMEM) {
        this.#isBroken = true;
        if (this.writeFailure !== null) return 0;
        this.failLater(closeCodeOf(errno), systemError(this.backend.libc, "Cannot write", errno));
        return total;
      }
    }
    this.#watch(this.#interest | EPOLLOUT);
    return Math.max(0, sent);
  }

  protected override sendFlush(): void {
    if (!this.#isCorked || !this.#hasTcp()) return;
    this.#isCorked = false;
    setOption(this.backend.libc, this.#fd, IPPROTO_TCP, TCP_CORK, 0); // pushes out what waits
  }

  /** The kernel sends it behind everything accepted. A peer that is gone shows when reading. */
  protected override sendFin(): void {
    if (this.#tls === null) this.transmitFin();
    else this.#tls.sendFin();
    this.rewatch();
  }

  /** Ends our direction of the transport. */
  transmitFin(): void {
    this.backend.libc.shutdown(this.#fd, SHUT_WR);
  }

  protected override sendReset(): void {
    this.#isBroken = true;
    if (this.#fd !== -1) resetOnClose(this.backend.libc, this.#fd);
  }

  // ---- closing ----

  protected override release(): void {
    this.#opening?.cancel();
    if (this.#tls?.release(this.#isBroken || this.#watchError !== null)) this.rewatch();
    else this.closeDescriptor();
  }

  /** Closes the descriptor, if it is still open. */
  closeDescriptor(): void {
    const fd = this.#fd;
    if (fd !== -1) {
      this.#watch(0);
      this.#fd = -1;
      this.backend.ledger.close(this.backend.libc, fd);
    }
    this.released();
  }
}
