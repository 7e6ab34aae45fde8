/** The load tests as programs: what a user types, and reads. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { denoConn, Loop, type TlsOptions } from "@usockets/usockets";
import { echoServer } from "../../examples/echo_server.ts";
import { httpServer } from "../../examples/http_server.ts";
import type { LoadFlags } from "../../examples/support/load_flags.ts";
import { describeTarget, LoadDisplay } from "../../examples/support/load_display.ts";
import { LoadResults } from "../../examples/support/load_results.ts";
import { certificateFor, testCertificates } from "../support/certificates.ts";
import { Program, type ProgramResult, runProgram } from "../support/subprocess.ts";
import { PERMISSIONS, programTest } from "./programs.ts";

const HTTP = new URL("../../examples/http_load_test.ts", import.meta.url);
const TCP = new URL("../../examples/tcp_load_test.ts", import.meta.url);

function run(source: URL, ...args: string[]): Promise<ProgramResult> {
  return runProgram(source, { flags: PERMISSIONS, args });
}

/** A server of this process, while the program runs. */
async function withServer(
  listen: typeof httpServer,
  tls: TlsOptions | undefined,
  test: (port: string, loop: Loop) => Promise<void>,
): Promise<void> {
  using loop = new Loop({ backend: denoConn });
  const flags = { host: "127.0.0.1", port: 0, tls, reusePort: false, more: undefined };
  const { listener } = listen(loop, flags);
  const running = loop.run();
  try {
    await test(String(listener.port), loop);
  } finally {
    await loop.shutdown({ graceSeconds: 0 });
    await running;
  }
}

// ---------------------------------------------------------------- from start to end

const WAYS = [
  ["deno", []],
  ["epoll", ["--backend", "epoll"]],
  ["epoll, blocking", ["--backend", "epoll", "--mode", "blocking"]],
  ["deno, 3 workers", ["--workers", "3"]],
  ["epoll, blocking, 2 workers", ["--backend", "epoll", "--mode", "blocking", "--workers", "2"]],
] as const;

const LATENCY = /^Latency: p50 [\d.]+ [µm]?s, p90 .*, p99 .*, p99\.9 .*, max [\d.]+ [µm]?s$/;

for (const [details, way] of WAYS) {
  for (
    const [source, unit, server] of [[HTTP, "requests", httpServer], [
      TCP,
      "messages",
      echoServer,
    ]] as const
  ) {
    const name = `${source.pathname.split("/").at(-1)} ${way.join(" ")}`;

    programTest(`${name} tells what it did`, way, async () => {
      await withServer(server, undefined, async (port) => {
        const args = ["7", "127.0.0.1", port, "2", "--requests", "500", ...way];
        const { code, stdout, stderr } = await run(source, ...args);
        const lines = stdout.split("\n");
        assertEquals([code, stderr, lines.length], [0, "", 5], stdout + stderr);
        assertEquals(
          lines[0],
          `7 connections to 127.0.0.1:${port}, 2 ${unit} in flight on each (backend: ${details})`,
        );
        assertMatch(lines[1], /^7 connected in [\d.]+ s$/);
        assertStringIncludes(lines[2], `500 ${unit} in `);
        assertMatch(lines[2], / s: [\d,]+ per second, [\d.]+ MB\/s received$/);
        assertMatch(lines[3], LATENCY);
      });
    });
  }

  programTest(`http_load_test ${way.join(" ")} tells what it did until Ctrl-C`, way, async () => {
    await withServer(httpServer, undefined, async (port, loop) => {
      const [context] = loop.contexts;
      const { onData } = context;
      // A second request on a connection tells that the first was answered.
      const answered = Promise.withResolvers<void>();
      const seen = new Set<unknown>();
      context.onData = (socket, data) => {
        if (seen.has(socket)) answered.resolve();
        seen.add(socket);
        onData!.call(context, socket, data);
      };
      const args = ["3", "127.0.0.1", port, "--seconds", "0", ...way];
      const program = new Program(HTTP, { flags: PERMISSIONS, args });
      try {
        assertStringIncludes(await program.line(), "3 connections to");
        assertStringIncludes(await program.line(), "3 connected in");
        await answered.promise;
        program.signal("SIGINT");
        assertEquals(await program.line(), "Shutting down, in 5 s at the latest");
        assertMatch(await program.line(), /^[\d,]+ requests in /);
        assertMatch(await program.line(), LATENCY);
        assertEquals(await program.ended(), 0);
      } finally {
        await program.kill();
      }
    });
  });
}

