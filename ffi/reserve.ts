/**
 * A descriptor kept for the day when there is none left.
 * @module
 */
import { EFD_CLOEXEC } from "./constants.ts";
import type { Ledger } from "./ledger.ts";
import type { Libc } from "./libc.ts";

/** Connections that are turned away in one go, at most. */
const BATCH = 64;

/** One descriptor; any kind will do, and an eventfd needs no path. */
export class ReserveDescriptor {
  readonly #libc: Libc;
  readonly #ledger: Ledger;
  #fd = -1;

  constructor(libc: Libc, ledger: Ledger) {
    this.#libc = libc;
    this.#ledger = ledger;
    this.#open();
  }

  /** Lends its number to `use`, again and again while that returns true. */
  lend(use: () => boolean): void {
    this.close();
    for (let i = 0; i < BATCH && use(); i++);
    this.#open();
  }

  close(): void {
    if (this.#fd >= 0) this.#ledger.close(this.#libc, this.#fd);
    this.#fd = -1;
  }

  #open(): void {
    this.#fd = this.#libc.eventfd(0, EFD_CLOEXEC);
    if (this.#fd >= 0) this.#ledger.own(this.#fd); // negative when another thread was quicker
  }
}
