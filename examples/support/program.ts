/**
 * How the example programs run, in this thread or in Workers, and what Ctrl-C does.
 * @module
 */
// deno-lint-ignore-file no-console -- these are programs
import { Loop } from "@usockets/usockets";
import { runMain } from "./errors.ts";
import { BACKENDS, type LoopFlags } from "./flags.ts";
import { startWorkers } from "./workers.ts";

/** What a program does on one loop. Its module exports it as `program`, for Workers. */
export interface LoopProgram<F extends LoopFlags = LoopFlags> {
  /**
   * Begins. `stop` shuts the loop down, with a grace for its connections; the program calls it when
   * it is done, and what it returns as `stop` is called at the first signal.
   */
  start(loop: Loop, flags: F, stop: () => void): Started;
}

/** What has begun. */
export interface Started {
  /** The port that a server listens on, so that other Workers share it. */
  readonly port?: number;
  /** Tells it to finish. */
  readonly stop: () => void;
}

/** A program that has begun, in this thread or in Workers. */
export interface Running {
  readonly port: number | undefined;
  /** Shuts it down gracefully. */
  readonly stop: () => void;
  /** Runs it until it is done or shut down. */
  readonly run: () => Promise<unknown>;
}

/** What a command line asks for. */
export interface Task<F extends LoopFlags> {
  readonly flags: F & { readonly workers: number };
  /** What is said when it has begun. */
  readonly describe?: (port: number) => string;
}

/** So long connections may take to finish after Ctrl-C. */
const GRACE_SECONDS = 5;

/**
 * Runs a program until it is done, Ctrl-C or SIGTERM.
 *
 * @param module The URL of the module that exports `program`.
 * @param parse Reads the command line; null when there is nothing to do.
 */
export async function runPrograms<F extends LoopFlags>(
  module: string,
  program: LoopProgram<F>,
  parse: () => Task<F> | null,
): Promise<void> {
  await runMain(async () => {
    const task = parse();
    if (task === null) return;
    const { flags } = task;
    // A loop that blocks its thread would hold up the signals too: it gets a Worker.
    const running = flags.isBlocking || flags.workers > 1
      ? await startWorkers(module, flags)
      : startHere(program, flags);
    const forget = onFirstSignal(() => {
      console.log(`Shutting down, in ${GRACE_SECONDS} s at the latest`);
      running.stop();
    });
    if (task.describe !== undefined) console.log(task.describe(running.port!));
    await running.run();
    forget();
  });
}

/** Makes a loop in this thread and begins on it. Any thread can stop it by a wakeup. */
export function startHere<F extends LoopFlags>(
  program: LoopProgram<F>,
  flags: F,
): Running & { loop: Loop } {
  const loop = new Loop({ backend: BACKENDS[flags.backend], onWakeup: () => stop() });
  const shutdown = () => void loop.shutdown({ graceSeconds: GRACE_SECONDS });
  const { port, stop } = program.start(loop, flags, shutdown);
  const run = async () => {
    if (flags.isBlocking) loop.runBlocking();
    else await loop.run();
    loop.free();
  };
  return { loop, port, stop, run };
}

/** Calls back at the first signal. The second ends the process, as signals do. */
function onFirstSignal(callback: () => void): () => void {
  const forget = () => {
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, listener);
  };
  const listener = () => {
    forget();
    callback();
  };
  for (const signal of SIGNALS) Deno.addSignalListener(signal, listener);
  return forget;
}

const SIGNALS: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
