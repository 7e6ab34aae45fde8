// What bench:micro makes of Deno's figures: reading them, rounds as one, and what is called slower.
import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  CALIBRATION,
  compare,
  formatPromises,
  formatTable,
  formatTime,
} from "../../bench/micro/support/comparison.ts";
import { combine, type Measured, readRound } from "../../bench/micro/support/results.ts";

// ---------------------------------------------------------------- reading

/** What `deno bench --json` prints, with what is not read left out. */
function output(...benches: { name: string; result: unknown }[]): string {
  return JSON.stringify({
    version: 1,
    runtime: "Deno/2.9.6 x86_64-unknown-linux-gnu",
    cpu: "a CPU",
    benches: benches.map(({ name, result }) => ({ group: "a group", name, results: [result] })),
  });
}

const took = (p75: number, highPrecision = true) => ({
  ok: { n: 100, min: 1, avg: 5000, max: 9000, p75, highPrecision, usedExplicitTimers: true },
});

Deno.test("the figure of a benchmark is that of one operation", () => {
  const json = output(
    { name: "once", result: took(20_000) },
    { name: "often ×1000", result: took(20_000) },
    { name: "3 ×4 cells ×10", result: took(20_000) },
  );
  assertEquals(readRound(json), {
    cpu: "a CPU",
    runtime: "Deno/2.9.6 x86_64-unknown-linux-gnu",
    rows: [
      { group: "a group", name: "once", ns: 20_000 },
      { group: "a group", name: "often", ns: 20 },
      { group: "a group", name: "3 ×4 cells", ns: 2000 },
    ],
    failures: [],
  });
});

Deno.test("a benchmark that threw is a failure, as is one that Deno timed in batches", () => {
  const json = output(
    { name: "fine", result: took(20_000) },
    { name: "throws ×10", result: { failed: { name: "Error", message: "no such thing" } } },
    { name: "short", result: took(3, false) },
  );
  const { rows, failures } = readRound(json);
  assertEquals(rows.map(({ name }) => name), ["fine"]);
  assertEquals(failures, [
    "throws: no such thing",
    "short: its body takes less than 10 µs, too short to be timed alone",
  ]);
});

Deno.test("what is no output of Deno's throws", () => {
  for (const text of ["", "error: Module not found", "{}"]) assertThrows(() => readRound(text));
});

Deno.test("several rounds are their median, and what it lies between", () => {
  const round = (a: number, b: number) => [
    { group: "g", name: "a", ns: a },
    { group: "h", name: "b", ns: b },
  ];
  assertEquals(combine([round(3, 10), round(9, 10), round(1, 10)]), [
    { group: "g", name: "a", ns: 3, lowest: 1, highest: 9 },
    { group: "h", name: "b", ns: 10, lowest: 10, highest: 10 },
  ]);
  const [even] = combine([round(1, 1), round(2, 1), round(4, 1), round(100, 1)]);
  assertEquals(even, { group: "g", name: "a", ns: 3, lowest: 1, highest: 100 });
  assertEquals(combine([]), []);
});

Deno.test("a benchmark that failed in one round has the figures of the others", () => {
  const rows = combine([[], [{ group: "g", name: "a", ns: 7 }]]);
  assertEquals(rows, [{ group: "g", name: "a", ns: 7, lowest: 7, highest: 7 }]);
});

// ---------------------------------------------------------------- comparing

/** A benchmark that moved by so much to both sides. */
function row(name: string, ns: number, spread = 0): Measured {
  return { group: "g", name, ns, lowest: ns * (1 - spread), highest: ns * (1 + spread) };
}

const calibration = (ns: number) => row(CALIBRATION, ns);

function verdicts(measured: Measured[], baseline: Measured[]): string[] {
  return compare(measured, baseline).map(({ name, verdict }) => `${name}: ${verdict}`);
}

Deno.test("a row that is worse by more than 15 % is slower", () => {
  assertEquals(
    verdicts(
      [calibration(2), row("a", 116), row("b", 114), row("c", 80), row("d", 100)],
      [calibration(2), row("a", 100), row("b", 100), row("c", 100), row("d", 100)],
    ),
    [`${CALIBRATION}: same`, "a: slower", "b: same", "c: faster", "d: same"],
  );
});

