/**
 * What the benchmark is to show, as checks of its results, and where others are ahead: that is told
 * with the same care.
 * @module
 */

import { isByConnections, isSameCore, usualBytes } from "./families.ts";
import { generatorAgreement } from "./generators.ts";
import {
  type ContestantResults,
  type Metric,
  METRICS,
  type Results,
  type ScenarioResults,
} from "./results.ts";
import { OURS, pairedRatio, type Spread, valueOf } from "./summary.ts";
import { formatCount, formatNumber, formatRatio, formatSpread } from "./tables.ts";

/** Ours and a peer's, in one metric of one scenario. */
export interface Figure {
  readonly scenario: ScenarioResults;
  readonly metric: Metric;
  readonly ours: ContestantResults;
  readonly peer: ContestantResults;
  /** Undefined where it failed. */
  readonly oursMedian: number | undefined;
  readonly peerMedian: number | undefined;
  /** Ours to the peer's, paired by round. */
  readonly ratio: Spread | undefined;
}

/** A claim, and whether it holds. */
export interface Claim {
  readonly claim: string;
  /** Undefined where nothing that would show it was measured. */
  readonly holds: boolean | undefined;
  /** How many pairs were looked at. */
  readonly checked: number;
  /** Those that break it. */
  readonly broken: readonly Figure[];
}

const RUNTIMES = ["bun", "deno-listen", "deno-serve", "node-net-deno", "node-net-node"];
const NODE_NET = ["node-net-deno", "node-net-node"];

/** How much more CPU than C a request may cost at most. */
const BOUNDS: readonly (readonly [id: string, connections: number, bound: number])[] = [
  ["blocking", 64, 1.10],
  ["blocking", 512, 1.10],
  ["blocking", 10_000, 1.15],
  ["blocking", 1, 1.20],
  ["epoll", 64, 1.15],
  ["epoll", 512, 1.15],
  ["epoll", 10_000, 1.15],
  ["epoll", 1, 1.25],
];

/** Checks everything that the benchmark is to show. */
export function checkClaims(results: Results): Claim[] {
  const isPlain = ({ isTls }: ScenarioResults) => !isTls;
  return [
    ...["blocking", "epoll"].flatMap((id) => [
      aheadOf(results, id, "cpu", "less CPU than every runtime, without TLS", RUNTIMES, isPlain),
      aheadOf(results, id, "bytes", "less memory than every runtime", RUNTIMES, () => true),
    ]),
    ...BOUNDS.map(([id, connections, bound]) => withinBound(results, id, connections, bound)),
    aheadOf(results, "deno", "cpu", "less CPU than node:net, TLS too", NODE_NET, () => true),
  ];
}

/** Every figure in which somebody other than C is ahead of the best of ours. */
export function whereWeLose(results: Results): Figure[] {
  return results.scenarios.flatMap((scenario) =>
    // User time is a part of the CPU time, which is told.
    METRICS[scenario.kind].filter(({ key }) => key !== "user").flatMap((metric) => {
      const ours = bestOfOurs(scenario, metric);
      if (ours === undefined) return [];
      return scenario.contestants
        .filter(({ id }) => id !== "c" && !OURS.includes(id))
        .map((peer) => figureOf(scenario, metric, ours, peer))
        .filter((figure) => figure.peerMedian !== undefined && isBehind(figure));
    })
  );
}

/** Claims and losses, for the terminal. */
export function claimsText(results: Results): string {
  const lines = checkClaims(results).flatMap((claim) => [
    `${verdict(claim)}: ${claim.claim}`,
    ...claim.broken.map((figure) => `  ${describe(figure)}`),
  ]);
  const lost = whereWeLose(results).map((figure) => `  ${describe(figure)}`);
  return [
    ...lines,
    "Where others are ahead:",
    ...(lost.length > 0 ? lost : ["  nowhere"]),
    ...generatorAgreement(results),
  ].join("\n");
}

/** `holds`, `does not hold` or `not measured`. */
export function verdict({ holds }: Claim): string {
  return holds === undefined ? "not measured" : holds ? "holds" : "does not hold";
}

/** A figure in a line: `http-64, CPU µs/req: epoll 9.31, Bun.listen 9.12, 1.02 [0.99–1.05]`. */
export function describe({ scenario, metric, ours, peer, ...figure }: Figure): string {
  const median = (value: number | undefined) =>
    value === undefined ? "failed" : formatNumber(value);
  const ratio = figure.ratio === undefined ? "" : `, ${formatSpread(figure.ratio)}`;
  return `${scenario.id}, ${metric.title}: ${ours.name} ${median(figure.oursMedian)}, ` +
    `${peer.name} ${median(figure.peerMedian)}${ratio}`;
}

