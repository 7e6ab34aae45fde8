/**
 * Connections in memory with the shape of Deno's, whose operations are late, do a part of what they are
 * asked for, or fail, as those of Deno do.
 */
import type { Random } from "../../examples/support/hammer_plan.ts";

const { errors } = Deno;

/** How often operations are late, short or fail, of 1. */
export interface ConnRates {
  readonly late?: number;
  readonly short?: number;
  readonly failing?: number;
}

/** What a connection may break with. Deno has no class for most errors of the system. */
const BREAKS: (() => Error)[] = [
  () => new errors.ConnectionReset("Connection reset by peer (os error 104)"),
  () => new errors.ConnectionAborted("Software caused connection abort (os error 103)"),
  () => new errors.BrokenPipe("Broken pipe (os error 32)"),
  () => new errors.NotConnected("Transport endpoint is not connected (os error 107)"),
  () => new errors.TimedOut("Connection timed out (os error 110)"),
  () => withCode(new Error("No buffer space available (os error 105)"), "ENOBUFS"),
  () => withCode(new Error("No route to host (os error 113)"), "EHOSTUNREACH"),
];

function withCode(error: Error, code: string): Error {
  return Object.assign(error, { code });
}

/** Draws what fails. */
export class ConnFaults {
  /** Nothing fails before. */
  isOn = false;
  /** All that was injected. */
  readonly injected: Error[] = [];
  readonly #random: Random;
  readonly #rates: ConnRates;

  constructor(random: Random, rates: ConnRates) {
    this.#random = random;
    this.#rates = rates;
  }

  /** Some time, or none. */
  async linger(): Promise<void> {
    if (!this.#happens(this.#rates.late)) return;
    const ms = this.#random(4) - 1;
    if (ms < 0) return await undefined;
    // no event is late: a time is what it takes
    await new Promise((resolve) => setTimeout(resolve, ms));
  }

  /** How many of so many bytes; at least one. */
  part(length: number): number {
    if (length === 0 || !this.#happens(this.#rates.short)) return length;
    return this.#random(3) === 0 ? 1 : 1 + this.#random(length);
  }

  /** An error, sometimes. */
  error(): Error | null {
    if (!this.#happens(this.#rates.failing)) return null;
    const error = BREAKS[this.#random(BREAKS.length)]();
    this.injected.push(error);
    return error;
  }

  #happens(rate = 0): boolean {
    return this.isOn && this.#random(1_000_000) < rate * 1_000_000;
  }
}

/** How much one direction holds. */
const ROOM = 20_000;

/** One direction of a connection. */
class Direction {
  readonly bytes: number[] = [];
  hasEnded = false;
  #waiting: (() => void)[] = [];

  /** Resolves when something has changed. */
  changed(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  change(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }

  end(): void {
    this.hasEnded = true;
    this.change();
  }
}

/** One end of a connection in memory. */
export class FaultyConn {
  readonly rid = -1;
  readonly localAddr: Deno.NetAddr;
  readonly remoteAddr: Deno.NetAddr;
  /** What an operation of it failed with. */
  readonly failures: Error[] = [];
  peer!: FaultyConn;
  isClosed = false;
  /** Operations under way: Deno allows one of each kind. */
  readonly #busy = new Set<string>();
  readonly #faults: ConnFaults;
  readonly #incoming: Direction;
  readonly #outgoing: Direction;
  /** `closeWrite()` was called. */
  #hasEnded = false;

  /** Both ends of a connection. */
  static pair(port: number, faults: ConnFaults): [FaultyConn, FaultyConn] {
    const one = new Direction(), other = new Direction();
    const pair: [FaultyConn, FaultyConn] = [
      new FaultyConn(port, faults, one, other),
      new FaultyConn(port, faults, other, one),
    ];
    pair[0].peer = pair[1];
    pair[1].peer = pair[0];
    return pair;
  }

  private constructor(port: number, faults: ConnFaults, incoming: Direction, outgoing: Direction) {
    this.localAddr = this.remoteAddr = { transport: "tcp", hostname: "127.0.0.1", port };
    this.#faults = faults;
    this.#incoming = incoming;
    this.#outgoing = outgoing;
  }

  read(into: Uint8Array): Promise<number | null> {
    return this.#operation("read", async () => {
      const { bytes } = this.#incoming;
      while (bytes.length === 0 && !this.#incoming.hasEnded && !this.isClosed) {
        await this.#incoming.changed();
      }
      this.#checkOpen();
      if (bytes.length === 0) return null;
      const taken = bytes.splice(0, this.#faults.part(Math.min(into.length, bytes.length)));
      into.set(taken);
      this.#incoming.change();
      return taken.length;
    });
  }

  write(bytes: Uint8Array): Promise<number> {
    return this.#operation("write", async () => {
      const outgoing = this.#outgoing;
      while (outgoing.bytes.length >= ROOM && !this.peer.isClosed && !this.isClosed) {
        await outgoing.changed();
      }
      this.#checkOpen();
      if (this.#hasEnded) throw new Error("a write behind closeWrite()");
      if (this.peer.isClosed || outgoing.hasEnded) throw this.#failed(new errors.BrokenPipe());
      const length = this.#faults.part(Math.min(bytes.length, ROOM - outgoing.bytes.length));
      outgoing.bytes.push(...bytes.subarray(0, length));
      outgoing.change();
      return length;
    });
  }

  closeWrite(): Promise<void> {
    return this.#operation("closeWrite", () => {
      this.#checkOpen();
      this.#hasEnded = true;
      this.#outgoing.end();
      return Promise.resolve();
    });
  }

