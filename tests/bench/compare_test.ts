import { assertEquals } from "@std/assert";
import { compare } from "../../bench/support/compare.ts";
import { contestant, failed, run, scenario } from "./fixture.ts";

const c = contestant("c", "cpu", [10, 10, 10]);

Deno.test("compare: counts who agrees, and lists who does not", () => {
  const a = run(scenario("http-64", "requests", [
    c,
    contestant("epoll", "cpu", [11, 11, 12]),
    contestant("bun", "cpu", [12, 12, 18]),
    contestant("deno", "cpu", [13, 13, 14]),
  ]));
  const b = run(scenario("http-64", "requests", [
    c,
    contestant("epoll", "cpu", [12, 12, 12]),
    contestant("bun", "cpu", [18, 19, 19]),
    contestant("deno", "cpu", [18, 18, 18]),
  ]));
  const { ratios, text } = compare(a, b);
  assertEquals(
    ratios.map(({ contestant, agrees, overlaps }) => ({ contestant, agrees, overlaps })),
    [
      { contestant: "epoll", agrees: true, overlaps: true },
      { contestant: "bun", agrees: false, overlaps: true },
      { contestant: "deno", agrees: false, overlaps: false },
    ],
  );
  assertEquals(text.split("\n"), [
    "1 of 3 ratios agree within 10 %",
    "http-64, bun, cpu: 1.20 [1.20–1.80] and 1.90 [1.80–1.90], 1.58 times; the ranges overlap",
    "http-64, deno, cpu: 1.30 [1.30–1.40] and 1.80 [1.80–1.80], 1.38 times; " +
    "the ranges do not overlap",
    "",
  ]);
});

Deno.test("compare: what is the order of the two changes nothing but the sign", () => {
  const a = run(scenario("http-64", "requests", [c, contestant("epoll", "cpu", [10, 10])]));
  const b = run(scenario("http-64", "requests", [c, contestant("epoll", "cpu", [11.05, 11.05])]));
  assertEquals(compare(a, b).ratios.map(({ agrees }) => agrees), [false]);
  assertEquals(compare(b, a).ratios.map(({ agrees }) => agrees), [false]);
});

Deno.test("compare: only what both have, and only to the same baseline", () => {
  const bun = contestant("bun", "cpu", [12]);
  const a = run(
    scenario("http-64", "requests", [c, bun, contestant("epoll", "cpu", [11])]),
    scenario("http-1", "requests", [c, bun]),
    scenario("http-512", "requests", [c, bun]),
  );
  const b = run(
    scenario("http-512", "requests", [failed("c", {}), bun]),
    scenario("http-64", "requests", [c, failed("bun", {}), contestant("epoll", "cpu", [11])]),
  );
  const { ratios, incomparable } = compare(a, b);
  assertEquals(ratios.map(({ scenario, contestant }) => [scenario, contestant]), [
    ["http-64", "epoll"],
  ]);
  assertEquals(incomparable, ["http-512"]);
});
