/**
 * Charts of a run, as SVG: which there are, and what they show. How they are drawn stands in
 * `chart_specs.ts`.
 * @module
 */

import {
  FAMILIES,
  type Family,
  isByConnections,
  isByWrk,
  isSameCore,
  scenariosOf,
  serviceOf,
} from "./families.ts";
import { type ContestantResults, METRICS, type Results, type ScenarioResults } from "./results.ts";
import { type Bar, barChart, type Panel, pointChart, render, type Role } from "./chart_specs.ts";
import { baselineOf, OURS, pairedRatio, type Spread, valueOf } from "./summary.ts";
import { formatCount, formatNumber, formatRatio } from "./tables.ts";

/** The chart of the README. */
export const README_CHART = "cpu.svg";

const ACCENT = "orange: this library";
const SPREAD = `median and range of the rounds; ${ACCENT}`;

/** A chart, and where it belongs. */
export interface ChartInfo {
  readonly fileName: string;
  readonly title: string;
  readonly family: Family;
}

interface Chart extends ChartInfo {
  readonly scenarios: readonly ScenarioResults[];
  readonly draw: (chart: Chart) => Promise<string>;
}

/** The charts of a run as SVG, by file name: those whose scenarios exist. */
export async function charts(results: Results): Promise<Map<string, string>> {
  const drawn = new Map<string, string>();
  for (const chart of chartsOf(results)) drawn.set(chart.fileName, await chart.draw(chart));
  return drawn;
}

/** Which charts there are of a run, without drawing them. */
export function chartList(results: Results): ChartInfo[] {
  return chartsOf(results);
}

function chartsOf({ scenarios }: Results): Chart[] {
  const byService = (service: string) =>
    scenarios.filter((scenario) => isByConnections(scenario, service)).sort(byConnections);
  const all: Chart[] = [
    {
      fileName: README_CHART,
      title: "CPU time per HTTP request",
      family: "plain",
      scenarios: byService("http").filter(isInReadme),
      draw: drawRatios,
    },
    {
      fileName: "http.svg",
      title: "CPU time per HTTP request, by connections",
      family: "plain",
      scenarios: byService("http"),
      draw: drawRatios,
    },
    {
      fileName: "echo.svg",
      title: "CPU time per echoed message, by connections",
      family: "plain",
      scenarios: byService("echo"),
      draw: drawRatios,
    },
    family(scenarios, "sizes", "CPU time per message, by size", drawRatios),
    family(scenarios, "tls", "CPU time per request over TLS", drawRatios),
    family(scenarios, "churn", "CPU time per connection, from open to close", drawValues),
    family(scenarios, "bulk", "CPU time per gigabyte", drawValues),
    family(scenarios, "latency", "Latency at a fixed rate", drawLatency),
    family(scenarios, "memory", "Memory per idle connection", drawMemory),
    family(scenarios, "scaling", "Several workers beside one", drawValues),
  ];
  return all
    .map((chart) => ({ ...chart, scenarios: chart.scenarios.filter(isComparison) }))
    .filter((chart) => chart.scenarios.length > 0)
    .toSorted((a, b) => rankOf(a) - rankOf(b));
}

/** One that is alone, for the rest failed, shows nothing. */
function isComparison({ kind, contestants }: ScenarioResults): boolean {
  const [{ key }] = METRICS[kind];
  return contestants.filter((contestant) => (valueOf(contestant, key)?.median ?? 0) > 0).length > 1;
}

function family(
  all: readonly ScenarioResults[],
  family: Family,
  title: string,
  draw: Chart["draw"],
): Chart {
  const scenarios = scenariosOf(all, family).filter((scenario) => !isByWrk(scenario));
  return { fileName: `${family}.svg`, title, family, scenarios, draw };
}

function rankOf(chart: Chart): number {
  return FAMILIES.findIndex(([family]) => family === chart.family);
}

function byConnections(a: ScenarioResults, b: ScenarioResults): number {
  return a.connections - b.connections || Number(isSameCore(a)) - Number(isSameCore(b));
}

function isInReadme(scenario: ScenarioResults): boolean {
  return scenario.connections === 1
    ? isSameCore(scenario)
    : [64, 512, 10_000].includes(scenario.connections) && !isSameCore(scenario);
}

// ---------------------------------------------------------------- what is in them

/** The first metric, as a ratio to the baseline, which is a line at 1. */
function drawRatios({ title, scenarios }: Chart): Promise<string> {
  const names = unique(scenarios.map((scenario) => baselineOf(scenario)!.name));
  const panels = scenarios.map((scenario): Panel => {
    const baseline = baselineOf(scenario)!;
    const { key } = METRICS[scenario.kind][0];
    const ratio = (contestant: ContestantResults) =>
      contestant === baseline ? undefined : pairedRatio(contestant, baseline, key);
    return {
      title: labelOf(scenario, scenarios),
      bars: barsOf(scenario, ratio, ({ median }) => formatRatio(median)),
    };
  });
  return render(barChart({
    title,
    subtitle: `as a ratio to ${names.join(" or ")}, the line at 1; less is better; ${SPREAD}`,
    panels,
    reference: 1,
    unit: "ratio",
    better: "lower",
  }));
}

