/** Bytes for tests: reproducible streams, and what compares them. */
import { createHash } from "node:crypto";
import type { Socket } from "@usockets/usockets";

/** Reproducible bytes that are the same at no two offsets for long. */
export function pattern(length: number, seed = 1): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array((length + 3) >> 2);
  let state = seed >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, length);
}

/** SHA-256 of everything given to `add()`. */
export class Digest {
  readonly #hash = createHash("sha256");
  length = 0;

  add(bytes: Uint8Array): void {
    this.#hash.update(bytes);
    this.length += bytes.length;
  }

  hex(): string {
    return this.#hash.digest("hex");
  }
}

/** SHA-256 of bytes. */
export function sha256(bytes: Uint8Array): string {
  const digest = new Digest();
  digest.add(bytes);
  return digest.hex();
}

/** Sends all of a large buffer as room comes: call `pump()` in onOpen and in onWritable. */
export class Sender {
  #rest: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#rest = bytes;
  }

  /** Writes what fits. Returns whether everything is accepted. */
  pump(socket: Socket): boolean {
    this.#rest = this.#rest.subarray(socket.write(this.#rest));
    return this.#rest.length === 0;
  }
}

/** Everything a Conn sends until its end. */
export async function readAll(conn: Deno.Conn): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  const buffer = new Uint8Array(65_536);
  for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) {
    chunks.push(buffer.slice(0, n));
  }
  return concat(chunks);
}

/** One array of many. */
export function concat(chunks: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(chunks.reduce((sum, chunk) => sum + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    all.set(chunk, offset);
    offset += chunk.length;
  }
  return all;
}

/** Writes all of it to a Conn. */
export async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let offset = 0; offset < bytes.length;) offset += await conn.write(bytes.subarray(offset));
}
