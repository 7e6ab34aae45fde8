/**
 * One end of a connection of the property test: does one thing or another at each of its events, and
 * keeps account of what it sent, received and was told.
 */
import { CloseCode, type Socket } from "@usockets/usockets";
import type { Random } from "../../examples/support/hammer_plan.ts";
import { pattern } from "../support/streams.ts";

/** What both ends send, each from an offset of its own. */
const BYTES = pattern(600_000, 11);
/** How much an end sends at most. */
const BYTES_MAX = 200_000;

/** What a side may do to its world. */
export interface Surroundings {
  readonly random: Random;
  /** Whether the backend can send a RST, and probe with timings of one's own. */
  readonly hasResets: boolean;
  /** How much an end sends at most. */
  readonly bytesMax: number;
  /** Another context of the same kind. */
  otherContext(side: Side): { adopt(socket: Socket): unknown };
  wakeup(): void;
  /** What a handler is about to throw. */
  willThrow(error: Error): void;
  /** A call threw: it must say why. */
  caught(what: string, error: unknown): void;
  /** Something is wrong. */
  violated(what: string): void;
}

/** One end of a connection. */
export class Side {
  name = "a server";
  readonly #world: Surroundings;
  readonly #isClient: boolean;
  #offset = 0;
  #peerOffset = 0;
  readonly #bytesMax: number;
  /** Nothing but the traffic: it must end well. */
  #isCalm = false;
  /** How many bytes of its header a client has sent. */
  headerBytes = 0;
  peer: Side | null = null;
  socket: Socket | null = null;
  /** Nothing of the pattern is sent before; a client sends its header meanwhile. */
  isReady = false;
  accepted = 0;
  received = 0;
  opens = 0;
  closes = 0;
  connectErrors = 0;
  handshakes = 0;
  /** A write was short: one onWritable is owed, and nothing is done before it comes. */
  owesWritable = false;
  isPaused = false;
  hasEnded = false;
  hasShutDown = false;
  /** `end()` was called: no event but onClose comes. */
  isEnding = false;
  /** It left without farewell, or drops what comes. */
  isHasty = false;
  isCancelled = false;
  /** What it was closed with. */
  closedWith: number | null = null;
  /** Errors that were injected into calls on its descriptor and may end the connection. */
  readonly hits: number[] = [];
  /** One of them broke it while it was open. */
  isBroken = false;
  code: number | null = null;
  reason: unknown;

  constructor(isClient: boolean, world: Surroundings) {
    this.#isClient = isClient;
    this.#world = world;
    const limits = [20, 2000, 60_000, BYTES_MAX].map((limit) => Math.min(limit, world.bytesMax));
    this.#bytesMax = world.random(limits[world.random(limits.length)]) + 1;
  }

  /** Which connection it is of; a server learns that from its client. */
  identify(index: number, isCalm: boolean): void {
    this.name = `${this.#isClient ? "client" : "server"} ${index}`;
    this.#isCalm = isCalm;
    this.#offset = offsetOf(index, this.#isClient);
    this.#peerOffset = offsetOf(index, !this.#isClient);
  }

  get isClosed(): boolean {
    return this.closes > 0;
  }

  // ---- events ----

