/**
 * What belongs together: which scenarios share a chart and a chapter, read from what a scenario
 * says of itself and, for service and core, from its id.
 * @module
 */

import type { ScenarioResults } from "./results.ts";

/** A chapter of the results. */
export type Family =
  | "plain"
  | "sizes"
  | "tls"
  | "churn"
  | "bulk"
  | "latency"
  | "lateness"
  | "memory"
  | "scaling";

/** In the order in which they are told. */
export const FAMILIES: readonly (readonly [family: Family, title: string])[] = [
  ["plain", "Requests"],
  ["sizes", "Sizes of messages"],
  ["tls", "Requests over TLS"],
  ["churn", "Connections that come and go"],
  ["bulk", "Bulk transfer"],
  ["latency", "Latency at a fixed rate"],
  ["lateness", "What else runs in the process"],
  ["memory", "Memory of idle connections"],
  ["scaling", "Several workers"],
];

/** What a request has where nothing else is said, in bytes. */
export const usualBytes = 64;

/** The family of a scenario: TLS is one of its own for requests only. */
export function familyOf(scenario: ScenarioResults): Family {
  if (scenario.kind !== "requests") return scenario.kind;
  if (scenario.isTls) return "tls";
  return isUsualSize(scenario) ? "plain" : "sizes";
}

/** The scenarios of a family, in the order of the results. */
export function scenariosOf(
  scenarios: readonly ScenarioResults[],
  family: Family,
): ScenarioResults[] {
  return scenarios.filter((scenario) => familyOf(scenario) === family);
}

/** `http` or `echo`, as far as the id tells. */
export function serviceOf({ id }: ScenarioResults): string {
  return id.split("-", 1)[0];
}

/** Whether server and load generator share a core. */
export function isSameCore({ id }: ScenarioResults): boolean {
  return id.endsWith("-same-core");
}

/** Whether it is loaded by wrk, to check the generators. */
export function isByWrk({ id }: ScenarioResults): boolean {
  return id.split("-").includes("wrk");
}

/** Plain requests of the usual size, loaded as usual: what charts by connections are made of. */
export function isByConnections(scenario: ScenarioResults, service: string): boolean {
  return familyOf(scenario) === "plain" && serviceOf(scenario) === service && !isByWrk(scenario);
}

function isUsualSize({ bytes }: ScenarioResults): boolean {
  return bytes === 0 || bytes === usualBytes;
}
