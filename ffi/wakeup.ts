/**
 * Waking a loop up through its eventfd.
 * @module
 */
import type { Libc } from "./libc.ts";
import { openLibc } from "./libc.ts";

/** What is written to an eventfd: a 64-bit 1. */
const one = new Uint8Array(new BigUint64Array(new ArrayBuffer(8)).fill(1n).buffer);

/** Makes an eventfd readable. */
export function signalEventfd(libc: Libc, fd: number): void {
  libc.write(fd, one, one.length);
}

/** The same from any thread: that of the loop has opened libc, this one may not have yet. */
export function signalDescriptor(fd: number): void {
  signalEventfd(openLibc(), fd);
}
