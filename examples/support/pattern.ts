/**
 * Bytes by which a receiver knows that none was lost, repeated or moved.
 * @module
 */

/** A prime, so that a byte that is lost or repeated cannot hide. */
export const PERIOD = 65_521;

const PATTERN = Uint8Array.from({ length: 2 * PERIOD }, (_, i) => {
  const position = i % PERIOD;
  return (Math.imul(position, 2_654_435_761) >>> 24) ^ (position & 0xff);
});

/** So many bytes behind `offset` of a stream, at most {@linkcode PERIOD}. Streams differ by number. */
export function pattern(stream: number, offset: number, length: number): Uint8Array {
  const start = (offset + stream) % PERIOD;
  return PATTERN.subarray(start, start + Math.min(length, PERIOD));
}

/** Whether these are the bytes behind `offset` of a stream. */
export function isPattern(stream: number, offset: number, data: Uint8Array): boolean {
  for (let done = 0; done < data.length;) {
    const expected = pattern(stream, offset + done, data.length - done);
    for (let i = 0; i < expected.length; i++) if (data[done + i] !== expected[i]) return false;
    done += expected.length;
  }
  return true;
}
