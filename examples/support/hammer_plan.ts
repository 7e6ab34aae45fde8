/**
 * What each end of a connection of the hammer test does, decided beforehand: the same seed gives the
 * same plans, whatever the network makes of them.
 * @module
 */

/** What an end does when it has come so far. */
export const OPERATIONS = [
  "write",
  "write2",
  "flush",
  "adopt",
  "pause",
  "doze",
  "timeout",
  "long timeout",
  "wakeup",
  "timer",
  "shutdown",
  "shutdown read",
  "close",
  "close another",
] as const;

/** One of {@linkcode OPERATIONS}. */
export type Operation = typeof OPERATIONS[number];

/** Something to be done. */
export interface Step {
  /** When so many bytes were sent and received together. */
  readonly at: number;
  readonly operation: Operation;
  /** Not in the handler that gets there, but behind it, from a timer. */
  readonly isLater: boolean;
}

/** What one end does. */
export interface Plan {
  /** How many bytes it sends, if nothing cuts it short. */
  readonly totalBytes: number;
  /** How many it tries to send in one call. */
  readonly writeBytes: number;
  /** In order of `at`. */
  readonly steps: readonly Step[];
  /** How it ends when all is sent: at once, behind the peer's end, or without a farewell. */
  readonly ending: "shutdown" | "behind the peer" | "close";
}

/** How often each operation is drawn; those that end a connection are rare. */
const WEIGHTS: Record<Operation, number> = {
  "write": 12,
  "write2": 12,
  "flush": 8,
  "adopt": 20,
  "pause": 12,
  "doze": 1,
  "timeout": 12,
  "long timeout": 4,
  "wakeup": 3,
  "timer": 4,
  "shutdown": 3,
  "shutdown read": 2,
  "close": 3,
  "close another": 2,
};
const DRAWS = OPERATIONS.flatMap((operation) =>
  Array<Operation>(WEIGHTS[operation]).fill(operation)
);

/** Sizes of what is sent: most connections are short. */
const SIZES = [64, 1024, 1024, 16_384, 16_384, 65_536, 65_536, 524_288, 524_288, 2_097_152];

/** The plan of one end. */
export function planOf(seed: number, connection: number, isClient: boolean): Plan {
  const random = randomOf(seed, connection * 2 + (isClient ? 1 : 0));
  const totalBytes = random(pick(random, SIZES) + 1);
  const steps = Array.from({ length: random(12) }, (): Step => ({
    at: random(totalBytes * 2 + 1),
    operation: pick(random, DRAWS),
    isLater: random(3) === 0,
  }));
  return {
    totalBytes,
    // Small pieces, but not millions of them.
    writeBytes: 1 + (totalBytes >> 9) + random(pick(random, [100, 5_000, 60_000])),
    steps: steps.sort((a, b) => a.at - b.at),
    ending: endingOf(random(10), isClient),
  };
}

/** A client always ends by itself, or both would wait for ever. */
function endingOf(draw: number, isClient: boolean): Plan["ending"] {
  if (draw === 0) return "close";
  return isClient || draw < 5 ? "shutdown" : "behind the peer";
}

/** Random whole numbers from 0 to below `limit`. */
export type Random = (limit: number) => number;

/** A sequence of its own for each pair of numbers (mulberry32, by Tommy Ettinger, public domain). */
export function randomOf(seed: number, sequence: number): Random {
  let state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(sequence + 1, 0x85ebca6b)) | 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}

function pick<T>(random: Random, choices: readonly T[]): T {
  return choices[random(choices.length)];
}
