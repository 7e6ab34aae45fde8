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

/** Words of the shared memory: one of the above; the loop's eventfd, 0 for none; threads signalling. */
const STATE = 0, DESCRIPTOR = 1, SIGNALLING = 2;

/** How long `free()` waits for threads that are signalling, in milliseconds; they take 1 µs. */
const SIGNALLING_MS = 100;

/**
 * Names a loop to other threads: send it to a Worker with `postMessage()` and call `wakeup()`
 * there. It carries shared memory, so that it does nothing once the loop is freed, whatever became
 * of the loop's descriptors.
 */
export interface WakeupHandle {
  /** Three 32-bit words: quiet, signalled or freed; an eventfd; how many threads are signalling. */
  readonly state: SharedArrayBuffer;
}

/**
 * Wakes up the loop that `handle` names, from any thread. `write` is called for a loop with an
 * eventfd, which cannot be closed and reused meanwhile. @internal
 */
export function signal(handle: WakeupHandle, write: (descriptor: number) => void): void {
  if (!(handle?.state instanceof SharedArrayBuffer)) {
    throw new TypeError("Cannot wake a loop up: the argument is not its wakeupHandle");
  }
  const words = new Int32Array(handle.state);
  Atomics.add(words, SIGNALLING, 1);
  try {
    if (Atomics.compareExchange(words, STATE, QUIET, SIGNALLED) !== QUIET) return;
    Atomics.notify(words, STATE);
    if (words[DESCRIPTOR] !== 0) write(words[DESCRIPTOR]);
  } finally {
    Atomics.sub(words, SIGNALLING, 1);
    Atomics.notify(words, SIGNALLING);
  }
}

/** The loop's side of a {@linkcode WakeupHandle}. @internal */
export class WakeupSignal {
  readonly handle: WakeupHandle = { state: new SharedArrayBuffer(12) };
  readonly #words = new Int32Array(this.handle.state);

  /** With the eventfd of a loop that has one. */
  constructor(descriptor = 0) {
    this.#words[DESCRIPTOR] = descriptor;
  }

  /** Takes the signal: true if there was one since the last call. */
  take(): boolean {
    return Atomics.compareExchange(this.#words, STATE, SIGNALLED, QUIET) === SIGNALLED;
  }

  /** Resolves at the next signal, to false once freed. Does not keep the process alive. */
  async wait(): Promise<boolean> {
    const result = Atomics.waitAsync(this.#words, STATE, QUIET);
    if (result.async) await result.value;
    return Atomics.load(this.#words, STATE) !== FREED;
  }

  /**
   * Makes every later wakeup do nothing. Returns whether nobody is signalling any more, so that the
   * descriptor may be closed: a Worker terminated in the middle of that never ends it.
   */
  free(): boolean {
    Atomics.store(this.#words, STATE, FREED);
    Atomics.notify(this.#words, STATE);
    for (let ms = 0; ms < SIGNALLING_MS; ms += 10) {
      const signalling = Atomics.load(this.#words, SIGNALLING);
      if (signalling === 0) break;
      Atomics.wait(this.#words, SIGNALLING, signalling, 10);
    }
    return Atomics.load(this.#words, SIGNALLING) === 0;
  }
}
