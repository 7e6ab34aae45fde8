/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
/**
 * The Worker of {@linkcode startWorkers}: one loop of a server.
 * @module
 */
import { isUsersMistake } from "./errors.ts";
import { listenHere } from "./server.ts";
import type { WorkerMessage, WorkerTask } from "./workers.ts";

self.onmessage = async ({ data: { module, flags } }: MessageEvent<WorkerTask>) => {
  const { program } = await import(module);
  let server;
  try {
    server = listenHere(program, flags);
  } catch (error) {
    if (!isUsersMistake(error)) throw error;
    tell({ kind: "refused", message: error.message });
    return self.close();
  }
  tell({ kind: "listening", port: server.port, handle: server.loop.wakeupHandle });
  await server.run();
  tell({ kind: "ended" });
  self.close();
};

function tell(message: WorkerMessage): void {
  self.postMessage(message);
}
