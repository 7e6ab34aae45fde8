/**
 * TLS of one socket: when its handshake gets a turn, what is written before it is done, and what
 * must still go out when the socket is closed.
 * @module
 */
import * as dispatch from "../../src/dispatch.ts";
import { CloseCode, toError } from "../../src/errors.ts";
import type { LowPriority } from "../../src/low_priority.ts";
import type { TlsInfo } from "../../src/tls_options.ts";
import type { Socket } from "../../src/socket.ts";
import {
  CLOSED,
  FAILED,
  PAUSED,
  PEER_ENDED,
  SHUT_DOWN,
  WANTS_WRITABLE,
} from "../../src/socket_state.ts";
import type { Deferred } from "../backend.ts";
import { EPOLLIN, EPOLLOUT } from "../constants.ts";
import type { EpollSocket } from "../socket.ts";
import type { TlsBuffers } from "./buffers.ts";
import { type Expectations, TlsChannel } from "./channel.ts";
import { EarlyWrites } from "./early_writes.ts";
import { handshakeCutShort, serverNameChanged } from "./errors.ts";
import { ChannelInfo } from "./info.ts";
import { LINGER_MS, Lingering } from "./lingering.ts";
import { concat } from "./memory.ts";
import { NameChoice } from "./name_choice.ts";
import type { SecureContext } from "./secure_context.ts";

const NOTHING = new Uint8Array(0);

/** How far the end of our direction has come. */
const FIN_NONE = 0, FIN_WANTED = 1, FIN_NOTIFIED = 2, FIN_SENT = 3;

/** The TLS of one socket of the epoll backend. */
export class SocketTls implements LowPriority, Deferred {
  readonly #socket: EpollSocket;
  readonly #buffers: TlsBuffers;
  readonly #secure: SecureContext;
  /** Of a server; null for a client. */
  readonly #choice: NameChoice | null;
  /** Of a client; null for a server. */
  readonly #expectations: Expectations | null;
  /** Made when the handshake gets its first turn: who connects and says nothing gets none. */
  #channel: TlsChannel | null = null;
  #info: ChannelInfo | null = null;
  /** Waits for its turn. */
  #isQueued = false;
  /** Ciphertext that waits for its turn, or for the rest of a ClientHello. */
  #held: Uint8Array<ArrayBuffer> | null = null;
  /** The handshake is done, and what was written before is sent. */
  #isReady = false;
  /** Written before. */
  #early: EarlyWrites | null = null;
  /** Decrypted while the socket was paused. */
  #plain: Uint8Array | null = null;
  /** A close_notify that came while the socket was paused. */
  #isEndHeld = false;
  #fin = FIN_NONE;
  /** Something came behind the handshake. */
  #hasHeard = false;
  /** The peer has ended its direction of the transport, while this socket lingers. */
  #isDeaf = false;
  /** Once the socket is closed and something must still go out. */
  #lingering: Lingering | null = null;

  /** @param expectations Of a client; null for a server. */
  constructor(socket: EpollSocket, secure: SecureContext, expectations: Expectations | null) {
    this.#socket = socket;
    this.#secure = secure.retain();
    this.#expectations = expectations;
    this.#choice = expectations === null ? new NameChoice(socket, secure) : null;
    this.#buffers = socket.backend.tlsBuffers(secure.libssl);
  }

  /** What `addServerName()` was given for the name the client asked for. */
  get serverNameUserData(): unknown {
    return this.#choice?.userData;
  }

  /** What was agreed on; null until then. */
  get info(): TlsInfo | null {
    const channel = this.#channel;
    if (this.#info === null && channel !== null && channel.isEstablished && channel.ssl !== null) {
      this.#info = new ChannelInfo(this.#buffers.libssl, channel, this.#choice?.serverName ?? null);
    }
    return this.#info;
  }

