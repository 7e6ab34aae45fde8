/**
 * Ciphertext that came, as something that OpenSSL reads from.
 *
 * A BIO over memory that is only read keeps two words, where the rest lies and how long it is, in a
 * `BUF_MEM`, a public structure. Setting these makes OpenSSL read out of the receive buffer itself,
 * without a call and without a copy. That reading advances these very words is no promise of
 * OpenSSL's, so it is tried out first; where it does not hold, bytes are copied.
 * @module
 */
import {
  BIO_C_GET_BUF_MEM_PTR,
  BIO_C_SET_BUF_MEM_EOF_RETURN,
  BIO_CTRL_RESET,
} from "./constants.ts";
import type { Handle, Libssl } from "./libssl.ts";

/** What came and is not read yet. Empty between two events: all connections of a loop share it. */
export interface Incoming {
  readonly bio: Handle;
  /** How many bytes are not read yet. */
  readonly length: number;
  /** Adds bytes, which must stay where they are until they are read. */
  feed(bytes: Uint8Array<ArrayBuffer>, length: number): void;
  /** Drops what is not read. */
  clear(): void;
}

/** Where nothing else is known to work, bytes are copied. */
export function createIncoming(libssl: Libssl): Incoming {
  const direct = new DirectIncoming(libssl);
  if (isDirect(libssl, direct)) return direct;
  libssl.BIO_free(direct.bio);
  return new CopiedIncoming(libssl);
}

/** Whether OpenSSL reads as expected: some, the rest, and then that there may be more later. */
function isDirect(libssl: Libssl, incoming: DirectIncoming): boolean {
  const bytes = memory(3);
  bytes.set([7, 8, 9]);
  const into = memory(8);
  const read = () => [libssl.BIO_read(incoming.bio, into, 2), into[0], incoming.length];
  incoming.feed(bytes, 3);
  const isSo = `${[read(), read(), read()]}` === "2,7,1,1,9,0,-1,9,0";
  incoming.clear();
  return isSo;
}

/** Bytes that V8 does not move: it keeps short arrays on its own heap. */
export function memory(length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(Math.max(length, 128)), 0, length);
}

/** Reads from where the bytes are. */
class DirectIncoming implements Incoming {
  readonly bio: Handle;
  /** `struct buf_mem_st { size_t length; char *data; size_t max; unsigned long flags; }` */
  readonly #words: Uint32Array;
  /** The last one fed, mostly the receive buffer of the loop, and its address in two words. */
  #bytes: Uint8Array | null = null;
  #low = 0;
  #high = 0;

  constructor(libssl: Libssl) {
    this.bio = libssl.BIO_new_mem_buf(memory(1), 1)!;
    libssl.BIO_ctrl(this.bio, BIO_C_SET_BUF_MEM_EOF_RETURN, -1n, null);
    const pointer = new BigUint64Array(new ArrayBuffer(128));
    const at = Deno.UnsafePointer.of(pointer);
    libssl.BIO_ctrl(this.bio, BIO_C_GET_BUF_MEM_PTR, 0n, at);
    const structure = Deno.UnsafePointer.create(pointer[0])!;
    this.#words = new Uint32Array(Deno.UnsafePointerView.getArrayBuffer(structure, 24));
    this.clear();
  }

  get length(): number {
    return this.#words[0];
  }

  feed(bytes: Uint8Array<ArrayBuffer>, length: number): void {
    if (bytes !== this.#bytes) this.#locate(bytes);
    const words = this.#words;
    words[0] = length;
    words[2] = this.#low;
    words[3] = this.#high;
    words[4] = length;
  }

  clear(): void {
    this.#words[0] = 0;
  }

  #locate(bytes: Uint8Array<ArrayBuffer>): void {
    const address = Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes));
    this.#bytes = bytes;
    this.#low = Number(address & 0xffff_ffffn);
    this.#high = Number(address >> 32n);
  }
}

/** Reads from a copy. */
export class CopiedIncoming implements Incoming {
  readonly bio: Handle;
  readonly #libssl: Libssl;

  constructor(libssl: Libssl) {
    this.#libssl = libssl;
    this.bio = libssl.BIO_new(libssl.BIO_s_mem())!;
  }

  get length(): number {
    return this.#libssl.BIO_ctrl_pending(this.bio);
  }

  feed(bytes: Uint8Array<ArrayBuffer>, length: number): void {
    this.#libssl.BIO_write(this.bio, bytes, length);
  }

  clear(): void {
    this.#libssl.BIO_ctrl(this.bio, BIO_CTRL_RESET, 0n, null);
  }
}
