/**
 * What ties a socket to its Conn: a context of handlers that feed it.
 * @module
 */
import { SocketContext } from "../context.ts";
import { CloseCode } from "../errors.ts";
import type { Loop } from "../loop.ts";
import type { Socket } from "../socket.ts";
import { CLOSED, ENDING, HANDSHAKING, OPENED, PEER_ENDED } from "../socket_state.ts";
import type { TlsInfo } from "../tls_options.ts";
import { Receiver } from "./receiver.ts";
import { Sender } from "./sender.ts";

/** Somebody who waits for the socket to come so far. */
interface Waiter<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

/** The address of a Conn. */
export type Address = Deno.NetAddr | Deno.UnixAddr;

/** One socket and what its Conn needs of it. It is the socket's `ext`. */
export class Bridge {
  readonly socket: Socket;
  readonly receiver: Receiver;
  readonly sender: Sender;
  localAddr: Address = { transport: "tcp", hostname: "", port: 0 };
  remoteAddr: Address = this.localAddr;
  /** The unix path that was connected to. */
  readonly #path: string;
  readonly #handshakeTimeoutMs: number;
  readonly #openings: Waiter<void>[] = [];
  readonly #handshakes: Waiter<TlsInfo>[] = [];
  /** Why nothing can be done any more; null while something can. */
  #failure: { readonly error: unknown } | null = null;
  #isClosed = false;
  #isUnreferenced = false;