for (const way of [[], ["--backend", "epoll", "--mode", "blocking"]]) {
  const name = ["http_load_test --tls", ...way].join(" ");

  programTest(`${name} verifies the server`, way, async () => {
    const { ca } = await testCertificates();
    const server = await certificateFor("localhost"); // not for its address
    const caFile = await Deno.makeTempFile();
    await Deno.writeTextFile(caFile, ca);
    await withServer(httpServer, server, async (port) => {
      const args = ["--tls", "--requests", "100", ...way];
      const fine = await run(HTTP, "3", "localhost", port, "--ca", caFile, ...args);
      assertEquals([fine.code, fine.stderr], [0, ""]);
      assertStringIncludes(fine.stdout, "TLS)\n3 connected in");
      assertStringIncludes(fine.stdout, "100 requests in");

      const name = ["--server-name", "other.test"];
      const unknown = await run(HTTP, "3", "localhost", port, "--ca", caFile, ...name, ...args);
      assertEquals([unknown.code, unknown.stderr], [1, ""]);
      assertStringIncludes(unknown.stdout, "0 of 3 connected in");
      assertMatch(unknown.stdout, /Errors:\n {2}3 × .*certificate.*\n$/i);
    });
    await Deno.remove(caFile);
  });
}

programTest("http_load_test --tls --insecure trusts any server", ["epoll"], async () => {
  const { selfSigned } = await testCertificates();
  await withServer(httpServer, selfSigned, async (port) => {
    const args = ["--tls", "--insecure", "--requests", "10"];
    assertEquals((await run(HTTP, "2", "localhost", port, ...args, "--backend", "epoll")).code, 0);
    const { stderr, code } = await run(HTTP, "2", "localhost", port, ...args);
    const why = "--insecure needs --backend epoll: the deno backend always verifies";
    assertEquals([stderr, code], [`error: ${why}\n`, 1]);
  });
});

Deno.test("http_load_test fails when every answer is an error", async () => {
  await withServer(httpServer, undefined, async (port) => {
    const args = ["2", "127.0.0.1", port, "--requests", "10", "--path", "/no"];
    const { code, stdout } = await run(HTTP, ...args);
    assertEquals(code, 1);
    assertStringIncludes(stdout, "10 requests in");
    assertStringIncludes(stdout, "Errors:\n  10 × status 404\n");
  });
});

// ---------------------------------------------------------------- a user's mistakes

for (
  const [name, args, message] of [
    ["too few arguments", ["1", "a"], "give CONNECTIONS HOST PORT [PIPELINE]; see --help"],
    [
      "a host beside --unix",
      ["1", "a", "1", "--unix", "a"],
      "give CONNECTIONS [PIPELINE]; see --help",
    ],
    [
      "a number that is none",
      ["1", "a", "1", "0"],
      'PIPELINE must be a whole number from 1 to 65536, not "0"',
    ],
    [
      "more workers than connections",
      ["1", "a", "1", "--workers", "2"],
      "--workers 2 needs as many connections, not 1",
    ],
    [
      "TLS flags without TLS",
      ["1", "a", "1", "--insecure"],
      "--ca, --insecure and --server-name need --tls",
    ],
    [
      "a path that is none",
      ["1", "a", "1", "--path", "a"],
      '--path must begin with / and have no spaces, not "a"',
    ],
    [
      "a missing CA file",
      ["1", "a", "1", "--tls", "--ca", "/no/ca.pem"],
      "Cannot read the CA certificates /no/ca.pem: No such file or directory",
    ],
  ] as const
) {
  Deno.test(`http_load_test tells ${name} in one line`, async () => {
    const { code, stdout, stderr } = await run(HTTP, ...args);
    const beginning = `error: ${message}`;
    assertEquals([stderr.slice(0, beginning.length), code, stdout], [beginning, 1, ""]);
    assertEquals(stderr.split("\n").length, 2, stderr);
  });
}

