/**
 * Figures against those of a stored baseline, as a table.
 * @module
 */
import type { Measured } from "./results.ts";

/** Figures to compare others with, as `bench/micro/baseline.json` has them. */
export interface Baseline {
  /** What they were measured on, and when. */
  readonly cpu: string;
  readonly runtime: string;
  readonly date: string;
  readonly rounds: number;
  readonly rows: readonly Measured[];
}

/** A benchmark that was run, or is in the baseline, or both. */
export interface Comparison {
  readonly group: string;
  readonly name: string;
  readonly now?: Measured;
  readonly before?: Measured;
  /** How many times as long as before it takes; NaN where there is no other. */
  readonly ratio: number;
  /** The same, as if both machines ran the calibration's loop in the same time. */
  readonly corrected: number;
  readonly verdict: "same" | "slower" | "faster" | "new" | "missing";
}

/** The benchmark that tells how fast the machine is. */
export const CALIBRATION = "integer loop";

/** Worse by less than this is called the same. */
const TOLERANCE = 1.15;

/** What the project promises of a benchmark, in nanoseconds. */
const PROMISES: Record<string, number> = {
  "sweep of 100,000 sockets, none due": 1e6,
  "sweep of 100,000 sockets, scattered": 1e6,
};

/**
 * Compares. Slower is what is so by more than 15 %, corrected, in each of its rounds, and beyond what
 * the baseline moved by: its best round is worse than the worst one there.
 */
export function compare(
  measured: readonly Measured[],
  baseline: readonly Measured[] = [],
): Comparison[] {
  const earlier = new Map(baseline.map((row) => [row.name, row]));
  const speed = speedOf(measured) / speedOf(baseline);
  const machine = Number.isFinite(speed) ? speed : 1; // without a calibration nothing is corrected
  const compared = measured.map((now): Comparison => {
    const { group, name } = now;
    const before = earlier.get(name);
    if (before === undefined) {
      return { group, name, now, ratio: NaN, corrected: NaN, verdict: "new" };
    }
    const ratio = now.ns / before.ns;
    const corrected = name === CALIBRATION ? ratio : ratio / machine;
    const isSlower = now.lowest / machine > Math.max(before.ns * TOLERANCE, before.highest);
    const isFaster = now.highest / machine < Math.min(before.ns / TOLERANCE, before.lowest);
    const verdict = name === CALIBRATION
      ? "same"
      : isSlower
      ? "slower"
      : isFaster
      ? "faster"
      : "same";
    return { group, name, now, before, ratio, corrected, verdict };
  });
  const names = new Set(measured.map(({ name }) => name));
  const missing = baseline.filter(({ name }) => !names.has(name)).map((before): Comparison => {
    const { group, name } = before;
    return { group, name, before, ratio: NaN, corrected: NaN, verdict: "missing" };
  });
  return [...compared, ...missing];
}

function speedOf(rows: readonly Measured[]): number {
  return rows.find(({ name }) => name === CALIBRATION)?.ns ?? NaN;
}

const HEAD = ["", "now", "from", "to", "baseline", "ratio", "corrected", ""];

/** What stands at the end of a line. */
const REMARKS: Record<Comparison["verdict"], string> = {
  same: "",
  slower: "SLOWER",
  faster: "faster",
  new: "new",
  missing: "missing",
};

/** One line for each benchmark, by group. */
export function formatTable(comparisons: readonly Comparison[]): string {
  const lines: string[][] = [HEAD];
  for (const [group, members] of Map.groupBy(comparisons, ({ group }) => group)) {
    lines.push([group]);
    for (const { name, now, before, ratio, corrected, verdict } of members) {
      lines.push([
        `  ${name}`,
        formatTime(now?.ns),
        formatTime(now?.lowest),
        formatTime(now?.highest),
        formatTime(before?.ns),
        formatRatio(ratio),
        formatRatio(corrected),
        REMARKS[verdict],
      ]);
    }
  }
  const widths = HEAD.map((_, column) => Math.max(...lines.map((line) => width(line[column]))));
  return lines.map((line) =>
    line.map((cell, column) => {
      const isText = column === 0 || column === HEAD.length - 1;
      return isText ? cell.padEnd(widths[column]) : cell.padStart(widths[column]);
    }).join("  ").trimEnd()
  ).join("\n");
}

function width(cell: string | undefined): number {
  return cell?.length ?? 0;
}

/** What became of the project's promises, one line for each that was measured. */
export function formatPromises(measured: readonly Measured[]): string[] {
  return measured.filter(({ name }) => name in PROMISES).map(({ name, ns }) => {
    const limit = PROMISES[name];
    return `Promised: ${name}, in less than ${formatTime(limit)}. ` +
      `${ns < limit ? "Kept" : "BROKEN"}: ${formatTime(ns)}.`;
  });
}

/** A time with three digits, in the unit that needs no more. */
export function formatTime(ns: number | undefined): string {
  if (ns === undefined) return "";
  for (const [unit, size] of [["ms", 1e6], ["µs", 1e3]] as const) {
    if (ns >= size) return `${digits(ns / size)} ${unit}`;
  }
  return `${digits(ns)} ns`;
}

function digits(value: number): string {
  return value.toFixed(value < 9.995 ? 2 : value < 99.95 ? 1 : 0);
}

function formatRatio(ratio: number): string {
  return Number.isNaN(ratio) ? "" : ratio.toFixed(2);
}
