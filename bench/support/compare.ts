/**
 * Two runs side by side: what a ratio of one is worth shows in whether the other finds it again.
 * Only ratios are compared, for a machine is faster on one day than on another.
 * @module
 */

import type { Results, ScenarioResults } from "./results.ts";
import { type ScenarioSummary, type Spread, summarize } from "./summary.ts";
import { formatRatio, formatSpread } from "./tables.ts";

/** One ratio in both runs. */
export interface ComparedRatio {
  /** Id of the scenario. */
  readonly scenario: string;
  /** Id of the contestant. */
  readonly contestant: string;
  /** Key of the metric. */
  readonly metric: string;
  readonly a: Spread;
  readonly b: Spread;
  /** b's median by a's. */
  readonly difference: number;
  readonly agrees: boolean;
  /** Whether the two ranges, as printed, have a number in common. */
  readonly overlaps: boolean;
}

/** What two runs have in common. */
export interface Comparison {
  readonly ratios: readonly ComparedRatio[];
  /** Scenarios in which the two have different baselines, so that ratios mean different things. */
  readonly incomparable: readonly string[];
  readonly text: string;
}

/** How far two runs may be apart and still agree. */
export const TOLERANCE = 0.1;

/** Compares every ratio that both runs have. */
export function compare(a: Results, b: Results): Comparison {
  const ratios: ComparedRatio[] = [];
  const incomparable: string[] = [];
  for (const [left, right] of pairs(a.scenarios, b.scenarios)) {
    if (left.baseline === undefined || right.baseline === undefined) continue;
    if (left.baseline.id === right.baseline.id) ratios.push(...comparedRatios(left, right));
    else incomparable.push(left.scenario.id);
  }
  return { ratios, incomparable, text: report(ratios, incomparable) };
}

function pairs(
  a: readonly ScenarioResults[],
  b: readonly ScenarioResults[],
): [ScenarioSummary, ScenarioSummary][] {
  return a.flatMap((left): [ScenarioSummary, ScenarioSummary][] => {
    const right = b.find(({ id }) => id === left.id);
    return right === undefined ? [] : [[summarize(left), summarize(right)]];
  });
}

function comparedRatios(a: ScenarioSummary, b: ScenarioSummary): ComparedRatio[] {
  return a.contestants.filter(({ isBaseline }) => !isBaseline).flatMap((left) => {
    const right = b.contestants.find(({ id }) => id === left.id);
    return left.metrics.flatMap(({ metric, ratio }) => {
      const other = right?.metrics.find(({ metric: { key } }) => key === metric.key)?.ratio;
      if (ratio === undefined || other === undefined) return [];
      return [comparedRatio(a.scenario.id, left.id, metric.key, ratio, other)];
    });
  });
}

function comparedRatio(
  scenario: string,
  contestant: string,
  metric: string,
  a: Spread,
  b: Spread,
): ComparedRatio {
  const difference = b.median / a.median;
  // The same whichever run comes first.
  const agrees = Math.max(difference, 1 / difference) <= 1 + TOLERANCE;
  return { scenario, contestant, metric, a, b, difference, agrees, overlaps: overlap(a, b) };
}

function overlap(a: Spread, b: Spread): boolean {
  const [aMin, aMax, bMin, bMax] = [a.min, a.max, b.min, b.max].map((ratio) =>
    Number(formatRatio(ratio).replaceAll(",", ""))
  );
  return aMin <= bMax && bMin <= aMax;
}

function report(ratios: readonly ComparedRatio[], incomparable: readonly string[]): string {
  const apart = ratios.filter(({ agrees }) => !agrees);
  const lines = [
    `${ratios.length - apart.length} of ${ratios.length} ratios agree within ${TOLERANCE * 100} %`,
    ...apart.map(describe),
    ...incomparable.map((id) => `${id}: not compared, the baselines differ`),
  ];
  return lines.join("\n") + "\n";
}

function describe(ratio: ComparedRatio): string {
  const { scenario, contestant, metric, a, b, difference, overlaps } = ratio;
  return `${scenario}, ${contestant}, ${metric}: ${formatSpread(a)} and ${formatSpread(b)}, ` +
    `${formatRatio(difference)} times; the ranges ${overlaps ? "overlap" : "do not overlap"}`;
}
