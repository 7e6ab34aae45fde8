/** Waiting for something to become true, with a bound: what is awaited is always an event. */

/** How long anything may take before it counts as hanging, in milliseconds. */
export const HANG_MS = 20_000;

/** What others wait on, and what tells them to look again. */
export class Changes {
  readonly #waiting = new Set<() => void>();

  /** Something happened: who waits looks again. */
  notify(): void {
    for (const look of [...this.#waiting]) look();
  }

  /** Waits until it holds, `describe` tells what was seen instead. What `holds` throws ends it. */
  async until(holds: () => boolean, describe: () => string): Promise<void> {
    if (holds()) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const look = () => {
      try {
        if (holds()) resolve();
      } catch (error) {
        reject(error);
      }
    };
    const watchdog = setTimeout(() => reject(new Error(`it hangs: ${describe()}`)), HANG_MS);
    this.#waiting.add(look);
    try {
      await promise;
    } finally {
      clearTimeout(watchdog);
      this.#waiting.delete(look);
    }
  }
}
