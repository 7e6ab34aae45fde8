/**
 * What the rounds of a siege come to: medians, ratios, a table, and whether it was withstood.
 * @module
 */
import { spreadOf } from "../../bench/support/summary.ts";
import type { FloodReply, SlowlorisReply, VisitorsReply } from "./orders.ts";

/** A siege may make the 99th percentile so many times what it is in calm. */
export const MOST = 5;

/** What was seen while nobody attacked. */
export interface CalmRound {
  readonly visitors: VisitorsReply;
  /**
   * The part of the time that the server, or the visitors, could have run and waited for a core:
   * taken by whatever else this machine does, for attackers are the last to run.
   */
  readonly waited: { readonly server: number; readonly visitors: number };
}

/** What was seen while the server was attacked. */
export interface SiegeRound extends CalmRound {
  readonly slowloris: SlowlorisReply;
  readonly flood: FloodReply;
}

/** All rounds of one form of the server. */
export interface FormRounds {
  readonly form: string;
  readonly calm: readonly CalmRound[];
  readonly siege: readonly SiegeRound[];
}

/** What they come to: medians of rounds, times in µs. */
export interface FormFigures {
  readonly form: string;
  readonly calm: VisitFigures;
  readonly siege: VisitFigures;
  /** Of the 99th percentiles, siege to calm. */
  readonly ratio: number;
  readonly errors: Readonly<Record<string, number>>;
  readonly slowloris: SlowlorisReply;
  readonly connectsPerSecond: number;
}

/** Of visitors. */
export interface VisitFigures {
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  /** 99th percentile of how late requests were sent. */
  readonly lateness: number;
  readonly waited: CalmRound["waited"];
}

/** Sums up a form. */
export function figuresOf({ form, calm, siege }: FormRounds): FormFigures {
  const inCalm = visitFigures(calm);
  const underSiege = visitFigures(siege);
  const errors: Record<string, number> = {};
  for (const { visitors } of [...calm, ...siege]) {
    for (const [kind, count] of Object.entries(visitors.errors)) {
      errors[kind] = (errors[kind] ?? 0) + count;
    }
  }
  const slow = (key: keyof SlowlorisReply) => median(siege.map(({ slowloris }) => slowloris[key]));
  return {
    form,
    calm: inCalm,
    siege: underSiege,
    ratio: underSiege.p99 / inCalm.p99,
    errors,
    slowloris: { alive: slow("alive"), closed: slow("closed"), failed: slow("failed") },
    connectsPerSecond: median(siege.map(({ flood }) => flood.connects / flood.seconds)),
  };
}

function visitFigures(rounds: readonly CalmRound[]): VisitFigures {
  const of = (pick: (reply: VisitorsReply) => number) =>
    median(rounds.map(({ visitors }) => pick(visitors)));
  return {
    p50: of(({ latency }) => latency.p50),
    p99: of(({ latency }) => latency.p99),
    p999: of(({ latency }) => latency.p999),
    lateness: of(({ lateness }) => lateness.p99),
    waited: {
      server: median(rounds.map(({ waited }) => waited.server)),
      visitors: median(rounds.map(({ waited }) => waited.visitors)),
    },
  };
}

function median(values: readonly number[]): number {
  return spreadOf(values)?.median ?? NaN;
}

/** What is wrong with a form; empty where it withstood. */
export function complaints({ form, ratio, errors }: FormFigures): string[] {
  const found: string[] = [];
  if (!(ratio <= MOST)) {
    found.push(
      `${form}: under siege p99 is ${ratio.toFixed(1)} times that of calm, more than ${MOST}`,
    );
  }
  for (const [kind, count] of Object.entries(errors)) {
    found.push(`${form}: ${count} errors of well-behaved clients: ${kind}`);
  }
  return found;
}

const COLUMNS: readonly (readonly [title: string, cell: (figures: FormFigures) => string])[] = [
  ["form", ({ form }) => form],
  ["calm p50", ({ calm }) => milliseconds(calm.p50)],
  ["p99", ({ calm }) => milliseconds(calm.p99)],
  ["p99.9", ({ calm }) => milliseconds(calm.p999)],
  ["siege p50", ({ siege }) => milliseconds(siege.p50)],
  ["p99", ({ siege }) => milliseconds(siege.p99)],
  ["p99.9", ({ siege }) => milliseconds(siege.p999)],
  ["ratio", ({ ratio }) => ratio.toFixed(2)],
  ["errors", ({ errors }) => String(Object.values(errors).reduce((sum, count) => sum + count, 0))],
  ["slow alive", ({ slowloris }) => String(Math.round(slowloris.alive))],
  ["closed", ({ slowloris }) => String(Math.round(slowloris.closed))],
  ["connects/s", ({ connectsPerSecond }) => String(Math.round(connectsPerSecond))],
  [
    "sent late",
    ({ calm, siege }) => `${milliseconds(calm.lateness)}/${milliseconds(siege.lateness)}`,
  ],
  ["server waited", ({ calm, siege }) => shares(calm.waited.server, siege.waited.server)],
  ["visitors", ({ calm, siege }) => shares(calm.waited.visitors, siege.waited.visitors)],
];

/** A row for each form; times in ms. */
export function table(all: readonly FormFigures[]): string {
  const rows = [
    COLUMNS.map(([title]) => title),
    ...all.map((one) => COLUMNS.map(([, cell]) => cell(one))),
  ];
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join("  ")
  ).join("\n");
}

function milliseconds(microseconds: number): string {
  return (microseconds / 1000).toFixed(2);
}

function shares(calm: number, siege: number): string {
  return `${Math.round(calm * 100)}/${Math.round(siege * 100)} %`;
}
