/**
 * The load that one loop makes: opens its connections, keeps messages in flight on each, and counts
 * what comes back. What is sent, and what an answer is, the program says.
 * @module
 */
import type { Loop, Socket, SocketContext, Timer } from "@usockets/usockets";
import type { LoadFlags } from "./load_flags.ts";
import { LoadResults, type PlainResults } from "./load_results.ts";

/** How many connections may be on their way at once. */
const MAX_CONNECTING = 256;
/** How often the rate is told, and how many outcomes of connecting make one report. */
const [RATE_SECONDS, PROGRESS_STEP] = [4, 100];

/** What every connection sends over and over. */
export interface Stream {
  /** At least a period of it. What is there beyond the period goes on as the beginning does. */
  readonly bytes: Uint8Array;
  readonly period: number;
  readonly messageBytes: number;
}

/** Takes what comes on one connection. */
export interface Receiver {
  /** Returns how many answers it completes. */
  receive(data: Uint8Array): number;
  /** The connection has ended in order: returns how many answers that completes. */
  end(): number;
  /** Behind this answer the server closes the connection. */
  readonly isLast: boolean;
  /** What is wrong with what came, or `""`. */
  readonly problem: string;
}

/** What a load test does that others do not. */
export interface LoadOptions<M = unknown> {
  stream(flags: LoadFlags<M>): Stream;
  /** Where in the stream a connection begins, given how many began before. */
  startOf(count: number, stream: Stream): number;
  createReceiver(stream: Stream, start: number, results: LoadResults): Receiver;
}

/** What is told while it runs, and at its end. */
export type LoadReport =
  /** So many attempts to connect have come to an end, in all. */
  | { readonly kind: "connecting"; readonly connected: number; readonly failed: number }
  /** Answers per second since the last time. */
  | { readonly kind: "rate"; readonly rate: number }
  | { readonly kind: "results"; readonly results: PlainResults };

/** A connection. */
class Connection {
  isConnected = false;
  /** It has given an answer: worth opening again when it is lost. */
  isProven = false;
  inFlight = 0;
  /** Bytes of messages begun that are still to be written, and where in the stream they are. */
  unsent = 0;
  position: number;
  /** When each message in flight was begun: a ring, and where its oldest is. */
  readonly begunAt: Float64Array;
  oldest = 0;
  readonly receiver: Receiver;

  constructor(position: number, pipeline: number, receiver: Receiver) {
    this.position = position;
    this.begunAt = new Float64Array(pipeline);
    this.receiver = receiver;
  }
}

type LoadSocket = Socket<Connection>;

/** The load of one loop. */
export class LoadClient<M = unknown> {
  readonly #loop: Loop;
  readonly #flags: LoadFlags<M>;
  readonly #tell: (report: LoadReport) => void;
  readonly #stream: Stream;
  readonly #context: SocketContext<Connection>;
  readonly #timer: Timer;
  readonly #results = new LoadResults();
  /** Where to connect to, by address as soon as the first connection has told it. */
  #target: { host?: string; port?: number; path?: string; serverName?: string };
  /** Connections to be opened, on their way, and open. */
  #toOpen: number;
  #connecting = 0;
  readonly #open = new Set<LoadSocket>();
  #connected = 0;
  #failed = 0;
  #begun = 0;
  /** The load lasts from when all connections are open until it is over. */
  #isLoading = false;
  #isOver = false;
  #beganAt = 0;
  /** Messages that may still be begun, and answers that are still awaited. */
  #toSend: number;
  #awaited: number;
  /** The one socket whose timeout tells the rate, with what was told last. */
  #reporter: LoadSocket | null = null;
  #toldAt = 0;
  #toldAnswers = 0;

