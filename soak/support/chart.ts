/**
 * A soak as a chart: memory, descriptors, latencies and connections over time.
 * @module
 */
import { COLOURS, type Part, render, style } from "../../bench/support/chart_specs.ts";
import { whole } from "../../examples/support/load_results.ts";
import { nameOf, type Sample, type Soak } from "./samples.ts";

/** A line of a panel. */
interface Series {
  readonly name: string;
  readonly colour: string;
  readonly value: (sample: Sample, before: Sample | undefined) => number;
}

interface Panel {
  readonly title: string;
  readonly series: readonly Series[];
  readonly isLogarithmic?: boolean;
}

const { ours, c, peer } = COLOURS;

const PANELS: readonly Panel[] = [
  {
    title: "memory, MB: of the process, and V8's heap in use",
    series: [
      { name: "process", colour: ours, value: ({ memoryBytes }) => memoryBytes / 1e6 },
      {
        name: "V8",
        colour: peer,
        value: ({ heapBytes, externalBytes }) => (heapBytes + externalBytes) / 1e6,
      },
    ],
  },
  {
    title: "descriptors",
    series: [{ name: "descriptors", colour: ours, value: ({ descriptors }) => descriptors }],
  },
  {
    title: "latency of a message, ms: median and 99 %",
    isLogarithmic: true,
    series: [
      { name: "median", colour: ours, value: ({ p50 }) => Math.max(0.01, p50 / 1000) },
      { name: "99 %", colour: c, value: ({ p99 }) => Math.max(0.01, p99 / 1000) },
    ],
  },
  {
    title: "connections that began, per second",
    series: [{
      name: "connections",
      colour: ours,
      value: (sample, before) =>
        (sample.connections - (before?.connections ?? 0)) /
        (sample.seconds - (before?.seconds ?? 0)),
    }],
  },
];

/** Draws a soak as SVG. */
export function chart(soak: Soak): Promise<string> {
  const { options, samples } = soak;
  return render({
    background: "white",
    padding: 20,
    title: {
      text: `${options.minutes} minutes of everything: ${nameOf(options)}`,
      subtitle: `${
        whole(options.connections)
      } connections that stay, beside those that come and go`,
      anchor: "start",
      frame: "bounds",
      offset: 16,
    },
    columns: 2,
    spacing: { column: 40, row: 50 },
    concat: PANELS.map((panel) => panelOf(panel, samples)),
    resolve: { scale: { color: "independent" } },
    config: style(),
  });
}

function panelOf({ title, series, isLogarithmic }: Panel, samples: readonly Sample[]): Part {
  const values = series.flatMap(({ name, value }) =>
    samples.slice(1).map((sample, index) => ({ // the first one has everybody's arrival
      name,
      minutes: sample.seconds / 60,
      value: value(sample, samples[index]),
    }))
  );
  return {
    width: 380,
    height: 140,
    title: { text: title, anchor: "start", frame: "group", fontSize: 12.5, offset: 6 },
    data: { values },
    mark: { type: "line", strokeWidth: 1.5 },
    encoding: {
      x: { field: "minutes", type: "quantitative", title: "minutes", axis: { grid: false } },
      y: {
        field: "value",
        type: "quantitative",
        title: null,
        axis: { grid: true, tickCount: 4 },
        scale: isLogarithmic ? { type: "log" } : { zero: true },
      },
      color: {
        field: "name",
        type: "nominal",
        legend: null,
        scale: {
          domain: series.map(({ name }) => name),
          range: series.map(({ colour }) => colour),
        },
      },
    },
  };
}
