/** A pipe that a poll of the loop reads from, started and stopped again and again. */
import { type Loop, type Poll, READABLE } from "@usockets/usockets";
import type { Random } from "../../examples/support/hammer_plan.ts";
import { close, pipe, read, write } from "../support/native.ts";

/** How many bytes go through it. */
const BYTES = 20;

/** Loses no event. */
export class Trickle {
  readonly #ends = pipe();
  readonly #poll: Poll;
  #written = 0;
  #read = 0;

  constructor(loop: Loop) {
    this.#poll = loop.createPoll(this.#ends[0], {
      onReady: () => void (this.#read += read(this.#ends[0]).length),
    }) as Poll;
  }

  /** Whether all came out that went in. */
  get isDry(): boolean {
    return this.#read === this.#written;
  }

  /** Writes a byte; throws where the poll cannot be started. */
  goOn(random: Random): void {
    if (this.#written < BYTES) this.#written += write(this.#ends[1], new Uint8Array(1));
    if (this.#poll.events === 0) this.#poll.start(READABLE);
    else if (random(8) === 0) this.#poll.stop();
  }

  /** Lets the loop end. */
  stop(): void {
    this.#poll.free();
  }

  /** Behind the loop. */
  close(): void {
    close(...this.#ends);
  }
}
