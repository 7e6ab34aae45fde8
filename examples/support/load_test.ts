/**
 * How the load tests run and what they print.
 * @module
 */
// deno-lint-ignore-file no-console -- these are programs
import { describeTarget, LoadDisplay } from "./load_display.ts";
import type { Flags } from "./flags.ts";
import { LoadClient, type LoadOptions, type LoadReport } from "./load_client.ts";
import { type LoadCommandLine, type LoadFlags, parseLoadFlags, shareOf } from "./load_flags.ts";
import { type LoopProgram, runPrograms } from "./program.ts";

/** A load test, as its module describes it. */
export interface LoadTestOptions<F extends Flags, M> extends LoadCommandLine<F, M>, LoadOptions<M> {
  /** What is sent, in the plural. */
  readonly unit: string;
}

/** A load test, to be run by {@linkcode runLoadTest}. Its module exports it as `program`. */
export interface LoadTest<F extends Flags = Flags, M = unknown> extends LoopProgram<LoadFlags<M>> {
  readonly options: LoadTestOptions<F, M>;
}

/** Makes a program of a load test. */
export function loadTest<F extends Flags, M>(options: LoadTestOptions<F, M>): LoadTest<F, M> {
  return {
    options,
    loop: { timeoutGranularityMs: 500 }, // the rate is told every 4 s, not in 4 to 8
    start: (loop, flags, _stop, report) => ({
      stop: new LoadClient(loop, flags, options, report).finish,
    }),
  };
}

/**
 * Runs a load test as the command line says. The exit code is 1 when nothing worked.
 *
 * @param module The URL of the module that exports `program`.
 */
export async function runLoadTest<F extends Flags, M>(
  module: string,
  program: LoadTest<F, M>,
): Promise<void> {
  const { unit } = program.options;
  let display: LoadDisplay | undefined;
  await runPrograms(module, program, () => {
    const flags = parseLoadFlags(Deno.args, program.options);
    if (flags === null) return null;
    const shown = display = new LoadDisplay(flags, unit);
    return {
      flags,
      describe: () => describeTarget(flags, unit),
      flagsOf: (worker) => shareOf(flags, worker),
      onReport: (report, worker) => shown.show(report as LoadReport, worker),
    };
  });
  if (display === undefined) return;
  const { results } = display;
  console.log(results.describe(unit));
  if (results.answers === results.refusals) Deno.exitCode = 1;
}
