/**
 * Runs a server in Workers, each with a loop of its own, while this thread stays free for signals.
 * @module
 */
import { wakeup, type WakeupHandle } from "@usockets/usockets";
import { UsageError } from "./errors.ts";
import type { ServerFlags } from "./flags.ts";
import type { ListeningServer } from "./server.ts";

/** What a Worker is to do. */
export interface WorkerTask {
  /** The URL of the module that exports the server, as `program`. */
  readonly module: string;
  readonly flags: ServerFlags;
}

/** What a Worker tells. */
export type WorkerMessage =
  | { readonly kind: "listening"; readonly port: number; readonly handle: WakeupHandle }
  | { readonly kind: "refused"; readonly message: string }
  | { readonly kind: "ended" };

/**
 * Starts the Workers, and resolves when all listen: on port 0 the first chooses the port.
 *
 * @throws {UsageError} When one of them cannot listen.
 */
export async function startWorkers(module: string, flags: ServerFlags): Promise<ListeningServer> {
  const first = await startWorker({ module, flags });
  const { port } = first;
  const others = Array.from(
    { length: flags.workers - 1 },
    () => startWorker({ module, flags: { ...flags, port } }),
  );
  const workers = [first, ...await Promise.all(others)];
  return {
    port,
    stop: () => workers.forEach((worker) => wakeup(worker.handle)),
    run: () => Promise.all(workers.map((worker) => worker.ended)),
  };
}

interface ListeningWorker {
  readonly port: number;
  readonly handle: WakeupHandle;
  readonly ended: Promise<void>;
}

// What a Worker throws beyond a user's mistake ends the process, with its stack trace: nobody
// listens for its `error` events.
function startWorker(task: WorkerTask): Promise<ListeningWorker> {
  const listening = Promise.withResolvers<ListeningWorker>();
  const ended = Promise.withResolvers<void>();
  const worker = new Worker(import.meta.resolve("./worker.ts"), { type: "module" });
  worker.onmessage = ({ data }: MessageEvent<WorkerMessage>) => {
    if (data.kind === "listening") listening.resolve({ ...data, ended: ended.promise });
    else if (data.kind === "refused") listening.reject(new UsageError(data.message));
    else ended.resolve();
  };
  worker.postMessage(task);
  return listening.promise;
}
