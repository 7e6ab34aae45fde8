/**
 * A closed socket whose accepted bytes are still being sent.
 * @module
 */
import type { EpollBackend } from "../backend.ts";

/** How long it may make no progress, in milliseconds. */
export const LINGER_MS = 30_000;

/** How long a peer may take to read the alert that ended its connection. */
const DISCARD_MS = 1000;

/** Keeps the loop running until it is over, one way or the other. */
export class Lingering {
  /** Nothing is sent any more: what comes is dropped, until the peer has ended too. */
  readonly isDiscarding: boolean;
  readonly #backend: EpollBackend;
  readonly #deadline: { due: number; fire(): void };
  readonly #onEnd: () => void;
  #isOver = false;

  constructor(backend: EpollBackend, ms: number, isDiscarding: boolean, onEnd: () => void) {
    this.#backend = backend;
    this.isDiscarding = isDiscarding;
    this.#onEnd = onEnd;
    const due = performance.now() + (isDiscarding ? DISCARD_MS : ms);
    this.#deadline = { due, fire: () => this.giveUp() };
    backend.timers.insert(this.#deadline);
    backend.lingering.add(this);
    backend.loop.retain();
  }

  /** Bytes went out: its time begins anew. */
  madeProgress(): void {
    if (this.#isOver) return;
    const { timers } = this.#backend;
    timers.delete(this.#deadline);
    this.#deadline.due = performance.now() + LINGER_MS;
    timers.insert(this.#deadline);
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
}