  /** Begins. */
  constructor(
    loop: Loop,
    flags: LoadFlags<M>,
    options: LoadOptions<M>,
    tell: (report: LoadReport) => void,
  ) {
    this.#loop = loop;
    this.#flags = flags;
    this.#tell = tell;
    this.#stream = options.stream(flags);
    this.#toOpen = flags.connections;
    this.#toSend = this.#awaited = flags.requests;
    const { target, tls, serverName } = flags;
    this.#target = serverName === undefined ? target : { ...target, serverName };
    this.#timer = loop.createTimer({ fallthrough: true });
    this.#context = loop.createContext({
      tls,
      socketExt: () => {
        const start = options.startOf(this.#begun++, this.#stream);
        const receiver = options.createReceiver(this.#stream, start, this.#results);
        return new Connection(start, flags.pipeline, receiver);
      },
      onOpen: (socket) => {
        if (tls === undefined) this.#opened(socket);
      },
      onHandshake: (socket) => this.#opened(socket),
      onConnectError: (_socket, error) => this.#connectFailed(error.message),
      onData: (socket, data) => this.#received(socket, socket.ext.receiver.receive(data)),
      onWritable: (socket) => this.#write(socket, socket.ext),
      onEnd: (socket) => this.#ended(socket),
      onClose: (socket, code, reason) => this.#closed(socket, code, reason),
      onTimeout: (socket) => this.#tellRate(socket),
      onLongTimeout: (socket) => this.#giveUp(socket, "timeout: no answer"),
    });
    this.#openMore();
  }

  /** Ends the load, and tells the results. */
  readonly finish = (): void => {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#timer.close();
    const results = this.#results;
    if (this.#isLoading) results.seconds = (performance.now() - this.#beganAt) / 1000;
    results.bytesIn = this.#loop.stats().bytesIn;
    this.#tell({ kind: "results", results: results.toPlain() });
    this.#context.close();
  };

  // ---- connecting ----

  /** One goes ahead, and tells the address to all others: a name is looked up only once. */
  #openMore(): void {
    const max = this.#connected + this.#failed === 0 ? 1 : MAX_CONNECTING;
    for (; this.#toOpen > 0 && this.#connecting < max; this.#toOpen--) {
      this.#connecting++;
      this.#context.connect({ ...this.#target, timeoutSeconds: this.#flags.timeoutSeconds });
    }
  }

  #opened(socket: LoadSocket): void {
    socket.ext.isConnected = true;
    this.#open.add(socket);
    if (this.#connected === 0) this.#keepAddress(socket);
    this.#connecting--;
    this.#connected++;
    if (this.#isLoading) this.#begin(socket);
    this.#settled();
  }

  #keepAddress(socket: LoadSocket): void {
    const { host } = this.#target;
    if (host === undefined || host === socket.remoteAddress) return;
    const name = this.#flags.tls === undefined ? {} : { serverName: host };
    this.#target = { ...name, ...this.#target, host: socket.remoteAddress };
  }

