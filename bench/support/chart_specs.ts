/**
 * How charts look: panels side by side with a row for each contestant, drawn by Vega without a
 * window. White and rounded, so that it can stand on a light page and on a dark one.
 * @module
 */

import * as vega from "vega";
import { compile, type TopLevelSpec } from "vega-lite";

/** What decides the colour. */
export type Role = "ours" | "c" | "peer";

/** A row of a panel. */
export interface Bar {
  readonly name: string;
  readonly role: Role;
  readonly median: number;
  readonly min: number;
  readonly max: number;
  readonly label: string;
}

/** A scenario. */
export interface Panel {
  readonly title: string;
  readonly bars: readonly Bar[];
}

/** A chart of one or more panels. */
export interface ChartOptions {
  readonly title: string;
  readonly subtitle: string;
  readonly panels: readonly Panel[];
  /** Below the axes. */
  readonly unit: string;
  readonly better: "lower" | "higher";
  /** Where a vertical line is drawn; the panels then share their scale. */
  readonly reference?: number;
  /** How many panels stand side by side at most; 4. */
  readonly columnsMax?: number;
  /** Points at both ends of a range, which are then more than a spread. */
  readonly hasEndPoints?: boolean;
}

/** A part of a specification; Vega-Lite's own types are too wide to be of help. */
export type Part = Record<string, unknown>;

/** By role. */
export const COLOURS: Readonly<Record<Role, string>> = {
  ours: "#d9480f",
  c: "#495867",
  peer: "#a3b4c6",
};
const INK = "#24292f";
const FAINT = "#57606a";
const FONT = "Helvetica, Arial, sans-serif";
const WIDTH = 860;
const NAMES_SIZE = 12;
const LABEL_SIZE = 11;
const PADDING = 20;
const GAP = 22;
const ROW_GAP = 76; // holds an axis and the title of the next panel
const LABEL_PADDING = 8;
const ROW = 24;

/** What Vega measures text with; its types keep silent about it. */
interface TextMetrics {
  width: (item: { readonly fontSize?: number }, text: unknown) => number;
}

// There is no canvas to measure text with, and Vega's own guess is too wide by half.
(vega as unknown as { textMetrics: TextMetrics }).textMetrics.width = ({ fontSize = 11 }, text) =>
  widthOf(String(text ?? ""), fontSize);

/** Bars from 0, for ratios and for values of the same order of magnitude. */
export function barChart(options: ChartOptions): Part {
  const shared = options.reference === undefined
    ? undefined
    : Math.max(0, ...options.panels.flatMap(({ bars }) => bars).map(({ max }) => max));
  return chart(options, (panel, width) => {
    const max = shared ?? Math.max(0, ...panel.bars.map(({ max }) => max));
    const scale = { domain: [0, max * width / (width - labelRoom(options))], nice: false };
    const bar = {
      mark: { type: "bar", height: 14, cornerRadiusEnd: 2 },
      encoding: { x: { field: "median", ...axis(options.unit, scale) }, color: byRole() },
    };
    const reference = options.reference === undefined ? [] : [line(options.reference)];
    return [bar, ...reference, whisker(1), label()];
  });
}

/** Points on a logarithmic scale, where bars would have no foot to stand on. */
export function pointChart({ panels, ...rest }: ChartOptions): Part {
  const options = { ...rest, panels: panels.map(positive) };
  return chart(options, (panel, width) => {
    const ends = panel.bars.flatMap(({ min, max }) => [min, max]);
    const [min, max] = ends.length > 0 ? [Math.min(...ends) / 1.3, Math.max(...ends)] : [1, 10];
    const domain = [min, min * (max / min) ** (width / (width - labelRoom(options)))];
    const scale = { type: "log", domain, nice: false };
    const point = (field: string, size: number) => ({
      mark: { type: "point", filled: true, size, opacity: 1 },
      encoding: {
        x: { field, ...axis(options.unit, scale, ticksOf(domain[0], domain[1])) },
        color: byRole(),
      },
    });
    const points = options.hasEndPoints ? [point("min", 36), point("max", 36)] : [];
    return [whisker(options.hasEndPoints ? 2 : 1), ...points, point("median", 90), label()];
  });
}

/** What a logarithmic scale can show: memory that shrank is noise. */
function positive({ title, bars }: Panel): Panel {
  const shown = bars.filter(({ median }) => median > 0);
  return { title, bars: shown.map((bar) => bar.min > 0 ? bar : { ...bar, min: bar.median }) };
}

/** Renders a specification; the same one gives the same bytes. */
export async function render(spec: Part): Promise<string> {
  vega.resetSVGDefIds(); // Vega numbers definitions through the life of the process
  const { spec: compiled } = compile(spec as unknown as TopLevelSpec);
  const view = new vega.View(vega.parse(compiled), { renderer: "none" });
  try {
    const svg = await view.toSVG();
    return svg.replace(/(<rect [^>]*fill="white")/, '$1 rx="8"') + "\n";
  } finally {
    view.finalize();
  }
}

