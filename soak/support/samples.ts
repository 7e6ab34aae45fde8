/**
 * What a soak is measured by: the words between the process that is soaked and the one that watches.
 * @module
 */
import type { LoopFlags } from "../../examples/support/flags.ts";

/** What is soaked, and for how long. */
export interface SoakOptions extends LoopFlags {
  readonly minutes: number;
  /** Connections that stay, at a time, on all transports together. */
  readonly connections: number;
  readonly seed: number;
  /** How often there is a sample. */
  readonly sampleSeconds: number;
}

/** How the soaked process is at a time, as it tells. */
export interface Pulse {
  /** Connections that are open, counted once. */
  readonly open: number;
  /** Connections that were accepted since the beginning, and bytes that came. */
  readonly connections: number;
  readonly bytes: number;
  /** Messages answered since the last pulse, and how long that took, in microseconds. */
  readonly messages: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** V8's heap in use, and memory outside of it that V8 accounts for. */
  readonly heapBytes: number;
  readonly externalBytes: number;
}

/** What happened since the beginning. */
export interface Account {
  /** How often each thing happened. */
  readonly counts: Readonly<Record<string, number>>;
  /** What must not be. */
  readonly violations: readonly string[];
}

/** What is left when the loop has ended and is freed. */
export interface Rest {
  readonly descriptorsBefore: number;
  readonly descriptorsAfter: number;
  /** Sockets that the loop counts as open. */
  readonly open: number;
}

/** A line of the soaked process's output; the last one has the rest. */
export interface Line {
  readonly pulse: Pulse;
  readonly account: Account;
  readonly rest?: Rest;
}

/** A pulse, and what the system says of the process at that time. */
export interface Sample extends Pulse {
  readonly seconds: number;
  /** Memory, what is shared in proportion (PSS). */
  readonly memoryBytes: number;
  readonly descriptors: number;
  readonly cpuSeconds: number;
}

/** A soak from its beginning to its end. */
export interface Soak {
  readonly options: SoakOptions;
  readonly date: string;
  readonly machine: string;
  readonly samples: readonly Sample[];
  readonly account: Account;
  readonly rest: Rest;
}

/** The backend and the way of running, as they are called everywhere. */
export function nameOf({ backend, isBlocking }: LoopFlags): string {
  return isBlocking ? `${backend}, blocking` : backend;
}
