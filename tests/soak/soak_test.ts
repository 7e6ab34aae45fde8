// The soak test: what it takes for growth and for a fault, and a run of seconds on each backend.
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { chart } from "../../soak/support/chart.ts";
import { partOf } from "../../soak/support/publish.ts";
import type { Sample, Soak } from "../../soak/support/samples.ts";
import { sampleRow, summaryOf } from "../../soak/support/tables.ts";
import { judge, memoryOf } from "../../soak/support/verdict.ts";
import { watch } from "../../soak/support/watch.ts";
import { isLinux } from "../support/native.ts";

/** Samples of so much memory each, in megabytes. */
function samplesOf(megabytes: readonly number[]): Sample[] {
  return megabytes.map((size, index) => ({
    open: 10,
    connections: index * 100,
    bytes: index * 1e9,
    messages: 50,
    p50: 1000,
    p99: 5000 + index,
    max: 9000,
    heapBytes: 1e6,
    externalBytes: 1e6,
    seconds: (index + 1) * 5,
    memoryBytes: size * 1e6,
    descriptors: 100 + index,
    cpuSeconds: index,
  }));
}

function soakOf(megabytes: readonly number[], change: Partial<Soak> = {}): Soak {
  return {
    options: {
      backend: "epoll",
      isBlocking: true,
      minutes: 1,
      connections: 10,
      seed: 7,
      sampleSeconds: 5,
    },
    date: "2026-03-01T12:00:00Z",
    machine: "Made-up CPU, 2 cores",
    samples: samplesOf(megabytes),
    account: {
      counts: { adoptions: 3, "hammer: adopt": 4, "hammer: closed: Reset": 2 },
      violations: [],
    },
    rest: { descriptorsBefore: 20, descriptorsAfter: 20, open: 0 },
    ...change,
  };
}

const flat = Array.from({ length: 40 }, (_, index) => index < 10 ? 50 + 5 * index : 100);

function broken(soak: Soak): string[] {
  return judge(soak).filter(({ isKept }) => !isKept).map(({ promise }) => promise);
}

Deno.test("soak: memory that grows in the first half only is flat", () => {
  assertEquals(broken(soakOf(flat)), []);
  assertEquals(memoryOf(samplesOf(flat)), { deviation: 0, drift: 0, range: "100 to 100 MB" });
});

Deno.test("soak: garbage that comes and goes is no growth, what stays is", () => {
  const garbage = flat.map((size, index) => size + (index % 2 === 0 ? 10 : 0));
  assertEquals(broken(soakOf(garbage)), []);
  const growing = flat.map((size, index) => size * (1 + Math.max(0, index - 20) / 19 * 0.05));
  assertMatch(broken(soakOf(growing)).join(), /memory is flat/);
  const { drift } = memoryOf(samplesOf(growing));
  assert(drift > 0.04 && drift < 0.06, `${drift}`);
  const late = flat.map((size, index) => index > 35 ? size * 1.1 : size);
  assertMatch(broken(soakOf(late)).join(), /memory is flat/);
});

Deno.test("soak: too few samples show nothing", () => {
  assertMatch(broken(soakOf([100])).join(), /memory is flat/);
});

Deno.test("soak: a descriptor left, a socket left and a violation are each told", () => {
  const rest = { descriptorsBefore: 20, descriptorsAfter: 21, open: 0 };
  assertMatch(broken(soakOf(flat, { rest })).join(), /^no descriptor/);
  assertMatch(
    broken(soakOf(flat, { rest: { ...rest, descriptorsAfter: 20, open: 1 } })).join(),
    /^connections/,
  );
  const account = { counts: {}, violations: ["talker 3 of tcp got wrong bytes behind 7"] };
  assertMatch(broken(soakOf(flat, { account })).join(), /^no byte/);
  assertStringIncludes(summaryOf(soakOf(flat, { account })), "got wrong bytes behind 7");
});

Deno.test("soak: a line of the table is of what happened since the last one", () => {
  const samples = samplesOf(flat);
  const cells = sampleRow(samples[4], samples[2], { counts: {}, violations: ["x"] });
  assertEquals(cells.trim().split(/  +/), [
    "0:25",
    "10",
    "200",
    "2,000",
    "70.0 MB",
    "2.0 MB",
    "104",
    "1.0 ms",
    "5.0 ms",
    "9.0 ms",
    "20 %",
    "1",
  ]);
});

Deno.test("soak: the page tells of each run, as deno fmt has it", async () => {
  const part = `${partOf([soakOf(flat), soakOf([1, 2, 3])])}\n`;
  for (
    const words of [
      "### epoll, blocking",
      "seed 7.\n\nMade-up CPU",
      "![Memory, descriptors and latency over time](charts/soak-epoll-blocking.svg)",
      "| adoptions ",
      "Reset 2",
      "**broken**: ±",
    ]
  ) assertStringIncludes(part, words);
  const child = new Deno.Command(Deno.execPath(), {
    args: ["fmt", "--no-config", "--line-width=100", "--ext=md", "-"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(part));
  await writer.close();
  assertEquals(new TextDecoder().decode((await child.output()).stdout), part);
});

Deno.test("soak: the chart has a panel for each thing that is watched", async () => {
  const svg = await chart(soakOf(flat));
  for (
    const title of ["memory, MB", "descriptors", "latency of a message", "connections that began"]
  ) {
    assertStringIncludes(svg, title);
  }
});

const modes = [["deno", false], ["epoll", false], ["epoll", true]] as const;
const title = "soak: seconds of it on each backend";
if (!isLinux) Deno.test.ignore(`${title} (the soak reads /proc, which is Linux's)`, () => {});
else {
  Deno.test(title, async () => {
    await Promise.all(modes.map(([backend, isBlocking]) => soakShortly(backend, isBlocking)));
  });
}

async function soakShortly(backend: "deno" | "epoll", isBlocking: boolean): Promise<void> {
  const seen: number[] = [];
  const soak = await watch(
    { backend, isBlocking, minutes: 0.03, connections: 60, seed: 3, sampleSeconds: 0.5 },
    (sample) => seen.push(sample.open),
  );
  assertEquals(soak.account.violations, []);
  assertEquals(soak.rest.open, 0);
  assertEquals(soak.rest.descriptorsAfter - soak.rest.descriptorsBefore, 0);
  assertEquals(soak.samples.length, seen.length);
  assert(Math.max(...seen) >= 60, seen.join());
  const done = ["messages", "talkers done", "silents done", "slow readers done", "hammer: adopt"];
  for (const what of done) assert(soak.account.counts[what] > 0, `no ${what} on ${backend}`);
  const { memoryBytes, cpuSeconds, descriptors } = soak.samples[soak.samples.length - 1];
  assert(memoryBytes > 1e6 && cpuSeconds > 0 && descriptors > 60);
}
