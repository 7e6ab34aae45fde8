/**
 * Giving back what the loop of a terminated Worker left open.
 * @module
 */
import { revoke, type WakeupHandle } from "../src/wakeup.ts";
import { O_CLOEXEC, O_RDONLY } from "./constants.ts";
import { ENOENT, lastErrno } from "./errno.ts";
import { Ledger } from "./ledger.ts";
import { type Libc, openLibc } from "./libc.ts";
import { signalEventfd } from "./wakeup.ts";

/** How often to look whether the thread has ended, and for how long, in milliseconds. */
const INTERVAL_MS = 5, PATIENCE_MS = 10_000;

/**
 * Frees the loop of another thread: when the thread still runs, the loop frees itself; when its
 * Worker was terminated, what it left open is closed from here. Returns how many descriptors that
 * were. See `reclaim()` in mod.ts.
 */
export async function reclaim(handle: WakeupHandle): Promise<number> {
  const libc = openLibc();
  const loop = revoke(handle, (fd) => signalEventfd(libc, fd));
  for (let ms = 0; !loop.isFreed; ms += INTERVAL_MS) {
    if (handle.descriptors !== undefined && !isThread(libc, loop.thread)) {
      return new Ledger(handle.descriptors).closeAll(libc);
    }
    if (ms >= PATIENCE_MS) {
      throw new Deno.errors.Busy("Cannot reclaim the loop: its thread is busy with something else");
    }
    await new Promise((resolve) => setTimeout(resolve, INTERVAL_MS));
  }
  return 0;
}

/** Whether a thread of this process has not ended. */
function isThread(libc: Libc, thread: number): boolean {
  const path = new TextEncoder().encode(`/proc/self/task/${thread}/comm\0`);
  const file = libc.open(path, O_RDONLY | O_CLOEXEC);
  // Out of descriptors nothing is known of it: what a living thread uses must not be closed.
  if (file < 0) return lastErrno(libc) !== ENOENT;
  libc.close(file);
  return true;
}
