/** The examples as programs: what a user types, reads, and ends with Ctrl-C. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { program as httpProgram } from "../../examples/http_server.ts";
import { STOP } from "../../examples/support/orders.ts";
import { startHere } from "../../examples/support/program.ts";
import { parseServerFlags } from "../../examples/support/server.ts";
import { nativeTest } from "../support/native.ts";
import { Program, type ProgramResult, runProgram } from "../support/subprocess.ts";
import { PERMISSIONS, programTest } from "./programs.ts";
import { exchange, receive, send } from "./servers.ts";

const HTTP_SERVER = new URL("../../examples/http_server.ts", import.meta.url);
const ECHO_SERVER = new URL("../../examples/echo_server.ts", import.meta.url);
const GET = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LAST = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

// ---------------------------------------------------------------- a user's mistakes

function run(args: readonly string[], flags = PERMISSIONS): Promise<ProgramResult> {
  return runProgram(HTTP_SERVER, { flags, args: [...args] });
}

/** One line that begins so, with what the system says at its end, and nothing else. */
function assertMistake({ code, stdout, stderr }: ProgramResult, message: string): void {
  const beginning = `error: ${message}`;
  assertEquals([stderr.slice(0, beginning.length), code, stdout], [beginning, 1, ""]);
  assertEquals(stderr.split("\n").length, 2, stderr);
}

const NO_SUCH_ADDRESS = "Cannot listen on 192.0.2.1:0: Cannot assign requested address";
const CERTIFICATE = ["--cert", "/no/cert.pem", "--key", "/no/key.pem"];

for (
  const [name, args, message] of [
    ["an unknown flag", ["--prot", "1"], "Unknown option '--prot'; see --help"],
    [
      "a port that is no number",
      ["--port", "x"],
      '--port must be a whole number from 0 to 65535, not "x"',
    ],
    [
      "an unknown backend",
      ["--backend", "toString"],
      "--backend must be deno, epoll or auto, not toString",
    ],
    ["an unknown mode", ["--mode", "x"], "--mode must be run or blocking, not x"],
    [
      "a mode that the backend has not",
      ["--mode", "blocking"],
      "--mode blocking needs --backend epoll: the deno backend cannot block",
    ],
    [
      "no workers",
      ["--workers", "0"],
      '--workers must be a whole number from 1 to 1024, not "0"',
    ],
    [
      "more workers than the backend can have",
      ["--workers", "2"],
      "--workers 2 needs --backend epoll: " +
      "the deno backend cannot share a port without --unstable-net",
    ],
    [
      "a timeout that is none",
      ["--request-timeout", "0"],
      '--request-timeout must be a whole number from 1 to 86400, not "0"',
    ],
    ["--tls without a certificate", ["--tls"], "--tls needs --cert and --key"],
    ["a certificate without --tls", CERTIFICATE, "--cert, --key and --passphrase need --tls"],
    [
      "a missing certificate file",
      ["--tls", ...CERTIFICATE],
      "Cannot read the certificate /no/cert.pem: No such file or directory",
    ],
    [
      "a certificate that is none",
      ["--tls", "--cert", "deno.json", "--key", "deno.json"],
      "Cannot read the certificate deno.json: no valid PEM",
    ],
    [
      "a certificate on epoll that is none",
      ["--backend", "epoll", "--tls", "--cert", "deno.json", "--key", "deno.json"],
      "Cannot read the certificate deno.json: no valid PEM",
    ],
    [
      "a missing certificate of workers",
      ["--backend", "epoll", "--workers", "2", "--tls", ...CERTIFICATE],
      "Cannot read the certificate /no/cert.pem: No such file",
    ],
    [
      "an address that is not this machine's",
      ["--host", "192.0.2.1", "--port", "0"],
      NO_SUCH_ADDRESS,
    ],
    [
      "an address that is not this machine's to a blocking loop",
      ["--host", "192.0.2.1", "--port", "0", "--backend", "epoll", "--mode", "blocking"],
      NO_SUCH_ADDRESS,
    ],
  ] as const
) {
  programTest(`http_server tells ${name} in one line`, args, async () => {
    assertMistake(await run(args), message);
  });
}

for (const args of [[], ["--backend", "epoll", "--mode", "blocking", "--workers", "3"]]) {
  programTest(`http_server ${args.join(" ")} tells a port in use in one line`, args, async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    const message = `Cannot listen on 127.0.0.1:${port}: Address already in use`;
    assertMistake(await run(["--port", `${port}`, ...args]), message);
  });
}

programTest("http_server tells a missing --allow-ffi in one line", ["epoll"], async () => {
  assertMistake(
    await run(["--backend", "epoll"], ["--allow-net", "--allow-read"]),
    "Cannot use the epoll backend: requires ffi access",
  );
});