  /** Takes the socket over. */
  constructor(socket: Socket, path: string) {
    this.socket = socket;
    this.receiver = new Receiver(socket, () => this.#sideDone());
    this.sender = new Sender(socket, () => this.#sideDone(), (reason) => this.#abort(reason));
    this.#path = path;
    this.#handshakeTimeoutMs = socket.context.handshakeTimeoutMs;
    if (socket.isEstablished) this.#noteAddresses();
    if ((socket.flags & PEER_ENDED) !== 0) this.receiver.ended();
    const context = contextOf(socket.context.loop);
    context.adopt(socket, this);
    context.bridges.set(socket, this); // behind it, for a socket may come from this very context
    socket.resume(); // whoever paused it has no say any more
  }

  // ---- what the program asks for ----

  /** Resolves when the transport is open. */
  opened(): Promise<void> {
    return this.#wait(this.#openings);
  }

  /** Resolves when TLS is agreed on. */
  handshake(): Promise<TlsInfo> {
    const { tls, flags } = this.socket;
    if (tls !== null) return Promise.resolve(tls);
    if (this.#failure === null && (flags & HANDSHAKING) === 0) {
      return Promise.reject(new TypeError("Cannot shake hands: the socket speaks no TLS"));
    }
    return this.#wait(this.#handshakes);
  }

  /** Closes the socket, unless somebody else has it now. Returns false the second time. */
  close(): boolean {
    if (this.#isClosed) return false;
    this.#isClosed = true;
    const isOurs = this.#isOurs();
    const pending = new Deno.errors.Interrupted("Cannot go on: the Conn was closed");
    const later = new Deno.errors.BadResource("The Conn is closed");
    this.receiver.closed(pending, later);
    this.sender.closed(pending, later);
    this.#fail(pending, later);
    if (isOurs) this.socket.close();
    return true;
  }

  /** Whether the socket keeps its loop running. */
  setReferenced(isReferenced: boolean): void {
    if (this.#isUnreferenced !== isReferenced || !this.#isOurs()) return;
    this.#isUnreferenced = !isReferenced;
    const { loop } = this.socket.context;
    if (isReferenced) loop.retain();
    else loop.release();
    loop.sweep.resume(); // it may have stopped with the last that was held, but sockets are left
    this.#referenceHandle();
  }

  /** A `Deno.Conn` that is being read keeps the process alive by itself. */
  #referenceHandle(): void {
    const handle = this.socket.nativeHandle as Partial<Deno.Conn> | number | null;
    if (typeof handle !== "object") return;
    if (this.#isUnreferenced) handle?.unref?.();
    else handle?.ref?.();
  }

  // ---- what the socket tells ----

  onOpen(): void {
    if ((this.socket.flags & HANDSHAKING) !== 0) {
      // That of the context that connected, in place of our own.
      this.socket.limitHandshake(this.#handshakeTimeoutMs / 1000);
    }
    this.#noteAddresses();
    if (this.#isUnreferenced) this.#referenceHandle();
    for (const { resolve } of this.#openings.splice(0)) resolve();
    this.sender.pump(); // an end that waits alone is owed no onWritable
  }

  onHandshake(info: TlsInfo): void {
    if (this.#isUnreferenced) this.#referenceHandle(); // TLS may have brought another
    for (const { resolve } of this.#handshakes.splice(0)) resolve(info);
  }

  onClose(code: number, reason: unknown): void {
    if (reason instanceof Error) return this.failed(reason);
    this.failed(new Deno.errors.Interrupted(`Cannot go on: the socket closed with code ${code}`));
  }

  onTimeout(): void {
    const why = "Timed out: the time of socket.timeout() or longTimeout() ran out";
    const error = new Deno.errors.TimedOut(why);
    this.failed(error); // a socket that still connects has no onClose
    this.socket.terminate(CloseCode.System, error);
  }

  /** The connection is gone, or could not be made. */
  failed(error: unknown): void {
    this.receiver.failed(error);
    this.sender.failed(error);
    this.#fail(error, error);
  }

  /** The socket leaves the context: it is closed, or somebody adopts it. */
  left(): void {
    if (this.#isUnreferenced) { // what is released behind this, or by the next owner, was not held
      this.#isUnreferenced = false;
      this.socket.context.loop.retain();
    }
    if ((this.socket.flags & CLOSED) === 0) {
      const error = new Deno.errors.BadResource("The Conn's socket was adopted by somebody else");
      this.#referenceHandle();
      this.receiver.detached(error);
      this.sender.failed(error);
      this.#fail(error, error);
    } else if ((this.socket.flags & OPENED) === 0) {
      // No onClose will come; an onConnectError may, behind this, and knows better.
      const why = "Cannot go on: the socket was closed before it was open";
      queueMicrotask(() => this.failed(new Deno.errors.Interrupted(why)));
    }
  }

  /** Nothing is left to wait for: a peer that sends on for ever must not keep the socket. */
  #sideDone(): void {
    if (this.receiver.isCancelled && this.sender.isFinished && this.#isOurs()) this.socket.end();
  }

  /** What was written must not look complete to the peer, as far as the backend can tell it. */
  #abort(reason: unknown): void {
    if (!this.#isOurs()) return;
    const why = "Cannot go on: the writable side was aborted";
    this.failed(new Deno.errors.Interrupted(why, { cause: reason }));
    try {
      this.socket.reset();
    } catch (error) {
      if (!(error instanceof Deno.errors.NotSupported)) throw error;
      this.socket.close();
    }
  }

  #isOurs(): boolean {
    return !this.socket.isClosed && this.socket.ext === this;
  }

  #wait<T>(waiters: Waiter<T>[]): Promise<T> {
    if (this.#failure !== null) return Promise.reject(this.#failure.error);
    return new Promise((resolve, reject) => waiters.push({ resolve, reject }));
  }

  #fail(pending: unknown, later: unknown): void {
    this.#failure ??= { error: later };
    for (const { reject } of this.#openings.splice(0)) reject(pending);
    for (const { reject } of this.#handshakes.splice(0)) reject(pending);
  }

  /** They are told when it is closed, too. */
  #noteAddresses(): void {
    const { socket } = this;
    const { remoteAddress, remotePort, localAddress, localPort } = socket;
    if (remoteAddress === "") {
      this.localAddr = { transport: "unix", path: socket.acceptedBy?.host ?? "" };
      this.remoteAddr = { transport: "unix", path: this.#path };
    } else {
      this.localAddr = { transport: "tcp", hostname: localAddress, port: localPort };
      this.remoteAddr = { transport: "tcp", hostname: remoteAddress, port: remotePort };
    }
  }
}

/** Throws for a socket that cannot be taken over. */
export function checkFree(socket: Socket): void {
  const what = "Cannot make a Conn of the socket";
  if ((socket.flags & CLOSED) !== 0) throw new Deno.errors.BadResource(`${what}: it is closed`);
  if ((socket.flags & ENDING) !== 0) throw new Deno.errors.BadResource(`${what}: end() was called`);
  if (socket.context instanceof BridgeContext) {
    throw new Deno.errors.Busy(`${what}: there is one already`);
  }
}

/** The context that the sockets of a loop live in while they are Conns. */
export function contextOf(loop: Loop): BridgeContext {
  if (loop.isFreed) throw new Deno.errors.BadResource("Cannot make a Conn: its loop is freed");
  let context = contexts.get(loop);
  if (context === undefined || context.isFreed) {
    context = new BridgeContext(loop);
    contexts.set(loop, context);
  }
  return context;
}

const contexts = new WeakMap<Loop, BridgeContext>();

/** A context whose handlers feed Conns. */
class BridgeContext extends SocketContext<Bridge> {
  /** By socket, for `ext` is its new owner's already when it leaves. */
  readonly bridges = new WeakMap<Socket, Bridge>();

  constructor(loop: Loop) {
    super(loop, {
      onOpen: ({ ext }) => ext.onOpen(),
      onConnectError: ({ ext }, error) => ext.failed(error),
      onHandshake: ({ ext }, info) => ext.onHandshake(info),
      onData: ({ ext }, data) => ext.receiver.received(data),
      onWritable: ({ ext }) => ext.sender.pump(),
      onEnd: ({ ext }) => ext.receiver.ended(),
      onTimeout: ({ ext }) => ext.onTimeout(),
      onLongTimeout: ({ ext }) => ext.onTimeout(),
      onClose: ({ ext }, code, reason) => ext.onClose(code, reason),
    });
  }

  override unlink(socket: Socket): void {
    super.unlink(socket);
    this.bridges.get(socket)?.left();
  }
}
