/**
 * What was written before the handshake is done.
 * @module
 */
import type { TlsChannel } from "./channel.ts";

/** Bytes that wait for the handshake. */
export class EarlyWrites {
  readonly #chunks: Uint8Array[] = [];
  /** How many more are accepted. */
  #room: number;

  /** @param most How many bytes are accepted in all. */
  constructor(most: number) {
    this.#room = most;
  }

  /** Copies 0 to all bytes; returns how many. */
  accept(bytes: Uint8Array): number {
    const accepted = Math.min(bytes.length, this.#room);
    if (accepted > 0) this.#chunks.push(bytes.slice(0, accepted));
    this.#room -= accepted;
    return accepted;
  }

  /** Sends what has room; returns whether that was all of it. */
  sendBy(channel: TlsChannel): boolean {
    const chunks = this.#chunks;
    while (chunks.length > 0) {
      const accepted = channel.write(chunks[0], chunks.length > 1);
      if (accepted < chunks[0].length) {
        chunks[0] = chunks[0].subarray(accepted);
        return false;
      }
      chunks.shift();
    }
    return true;
  }
}
