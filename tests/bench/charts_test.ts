import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { chartList, charts } from "../../bench/support/charts.ts";
import { contestant, failed, run, scenario, wholeRun } from "./fixture.ts";

function widthOf(svg: string): number {
  const width = /^<svg [^>]*\bwidth="([\d.]+)"/.exec(svg)?.[1];
  assert(width !== undefined);
  return Number(width);
}

Deno.test("charts: one for each family, none wider than a page", async () => {
  const drawn = await charts(wholeRun());
  assertEquals(
    [...drawn.keys()].sort(),
    [
      "bulk.svg",
      "churn.svg",
      "cpu.svg",
      "echo.svg",
      "http.svg",
      "latency.svg",
      "memory.svg",
      "scaling.svg",
      "sizes.svg",
      "tls.svg",
    ],
  );
  for (const [fileName, svg] of drawn) {
    assert(widthOf(svg) <= 900, `${fileName} is ${widthOf(svg)} wide`);
    assertStringIncludes(svg, 'fill="white" rx="8"', fileName);
    assertEquals(/NaN|Infinity|undefined/.exec(svg), null, fileName);
  }
});

Deno.test("charts: long names and more panels than fit into a row stay within the page", async () => {
  const { scenarios } = wholeRun();
  const long = "this library on epoll, blocking";
  const http = scenarios.filter(({ id }) => id.startsWith("http-")).map((scenario) => ({
    ...scenario,
    contestants: scenario.contestants.map((one) => ({
      ...one,
      name: one.id === "blocking" ? long : one.name,
    })),
  }));
  const svg = (await charts(run({ ...http[0], id: "http-1" }, ...http))).get("http.svg")!;
  assert(widthOf(svg) <= 900);
  assertStringIncludes(svg, `>${long}</text>`);
  const titles = ["1 connection", "1 connection, same core", "64 connections", "512 connections"];
  for (const title of [...titles, "10,000 connections"]) {
    assertStringIncludes(svg, `>${title}</text>`);
  }
});

Deno.test("charts: the same results are the same bytes", async () => {
  assertEquals(await charts(wholeRun()), await charts(wholeRun()));
});

Deno.test("charts: ratios are labelled, and the baseline is a line", async () => {
  const { scenarios } = wholeRun();
  const svg = (await charts(run(...scenarios.filter(({ id }) => id === "echo-64"))))
    .get("echo.svg")!;
  assertStringIncludes(svg, "as a ratio to C, epoll");
  assertStringIncludes(svg, ">Bun.listen</text>");
  assertEquals(svg.includes(">C, epoll</text>"), false);
});

Deno.test("charts: only of scenarios that are there and compare somebody", async () => {
  const c = contestant("c", "cpu", [1]);
  assertEquals(await charts(run()), new Map());
  assertEquals(chartList(run(scenario("http-64", "requests", [c, failed("epoll", {})]))), []);
  const two = run(scenario("http-64", "requests", [c, contestant("epoll", "cpu", [1.1])]));
  assertEquals(chartList(two).map(({ fileName }) => fileName), ["cpu.svg", "http.svg"]);
});

Deno.test("charts: sides that share no round are no ratio, memory that shrank is left out", async () => {
  const drawn = await charts(run(
    scenario("echo-64", "requests", [
      contestant("c", "cpu", [1, NaN]),
      contestant("epoll", "cpu", [NaN, 1]),
    ]),
    scenario("memory-10000", "memory", [
      contestant("c", "bytes", [-5, 300, 310]),
      contestant("bun", "bytes", [800, 810]),
      contestant("epoll", "bytes", [-5, -4, 310]),
    ]),
    scenario("latency-64", "latency", [
      contestant("c", "p99", [90]),
      contestant("epoll", "p99", [95]),
    ]),
  ));
  for (const [fileName, svg] of drawn) assertEquals(/NaN|Infinity/.exec(svg), null, fileName);
  assertEquals(drawn.get("memory.svg")!.includes(">epoll</text>"), false);
});
