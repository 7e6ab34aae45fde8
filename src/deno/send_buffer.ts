/**
 * The bytes that a socket accepted and has not sent yet: those of the write under way, and those
 * behind it.
 * @module
 */
import type { BufferPool, PooledBuffer } from "./buffers.ts";

/** Made by a socket's first write; holds pooled memory only while there is something to send. */
export class SendBuffer {
  readonly #pool: BufferPool;
  #outgoing: PooledBuffer | null = null;
  #outgoingBytes = 0;
  #inFlight: PooledBuffer | null = null;
  #inFlightStart = 0;
  #inFlightEnd = 0;

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /** How many bytes wait behind the write under way. */
  get outgoingBytes(): number {
    return this.#outgoingBytes;
  }

  /** How many bytes are not sent yet. */
  get unsentBytes(): number {
    return this.#outgoingBytes + this.#inFlightEnd - this.#inFlightStart;
  }

  /** Whether a write is under way. */
  get isInFlight(): boolean {
    return this.#inFlight !== null;
  }

  /** Copies bytes behind what is there. */
  append(bytes: Uint8Array): void {
    const needed = this.#outgoingBytes + bytes.length;
    let buffer = this.#outgoing;
    if (buffer === null) {
      this.#outgoing = buffer = this.#pool.take(needed);
    } else if (buffer.bytes.length < needed) {
      const larger = this.#pool.take(needed);
      larger.bytes.set(buffer.view(this.#outgoingBytes));
      this.#pool.give(buffer);
      this.#outgoing = buffer = larger;
    }
    buffer.bytes.set(bytes, this.#outgoingBytes);
    this.#outgoingBytes = needed;
  }

  /**
   * Takes the first so many waiting bytes, at least one, for a write; the pool has them back after
   * the last is sent.
   */
  takeOff(bytes: number): void {
    const buffer = this.#outgoing!;
    const end = this.#outgoingBytes;
    this.#inFlight = buffer;
    this.#inFlightStart = 0;
    this.#inFlightEnd = bytes;
    this.#outgoing = null;
    this.#outgoingBytes = 0;
    if (bytes < end) this.append(buffer.bytes.subarray(bytes, end));
  }

  /** What is to be written now. */
  inFlight(): Uint8Array<ArrayBuffer> {
    const start = this.#inFlightStart, end = this.#inFlightEnd;
    return start === 0 ? this.#inFlight!.view(end) : this.#inFlight!.bytes.subarray(start, end);
  }

  /** So many bytes of the write went out. Returns whether that was the last of them. */
  wrote(bytes: number): boolean {
    this.#inFlightStart += bytes;
    if (this.#inFlightStart < this.#inFlightEnd) return false;
    this.#dropInFlight();
    return true;
  }

  /** Forgets everything; no write may be under way. */
  clear(): void {
    if (this.#inFlight !== null) this.#dropInFlight();
    if (this.#outgoing !== null) this.#pool.give(this.#outgoing);
    this.#outgoing = null;
    this.#outgoingBytes = 0;
  }

  #dropInFlight(): void {
    this.#pool.give(this.#inFlight!);
    this.#inFlight = null;
    this.#inFlightStart = this.#inFlightEnd = 0;
  }
}
