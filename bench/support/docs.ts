/**
 * The parts of `docs/benchmarks.md` and `README.md` that a run writes: what stands between two
 * markers is replaced, all else is written by hand. The lines are broken as `deno fmt` breaks them.
 * @module
 */

import { chartList, README_CHART } from "./charts.ts";
import { checkClaims, type Claim, describe, type Figure, verdict, whereWeLose } from "./claims.ts";
import { FAMILIES, type Family, scenariosOf } from "./families.ts";
import { generatorAgreement } from "./generators.ts";
import { replaceMarked } from "./markers.ts";
import type { Results, ScenarioResults } from "./results.ts";
import { type Column, escaped, formatNumber, formatSpread } from "./tables.ts";
import { markdownRows, markdownTable } from "./tables.ts";

/** Where the charts are kept. */
export const CHARTS_DIRECTORY = "docs/charts";

/** Written by hand into a page; the second ends each of the first. */
export const RESULTS_MARKER = "<!-- benchmark: results -->";
export const CHART_MARKER = "<!-- benchmark: chart -->";
export const END_MARKER = "<!-- /benchmark -->";

const COLUMNS_MAX = 100;

/** The page with what stands between its markers written anew. Throws where there are none. */
export function refresh(text: string, results: Results): string {
  const parts: readonly (readonly [string, (results: Results) => string])[] = [
    [RESULTS_MARKER, resultsPart],
    [CHART_MARKER, chartPart],
  ];
  const there = parts.filter(([marker]) => text.includes(marker));
  if (there.length === 0) {
    throw new Error(`There is neither ${RESULTS_MARKER} nor ${CHART_MARKER} in the page`);
  }
  return there.reduce(
    (page, [marker, part]) => replaceMarked(page, marker, END_MARKER, part(results)),
    text,
  );
}

// ---------------------------------------------------------------- README.md

function chartPart(results: Results): string {
  const chart = chartList(results).find(({ fileName }) => fileName === README_CHART);
  const day = results.date.slice(0, 10);
  const said = `${day}, ${escaped(results.machine.cpu)}, ${versions(results)}.`;
  const image = chart === undefined
    ? []
    : [`![${chart.title}](${CHARTS_DIRECTORY}/${chart.fileName})`];
  return blocks([...image, wrapped(said)]);
}

// ---------------------------------------------------------------- docs/benchmarks.md

function resultsPart(results: Results): string {
  return blocks([
    ...runBlocks(results),
    ...FAMILIES.flatMap(([family, title]) => familyBlocks(results, family, title)),
    "### What it is to show",
    claimsTable(checkClaims(results)),
    ...brokenBlocks(checkClaims(results)),
    "### Where others are ahead",
    ...lossBlocks(whereWeLose(results)),
    ...generatorBlocks(generatorAgreement(results)),
  ]);
}

function runBlocks(results: Results): string[] {
  const { machine: { cpu, cores, memoryGiB, kernel }, date, mode, seconds, skipped } = results;
  const minutes = Math.max(1, Math.round(seconds / 60));
  const said = `${date.slice(0, 10)}, mode \`${mode}\`, ${minutes} min: ${escaped(cpu)}, ` +
    `${cores} cores, ${Number(memoryGiB.toFixed(1))} GiB, Linux ${escaped(kernel)}; ` +
    `${versions(results)}.`;
  const missing = skipped.map(({ contestant, reason }) =>
    wrapped(`- ${escaped(contestant)}: ${escaped(reason)}`, "  ")
  );
  return [
    "### The run",
    wrapped(said),
    ...(missing.length === 0 ? [] : ["Not there:", missing.join("\n")]),
  ];
}

function versions({ machine }: Results): string {
  return Object.entries(machine.versions)
    .map(([name, version]) => escaped(`${name} ${version}`))
    .join(", ");
}

function familyBlocks(results: Results, family: Family, title: string): string[] {
  const scenarios = scenariosOf(results.scenarios, family);
  if (scenarios.length === 0) return [];
  const images = chartList(results)
    .filter((chart) => chart.family === family && chart.fileName !== README_CHART)
    .map(({ fileName, title }) => `![${title}](charts/${fileName})`);
  return [`### ${title}`, ...images, ...scenarios.flatMap(scenarioBlocks)];
}

function scenarioBlocks(scenario: ScenarioResults): string[] {
  const note = scenario.note === "" ? [] : [wrapped(escaped(scenario.note))];
  return [`#### ${escaped(scenario.title)}`, markdownTable(scenario), ...note];
}

function claimsTable(claims: readonly Claim[]): string {
  const columns: Column[] = [
    { title: "claim", align: "left" },
    { title: "verdict", align: "left" },
    { title: "pairs", align: "right" },
    { title: "against it", align: "right" },
  ];
  return markdownRows(
    columns,
    claims.map((claim) => [
      escaped(claim.claim),
      claim.holds === false ? `**${verdict(claim)}**` : verdict(claim),
      String(claim.checked),
      String(claim.broken.length),
    ]),
  );
}

function brokenBlocks(claims: readonly Claim[]): string[] {
  return claims.filter(({ broken }) => broken.length > 0).flatMap(({ claim, broken }) => [
    wrapped(`Against “${escaped(claim)}”:`),
    broken.map((figure) => wrapped(`- ${escaped(describe(figure))}`, "  ")).join("\n"),
  ]);
}

function lossBlocks(figures: readonly Figure[]): string[] {
  if (figures.length === 0) return ["Nowhere, C aside."];
  const columns: Column[] = [
    { title: "scenario", align: "left" },
    { title: "metric", align: "left" },
    { title: "our best", align: "left" },
    { title: "", align: "right" },
    { title: "ahead of it", align: "left" },
    { title: "", align: "right" },
    { title: "ours to theirs", align: "right" },
  ];
  const median = (value: number | undefined) =>
    value === undefined ? "failed" : formatNumber(value);
  const rows = figures.map((figure) => [
    escaped(figure.scenario.title),
    escaped(figure.metric.title),
    escaped(figure.ours.name),
    median(figure.oursMedian),
    escaped(figure.peer.name),
    median(figure.peerMedian),
    figure.ratio === undefined ? "–" : formatSpread(figure.ratio),
  ]);
  const said = "Everyone but C who is ahead of the best of ours, in any metric, by the median or " +
    "by the ratio paired by round. A range that has 1 in it is no difference.";
  return [wrapped(said), markdownRows(columns, rows)];
}

function generatorBlocks(lines: readonly string[]): string[] {
  if (lines.length === 0) return [];
  const list = lines.map((line) => wrapped(`- ${escaped(line)}.`, "  ")).join("\n");
  return ["### Whether the generators agree", list];
}

// ---------------------------------------------------------------- Markdown

function blocks(parts: readonly string[]): string {
  return parts.map((part) => part.trimEnd()).join("\n\n") + "\n";
}

/** Broken into lines, all but the first indented. */
function wrapped(text: string, indent = ""): string {
  const lines: string[] = [];
  for (const word of text.split(/\s+/)) {
    const longer = lines.length === 0 ? word : `${lines[lines.length - 1]} ${word}`;
    if (lines.length === 0) lines.push(word);
    else if ([...longer].length <= COLUMNS_MAX) lines[lines.length - 1] = longer;
    else lines.push(indent + word);
  }
  return lines.join("\n");
}
