/**
 * Closed sockets whose accepted bytes are still being sent.
 * @module
 */
import type { Loop } from "../loop.ts";

/** How long one may make no progress, in milliseconds. */
const LINGER_MS = 30_000;
/** Who makes no progress for so long is read from: perhaps the peer waits for that. */
const STUCK_MS = 50;
/** How much is dropped at once. */
const DISCARD_BYTES = 65_536;

/** A closed socket with something to send. */
export interface Lingerer {
  /** Time is up, or the loop is freed: closes the Conn. */
  giveUp(): void;
}

/** What one waits for. */
interface Wait {
  readonly timer: ReturnType<typeof setTimeout>;
  /** The Conn while nothing is read from it. */
  readonly unread: Deno.Conn | null;
}

/** The lingering sockets of one loop: they keep it running. */
export class Lingering {
  readonly #loop: Loop;
  readonly #waits = new Map<Lingerer, Wait>();

  constructor(loop: Loop) {
    this.#loop = loop;
  }

  /**
   * Begins to linger.
   *
   * @param conn Is read from where that may help, if it can be.
   */
  add(lingerer: Lingerer, conn: Deno.Conn | null): void {
    this.#loop.retain();
    this.#wait(lingerer, conn);
  }

  /** Bytes went out: its time begins anew. */
  progress(lingerer: Lingerer): void {
    const { timer, unread } = this.#waits.get(lingerer)!;
    clearTimeout(timer);
    this.#wait(lingerer, unread);
  }

  /** It has closed its Conn. */
  delete(lingerer: Lingerer): void {
    clearTimeout(this.#waits.get(lingerer)!.timer);
    this.#waits.delete(lingerer);
    this.#loop.release();
  }

  /** Gives up on all of them. */
  free(): void {
    for (const lingerer of this.#waits.keys()) lingerer.giveUp();
  }

  /** Most are done in a turn: only who is not is worth a read. */
  #wait(lingerer: Lingerer, unread: Deno.Conn | null): void {
    const timer = unread === null
      ? setTimeout(() => lingerer.giveUp(), LINGER_MS)
      : setTimeout(() => {
        discard(unread);
        this.#wait(lingerer, null);
      }, STUCK_MS);
    this.#waits.set(lingerer, { timer, unread });
  }
}

/**
 * Drops what a peer still sends, until the Conn is closed: two sockets that are closed with full
 * buffers would wait for each other. The kernel answers such bytes with a RST.
 */
async function discard(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(DISCARD_BYTES);
  try {
    while (await conn.read(buffer) !== null);
  } catch {
    // What ails the connection, the sending side finds out.
  }
}
