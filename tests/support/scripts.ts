/**
 * Scripts: what a peer does beside the loop under test, one step after another.
 *
 * A script reads like an async function, but promises stand still while a loop blocks their thread.
 * So it is a generator of steps, each of which calls back: from a promise, or where the loop blocks,
 * from the loop's own polls and timers.
 */
import type { Fixture } from "../conformance/fixture.ts";
import { soon } from "./pairs.ts";

/** Something to wait for: calls one of both back, once. */
export type Step = (go: () => void, fail: (error: unknown) => void) => void;

/** What waits for steps, and may return something to the script that it is part of. */
export type Script<T = void> = Generator<Step, T, void>;

/**
 * Starts a script, then runs the loop to its end; returns when both have come to theirs. A script
 * that fails takes the loop along, which might wait for it.
 */
export async function runWith(t: Fixture, script: Script): Promise<void> {
  let stop = () => {};
  const played = new Promise<void>((resolve, reject) => {
    const fail = (error: unknown) => {
      reject(error);
      t.loop.free();
    };
    const go = () => {
      try {
        const { done, value: step } = script.next();
        if (done === true) resolve();
        else step(go, fail);
      } catch (error) {
        fail(error);
      }
    };
    stop = () => reject(new Error("the loop ended, and its peer still had something to do"));
    go();
  });
  const ran = t.run();
  if (t.transport.isBlocking) ran.then(stop, () => {}); // nothing but the loop called it back
  await Promise.all([played, ran]);
}

/** Waits for a promise: not while a loop blocks the thread. */
export function* settled<T>(promise: Promise<T>): Script<T> {
  let result: T;
  yield (go, fail) => {
    promise.then((value) => {
      result = value;
      go();
    }, fail);
  };
  return result!;
}

/** Tells a script what a handler of the loop saw, once. */
export class Signal<T = void> {
  readonly #t: Fixture;
  #values: T[] = [];
  #go: (() => void) | null = null;

  constructor(t: Fixture) {
    this.#t = t;
  }

  /** The script goes on soon, not inside the handler. */
  fire(value: T): void {
    this.#values.push(value);
    if (this.#go !== null) soon(this.#t, this.#go);
  }

  /** Waits until it is fired. */
  *wait(): Script<T> {
    if (this.#values.length === 0) yield (go) => void (this.#go = go);
    return this.#values[0];
  }
}