function aheadOf(
  results: Results,
  id: string,
  key: string,
  what: string,
  peers: readonly string[],
  applies: (scenario: ScenarioResults) => boolean,
): Claim {
  const figures = results.scenarios.filter(applies).flatMap((scenario) => {
    const metric = METRICS[scenario.kind].find((metric) => metric.key === key);
    const ours = scenario.contestants.find((contestant) => contestant.id === id);
    if (metric === undefined || ours === undefined) return [];
    return scenario.contestants
      .filter((contestant) => peers.includes(contestant.id))
      .map((peer) => figureOf(scenario, metric, ours, peer))
      // A peer that failed shows nothing; ours that failed breaks the claim.
      .filter(({ peerMedian }) => peerMedian !== undefined);
  });
  const notAhead = (figure: Figure) => !isAhead(figure);
  return claimOf(`${nameOf(results, id)} takes ${what}`, figures, notAhead);
}

function withinBound(results: Results, id: string, connections: number, bound: number): Claim {
  const where = connections === 1
    ? "1 connection on the same core"
    : `${formatCount(connections)} connections`;
  const figures = results.scenarios
    .filter((scenario) => isBoundedAt(scenario, connections))
    .flatMap((scenario) => {
      const ours = scenario.contestants.find((contestant) => contestant.id === id);
      const c = scenario.contestants.find((contestant) => contestant.id === "c");
      if (ours === undefined || c === undefined) return [];
      return [figureOf(scenario, METRICS.requests[0], ours, c)];
    })
    .filter(({ peerMedian }) => peerMedian !== undefined);
  const exceeds = ({ ratio }: Figure) => ratio === undefined || ratio.median > bound;
  const claim = `${nameOf(results, id)} takes at most ${formatRatio(bound)} times the CPU of C, ` +
    `HTTP, ${where}`;
  return claimOf(claim, figures, exceeds);
}

/** One connection is bounded on one core: on two, wake-ups across them are most of the cost. */
function isBoundedAt(scenario: ScenarioResults, connections: number): boolean {
  return isByConnections(scenario, "http") &&
    scenario.bytes === usualBytes && scenario.connections === connections &&
    isSameCore(scenario) === (connections === 1);
}

function claimOf(claim: string, figures: Figure[], breaks: (figure: Figure) => boolean): Claim {
  const broken = figures.filter(breaks);
  const holds = figures.length === 0 ? undefined : broken.length === 0;
  return { claim, holds, checked: figures.length, broken };
}

function figureOf(
  scenario: ScenarioResults,
  metric: Metric,
  ours: ContestantResults,
  peer: ContestantResults,
): Figure {
  return {
    scenario,
    metric,
    ours,
    peer,
    oursMedian: valueOf(ours, metric.key)?.median,
    peerMedian: valueOf(peer, metric.key)?.median,
    ratio: metric.hasRatio ? pairedRatio(ours, peer, metric.key) : undefined,
  };
}

/** By the medians and by the ratio paired by round: where the two disagree, nothing is claimed. */
function isAhead({ metric, oursMedian, peerMedian, ratio }: Figure): boolean {
  if (oursMedian === undefined || peerMedian === undefined) return false;
  const signs = [oursMedian - peerMedian, (ratio?.median ?? 1) - 1];
  return signs.every((sign) => metric.better === "lower" ? sign < 0 : sign > 0);
}

/** By either: what may be a loss is listed. A tie is none. */
function isBehind({ metric, oursMedian, peerMedian, ratio }: Figure): boolean {
  if (oursMedian === undefined || peerMedian === undefined) return true;
  const signs = [oursMedian - peerMedian, (ratio?.median ?? 1) - 1];
  return signs.some((sign) => metric.better === "lower" ? sign > 0 : sign < 0);
}

/** By the median; one that failed where all of ours did. */
function bestOfOurs(scenario: ScenarioResults, metric: Metric): ContestantResults | undefined {
  const rank = (contestant: ContestantResults): number => {
    const median = valueOf(contestant, metric.key)?.median ?? NaN;
    return Number.isNaN(median) ? Infinity : metric.better === "lower" ? median : -median;
  };
  return scenario.contestants
    .filter(({ id }) => OURS.includes(id))
    .reduce<ContestantResults | undefined>(
      (best, next) => best === undefined || rank(next) < rank(best) ? next : best,
      undefined,
    );
}

function nameOf(results: Results, id: string): string {
  const named = results.scenarios.flatMap(({ contestants }) => contestants)
    .find((contestant) => contestant.id === id);
  return named?.name ?? id;
}