function chart(options: ChartOptions, layers: (panel: Panel, width: number) => Part[]): Part {
  const { panels } = options;
  const columns = columnsFor(panels.length, options.columnsMax);
  const names = sortedNames(options);
  const namesWidth = LABEL_PADDING +
    Math.max(0, ...names.map((name) => widthOf(name, NAMES_SIZE)));
  const width = Math.floor(
    (WIDTH - namesWidth - 2 * PADDING - (columns - 1) * GAP) / columns,
  );
  return {
    background: "white",
    padding: PADDING,
    title: {
      text: options.title,
      subtitle: options.subtitle,
      anchor: "start",
      frame: "bounds",
      offset: 16,
    },
    columns,
    spacing: { column: GAP, row: ROW_GAP },
    align: "none",
    bounds: "flush",
    concat: panels.map((panel, index) => ({
      width,
      height: names.length * ROW,
      title: panel.title === "" ? undefined : panelTitle(panel.title),
      data: { values: panel.bars.map((bar) => ({ ...bar })) },
      encoding: { y: rows(names, oursOf(panels), index % columns === 0) },
      layer: layers(panel, width),
    })),
    config: style(),
  };
}

/** No row of panels is left with one alone if it can be helped. */
function columnsFor(panels: number, max = 4): number {
  const rows = Math.ceil(panels / max);
  return Math.ceil(panels / rows);
}

/** Best first, by how they are on the whole: panels have rows in common. */
function sortedNames({ panels, better }: ChartOptions): string[] {
  const scores = new Map<string, number[]>();
  for (const { bars } of panels) {
    const all = bars.map(({ median }) => median);
    const score = (median: number) =>
      better === "lower" ? median / Math.min(...all) : Math.max(...all) / median;
    for (const { name, median } of bars) {
      scores.set(name, [...scores.get(name) ?? [], score(median)]);
    }
  }
  const mean = (name: string) => {
    const all = scores.get(name)!;
    return all.reduce((sum, score) => sum + score, 0) / all.length;
  };
  return [...scores.keys()].sort((a, b) => mean(a) - mean(b));
}

/** What the longest range must leave free for its label to fit behind it. */
function labelRoom({ panels }: ChartOptions): number {
  const labels = panels.flatMap(({ bars }) => bars).map(({ label }) => label);
  return LABEL_PADDING + Math.max(0, ...labels.map((label) => widthOf(label, LABEL_SIZE)));
}

function oursOf(panels: readonly Panel[]): string[] {
  const ours = panels.flatMap(({ bars }) => bars).filter(({ role }) => role === "ours");
  return [...new Set(ours.map(({ name }) => name))];
}

function panelTitle(text: string): Part {
  return { text, anchor: "start", frame: "group", fontSize: 12.5, fontWeight: "bold", offset: 6 };
}

/** Wide enough for any usual font without serifs. */
function widthOf(text: string, fontSize: number): number {
  return Math.ceil([...text].length * fontSize * 0.56);
}

function rows(names: readonly string[], ours: readonly string[], hasLabels: boolean): Part {
  return {
    field: "name",
    type: "nominal",
    scale: { domain: names },
    sort: null,
    axis: {
      title: null,
      labels: hasLabels,
      labelFontWeight: {
        condition: { test: `indexof(${JSON.stringify(ours)}, datum.label) >= 0`, value: "bold" },
        value: "normal",
      },
      ticks: false,
      domain: false,
    },
  };
}

/** Powers of ten, and what lies between them where those are few. */
function ticksOf(min: number, max: number): number[] {
  const ticks = (factors: readonly number[]) => {
    const powers = Array.from({ length: 25 }, (_, index) => 10 ** (index - 12));
    return powers.flatMap((power) => factors.map((factor) => factor * power))
      .filter((tick) => tick >= min && tick <= max);
  };
  const powers = ticks([1]);
  return powers.length > 2 ? powers : ticks([1, 2, 5]);
}

function axis(title: string, scale: Part, values?: readonly number[]): Part {
  return {
    type: "quantitative",
    scale,
    axis: {
      title,
      tickCount: values === undefined ? 4 : undefined, // it would thin out the values too
      values,
      titleFontWeight: "normal",
      format: values === undefined ? ",~r" : "~s", // 10M takes no room of its neighbour
      labelFlush: false,
      labelOverlap: "greedy",
    },
  };
}

function byRole(): Part {
  return {
    field: "role",
    type: "nominal",
    scale: { domain: Object.keys(COLOURS), range: Object.values(COLOURS) },
    legend: null,
  };
}

function line(at: number): Part {
  return {
    mark: { type: "rule", color: COLOURS.c, strokeWidth: 1.5, strokeDash: [4, 3] },
    encoding: { x: { datum: at, type: "quantitative" }, y: { value: 0 }, y2: { value: "height" } },
  };
}

function whisker(strokeWidth: number): Part {
  return {
    mark: { type: "rule", strokeWidth, color: INK, opacity: 0.75 },
    encoding: { x: { field: "min", type: "quantitative" }, x2: { field: "max" } },
  };
}

function label(): Part {
  return {
    mark: { type: "text", align: "left", dx: LABEL_PADDING, fontSize: LABEL_SIZE, color: INK },
    encoding: {
      x: { field: "max", type: "quantitative" },
      text: { field: "label", type: "nominal" },
    },
  };
}

/** What all charts have in common. */
export function style(): Part {
  return {
    font: FONT,
    view: { stroke: null },
    title: {
      fontSize: 17,
      color: INK,
      subtitleFontSize: 12.5,
      subtitleColor: FAINT,
      subtitlePadding: 6,
    },
    axis: {
      labelColor: INK,
      titleColor: FAINT,
      labelFontSize: NAMES_SIZE,
      titleFontSize: 11.5,
      gridColor: "#e6eaee",
      domainColor: "#c5cdd5",
      tickColor: "#c5cdd5",
      labelLimit: 0, // panels make room for names of any length
    },
    axisX: { labelFontSize: 11 },
    axisY: { grid: false, labelPadding: LABEL_PADDING },
  };
}
