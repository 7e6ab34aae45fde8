/**
 * Runs a program in Workers, each with a loop of its own, while this thread stays free for signals.
 * @module
 */
import { wakeup, type WakeupHandle } from "@usockets/usockets";
import { UsageError } from "./errors.ts";
import type { LoopFlags } from "./flags.ts";
import type { Running } from "./program.ts";

/** What a Worker is to do. */
export interface WorkerTask {
  /** The URL of the module that exports the program, as `program`. */
  readonly module: string;
  readonly flags: LoopFlags;
}

/** What a Worker tells. */
export type WorkerMessage =
  | { readonly kind: "started"; readonly port: number | undefined; readonly handle: WakeupHandle }
  | { readonly kind: "refused"; readonly message: string }
  | { readonly kind: "ended" };

/**
 * Starts the Workers, and resolves when all have begun: on port 0 the first chooses the port.
 *
 * @throws {UsageError} When one of them cannot begin.
 */
export async function startWorkers(
  module: string,
  flags: LoopFlags & { readonly workers: number },
): Promise<Running> {
  const first = await startWorker({ module, flags });
  const { port } = first;
  const others = Array.from(
    { length: flags.workers - 1 },
    () => startWorker({ module, flags: port === undefined ? flags : { ...flags, port } }),
  );
  const workers = [first, ...await Promise.all(others)];
  return {
    port,
    stop: () => workers.forEach((worker) => wakeup(worker.handle)),
    run: () => Promise.all(workers.map((worker) => worker.ended)),
  };
}

interface StartedWorker {
  readonly port: number | undefined;
  readonly handle: WakeupHandle;
  readonly ended: Promise<void>;
}

// What a Worker throws beyond a user's mistake ends the process, with its stack trace: nobody
// listens for its `error` events.
function startWorker(task: WorkerTask & { flags: { port?: number } }): Promise<StartedWorker> {
  const started = Promise.withResolvers<StartedWorker>();
  const ended = Promise.withResolvers<void>();
  const worker = new Worker(import.meta.resolve("./worker.ts"), { type: "module" });
  worker.onmessage = ({ data }: MessageEvent<WorkerMessage>) => {
    if (data.kind === "started") started.resolve({ ...data, ended: ended.promise });
    else if (data.kind === "refused") started.reject(new UsageError(data.message));
    else ended.resolve();
  };
  worker.postMessage(task);
  return started.promise;
}
