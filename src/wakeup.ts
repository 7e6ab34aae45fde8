/**
 * Waking a loop up from any thread.
 * @module
 */

/** Nothing is signalled. */
const QUIET = 0;
/** Signalled and not yet seen by the loop. */
const SIGNALLED = 1;
/** The loop is gone. */
const FREED = 2;

/**
 * Names a loop to other threads: send it to a Worker with `postMessage()` and call {@linkcode
 * wakeup} there. It carries shared memory, so that it does nothing once the loop is freed, whatever
 * became of the loop's descriptors.
 */
export interface WakeupHandle {
  /** One 32-bit word: quiet, signalled or freed. */
  readonly state: SharedArrayBuffer;
}

/**
 * Wakes up the loop that `handle` names, from any thread: its `onWakeup` runs soon, in its own
 * thread. Wakeups coalesce: several may make one call, and none is lost. Does nothing after the
 * loop is freed.
 *
 * As `us_wakeup_loop`.
 *
 * @example
 * ```ts
 * import { Loop, wakeup } from "@usockets/usockets";
 *
 * const loop = new Loop({ onWakeup: (loop) => loop.free() });
 * const code = `onmessage = async ({ data }) => {
 *   const { wakeup } = await import(data.url);
 *   wakeup(data.handle);
 *   close();
 * };`;
 * const worker = new Worker(`data:text/javascript,${encodeURIComponent(code)}`, { type: "module" });
 * const url = import.meta.resolve("@usockets/usockets");
 * worker.postMessage({ url, handle: loop.wakeupHandle });
 * loop.createTimer().set(() => {}, 60_000); // keeps the loop running: a wakeup alone does not
 * await loop.run();
 * wakeup(loop.wakeupHandle); // freed: does nothing
 * ```
 */
export function wakeup(handle: WakeupHandle): void {
  if (!(handle?.state instanceof SharedArrayBuffer)) {
    throw new TypeError("Cannot wake a loop up: the argument is not its wakeupHandle");
  }
  const word = new Int32Array(handle.state, 0, 1);
  if (Atomics.compareExchange(word, 0, QUIET, SIGNALLED) === QUIET) Atomics.notify(word, 0);
}

/** The loop's side of a {@linkcode WakeupHandle}. @internal */
export class WakeupSignal {
  readonly handle: WakeupHandle = { state: new SharedArrayBuffer(4) };
  readonly #word = new Int32Array(this.handle.state);

  /** Takes the signal: true if there was one since the last call. */
  take(): boolean {
    return Atomics.compareExchange(this.#word, 0, SIGNALLED, QUIET) === SIGNALLED;
  }

  /** Resolves at the next signal, to false once freed. Does not keep the process alive. */
  async wait(): Promise<boolean> {
    const result = Atomics.waitAsync(this.#word, 0, QUIET);
    if (result.async) await result.value;
    return Atomics.load(this.#word, 0) !== FREED;
  }

  /** Makes every later wakeup do nothing. */
  free(): void {
    Atomics.store(this.#word, 0, FREED);
    Atomics.notify(this.#word, 0);
  }
}
