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
  us_last_error,
  us_listen_socket_close,
  type us_listen_socket_t,
  type us_loop_t,
  us_socket_close,
  us_socket_close_connecting,
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
  us_socket_is_closed,
  us_socket_is_established,
  us_socket_local_port,
  type us_socket_t,
  us_timer_close,
  us_timer_set,
  type us_timer_t,
} from "@usockets/usockets/libusockets";
import { CODE_CUT, HammerActor } from "./hammer_actor.ts";
import { connectionOf, End, HEADER_BYTES, judge } from "./hammer_end.ts";
import { planOf } from "./hammer_plan.ts";
import {
  type Contexts,
  EXT_CONNECTION,
  EXT_HEADER,
  EXT_HEADER_LENGTH,
  EXT_IS_CLIENT,
  EXT_MAGIC,
  EXT_SIZE,
  EXT_SIZE_ADOPTED,
  extOf,
  type HammerOptions,
  type HammerReport,
  HammerState,
} from "./hammer_state.ts";

export type { HammerOptions, HammerReport };

/**
 * On their way to be served at a time: what does not fit into a listener's backlog would be dropped and
 * tried again, and more handshakes than this take their time.
 */
const ARRIVING_MAX = 256;
/** What is still open so long behind the last connection hangs, in milliseconds. */
const PATIENCE_MS = 30_000;
const MAGIC = 0xc0ffee, NO_CONNECTION = 0xffffffff;

/** Hammers a loop: begins at once, and is done when the loop has nothing left to do. */
export function hammer(loop: us_loop_t, options: HammerOptions): HammerReport {
  const state = new HammerState(loop, options);
  new Hammer(state);
  return state.report;
}

class Hammer {
  readonly #state: HammerState;
  readonly #actor: HammerActor;
  readonly #servers: Contexts;
  readonly #clients: Contexts;
  readonly #listener: us_listen_socket_t;
  readonly #tick: us_timer_t;
  readonly #beganAt = performance.now();
  /** Both ends of each connection that is not done. */
  readonly #ends = new Map<number, { client: End; server?: End }>();
  #started = 0;
  #arriving = 0;
  /** Servers that do not know yet who their client is. */
  #anonymous = 0;
  #reportedAt = 0;
  #stoppedAt = 0;

