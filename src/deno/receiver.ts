/**
 * The receiving half of a socket: one read at a time, into a buffer that grows and shrinks with the
 * traffic.
 * @module
 */
import { type BufferPool, LARGEST, type PooledBuffer, SMALLEST } from "./buffers.ts";

/** Reads from the Conn of one socket. */
export class Receiver {
  /** A read is under way and owns the buffer. */
  isReading = false;
  /** A read's result waits to be taken: bytes in the buffer, the end (null), or an error. */
  hasResult = false;
  bytes: number | null = 0;
  error: unknown = undefined;
  readonly #pool: BufferPool;
  readonly #onDone: () => void;
  #buffer: PooledBuffer | null = null;
  #nextSize = SMALLEST;
  /** A handler holds a view of the buffer. */
  isLent = false;
  readonly #onRead = (bytes: number | null) => this.#done(bytes, undefined);
  readonly #onError = (error: unknown) => this.#done(null, error ?? new Error("read failed"));

  /** @param onDone Called when a read has ended, well or badly. */
  constructor(pool: BufferPool, onDone: () => void) {
    this.#pool = pool;
    this.#onDone = onDone;
  }

  /** Starts a read. */
  read(conn: Deno.Conn): void {
    this.isReading = true;
    let buffer = this.#buffer;
    if (buffer === null || buffer.bytes.length !== this.#nextSize) {
      if (buffer !== null) this.#pool.give(buffer);
      this.#buffer = buffer = this.#pool.take(this.#nextSize);
    }
    conn.read(buffer.bytes).then(this.#onRead, this.#onError);
  }

  /** Takes the bytes that were read, as a view that must be given back by {@linkcode giveBack}. */
  lend(): Uint8Array {
    this.hasResult = false;
    this.isLent = true;
    const bytes = this.bytes!;
    const buffer = this.#buffer!;
    // A full buffer asks for a larger one next, a nearly empty one for a smaller.
    const size = buffer.bytes.length;
    if (bytes === size) this.#nextSize = Math.min(size << 2, LARGEST);
    else if (bytes <= size >> 3) this.#nextSize = Math.max(size >> 2, SMALLEST);
    return buffer.view(bytes);
  }

  /** The handler has returned; it may have transferred the buffer. */
  giveBack(): void {
    this.isLent = false;
    if (this.#buffer?.bytes.length === 0) this.#buffer = null;
  }

  /**
   * The socket is closed: gives the buffer to the pool as soon as nobody uses it. A pending read
   * may still write into it, and a handler that closed its own socket may go on with the view.
   */
  release(): void {
    if (this.#buffer === null || this.isReading || this.isLent) return;
    this.#pool.give(this.#buffer);
    this.#buffer = null;
  }

  #done(bytes: number | null, error: unknown): void {
    this.isReading = false;
    this.hasResult = true;
    this.bytes = bytes;
    this.error = error;
    this.#onDone();
  }
}
