/**
 * The figures of a run: of each metric the median and the spread over the rounds, and its ratio to
 * the baseline. Ratios are paired by round: what disturbs the machine for a while disturbs both
 * sides of a ratio, so it is steadier than what it is made of.
 * @module
 */

import { type ContestantResults, type Metric, METRICS, type ScenarioResults } from "./results.ts";

/** Median and range over rounds. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** One metric of one contestant; what could not be computed is undefined. */
export interface MetricSummary {
  readonly metric: Metric;
  readonly value: Spread | undefined;
  /** To the baseline; of metrics with `hasRatio` only. */
  readonly ratio: Spread | undefined;
}

/** One contestant in one scenario; all values are undefined where it failed. */
export interface ContestantSummary {
  readonly id: string;
  readonly name: string;
  readonly isOurs: boolean;
  readonly isBaseline: boolean;
  /** In the order of `METRICS`. */
  readonly metrics: readonly MetricSummary[];
  readonly errors: Readonly<Record<string, number>>;
  readonly systemCalls: number | undefined;
}

/** One scenario. */
export interface ScenarioSummary {
  readonly scenario: ScenarioResults;
  /** What ratios are told to; undefined where nobody has a value. */
  readonly baseline: ContestantResults | undefined;
  /** In the order of the results. */
  readonly contestants: readonly ContestantSummary[];
}

/** The modes of this library that take part. */
export const OURS: readonly string[] = ["blocking", "epoll", "deno"];

/** Summarizes one scenario. */
export function summarize(scenario: ScenarioResults): ScenarioSummary {
  const baseline = baselineOf(scenario);
  const summarized = (contestant: ContestantResults): ContestantSummary => ({
    id: contestant.id,
    name: contestant.name,
    isOurs: OURS.includes(contestant.id),
    isBaseline: contestant === baseline,
    metrics: METRICS[scenario.kind].map((metric) => ({
      metric,
      value: valueOf(contestant, metric.key),
      ratio: metric.hasRatio && baseline !== undefined
        ? pairedRatio(contestant, baseline, metric.key)
        : undefined,
    })),
    errors: contestant.errors,
    systemCalls: contestant.systemCalls,
  });
  return { scenario, baseline, contestants: scenario.contestants.map(summarized) };
}

/** C where it took part, else Deno's own loop, else the first that has a value. */
export function baselineOf(scenario: ScenarioResults): ContestantResults | undefined {
  const first = METRICS[scenario.kind][0].key;
  const able = scenario.contestants.filter((contestant) => valueOf(contestant, first));
  return able.find(({ id }) => id === "c") ?? able.find(({ id }) => id === "deno-listen") ??
    able[0];
}

/** Median, min and max of one metric over the rounds that have it. */
export function valueOf(contestant: ContestantResults, key: string): Spread | undefined {
  return spreadOf(samples(contestant, key).filter((sample) => sample !== undefined));
}

/** The ratio of `a` to `b`: one for each round in which both have a value, then their median. */
export function pairedRatio(
  a: ContestantResults,
  b: ContestantResults,
  key: string,
): Spread | undefined {
  const below = samples(b, key);
  const ratios: number[] = [];
  samples(a, key).forEach((above, round) => {
    const divisor = below[round];
    // Nothing costs nothing: a zero is a measurement that failed.
    if (above && divisor) ratios.push(above / divisor);
  });
  return spreadOf(ratios);
}

/** Undefined of no numbers. */
export function spreadOf(numbers: readonly number[]): Spread | undefined {
  if (numbers.length === 0) return undefined;
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1
    ? sorted[middle]
    : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, min: sorted[0], max: sorted[sorted.length - 1] };
}

/** By round. JSON has no NaN: what was one is null there, and a round may be missing as a whole. */
function samples(contestant: ContestantResults, key: string): (number | undefined)[] {
  const rounds: readonly (Readonly<Record<string, number | null>> | null)[] = contestant.rounds;
  return Array.from(rounds, (round) => {
    const sample = round?.[key];
    return typeof sample === "number" && Number.isFinite(sample) ? sample : undefined;
  });
}
