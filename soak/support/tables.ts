/**
 * A soak in words: lines while it runs, and what is left to say in the end.
 * @module
 */
import { whole } from "../../examples/support/load_results.ts";
import type { Account, Sample, Soak } from "./samples.ts";
import { judge } from "./verdict.ts";

const COLUMNS = ["time", "open", "done", "MB", "memory", "heap", "fds", "p50", "p99", "max", "CPU"];
const WIDTH = 9;

/** Above the lines. */
export const HEADING: string = row([...COLUMNS, "wrong"]);

/** A line of the table: what happened since the sample before it. */
export function sampleRow(
  sample: Sample,
  before: Sample | undefined,
  { violations }: Account,
): string {
  const since = (pick: (sample: Sample) => number) =>
    pick(sample) - (before === undefined ? 0 : pick(before));
  const share = since(({ cpuSeconds }) => cpuSeconds) / since(({ seconds }) => seconds);
  return row([
    clock(sample.seconds),
    whole(sample.open),
    whole(since(({ connections }) => connections)),
    whole(since(({ bytes }) => bytes) / 1e6),
    megabytes(sample.memoryBytes),
    megabytes(sample.heapBytes + sample.externalBytes),
    whole(sample.descriptors),
    ...[sample.p50, sample.p99, sample.max].map(milliseconds),
    `${Math.round(share * 100)} %`,
    String(violations.length),
  ]);
}

/** What a soak came to. */
export function summaryOf(soak: Soak): string {
  const { samples, account } = soak;
  const counts = Object.entries(account.counts).sort(([a], [b]) => a < b ? -1 : 1);
  const charts = [
    chartLine("memory", samples.map(({ memoryBytes }) => memoryBytes), megabytes),
    chartLine("descriptors", samples.map(({ descriptors }) => descriptors), whole),
    chartLine("open", samples.map(({ open }) => open), whole),
    chartLine("p50", samples.map(({ p50 }) => p50), milliseconds),
    chartLine("p99", samples.map(({ p99 }) => p99), milliseconds),
  ];
  const verdicts = judge(soak).map(({ promise, isKept, figure }) =>
    `${isKept ? "ok  " : "FAIL"}  ${promise}: ${figure}`
  );
  return [
    ...charts,
    "",
    counts.map(([what, count]) => `${what} ${whole(count)}`).join(", "),
    "",
    ...account.violations,
    ...verdicts,
  ].join("\n");
}

const BLOCKS = "▁▂▃▄▅▆▇█";
const CHART_COLUMNS = 60;

/** A line of blocks from 0 to the largest value; the range stands behind it. */
function chartLine(title: string, values: readonly number[], format: (value: number) => string) {
  const columns = Math.min(CHART_COLUMNS, values.length);
  const max = Math.max(...values, 1);
  const blocks = Array.from({ length: columns }, (_, column) => {
    const at = (index: number) => Math.floor(index * values.length / columns);
    const part = values.slice(at(column), at(column + 1));
    return BLOCKS[Math.min(7, Math.floor(Math.max(...part) / max * 8))];
  });
  const range = `${format(Math.min(...values))} to ${format(Math.max(...values))}`;
  return `${title.padEnd(12)}${blocks.join("")}  ${range}`;
}

function row(cells: readonly string[]): string {
  return cells.map((cell) => cell.padStart(WIDTH)).join("").slice(WIDTH - 6);
}

function clock(seconds: number): string {
  const whole = Math.round(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}

function milliseconds(microseconds: number): string {
  return `${(microseconds / 1000).toFixed(1)} ms`;
}