Deno.test("what the rounds themselves move by is no regression", () => {
  const before = [calibration(2), row("a", 100, 0.3)];
  assertEquals(verdicts([calibration(2), row("a", 150, 0.2)], before)[1], "a: same"); // 120 < 130
  assertEquals(verdicts([calibration(2), row("a", 150, 0.1)], before)[1], "a: slower"); // 135
  assertEquals(verdicts([calibration(2), row("a", 70, 0.3)], before)[1], "a: same");
  const steady = [calibration(2), row("a", 100)]; // beyond all that it moved by, and not by enough
  assertEquals(verdicts([calibration(2), row("a", 120, 0.1)], steady)[1], "a: same"); // 108
  assertEquals(verdicts([calibration(2), row("a", 80, 0.1)], steady)[1], "a: same"); // 88
});

Deno.test("a machine twice as slow has no regressions, but for those it really has", () => {
  const before = [calibration(2), row("a", 100, 0.05), row("b", 100, 0.05)];
  const now = [calibration(4), row("a", 200, 0.05), row("b", 260, 0.05)];
  assertEquals(verdicts(now, before).slice(1), ["a: same", "b: slower"]);
  assertEquals(compare(now, before).map(({ ratio, corrected }) => [ratio, corrected]), [
    [2, 2], // of the machine itself, which is nobody's fault
    [2, 1],
    [2.6, 1.3],
  ]);
});

Deno.test("a machine twice as fast does not hide a regression", () => {
  const now = [calibration(1), row("a", 90)];
  assertEquals(verdicts(now, [calibration(2), row("a", 100)])[1], "a: slower");
});

Deno.test("where one side has no calibration, the ratio stays as it is", () => {
  for (const before of [[row("a", 100)], [calibration(2), row("a", 100)]]) {
    const [a] = compare([row("a", 130)], before);
    assertEquals([a.ratio, a.corrected, a.verdict], [1.3, 1.3, "slower"]);
  }
});

Deno.test("new and missing benchmarks are said to be so", () => {
  const now = [calibration(2), row("new", 1)], before = [calibration(2), row("gone", 1)];
  assertEquals(verdicts(now, before).slice(1), ["new: new", "gone: missing"]);
  assertEquals(verdicts(now, []), [`${CALIBRATION}: new`, "new: new"]);
  assertEquals(verdicts(now, undefined as unknown as []), [`${CALIBRATION}: new`, "new: new"]);
});

// ---------------------------------------------------------------- printing

Deno.test("the table has a line for each benchmark, by group", () => {
  const named = (group: string, row: Measured) => ({ ...row, group });
  const now = [
    named("first", calibration(2)),
    named("second", row("a", 1250, 0.01)),
    named("second", row("fresh", 12_345_678)),
  ];
  const before = [
    named("first", calibration(2)),
    named("second", row("a", 1000)),
    named("second", row("gone", 5)),
  ];
  assertEquals(
    formatTable(compare(now, before)),
    `
                    now     from       to  baseline  ratio  corrected
first
  integer loop  2.00 ns  2.00 ns  2.00 ns   2.00 ns   1.00       1.00
second
  a             1.25 µs  1.24 µs  1.26 µs   1.00 µs   1.25       1.25  SLOWER
  fresh         12.3 ms  12.3 ms  12.3 ms                              new
  gone                                      5.00 ns                    missing
`.slice(1, -1),
  );
});

Deno.test("times have the unit that they need", () => {
  const texts = [0.123, 1, 12.34, 345.6, 999, 1000, 65_432, 999_000, 1e6, 1.5e9].map(formatTime);
  assertEquals(texts, [
    "0.12 ns",
    "1.00 ns",
    "12.3 ns",
    "346 ns",
    "999 ns",
    "1.00 µs",
    "65.4 µs",
    "999 µs",
    "1.00 ms",
    "1500 ms",
  ]);
  assertEquals(formatTime(undefined), "");
});

Deno.test("a promise is told to be kept or broken, where it was measured", () => {
  const sweep = (ns: number) => [row("sweep of 100,000 sockets, none due", ns)];
  assertStringIncludes(formatPromises(sweep(800_000))[0], "less than 1.00 ms. Kept: 800 µs");
  assertStringIncludes(formatPromises(sweep(1_000_000))[0], "BROKEN: 1.00 ms");
  assertEquals(formatPromises([row("a", 1)]), []);
});