Deno.test("tcp_load_test shows its flags with --help", async () => {
  const { code, stdout } = await run(TCP, "--help");
  assertEquals(code, 0);
  const flags = stdout.matchAll(/^ {2}(--[a-z-]+) /gm).map(([, flag]) => flag);
  assertEquals(
    [...flags].join(" "),
    "--size --backend --mode --workers --seconds --requests --timeout --unix --tls --ca " +
      "--insecure --server-name --help",
  );
});

// ---------------------------------------------------------------- what is shown meanwhile

/** What is printed for these reports of two workers. */
function shown(isTerminal: boolean): string {
  let text = "";
  const output = {
    isTerminal: () => isTerminal,
    writeSync(bytes: Uint8Array) {
      text += new TextDecoder().decode(bytes);
      return bytes.length;
    },
  };
  const flags = { connections: 2500, workers: 2 } as LoadFlags;
  const display = new LoadDisplay(flags, "requests", output);
  for (
    const [worker, connected, failed] of [[0, 600, 0], [1, 500, 0], [0, 1240, 10], [1, 1250, 0]]
  ) {
    display.show({ kind: "connecting", connected, failed }, worker);
  }
  display.show({ kind: "rate", rate: 1000.4 }, 1);
  display.show({ kind: "rate", rate: 500 }, 0);
  display.show({ kind: "rate", rate: 700 }, 0); // the other has nothing to tell any more
  const results = new LoadResults().toPlain();
  display.show({ kind: "results", results }, 1);
  display.show({ kind: "results", results }, 0);
  return text.replace(/ in [\d.]+ s/, " in time");
}

Deno.test("LoadDisplay rewrites a line on a terminal", () => {
  assertEquals(
    shown(true),
    [
      "600 / 2,500 connected",
      "1,100 / 2,500 connected",
      "1,740 / 2,500 connected",
      "2,490 of 2,500 connected in time\n",
      "1,500 requests per second\n",
      "700 requests per second\n",
    ].map((line) => `\r\x1b[K${line}`).join(""),
  );
});

Deno.test("LoadDisplay prints a line for each thousand connections elsewhere", () => {
  assertEquals(
    shown(false),
    "1,100 / 2,500 connected\n2,490 of 2,500 connected in time\n" +
      "1,500 requests per second\n700 requests per second\n",
  );
});

Deno.test("describeTarget() tells what is about to be done", () => {
  const flags = { connections: 1000, pipeline: 2, backend: "epoll", workers: 1 } as LoadFlags;
  const load = (target: LoadFlags["target"]) => describeTarget({ ...flags, target }, "messages");
  const rest = "2 messages in flight on each (backend: epoll)";
  assertEquals(load({ host: "::1", port: 1 }), `1,000 connections to [::1]:1, ${rest}`);
  assertEquals(load({ path: "\0a" }), `1,000 connections to @a, ${rest}`);
  const one = { ...flags, target: { host: "a", port: 1 }, connections: 1, pipeline: 1 };
  assertEquals(
    describeTarget({ ...one, workers: 2, isBlocking: true, tls: {} }, "messages"),
    "1 connection to a:1, 1 message in flight on each (backend: epoll, blocking, 2 workers, TLS)",
  );
});
