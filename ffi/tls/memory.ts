/**
 * Memory that OpenSSL reads from and writes to: BIOs, and the words that tell how much is in them.
 *
 * A BIO over memory keeps a `BUF_MEM`, a public structure of OpenSSL's headers. Looking there costs
 * nothing where asking costs a call, and setting it makes OpenSSL read out of the receive buffer
 * itself, without a copy. How exactly a BIO moves these words is no promise of OpenSSL's, so it is
 * tried out first; where it does not hold, OpenSSL is asked and bytes are copied.
 * @module
 */
import {
  BIO_C_GET_BUF_MEM_PTR,
  BIO_C_SET_BUF_MEM_EOF_RETURN,
  BIO_CTRL_RESET,
} from "./constants.ts";
import type { Handle, Libssl } from "./libssl.ts";

/** Ciphertext that came. Empty between two events: all connections of a loop share it. */
export interface Incoming {
  readonly bio: Handle;
  /** How many bytes are not read yet. */
  readonly length: number;
  /** Takes bytes, which must stay where they are until they are read. */
  feed(bytes: Uint8Array<ArrayBuffer>, length: number): void;
  /** Drops what is not read. */
  clear(): void;
}

/** Ciphertext to be sent. Empty between two events, too. */
export interface Outgoing {
  readonly bio: Handle;
  /** Whether there is none. */
  readonly isEmpty: boolean;
  /** Moves so much as fits; returns how many bytes, 0 or less for none. */
  take(into: Uint8Array): number;
}

/** Bytes that V8 does not move: it keeps short arrays on its own heap. */
export function memory(length: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new ArrayBuffer(Math.max(length, 128)), 0, length);
}

/** Two views as one, in such memory. */
export function concat(first: Uint8Array, second: Uint8Array): Uint8Array<ArrayBuffer> {
  const both = memory(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

/** Reads without copies, if this OpenSSL is known to. */
export function createIncoming(libssl: Libssl): Incoming {
  const direct = new DirectIncoming(libssl);
  const bytes = memory(3), into = memory(8);
  bytes.set([7, 8, 9]);
  const read = () => [libssl.BIO_read(direct.bio, into, 2), into[0], direct.length];
  direct.feed(bytes, 3);
  // Some, the rest, and then that there may be more later.
  const seen = [read(), read(), read()].join();
  if (seen === "2,7,1,1,9,0,-1,9,0") return direct;
  libssl.BIO_free(direct.bio);
  return new CopiedIncoming(libssl);
}

/** Tells without a call whether it is empty, if this OpenSSL is known to. */
export function createOutgoing(libssl: Libssl): Outgoing {
  const watched = new WatchedOutgoing(libssl);
  const bytes = memory(3), into = memory(8);
  const write = () => [libssl.BIO_write(watched.bio, bytes, 3), watched.isEmpty];
  const take = (most: number) => [watched.take(into.subarray(0, most)), watched.isEmpty];
  // Twice the same, since what was there before might hide it.
  const seen = [watched.isEmpty, write(), take(8), write(), take(8), take(8)].join();
  if (seen === "true,3,false,3,true,3,false,3,true,-1,true") return watched;
  libssl.BIO_free(watched.bio);
  return new AskedOutgoing(libssl);
}

/** A BIO that OpenSSL made, or an error. */
export function checkBio(bio: Handle | null): Handle {
  if (bio === null) throw new Error("Cannot use TLS: OpenSSL has no memory");
  return bio;
}

/** `struct buf_mem_st { size_t length; char *data; size_t max; unsigned long flags; }` */
function bufMemOf(libssl: Libssl, bio: Handle): Uint32Array {
  const pointer = new BigUint64Array(memory(8).buffer, 0, 1);
  libssl.BIO_ctrl(bio, BIO_C_GET_BUF_MEM_PTR, 0n, Deno.UnsafePointer.of(pointer));
  const structure = Deno.UnsafePointer.create(pointer[0])!;
  return new Uint32Array(Deno.UnsafePointerView.getArrayBuffer(structure, 24));
}

/** Is read from where the bytes are. */
class DirectIncoming implements Incoming {
  readonly bio: Handle;
  readonly #bufMem: Uint32Array;
  /** The last one fed, mostly the receive buffer of the loop, and its address in two words. */
  #bytes: Uint8Array | null = null;
  #low = 0;
  #high = 0;

  constructor(libssl: Libssl) {
    this.bio = checkBio(libssl.BIO_new_mem_buf(memory(1), 1));
    libssl.BIO_ctrl(this.bio, BIO_C_SET_BUF_MEM_EOF_RETURN, -1n, null);
    this.#bufMem = bufMemOf(libssl, this.bio);
    this.clear();
  }

  get length(): number {
    return this.#bufMem[0];
  }

  feed(bytes: Uint8Array<ArrayBuffer>, length: number): void {
    if (bytes !== this.#bytes) this.#locate(bytes);
    const words = this.#bufMem;
    words[0] = length;
    words[2] = this.#low;
    words[3] = this.#high;
    words[4] = length;
  }

  clear(): void {
    this.#bufMem[0] = 0;
  }

  #locate(bytes: Uint8Array<ArrayBuffer>): void {
    const address = Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes));
    this.#bytes = bytes;
    this.#low = Number(address & 0xffff_ffffn);
    this.#high = Number(address >> 32n);
  }
}

/** Is read from a copy. */
export class CopiedIncoming implements Incoming {
  readonly bio: Handle;
  readonly #libssl: Libssl;

  constructor(libssl: Libssl) {
    this.#libssl = libssl;
    this.bio = checkBio(libssl.BIO_new(libssl.BIO_s_mem()));
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

/** Has to be asked whether it is empty. */
export class AskedOutgoing implements Outgoing {
  readonly bio: Handle;
  readonly #libssl: Libssl;

  constructor(libssl: Libssl) {
    this.#libssl = libssl;
    this.bio = checkBio(libssl.BIO_new(libssl.BIO_s_mem()));
  }

  get isEmpty(): boolean {
    return this.#libssl.BIO_ctrl_pending(this.bio) === 0;
  }

  take(into: Uint8Array): number {
    return this.#libssl.BIO_read(this.bio, into, into.length);
  }
}

/** Says by itself whether it is empty. */
class WatchedOutgoing extends AskedOutgoing {
  readonly #bufMem: Uint32Array;

  constructor(libssl: Libssl) {
    super(libssl);
    this.#bufMem = bufMemOf(libssl, this.bio);
  }

  override get isEmpty(): boolean {
    return this.#bufMem[0] === 0;
  }

  override take(into: Uint8Array): number {
    const length = super.take(into);
    // OpenSSL would correct this word at the next write only.
    if (length < into.length) this.#bufMem[0] = 0;
    return length;
  }
}
