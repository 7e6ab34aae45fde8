import { assertEquals, assertStringIncludes } from "@std/assert";
import {
  escaped,
  formatErrors,
  formatNumber,
  formatSpread,
  markdownTable,
  textTable,
} from "../../bench/support/tables.ts";
import { contestant, failed, scenario } from "./fixture.ts";

const memory = scenario("memory-10000", "memory", [
  failed("deno-serve", { "closed by the server": 12 }),
  contestant("bun", "bytes", [800, 820, 810]),
  contestant("c", "bytes", [300, 310, 320]),
  contestant("epoll", "bytes", [640, 650, 660]),
], { note: "Loopback." });

Deno.test("tables: best first, ours and the baseline marked, the failed last", () => {
  assertEquals(textTable(memory).split("\n"), [
    "Title of memory-10000",
    "  contestant  bytes/conn              to c  errors",
    "○ c                  310                 1",
    "● epoll              650  2.10 [2.06–2.13]",
    "  bun                810  2.65 [2.53–2.67]",
    "  deno-serve           –                 –  12 × closed by the server",
    "Loopback.",
    "",
  ]);
});

Deno.test("tables: Markdown is padded, ours are bold", () => {
  assertEquals(markdownTable(memory).split("\n"), [
    "| contestant | bytes/conn |             to c | errors                    |",
    "| ---------- | ---------: | ---------------: | ------------------------- |",
    "| c          |        310 |                1 |                           |",
    "| **epoll**  |        650 | 2.10 [2.06–2.13] |                           |",
    "| bun        |        810 | 2.65 [2.53–2.67] |                           |",
    "| deno-serve |          – |                – | 12 × closed by the server |",
    "",
  ]);
});

Deno.test("tables: where more is better, the most comes first", () => {
  const rows = textTable(scenario("scaling", "scaling", [
    contestant("c", "speedup", [1.7]),
    contestant("bun", "speedup", [1.9]),
  ])).split("\n").slice(2, 4);
  assertEquals(rows.map((row) => row.slice(2, 5).trim()), ["bun", "c"]);
});

Deno.test("tables: system calls have a column where anybody's were counted", () => {
  const counted = { ...contestant("c", "cpu", [8]), systemCalls: 2.02 };
  const table = textTable(
    scenario("http-64", "requests", [counted, contestant("bun", "cpu", [9])]),
  );
  assertStringIncludes(table, "system calls");
  assertStringIncludes(table, "2.02");
  assertEquals(textTable(memory).includes("system calls"), false);
});

Deno.test("tables: who failed without a word has failed; nobody at all is a table too", () => {
  assertStringIncludes(
    textTable(scenario("http-64", "requests", [failed("bun", {})])),
    "failed",
  );
  assertEquals(
    textTable(scenario("http-64", "requests", [])),
    "Title of http-64\n  contestant  errors\n",
  );
});

Deno.test("tables: digits", () => {
  const formatted = [0, 0.01234, 0.5, 1.004, 8.104, 85.04, 853.4, 12345.6, 9.999, -3.14159, 0.00001]
    .map(formatNumber);
  assertEquals(
    formatted,
    ["0", "0.0123", "0.500", "1.00", "8.10", "85.0", "853", "12,346", "10.0", "-3.14", "1.0e-5"],
  );
  assertEquals(formatSpread({ median: 1.0567, min: 1, max: 12.34 }), "1.06 [1.00–12.3]");
  assertEquals(formatErrors({ reset: 1200, short: 0, refused: 1 }), "1,200 × reset, 1 × refused");
  assertEquals(escaped("a|b_c <d>"), "a\\|b\\_c \\<d\\>");
});
