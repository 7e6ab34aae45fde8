/**
 * What the siege tells its processes, and what they answer: a line of JSON each.
 * @module
 */

/** What a process is. */
export type Role =
  /** Connections that stay open and send requests at a fixed rate. */
  | { readonly is: "visitors"; readonly connections: number; readonly perSecond: number }
  /** Connections that hold on to what they got, and come back when they are closed. */
  | { readonly is: "slowloris"; readonly connections: number }
  /** Connections that come and go. */
  | { readonly is: "flood"; readonly perSecond: number };

/** Whom to visit or attack. */
export interface Target {
  readonly port: number;
  readonly isTls: boolean;
}

/** Do what you are for, for so long. */
export interface Order {
  readonly seconds: number;
}

/** What a process was started for. */
export interface Mission {
  readonly role: Role;
  readonly target: Target;
}

/** Microseconds. */
export interface Latency {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
}

/** What visitors saw. */
export interface VisitorsReply {
  readonly count: number;
  /** By kind. */
  readonly errors: Readonly<Record<string, number>>;
  /** From when a request was due to when its answer was there. */
  readonly latency: Latency;
  /** How late requests were sent: the visitors' own part of the latency. */
  readonly lateness: Latency;
}

/** What the slow ones came to. */
export interface SlowlorisReply {
  /** Open at the end. */
  readonly alive: number;
  /** Closed by the server. */
  readonly closed: number;
  readonly failed: number;
}

/** What the flood came to. */
export interface FloodReply {
  /** Connects that the server's system accepted. */
  readonly connects: number;
  readonly failed: number;
  readonly seconds: number;
}

/** A connection that is closed in order keeps its pair of ports for a minute: hence many addresses. */
const HOSTS = Array.from({ length: 16 }, (_, i) => `127.0.0.${i + 1}`);

/** Where connection number `index` goes: all of these are the server. */
export function hostOf(index: number): string {
  return HOSTS[index % HOSTS.length];
}
