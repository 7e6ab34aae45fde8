// The epoll backend while the system and OpenSSL fail at random: connections that do one thing or
// another, on every transport and in both ways of running. What must hold is in world.ts and side.ts.
//
// A run follows from its seed, as far as the kernel's timing allows. To run one, or many:
//   FAULTS_SEED=123 deno test --allow-all --preload=tests/support/preload.ts tests/faults
//   FAULTS_RUNS=5000 deno test --allow-all --preload=tests/support/preload.ts tests/faults
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { openLibssl } from "../../ffi/tls/libssl.ts";
import { testCertificates } from "../support/certificates.ts";
import { countDescriptors, settledDescriptors } from "../support/descriptors.ts";
import { isLinux, modes, nativeTest } from "../support/native.ts";
import { type Setting, settingOf } from "./setting.ts";
import { World } from "./world.ts";

const RUNS = Number(Deno.env.get("FAULTS_RUNS") ?? 36);
const SEED = Deno.env.get("FAULTS_SEED");

const certificates = await testCertificates();
if (isLinux) openLibssl(); // stays open for the process's life

/** What is wrong behind one run. */
async function violationsOf(seed: number, mode: Setting["mode"]): Promise<string[]> {
  const directory = Deno.makeTempDirSync();
  const before = countDescriptors();
  try {
    const setting = { ...settingOf(seed), mode, certificates, directory };
    const violations = await new World(setting).play();
    const left = await settledDescriptors(before) - before;
    if (left > 0) violations.push(`${left} descriptors were left open`);
    return violations.map((violation) => `${JSON.stringify(settingOf(seed))}: ${violation}`);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

for (const mode of modes) {
  nativeTest(
    `whatever fails, nothing is lost, told twice or left behind (${mode})`,
    async () => {
      const seeds = SEED === undefined ? fc.nat() : fc.constant(Number(SEED));
      await fc.assert(
        fc.asyncProperty(seeds, async (seed) => {
          assertEquals(await violationsOf(seed, mode), []);
        }),
        { numRuns: SEED === undefined ? RUNS : 1, endOnFailure: true },
      );
    },
  );
}
