import { assertEquals } from "@std/assert";
import type { ContestantResults } from "../../bench/support/results.ts";
import { pairedRatio, spreadOf, summarize } from "../../bench/support/summary.ts";
import { contestant, failed, scenario } from "./fixture.ts";

Deno.test("summary: a ratio is paired by round, not made of medians", () => {
  // The second round was slow for all: the medians are 12 and 10, the ratio is 1.1 in two rounds.
  const ours = contestant("epoll", "cpu", [11, 22, 12]);
  const c = contestant("c", "cpu", [10, 20, 8]);
  const [, summary] = summarize(scenario("http-64", "requests", [c, ours])).contestants;
  const [{ value, ratio }] = summary.metrics;
  assertEquals(value, { median: 12, min: 11, max: 22 });
  assertEquals(ratio, { median: 1.1, min: 1.1, max: 1.5 });
});

Deno.test("summary: rounds that one side lacks are in no ratio", () => {
  const holes = [{ cpu: 2 }, {}, { cpu: null }, { cpu: NaN }, { cpu: 0 }, null, { cpu: 9 }];
  const a = { ...contestant("a", "cpu", []), rounds: holes } as unknown as ContestantResults;
  const b = contestant("b", "cpu", [1, 1, 1, 1, 1, 1, 0, 1]);
  assertEquals(pairedRatio(a, b, "cpu"), { median: 2, min: 2, max: 2 });
  assertEquals(pairedRatio(b, a, "cpu"), { median: 0.5, min: 0.5, max: 0.5 });
  assertEquals(pairedRatio(a, contestant("c", "cpu", [NaN, 1]), "cpu"), undefined);
});

Deno.test("summary: the median of an even number of rounds lies between two", () => {
  assertEquals(spreadOf([10, 1, 3, 2]), { median: 2.5, min: 1, max: 10 });
  assertEquals(spreadOf([]), undefined);
});

Deno.test("summary: the baseline is C, else Deno.listen, else the first that has a value", () => {
  const bun = contestant("bun", "cpu", [1]);
  const deno = contestant("deno-listen", "cpu", [1]);
  const baseline = (...contestants: ContestantResults[]) =>
    summarize(scenario("http-64", "requests", contestants)).baseline?.id;
  assertEquals(baseline(bun, deno, contestant("c", "cpu", [1])), "c");
  assertEquals(baseline(bun, deno, failed("c", {})), "deno-listen");
  assertEquals(baseline(failed("deno-listen", {}), bun, failed("c", {})), "bun");
  assertEquals(baseline(failed("c", {})), undefined);
  assertEquals(baseline(), undefined);
});

Deno.test("summary: who failed is kept, with its errors", () => {
  const { contestants } = summarize(scenario("http-64", "requests", [
    contestant("c", "cpu", [1]),
    failed("deno", { refused: 3 }),
  ]));
  const [, { id, errors, isOurs, metrics }] = contestants;
  assertEquals({ id, errors, isOurs }, { id: "deno", errors: { refused: 3 }, isOurs: true });
  assertEquals(metrics.map(({ value, ratio }) => value ?? ratio), metrics.map(() => undefined));
});