  close(): void {
    if (this.isClosed) throw new errors.BadResource("Bad resource ID");
    this.isClosed = true;
    this.#outgoing.end();
    this.#incoming.change();
  }

  setNoDelay(): void {}
  setKeepAlive(): void {}
  ref(): void {}
  unref(): void {}

  [Symbol.dispose](): void {
    this.close();
  }

  async #operation<T>(name: string, operate: () => Promise<T>): Promise<T> {
    if (this.#busy.has(name)) throw new errors.Busy(`another ${name} is under way`);
    this.#busy.add(name);
    try {
      await this.#faults.linger();
      this.#checkOpen();
      const error = this.#faults.error();
      if (error !== null) {
        // Broken for good: the peer sees the end, and who goes on here the end and EPIPE.
        this.#incoming.end();
        this.#outgoing.end();
        throw this.#failed(error);
      }
      const result = await operate();
      await this.#faults.linger();
      return result;
    } finally {
      this.#busy.delete(name);
    }
  }

  #failed(error: Error): Error {
    this.failures.push(error);
    return error;
  }

  /** What Deno says of an operation whose Conn is closed meanwhile. */
  #checkOpen(): void {
    if (this.isClosed) throw new errors.BadResource("operation canceled");
  }
}

/** What listens for them, and connects to it. */
export class FaultyNetwork {
  readonly conns: FaultyConn[] = [];
  readonly #faults: ConnFaults;
  #backlog: FaultyConn[] = [];
  #arrived: (() => void) | null = null;
  #isListening = false;

  constructor(faults: ConnFaults) {
    this.#faults = faults;
  }

  /** In the place of `Deno.connect`. */
  async connect({ port }: { port: number }): Promise<Deno.Conn> {
    await this.#faults.linger();
    const error = this.#faults.error();
    if (error !== null) throw error;
    if (!this.#isListening) throw new errors.ConnectionRefused("refused (os error 111)");
    const [ours, theirs] = FaultyConn.pair(port, this.#faults);
    this.conns.push(ours, theirs);
    this.#backlog.push(theirs);
    this.#arrived?.();
    return ours as unknown as Deno.Conn;
  }

  /** In the place of `Deno.listen`. */
  listen(): Deno.Listener {
    const error = this.#faults.error();
    if (error !== null) throw error;
    this.#isListening = true;
    const accept = async () => {
      await this.#faults.linger();
      const error = this.#faults.error(); // before a connection is taken
      if (error !== null) throw error;
      while (this.#backlog.length === 0 && this.#isListening) {
        await new Promise<void>((resolve) => this.#arrived = resolve);
      }
      if (!this.#isListening) throw new errors.BadResource("Listener has been closed");
      return this.#backlog.shift();
    };
    const close = () => {
      this.#isListening = false;
      for (const conn of this.#backlog.splice(0)) conn.close();
      this.#arrived?.();
    };
    const addr = { transport: "tcp", hostname: "127.0.0.1", port: 1 };
    const listener = { addr, rid: -1, accept, close, ref() {}, unref() {} };
    return listener as unknown as Deno.Listener;
  }
}
