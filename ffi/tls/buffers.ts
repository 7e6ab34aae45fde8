/**
 * The memory that all TLS connections of a loop pass through: ciphertext in, ciphertext out, and
 * what was decrypted. Between two calls all of it is empty, so a connection that is idle holds no
 * part of it. µSockets shares its BIOs in the same way.
 * @module
 */
import { ReceiveBuffer } from "../receive_buffer.ts";
import { createIncoming, createOutgoing, type Incoming, type Outgoing } from "./memory.ts";
import type { Libssl } from "./libssl.ts";

/** So much is encrypted before it is sent; what the kernel has no room for is kept by the socket. */
export const CHUNK_BYTES = 65_536;

/** What TLS adds to four records of 16 KiB at most, and more. */
const OVERHEAD_BYTES = 16_384;

/** A record that came in part lies with OpenSSL, and can be decrypted beside all that comes then. */
const RECORD_BYTES = 18_432;

/** The most that a record holds. */
const JOINED_BYTES = 16_384;

/** The memory of one loop. */
export class TlsBuffers {
  readonly libssl: Libssl;
  /** Ciphertext that came. */
  readonly incoming: Incoming;
  /** Ciphertext to be sent. */
  readonly outgoing: Outgoing;
  /** What `outgoing` is read into. */
  readonly scratch = new Uint8Array(new ArrayBuffer(CHUNK_BYTES + OVERHEAD_BYTES));
  /** What was decrypted. */
  readonly plain: ReceiveBuffer;
  readonly #joined = new Uint8Array(new ArrayBuffer(JOINED_BYTES));

  constructor(libssl: Libssl, recvBufferBytes: number) {
    this.libssl = libssl;
    this.incoming = createIncoming(libssl);
    try {
      this.outgoing = createOutgoing(libssl);
    } catch (error) {
      libssl.BIO_free(this.incoming.bio);
      throw error;
    }
    this.plain = new ReceiveBuffer(recvBufferBytes + RECORD_BYTES);
  }

  /** Two views as one, to make one record of them; null if they are too long for that. */
  join(first: Uint8Array, second: Uint8Array): Uint8Array | null {
    const length = first.length + second.length;
    if (length > JOINED_BYTES) return null;
    this.#joined.set(first);
    this.#joined.set(second, first.length);
    return this.#joined.subarray(0, length);
  }

  /** Gives it back; connections that are open hold their own references. */
  free(): void {
    this.libssl.BIO_free(this.incoming.bio);
    this.libssl.BIO_free(this.outgoing.bio);
  }
}