  /** Fails for an event that cannot be. */
  expect(event: string, isAllowed = true): void {
    const isBetween = this.opens === 1 && this.closes === 0 && !this.isEnding;
    if (isBetween && isAllowed) return;
    const { opens, closes, isEnding, isPaused, hasEnded, owesWritable } = this;
    this.#violated(
      `${event} with ${
        JSON.stringify({ opens, closes, isEnding, isPaused, hasEnded, owesWritable })
      }`,
    );
  }

  data(bytes: Uint8Array): void {
    this.expect("onData", !this.isPaused && !this.hasEnded && bytes.length > 0);
    const at = this.#peerOffset + this.received;
    const wrong = bytes.findIndex((byte, index) => byte !== BYTES[at + index]);
    if (wrong !== -1) this.#violated(`byte ${this.received + wrong} is wrong`);
    this.received += bytes.length;
    if (this.#world.random(4) === 0) this.act();
  }

  writable(): void {
    this.expect("onWritable", this.owesWritable);
    this.owesWritable = false;
  }

  ended(): void {
    this.expect("onEnd", !this.isPaused && !this.hasEnded);
    this.hasEnded = true;
    this.act();
  }

  timedOut(): void {
    this.expect("onTimeout");
    this.resume();
    this.act();
  }

  closed(code: number, reason: unknown): void {
    this.closes++;
    this.code = code;
    this.reason = reason;
    if (this.opens !== 1 || this.closes !== 1) this.#violated("onClose without onOpen, or twice");
  }

  // ---- what it does ----

  /** Does something, and sees to it that something follows. */
  act(): void {
    const { socket, closes } = this;
    if (socket === null || closes > 0 || this.isEnding) return;
    const { random } = this.#world;
    socket.timeout(0.002 + random(6) / 1000);
    if (!this.isReady || this.owesWritable) return;
    if (this.accepted >= this.#bytesMax) return this.#finish(socket);
    const chance = random(this.#isCalm ? 60 : 100) + (this.#isCalm ? 40 : 0);
    if (chance < 7) this.#leave(socket, chance);
    else if (chance < 17) this.#pause(socket);
    else if (chance < 22) this.#adopt(socket);
    else if (chance < 24) this.#setKeepAlive(socket);
    else if (chance < 26) socket.setNoDelay(chance === 24);
    else if (chance < 28) this.#world.wakeup();
    else if (chance < 30) socket.longTimeout(1);
    else if (chance < 31) this.#finish(socket);
    else if (chance < 50) this.#write2(socket);
    else if (chance < 65) this.#corked(socket);
    else this.#write(socket, false);
  }

  resume(): void {
    this.isPaused = false;
    this.socket?.resume();
  }

  close(socket: Socket, code: number): void {
    this.isHasty = true;
    this.closedWith = code;
    socket.close(code);
    if (this.opens > 0 && this.closes === 0) this.#violated("close() without onClose");
  }

  #leave(socket: Socket, chance: number): void {
    if (this.#world.random(8) > 0) return this.#write(socket, false); // rarely
    this.isHasty = true;
    if (chance < (this.#world.hasResets ? 2 : 3)) {
      return this.close(socket, 1 + this.#world.random(9));
    }
    if (chance < 3) {
      this.closedWith = CloseCode.Clean;
      return socket.reset();
    }
    if (chance < 5) {
      // Bytes that come from here on are dropped, and onEnd with them.
      socket.end(1);
      this.isEnding = this.closes === 0;
      return;
    }
    if (chance < 6) return socket.shutdownRead();
    const error = new Error(`thrown by ${this.name}`);
    this.#world.willThrow(error);
    throw error;
  }

  #pause(socket: Socket): void {
    this.isPaused = true;
    socket.pause(); // until its timeout
  }

  #setKeepAlive(socket: Socket): void {
    try {
      socket.setKeepAlive(true, this.#world.hasResets ? { idleSeconds: 30 } : undefined);
    } catch (error) {
      this.#world.caught("setKeepAlive()", error);
    }
  }

  #adopt(socket: Socket): void {
    this.#world.otherContext(this).adopt(socket);
    socket.timeout(0.002); // an adoption clears it
  }

  #finish(socket: Socket): void {
    if (this.hasShutDown) return;
    this.hasShutDown = true;
    socket.shutdown();
  }

  #write(socket: Socket, more: boolean): void {
    if (this.hasShutDown) return;
    const bytes = this.#next();
    this.#wrote(socket.write(bytes, more), bytes.length);
  }

  #write2(socket: Socket): void {
    if (this.hasShutDown) return;
    const bytes = this.#next();
    const at = this.#world.random(bytes.length + 1);
    this.#wrote(socket.write2(bytes.subarray(0, at), bytes.subarray(at)), bytes.length);
  }

  #corked(socket: Socket): void {
    for (let i = this.#world.random(4); i > 0 && !this.owesWritable; i--) this.#write(socket, true);
    socket.flush();
  }

  #wrote(accepted: number, length: number): void {
    if (accepted < 0 || accepted > length) this.#violated(`write() of ${length}: ${accepted}`);
    this.accepted += accepted;
    if (accepted < length) this.owesWritable = true;
  }

  #next(): Uint8Array {
    const { random } = this.#world;
    const length = 1 + random([10, 3000, 70_000, BYTES_MAX][random(4)]);
    const left = Math.max(this.#bytesMax - this.accepted, 0);
    const from = this.#offset + this.accepted;
    return BYTES.subarray(from, from + Math.min(length, left));
  }

  #violated(what: string): void {
    this.#world.violated(`${this.name}: ${what}`);
  }
}

function offsetOf(index: number, isClient: boolean): number {
  return (index * 7919 + (isClient ? 100_003 : 0)) % (BYTES.length - BYTES_MAX - 1);
}
