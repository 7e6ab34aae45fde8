/**
 * Pooled byte buffers, in powers of two. A pending read or write owns its buffer, so there is one
 * per operation under way; the sizes keep ten thousand idle connections small and a busy one fast.
 * @module
 */

/** What a pending read starts with: room for a small request, cheap to hold while nothing comes. */
export const SMALLEST = 512;
/** What a read grows to while the traffic fills it. */
export const LARGEST = 65_536;

/**
 * How many unused bytes are kept for reuse. With fewer than a hundred busy connections have in use,
 * each large message would take a new buffer: zeroed, and collected.
 */
const KEPT_BYTES = 1 << 23;

const smallestBits = Math.log2(SMALLEST);

/**
 * A buffer of the pool. Each has an ArrayBuffer of its own: a handler that transfers the view it was
 * given (to a Worker, into a byte stream) takes this one away, and hurts nobody else.
 */
export class PooledBuffer {
  readonly bytes: Uint8Array<ArrayBuffer>;
  #view: Uint8Array<ArrayBuffer>;

  constructor(bytes: Uint8Array<ArrayBuffer>) {
    this.bytes = bytes;
    this.#view = bytes;
  }

  /**
   * A view of the first so many bytes. The last one is kept: messages of one size after another are
   * common, and making a view takes 0.1 µs, of 3 that a request takes.
   */
  view(length: number): Uint8Array<ArrayBuffer> {
    if (this.#view.length !== length) this.#view = this.bytes.subarray(0, length);
    return this.#view;
  }
}

/** The buffers of one loop. */
export class BufferPool {
  readonly #free: PooledBuffer[][] = [];
  #keptBytes = 0;

  /** A buffer of at least so many bytes, of one of the sizes; its contents are what was there. */
  take(bytes: number): PooledBuffer {
    const index = sizeIndex(bytes);
    const kept = (this.#free[index] ??= []).pop();
    if (kept === undefined) return new PooledBuffer(new Uint8Array(SMALLEST << index));
    this.#keptBytes -= kept.bytes.length;
    return kept;
  }

  /** Gives a buffer back; nobody may hold a view of it any more. One that was transferred is dropped. */
  give(buffer: PooledBuffer): void {
    const { length } = buffer.bytes;
    if (length === 0 || this.#keptBytes + length > KEPT_BYTES) return;
    this.#keptBytes += length;
    this.#free[sizeIndex(length)].push(buffer);
  }
}

/** Which of the sizes, 512 B and its doublings, holds so many bytes. */
function sizeIndex(bytes: number): number {
  if (bytes <= SMALLEST) return 0;
  return 32 - Math.clz32(bytes - 1) - smallestBits;
}
