/**
 * A scenario as a table, for the terminal and for Markdown. Markdown's cells are padded as
 * `deno fmt` pads them.
 * @module
 */

import type { ScenarioResults } from "./results.ts";
import { type ContestantSummary, type ScenarioSummary, type Spread, summarize } from "./summary.ts";

/** A column of a table. */
export interface Column {
  readonly title: string;
  readonly align: "left" | "right";
}

type Row = readonly string[];

const NOTHING = "–";

/** A title, aligned columns, the note; ours are marked with `●`, the baseline with `○`. */
export function textTable(scenario: ScenarioResults): string {
  const summary = summarize(scenario);
  const columns = columnsOf(summary);
  const mark = ({ isOurs, isBaseline }: ContestantSummary) =>
    isOurs ? "● " : isBaseline ? "○ " : "  ";
  const rows = sorted(summary)
    .map((contestant) => cellsOf(contestant, summary, mark(contestant) + contestant.name));
  const titles = columns.map(({ title }, index) => index === 0 ? `  ${title}` : title);
  const widths = widthsOf([titles, ...rows]);
  const line = (cells: Row) =>
    cells.map((cell, index) => pad(cell, widths[index], columns[index].align)).join("  ").trimEnd();
  const note = scenario.note === "" ? [] : [scenario.note];
  return [scenario.title, line(titles), ...rows.map(line), ...note].join("\n") + "\n";
}

/** The table alone: title and note are the business of the page. Ours are bold. */
export function markdownTable(scenario: ScenarioResults): string {
  const summary = summarize(scenario);
  const name = ({ isOurs, name }: ContestantSummary) =>
    isOurs ? `**${escaped(name)}**` : escaped(name);
  const rows = sorted(summary).map((contestant) => {
    const cells = cellsOf(contestant, summary, name(contestant));
    return [...cells.slice(0, -1), escaped(cells[cells.length - 1])]; // errors have any text
  });
  return markdownRows(columnsOf(summary), rows);
}

/** Any table in Markdown, of cells that are Markdown already. */
export function markdownRows(columns: readonly Column[], rows: readonly Row[]): string {
  const titles = columns.map(({ title }) => escaped(title));
  const widths = widthsOf([titles, ...rows]).map((width) => Math.max(3, width));
  const line = (cells: Row) =>
    `| ${cells.map((cell, i) => pad(cell, widths[i], columns[i].align)).join(" | ")} |`;
  const rule = columns.map(({ align }, index) =>
    align === "right" ? "-".repeat(widths[index] - 1) + ":" : "-".repeat(widths[index])
  );
  return [line(titles), `| ${rule.join(" | ")} |`, ...rows.map(line)].join("\n") + "\n";
}

/** Text that is no Markdown, for a cell or a paragraph. */
export function escaped(text: string): string {
  return text.replace(/[\\|<>*_`[\]]/g, "\\$&");
}

/** Three significant digits of what is small, all digits, in groups of three, of what is not. */
export function formatNumber(value: number): string {
  const size = Math.abs(Number(value.toPrecision(3))); // 9.999 has the digits of 10
  if (size === 0) return "0";
  if (size < 0.001) return value.toExponential(1);
  const digits = Math.max(0, 2 - Math.floor(Math.log10(size)));
  return value.toLocaleString("en-US", {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits,
  });
}

/** An integer, in groups of three digits. */
export function formatCount(count: number): string {
  return count.toLocaleString("en-US");
}

/** A ratio as all that is printed has it: `1.06`, `12.3`. */
export function formatRatio(value: number): string {
  return value < 10 ? value.toFixed(2) : formatNumber(value);
}

/** `1.06 [1.02–1.11]`. */
export function formatSpread({ median, min, max }: Spread): string {
  return `${formatRatio(median)} [${formatRatio(min)}–${formatRatio(max)}]`;
}

/** `12 × closed by the server`; several with commas. */
export function formatErrors(errors: Readonly<Record<string, number>>): string {
  return Object.entries(errors)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${formatCount(count)} × ${kind}`)
    .join(", ");
}

function columnsOf(summary: ScenarioSummary): Column[] {
  const columns: Column[] = [{ title: "contestant", align: "left" }];
  // All have the same metrics; a scenario without contestants has an empty table.
  for (const { metric } of summary.contestants[0]?.metrics ?? []) {
    columns.push({ title: metric.title, align: "right" });
    if (metric.hasRatio) {
      columns.push({ title: `to ${summary.baseline?.name ?? "baseline"}`, align: "right" });
    }
  }
  if (hasSystemCalls(summary)) columns.push({ title: "system calls", align: "right" });
  columns.push({ title: "errors", align: "left" });
  return columns;
}

function cellsOf(contestant: ContestantSummary, summary: ScenarioSummary, name: string): string[] {
  const cells = [name];
  for (const { metric, value, ratio } of contestant.metrics) {
    cells.push(value === undefined ? NOTHING : formatNumber(value.median));
    if (!metric.hasRatio) continue;
    cells.push(ratio === undefined ? NOTHING : contestant.isBaseline ? "1" : formatSpread(ratio));
  }
  if (hasSystemCalls(summary)) {
    const { systemCalls } = contestant;
    cells.push(systemCalls === undefined ? NOTHING : formatNumber(systemCalls));
  }
  const hasFailed = contestant.metrics.every(({ value }) => value === undefined);
  cells.push(formatErrors(contestant.errors) || (hasFailed ? "failed" : ""));
  return cells;
}

function hasSystemCalls(summary: ScenarioSummary): boolean {
  return summary.contestants.some(({ systemCalls }) => systemCalls !== undefined);
}

/** Best first by the metric the scenario is about; who failed comes last. */
function sorted(summary: ScenarioSummary): ContestantSummary[] {
  const rank = ({ metrics: [{ metric, value }] }: ContestantSummary): number =>
    value === undefined ? Infinity : metric.better === "lower" ? value.median : -value.median;
  return summary.contestants.toSorted((a, b) => {
    const [left, right] = [rank(a), rank(b)];
    return left === right ? 0 : left < right ? -1 : 1; // a difference of infinities is no number
  });
}

function widthsOf(rows: readonly Row[]): number[] {
  return rows[0].map((_, index) => Math.max(...rows.map((row) => [...row[index]].length)));
}

function pad(cell: string, width: number, align: Column["align"]): string {
  const blank = " ".repeat(width - [...cell].length);
  return align === "right" ? blank + cell : cell + blank;
}
