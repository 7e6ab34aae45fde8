/**
 * Requests on connections that stay open: as fast as they are answered, or at a fixed rate.
 * @module
 */
import { build, type Histogram } from "hdr-histogram-js";
import type { Loop, Socket, SocketContext, Timer, TlsOptions } from "@usockets/usockets";
import { AnswerCheck, type Expectation } from "./answers.ts";
import type { Reply } from "./orders.ts";

/** How many connections may be on their way at once. */
const MAX_CONNECTING = 128;

interface Connection {
  readonly check: AnswerCheck;
  /** Bytes of the request that are still to be written. */
  unsent: number;
  isBusy: boolean;
  /** When requests were due that have no answer yet, the oldest first. */
  readonly due: number[];
}

type LoadSocket = Socket<Connection>;
type Done = (reply: Reply) => void;

/** What to send, and what to expect. */
export interface Exchange {
  readonly port: number;
  readonly tls: TlsOptions | undefined;
  readonly request: Uint8Array;
  readonly expectation: Expectation;
}

/** Connections that stay open from one order to the next. */
export class Requests {
  readonly #loop: Loop;
  readonly #exchange: Exchange;
  readonly #context: SocketContext<Connection>;
  readonly #timer: Timer;
  #sockets: LoadSocket[] = [];
  #toOpen = 0;
  #connecting = 0;
  #isClosing = false;
  // What goes on at the moment, null between orders.
  #done: Done | null = null;
  #count = 0;
  #inFlight = 0;
  #isOver = true;
  #beganAt = 0;
  #errors: Record<string, number> = {};
  #latencies: Histogram | null = null;
  // The pace: when the next request is due, on which connection, and how far apart they are.
  #nextAt = 0;
  #nextSocket = 0;
  #intervalMs = 0;

