/**
 * Closed sockets whose accepted bytes are still being sent.
 * @module
 */
import type { Loop } from "../loop.ts";

/** How long one may make no progress, in milliseconds. */
const LINGER_MS = 30_000;
/** How much is dropped at once. */
const DISCARD_BYTES = 65_536;

/** A closed socket with something to send. */
export interface Lingerer {
  /** Time is up, or the loop is freed: closes the Conn. */
  giveUp(): void;
}

/** The lingering sockets of one loop: they keep it running. */
export class Lingering {
  readonly #loop: Loop;
  readonly #timers = new Map<Lingerer, ReturnType<typeof setTimeout>>();

  constructor(loop: Loop) {
    this.#loop = loop;
  }

  /**
   * Begins to linger.
   *
   * @param conn Is read from meanwhile, where it can be.
   */
  add(lingerer: Lingerer, conn: Deno.Conn | null): void {
    this.#loop.retain();
    this.#start(lingerer);
    if (conn !== null) discard(conn);
  }

  /** Bytes went out: its time begins anew. */
  progress(lingerer: Lingerer): void {
    clearTimeout(this.#timers.get(lingerer));
    this.#start(lingerer);
  }

  /** It has closed its Conn. */
  delete(lingerer: Lingerer): void {
    clearTimeout(this.#timers.get(lingerer));
    this.#timers.delete(lingerer);
    this.#loop.release();
  }

  /** Gives up on all of them. */
  free(): void {
    for (const lingerer of this.#timers.keys()) lingerer.giveUp();
  }

  #start(lingerer: Lingerer): void {
    this.#timers.set(lingerer, setTimeout(() => lingerer.giveUp(), LINGER_MS));
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
