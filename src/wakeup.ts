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
/** Another thread asks the loop to free itself. */
const REVOKED = 3;

/**
 * Words of the shared memory: one of the above; the loop's eventfd, 0 for none; how many threads are
 * signalling; the loop's own thread, as the system numbers it.
 */
const STATE = 0, DESCRIPTOR = 1, SIGNALLING = 2, THREAD = 3;

/** How long `free()` waits for threads that are signalling, in milliseconds; they take 1 µs. */
const SIGNALLING_MS = 100;

/**
 * Names a loop to other threads: send it to a Worker with `postMessage()` and call `wakeup()`
 * there. It carries shared memory, so that it does nothing once the loop is freed, whatever became
 * of the loop's descriptors.
 */
export interface WakeupHandle {
  /** Quiet, signalled or freed, and what else a thread must know to wake the loop up. */
  readonly state: SharedArrayBuffer;
  /** Which descriptors the loop owns, a bit for each; absent where it has none. */
  readonly descriptors?: SharedArrayBuffer;
}

/**
 * Wakes up the loop that `handle` names, from any thread. `write` is called for a loop with an
 * eventfd, which cannot be closed and reused meanwhile. @internal
 */
export function signal(handle: WakeupHandle, write: (descriptor: number) => void): void {
  announce(wordsOf(handle, "wake a loop up"), QUIET, SIGNALLED, write);
}

/** What another thread sees of a loop that it asked to free itself. */
export interface Revoked {
  /** The loop's thread. */
  readonly thread: number;
  /** Whether the loop has freed itself. */
  readonly isFreed: boolean;
}

/** Asks a loop to free itself, from any thread. @internal */
export function revoke(handle: WakeupHandle, write: (descriptor: number) => void): Revoked {
  const words = wordsOf(handle, "reclaim a loop");
  announce(words, SIGNALLED, REVOKED, write);
  announce(words, QUIET, REVOKED, write);
  return {
    thread: words[THREAD],
    get isFreed() {
      return Atomics.load(words, STATE) === FREED;
    },
  };
}

function wordsOf(handle: WakeupHandle, what: string): Int32Array {
  if (handle?.state instanceof SharedArrayBuffer) return new Int32Array(handle.state);
  throw new TypeError(`Cannot ${what}: the argument is not its wakeupHandle`);
}

function announce(
  words: Int32Array,
  from: number,
  to: number,
  write: (descriptor: number) => void,
): void {
  Atomics.add(words, SIGNALLING, 1);
  try {
    if (Atomics.compareExchange(words, STATE, from, to) !== from) return;
    Atomics.notify(words, STATE);
    if (words[DESCRIPTOR] !== 0) write(words[DESCRIPTOR]);
  } finally {
    Atomics.sub(words, SIGNALLING, 1);
    Atomics.notify(words, SIGNALLING);
  }
}

/** The loop's side of a {@linkcode WakeupHandle}. @internal */
export class WakeupSignal {
  readonly handle: WakeupHandle;
  readonly #words: Int32Array;

  /** With the eventfd, the thread and the descriptors of a loop that has such. */
  constructor(descriptor = 0, thread = 0, descriptors?: SharedArrayBuffer) {
    const state = new SharedArrayBuffer(16);
    this.handle = descriptors === undefined ? { state } : { state, descriptors };
    this.#words = new Int32Array(state);
    this.#words[DESCRIPTOR] = descriptor;
    this.#words[THREAD] = thread;
  }

  /** Whether another thread asks the loop to free itself. */
  get isRevoked(): boolean {
    return Atomics.load(this.#words, STATE) === REVOKED;
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
