/** The hammer, shortly, on every combination; and that it finds what is wrong. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { epoll, Loop } from "@usockets/usockets";
import { hammer, type HammerOptions, type HammerReport } from "../../examples/support/hammer.ts";
import { OPERATIONS, planOf } from "../../examples/support/hammer_plan.ts";
import { transports } from "../conformance/transports.ts";
import { testCertificates } from "../support/certificates.ts";
import { settledDescriptors, steadyDescriptors } from "../support/descriptors.ts";
import { nativeTest } from "../support/native.ts";
import { runProgram } from "../support/subprocess.ts";

const HAMMER = new URL("../../examples/hammer_test.ts", import.meta.url);
const { ca, server } = await testCertificates();
const tls = { server: { ...server }, client: { ca, serverName: "localhost" } };

for (const { name, backend, isTls, isUnix, isBlocking } of transports) {
  const isThere = Deno.build.os === "linux" || backend !== epoll;
  Deno.test({
    name: `hammer() finds nothing wrong: ${name}${
      isThere ? "" : " (the epoll backend needs Linux)"
    }`,
    ignore: !isThere,
    async fn() {
      const before = await steadyDescriptors();
      const directory = await Deno.makeTempDir();
      const loop = new Loop({ backend, timeoutGranularityMs: 20 });
      const report = hammer(loop, {
        seed: 20_261_121,
        connections: 100,
        connectionsMax: 300,
        path: isUnix ? `${directory}/hammer.sock` : undefined,
        tls: isTls ? tls : undefined,
      });
      if (isBlocking) loop.runBlocking();
      else await loop.run();
      loop.free();
      await Deno.remove(directory, { recursive: true });
      assertEquals(report.violations, []);
      assert(report.connections > 200, `${report.connections} connections`);
      assertEquals(report.open, 0);
      for (const operation of OPERATIONS) {
        assert(report.counts.has(operation), `no ${operation} among them`);
      }
      assertEquals(await settledDescriptors(before) - before, 0, "descriptors were left open");
    },
  });
}

/** Hammers a loop in which something is broken. */
async function hammerBroken(
  breakIt: (loop: Loop) => void,
  options: Partial<HammerOptions> = {},
): Promise<HammerReport> {
  using loop = new Loop({ timeoutGranularityMs: 20 });
  const report = hammer(loop, { seed: 1, connections: 50, connectionsMax: 200, ...options });
  breakIt(loop);
  await loop.run();
  return report;
}

/** Replaces a handler of every context of the hammer. */
function wrap(
  loop: Loop,
  name: "onData" | "onWritable" | "onEnd" | "onTimeout" | "onClose",
  // deno-lint-ignore no-explicit-any -- of whatever it takes
  wrapper: (call: (...args: any[]) => void, socket: any, ...rest: any[]) => void,
): void {
  for (const context of loop.contexts) {
    const handler = context[name]!;
    // deno-lint-ignore no-explicit-any -- as above
    context[name] = (socket: any, ...rest: any[]) =>
      wrapper(
        (...args) => (handler as (...args: unknown[]) => void).call(context, ...args),
        socket,
        ...rest,
      );
  }
}

Deno.test("hammer() finds a byte that is lost", async () => {
  let isLost = false;
  const { violations } = await hammerBroken((loop) =>
    wrap(loop, "onData", (call, socket, data) => {
      if (isLost || data.length < 1000) return call(socket, data);
      isLost = true;
      call(socket, data.subarray(0, 500));
      if (!socket.isClosed) call(socket, data.subarray(501));
    })
  );
  assertStringIncludes(violations[0], "of seed 1: wrong bytes behind");
});

Deno.test("hammer() finds bytes that never come", async () => {
  const heard = new Set<unknown>(); // each socket hears once, and no more
  const { violations } = await hammerBroken((loop) =>
    wrap(loop, "onData", (call, socket, data) => {
      if (!heard.has(socket)) call(socket, data);
      heard.add(socket);
    })
  );
  assertMatch(violations[0], /received \d+ bytes of \d+, and a clean end/);
});

Deno.test("hammer() finds an onWritable too many", async () => {
  const { violations } = await hammerBroken((loop) =>
    wrap(loop, "onWritable", (call, socket) => {
      call(socket);
      if (!socket.isClosed) call(socket);
    })
  );
  assertStringIncludes(violations[0], "on_writable without a short write");
});

Deno.test("hammer() finds an end that comes twice", async () => {
  const { violations } = await hammerBroken((loop) =>
    wrap(loop, "onEnd", (call, socket) => {
      call(socket);
      if (!socket.isClosed) call(socket);
    })
  );
  assertStringIncludes(violations[0], "on_end twice");
});

Deno.test("hammer() finds a callback behind on_close", async () => {
  const { violations } = await hammerBroken((loop) =>
    wrap(loop, "onClose", (call, socket, code, reason) => {
      call(socket, code, reason);
      socket.context.onWritable!(socket);
    })
  );
  assertStringIncludes(violations[0], "a callback behind on_close");
});

Deno.test("hammer() finds a close code that is not the program's own", async () => {
  const { violations } = await hammerBroken((loop) =>
    wrap(loop, "onClose", (call, socket, code, reason) => call(socket, code && 1, reason))
  );
  assertStringIncludes(violations[0], "closed with 1 (undefined): and not with");
});

Deno.test("planOf() gives the same plan for the same seed, and another for another", () => {
  assertEquals(planOf(7, 3, true), planOf(7, 3, true));
  const plans = [planOf(7, 3, true), planOf(7, 3, false), planOf(7, 4, true), planOf(8, 3, true)];
  assertEquals(new Set(plans.map((plan) => JSON.stringify(plan))).size, plans.length);
});

nativeTest("hammer_test says how it went, and repeats a seed", async () => {
  const args = ["--backend", "epoll", "--seconds", "1", "--connections", "20", "--seed", "5"];
  const { code, stdout, stderr } = await runProgram(HAMMER, { args });
  assertEquals([code, stderr], [0, ""]);
  assertStringIncludes(stdout, "epoll tcp: seed 5, 20 connections at a time\nepoll tcp: clean, ");
});

Deno.test("hammer_test tells a mistake in one line", async () => {
  const { code, stderr } = await runProgram(HAMMER, { args: ["--tls", "--unix"] });
  assertEquals([code, stderr], [1, "error: --tls and --unix exclude each other\n"]);
});
