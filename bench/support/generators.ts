/**
 * Whether the two load generators, the library's own and `wrk`, find the same.
 * @module
 */
import { isByWrk } from "./families.ts";
import type { Results } from "./results.ts";
import { spreadOf, summarize } from "./summary.ts";
import { formatRatio } from "./tables.ts";

/** What wrk found beside what the own generator found, a line for each scenario that has both. */
export function generatorAgreement({ scenarios }: Results): string[] {
  return scenarios.filter(isByWrk).flatMap((byWrk) => {
    const byOwn = scenarios.find(({ id }) => id === byWrk.id.replace(/-wrk$/, ""));
    if (byOwn === undefined) return [];
    const own = cpuRatios(byOwn);
    const differences = [...cpuRatios(byWrk)].flatMap(([id, ratio]) => {
      const other = own.get(id);
      return other === undefined ? [] : [ratio / other];
    });
    const spread = spreadOf(differences);
    if (spread === undefined) return [];
    const [median, min, max] = [spread.median, spread.min, spread.max].map(formatRatio);
    return [
      `${byOwn.title}: by wrk, ratios of CPU are ${min} to ${max} times those by our own ` +
      `generator, ${median} at the median`,
    ];
  });
}

/** Each contestant's CPU per request to that of the baseline, which is left out. */
function cpuRatios(scenario: Results["scenarios"][number]): Map<string, number> {
  const { contestants } = summarize(scenario);
  return new Map(
    contestants.filter(({ isBaseline }) => !isBaseline).flatMap(({ id, metrics }) => {
      const ratio = metrics.find(({ metric }) => metric.key === "cpu")?.ratio;
      return ratio === undefined ? [] : [[id, ratio.median] as const];
    }),
  );
}
