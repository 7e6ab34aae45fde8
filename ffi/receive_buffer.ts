/**
 * The one buffer that all sockets of a loop receive into.
 * @module
 */

/** Views up to this length are kept: making one costs more than a small read's copy. */
const KEPT_VIEWS = 1024;

/** Holds what was received last. */
export class ReceiveBuffer {
  bytes: Uint8Array<ArrayBuffer>;
  readonly #size: number;
  /** By length. */
  readonly #views: (Uint8Array | null)[];

  constructor(size: number) {
    this.#size = size;
    this.bytes = new Uint8Array(new ArrayBuffer(size));
    this.#views = new Array(KEPT_VIEWS).fill(null);
  }

  /** The first bytes. */
  view(count: number): Uint8Array {
    if (count >= KEPT_VIEWS) return this.bytes.subarray(0, count);
    return this.#views[count] ??= this.bytes.subarray(0, count);
  }

  /**
   * A handler may transfer the buffer away by mistake, `postMessage(data, [data.buffer])`, and that
   * must not stop all other sockets from receiving. Returns whether it was so.
   */
  isRestored(): boolean {
    if (!this.bytes.buffer.detached) return false;
    this.bytes = new Uint8Array(new ArrayBuffer(this.#size));
    this.#views.fill(null);
    return true;
  }
}
