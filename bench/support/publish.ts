/**
 * Stored runs, and the documents that show one.
 * @module
 */
// deno-lint-ignore-file no-console -- part of a program
import { UsageError } from "../../examples/support/errors.ts";
import { charts } from "./charts.ts";
import { refresh } from "./docs.ts";
import type { Results } from "./results.ts";

const root = new URL("../../", import.meta.url);

/** Stores a run. Returns where. */
export function store(results: Results): string {
  const name = results.date.slice(0, 19).replaceAll(":", "-");
  const path = `bench/results/${name}.json`;
  Deno.mkdirSync(new URL("bench/results", root), { recursive: true });
  Deno.writeTextFileSync(new URL(path, root), toJson(results));
  return path;
}

/** A line for each sample: so that it can be read, and is no longer than it has to be. */
function toJson(results: Results): string {
  const rounded = (_key: string, value: unknown) =>
    typeof value === "number" ? Number(value.toPrecision(6)) : value;
  return JSON.stringify(results, rounded, 1)
    .replace(/\{[^{}[\]]*\}/g, (leaf) => leaf.replace(/\s+/g, " ")) + "\n";
}

/** Reads a stored run. */
export function read(path: string): Results {
  const results = JSON.parse(Deno.readTextFileSync(path)) as Results;
  if (results.format === 1) return results;
  throw new UsageError(`${path} is no stored run of the benchmark`);
}

/** Draws the charts of a run, and tells of it in the documents. */
export async function publish(results: Results): Promise<void> {
  await Deno.mkdir(new URL("docs/charts", root), { recursive: true });
  for (const [name, svg] of await charts(results)) {
    await Deno.writeTextFile(new URL(`docs/charts/${name}`, root), svg);
  }
  for (const path of ["docs/benchmarks.md", "README.md"]) {
    const url = new URL(path, root);
    await Deno.writeTextFile(url, refresh(await Deno.readTextFile(url), results));
  }
  console.log("Refreshed docs/benchmarks.md, README.md and docs/charts");
}
