/**
 * A closed socket whose accepted bytes are still being sent.
 * @module
 */
import type { EpollBackend } from "../backend.ts";

/** How long it may make no progress, in milliseconds. */
export const LINGER_MS = 30_000;

/** How long what comes is read and dropped when nothing is sent any more. */
const DISCARD_MS = 1000;

/** Keeps the loop running until it is over, one way or the other. */
export class Lingering {
  readonly #backend: EpollBackend;
  readonly #ms: number;
  readonly #deadline: { due: number; fire(): void };
  readonly #onEnd: () => void;
  #isDiscarding = false;
  #isOver = false;

  /** @param ms How long it may make no progress. */
  constructor(backend: EpollBackend, ms: number, onEnd: () => void) {
    this.#backend = backend;
    this.#ms = ms;
    this.#onEnd = onEnd;
    this.#deadline = { due: performance.now() + ms, fire: () => this.giveUp() };
    backend.timers.insert(this.#deadline);
    backend.lingering.add(this);
    backend.loop.retain();
  }

  /** Nothing is sent any more: what comes is dropped for a while, unless the peer ends before. */
  get isDiscarding(): boolean {
    return this.#isDiscarding;
  }

  /** Bytes went out: its time begins anew. */
  madeProgress(): void {
    if (!this.#isOver) this.#restart(this.#ms);
  }

  /** All is sent. */
  discard(): void {
    if (this.#isOver) return;
    this.#isDiscarding = true;
    this.#restart(DISCARD_MS);
  }

  /** It is over: everything is sent, or nothing can be. */
  giveUp(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#backend.timers.delete(this.#deadline);
    this.#backend.lingering.delete(this);
    this.#onEnd();
    this.#backend.loop.release();
  }

  #restart(ms: number): void {
    const { timers } = this.#backend;
    timers.delete(this.#deadline);
    this.#deadline.due = performance.now() + ms;
    timers.insert(this.#deadline);
  }
}
