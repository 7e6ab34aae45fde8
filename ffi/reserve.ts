/**
 * A descriptor kept for the day when there is none left.
 * @module
 */
import { EFD_CLOEXEC } from "./constants.ts";
import type { Libc } from "./libc.ts";

/** Connections that are turned away in one go, at most. */
const BATCH = 64;

/** One descriptor; any kind will do, and an eventfd needs no path. */
export class ReserveDescriptor {
  readonly #libc: Libc;
  #fd: number;

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#fd = libc.eventfd(0, EFD_CLOEXEC);
  }

  /** Lends its number to `use`, again and again while that returns true. */
  lend(use: () => boolean): void {
    this.close();
    for (let i = 0; i < BATCH && use(); i++);
    this.#fd = this.#libc.eventfd(0, EFD_CLOEXEC); // negative when another thread was quicker
  }

  close(): void {
    if (this.#fd >= 0) this.#libc.close(this.#fd);
    this.#fd = -1;
  }
}
