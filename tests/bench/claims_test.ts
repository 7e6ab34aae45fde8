import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { generatorAgreement } from "../../bench/support/generators.ts";
import { checkClaims, type Claim, claimsText, whereWeLose } from "../../bench/support/claims.ts";
import type { Results, ScenarioResults } from "../../bench/support/results.ts";
import { contestant, failed, run, scenario } from "./fixture.ts";

function http(costs: Record<string, number[]>, id = "http-64"): ScenarioResults {
  const contestants = Object.entries(costs)
    .map(([id, samples]) => contestant(id, "cpu", samples));
  return scenario(id, "requests", contestants);
}

function claim(results: Results, ...words: string[]): Claim {
  const found = checkClaims(results)
    .filter((claim) => words.every((word) => claim.claim.includes(word)));
  assertEquals(found.length, 1, words.join(" "));
  return found[0];
}

const brokenBy = ({ broken }: Claim) => broken.map(({ scenario, peer }) => [scenario.id, peer.id]);

Deno.test("claims: ahead of every runtime, without TLS", () => {
  const results = run(
    http({ c: [1], blocking: [2, 2], bun: [3, 3], "deno-listen": [1.9, 1.9] }),
    http({ c: [1], blocking: [2, 2], bun: [1, 1] }, "http-tls-64"),
  );
  const blocking = claim(results, "blocking", "less CPU");
  assertEquals([blocking.holds, blocking.checked], [false, 2]);
  assertEquals(brokenBy(blocking), [["http-64", "deno-listen"]]);
  assertEquals(claim(results, "epoll", "less CPU").holds, undefined);
  assertEquals(claim(run(results.scenarios[1]), "blocking", "less CPU").holds, undefined);
});

Deno.test("claims: nothing holds on the medians alone", () => {
  // Ours has the lower median, and yet it cost more in two of three rounds.
  const results = run(http({ epoll: [5, 11, 30], bun: [12, 10, 29] }));
  const { holds, broken } = claim(results, "epoll", "less CPU");
  assertEquals(holds, false);
  assert(broken[0].ratio !== undefined && broken[0].ratio.median > 1);
});

Deno.test("claims: ours that failed break a claim, a peer that failed shows nothing", () => {
  const ours = contestant("blocking", "cpu", [2]);
  const bun = contestant("bun", "cpu", [3]);
  const holds = (...contestants: ScenarioResults["contestants"]) =>
    claim(run(scenario("http-64", "requests", [...contestants])), "blocking", "less CPU").holds;
  assertEquals(holds(ours, bun), true);
  assertEquals(holds(failed("blocking", {}), bun), false);
  assertEquals(holds(ours, failed("bun", {})), undefined);
});

Deno.test("claims: bounds to C, one connection on the same core only", () => {
  const at = (ratio: number, id: string) => run(http({ c: [10, 20], epoll: [ratio * 10] }, id));
  assertEquals(claim(at(1.15, "http-64"), "epoll", " 64 ").holds, true);
  assertEquals(claim(at(1.16, "http-64"), "epoll", " 64 ").holds, false);
  assertEquals(claim(at(1.16, "http-10000"), "epoll", "10,000").holds, false);
  assertEquals(claim(at(1.25, "http-1-same-core"), "epoll", "same core").holds, true);
  for (const id of ["http-1", "echo-64", "http-tls-64", "http-64-wrk", "http-512"]) {
    assertEquals(claim(at(2, id), "epoll", " 64 ").holds, undefined, id);
    assertEquals(claim(at(2, id), "epoll", "same core").holds, undefined, id);
  }
});

Deno.test("claims: deno is ahead of node:net, TLS too", () => {
  const results = run(http({ deno: [2], "node-net-node": [1], bun: [1] }, "http-tls-64"));
  assertEquals(brokenBy(claim(results, "deno", "node:net")), [["http-tls-64", "node-net-node"]]);
});

Deno.test("claims: every loss of our best is told, TLS, latency and rates too", () => {
  const figures = whereWeLose(run(
    http({ c: [1], epoll: [3], blocking: [2], bun: [2.5], "deno-listen": [1.5] }),
    http({ epoll: [3], bun: [2.5] }, "http-tls-64"),
    scenario("latency-64", "latency", [
      { ...contestant("epoll", "p99", []), rounds: [{ p99: 90, p50: 40 }] },
      { ...contestant("bun", "p99", []), rounds: [{ p99: 95, p50: 39 }] },
    ]),
    scenario("scaling", "scaling", [
      contestant("epoll", "rateN", [100]),
      contestant("bun", "rateN", [90]),
      contestant("deno-serve", "rateN", [110]),
    ]),
    scenario("memory-10000", "memory", [failed("epoll", {}), contestant("bun", "bytes", [800])]),
  ));
  assertEquals(
    figures.map(({ scenario, metric, ours, peer }) =>
      [scenario.id, metric.key, ours.id, peer.id].join(" ")
    ),
    [
      "http-64 cpu blocking deno-listen",
      "http-tls-64 cpu epoll bun",
      "latency-64 p50 epoll bun",
      "scaling rateN epoll deno-serve",
      "memory-10000 bytes epoll bun",
    ],
  );
});

Deno.test("claims: the text has figures, and says where nothing was measured", () => {
  const text = claimsText(run(http({ c: [10, 10], blocking: [12, 13], bun: [12, 12] })));
  assertStringIncludes(
    text,
    "does not hold: blocking takes less CPU than every runtime, without TLS\n" +
      "  http-64, CPU µs/req: blocking 12.5, bun 12.0, 1.04 [1.00–1.08]\n",
  );
  assertStringIncludes(text, "not measured: deno takes");
  assertStringIncludes(claimsText(run()), "Where others are ahead:\n  nowhere");
});

Deno.test("claims: what wrk finds is told beside what the own generator finds", () => {
  const own = scenario("http-64", "requests", [
    contestant("c", "cpu", [2, 2]),
    contestant("epoll", "cpu", [3, 3]),
    contestant("bun", "cpu", [4, 4]),
  ]);
  const byWrk = scenario("http-64-wrk", "requests", [
    contestant("c", "cpu", [4, 4]),
    contestant("epoll", "cpu", [6, 6]),
    contestant("bun", "cpu", [10, 10]),
  ]);
  assertEquals(generatorAgreement(run(own)), []);
  assertEquals(generatorAgreement(run(own, byWrk)), [
    "Title of http-64: by wrk, ratios of CPU are 1.00 to 1.25 times those by our own generator, " +
    "1.13 at the median",
  ]);
});
