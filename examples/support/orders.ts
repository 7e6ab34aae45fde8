/**
 * What a loop is told from any thread, by a wakeup: bits of a shared word, so that nothing is lost
 * when several wakeups come as one.
 * @module
 */
import { wakeup, type WakeupHandle } from "@usockets/usockets";

/** Shuts the loop down gracefully. */
export const STOP = 1;

/** The bit that stands for one of a program's signals. */
export function signalBit(signals: readonly Deno.Signal[], name: Deno.Signal): number {
  return STOP << (1 + signals.indexOf(name));
}

/** Gives an order to a loop of another thread. */
export function giveOrder(orders: Int32Array, handle: WakeupHandle, bit: number): void {
  Atomics.or(orders, 0, bit);
  wakeup(handle);
}

/** Takes all orders that are there. */
export function takeOrders(orders: Int32Array): number {
  return Atomics.exchange(orders, 0, 0);
}
