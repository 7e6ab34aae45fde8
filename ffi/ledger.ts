/**
 * Which descriptors a loop owns, in shared memory: when its Worker is terminated in the middle,
 * another thread can still close them.
 * @module
 */
import type { Libc } from "./libc.ts";

/** Linux allows so many descriptors as a rule; those beyond are not accounted for. */
const DESCRIPTORS = 1 << 20;

/** Descriptors are of type int. */
const DESCRIPTOR_MAX = 2 ** 31 - 1;

/** A bit for each descriptor: 128 KiB, of which the system gives memory to what is written only. */
export class Ledger {
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;

  /** Of a loop, or what another thread's loop has shared. */
  constructor(shared = new SharedArrayBuffer(DESCRIPTORS / 8)) {
    this.shared = shared;
    this.#words = new Int32Array(shared);
  }

  /** The loop owns it from here on. */
  own(fd: number): void {
    if (fd < DESCRIPTORS) this.#words[fd >> 5] |= 1 << (fd & 31);
  }

  /** Whether it is one of the loop's. */
  owns(fd: number): boolean {
    return fd < DESCRIPTORS && (this.#words[fd >> 5] & 1 << (fd & 31)) !== 0;
  }

  /**
   * Throws for a descriptor of the loop's own: two owners would close it twice, and the second time it
   * may be somebody else's.
   */
  checkFree(fd: number, what: string): void {
    if (fd > DESCRIPTOR_MAX) throw new RangeError(`${what}: ${fd} is no descriptor`);
    if (!this.owns(fd)) return;
    throw new Deno.errors.Busy(`${what}: descriptor ${fd} is in use by this loop already`);
  }

  /** Before it is closed: a number that is closed may be somebody else's the next moment. */
  disown(fd: number): void {
    if (fd < DESCRIPTORS) this.#words[fd >> 5] &= ~(1 << (fd & 31));
  }

  /** Closes what the loop owns. */
  close(libc: Libc, fd: number): void {
    this.disown(fd);
    libc.close(fd);
  }

  /** Closes everything that is owned; returns how many that were. */
  closeAll(libc: Libc): number {
    let count = 0;
    for (let index = 0; index < this.#words.length; index++) {
      if (this.#words[index] === 0) continue;
      for (let fd = index << 5; fd < index + 1 << 5; fd++) {
        if ((this.#words[index] & 1 << (fd & 31)) === 0) continue;
        this.close(libc, fd);
        count++;
      }
    }
    return count;
  }
}