  constructor(loop: Loop, exchange: Exchange) {
    this.#loop = loop;
    this.#exchange = exchange;
    this.#timer = loop.createTimer({ fallthrough: true });
    const { tls, expectation } = exchange;
    this.#context = loop.createContext({
      tls,
      socketExt: (): Connection => ({
        check: new AnswerCheck(expectation),
        unsent: 0,
        isBusy: false,
        due: [],
      }),
      onOpen: (socket) => {
        if (tls === undefined) this.#opened(socket);
      },
      onHandshake: (socket) => this.#opened(socket),
      onConnectError: (_socket, error) => this.#connectFailed(error.message),
      onData: (socket, data) => {
        if (socket.ext.check.receive(data)) this.#answered(socket);
        else if (socket.ext.check.problem !== "") socket.close(1, socket.ext.check.problem);
      },
      onWritable: (socket) => this.#write(socket),
      onClose: (socket, code, reason) => this.#closed(socket, code, reason),
    });
  }

  // ---- connections ----

  /** Opens so many more. */
  open(connections: number, done: Done): void {
    this.#begin(done);
    this.#toOpen = connections;
    this.#openMore();
  }

  #openMore(): void {
    for (; this.#toOpen > 0 && this.#connecting < MAX_CONNECTING; this.#toOpen--) {
      this.#connecting++;
      this.#context.connect({ host: "127.0.0.1", port: this.#exchange.port });
    }
    if (this.#connecting === 0) this.#finish();
  }

  #opened(socket: LoadSocket): void {
    this.#sockets.push(socket);
    this.#count++;
    this.#connecting--;
    this.#openMore();
  }

  #connectFailed(kind: string): void {
    this.#failed(kind);
    this.#connecting--;
    this.#openMore();
  }

  #closed(socket: LoadSocket, code: number, reason: unknown): void {
    if (this.#isClosing) return;
    const index = this.#sockets.indexOf(socket);
    const why = code < 0 ? (reason as Error).message : reason;
    if (index === -1) return this.#connectFailed(String(why ?? "closed by the server"));
    this.#sockets.splice(index, 1);
    this.#failed(String(why ?? "closed by the server"));
    if (socket.ext.isBusy) this.#settled();
  }

  /** Closes all of them. */
  close(done: Done): void {
    this.#begin(done);
    this.#isClosing = true;
    for (const socket of this.#sockets) socket.close();
    this.#isClosing = false;
    this.#sockets = [];
    this.#finish();
  }

  // ---- loads ----

  /** One request on each connection. */
  each(done: Done): void {
    this.#begin(done);
    this.#isOver = true;
    this.#beginAll();
  }

  /** The next request as soon as the answer is there. */
  load(seconds: number, done: Done): void {
    this.#begin(done);
    this.#timer.set(() => this.#isOver = true, seconds * 1000);
    this.#beginAll();
  }

  #beginAll(): void {
    if (this.#sockets.length === 0) return this.#finish();
    for (const socket of [...this.#sockets]) this.#send(socket);
  }

  /** So many requests a second; each belongs to the connection whose turn it is. */
  pace(seconds: number, rate: number, done: Done): void {
    this.#begin(done);
    if (this.#sockets.length === 0) return this.#finish();
    this.#latencies = build({
      bitBucketSize: 32,
      highestTrackableValue: 60e9, // nanoseconds
      numberOfSignificantValueDigits: 3,
    });
    this.#intervalMs = 1000 / rate;
    this.#nextAt = performance.now();
    this.#timer.set(() => this.#isOver = true, seconds * 1000);
    this.#loop.wakeup();
  }

  /**
   * Begins what is due. The loop wakes itself up until the time is over: a timer would gather the
   * requests of a millisecond into a burst.
   */
  readonly turn = (): void => {
    if (this.#latencies === null) return;
    if (this.#isOver) return this.#inFlight === 0 ? this.#finish() : undefined;
    const now = performance.now(), sockets = this.#sockets;
    for (; this.#nextAt <= now && sockets.length > 0; this.#nextAt += this.#intervalMs) {
      const socket = sockets[this.#nextSocket++ % sockets.length];
      socket.ext.due.push(this.#nextAt);
      if (!socket.ext.isBusy) this.#send(socket);
    }
    this.#loop.wakeup();
  };

  #send(socket: LoadSocket): void {
    const connection = socket.ext;
    connection.isBusy = true;
    connection.unsent = this.#exchange.request.length;
    this.#inFlight++;
    this.#write(socket);
  }

  #write(socket: LoadSocket): void {
    const connection = socket.ext;
    const { request } = this.#exchange;
    const isWhole = connection.unsent === request.length;
    connection.unsent -= socket.write(
      isWhole ? request : request.subarray(request.length - connection.unsent),
    );
  }

  #answered(socket: LoadSocket): void {
    const connection = socket.ext;
    if (!connection.isBusy) return socket.close(1, "an answer to nothing");
    connection.isBusy = false;
    this.#count++;
    this.#inFlight--;
    if (this.#latencies !== null) {
      const ms = performance.now() - connection.due.shift()!;
      this.#latencies.recordValue(Math.round(ms * 1e6));
      if (connection.due.length > 0) this.#send(socket);
    } else if (!this.#isOver) {
      this.#send(socket);
    }
    if (this.#isOver && this.#inFlight === 0) this.#finish();
  }

  /** A connection with a request in flight is lost. */
  #settled(): void {
    this.#inFlight--;
    if (this.#inFlight === 0 && (this.#isOver || this.#sockets.length === 0)) this.#finish();
  }

  // ---- orders ----

  #begin(done: Done): void {
    this.#done = done;
    this.#isOver = false;
    this.#count = 0;
    this.#latencies = null;
    this.#beganAt = performance.now();
  }

  #failed(kind: string): void {
    this.#errors[kind] = (this.#errors[kind] ?? 0) + 1;
  }

  #finish(): void {
    const done = this.#done;
    if (done === null) return;
    this.#done = null;
    this.#isOver = true;
    const latencies = this.#latencies;
    this.#latencies = null;
    const errors = this.#errors;
    this.#errors = {};
    done({
      count: this.#count,
      seconds: (performance.now() - this.#beganAt) / 1000,
      errors,
      latency: latencies === null ? undefined : {
        p50: latencies.getValueAtPercentile(50) / 1000,
        p99: latencies.getValueAtPercentile(99) / 1000,
        p999: latencies.getValueAtPercentile(99.9) / 1000,
      },
    });
  }
}
