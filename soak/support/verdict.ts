/**
 * Whether a soak went well.
 * @module
 */
import type { Sample, Soak } from "./samples.ts";

/** How far memory may be from its mean over the last half. */
const FLAT = 0.02;
/** The last half is looked at in so many parts, for garbage comes and goes within each. */
const PARTS = 10;

/** A promise, and whether it was kept. */
export interface Verdict {
  readonly promise: string;
  readonly isKept: boolean;
  readonly figure: string;
}

/** What must hold of a soak. */
export function judge(soak: Soak): Verdict[] {
  const { rest, account } = soak;
  const { deviation, drift, range } = memoryOf(soak.samples);
  const left = rest.descriptorsAfter - rest.descriptorsBefore;
  const answered = soak.samples.reduce((total, { messages }) => total + messages, 0);
  return [
    {
      promise: "no byte is lost, repeated or out of order, and every close has its cause",
      isKept: account.violations.length === 0,
      figure: account.violations.length === 0
        ? "none of them"
        : `${account.violations.length} violations, such as: ${account.violations[0]}`,
    },
    {
      promise: "connections are served to the end",
      isKept: answered > 0 && rest.open === 0,
      figure: `${rest.open} left open`,
    },
    {
      promise: "memory is flat over the last half, ±2 %",
      isKept: deviation <= FLAT,
      figure: `±${percent(deviation)}, drift ${signed(drift)}; single samples ${range}`,
    },
    { promise: "no descriptor is left", isKept: left <= 0, figure: `${Math.max(0, left)} left` },
  ];
}

/**
 * Over the last half: how far the mean of any tenth of it is from the mean of all, how far a line
 * fitted to all samples goes up, and between what they are.
 */
export function memoryOf(
  samples: readonly Sample[],
): { deviation: number; drift: number; range: string } {
  const half = samples.slice(Math.floor(samples.length / 2)).map(({ memoryBytes }) => memoryBytes);
  if (half.length < 2) return { deviation: Infinity, drift: Infinity, range: "none" }; // nothing can be said
  const all = mean(half);
  const parts = Math.min(PARTS, half.length);
  const means = Array.from({ length: parts }, (_, part) => {
    const at = (index: number) => Math.floor(index * half.length / parts);
    return mean(half.slice(at(part), at(part + 1)));
  });
  return {
    deviation: Math.max(...means.map((part) => Math.abs(part / all - 1))),
    drift: slopeOf(half) * (half.length - 1) / all,
    range: `${megabytes(Math.min(...half))} to ${megabytes(Math.max(...half))} MB`,
  };
}

/** Of the line of least squares. */
function slopeOf(values: readonly number[]): number {
  const middle = (values.length - 1) / 2, all = mean(values);
  let above = 0, below = 0;
  values.forEach((value, index) => {
    above += (index - middle) * (value - all);
    below += (index - middle) ** 2;
  });
  return above / below;
}

function mean(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0) / values.length;
}

function megabytes(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}

function percent(share: number): string {
  return `${(share * 100).toFixed(2)} %`;
}

function signed(share: number): string {
  return (share < 0 ? "−" : "+") + percent(Math.abs(share));
}
