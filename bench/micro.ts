/**
 * Runs the micro benchmarks and compares them with the stored baseline.
 *
 * deno task bench:micro --help
 *
 * @module
 */
// deno-lint-ignore-file no-console -- this is a program
import { runMain, UsageError } from "../examples/support/errors.ts";
import { type Flags, parseFlags, parseNumber } from "../examples/support/flags.ts";
import {
  type Baseline,
  CALIBRATION,
  compare,
  formatPromises,
  formatTable,
} from "./micro/support/comparison.ts";
import { combine, type Measured, readRound, type Round } from "./micro/support/results.ts";

const FLAGS = {
  rounds: { value: "N", about: "how often all are run: the medians count", default: "3" },
  filter: { value: "TEXT", about: "only those with this in their names" },
  save: { about: "make what is measured the baseline" },
} as const satisfies Flags;

const ABOUT = `Micro benchmarks: what single operations of the library cost, in one table.

"corrected" is the ratio to the baseline as if both machines ran a loop of plain JavaScript in the
same time. SLOWER is what is worse by more than 15 %, corrected, in every round, and worse than the
baseline's worst. The exit code says nothing of that, since a comparison is information: it is 1 if
a benchmark failed.`;

const directory = new URL("./micro/", import.meta.url);
const baselineFile = new URL("baseline.json", directory);

async function main(): Promise<void> {
  const given = parseFlags(Deno.args, { about: ABOUT, flags: FLAGS });
  if (given === null) return;
  const { filter, save, rounds } = given.values;
  const count = parseNumber("--rounds", rounds, 1, 100);
  if (save && filter !== undefined) {
    throw new UsageError("--save needs all benchmarks: no --filter");
  }

  const all: Round[] = [];
  for (let number = 1; number <= count; number++) {
    console.error(`round ${number} of ${count} …`);
    all.push(await runRound(filter));
  }
  const measured = combine(all.map(({ rows }) => rows));
  const before = readBaseline();
  report(all[0], measured, before, filter);

  const failures = [...new Set(all.flatMap(({ failures }) => failures))];
  for (const failure of failures) console.error(`failed: ${failure}`);
  if (failures.length > 0) Deno.exitCode = 1;
  else if (save) saveBaseline(all[0], measured, count);
}

/** Runs each benchmark once, in a Deno of its own that keeps to one core. */
async function runRound(filter: string | undefined): Promise<Round> {
  const args = [...pinning, Deno.execPath(), "bench", "--json", "--no-check", "--allow-all"];
  if (filter !== undefined) args.push("--filter", `/${CALIBRATION}|${escape(filter)}/`);
  const [command, ...rest] = [...args, directory.pathname];
  const child = new Deno.Command(command, { args: rest });
  const { code, stdout, stderr } = await child.output();
  const said = new TextDecoder().decode(stderr).trim();
  let round: Round;
  try {
    round = readRound(new TextDecoder().decode(stdout));
  } catch {
    throw new Error(`deno bench printed no results:\n${said}`);
  }
  if (code === 0 || round.failures.length > 0) return round;
  return { ...round, failures: [`a file, before its first benchmark:\n${said}`] };
}

/** For Deno's `--filter`, which takes a regular expression between slashes. */
function escape(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&");
}

/**
 * What makes a command keep to one core, the last that this process may use: moving from one to
 * another costs a benchmark its caches, and interrupts tend to go to the first.
 */
const pinning: string[] = await findPinning();

async function findPinning(): Promise<string[]> {
  try {
    const status = Deno.readTextFileSync("/proc/self/status");
    const core = /^Cpus_allowed_list:.*?(\d+)$/m.exec(status)![1];
    const pinned = ["taskset", "-c", core];
    const { success } = await new Deno.Command("taskset", { args: ["-c", core, "true"] }).output();
    return success ? pinned : [];
  } catch { // no Linux, or no taskset
    return [];
  }
}

function report(
  { cpu, runtime }: Round,
  measured: Measured[],
  before: Baseline | undefined,
  filter: string | undefined,
): void {
  let comparisons = compare(measured, before?.rows);
  // What was not asked for is not missing.
  if (filter !== undefined) comparisons = comparisons.filter((row) => row.verdict !== "missing");
  console.log(formatTable(comparisons));
  console.log(`\nNow: ${cpu}, ${runtime}${pinning.length > 0 ? "" : ", on any core"}`);
  if (before === undefined) console.log("Baseline: none; --save makes one");
  else console.log(`Baseline: ${before.cpu}, ${before.runtime}, of ${before.date}`);
  for (const line of formatPromises(measured)) console.log(line);
}

function readBaseline(): Baseline | undefined {
  try {
    return JSON.parse(Deno.readTextFileSync(baselineFile));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

function saveBaseline({ cpu, runtime }: Round, measured: Measured[], rounds: number): void {
  const date = new Date().toISOString().slice(0, 10);
  const rows = measured.map(({ group, name, ns, lowest, highest }) => {
    return { group, name, ns: rounded(ns), lowest: rounded(lowest), highest: rounded(highest) };
  });
  const baseline: Baseline = { cpu, runtime, date, rounds, rows };
  Deno.writeTextFileSync(baselineFile, `${JSON.stringify(baseline, null, 2)}\n`);
  console.log(`Saved as ${baselineFile.pathname}`);
}

/** Four digits: the others are noise. */
function rounded(ns: number): number {
  return Number(ns.toPrecision(4));
}

await runMain(main);
