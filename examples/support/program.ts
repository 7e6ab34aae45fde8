/**
 * How the example programs run, in this thread or in Workers, and what signals do.
 * @module
 */
// deno-lint-ignore-file no-console -- these are programs
import { Loop, type LoopOptions } from "@usockets/usockets";
import { runMain } from "./errors.ts";
import { BACKENDS, type LoopFlags } from "./flags.ts";
import { signalBit, STOP, takeOrders } from "./orders.ts";
import { startWorkers } from "./workers.ts";

/** What a program does on one loop. Its module exports it as `program`, for Workers. */
export interface LoopProgram<F extends LoopFlags = LoopFlags> {
  /** Options of its loop. */
  readonly loop?: Pick<LoopOptions, "onError" | "timeoutGranularityMs">;
  /** Signals that it listens to, beside those that end it: they reach every loop's `onSignal`. */
  readonly signals?: readonly Deno.Signal[];
  /**
   * Begins. `stop` shuts the loop down, with a grace for its connections; the program calls it when
   * it is done, and what it returns as `stop` is called at the first signal. `report` tells the
   * thread of the command line something, as plain data.
   */
  start(loop: Loop, flags: F, stop: () => void, report: (report: unknown) => void): Started;
}

/** What has begun. */
export interface Started {
  /** The port that a server listens on, so that other Workers share it. */
  readonly port?: number;
  /** Tells it to finish. */
  readonly stop: () => void;
  /** One of the program's signals came. */
  readonly onSignal?: (name: Deno.Signal) => void;
  /** Another thread woke the loop up, for whatever reason. */
  readonly onWakeup?: () => void;
  /** The loop has run to its end, and is about to be freed. */
  readonly onEnd?: () => void;
}

/** A program that has begun, in this thread or in Workers. */
export interface Running {
  readonly port: number | undefined;
  /** Shuts it down gracefully. */
  readonly stop: () => void;
  /** Hands a signal on. */
  readonly signal: (name: Deno.Signal) => void;
  /** Runs it until it is done or shut down. */
  readonly run: () => Promise<unknown>;
}

/** What a command line asks for. */
export interface Task<F extends LoopFlags> extends Sharing<F> {
  readonly flags: F & { readonly workers: number };
  /** What is said when it has begun. */
  readonly describe?: (port: number) => string;
}

/** What several workers have to do with each other; they count from 0. */
export interface Sharing<F extends LoopFlags = LoopFlags> {
  /** What each does of it. Absent: all do the same. */
  readonly flagsOf?: (worker: number) => F;
  /** Gets what they report. */
  readonly onReport?: (report: unknown, worker: number) => void;
}

/** What ties a loop to the thread of the command line. */
export interface Ties {
  /** What a wakeup is to do: {@linkcode STOP} and bits of signals, set by other threads. */
  readonly orders?: Int32Array;
  readonly report?: (report: unknown) => void;
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
  parse: () => Task<F> | null | Promise<Task<F> | null>,
): Promise<void> {
  await runMain(async () => {
    const task = await parse();
    if (task === null) return;
    const { flags } = task;
    const { signals = [] } = program;
    // What workers report comes behind what is said first.
    const { promise: described, resolve: hasDescribed } = Promise.withResolvers<void>();
    const onReport = (report: unknown, worker: number) =>
      void described.then(() => task.onReport?.(report, worker));
    // A loop that blocks its thread would hold up the signals too: it gets a Worker.
    const running = flags.isBlocking || flags.workers > 1
      ? await startWorkers(module, flags, { ...task, onReport }, signals)
      : startHere(program, flags, { report: (report) => onReport(report, 0) });
    const forget = onSignals(signals, running.signal);
    const ended = runUntilSignal(running, task.describe?.(running.port!));
    hasDescribed();
    await ended;
    forget();
  });
}

/** Runs what has begun until it is done, Ctrl-C or SIGTERM. */
export async function runUntilSignal(running: Running, description?: string): Promise<void> {
  const forget = onFirstSignal(() => {
    console.log(`Shutting down, in ${GRACE_SECONDS} s at the latest`);
    running.stop();
  });
  if (description !== undefined) console.log(description);
  await running.run();
  forget();
}

/** Makes a loop in this thread and begins on it. */
export function startHere<F extends LoopFlags>(
  program: LoopProgram<F>,
  flags: F,
  { orders = new Int32Array(1), report = () => {} }: Ties = {},
): Running & { loop: Loop } {
  const { signals = [] } = program;
  const onWakeup = () => {
    started.onWakeup?.();
    const bits = takeOrders(orders);
    for (const name of signals) if ((bits & signalBit(signals, name)) !== 0) signal(name);
    if ((bits & STOP) !== 0) started.stop();
  };
  const loop = new Loop({ ...program.loop, backend: BACKENDS[flags.backend], onWakeup });
  const shutdown = () => void loop.shutdown({ graceSeconds: GRACE_SECONDS });
  const started = program.start(loop, flags, shutdown, report);
  const signal = (name: Deno.Signal) => started.onSignal?.(name);
  const run = async () => {
    if (flags.isBlocking) loop.runBlocking();
    else await loop.run();
    started.onEnd?.();
    loop.free();
  };
  return { loop, port: started.port, stop: started.stop, signal, run };
}

/** Calls back at the first signal. The second ends the process, as signals do. */
function onFirstSignal(callback: () => void): () => void {
  const forget = onSignals(ENDING_SIGNALS, () => {
    forget();
    callback();
  });
  return forget;
}

/** Calls back at each of these signals. Returns what ends that. */
function onSignals(
  names: readonly Deno.Signal[],
  callback: (name: Deno.Signal) => void,
): () => void {
  const listeners = names
    .filter((name) => Deno.build.os !== "windows" || name === "SIGINT") // others cannot be meant
    .map((name) => [name, () => callback(name)] as const);
  for (const [name, listener] of listeners) Deno.addSignalListener(name, listener);
  return () => {
    for (const [name, listener] of listeners) Deno.removeSignalListener(name, listener);
  };
}

const ENDING_SIGNALS: readonly Deno.Signal[] = ["SIGINT", "SIGTERM"];
