/**
 * The hammer: both ends of thousands of connections on one loop, on the functions of libusockets.h.
 * @module
 */
import { CloseCode } from "@usockets/usockets";
import {
  LIBUS_LISTEN_DEFAULT,
  us_create_child_socket_context,
  us_create_socket_context,
  us_create_timer,
  us_listen_socket_close,
  type us_listen_socket_t,
  type us_loop_t,
  us_socket_close,
  us_socket_close_connecting,
  us_socket_context_adopt_socket,
  us_socket_context_connect,
  us_socket_context_connect_unix,
  us_socket_context_ext,
  us_socket_context_free,
  us_socket_context_listen,
  us_socket_context_listen_unix,
  us_socket_context_on_close,
  us_socket_context_on_connect_error,
  us_socket_context_on_data,
  us_socket_context_on_end,
  us_socket_context_on_long_timeout,
  us_socket_context_on_open,
  us_socket_context_on_timeout,
  us_socket_context_on_writable,
  type us_socket_context_options_t,
  type us_socket_context_t,
  us_socket_ext,
  us_socket_flush,
  us_socket_is_closed,
  us_socket_is_established,
  us_socket_local_port,
  us_socket_long_timeout,
  us_socket_shutdown,
  us_socket_shutdown_read,
  type us_socket_t,
  us_socket_timeout,
  us_socket_write,
  us_socket_write2,
  us_timer_close,
  us_timer_set,
  type us_timer_t,
  us_wakeup_loop,
} from "@usockets/usockets/libusockets";
import { connectionOf, End, HEADER_BYTES, judge } from "./hammer_end.ts";
import { type Operation, planOf, type Random, randomOf, type Step } from "./hammer_plan.ts";

/** What is hammered, and for how long. */
export interface HammerOptions {
  readonly seed: number;
  /** Connections at a time. */
  readonly connections: number;
  /** Begin no more after so many connections, or so many seconds. */
  readonly connectionsMax?: number;
  readonly seconds?: number;
  /** The path of a unix socket to listen on; absent: TCP. */
  readonly path?: string;
  /** Speak TLS. */
  readonly tls?: {
    readonly server: us_socket_context_options_t;
    readonly client: us_socket_context_options_t;
  };
  /** Is told how it goes, every second. */
  readonly onProgress?: (report: HammerReport) => void;
}

/** What the hammer did, and what it found. */
export interface HammerReport {
  /** Connections that are closed on both ends, and that are open. */
  connections: number;
  open: number;
  bytes: number;
  /** How often each operation was done, timeouts came, and the like. */
  readonly counts: Map<string, number>;
  /** What must not be; the first few. */
  readonly violations: string[];
}

/** `struct hammer_socket`: what C would have behind each socket. */
const EXT_MAGIC = 0, EXT_CONNECTION = 4, EXT_IS_CLIENT = 8, EXT_HEADER_LENGTH = 9, EXT_HEADER = 16;
/** With an adoption comes a counter of them. */
const EXT_SIZE = 24, EXT_SIZE_ADOPTED = 28, EXT_ADOPTIONS = 24;
const MAGIC = 0xc0ffee, NO_CONNECTION = 0xffffffff;

/**
 * On their way to be served at a time: what does not fit into a listener's backlog would be dropped and
 * tried again, and more handshakes than this take their time.
 */
const ARRIVING_MAX = 256;
const VIOLATIONS_MAX = 10;
/** What is still open so long behind the last connection hangs, in milliseconds. */
const PATIENCE_MS = 30_000;
/** Close codes of the test's own. */
const CODE_CUT = 7, CODE_ANOTHER = 8, CODE_LAST = 9;

/** Hammers a loop: begins at once, and is done when the loop has nothing left to do. */
export function hammer(loop: us_loop_t, options: HammerOptions): HammerReport {
  return new Hammer(loop, options).report;
}

