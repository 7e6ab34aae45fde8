/** Counting this process's descriptors, as every test that opens some does in the end. */

/** How many descriptors this process has open. */
export function countDescriptors(): number {
  let count = 0;
  for (const _ of Deno.readDirSync("/proc/self/fd")) count++;
  return count - 1; // the directory's own
}

/** The count before a test, of a process in which nothing opens descriptors for good any more. */
export async function steadyDescriptors(): Promise<number> {
  await (warmUp ??= startWorker());
  return countDescriptors();
}

/**
 * The count after it. Deno closes some a turn or two after the Conn, and those of a Worker when its
 * thread has ended, which on a busy machine was seen to take more than a second: waits for the count
 * to go down to the one before, but not for ever.
 */
export async function settledDescriptors(before: number): Promise<number> {
  for (let turn = 0; turn < 2000 && countDescriptors() > before; turn++) {
    // no event tells when Deno's runtime has let go of a descriptor
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return countDescriptors();
}

let warmUp: Promise<void> | undefined;

/** The first Worker of a process leaves descriptors of Deno's open for good. */
async function startWorker(): Promise<void> {
  const worker = new Worker("data:text/javascript,postMessage(0)", { type: "module" });
  await new Promise((resolve) => worker.onmessage = resolve);
  worker.terminate();
  for (let stableTurns = 0, last = -1; stableTurns < 20; stableTurns++) {
    const count = countDescriptors();
    if (count !== last) stableTurns = 0;
    last = count;
    // no event tells when the Worker's thread has ended
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