  #connectFailed(kind: string): void {
    this.#results.failed(kind);
    this.#connecting--;
    this.#failed++;
    this.#settled();
  }

  /** A connection has opened, failed or closed. */
  #settled(): void {
    this.#openMore();
    const areAllThere = this.#toOpen === 0 && this.#connecting === 0;
    if (!this.#isLoading) {
      const settled = this.#connected + this.#failed;
      if (areAllThere || settled % PROGRESS_STEP === 0) {
        this.#tell({ kind: "connecting", connected: this.#connected, failed: this.#failed });
      }
      if (areAllThere) this.#beginAll();
    } else if (areAllThere && this.#open.size === 0) {
      this.finish();
    }
  }

  // ---- the load ----

  #beginAll(): void {
    const { seconds } = this.#flags;
    this.#isLoading = true;
    this.#beganAt = this.#toldAt = performance.now();
    if (this.#open.size === 0 || this.#awaited === 0) return this.finish();
    if (seconds > 0) this.#timer.set(this.finish, seconds * 1000);
    for (const socket of this.#open) this.#begin(socket);
  }

  #begin(socket: LoadSocket): void {
    if (this.#reporter === null) this.#report(socket);
    this.#send(socket, socket.ext, this.#flags.pipeline, performance.now());
  }

  /** Begins so many messages, if there are so many left, and waits for an answer if it awaits one. */
  #send(socket: LoadSocket, connection: Connection, wanted: number, now: number): void {
    const count = Math.min(wanted, this.#toSend);
    const { begunAt } = connection;
    for (let i = 0; i < count; i++) {
      begunAt[(connection.oldest + connection.inFlight++) % begunAt.length] = now;
    }
    this.#toSend -= count;
    socket.longTimeout(connection.inFlight === 0 ? 0 : this.#flags.timeoutSeconds / 60);
    const before = connection.unsent;
    connection.unsent += count * this.#stream.messageBytes;
    if (before === 0) this.#write(socket, connection); // else onWritable goes on
  }

  #write(socket: LoadSocket, connection: Connection): void {
    const { bytes, period } = this.#stream;
    while (connection.unsent > 0) {
      const { position } = connection;
      const length = Math.min(connection.unsent, bytes.length - position);
      const isWhole = length === bytes.length; // mostly, for requests
      const written = socket.write(isWhole ? bytes : bytes.subarray(position, position + length));
      connection.unsent -= written;
      connection.position = (position + written) % period;
      if (written < length) return;
    }
  }

  #received(socket: LoadSocket, answers: number): void {
    const connection = socket.ext;
    const { receiver, begunAt } = connection;
    if (answers > connection.inFlight) return this.#giveUp(socket, "an answer to nothing");
    if (answers > 0) {
      const now = performance.now();
      let { oldest } = connection;
      for (let i = 0; i < answers; i++) {
        this.#results.recordLatency(now - begunAt[oldest]);
        if (++oldest === begunAt.length) oldest = 0;
      }
      connection.oldest = oldest;
      connection.inFlight -= answers;
      connection.isProven = true;
      this.#results.answers += answers;
      this.#awaited -= answers;
      if (this.#awaited === 0) return this.finish();
      if (receiver.problem === "" && !receiver.isLast) {
        return this.#send(socket, connection, answers, now);
      }
    }
    // Behind the last answer the server ends the connection: so its side, and not ours, keeps the
    // port for the minute that TCP demands.
    if (receiver.problem !== "") this.#giveUp(socket, `bad bytes: ${receiver.problem}`);
  }

  // ---- the ends of connections ----

  #giveUp(socket: LoadSocket, kind: string): void {
    this.#results.failed(kind);
    socket.close();
  }

  #ended(socket: LoadSocket): void {
    const { receiver } = socket.ext;
    this.#received(socket, receiver.end());
    if (receiver.isLast) socket.close();
    else if (!socket.isClosed) this.#giveUp(socket, "closed by the server");
  }

  #closed(socket: LoadSocket, code: number, reason: unknown): void {
    if (this.#isOver) return;
    const connection = socket.ext;
    const why = code < 0 ? (reason as Error).message : null;
    if (!connection.isConnected) return this.#connectFailed(why ?? "closed by the server");
    if (why !== null) this.#results.failed(why);
    this.#open.delete(socket);
    this.#toSend += connection.inFlight; // what is lost is sent once more
    if (connection.isProven) this.#toOpen++;
    if (this.#reporter === socket) this.#replaceReporter();
    this.#employIdle();
    this.#settled();
  }

  /** Near the end connections idle; what another one lost is theirs. */
  #employIdle(): void {
    if (!this.#isLoading || this.#toSend === Infinity) return;
    for (const socket of this.#open) {
      if (this.#toSend === 0) return;
      if (socket.ext.inFlight === 0) this.#begin(socket);
    }
  }

  // ---- the rate ----

  #report(socket: LoadSocket): void {
    this.#reporter = socket;
    socket.timeout(RATE_SECONDS);
  }

  #replaceReporter(): void {
    this.#reporter = null;
    const [other] = this.#open;
    if (other !== undefined && this.#isLoading) this.#report(other);
  }

  #tellRate(socket: LoadSocket): void {
    const now = performance.now();
    const { answers } = this.#results;
    const rate = (answers - this.#toldAnswers) / ((now - this.#toldAt) / 1000);
    this.#tell({ kind: "rate", rate });
    this.#toldAt = now;
    this.#toldAnswers = answers;
    this.#report(socket);
  }
}
