/**
 * The bytes of a proxied connection: from each of its two sockets to the other, as fast as the other
 * takes them, with its end and its failure.
 * @module
 */
import { CloseCode, type Handlers, type Socket } from "@usockets/usockets";
import type { ProxyAddresses, ProxyHeaderReader } from "./proxy_protocol.ts";
import { type ProxyStats, TO_CLIENT, TO_UPSTREAM } from "./proxy_stats.ts";

/** One of the two ends of a connection; the user data of its socket. */
export class End {
  readonly link: Link;
  /** Counts what is sent to this end. */
  readonly counter: number;
  /** The other one. */
  peer!: End;
  /** Null before there is one, and when it is closed. */
  socket: Socket<End> | null = null;
  /** What came for it and found no room: while there is any, the peer is paused. */
  unsent: Uint8Array | null = null;

  constructor(link: Link, counter: number) {
    this.link = link;
    this.counter = counter;
  }
}

/** What the proxy does beside passing on bytes. */
export interface LinkOwner {
  readonly stats: ProxyStats;
  /** How long both ends may be silent; 0 for ever. */
  readonly idleSeconds: number;
  /** The backend can send a RST. */
  readonly canReset: boolean;
  /** Nobody has sent or taken a byte for `idleSeconds`. */
  timedOut(link: Link): void;
  /** An upstream failed before it was any use: another may serve. */
  upstreamFailed(link: Link, error: unknown): void;
  /** Both sockets are gone. */
  linkClosed(link: Link): void;
}

/** A client's connection, and the one to an upstream that belongs to it. */
export class Link {
  readonly owner: LinkOwner;
  readonly client: End;
  readonly upstream: End;
  /** Both ends are open: bytes flow. */
  isReady = false;
  /** It is being taken down: what its sockets tell from here on is no news. */
  isOver = false;
  /** Who the client is, for messages: in `onClose` it may be too late to ask. */
  clientName = "";
  upstreamName = "";
  /** Reads the PROXY header that the client is to come with. */
  header: ProxyHeaderReader | null = null;
  /** What it says. */
  addresses: ProxyAddresses | null = null;

  constructor(owner: LinkOwner) {
    this.owner = owner;
    this.client = new End(this, TO_CLIENT);
    this.upstream = new End(this, TO_UPSTREAM);
    this.client.peer = this.upstream;
    this.upstream.peer = this.client;
  }

  /** The client, and the upstream if it has one. */
  get name(): string {
    return this.upstreamName === ""
      ? this.clientName
      : `${this.clientName} -> ${this.upstreamName}`;
  }

  /** The upstream can be written to: sends what came early, and lets the client speak. */
  begin(): void {
    const client = this.client.socket!, upstream = this.upstream;
    this.isReady = true;
    this.touch();
    if (upstream.unsent === null) client.resume();
    else sendUnsent(upstream, upstream.socket!);
  }

  /** Bytes are on their way to a reader that does not take them. */
  get hasUnsent(): boolean {
    return this.client.unsent !== null || this.upstream.unsent !== null;
  }

  /** Not silent: the client's socket keeps the time for both. */
  touch(): void {
    this.client.socket?.timeout(this.owner.idleSeconds);
  }

  /** Something went wrong: counts and logs it, and takes down what is left. */
  fail(kind: string, why: string): void {
    this.owner.stats.error(kind, `${this.name}: ${why}`);
    this.abort();
  }

  /** Takes both ends down such that neither takes it for the orderly end of a stream. */
  abort(): void {
    this.isOver = true;
    abort(this.client, this.owner.canReset);
    abort(this.upstream, this.owner.canReset);
    this.#checkClosed();
  }

  /** Takes both ends down in order: both have had their say. */
  close(): void {
    this.isOver = true;
    abort(this.client, false);
    abort(this.upstream, false);
    this.#checkClosed();
  }

  /** One end's socket is closed. */
  closed(end: End, code: number, reason: unknown): void {
    end.socket = null;
    if (this.isOver) return this.#checkClosed();
    const isUpstream = end === this.upstream;
    // What came early, behind a PROXY header, waits for the next upstream.
    if (isUpstream && !this.isReady) return this.owner.upstreamFailed(this, reason);
    end.unsent = null;
    if (code === CloseCode.Clean) {
      // Both directions have ended, of both: the other one closes by itself, if it has not yet.
      if (end.peer.socket === null) this.isOver = true;
      return this.#checkClosed();
    }
    const who = isUpstream ? "upstream" : "client";
    this.fail(kindOf(code), `${who}: ${reason instanceof Error ? reason.message : reason}`);
  }

  #checkClosed(): void {
    if (this.client.socket === null && this.upstream.socket === null) this.owner.linkClosed(this);
  }
}

/** A RST where the backend has one: a FIN, or a close_notify, would promise that this was all. */
function abort(end: End, canReset: boolean): void {
  const { socket } = end;
  if (socket === null) return;
  if (canReset && socket.isEstablished) socket.reset();
  else socket.close();
  end.socket = null; // one that was connecting tells nothing
}

function kindOf(code: number): string {
  const [name] = Object.entries(CloseCode).find(([, value]) => value === code) ?? ["Error"];
  return name.toLowerCase();
}

/** Sends what found no room before, and has the peer go on when all is gone. */
function sendUnsent(end: End, socket: Socket<End>): void {
  const unsent = end.unsent!;
  const written = socket.write(unsent);
  if (written < unsent.length) {
    end.unsent = unsent.subarray(written);
  } else {
    end.unsent = null;
    end.peer.socket?.resume();
  }
}

/** The handlers of both sockets of a link, once they are open. */
export const relay = {
  // Nothing is copied, kept or allocated but for a reader that is slower than its peer.
  onData(socket, data) {
    const { peer, link } = socket.ext;
    link.touch();
    link.owner.stats.bytes[peer.counter] += data.length;
    const written = peer.socket!.write(data);
    if (written === data.length) return;
    peer.unsent = data.slice(written);
    socket.pause();
  },
  onWritable(socket) {
    socket.ext.link.touch();
    sendUnsent(socket.ext, socket);
  },
  // All that came before it is sent: while there is anything unsent, this socket is paused, and its
  // end held back.
  onEnd: (socket) => socket.ext.peer.socket?.shutdown(),
  onTimeout: ({ ext: { link } }) => link.owner.timedOut(link),
  onClose: (socket, code, reason) => socket.ext.link.closed(socket.ext, code, reason),
} satisfies Handlers<End>;