  /** What the selector is to watch for. */
  wanted(flags: number): number {
    const channel = this.#channel;
    const isEstablished = channel !== null && channel.isEstablished;
    // With kTLS the rest of what was written early waits here, and nothing in the channel.
    const waits = channel !== null &&
      (channel.hasOutput || (isEstablished && this.#early !== null && !channel.awaitsMore));
    const writes = waits ? EPOLLOUT : 0;
    if ((flags & CLOSED) !== 0) {
      const lingering = this.#lingering;
      if (lingering === null || this.#isQueued || this.#isDeaf) return writes;
      return writes | EPOLLIN; // what is left unread makes a RST of the end
    }
    if (!isEstablished) return this.#isQueued ? writes : writes | EPOLLIN;
    if (channel.awaitsMore) return writes | EPOLLIN; // before anything can be sent
    const isHeld = this.#plain !== null || this.#isEndHeld || channel.isCongested;
    const reads = (flags & (PAUSED | PEER_ENDED)) === 0 && !isHeld;
    const owed = (flags & (WANTS_WRITABLE | FAILED | SHUT_DOWN)) === WANTS_WRITABLE;
    return (reads ? EPOLLIN : 0) | (owed ? EPOLLOUT : writes);
  }

  get #isEstablished(): boolean {
    return this.#channel !== null && this.#channel.isEstablished;
  }

  // ---- the handshake ----

  /** The transport is open: a client speaks first. */
  begin(): void {
    if (this.#expectations !== null && this.#socket.nativeHandle !== null) this.#admit();
  }

  /** These bytes were read before TLS began, and belong to it. */
  unread(bytes: Uint8Array): void {
    this.#hold(bytes, bytes.length);
    this.#socket.backend.defer({
      deliver: () => {
        if (this.#socket.nativeHandle !== null) this.#admit();
      },
    });
  }

  /** Goes on as soon as an iteration's budget for handshakes allows it. */
  #admit(): void {
    if (this.#isQueued) return;
    if (this.#channel === null && this.#choice?.isPossible(this.#held!) === false) return;
    this.#isQueued = !this.#socket.context.loop.lowPriority.admit(this);
    if (this.#isQueued) this.#socket.rewatch();
    else this.#handshake();
  }

  readmit(): boolean {
    this.#isQueued = false;
    if (this.#socket.nativeHandle === null) return false;
    this.#socket.backend.defer(this); // handlers run behind `onPre`
    return true;
  }

  /** Its turn has come, or something held back may be delivered now. */
  deliver(): void {
    if (this.#socket.nativeHandle === null) return;
    if (!this.#isEstablished) this.#handshake();
    else if ((this.#socket.flags & PAUSED) === 0) this.#deliverHeld();
    this.#socket.rewatch();
  }

  #handshake(): void {
    this.#channel ??= this.#createChannel();
    const channel = this.#channel;
    if (channel === null) return; // a handler closed the socket
    const held = this.#held;
    this.#held = null;
    if (channel.error === null) {
      if (held !== null) channel.feed(held, held.length);
      channel.handshake();
    }
    this.#advanced(channel);
  }

  #advanced(channel: TlsChannel): void {
    if (channel.error !== null) return this.#failed(CloseCode.Tls, channel.error);
    if (!channel.isEstablished) return this.#socket.rewatch();
    const serverName = this.#choice?.serverName;
    if (serverName && !channel.isFor(serverName)) {
      this.#buffers.incoming.clear();
      return this.#failed(CloseCode.Tls, serverNameChanged());
    }
    // First, as the memory is shared: what came behind the handshake.
    const bytes = this.#buffers.plain.view(channel.read()).slice();
    const { isEnded, error } = channel;
    dispatch.handshaken(this.#socket as Socket);
    if (channel.ssl === null) return;
    this.#proceed();
    this.#received(bytes, isEnded, error);
    if (this.#lingering !== null) return this.#lingerOn();
    if (this.#isReady && !channel.hasOutput) dispatch.writable(this.#socket as Socket);
    this.#socket.rewatch();
  }

  /** Null when a handler closed the socket, or there is no memory. */
  #createChannel(): TlsChannel | null {
    const socket = this.#socket;
    try {
      const secure = this.#choice?.make(this.#held!) ?? this.#secure;
      const fd = socket.nativeHandle;
      if (fd === null) return null;
      return new TlsChannel(this.#buffers, secure, socket, fd, this.#expectations);
    } catch (error) {
      this.#failed(CloseCode.System, toError(error));
      return null;
    }
  }

  #hold(bytes: Uint8Array, length: number): void {
    this.#held = concat(this.#held ?? NOTHING, bytes.subarray(0, length));
  }

  // ---- receiving ----

  /** Ciphertext came. */
  received(bytes: Uint8Array<ArrayBuffer>, length: number): void {
    if (this.#lingering !== null && this.#lingering.isDiscarding) return;
    const channel = this.#channel;
    if (channel === null || !channel.isEstablished) {
      this.#hold(bytes, length);
      return this.#admit();
    }
    this.#hasHeard = true;
    if (this.#lingering !== null && !channel.awaitsMore) return;
    const { awaitsMore } = channel;
    channel.feed(bytes, length);
    const count = channel.read();
    this.#received(this.#buffers.plain.view(count), channel.isEnded, channel.error);
    if (awaitsMore && !channel.awaitsMore) this.sendable();
    if (awaitsMore || channel.isCongested) this.#socket.rewatch();
  }

  /** What was decrypted, and what came behind. */
  #received(bytes: Uint8Array, isEnded: boolean, error: Error | null): void {
    const socket = this.#socket;
    if (bytes.length > 0) {
      if ((socket.flags & PAUSED) === 0) dispatch.received(socket as Socket, bytes);
      else this.#plain = concat(this.#plain ?? NOTHING, bytes);
    }
    if (error !== null) this.#failed(CloseCode.Tls, error);
    else if (isEnded) this.#ended();
    if (this.#plain !== null || isEnded) socket.rewatch();
  }

  #ended(): void {
    if ((this.#socket.flags & PAUSED) === 0) dispatch.ended(this.#socket as Socket);
    else this.#isEndHeld = true;
  }

  #deliverHeld(): void {
    const plain = this.#plain, isEndHeld = this.#isEndHeld;
    this.#plain = null;
    this.#isEndHeld = false;
    if (plain !== null) dispatch.received(this.#socket as Socket, plain);
    const error = this.#channel!.error;
    if (error !== null) this.#failed(CloseCode.Tls, error);
    else if (isEndHeld) this.#ended();
  }

  /** The socket is paused no more. */
  resumed(): void {
    if (this.#plain === null && !this.#isEndHeld && !this.#isDead) this.#socket.rewatch();
    else this.#socket.backend.defer(this);
  }

  /** The transport ended: after a close_notify as it should, otherwise too early. */
  transportEnded(): void {
    if (this.#lingering !== null) return this.#nobodySpeaks();
    if (!this.#isEstablished) return this.#failed(CloseCode.Tls, handshakeCutShort());
    if (this.#channel!.isEnded) return;
    const what = "Cannot read: the peer closed the connection without close_notify";
    this.#failed(CloseCode.Truncated, new Deno.errors.UnexpectedEof(what));
  }

  /** The peer of a closed socket has ended, and may still read what is to be sent. */
  #nobodySpeaks(): void {
    this.#isDeaf = true;
    const isPending = this.#isEstablished && !this.#isDead && this.#fin !== FIN_SENT;
    if (!isPending || this.#channel!.awaitsMore) this.#lingering!.giveUp();
  }

  /** The transport failed. */
  transportFailed(code: number, error: Error): void {
    this.#failed(code, error);
  }

  #failed(code: number, error: Error): void {
    if (this.#lingering === null) dispatch.failed(this.#socket as Socket, code, error);
    else this.#lingering.giveUp();
  }

  // ---- sending ----

  /** Accepts 0 to all bytes. */
  send(bytes: Uint8Array, more: boolean): number {
    if (!this.#isReady) return this.#sendLater(bytes);
    const channel = this.#channel!;
    const accepted = channel.write(bytes, more);
    return channel.error === null ? accepted : this.#cannotSend(bytes.length);
  }

  /** Accepts 0 to all bytes of both, as one record if they are short. */
  send2(header: Uint8Array, payload: Uint8Array): number {
    const both = this.#isReady ? this.#buffers.join(header, payload) : null;
    if (both !== null) return this.send(both, false);
    const accepted = this.send(header, true);
    return accepted < header.length ? accepted : accepted + this.send(payload, false);
  }

  /** There is room for what waits. */
  sendable(): void {
    const channel = this.#channel;
    if (channel === null || channel.ssl === null) return;
    const wasEstablished = channel.isEstablished;
    channel.flush();
    if (channel.isEstablished !== wasEstablished || channel.error !== null) {
      return this.#advanced(channel); // OpenSSL wrote to the descriptor itself
    }
    if (channel.hasOutput) return this.#lingering?.madeProgress();
    if (channel.awaitsMore) return;
    this.#proceed();
    if (this.#lingering !== null) this.#lingerOn();
    else if (this.#isReady && !channel.hasOutput) dispatch.writable(this.#socket as Socket);
  }

  /** Ends our direction behind everything accepted: close_notify, then FIN. */
  sendFin(): void {
    this.#fin = FIN_WANTED;
    this.#proceed();
  }

  /** During the handshake: keeps so much as the options allow. */
  #sendLater(bytes: Uint8Array): number {
    this.#early ??= new EarlyWrites(this.#socket.backend.sendBufferBytes);
    return this.#early.accept(bytes);
  }

  /** OpenSSL refused: as with a dead connection, the write counts, and the error comes next. */
  #cannotSend(length: number): number {
    this.#socket.failLater(CloseCode.Tls, this.#channel!.error!);
    return length;
  }

  /** Sends what is due and has room. */
  #proceed(): void {
    const channel = this.#channel;
    if (channel === null || channel.ssl === null) return;
    if (!channel.isEstablished || channel.error !== null) return;
    this.#sendEarly(channel);
    if (!this.#isReady || channel.hasOutput || channel.error !== null) return;
    if (this.#fin === FIN_WANTED && channel.closeNotify()) this.#fin = FIN_NOTIFIED;
    if (this.#fin === FIN_NOTIFIED && !channel.hasOutput) {
      this.#fin = FIN_SENT;
      this.#socket.transmitFin();
    }
  }

  #sendEarly(channel: TlsChannel): void {
    const isSent = this.#early === null || this.#early.sendBy(channel);
    if (!isSent && channel.error === null) return;
    this.#early = null;
    this.#isReady = true;
    if (channel.error !== null) this.#cannotSend(0);
  }

  // ---- closing ----

  /**
   * The socket is closed. Returns whether the descriptor must stay open for a while, to send what was
   * accepted; `EpollSocket.closeDescriptor()` is called when it may go.
   */
  release(isBroken: boolean): boolean {
    const channel = this.#channel;
    if (channel !== null && channel.isEstablished && this.#expectations !== null) {
      channel.keepSession(this.#secure, this.#expectations.sessionKey);
    }
    const lingers = !isBroken && this.#mustLinger();
    if (lingers && !this.#socket.context.loop.isFreed) {
      const { backend, context } = this.#socket;
      const ms = this.#isEstablished ? LINGER_MS : context.handshakeTimeoutMs || LINGER_MS;
      this.#lingering = new Lingering(backend, ms, () => this.free());
      this.#lingerOn();
    } else {
      this.free();
    }
    return this.#lingering !== null;
  }

  /** Sends what has room; returns whether there is more to do. */
  #mustLinger(): boolean {
    if (this.#isDead) {
      this.#socket.transmitFin();
      return true;
    }
    if (this.#fin === FIN_NONE) this.#fin = FIN_WANTED;
    if (!this.#isEstablished) {
      return this.#early !== null && (this.#socket.flags & FAILED) === 0;
    }
    this.#proceed();
    return this.#fin !== FIN_SENT || this.#mustDiscard;
  }

  /** TLS itself failed, and the peer was told why. */
  get #isDead(): boolean {
    return this.#channel !== null && this.#channel.error !== null;
  }

  /**
   * Whether something will come, or has come, that would make a RST of the end if nobody read it: what
   * a peer sends that is yet to read the alert; the tickets that a server sends unasked.
   */
  get #mustDiscard(): boolean {
    return this.#isDead || (this.#expectations !== null && !this.#hasHeard);
  }

  #lingerOn(): void {
    const lingering = this.#lingering!;
    if (lingering.isDiscarding) return;
    if (!this.#isDead && (!this.#isEstablished || this.#fin !== FIN_SENT)) lingering.madeProgress();
    else if (this.#mustDiscard && !this.#isDeaf) lingering.discard();
    else lingering.giveUp();
  }

  /** Whether the closed socket still has something to send. */
  get lingering(): Lingering | null {
    return this.#lingering;
  }

  /** Gives everything back, and the descriptor too if it stayed open. */
  free(): void {
    const isLingering = this.#lingering !== null;
    this.#channel?.free();
    this.#held = this.#early = this.#plain = null;
    this.#secure.release();
    this.#choice?.free();
    if (isLingering) this.#socket.closeDescriptor();
  }
}
