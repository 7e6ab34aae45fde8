/** Results that nobody measured: small ones for tests of figures, and a run with every family. */
import {
  type ContestantResults,
  type Kind,
  METRICS,
  type Results,
  type ScenarioResults,
} from "../../bench/support/results.ts";

/** A contestant with one metric, round by round. */
export function contestant(id: string, key: string, samples: number[]): ContestantResults {
  return { id, name: id, rounds: samples.map((sample) => ({ [key]: sample })), errors: {} };
}

/** A contestant that never got so far. */
export function failed(id: string, errors: Record<string, number>): ContestantResults {
  return { id, name: id, rounds: [], errors };
}

/** A scenario that is what its id says: `http-tls-64`, `echo-1-same-core`. */
export function scenario(
  id: string,
  kind: Kind,
  contestants: ContestantResults[],
  more: Partial<ScenarioResults> = {},
): ScenarioResults {
  return {
    id,
    title: `Title of ${id}`,
    kind,
    note: "",
    isTls: id.includes("-tls"),
    connections: Number(/\d+/.exec(id)?.[0] ?? 64),
    bytes: 64,
    contestants,
    ...more,
  };
}

/** A run of these scenarios. */
export function run(...scenarios: ScenarioResults[]): Results {
  return {
    format: 1,
    date: "2026-03-01T10:00:00.000Z",
    mode: "default",
    seconds: 754,
    machine: {
      cpu: "Made-up CPU",
      cores: 2,
      memoryGiB: 8,
      kernel: "6.18.0",
      versions: { deno: "2.9.6", node: "20.1.0", usockets: "0.1.0" },
    },
    skipped: [{ contestant: "bun", reason: "not installed" }],
    scenarios,
  };
}

const NAMES: Readonly<Record<string, string>> = {
  "c": "C, epoll",
  "blocking": "epoll, blocking",
  "epoll": "epoll, integrated",
  "deno": "denoConn",
  "bun": "Bun.listen",
  "deno-listen": "Deno.listen",
  "deno-serve": "Deno.serve",
  "node-net-node": "node:net, Node",
  "node-net-deno": "node:net, Deno",
};

const COSTS: Readonly<Record<string, number>> = {
  "c": 1,
  "blocking": 1.07,
  "epoll": 1.11,
  "deno": 1.36,
  "bun": 1.15,
  "deno-listen": 1.33,
  "deno-serve": 2.4,
  "node-net-node": 1.45,
  "node-net-deno": 1.48,
};

/** Like a whole run: every family, every contestant, five rounds. */
export function wholeRun(): Results {
  return run(
    whole("http-1-same-core", "requests", 14),
    whole("http-64", "requests", 8.1, { note: "What most servers look like at noon." }),
    whole("http-512", "requests", 8.8),
    whole("http-10000", "requests", 11.2, {}, ["node-net-deno"]),
    whole("http-64-wrk", "requests", 8.2),
    whole("echo-1-same-core", "requests", 13),
    whole("echo-64", "requests", 7.4),
    whole("echo-512", "requests", 8),
    whole("echo-64-1k", "requests", 8, { bytes: 1024 }, ["deno-serve"]),
    whole("echo-64-16k", "requests", 19, { bytes: 16384 }, ["deno-serve"]),
    whole("http-tls-64", "requests", 11),
    whole("http-tls-512", "requests", 12.5),
    whole("churn", "churn", 42),
    whole("churn-tls", "churn", 410, { isTls: true }),
    whole("bulk-send", "bulk", 0.21, { bytes: 1e6 }),
    whole("bulk-receive", "bulk", 0.34, { bytes: 1e6 }),
    whole("latency-64", "latency", 90),
    whole("latency-tls-64", "latency", 130),
    whole("lateness-64", "lateness", 0.4),
    whole("memory-10000", "memory", 320),
    whole("memory-tls-5000", "memory", 14_000),
    whole("scaling", "scaling", 1.8),
  );
}

function whole(
  id: string,
  kind: Kind,
  cost: number,
  more: Partial<ScenarioResults> = {},
  without: string[] = [],
): ScenarioResults {
  const contestants = Object.keys(NAMES).filter((name) => !without.includes(name))
    .map((name): ContestantResults => ({
      id: name,
      name: NAMES[name],
      rounds: [0, 1, 2, 3, 4].map((round) => sampleOf(kind, cost * factorOf(kind, name), round)),
      errors: name === "deno-serve" ? { "closed by the server": 12 } : {},
      systemCalls: kind === "requests" ? 2 + COSTS[name] : undefined,
    }));
  return scenario(id, kind, contestants, more);
}

function factorOf(kind: Kind, name: string): number {
  return kind === "memory" ? COSTS[name] ** 9 : COSTS[name];
}

/** Some noise that is the same each time. */
function sampleOf(kind: Kind, cost: number, round: number): Record<string, number> {
  const noisy = cost * (1 + (Math.floor(cost * 7919 + round * 3) % 5 - 2) / 60);
  return Object.fromEntries(METRICS[kind].map(({ key, better }, index) => {
    if (key === "cpu" || index === 0) return [key, noisy];
    if (key === "p50") return [key, noisy / 3];
    if (key === "p999") return [key, noisy * 5];
    return [key, better === "higher" ? 1e6 / noisy : noisy / 2];
  }));
}