  constructor(state: HammerState) {
    const { loop, options: { tls, path }, ssl } = state;
    this.#state = state;
    this.#servers = this.#createContexts(tls?.server ?? {});
    this.#clients = this.#createContexts(tls?.client ?? {});
    this.#actor = new HammerActor(state, this.#servers, this.#clients);
    const { http } = this.#servers;
    const listener = path === undefined
      ? us_socket_context_listen(ssl, http, "127.0.0.1", 0, LIBUS_LISTEN_DEFAULT, EXT_SIZE)
      : us_socket_context_listen_unix(ssl, http, path, LIBUS_LISTEN_DEFAULT, EXT_SIZE);
    if (listener === null) throw us_last_error(loop);
    this.#listener = listener;
    this.#tick = us_create_timer(loop, 0, 0)!;
    us_timer_set(this.#tick, () => this.#onTick(), 1, 1);
  }

  // ---------------------------------------------------------------- connections come and go

  #onTick(): void {
    const now = performance.now();
    this.#state.doDeferred();
    if (this.#isOver(now)) return this.#stop(now);
    while (this.#nextConnection());
    if (now - this.#reportedAt < 1000) return;
    this.#reportedAt = now;
    this.#state.options.onProgress?.(this.#state.report);
  }

  #isOver(now: number): boolean {
    const { connectionsMax = Infinity, seconds = Infinity } = this.#state.options;
    return this.#stoppedAt > 0 || this.#state.report.violations.length > 0 ||
      this.#started >= connectionsMax ||
      now - this.#beganAt >= seconds * 1000;
  }

  /** Nothing new begins; what is open ends by itself, or it hangs. */
  #stop(now: number): void {
    if (this.#stoppedAt === 0) this.#stoppedAt = now;
    const isOpen = this.#ends.size + this.#anonymous > 0;
    if (isOpen && this.#state.report.violations.length === 0) {
      if (now - this.#stoppedAt < PATIENCE_MS) return;
      this.#state.violate([...this.#ends.keys()][0] ?? -1, `${this.#ends.size} connections hang`);
    }
    us_timer_close(this.#tick);
    us_listen_socket_close(this.#state.ssl, this.#listener);
    for (const { http, adopted } of [this.#servers, this.#clients]) {
      us_socket_context_free(this.#state.ssl, http);
      us_socket_context_free(this.#state.ssl, adopted);
    }
  }

  #nextConnection(): boolean {
    const { connections, path, ratePerSecond = Infinity, seed } = this.#state.options;
    if (this.#ends.size >= connections || this.#arriving >= ARRIVING_MAX) return false;
    const now = performance.now();
    if (this.#isOver(now)) return false;
    if (this.#started >= 1 + (now - this.#beganAt) / 1000 * ratePerSecond) return false;
    const connection = this.#started++;
    const { http } = this.#clients;
    const port = us_socket_local_port(this.#state.ssl, this.#listener);
    const s = path === undefined
      ? us_socket_context_connect(this.#state.ssl, http, "127.0.0.1", port, 0, EXT_SIZE)
      : us_socket_context_connect_unix(this.#state.ssl, http, path, 0, EXT_SIZE);
    if (s === null) {
      this.#state.violate(connection, "connect failed at once");
      return false;
    }
    this.#initialize(s, connection, true);
    this.#arriving++;
    const client = new End(connection, true, planOf(seed, connection, true), s);
    this.#ends.set(connection, { client });
    if (this.#state.random(50) === 0) this.#cancel(client);
    return true;
  }

  /** Cancels a connect: neither on_open nor on_close may come. */
  #cancel(client: End): void {
    us_socket_close_connecting(this.#state.ssl, client.socket);
    this.#state.count("connect cancelled");
    this.#arriving--;
    client.closedWith = client.code = 0;
    this.#ends.delete(client.connection);
    if (us_socket_is_closed(this.#state.ssl, client.socket) !== 1) {
      this.#state.violate(client.connection, "a cancelled connect is not closed");
    }
  }

  #initialize(s: us_socket_t, connection: number, isClient: boolean): void {
    const ext = extOf(s);
    const isZeroed = ext.byteLength === EXT_SIZE && ext.getFloat64(0) === 0 &&
      ext.getFloat64(8) === 0;
    if (!isZeroed) this.#state.violate(connection, "new user data is not zeroed");
    ext.setUint32(EXT_MAGIC, MAGIC);
    ext.setUint32(EXT_CONNECTION, connection);
    ext.setUint8(EXT_IS_CLIENT, isClient ? 1 : 0);
  }

  // ---------------------------------------------------------------- callbacks

  #createContexts(options: us_socket_context_options_t): Contexts {
    const http = us_create_socket_context(this.#state.ssl, this.#state.loop, 1, options)!;
    const adopted = us_create_child_socket_context(this.#state.ssl, http, 1);
    us_socket_context_ext(this.#state.ssl, adopted)[0] = 1;
    for (const context of [http, adopted]) this.#setCallbacks(context);
    return { http, adopted };
  }

  #setCallbacks(context: us_socket_context_t): void {
    const ssl = this.#state.ssl;
    const isAdopted = us_socket_context_ext(ssl, context)[0] === 1;
    us_socket_context_on_open(ssl, context, (s, is_client) => {
      if (isAdopted) this.#state.violate(-1, "on_open of a context that only adopts");
      return is_client === 1 ? this.#onClientOpen(s) : this.#onServerOpen(s);
    });
    us_socket_context_on_data(ssl, context, (s, data, length) => {
      if (length === 0 || length !== data.length) this.#state.violate(-1, "on_data without data");
      const end = this.#check(s, isAdopted);
      if (end !== null) return this.#onData(end, data);
      this.#onFirstData(s, data);
    });
    us_socket_context_on_writable(ssl, context, (s) => {
      const end = this.#check(s, isAdopted);
      if (end === null) return;
      if (!end.owesWritable) {
        this.#state.violate(end.connection, "on_writable without a short write");
      }
      end.owesWritable = false;
      this.#actor.goOn(end);
    });
    us_socket_context_on_end(ssl, context, (s) => {
      const end = this.#check(s, isAdopted);
      if (end === null) return void us_socket_close(ssl, s, CODE_CUT); // a client that said nothing
      if (end.isPaused) this.#state.violate(end.connection, "on_end while paused");
      if (end.hasEnded) this.#state.violate(end.connection, "on_end twice");
      end.hasEnded = true;
      this.#actor.goOn(end);
    });
    us_socket_context_on_timeout(ssl, context, (s) => {
      const end = this.#check(s, isAdopted);
      if (end !== null) this.#onTimeout(end);
    });
    us_socket_context_on_long_timeout(ssl, context, (s) => {
      const end = this.#check(s, isAdopted);
      if (end === null) return;
      if (end.longTimeoutAt === 0 || performance.now() < end.longTimeoutAt) {
        this.#state.violate(end.connection, "on_long_timeout came too early");
      }
      end.longTimeoutAt = 0;
      this.#state.count("long timeout came");
    });
    us_socket_context_on_connect_error(ssl, context, (s, code, error) => {
      this.#state.violate(extOf(s).getUint32(EXT_CONNECTION), `connect failed: ${code} ${error}`);
    });
    us_socket_context_on_close(ssl, context, (s, code, reason) => {
      const end = this.#check(s, isAdopted);
      if (code < 0 && !(reason instanceof Error)) {
        this.#state.violate(end?.connection ?? -1, `closed with ${code} and no reason`);
      }
      if (code < 0) this.#state.count(`closed: ${nameOf(code)}`);
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
      this.#state.violate(connection, "user data is damaged");
    }
    if (connection === NO_CONNECTION) return null;
    const ends = this.#ends.get(connection);
    const end = ext.getUint8(EXT_IS_CLIENT) === 1 ? ends?.client : ends?.server;
    if (end === undefined || end.socket !== s || end.code !== undefined) {
      this.#state.violate(connection, "a callback behind on_close");
      return null;
    }
    if (end.isAdopted !== isAdopted) {
      this.#state.violate(connection, "a callback of another context");
    }
    return end;
  }

  #onClientOpen(s: us_socket_t): void {
    const end = this.#check(s, false)!;
    if (us_socket_is_established(this.#state.ssl, s) !== 1) {
      this.#state.violate(end.connection, "open, but not established");
    }
    this.#opened(end);
    this.#actor.goOn(end);
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
    const bytes = us_socket_ext(this.#state.ssl, s);
    bytes.set(piece, EXT_HEADER + length);
    ext.setUint8(EXT_HEADER_LENGTH, length + piece.length);
    if (length + piece.length < HEADER_BYTES) return;
    const connection = connectionOf(bytes.subarray(EXT_HEADER, EXT_HEADER + HEADER_BYTES));
    const ends = this.#ends.get(connection);
    if (ends === undefined || ends.server !== undefined) {
      // Its client may be closed for long; of one that never was there must be no trace.
      if (connection < 0 || connection >= this.#started) {
        this.#state.violate(connection, "who is that?");
      }
      us_socket_close(this.#state.ssl, s, CODE_CUT);
      return;
    }
    ext.setUint32(EXT_CONNECTION, connection);
    this.#anonymous--;
    this.#arriving--;
    const end = new End(connection, false, planOf(this.#state.options.seed, connection, false), s);
    ends.server = end;
    end.received = HEADER_BYTES;
    this.#opened(end);
    const rest = data.subarray(piece.length);
    if (rest.length > 0) this.#onData(end, rest);
    else this.#actor.goOn(end);
  }

  #opened(end: End): void {
    this.#state.report.open++;
    end.index = this.#state.open.push(end) - 1;
  }

  #onData(end: End, data: Uint8Array): void {
    if (end.hasEnded) this.#state.violate(end.connection, "on_data behind on_end");
    if (end.isDeaf) this.#state.violate(end.connection, "on_data behind us_socket_shutdown_read");
    if (end.isPaused) this.#state.violate(end.connection, "on_data while paused");
    if (!end.isNext(data)) {
      this.#state.violate(end.connection, `wrong bytes behind ${end.received}`);
    }
    end.received += data.length;
    this.#state.report.bytes += data.length;
    this.#actor.goOn(end);
  }

  #onTimeout(end: End): void {
    this.#state.count("timeout came");
    if (end.timeoutAt === 0 || performance.now() < end.timeoutAt) {
      this.#state.violate(end.connection, "on_timeout came too early, or twice");
    }
    end.timeoutAt = 0;
    if (!end.isDozing) return this.#actor.goOn(end);
    end.isDozing = false;
    this.#actor.resume(end);
    this.#actor.goOn(end);
  }

  #onClose(end: End, code: number, reason: unknown): void {
    end.code = code;
    end.reason = reason;
    this.#state.report.open--;
    const last = this.#state.open.pop()!;
    if (last !== end) {
      this.#state.open[end.index] = last;
      last.index = end.index;
    }
    const { client, server } = this.#ends.get(end.connection)!;
    if (server === undefined) { // the server never learnt who this was, and forgets it
      this.#ends.delete(end.connection);
      this.#arriving--;
      if (client.closedWith === undefined && this.#state.report.violations.length === 0) {
        this.#state.violate(
          end.connection,
          `the client closed with ${code} before it was served: ${reason}`,
        );
      }
    } else if (client.code !== undefined && server.code !== undefined) {
      this.#ends.delete(end.connection);
      this.#state.report.connections++;
      const wrong = judge(client, server, this.#state.ssl === 1);
      if (wrong !== null) this.#state.violate(end.connection, wrong);
    }
    this.#nextConnection();
  }
}

function nameOf(code: number): string {
  return Object.entries(CloseCode).find(([, value]) => value === code)?.[0] ?? `${code}`;
}
