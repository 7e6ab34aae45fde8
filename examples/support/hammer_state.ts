/**
 * What the hammer's two halves share: its state, and the memory behind its sockets.
 * @module
 */
import {
  type us_loop_t,
  type us_socket_context_options_t,
  type us_socket_context_t,
  us_socket_ext,
  type us_socket_t,
} from "@usockets/usockets/libusockets";
import type { End } from "./hammer_end.ts";
import { type Random, randomOf } from "./hammer_plan.ts";

/** What is hammered, and for how long. */
export interface HammerOptions {
  readonly seed: number;
  /** Connections at a time. */
  readonly connections: number;
  /** Begin no more after so many connections, or so many seconds. */
  readonly connectionsMax?: number;
  readonly seconds?: number;
  /** Begin no more than so many a second. */
  readonly ratePerSecond?: number;
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
export const EXT_MAGIC = 0, EXT_CONNECTION = 4, EXT_IS_CLIENT = 8;
/** The first bytes of a client, until they are all there. */
export const EXT_HEADER_LENGTH = 9, EXT_HEADER = 16;
/** With an adoption comes a counter of them. */
export const EXT_SIZE = 24, EXT_SIZE_ADOPTED = 28, EXT_ADOPTIONS = 24;

/** The memory behind a socket. */
export function extOf(s: us_socket_t): DataView {
  const { buffer, byteOffset, byteLength } = us_socket_ext(0, s);
  return new DataView(buffer, byteOffset, byteLength);
}

/** A context, and its child that only adopts. */
export interface Contexts {
  readonly http: us_socket_context_t;
  readonly adopted: us_socket_context_t;
}

const VIOLATIONS_MAX = 10;

/** The state of a hammer. */
export class HammerState {
  readonly loop: us_loop_t;
  readonly options: HammerOptions;
  readonly ssl: number;
  readonly random: Random;
  readonly report: HammerReport = {
    connections: 0,
    open: 0,
    bytes: 0,
    counts: new Map(),
    violations: [],
  };
  /** Every end that is open, in any order. */
  readonly open: End[] = [];
  #later: (() => void)[] = [];

  constructor(loop: us_loop_t, options: HammerOptions) {
    this.loop = loop;
    this.options = options;
    this.ssl = options.tls === undefined ? 0 : 1;
    this.random = randomOf(options.seed, -1);
  }

  /** Does something out of handlers, from the next tick. */
  defer(act: () => void): void {
    this.#later.push(act);
  }

  /** Does what was put off. */
  doDeferred(): void {
    const later = this.#later;
    this.#later = [];
    for (const act of later) act();
  }

  count(what: string): void {
    const { counts } = this.report;
    counts.set(what, (counts.get(what) ?? 0) + 1);
  }

  violate(connection: number, what: string): void {
    const { violations } = this.report;
    if (violations.length >= VIOLATIONS_MAX) return;
    violations.push(`connection ${connection} of seed ${this.options.seed}: ${what}`);
  }
}
