/**
 * Runs a program in Workers, each with a loop of its own, while this thread stays free for signals.
 * @module
 */
import type { WakeupHandle } from "@usockets/usockets";
import { UsageError } from "./errors.ts";
import type { LoopFlags } from "./flags.ts";
import { giveOrder, signalBit, STOP } from "./orders.ts";
import type { Running, Sharing } from "./program.ts";

/** What a Worker is to do. */
export interface WorkerTask {
  /** The URL of the module that exports the program, as `program`. */
  readonly module: string;
  readonly flags: LoopFlags;
  /** What the loop is to do when it is woken up; shared memory. */
  readonly orders: Int32Array;
}

/** What a Worker tells. */
export type WorkerMessage =
  | { readonly kind: "started"; readonly port: number | undefined; readonly handle: WakeupHandle }
  | { readonly kind: "refused"; readonly message: string }
  | { readonly kind: "report"; readonly report: unknown }
  | { readonly kind: "ended" };

/** What {@linkcode startWorkers} has started. */
export interface RunningWorkers extends Running {
  /** Of their loops, in the order in which they count. */
  readonly handles: readonly WakeupHandle[];
}

/**
 * Starts the Workers, and resolves when all have begun: on port 0 the first chooses the port.
 *
 * @param signals Those that {@linkcode Running.signal} may hand on.
 * @throws {UsageError} When one of them cannot begin.
 */
export async function startWorkers<F extends LoopFlags>(
  module: string,
  flags: F & { readonly workers: number },
  { flagsOf = () => flags, onReport = () => {} }: Sharing<F> = {},
  signals: readonly Deno.Signal[] = [],
): Promise<RunningWorkers> {
  const start = (worker: number, port?: number) => {
    const own = flagsOf(worker);
    const onOwnReport = (report: unknown) => onReport(report, worker);
    return startWorker(module, port === undefined ? own : { ...own, port }, onOwnReport);
  };
  const first = await start(0);
  const { port } = first;
  const others = Array.from({ length: flags.workers - 1 }, (_, index) => start(index + 1, port));
  const workers = [first, ...await Promise.all(others)];
  const order = (bit: number) => {
    for (const { orders, handle } of workers) giveOrder(orders, handle, bit);
  };
  return {
    port,
    handles: workers.map(({ handle }) => handle),
    stop: () => order(STOP),
    signal: (name) => order(signalBit(signals, name)),
    run: () => Promise.all(workers.map((worker) => worker.ended)),
  };
}

interface StartedWorker {
  readonly port: number | undefined;
  readonly handle: WakeupHandle;
  readonly orders: Int32Array;
  readonly ended: Promise<void>;
}

// What a Worker throws beyond a user's mistake ends the process, with its stack trace: nobody
// listens for its `error` events.
function startWorker(
  module: string,
  flags: LoopFlags,
  onReport: (report: unknown) => void,
): Promise<StartedWorker> {
  const orders = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const started = Promise.withResolvers<StartedWorker>();
  const ended = Promise.withResolvers<void>();
  const worker = new Worker(import.meta.resolve("./worker.ts"), { type: "module" });
  worker.onmessage = ({ data }: MessageEvent<WorkerMessage>) => {
    if (data.kind === "started") started.resolve({ ...data, orders, ended: ended.promise });
    else if (data.kind === "refused") started.reject(new UsageError(data.message));
    else if (data.kind === "report") onReport(data.report);
    else ended.resolve();
  };
  worker.postMessage({ module, flags, orders } satisfies WorkerTask);
  return started.promise;
}
