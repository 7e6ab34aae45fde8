/**
 * How much is tried, and from which seed. `FUZZ_FACTOR=100 FUZZ_SEED=7 deno test …` looks longer and
 * elsewhere; what fails says its seed and path, and belongs into the corpora.
 */
import type fc from "fast-check";
import { writeAll } from "../../support/streams.ts";

const factor = Number(Deno.env.get("FUZZ_FACTOR") ?? 1);
const seed = Number(Deno.env.get("FUZZ_SEED") ?? 20_240_501);

/** For `fc.assert()`: this many runs, times the factor. */
export function runs<T>(count: number, options: fc.Parameters<T> = {}): fc.Parameters<T> {
  return { seed, numRuns: Math.ceil(count * factor), ...options };
}

/** The pieces of bytes that are cut at these places, taken modulo their length. */
export function cut(bytes: Uint8Array, places: readonly number[]): Uint8Array[] {
  const sorted = places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b);
  return [...sorted, bytes.length].map((end, i) => bytes.subarray(sorted[i - 1] ?? 0, end))
    .filter((piece) => piece.length > 0);
}

/** Sends pieces so that they are read one by one, as a rule. */
export async function deliver(conn: Deno.Conn, pieces: Uint8Array[]): Promise<void> {
  for (const [i, piece] of pieces.entries()) {
    // no event tells that the other has read a piece: it gets a turn
    if (i > 0) await new Promise((resolve) => setTimeout(resolve, 0));
    await writeAll(conn, piece);
  }
}