Deno.test("http_server shows its flags with --help", async () => {
  const { code, stdout } = await run(["--help"]);
  assertEquals(code, 0);
  const flags = stdout.matchAll(/^ {2}(--[a-z-]+) /gm).map(([, flag]) => flag);
  assertEquals(
    [...flags].join(" "),
    "--host --port --backend --mode --tls --cert --key --passphrase --workers " +
      "--idle-timeout --request-timeout --handshake-timeout --max-connections --help",
  );
});

// ---------------------------------------------------------------- from start to Ctrl-C

/** Each way to run a server, and what it says of it. */
const WAYS = [
  ["deno", []],
  ["epoll", ["--backend", "epoll"]],
  ["epoll", ["--backend", "auto"]],
  ["epoll, blocking", ["--backend", "epoll", "--mode", "blocking"]],
  ["epoll, 3 workers", ["--backend", "epoll", "--workers", "3"]],
  ["epoll, blocking, 2 workers", ["--backend", "auto", "--mode", "blocking", "--workers", "2"]],
] as const;

/** Starts a server on a free port; it must say that it listens, and how. */
async function withProgram(
  source: URL,
  scheme: string,
  details: string,
  args: readonly string[],
  test: (program: Program, port: number) => Promise<void>,
  flags = PERMISSIONS,
): Promise<void> {
  const program = new Program(source, { flags, args: ["--port", "0", ...args] });
  try {
    const line = await program.line();
    const port = Number(/:(\d+) /.exec(line)?.[1]);
    assertEquals(line, `Listening on ${scheme}://127.0.0.1:${port} (backend: ${details})`);
    await test(program, port);
  } finally {
    await program.kill();
  }
}

/** Connections that were answered once, and stay. */
async function connectAll(port: number, count: number): Promise<Deno.TcpConn[]> {
  const conns = await Promise.all(Array.from({ length: count }, () => Deno.connect({ port })));
  for (const conn of conns) {
    await send(conn, GET);
    assertStringIncludes(await receive(conn, 90), "200 OK");
  }
  return conns;
}

/** Sends a signal, and awaits that the server tells so and ends the connections, which stay open. */
async function assertDrains(program: Program, conns: Deno.Conn[], signal: Deno.Signal) {
  program.signal(signal);
  assertEquals(await program.line(), "Shutting down, in 5 s at the latest");
  for (const conn of conns) assertEquals(await conn.read(new Uint8Array(1)), null);
}

for (const [details, args] of WAYS) {
  const name = ["http_server", ...args].join(" ");

  programTest(`${name} serves, and shuts down gracefully on SIGINT`, args, async () => {
    await withProgram(HTTP_SERVER, "http", details, args, async (program, port) => {
      const conns = await connectAll(port, 8);
      assertStringIncludes(await exchange(await Deno.connect({ port }), LAST), "Why hello there!");
      await assertDrains(program, conns, "SIGINT");
      for (const conn of conns) conn.close();
      assertEquals(await program.ended(), 0);
    });
  });

  programTest(`${name} ends at once at the second signal`, args, async () => {
    await withProgram(HTTP_SERVER, "http", details, args, async (program, port) => {
      const conns = await connectAll(port, 4);
      await assertDrains(program, conns, "SIGTERM"); // and waits, as they do not end their side
      program.signal("SIGINT");
      assertEquals(await program.ended(), 130);
      for (const conn of conns) conn.close();
    });
  });

  programTest(["echo_server", ...args].join(" ") + " echoes until SIGTERM", args, async () => {
    await withProgram(ECHO_SERVER, "tcp", details, args, async (program, port) => {
      const conn = await Deno.connect({ port });
      await send(conn, "hello");
      assertEquals(await receive(conn, 5), "hello");
      await assertDrains(program, [conn], "SIGTERM");
      conn.close();
      assertEquals(await program.ended(), 0);
    });
  });
}

nativeTest("--mode blocking gives the thread to the loop until it is woken up to stop", () => {
  const args = ["--port", "0", "--backend", "epoll", "--mode", "blocking"];
  const flags = parseServerFlags(args, httpProgram.options)!;
  const server = startHere(httpProgram, flags, { orders: Int32Array.of(STOP) });
  server.loop.createTimer({ fallthrough: true }).set(() => server.loop.wakeup(), 1);
  server.run();
  assert(server.loop.isFreed, "run() returned before the loop had ended");
});

programTest("http_server --workers: each worker listens on the port", ["epoll"], async () => {
  const args = ["--backend", "epoll", "--workers", "3"];
  await withProgram(HTTP_SERVER, "http", "epoll, 3 workers", args, async (_program, port) => {
    const address = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")} 00000000:0000 0A`;
    assertEquals((await Deno.readTextFile("/proc/net/tcp")).split(address).length - 1, 3);
  });
});

programTest("http_server --backend auto is deno without --allow-ffi", ["auto"], async () => {
  const flags = ["--allow-net", "--allow-read"];
  await withProgram(HTTP_SERVER, "http", "deno", ["--backend", "auto"], async (_program, port) => {
    assertStringIncludes(await exchange(await Deno.connect({ port }), LAST), "200 OK");
  }, flags);
});
