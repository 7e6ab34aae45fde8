/** The cluster example as a program: from start to Ctrl-C, and a user's mistakes. */
import { assert, assertEquals } from "@std/assert";
import { testCertificates } from "../support/certificates.ts";
import { readAll, writeAll } from "../support/streams.ts";
import { Program, type ProgramResult, runProgram } from "../support/subprocess.ts";
import { epollProgramTest, PERMISSIONS } from "./programs.ts";
import { receive, send } from "./servers.ts";

const CLUSTER = new URL("../../examples/cluster.ts", import.meta.url);
const GET = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const PAGE = "<html><body><h1>Why hello there!</h1></body></html>";
const OK = `HTTP/1.1 200 OK\r\nContent-Length: ${PAGE.length}\r\n\r\n${PAGE}`;

// ---------------------------------------------------------------- from start to Ctrl-C

/** Each way to run a cluster, and what it says of it. */
const WAYS = [
  { args: [], details: "(backend: epoll, 2 workers)" },
  { args: ["--mode", "blocking"], details: "(backend: epoll, blocking, 2 workers)" },
  { args: ["--hand-over"], details: "(backend: epoll, 2 workers); one accepts for all" },
  {
    args: ["--hand-over", "--mode", "blocking"],
    details: "(backend: epoll, blocking, 2 workers); one accepts for all",
  },
] as const;

/** Starts a cluster on a free port. */
async function withCluster(
  args: readonly string[],
  test: (program: Program, port: number, details: string) => Promise<void>,
  stats = "0",
): Promise<void> {
  const program = new Program(CLUSTER, {
    flags: PERMISSIONS,
    args: ["--port", "0", "--stats", stats, ...args],
  });
  try {
    const line = await program.line();
    const [, port, details] = /^Listening on https?:\/\/127\.0\.0\.1:(\d+) (.*)$/.exec(line)!;
    await test(program, Number(port), details);
  } finally {
    await program.kill();
  }
}

/** Interrupts it. */
async function interrupt(program: Program): Promise<void> {
  program.signal("SIGINT");
  assertEquals(await program.line(), "Shutting down, in 5 s at the latest");
}

/** What a line tells of the connections that each worker accepted. */
function accepted(line: string): number[] {
  return [...line.matchAll(/(\d+) accepted/g)].map(([, count]) => Number(count));
}

for (const { args, details } of WAYS) {
  const name = ["cluster", ...args].join(" ");
  const isHandOver = details.endsWith("for all");

  epollProgramTest(`${name} serves every connection, counts right, and drains`, async () => {
    await withCluster(args, async (program, port, told) => {
      assertEquals(told, details);
      const conns = await Promise.all(Array.from({ length: 8 }, () => Deno.connect({ port })));
      for (const conn of conns) {
        await send(conn, GET);
        assertEquals(await receive(conn, OK.length), OK);
      }
      await interrupt(program);
      for (const conn of conns) {
        assertEquals(await conn.read(new Uint8Array(1)), null);
        conn.close();
      }
      const lines = [await program.line(), await program.line()];
      lines.forEach((line, i) => assert(line.startsWith(`worker ${i + 1}: 0 open, `), line));
      const [first, second] = lines.flatMap(accepted);
      assertEquals(first + second, 8);
      if (isHandOver) assertEquals(first, 4);
      assertEquals(
        await program.line(),
        `together: 0 open, 8 accepted, ${8 * GET.length} B in, ${8 * OK.length} B out`,
      );
      assertEquals(await program.ended(), 0);
    });
  });
}

for (const { args } of WAYS.filter(({ details }) => details.includes("blocking"))) {
  const name = ["cluster", ...args].join(" ");
  epollProgramTest(`${name} finishes the answer it has begun when it is interrupted`, async () => {
    await withCluster(args, async (program, port) => {
      const conn = await Deno.connect({ port });
      const requests = new TextEncoder().encode(GET.repeat(500_000)); // more than fits on the way
      const writing = writeAll(conn, requests).then(() => "sent", (error) => error.name);
      // Nobody reads: when it is in the middle of an answer, nothing changes any more.
      let last = "", line = await program.line();
      while (line !== last || !line.includes("MB out")) [last, line] = [line, await program.line()];
      program.signal("SIGINT");
      while (line !== "Shutting down, in 5 s at the latest") line = await program.line();
      const { length } = await readAll(conn);
      assert(length > 0);
      assertEquals(length % OK.length, 0, "an answer was cut");
      // It drops the requests that it has not read: closing at once would reset the connection, and
      // lose what is on the way.
      assertEquals(await writing, "sent");
      conn.close();
      assertEquals(await program.ended(), 0);
    }, "1");
  });
}