class Hammer {
  readonly report: HammerReport = {
    connections: 0,
    open: 0,
    bytes: 0,
    counts: new Map(),
    violations: [],
  };
  readonly #options: HammerOptions;
  readonly #loop: us_loop_t;
  readonly #ssl: number;
  readonly #random: Random;
  readonly #servers: Contexts;
  readonly #clients: Contexts;
  readonly #listener: us_listen_socket_t;
  readonly #tick: us_timer_t;
  readonly #beganAt = performance.now();
  /** Both ends of each connection that is not done. */
  readonly #ends = new Map<number, { client: End; server?: End }>();
  /** Every end that is open, in any order. */
  readonly #open: End[] = [];
  /** What timers do, out of handlers. */
  #later: (() => void)[] = [];
  #started = 0;
  #arriving = 0;
  /** Servers that do not know yet who their client is. */
  #anonymous = 0;
  #reportedAt = 0;
  #stoppedAt = 0;

  constructor(loop: us_loop_t, options: HammerOptions) {
    const { tls, path, seed } = options;
    this.#options = options;
    this.#loop = loop;
    this.#ssl = tls === undefined ? 0 : 1;
    this.#random = randomOf(seed, -1);
    this.#servers = this.#createContexts(tls?.server ?? {});
    this.#clients = this.#createContexts(tls?.client ?? {});
    const { http } = this.#servers;
    this.#listener = (path === undefined
      ? us_socket_context_listen(
        this.#ssl,
        http,
        "127.0.0.1",
        0,
        LIBUS_LISTEN_DEFAULT,
        EXT_SIZE,
      )
      : us_socket_context_listen_unix(this.#ssl, http, path, LIBUS_LISTEN_DEFAULT, EXT_SIZE))!;
    this.#tick = us_create_timer(loop, 0, 0)!;
    us_timer_set(this.#tick, () => this.#onTick(), 1, 1);
  }

  // ---------------------------------------------------------------- connections come and go

  #onTick(): void {
    const now = performance.now();
    const later = this.#later;
    this.#later = [];
    for (const act of later) act();
    if (this.#isOver(now)) return this.#stop(now);
    while (this.#nextConnection());
    if (now - this.#reportedAt < 1000) return;
    this.#reportedAt = now;
    this.#options.onProgress?.(this.report);
  }

  #isOver(now: number): boolean {
    const { connectionsMax = Infinity, seconds = Infinity } = this.#options;
    return this.#stoppedAt > 0 || this.report.violations.length > 0 ||
      this.#started >= connectionsMax ||
      now - this.#beganAt >= seconds * 1000;
  }

  /** Nothing new begins; what is open ends by itself, or it hangs. */
  #stop(now: number): void {
    if (this.#stoppedAt === 0) this.#stoppedAt = now;
    const isOpen = this.#ends.size + this.#anonymous > 0;
    if (isOpen && this.report.violations.length === 0) {
      if (now - this.#stoppedAt < PATIENCE_MS) return;
      this.#violate([...this.#ends.keys()][0] ?? -1, `${this.#ends.size} connections hang`);
    }
    us_timer_close(this.#tick);
    us_listen_socket_close(this.#ssl, this.#listener);
    for (const { http, adopted } of [this.#servers, this.#clients]) {
      us_socket_context_free(this.#ssl, http);
      us_socket_context_free(this.#ssl, adopted);
    }
  }

  #nextConnection(): boolean {
    const { connections, path, seed } = this.#options;
    if (this.#ends.size >= connections || this.#arriving >= ARRIVING_MAX) return false;
    if (this.#isOver(performance.now())) return false;
    const connection = this.#started++;
    const { http } = this.#clients;
    const port = us_socket_local_port(this.#ssl, this.#listener);
    const s = path === undefined
      ? us_socket_context_connect(this.#ssl, http, "127.0.0.1", port, 0, EXT_SIZE)
      : us_socket_context_connect_unix(this.#ssl, http, path, 0, EXT_SIZE);
    if (s === null) {
      this.#violate(connection, "connect failed at once");
      return false;
    }
    this.#initialize(s, connection, true);
    this.#arriving++;
    const client = new End(connection, true, planOf(seed, connection, true), s);
    this.#ends.set(connection, { client });
    if (this.#random(50) === 0) this.#cancel(client);
    return true;
  }

  /** Cancels a connect: neither on_open nor on_close may come. */
  #cancel(client: End): void {
    us_socket_close_connecting(this.#ssl, client.socket);
    this.#count("connect cancelled");
    this.#arriving--;
    client.closedWith = client.code = 0;
    this.#ends.delete(client.connection);
    if (us_socket_is_closed(this.#ssl, client.socket) !== 1) {
      this.#violate(client.connection, "a cancelled connect is not closed");
    }
  }

  #initialize(s: us_socket_t, connection: number, isClient: boolean): void {
    const ext = extOf(s);
    const isZeroed = ext.byteLength === EXT_SIZE && ext.getFloat64(0) === 0 &&
      ext.getFloat64(8) === 0;
    if (!isZeroed) this.#violate(connection, "new user data is not zeroed");
    ext.setUint32(EXT_MAGIC, MAGIC);
    ext.setUint32(EXT_CONNECTION, connection);
    ext.setUint8(EXT_IS_CLIENT, isClient ? 1 : 0);
  }

  // ---------------------------------------------------------------- callbacks

  #createContexts(options: us_socket_context_options_t): Contexts {
    const http = us_create_socket_context(this.#ssl, this.#loop, 1, options)!;
    const adopted = us_create_child_socket_context(this.#ssl, http, 1);
    us_socket_context_ext(this.#ssl, adopted)[0] = 1;
    for (const context of [http, adopted]) this.#setCallbacks(context);
    return { http, adopted };
  }

  #setCallbacks(context: us_socket_context_t): void {
    const ssl = this.#ssl;
    const isAdopted = us_socket_context_ext(ssl, context)[0] === 1;
    us_socket_context_on_open(ssl, context, (s, is_client) => {
      if (isAdopted) this.#violate(-1, "on_open of a context that only adopts");
      return is_client === 1 ? this.#onClientOpen(s) : this.#onServerOpen(s);
    });
    us_socket_context_on_data(ssl, context, (s, data, length) => {
      if (length === 0 || length !== data.length) this.#violate(-1, "on_data without data");
      const end = this.#check(s, isAdopted);
      if (end !== null) return this.#onData(end, data);
      this.#onFirstData(s, data);
    });
    us_socket_context_on_writable(ssl, context, (s) => {
      const end = this.#check(s, isAdopted);
      if (end === null) return;
      if (!end.owesWritable) this.#violate(end.connection, "on_writable without a short write");
      end.owesWritable = false;
      this.#goOn(end);
    });
    us_socket_context_on_end(ssl, context, (s) => {
      const end = this.#check(s, isAdopted);
      if (end === null) return void us_socket_close(ssl, s, CODE_CUT); // a client that said nothing
      if (end.isPaused) this.#violate(end.connection, "on_end while paused");
      if (end.hasEnded) this.#violate(end.connection, "on_end twice");
      end.hasEnded = true;
      this.#goOn(end);
    });
    us_socket_context_on_timeout(ssl, context, (s) => {
      const end = this.#check(s, isAdopted);
      if (end !== null) this.#onTimeout(end);
    });
    us_socket_context_on_long_timeout(ssl, context, (s) => {
      const end = this.#check(s, isAdopted);
      if (end === null) return;
      if (end.longTimeoutAt === 0 || performance.now() < end.longTimeoutAt) {
        this.#violate(end.connection, "on_long_timeout came too early");
      }
      end.longTimeoutAt = 0;
      this.#count("long timeout came");
    });
    us_socket_context_on_connect_error(ssl, context, (s, code, error) => {
      this.#violate(extOf(s).getUint32(EXT_CONNECTION), `connect failed: ${code} ${error}`);
    });
    us_socket_context_on_close(ssl, context, (s, code, reason) => {
      const end = this.#check(s, isAdopted);
      if (code < 0 && !(reason instanceof Error)) {
        this.#violate(end?.connection ?? -1, `closed with ${code} and no reason`);
      }
      if (code < 0) this.#count(`closed: ${nameOf(code)}`);
      if (end === null) this.#anonymous--;
      else this.#onClose(end, code, reason);
    });
  }

  /** The end that a socket is, null where a server does not know yet; every callback comes by here. */
  #check(s: us_socket_t, isAdopted: boolean): End | null {
    const ext = extOf(s);
    const connection = ext.getUint32(EXT_CONNECTION);
    const size = isAdopted ? EXT_SIZE_ADOPTED : EXT_SIZE;
    // A socket that was adopted back keeps the larger size.
    if (ext.getUint32(EXT_MAGIC) !== MAGIC || ext.byteLength < size) {
      this.#violate(connection, "user data is damaged");
    }
    if (connection === NO_CONNECTION) return null;
    const ends = this.#ends.get(connection);
    const end = ext.getUint8(EXT_IS_CLIENT) === 1 ? ends?.client : ends?.server;
    if (end === undefined || end.socket !== s || end.code !== undefined) {
      this.#violate(connection, "a callback behind on_close");
      return null;
    }
    if (end.isAdopted !== isAdopted) this.#violate(connection, "a callback of another context");
    return end;
  }

  #onClientOpen(s: us_socket_t): void {
    const end = this.#check(s, false)!;
    if (us_socket_is_established(this.#ssl, s) !== 1) {
      this.#violate(end.connection, "open, but not established");
    }
    this.#opened(end);
    this.#goOn(end);
  }

  #onServerOpen(s: us_socket_t): void {
    this.#initialize(s, NO_CONNECTION, false);
    this.#anonymous++;
  }

  /** A server learns who its client is. */
  #onFirstData(s: us_socket_t, data: Uint8Array): void {
    const ext = extOf(s);
    const length = ext.getUint8(EXT_HEADER_LENGTH);
    const piece = data.subarray(0, HEADER_BYTES - length);
    const bytes = us_socket_ext(this.#ssl, s);
    bytes.set(piece, EXT_HEADER + length);
    ext.setUint8(EXT_HEADER_LENGTH, length + piece.length);
    if (length + piece.length < HEADER_BYTES) return;
    const connection = connectionOf(bytes.subarray(EXT_HEADER, EXT_HEADER + HEADER_BYTES));
    const ends = this.#ends.get(connection);
    if (ends === undefined || ends.server !== undefined) {
      // Its client may be closed for long; of one that never was there must be no trace.
      if (connection < 0 || connection >= this.#started) this.#violate(connection, "who is that?");
      us_socket_close(this.#ssl, s, CODE_CUT);
      return;
    }
    ext.setUint32(EXT_CONNECTION, connection);
    this.#anonymous--;
    this.#arriving--;
    const end = new End(connection, false, planOf(this.#options.seed, connection, false), s);
    ends.server = end;
    end.received = HEADER_BYTES;
    this.#opened(end);
    const rest = data.subarray(piece.length);
    if (rest.length > 0) this.#onData(end, rest);
    else this.#goOn(end);
  }

  #opened(end: End): void {
    this.report.open++;
    end.index = this.#open.push(end) - 1;
  }

  #onData(end: End, data: Uint8Array): void {
    if (end.hasEnded) this.#violate(end.connection, "on_data behind on_end");
    if (end.isDeaf) this.#violate(end.connection, "on_data behind us_socket_shutdown_read");
    if (end.isPaused) this.#violate(end.connection, "on_data while paused");
    if (!end.isNext(data)) {
      this.#violate(end.connection, `wrong bytes behind ${end.received}`);
    }
    end.received += data.length;
    this.report.bytes += data.length;
    this.#goOn(end);
  }

  #onTimeout(end: End): void {
    this.#count("timeout came");
    if (end.timeoutAt === 0 || performance.now() < end.timeoutAt) {
      this.#violate(end.connection, "on_timeout came too early, or twice");
    }
    end.timeoutAt = 0;
    if (!end.isDozing) return this.#goOn(end);
    end.isDozing = false;
    this.#resume(end);
    this.#goOn(end);
  }

  #onClose(end: End, code: number, reason: unknown): void {
    end.code = code;
    end.reason = reason;
    this.report.open--;
    const last = this.#open.pop()!;
    if (last !== end) {
      this.#open[end.index] = last;
      last.index = end.index;
    }
    const { client, server } = this.#ends.get(end.connection)!;
    if (server === undefined) { // the server never learnt who this was, and forgets it
      this.#ends.delete(end.connection);
      this.#arriving--;
      if (client.closedWith === undefined && this.report.violations.length === 0) {
        this.#violate(
          end.connection,
          `the client closed with ${code} before it was served: ${reason}`,
        );
      }
    } else if (client.code !== undefined && server.code !== undefined) {
      this.#ends.delete(end.connection);
      this.report.connections++;
      const wrong = judge(client, server, this.#ssl === 1);
      if (wrong !== null) this.#violate(end.connection, wrong);
    }
    this.#nextConnection();
  }

  // ---------------------------------------------------------------- what an end does

  /** Takes the steps that are due, sends what can be sent, and says farewell when all is. */
  #goOn(end: End): void {
    const { plan } = end;
    for (let burst = 0; end.code === undefined && burst < 64; burst++) {
      const step = plan.steps[end.stepsTaken];
      if (step !== undefined && step.at <= end.sent + end.received) this.#take(end, step);
      else if (!this.#send(end)) break;
    }
    if (end.code !== undefined) return;
    if (end.canSend) this.#defer(() => this.#goOn(end)); // others get their turn
    else if (end.sent === end.totalBytes) this.#farewell(end);
  }

  #send(end: End): boolean {
    if (!end.canSend) return false;
    const bytes = end.next(end.plan.writeBytes);
    const isMore = end.plan.writeBytes % 3 === 0 && bytes.length < end.totalBytes - end.sent;
    const written = us_socket_write(this.#ssl, end.socket, bytes, bytes.length, isMore ? 1 : 0);
    this.#sent(end, written, bytes.length);
    return !end.owesWritable;
  }

  #sent(end: End, written: number, length: number): void {
    if (written < 0 || written > length) this.#violate(end.connection, `wrote ${written}`);
    end.sent += written;
    if (written < length) end.owesWritable = true;
  }

  #farewell(end: End): void {
    const { ending } = end.plan;
    if (end.hasShutDown || (ending === "behind the peer" && !end.hasEnded)) return;
    if (ending === "close" && !end.isCutShort) return this.#close(end, CODE_LAST);
    end.hasShutDown = true;
    us_socket_shutdown(this.#ssl, end.socket);
  }

  #take(end: End, step: Step): void {
    end.stepsTaken++;
    this.#count(step.operation);
    if (!step.isLater) return this.#perform(end, step.operation);
    this.#defer(() => {
      if (end.code !== undefined) return;
      this.#perform(end, step.operation);
      if (end.code === undefined) this.#goOn(end);
    });
  }

  #perform(end: End, operation: Operation): void {
    const ssl = this.#ssl, s = end.socket;
    switch (operation) {
      case "write":
        this.#send(end);
        break;
      case "write2": {
        if (!end.canSend) break;
        const both = end.next(end.plan.writeBytes);
        const header = both.subarray(0, both.length >> 1), payload = both.subarray(header.length);
        const written = us_socket_write2(ssl, s, header, header.length, payload, payload.length);
        this.#sent(end, written, both.length);
        break;
      }
      case "flush":
        us_socket_flush(ssl, s);
        break;
      case "adopt":
        this.#adopt(end);
        break;
      case "pause":
        if (end.isPaused) break;
        this.#pause(end);
        this.#defer(() => {
          if (end.code === undefined && !end.isDozing) this.#resume(end);
        });
        break;
      case "doze":
        this.#pause(end);
        end.isDozing = true;
        this.#arm(end, 1);
        break;
      case "timeout":
        if (!end.isDozing) this.#arm(end, end.plan.writeBytes % 3);
        break;
      case "long timeout":
        end.longTimeoutAt = performance.now() + 60_000;
        us_socket_long_timeout(ssl, s, 1);
        break;
      case "wakeup":
        us_wakeup_loop(this.#loop);
        break;
      case "timer":
        this.#startTimer(end);
        break;
      case "shutdown":
        end.cutShort();
        break;
      case "shutdown read":
        end.isDeaf = true;
        us_socket_shutdown_read(ssl, s);
        break;
      case "close":
        this.#close(end, CODE_CUT);
        break;
      case "close another":
        this.#close(this.#open[this.#random(this.#open.length)], CODE_ANOTHER);
        break;
    }
  }

  #adopt(end: End): void {
    const { http, adopted } = end.isClient ? this.#clients : this.#servers;
    end.isAdopted = !end.isAdopted;
    const context = end.isAdopted ? adopted : http;
    us_socket_context_adopt_socket(this.#ssl, context, end.socket, EXT_SIZE_ADOPTED);
    const ext = extOf(end.socket);
    end.adoptions++;
    ext.setUint32(EXT_ADOPTIONS, ext.getUint32(EXT_ADOPTIONS) + 1);
    if (ext.getUint32(EXT_ADOPTIONS) !== end.adoptions) {
      this.#violate(end.connection, "an adoption lost user data");
    }
    end.timeoutAt = end.longTimeoutAt = 0; // an adoption clears them
    if (end.isDozing) this.#arm(end, 1);
  }

  #arm(end: End, seconds: number): void {
    end.timeoutAt = seconds === 0 ? 0 : performance.now() + seconds * 1000;
    us_socket_timeout(this.#ssl, end.socket, seconds);
  }

  #pause(end: End): void {
    end.isPaused = true;
    end.socket.pause();
  }

  #resume(end: End): void {
    end.isPaused = false;
    end.socket.resume();
  }

  #close(end: End, code: number): void {
    if (end.code !== undefined) return;
    end.closedWith = code;
    us_socket_close(this.#ssl, end.socket, code);
    if (end.code === undefined) this.#violate(end.connection, "on_close came late");
  }

  /** A timer of its own that acts on the end once, or finds it closed. */
  #startTimer(end: End): void {
    const timer = us_create_timer(this.#loop, 0, 4)!;
    us_timer_set(
      timer,
      (t) => {
        us_timer_close(t);
        if (end.code === undefined) this.#goOn(end);
      },
      1 + this.#random(5),
      0,
    );
  }

  #defer(act: () => void): void {
    this.#later.push(act);
  }

  #count(what: string): void {
    const { counts } = this.report;
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }

  #violate(connection: number, what: string): void {
    const { violations } = this.report;
    if (violations.length >= VIOLATIONS_MAX) return;
    violations.push(`connection ${connection} of seed ${this.#options.seed}: ${what}`);
  }
}

/** A context, and its child that only adopts. */
interface Contexts {
  readonly http: us_socket_context_t;
  readonly adopted: us_socket_context_t;
}

function extOf(s: us_socket_t): DataView {
  const { buffer, byteOffset, byteLength } = us_socket_ext(0, s);
  return new DataView(buffer, byteOffset, byteLength);
}

function nameOf(code: number): string {
  return Object.entries(CloseCode).find(([, value]) => value === code)?.[0] ?? `${code}`;
}
