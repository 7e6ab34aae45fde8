/**
 * The soak test: a process that does everything at once for as long as is wished, while its memory,
 * descriptors and latencies are watched and every byte and close is checked.
 *
 * deno task soak --minutes 20
 *
 * @module
 */
// deno-lint-ignore-file no-console -- this is a program
import { runMain, UsageError } from "../examples/support/errors.ts";
import {
  type Flags,
  LOOP_FLAGS,
  parseFlags,
  parseLoopFlags,
  parseNumber,
} from "../examples/support/flags.ts";
import { publish } from "./support/publish.ts";
import { nameOf, type Sample } from "./support/samples.ts";
import { HEADING, sampleRow, summaryOf } from "./support/tables.ts";
import { judge } from "./support/verdict.ts";
import { watch } from "./support/watch.ts";

const FLAGS = {
  ...LOOP_FLAGS,
  minutes: { value: "N", about: "how long", default: "5" },
  connections: { value: "N", about: "that stay, beside those that come and go", default: "3000" },
  seed: { value: "N", about: "decides what each connection does (random)" },
  publish: { about: "tell of this run in docs/reliability.md, with a chart" },
} as const satisfies Flags;

const ABOUT = "Soaks a loop: churn, adoption, TLS, timeouts and slow readers, both ends checked.";

/** So many samples a soak has, and so many lines. */
const SAMPLES = 240, LINES = 40;

async function main(): Promise<void> {
  const given = parseFlags(Deno.args, { about: ABOUT, flags: FLAGS });
  if (given === null) return;
  if (Deno.build.os !== "linux") throw new UsageError("the soak needs Linux: it reads /proc");
  const { values } = given;
  const minutes = parseNumber("--minutes", values.minutes, 1, 10_000);
  const options = {
    ...parseLoopFlags(values),
    minutes,
    connections: parseNumber("--connections", values.connections, 3, 6_000),
    seed: parseNumber("--seed", values.seed ?? `${Date.now() % 1_000_000}`, 0, 2 ** 31),
    sampleSeconds: Math.max(1, minutes * 60 / SAMPLES),
  };
  console.log(`${nameOf(options)}: ${minutes} minutes, seed ${options.seed}`);
  console.log(HEADING);
  let told: Sample | undefined;
  let violations = 0;
  const soak = await watch(options, (sample, { account }) => {
    for (const violation of account.violations.slice(violations)) console.log(`  ${violation}`);
    violations = account.violations.length;
    if (sample.seconds - (told?.seconds ?? 0) < minutes * 60 / LINES) return;
    console.log(sampleRow(sample, told, account));
    told = sample;
  });
  console.log(summaryOf(soak));
  if (values.publish) await publish(soak);
  if (judge(soak).some(({ isKept }) => !isKept)) Deno.exit(1);
}

if (import.meta.main) await runMain(main);