/** The first metric as it is. */
function drawValues({ title, scenarios }: Chart): Promise<string> {
  const [metric] = METRICS[scenarios[0].kind];
  return render(barChart({
    title,
    subtitle: `${better(metric.better)} is better; ${SPREAD}`,
    panels: scenarios.map((scenario) => valuePanel(scenario, scenarios)),
    unit: metric.title,
    better: metric.better,
  }));
}

/** On a logarithmic scale, for there are orders of magnitude between them. */
function drawMemory({ title, scenarios }: Chart): Promise<string> {
  return render(pointChart({
    title,
    subtitle: `logarithmic; less is better; ${SPREAD}`,
    panels: scenarios.map((scenario) => valuePanel(scenario, scenarios)),
    unit: "bytes",
    better: "lower",
    columnsMax: 2,
  }));
}

/** Three points on a line each: median, 99th and 99.9th percentile. */
function drawLatency({ title, scenarios }: Chart): Promise<string> {
  const panels = scenarios.map((scenario): Panel => ({
    title: labelOf(scenario, scenarios),
    bars: barsOf(
      scenario,
      percentiles,
      ({ min, median, max }) => [min, median, max].map(formatNumber).join(" · "),
    ),
  }));
  return render(pointChart({
    title,
    subtitle: "median · 99 % · 99.9 %, from when a request was due; logarithmic; " + ACCENT,
    panels,
    unit: "µs",
    better: "lower",
    columnsMax: 2,
    hasEndPoints: true,
  }));
}

function percentiles(contestant: ContestantResults): Spread | undefined {
  const [min, median, max] = ["p50", "p99", "p999"]
    .map((key) => valueOf(contestant, key)?.median);
  if (min === undefined || median === undefined || max === undefined) return undefined;
  return { min, median, max };
}

function valuePanel(scenario: ScenarioResults, among: readonly ScenarioResults[]): Panel {
  const { key } = METRICS[scenario.kind][0];
  const value = (contestant: ContestantResults) => valueOf(contestant, key);
  return {
    title: labelOf(scenario, among),
    bars: barsOf(scenario, value, ({ median }) => formatNumber(median)),
  };
}

function barsOf(
  scenario: ScenarioResults,
  value: (contestant: ContestantResults) => Spread | undefined,
  labelOf: (spread: Spread) => string,
): Bar[] {
  return scenario.contestants.flatMap((contestant): Bar[] => {
    const spread = value(contestant);
    if (spread === undefined) return [];
    const { name, id } = contestant;
    return [{ name, role: roleOf(id), ...spread, label: labelOf(spread) }];
  });
}

function roleOf(id: string): Role {
  return OURS.includes(id) ? "ours" : id === "c" ? "c" : "peer";
}

/** What sets a scenario apart from the others of its chart. */
function labelOf(scenario: ScenarioResults, among: readonly ScenarioResults[]): string {
  if (among.length === 1) return "";
  const { connections, bytes, isTls } = scenario;
  const differ = (trait: (scenario: ScenarioResults) => unknown) =>
    unique(among.map(trait)).length > 1;
  const parts: string[] = [];
  if (differ(serviceOf)) parts.push(serviceOf(scenario));
  if (differ(({ isTls }) => isTls)) parts.push(isTls ? "TLS" : "plain");
  if (differ((other) => other.bytes)) parts.push(formatBytes(bytes));
  if (differ((other) => other.connections)) {
    parts.push(`${formatCount(connections)} connection${connections === 1 ? "" : "s"}`);
  }
  if (isSameCore(scenario)) parts.push("same core");
  const label = parts.join(", ");
  const isAmbiguous = among.some((other) =>
    other !== scenario && other.connections === connections && other.bytes === bytes &&
    other.isTls === isTls && isSameCore(other) === isSameCore(scenario) &&
    serviceOf(other) === serviceOf(scenario)
  );
  return label === "" || isAmbiguous ? scenario.id : label;
}

function formatBytes(bytes: number): string {
  for (const [unit, size] of [["MiB", 1 << 20], ["KiB", 1 << 10]] as const) {
    if (bytes >= size && bytes % size === 0) return `${bytes / size} ${unit}`;
  }
  return `${formatCount(bytes)} bytes`;
}

function better(which: "lower" | "higher"): string {
  return which === "lower" ? "less" : "more";
}

function unique<T>(values: readonly T[]): T[] {
  return [...new Set(values)];
}
