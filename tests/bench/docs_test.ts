import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { CHART_MARKER, END_MARKER, refresh, RESULTS_MARKER } from "../../bench/support/docs.ts";
import { contestant, run, scenario, wholeRun } from "./fixture.ts";

const page = `# Title\n\nBy hand.\n\n${RESULTS_MARKER}\nold\n${END_MARKER}\n\nBy hand too.\n`;
const readme = `# Title\n\n${CHART_MARKER}\n${END_MARKER}\n\nMore.\n`;

Deno.test("docs: what stands between the markers is replaced, and nothing else", () => {
  const fresh = refresh(page, wholeRun());
  assert(fresh.startsWith(`# Title\n\nBy hand.\n\n${RESULTS_MARKER}\n\n### The run\n`));
  assert(fresh.endsWith(`\n\n${END_MARKER}\n\nBy hand too.\n`));
  assertEquals(fresh.includes("\nold\n"), false);
  assertEquals(refresh(fresh, wholeRun()), fresh);
});

Deno.test("docs: machine, versions, who is missing, tables, charts, claims and losses", () => {
  const fresh = refresh(page, wholeRun());
  for (
    const part of [
      "Made-up CPU, 2 cores, 8 GiB, Linux 6.18.0; deno 2.9.6, node",
      "- bun: not installed",
      "![CPU time per HTTP request, by connections](charts/http.svg)",
      "### Requests over TLS\n\n![",
      "#### Title of lateness-64\n\n| contestant",
      "What most servers look like at noon.",
      "| denoConn takes less CPU than node:net, TLS too ",
      "| Title of scaling | speedup |",
    ]
  ) assertStringIncludes(fresh, part);
  assertEquals(fresh.includes("cpu.svg"), false, "the README's chart is shown twice");
});

Deno.test("docs: a claim that is broken is told with what breaks it", () => {
  const fresh = refresh(
    page,
    run(scenario("http-64", "requests", [
      contestant("c", "cpu", [10]),
      contestant("blocking", "cpu", [12]),
      contestant("bun", "cpu", [11]),
    ])),
  );
  assertStringIncludes(fresh, "**does not hold**");
  assertStringIncludes(fresh, "- http-64, CPU µs/req: blocking 12.0, bun 11.0, 1.09 ");
});

Deno.test("docs: the README has its chart, if there is one", () => {
  const fresh = refresh(readme, wholeRun());
  assertStringIncludes(fresh, "![CPU time per HTTP request](docs/charts/cpu.svg)\n\n2026-03-01, ");
  assertEquals(refresh(readme, run()).includes("!["), false);
});

Deno.test("docs: a page without its markers is an error", () => {
  const thrown = (text: string) => String(assertThrows(() => refresh(text, run())));
  assertStringIncludes(thrown("# Title\n"), "neither");
  assertStringIncludes(thrown(`${RESULTS_MARKER}\n`), `no ${END_MARKER} behind`);
  assertStringIncludes(thrown(`${RESULTS_MARKER}\n${CHART_MARKER}\n${END_MARKER}`), "behind");
  assertStringIncludes(thrown(`${readme}${readme}`), "twice");
});

Deno.test("docs: deno fmt has nothing to change", async () => {
  for (const text of [page, readme]) {
    const child = new Deno.Command(Deno.execPath(), {
      args: ["fmt", "--no-config", "--line-width=100", "--ext=md", "-"],
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    const fresh = refresh(text, wholeRun());
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(fresh));
    await writer.close();
    const { stdout } = await child.output();
    assertEquals(new TextDecoder().decode(stdout), fresh);
  }
});
