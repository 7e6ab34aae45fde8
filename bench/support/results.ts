/**
 * What a run of the benchmark finds, as it is stored in `bench/results/`: every sample of every
 * round, so that whatever is told of it later can be computed anew.
 * @module
 */

/** Which part of the scenarios was run. */
export type Mode = "quick" | "default" | "full";

/** A run. */
export interface Results {
  readonly format: 1;
  /** When it began, ISO 8601. */
  readonly date: string;
  readonly mode: Mode;
  /** How long it took. */
  readonly seconds: number;
  readonly machine: Machine;
  /** Contestants that did not take part, and why. */
  readonly skipped: readonly { readonly contestant: string; readonly reason: string }[];
  readonly scenarios: readonly ScenarioResults[];
}

/** Where it ran, and on what. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  /** Versions by name: `deno`, `node`, `bun`, `cc`, `openssl`, `usockets`. */
  readonly versions: Readonly<Record<string, string>>;
}

/** What is measured: it decides the metrics, and their units. */
export type Kind =
  /** `cpu` µs per request, `user` µs of it in user space, `rate` requests per second. */
  | "requests"
  /** `cpu` µs per connection, `user`, `rate` connections per second. */
  | "churn"
  /** `cpu` seconds per GB, `user`, `rate` MB (10^6 bytes) per second. */
  | "bulk"
  /** `bytes` of process memory (PSS) per connection. */
  | "memory"
  /** `p50`, `p99`, `p999` µs from when a request was due, `cpu` µs per request. */
  | "latency"
  /** `timer`, `timerMax`: ms a timer was late; `promise`, `promiseMax`: ms a file's stat took. */
  | "lateness"
  /** `rate1`, `rateN` requests per second of 1 and N workers, `speedup` of N over 1. */
  | "scaling";

/** One scenario: one table. */
export interface ScenarioResults {
  /** Stable from run to run: such as `http-64`, `echo-tls-1-same-core`. */
  readonly id: string;
  readonly title: string;
  readonly kind: Kind;
  /** What is worth knowing beyond the title, in a sentence or two; `""` for nothing. */
  readonly note: string;
  readonly isTls: boolean;
  readonly connections: number;
  /** Bytes of a message or a body; 0 where there are none. */
  readonly bytes: number;
  readonly contestants: readonly ContestantResults[];
}

/** What one contestant did in one scenario. */
export interface ContestantResults {
  /** Stable: such as `c`, `blocking`, `node-net-deno`. */
  readonly id: string;
  /** As it is printed. */
  readonly name: string;
  /** Metrics by name, one for each round, in order: index i of all contestants is the same round. */
  readonly rounds: readonly Readonly<Record<string, number>>[];
  /** Errors by kind, all rounds together. */
  readonly errors: Readonly<Record<string, number>>;
  /** System calls per request, where they were counted. */
  readonly systemCalls?: number;
}

/** A metric: how it is told. */
export interface Metric {
  readonly key: string;
  /** Head of the column, with the unit. */
  readonly title: string;
  readonly better: "lower" | "higher";
  /** Whether the ratio to the baseline is told, with its spread. */
  readonly hasRatio: boolean;
}

const cpu = (unit: string): Metric => (
  { key: "cpu", title: `CPU ${unit}`, better: "lower", hasRatio: true }
);
const user = (unit: string): Metric => (
  { key: "user", title: `user ${unit}`, better: "lower", hasRatio: false }
);
const rate = (unit: string): Metric => (
  { key: "rate", title: unit, better: "higher", hasRatio: true }
);
const lower = (key: string, title: string, hasRatio = false): Metric => (
  { key, title, better: "lower", hasRatio }
);

/** The metrics of each kind; the first is what a scenario is about. */
export const METRICS: Readonly<Record<Kind, readonly Metric[]>> = {
  requests: [cpu("µs/req"), user("µs/req"), rate("req/s")],
  churn: [cpu("µs/conn"), user("µs/conn"), rate("conn/s")],
  bulk: [cpu("s/GB"), user("s/GB"), rate("MB/s")],
  memory: [lower("bytes", "bytes/conn", true)],
  latency: [
    lower("p99", "p99 µs", true),
    lower("p50", "p50 µs"),
    lower("p999", "p99.9 µs"),
    cpu("µs/req"),
  ],
  lateness: [
    lower("timer", "timer late, ms"),
    lower("timerMax", "timer at most"),
    lower("promise", "stat, ms"),
    lower("promiseMax", "stat at most"),
  ],
  scaling: [
    { key: "speedup", title: "speedup", better: "higher", hasRatio: false },
    { key: "rate1", title: "req/s of 1", better: "higher", hasRatio: false },
    { key: "rateN", title: "req/s of all", better: "higher", hasRatio: false },
  ],
};