epollProgramTest("cluster tells what each worker has done while it runs", async () => {
  await withCluster(["--hand-over", "--workers", "3"], async (program, port) => {
    const conns = [];
    for (let i = 0; i < 6; i++) conns.push(await Deno.connect({ port }));
    let line = "";
    while (accepted(line).join() !== "2,2,2") line = await program.line();
    const row = "2 open, 2 accepted, 0 B in, 0 B out";
    assertEquals(line, `1: ${row} | 2: ${row} | 3: ${row}`);
    for (const conn of conns) conn.close();
  }, "1");
});

epollProgramTest("cluster --hand-over speaks TLS", async () => {
  const { ca, server: { cert, key } } = await testCertificates();
  const directory = await Deno.makeTempDir();
  const [certFile, keyFile] = [`${directory}/cert.pem`, `${directory}/key.pem`];
  await Deno.writeTextFile(certFile, cert);
  await Deno.writeTextFile(keyFile, key);
  const args = ["--hand-over", "--mode", "blocking", "--tls", "--cert", certFile, "--key", keyFile];
  await withCluster(args, async (program, port) => {
    const conns = [];
    for (let i = 0; i < 4; i++) {
      conns.push(await Deno.connectTls({ hostname: "localhost", port, caCerts: [ca] }));
      await send(conns[i], GET);
      assertEquals(await receive(conns[i], OK.length), OK);
    }
    await interrupt(program);
    for (const conn of conns) {
      assertEquals(await conn.read(new Uint8Array(1)), null);
      conn.close();
    }
    const lines = [await program.line(), await program.line()];
    assertEquals(lines.flatMap(accepted), [2, 2]);
    await program.line();
    assertEquals(await program.ended(), 0);
  });
  await Deno.remove(directory, { recursive: true });
});

// ---------------------------------------------------------------- a user's mistakes

const CERTIFICATE = ["--cert", "/no/cert.pem", "--key", "/no/key.pem"];

for (
  const [name, args, message, flags = PERMISSIONS] of [
    [
      "workers on the Deno backend",
      ["--backend", "deno"],
      "--workers 2 needs --backend epoll: " +
      "the deno backend cannot share a port without --unstable-net",
    ],
    [
      "one worker on the Deno backend",
      ["--backend", "deno", "--workers", "1"],
      "a cluster needs --backend epoll: the deno backend shares no port, nor descriptors",
    ],
    [
      "--hand-over on the Deno backend",
      ["--backend", "deno", "--hand-over"],
      "--hand-over needs --backend epoll: the deno backend has no descriptors to hand over",
    ],
    [
      "--hand-over without the net as a whole",
      ["--hand-over"],
      "--hand-over needs --allow-net without a host: a descriptor names none",
      ["--allow-net=127.0.0.1", "--allow-read", "--allow-ffi"],
    ],
    [
      "a missing certificate of --hand-over",
      ["--hand-over", "--tls", ...CERTIFICATE],
      "Cannot read the certificate /no/cert.pem: No such file",
    ],
    [
      "an interval that is no number",
      ["--stats", "x"],
      '--stats must be a whole number from 0 to 86400, not "x"',
    ],
  ] as const
) {
  epollProgramTest(`cluster tells ${name} in one line`, async () => {
    assertMistake(
      await runProgram(CLUSTER, { flags: [...flags], args: ["--port", "0", ...args] }),
      message,
    );
  });
}

for (const args of [[], ["--hand-over"]]) {
  epollProgramTest(["cluster", ...args, "tells a port in use in one line"].join(" "), async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    assertMistake(
      await runProgram(CLUSTER, { flags: PERMISSIONS, args: ["--port", `${port}`, ...args] }),
      `Cannot listen on 127.0.0.1:${port}: Address already in use`,
    );
  });
}

/** One line that begins so, with what the system says at its end, and nothing else. */
function assertMistake({ code, stdout, stderr }: ProgramResult, message: string): void {
  const beginning = `error: ${message}`;
  assertEquals([stderr.slice(0, beginning.length), code, stdout], [beginning, 1, ""]);
  assertEquals(stderr.split("\n").length, 2, stderr);
}
