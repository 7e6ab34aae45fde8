// The Deno backend on Conns that are late, do a part or fail at random, as epoll_property_test.ts for the
// other. What must hold is in deno_world.ts and side.ts.
//   FAULTS_SEED=123 deno test --allow-all --preload=tests/support/preload.ts tests/faults
//   FAULTS_RUNS=5000 deno test --allow-all --preload=tests/support/preload.ts tests/faults
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { DenoWorld } from "./deno_world.ts";

const RUNS = Number(Deno.env.get("FAULTS_RUNS") ?? 30);
const SEED = Deno.env.get("FAULTS_SEED");

const weathers = [
  {},
  { late: 0.2, short: 0.3 },
  { late: 0.5, short: 0.8 },
  { failing: 0.05, short: 0.2 },
  { late: 0.3, failing: 0.1 },
];

Deno.test("whatever Conns do, nothing is lost, told twice or left behind", async () => {
  const seeds = SEED === undefined ? fc.nat() : fc.constant(Number(SEED));
  await fc.assert(
    fc.asyncProperty(seeds, async (seed) => {
      assertEquals(await new DenoWorld(seed, weathers[seed % weathers.length]).play(), []);
    }),
    { numRuns: SEED === undefined ? RUNS : 1, endOnFailure: true },
  );
});
