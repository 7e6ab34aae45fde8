/**
 * One sample: what a contestant does in one round of a scenario.
 * @module
 */
import type { Order, Reply } from "../load/orders.ts";
import type { Cores, Entrant } from "./entrant.ts";
import { output } from "./processes.ts";
import type { Scenario } from "./scenarios.ts";

/** What one round showed. */
export interface Sample {
  /** By name, as `METRICS` has them for the kind of scenario. */
  readonly metrics: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
}

/** How long a contestant runs unmeasured before the first round, to be compiled and settled. */
const WARM_UP_SECONDS = 0.4;
/** There are far fewer connections than requests in a second. */
const CHURN_WARM_UP_SECONDS = 1;

/** Opens connections, and warms up. */
export async function prepare(
  entrant: Entrant,
  scenario: Scenario,
  cores: Cores,
): Promise<Readonly<Record<string, number>>> {
  if (scenario.isWrk) return {};
  if (scenario.isSameCore) await entrant.pinGenerator(cores.server);
  if (!keepsConnections(scenario)) {
    const seconds = scenario.kind === "churn" ? CHURN_WARM_UP_SECONDS : WARM_UP_SECONDS;
    return (await orderLoad(entrant, scenario, seconds)).errors;
  }
  const opened = await entrant.order({ do: "open", connections: scenario.connections });
  const warmedUp = await entrant.order({ do: "load", seconds: WARM_UP_SECONDS });
  return { ...opened.errors, ...warmedUp.errors };
}

/** Closes what {@linkcode prepare} opened. */
export async function tidyUp(entrant: Entrant, scenario: Scenario, cores: Cores): Promise<void> {
  if (scenario.isWrk) return;
  if (keepsConnections(scenario)) await entrant.order({ do: "close" });
  if (scenario.isSameCore) await entrant.pinGenerator(cores.generator);
}

function keepsConnections({ kind }: Scenario): boolean {
  return kind !== "churn" && kind !== "bulk";
}

/** Takes a sample. */
export async function measure(
  entrant: Entrant,
  scenario: Scenario,
  seconds: number,
  cores: Cores,
): Promise<Sample> {
  const { server } = entrant;
  server.takeLines();
  const before = { cpu: server.cpuNanoseconds(), ticks: server.cpuTicks() };
  const reply = scenario.isWrk
    ? await loadByWrk(entrant, scenario, cores)
    : await orderLoad(entrant, scenario, seconds);
  const after = { cpu: server.cpuNanoseconds(), ticks: server.cpuTicks() };
  const { count, errors, latency } = reply;
  if (count === 0) return { metrics: {}, errors };
  // Bulk: seconds per GB, which is nanoseconds per byte. Others: microseconds per answer.
  const unit = scenario.kind === "bulk" ? 1 : 1e3;
  const cpu = (after.cpu - before.cpu) / unit / count;
  const rate = count / reply.seconds / (scenario.kind === "bulk" ? 1e6 : 1);
  switch (scenario.kind) {
    case "latency":
      return { metrics: { ...latency, cpu }, errors };
    case "lateness":
      return { metrics: lateness(server.takeLines()), errors };
    default: {
      const ticks = after.ticks.all - before.ticks.all;
      const user = (after.ticks.user - before.ticks.user) / Math.max(1, ticks) * cpu;
      return { metrics: { cpu, user, rate }, errors };
    }
  }
}

function orderLoad(entrant: Entrant, scenario: Scenario, seconds: number): Promise<Reply> {
  return entrant.order(orderOf(scenario, seconds));
}

function orderOf({ kind, rate, connections, service }: Scenario, seconds: number): Order {
  switch (kind) {
    case "latency":
      return { do: "pace", seconds, rate };
    case "churn":
      return { do: "churn", seconds, connections };
    case "bulk":
      return { do: service === "sink" ? "upload" : "download", seconds };
    default:
      return { do: "load", seconds };
  }
}

/** wrk counts whole seconds. Its handshakes count as requests, so TLS takes longer. */
async function loadByWrk(
  { port }: Entrant,
  { connections, isTls }: Scenario,
  { generator }: Cores,
): Promise<Reply> {
  const url = `http${isTls ? "s" : ""}://127.0.0.1:${port}/`;
  const wrk = ["wrk", "-t1", `-c${connections}`, `-d${isTls ? 2 : 1}s`, url];
  const text = await output("taskset", ["-c", generator, ...wrk]);
  const [, count, seconds] = /(\d+) requests in ([\d.]+)s/.exec(text ?? "") ?? ["", "0", "1"];
  const problem = /Socket errors:.*|Non-2xx.*/.exec(text ?? "wrk failed")?.[0];
  const errors = problem === undefined ? {} : { [problem]: 1 };
  return { count: Number(count), seconds: Number(seconds), errors };
}

/** What a server that measures itself printed. */
function lateness(lines: readonly string[]): Record<string, number> {
  const all = lines.map((line): { timer: number[]; promise: number[] } => JSON.parse(line));
  const timers = all.flatMap(({ timer }) => timer).sort((a, b) => a - b);
  const promises = all.flatMap(({ promise }) => promise).sort((a, b) => a - b);
  if (timers.length === 0 || promises.length === 0) return {};
  return {
    timer: timers[timers.length >> 1],
    timerMax: timers.at(-1)!,
    promise: promises[promises.length >> 1],
    promiseMax: promises.at(-1)!,
  };
}

/** System calls of the server for each request; undefined where they cannot be counted. */
export async function countCalls(entrant: Entrant): Promise<number | undefined> {
  const strace = new Deno.Command("strace", {
    args: ["-c", "-f", "-p", String(entrant.server.pid)],
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const reader = strace.stderr.pipeThrough(new TextDecoderStream()).getReader();
  const first = await reader.read(); // that it has attached, or cannot
  if (!/attached/.test(first.value ?? "")) return undefined;
  const { count } = await entrant.order({ do: "load", seconds: 0.3 });
  strace.kill("SIGINT");
  let table = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) table += part.value;
  await strace.status;
  const calls = /^\S+\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total$/m.exec(table)?.[1];
  return calls === undefined || count === 0 ? undefined : Number(calls) / count;
}

/** Bytes of memory that a connection takes: the growth of a fresh server by many. */
export async function measureMemory(entrant: Entrant, connections: number): Promise<Sample> {
  const use = async (count: number) => {
    const opened = await entrant.order({ do: "open", connections: count });
    const used = await entrant.order({ do: "each" });
    return { ...opened.errors, ...used.errors };
  };
  const errors = await use(1000);
  await entrant.order({ do: "close" });
  const before = await settledMemory(entrant);
  Object.assign(errors, await use(connections));
  const after = await settledMemory(entrant);
  return { metrics: { bytes: (after - before) / connections }, errors };
}

/** A collector may be at work still: the least of some looks. */
async function settledMemory({ server }: Entrant): Promise<number> {
  let least = Infinity;
  for (let i = 0; i < 5; i++) {
    await new Promise((resolve) => setTimeout(resolve, 150));
    least = Math.min(least, server.memoryBytes());
  }
  return least;
}
