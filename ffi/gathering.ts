/**
 * A header and a payload in one system call.
 * @module
 */
import { MSG_NOSIGNAL } from "./constants.ts";
import type { Libc } from "./libc.ts";

/** Up to here the bytes are copied, which spares two pointers to what V8 may move. */
const COPIED_BYTES = 16_384;

/** Sends two views as one. */
export class Gathering {
  readonly #libc: Libc;
  /** Made at the first need. */
  #scratch: Uint8Array<ArrayBuffer> | null = null;
  /** `struct iovec[2]`: base and length, 64 bits each. */
  readonly #vectors = new BigUint64Array(new ArrayBuffer(32));
  /**
   * `struct msghdr`, seven words of 64 bits: name, its length, the vectors, their number, control
   * data, its length, flags.
   */
  readonly #message = new BigUint64Array(new ArrayBuffer(56));
  readonly #messageBytes = new Uint8Array(this.#message.buffer);

  constructor(libc: Libc) {
    this.#libc = libc;
    this.#message[2] = addressOf(new Uint8Array(this.#vectors.buffer));
    this.#message[3] = 2n;
  }

  /** Like `send`: the bytes sent of both together, or -1. */
  send(fd: number, header: Uint8Array, payload: Uint8Array): number {
    const total = header.length + payload.length;
    const scratch = this.#scratch ??= new Uint8Array(new ArrayBuffer(COPIED_BYTES));
    if (total <= COPIED_BYTES) {
      scratch.set(header);
      scratch.set(payload, header.length);
      return this.#libc.send(fd, scratch, total, MSG_NOSIGNAL);
    }
    // V8 keeps small arrays on its own heap, where they move: what is small goes by the scratch.
    this.#point(0, header, 0);
    this.#point(1, payload, SMALL_BYTES);
    return this.#libc.sendmsg(fd, this.#messageBytes, MSG_NOSIGNAL);
  }

  #point(vector: 0 | 1, bytes: Uint8Array, at: number): void {
    let pinned = bytes;
    if (bytes.length <= SMALL_BYTES) {
      this.#scratch!.set(bytes, at);
      pinned = this.#scratch!.subarray(at);
    }
    this.#vectors[vector * 2] = addressOf(pinned);
    this.#vectors[vector * 2 + 1] = BigInt(bytes.length);
  }
}

/** V8's own limit is 64 bytes. */
const SMALL_BYTES = 128;

function addressOf(bytes: Uint8Array<ArrayBuffer>): bigint;
function addressOf(bytes: Uint8Array): bigint;
function addressOf(bytes: Uint8Array): bigint {
  const pointer = Deno.UnsafePointer.of(bytes as Uint8Array<ArrayBuffer>);
  return Deno.UnsafePointer.value(pointer);
}
