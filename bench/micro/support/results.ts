/**
 * What `deno bench --json` printed, as one figure for each benchmark, and several rounds of it as one.
 * @module
 */

/** What a benchmark took in one round. */
export interface Row {
  readonly group: string;
  readonly name: string;
  /** Nanoseconds of one operation. */
  readonly ns: number;
}

/** What a benchmark took in several rounds: the median, and between what it moved. */
export interface Measured extends Row {
  readonly lowest: number;
  readonly highest: number;
}

/** What was run, and on what. */
export interface Round {
  readonly cpu: string;
  readonly runtime: string;
  readonly rows: readonly Row[];
  /** Benchmarks that have no figure, and why. */
  readonly failures: readonly string[];
}

/** The part of Deno's output that is read here. Times are nanoseconds of one call of the body. */
interface Output {
  readonly cpu: string;
  readonly runtime: string;
  readonly benches: readonly {
    readonly group: string | null;
    readonly name: string;
    readonly results: readonly {
      readonly ok?: { readonly p75: number; readonly highPrecision: boolean };
      readonly failed?: { readonly message: string };
    }[];
  }[];
}

/** Behind a benchmark's name: how often its body does it; see `measure.ts`. */
const TIMES = / ×(\d+)$/;

/**
 * Reads one round. Of what Deno prints the 75th percentile is taken, as there is no median: the mean
 * has in it whatever else the machine did for a moment, the minimum none of the garbage collection.
 */
export function readRound(json: string): Round {
  const { cpu, runtime, benches } = JSON.parse(json) as Output;
  const rows: Row[] = [];
  const failures: string[] = [];
  for (const bench of benches) {
    const times = Number(TIMES.exec(bench.name)?.[1] ?? 1);
    const name = bench.name.replace(TIMES, "");
    for (const { ok, failed } of bench.results) {
      if (ok === undefined) failures.push(`${name}: ${failed?.message ?? "no result"}`);
      else if (!ok.highPrecision) {
        failures.push(`${name}: its body takes less than 10 µs, too short to be timed alone`);
      } else rows.push({ group: bench.group ?? "", name, ns: ok.p75 / times });
    }
  }
  return { cpu, runtime, rows, failures };
}

/** Several rounds of the same benchmarks as one. */
export function combine(rounds: readonly (readonly Row[])[]): Measured[] {
  const found = new Map<string, { row: Row; all: number[] }>();
  for (const row of rounds.flat()) {
    const entry = found.get(row.name);
    if (entry === undefined) found.set(row.name, { row, all: [row.ns] });
    else entry.all.push(row.ns);
  }
  return [...found.values()].map(({ row: { group, name }, all }) => {
    all.sort((a, b) => a - b);
    return { group, name, ns: median(all), lowest: all[0], highest: all[all.length - 1] };
  });
}

function median(sorted: readonly number[]): number {
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
