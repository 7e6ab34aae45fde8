/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * The Worker of {@linkcode startWorkers}: one loop of a program.
 * @module
 */
import { isUsersMistake } from "./errors.ts";
import { startHere } from "./program.ts";
import type { WorkerMessage, WorkerTask } from "./workers.ts";

self.onmessage = async ({ data: { module, flags, orders } }: MessageEvent<WorkerTask>) => {
  const { program } = await import(module);
  const report = (report: unknown) => tell({ kind: "report", report });
  let running;
  try {
    running = startHere(program, flags, { orders, report });
  } catch (error) {
    if (!isUsersMistake(error)) throw error;
    tell({ kind: "refused", message: error.message });
    return self.close();
  }
  tell({ kind: "started", port: running.port, handle: running.loop.wakeupHandle });
  await running.run();
  tell({ kind: "ended" });
  self.close();
};

function tell(message: WorkerMessage): void {
  self.postMessage(message);
}
