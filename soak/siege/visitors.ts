/**
 * The well-behaved: connections that stay open, and requests at a fixed rate, whether or not the
 * answers keep up. Latency counts from when a request was due, so that a server that stalls is
 * charged with all who would have come meanwhile.
 * @module
 */
import { build, type Histogram } from "hdr-histogram-js";
import type { Loop, Socket, SocketContext, Timer, TlsOptions } from "@usockets/usockets";
import { AnswerCheck, type Expectation } from "../../bench/load/answers.ts";
import type { Latency, VisitorsReply } from "./orders.ts";

/** An answer that has not come so long after a round is none. */
const PATIENCE_MS = 5000;
const REQUEST = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");

interface Visitor {
  readonly check: AnswerCheck;
  /** When requests were due that have no answer yet, the oldest first: that one is on its way. */
  readonly due: number[];
}

/** Whom the visitors visit, and how. */
export interface Visits {
  readonly port: number;
  readonly tls: TlsOptions | undefined;
  readonly expectation: Expectation;
  readonly connections: number;
  readonly perSecond: number;
}

/** Visitors on one loop; they stay from one round to the next. */
export class Visitors {
  readonly #visits: Visits;
  readonly #context: SocketContext<Visitor>;
  readonly #timer: Timer;
  readonly #intervalMs: number;
  readonly #sockets: Socket<Visitor>[] = [];
  #errors: Record<string, number> = {};
  #latencies = createHistogram();
  #latenesses = createHistogram();
  #count = 0;
  #nextAt = 0;
  #endsAt = 0;
  #nextSocket = 0;
  #done: ((reply: VisitorsReply) => void) | null = null;

  constructor(loop: Loop, visits: Visits) {
    this.#visits = visits;
    this.#intervalMs = 1000 / visits.perSecond;
    this.#timer = loop.createTimer({ fallthrough: true });
    const { tls, expectation } = visits;
    this.#context = loop.createContext({
      tls,
      socketExt: (): Visitor => ({ check: new AnswerCheck(expectation), due: [] }),
      onData: (socket, data) => {
        if (socket.ext.check.receive(data)) this.#answered(socket);
        else if (socket.ext.check.problem !== "") socket.close(1, socket.ext.check.problem);
      },
      onConnectError: (_socket, error) => this.#failed(error.message),
      onClose: (socket, code, reason) => this.#closed(socket, code, reason),
    });
  }

  /** Visits for so long. The first time, all connect before. */
  visit(seconds: number, done: (reply: VisitorsReply) => void): void {
    this.#done = done;
    const begin = () => {
      this.#nextAt = performance.now();
      this.#endsAt = this.#nextAt + seconds * 1000;
      this.#turn();
    };
    if (this.#sockets.length > 0) return begin();
    let missing = this.#visits.connections;
    const arrived = (socket: Socket<Visitor>) => {
      this.#sockets.push(socket);
      if (--missing === 0) begin();
    };
    this.#context[this.#visits.tls === undefined ? "onOpen" : "onHandshake"] = arrived;
    for (let i = 0; i < this.#visits.connections; i++) {
      this.#context.connect({ host: "127.0.0.1", port: this.#visits.port });
    }
  }

  /** Sends what is due, and sleeps until something is: the attackers share this core. */
  readonly #turn = (): void => {
    const now = performance.now();
    for (; this.#nextAt <= now && this.#nextAt < this.#endsAt; this.#nextAt += this.#intervalMs) {
      const socket = this.#sockets[this.#nextSocket++ % this.#sockets.length];
      if (socket === undefined) break; // all are gone: those are errors already
      record(this.#latenesses, now - this.#nextAt);
      if (socket.ext.due.push(this.#nextAt) === 1) this.#send(socket);
    }
    if (this.#nextAt < this.#endsAt && this.#sockets.length > 0) {
      return this.#timer.set(this.#turn, Math.max(this.#nextAt - now, 1e-3));
    }
    this.#timer.set(() => this.#giveUp(), PATIENCE_MS);
    this.#finishIfAnswered();
  };

  #send(socket: Socket<Visitor>): void {
    if (socket.write(REQUEST) < REQUEST.length) socket.close(1, "no room for a request");
  }

  #answered(socket: Socket<Visitor>): void {
    const { due } = socket.ext;
    if (due.length === 0) return socket.close(1, "an answer to nothing");
    record(this.#latencies, performance.now() - due.shift()!);
    this.#count++;
    if (due.length > 0) this.#send(socket);
    else this.#finishIfAnswered();
  }

  #finishIfAnswered(): void {
    if (this.#nextAt < this.#endsAt && this.#sockets.length > 0) return;
    if (this.#sockets.every(({ ext }) => ext.due.length === 0)) this.#finish();
  }

  #giveUp(): void {
    for (const socket of this.#sockets.filter(({ ext }) => ext.due.length > 0)) {
      socket.close(1, "no answer");
    }
    this.#finish();
  }

  #closed(socket: Socket<Visitor>, code: number, reason: unknown): void {
    const index = this.#sockets.indexOf(socket);
    if (index !== -1) this.#sockets.splice(index, 1);
    this.#failed(code < 0 ? (reason as Error).message : String(reason ?? "closed by the server"));
  }

  #failed(kind: string): void {
    this.#errors[kind] = (this.#errors[kind] ?? 0) + 1;
    if (this.#sockets.length === 0) this.#finish();
  }

  #finish(): void {
    const done = this.#done;
    if (done === null) return;
    this.#done = null;
    this.#timer.set(() => {}, 0);
    const reply = {
      count: this.#count,
      errors: this.#errors,
      latency: percentiles(this.#latencies),
      lateness: percentiles(this.#latenesses),
    };
    this.#count = 0;
    this.#errors = {};
    this.#latencies = createHistogram();
    this.#latenesses = createHistogram();
    done(reply);
  }
}

function createHistogram(): Histogram {
  return build({
    bitBucketSize: 32,
    highestTrackableValue: 60e9, // nanoseconds
    numberOfSignificantValueDigits: 3,
  });
}

function record(histogram: Histogram, ms: number): void {
  histogram.recordValue(Math.round(ms * 1e6));
}

function percentiles(histogram: Histogram): Latency {
  const at = (percentile: number) => histogram.getValueAtPercentile(percentile) / 1000;
  return { p50: at(50), p99: at(99), p999: at(99.9) };
}
