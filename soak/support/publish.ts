/**
 * Stored soaks, one for each backend and way of running, and the page that tells of them.
 * @module
 */
// deno-lint-ignore-file no-console -- part of a program
import { replaceMarked } from "../../bench/support/markers.ts";
import { whole } from "../../examples/support/load_results.ts";
import { chart } from "./chart.ts";
import { nameOf, type Soak } from "./samples.ts";
import { judge } from "./verdict.ts";

const root = new URL("../../", import.meta.url);
const page = new URL("docs/reliability.md", root);
const results = new URL("soak/results/", root);

/** Written by hand into the page. */
export const MARKER = "<!-- soak: results -->";
export const END_MARKER = "<!-- /soak -->";

/** Stores a soak, draws it, and writes the page anew. */
export async function publish(soak: Soak): Promise<void> {
  await Deno.mkdir(results, { recursive: true });
  const name = fileNameOf(soak);
  await Deno.writeTextFile(new URL(`${name}.json`, results), toJson(soak));
  await Deno.writeTextFile(new URL(`docs/charts/${name}.svg`, root), await chart(soak));
  const soaks: Soak[] = [];
  for (const { name } of Deno.readDirSync(results)) {
    soaks.push(JSON.parse(await Deno.readTextFile(new URL(name, results))));
  }
  soaks.sort((a, b) => nameOf(a.options) < nameOf(b.options) ? -1 : 1);
  const text = await Deno.readTextFile(page);
  await Deno.writeTextFile(page, replaceMarked(text, MARKER, END_MARKER, partOf(soaks)));
  console.log("Refreshed docs/reliability.md and docs/charts");
}

/** What the page says of soaks. */
export function partOf(soaks: readonly Soak[]): string {
  return soaks.map(blockOf).join("\n\n");
}

function blockOf(soak: Soak): string {
  const { options, samples, account, date, machine } = soak;
  const last = samples[samples.length - 1];
  const messages = samples.reduce((total, { messages }) => total + messages, 0);
  const percentile = (pick: "p50" | "p99") => {
    const sorted = samples.slice(1).map((sample) => sample[pick]).sort((a, b) => a - b);
    return (sorted[Math.floor(sorted.length / 2)] / 1000).toFixed(1);
  };
  const adoptions = (account.counts["adoptions"] ?? 0) + (account.counts["hammer: adopt"] ?? 0);
  const closes = Object.entries(account.counts)
    .filter(([what]) => what.startsWith("hammer: closed: "))
    .map(([what, count]) => `${what.slice("hammer: closed: ".length)} ${whole(count)}`)
    .sort();
  const facts = [
    ["connections", whole(last.connections)],
    ["bytes received and compared", `${(last.bytes / 1e9).toFixed(1)} GB`],
    ["messages answered by those that stay", whole(messages)],
    [
      "their latency, median of the samples",
      `p50 ${percentile("p50")} ms, p99 ${percentile("p99")} ms`,
    ],
    ["adoptions", whole(adoptions)],
    ["ended without a farewell, as planned", closes.join(", ")],
    ["CPU", `${Math.round(last.cpuSeconds / last.seconds * 100)} % of a core`],
  ];
  const verdicts = judge(soak).map(({ promise, isKept, figure }) => [
    promise,
    isKept ? figure : `**broken**: ${figure}`,
  ]);
  const said = `${options.minutes} minutes, ${whole(options.connections)} connections that stay`;
  return [
    `### ${nameOf(options)}`,
    `${date.slice(0, 10)}, ${said}, seed ${options.seed}.`,
    `${machine}.`,
    `![Memory, descriptors and latency over time](charts/${fileNameOf(soak)}.svg)`,
    table([["", ""], ...facts, ...verdicts]),
  ].join("\n\n");
}

/** As `deno fmt` has it. */
function table(rows: readonly string[][]): string {
  const widths = rows[0].map((_, column) => Math.max(3, ...rows.map((row) => row[column].length)));
  const line = (cells: readonly string[], fill = " ") =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column], fill)).join(" | ")} |`;
  return [line(rows[0]), line(["", ""], "-"), ...rows.slice(1).map((row) => line(row))].join("\n");
}

function fileNameOf({ options: { backend, isBlocking } }: Soak): string {
  return isBlocking ? `soak-${backend}-blocking` : `soak-${backend}`;
}

/** A line for each sample. */
function toJson(soak: Soak): string {
  const rounded = (_key: string, value: unknown) =>
    typeof value === "number" ? Number(value.toPrecision(9)) : value;
  return JSON.stringify(soak, rounded, 1)
    .replace(/\{[^{}[\]]*\}/g, (leaf) => leaf.replace(/\s+/g, " ")) + "\n";
}
