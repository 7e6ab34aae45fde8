// The benchmark as a whole, in small: every kind of scenario, with servers and generators as
// processes. Figures mean nothing here; that there are some, and no errors, does.
import { assert, assertEquals } from "@std/assert";
import { contestantsOf } from "../../bench/support/contestants.ts";
import { partCores } from "../../bench/support/entrant.ts";
import { METRICS, type ScenarioResults } from "../../bench/support/results.ts";
import { run } from "../../bench/support/run.ts";
import { type Scenario, scenariosOf } from "../../bench/support/scenarios.ts";
import { makeTrialCertificates } from "../../examples/support/certificates.ts";
import { isLinux } from "../support/native.ts";

const all = scenariosOf("full", 2);

Deno.test("scenariosOf() gives each scenario an id of its own, and each mode some", () => {
  assertEquals(new Set(all.map(({ id }) => id)).size, all.length);
  for (const mode of ["quick", "default"] as const) {
    assert(scenariosOf(mode, 2).every(({ id }) => all.some((other) => other.id === id)));
  }
});

const ids = ["http-64", "echo-tls-64-65536-bytes", "churn", "bulk-down", "bulk-tls-up", "latency"];
const small = all
  .filter(({ id }) => [...ids, "memory", "lateness", "scaling"].some((wanted) => id === wanted))
  .map((scenario): Scenario => ({ ...scenario, connections: 4, rate: scenario.rate && 500 }));

function runTest(name: string, fn: () => Promise<void>): void {
  if (isLinux) Deno.test(name, fn);
  else Deno.test.ignore(`${name} (the benchmark needs Linux)`, fn);
}

async function runSmall(scenarios: Scenario[], contestants: string[]): Promise<ScenarioResults[]> {
  const folder = await Deno.makeTempDir();
  const files = { cert: `${folder}/cert.pem`, key: `${folder}/key.pem` };
  const { server } = await makeTrialCertificates();
  await Deno.writeTextFile(files.cert, server.cert);
  await Deno.writeTextFile(files.key, server.key);
  let told = 0;
  const results = await run({
    contestants: contestantsOf(folder).filter(({ id }) => contestants.includes(id)),
    scenarios,
    rounds: 1,
    seconds: 0.05,
    files,
    cores: partCores(navigator.hardwareConcurrency),
    countsCalls: false,
    onProgress: (_what, share) => assert(share >= 0 && share <= 1),
    onScenario: () => told++,
  });
  assertEquals(told, scenarios.length);
  await Deno.remove(folder, { recursive: true });
  return results;
}

runTest("run() measures every kind of scenario", async () => {
  for (const { id, kind, contestants } of await runSmall(small, ["epoll", "deno-listen"])) {
    assertEquals(contestants.map(({ id }) => id), ["epoll", "deno-listen"]);
    for (const { errors, rounds } of contestants) {
      assertEquals(errors, {}, id);
      const [sample] = rounds;
      const keys = METRICS[kind].map(({ key }) => key).filter((key) => sample[key] === undefined);
      assertEquals(keys, [], id);
    }
  }
});

runTest("run() goes on without a contestant that cannot start, and says why", async () => {
  const [results] = await runSmall(small.slice(0, 1), ["c", "epoll"]); // C was not compiled
  const [c, epoll] = results.contestants;
  assertEquals(c.rounds, [{}]);
  assert(Object.keys(c.errors)[0].startsWith("cannot start: ended: taskset"));
  assertEquals(epoll.errors, {});
});
