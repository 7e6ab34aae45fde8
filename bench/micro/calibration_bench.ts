/**
 * What the library has no part in: how fast this machine runs JavaScript. The other figures are
 * corrected by it before they are compared with those of another machine, or of a busier hour.
 * @module
 */
import { bench } from "./support/measure.ts";

/** Kept, so that the loop below is not left out as useless. */
const result = new Int32Array(1);

bench({
  group: "calibration",
  name: "integer loop",
  times: 100_000,
  run(times) {
    let state = result[0] | 1;
    for (let i = 0; i < times; i++) { // xorshift: each step waits for the one before
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
    }
    result[0] = state;
  },
});
