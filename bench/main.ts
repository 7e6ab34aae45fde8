/**
 * The benchmark: this library beside its peers, and beside the least that C can do.
 *
 * deno task bench --help
 *
 * @module
 */
// deno-lint-ignore-file no-console -- this is a program
import { runMain, UsageError } from "../examples/support/errors.ts";
import { parseFlags, parseNumber } from "../examples/support/flags.ts";
import { makeTrialCertificates } from "../examples/support/certificates.ts";
import { claimsText } from "./support/claims.ts";
import { compare } from "./support/compare.ts";
import { type Contestant, whoIsThere } from "./support/contestants.ts";
import { partCores } from "./support/entrant.ts";
import { describeMachine } from "./support/machine.ts";
import { output } from "./support/processes.ts";
import { Progress } from "./support/progress.ts";
import { publish, read, store } from "./support/publish.ts";
import type { Mode, Results } from "./support/results.ts";
import { run } from "./support/run.ts";
import { type Scenario, scenariosOf } from "./support/scenarios.ts";
import { textTable } from "./support/tables.ts";

const FLAGS = {
  quick: { about: "the main scenarios, in less than a minute" },
  full: { about: "all scenarios, in half an hour; refreshes docs/benchmarks.md and the charts" },
  only: { value: "TEXT", about: "scenarios whose id contains this", multiple: true },
  contestants: { value: "IDS", about: "only these, with commas between them" },
  rounds: { value: "N", about: "samples of each contestant in each scenario" },
  compare: { value: "FILE", about: "two stored runs, side by side", multiple: true },
  publish: { value: "FILE", about: "refresh the documents from a stored run" },
} as const;

/** Rounds, and seconds of a sample. */
const EFFORT: Readonly<Record<Mode, readonly [rounds: number, seconds: number]>> = {
  quick: [3, 0.25],
  default: [3, 0.3],
  full: [5, 0.4],
};

async function main(): Promise<void> {
  const given = parseFlags(Deno.args, {
    about: "Measures this library beside other runtimes and C. Needs Linux.",
    flags: FLAGS,
  });
  if (given === null) return;
  const { compare: files, publish: stored } = given.values;
  if (files.length > 0) {
    if (files.length !== 2) throw new UsageError("--compare must be given twice");
    return console.log(compare(read(files[0]), read(files[1])).text);
  }
  if (stored !== undefined) return await publish(read(stored));
  if (Deno.build.os !== "linux") throw new UsageError("the benchmark needs Linux: taskset, /proc");
  const mode = modeOf(given.values);
  const results = await measure(mode, given.values);
  console.log(claimsText(results));
  console.log(`\nStored in ${store(results)}`);
  const isWhole = given.values.only.length === 0 && given.values.contestants === undefined;
  if (mode === "full" && isWhole) await publish(results);
}

function modeOf({ quick, full }: { quick: boolean; full: boolean }): Mode {
  if (quick && full) throw new UsageError("give --quick or --full, not both");
  return quick ? "quick" : full ? "full" : "default";
}

interface Selection {
  readonly only: readonly string[];
  readonly contestants: string | undefined;
  readonly rounds: string | undefined;
}

async function measure(mode: Mode, selection: Selection): Promise<Results> {
  const beganAt = performance.now();
  const folder = await Deno.makeTempDir({ prefix: "bench-" });
  try {
    const { present, skipped } = await whoIsThere(folder);
    for (const { contestant, reason } of skipped) console.log(`skipped: ${contestant}: ${reason}`);
    const machine = await describeMachine();
    const [rounds, seconds] = EFFORT[mode];
    const date = new Date().toISOString();
    const progress = new Progress();
    const scenarios = await run({
      contestants: selectContestants(present, selection.contestants),
      scenarios: await selectScenarios(scenariosOf(mode, machine.cores), selection.only),
      rounds: parseNumber("--rounds", selection.rounds ?? String(rounds), 1, 1000),
      seconds,
      countsCalls: await output("strace", ["--version"]) !== null,
      files: await writeCertificate(folder),
      cores: partCores(machine.cores),
      onProgress: (what, share) => progress.show(what, share),
      onScenario: (scenario) => progress.print(textTable(scenario)),
    });
    progress.clear();
    const took = Math.round((performance.now() - beganAt) / 1000);
    return { format: 1, date, mode, seconds: took, machine, skipped, scenarios };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function selectContestants(all: readonly Contestant[], ids: string | undefined): Contestant[] {
  const wanted = ids?.split(",") ?? all.map(({ id }) => id);
  const unknown = wanted.find((id) => !all.some((one) => one.id === id));
  if (unknown === undefined) return all.filter(({ id }) => wanted.includes(id));
  const known = all.map(({ id }) => id).join(", ");
  throw new UsageError(`there is no contestant "${unknown}"; there are ${known}`);
}

async function selectScenarios(all: readonly Scenario[], only: readonly string[]) {
  const hasWrk = await output("sh", ["-c", "command -v wrk"]) !== null;
  if (!hasWrk) console.log("skipped: the scenarios loaded by wrk: it is not installed");
  const selected = all.filter(({ id, isWrk }) =>
    (hasWrk || !isWrk) && (only.length === 0 || only.some((text) => id.includes(text)))
  );
  if (selected.length > 0) return selected;
  throw new UsageError(`no scenario of this mode is called ${only.join(" or ")}`);
}

async function writeCertificate(folder: string) {
  const { server } = await makeTrialCertificates();
  const files = { cert: `${folder}/cert.pem`, key: `${folder}/key.pem` };
  await Deno.writeTextFile(files.cert, server.cert);
  await Deno.writeTextFile(files.key, server.key);
  return files;
}

if (import.meta.main) await runMain(main);
