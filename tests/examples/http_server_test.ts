/** The HTTP server example, in process and with raw peers. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { denoConn, Loop } from "@usockets/usockets";
import { httpServer } from "../../examples/http_server.ts";
import { echoServer } from "../../examples/echo_server.ts";
import { pattern, readAll, sha256, writeAll } from "../support/streams.ts";

const PAGE = "<html><body><h1>Why hello there!</h1></body></html>";
const OK = `HTTP/1.1 200 OK\r\nContent-Length: ${PAGE.length}\r\n\r\n`;
const OK_LAST = `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${PAGE.length}\r\n\r\n`;
const HOST = "Host: localhost\r\n";
const LAST = `GET / HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;

/** Runs a server for the length of a test. */
async function withServer(
  start: typeof httpServer,
  test: (connect: () => Promise<Deno.TcpConn>, drain: () => void, loop: Loop) => Promise<void>,
): Promise<void> {
  using loop = new Loop();
  const flags = { host: "127.0.0.1", port: 0, backend: denoConn, tls: undefined };
  const { listener, drain } = start(loop, flags);
  const running = loop.run();
  try {
    await test(() => Deno.connect({ port: listener.port }), drain, loop);
  } finally {
    await loop.shutdown({ graceSeconds: 0 });
    await running;
  }
}

/** Sends the text, piece by piece, and reads until the server ends. */
async function exchange(conn: Deno.Conn, ...pieces: string[]): Promise<string> {
  for (const piece of pieces) await writeAll(conn, new TextEncoder().encode(piece));
  const answer = new TextDecoder().decode(await readAll(conn));
  conn.close();
  return answer;
}

/** A test that sends requests on one connection; the last must end it. */
function answers(name: string, pieces: string[], expected: string): void {
  Deno.test(`http_server ${name}`, () =>
    withServer(httpServer, async (connect) => {
      assertEquals(await exchange(await connect(), ...pieces), expected);
    }));
}

function status(line: string, body: string): string {
  return `HTTP/1.1 ${line}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

answers("answers GET / with the page", [LAST], OK_LAST + PAGE);
answers(
  "keeps the connection alive",
  [`GET / HTTP/1.1\r\n${HOST}\r\n`, LAST],
  OK + PAGE + OK_LAST + PAGE,
);
answers(
  "answers pipelined requests in order",
  [`GET / HTTP/1.1\r\n${HOST}\r\nHEAD / HTTP/1.1\r\n${HOST}\r\nGET /no HTTP/1.1\r\n${HOST}\r\n${LAST}`],
  `${OK}${PAGE}${OK}HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nNot Found\n${OK_LAST}${PAGE}`,
);
answers("answers a request that comes byte by byte", [...LAST], OK_LAST + PAGE);
answers(
  "skips a Content-Length body",
  [`GET / HTTP/1.1\r\n${HOST}Content-Length: 10\r\n\r\n01234`, `56789${LAST}`],
  OK + PAGE + OK_LAST + PAGE,
);
answers(
  "skips a chunked body",
  [`GET / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n${LAST}`],
  OK + PAGE + OK_LAST + PAGE,
);
answers(
  "answers 100 Continue before the body",
  [`GET / HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n`, `abc${LAST}`],
  `HTTP/1.1 100 Continue\r\n\r\n${OK}${PAGE}${OK_LAST}${PAGE}`,
);
answers(
  "answers 405 with Allow",
  [`DELETE / HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`],
  "HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\nConnection: close\r\nContent-Length: 19\r\n\r\n" +
    "Method Not Allowed\n",
);
answers(
  "answers 400 for garbage and closes",
  ["\x16\x03\x01garbage\r\n\r\n"],
  status("400 Bad Request", "Bad Request\n"),
);
answers(
  "answers 400 without a Host",
  ["GET / HTTP/1.1\r\n\r\n"],
  status("400 Bad Request", "Bad Request\n"),
);
answers(
  "answers 431 for an oversized head",
  [`GET / HTTP/1.1\r\n${HOST}X: ${"x".repeat(17_000)}\r\n\r\n`],
  status("431 Request Header Fields Too Large", "Request Header Fields Too Large\n"),
);
answers(
  "closes after HTTP/1.0, or keeps it alive when asked",
  [`GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n`, "GET / HTTP/1.0\r\n\r\n"],
  `HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 51\r\n\r\n${PAGE}${OK_LAST}${PAGE}`,
);

Deno.test("http_server answers the requests before garbage", () =>
  withServer(httpServer, async (connect) => {
    const answer = await exchange(await connect(), `GET / HTTP/1.1\r\n${HOST}\r\nnonsense\r\n\r\n`);
    assertEquals(answer, OK + PAGE + status("400 Bad Request", "Bad Request\n"));
  }));

Deno.test("http_server answers a long pipeline of a client that then shuts down its side", () =>
  withServer(httpServer, async (connect) => {
    const conn = await connect();
    const count = 60_000;
    const sent = writeAll(
      conn,
      new TextEncoder().encode(`GET / HTTP/1.1\r\n${HOST}\r\n`.repeat(count)),
    )
      .then(() => conn.closeWrite());
    const answer = await readAll(conn);
    await sent;
    conn.close();
    assertEquals(answer.length, count * (OK.length + PAGE.length));
  }));

Deno.test("http_server ends its idle connections when it drains", () =>
  withServer(httpServer, async (connect, drain, loop) => {
    const conn = await connect();
    await writeAll(conn, new TextEncoder().encode(`GET / HTTP/1.1\r\n${HOST}\r\n`));
    await conn.read(new Uint8Array(1000));
    drain();
    const ended = loop.shutdown({ graceSeconds: 60 });
    assertEquals(await conn.read(new Uint8Array(1)), null);
    conn.close();
    await ended;
  }));

Deno.test("echo_server gives everything back to a slow reader", () =>
  withServer(echoServer, async (connect) => {
    const conn = await connect();
    const bytes = pattern(4 << 20);
    const sent = writeAll(conn, bytes).then(() => conn.closeWrite());
    const answer = await readAll(conn);
    await sent;
    conn.close();
    assertEquals(sha256(answer), sha256(bytes));
  }));

/** Runs an example as a user would. */
async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-net", "--allow-read", "examples/http_server.ts", ...args],
    env: { NO_COLOR: "1" },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

for (
  const [name, args, message] of [
    ["an unknown flag", ["--prot", "1"], "error: Unknown option '--prot'; see --help"],
    [
      "a port that is no number",
      ["--port", "x"],
      'error: --port must be a whole number from 0 to 65535, not "x"',
    ],
    [
      "a backend that is not there yet",
      ["--backend", "epoll"],
      "error: --backend epoll is not there yet; deno is",
    ],
    [
      "an unknown backend",
      ["--backend", "x"],
      "error: --backend must be deno, epoll or auto, not x",
    ],
    [
      "a mode that is not there yet",
      ["--mode", "blocking"],
      "error: --mode blocking is not there yet: the deno backend cannot block, epoll will",
    ],
    [
      "several workers",
      ["--workers", "2"],
      "error: --workers 2 is not there yet: the deno backend cannot share a port, epoll will",
    ],
    ["--tls without a certificate", ["--tls"], "error: --tls needs --cert and --key"],
    [
      "a missing certificate file",
      ["--tls", "--cert", "/no/cert.pem", "--key", "/no/key.pem"],
      "error: Cannot read the certificate /no/cert.pem: No such file or directory (os error 2): readfile '/no/cert.pem'",
    ],
    [
      "a certificate that is none",
      ["--tls", "--cert", "deno.json", "--key", "deno.json"],
      "error: Cannot read the certificate deno.json: no valid PEM",
    ],
    [
      "an address that is not this machine's",
      ["--host", "192.0.2.1"],
      "error: Cannot listen on 192.0.2.1:3000: Cannot assign requested address",
    ],
  ] as const
) {
  Deno.test(`http_server tells ${name} in one line`, async () => {
    const { code, stdout, stderr } = await run(...args);
    assertEquals(stderr.trimEnd().split("\n").length, 1, stderr);
    assertStringIncludes(stderr, message);
    assertEquals([code, stdout], [1, ""]);
  });
}

Deno.test("http_server tells a port in use in one line", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { code, stderr } = await run("--port", String(listener.addr.port));
  assertEquals([code, stderr.trimEnd()], [
    1,
    `error: Cannot listen on 127.0.0.1:${listener.addr.port}: Address already in use (os error 98)`,
  ]);
});

Deno.test("http_server shows its flags with --help", async () => {
  const { code, stdout } = await run("--help");
  assertEquals(code, 0);
  for (
    const flag of [
      "--host",
      "--port",
      "--backend",
      "--mode",
      "--tls",
      "--cert",
      "--key",
      "--workers",
    ]
  ) {
    assertStringIncludes(stdout, flag);
  }
});

Deno.test("http_server shuts down gracefully on SIGINT", async () => {
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "--allow-net",
      "--allow-read",
      "examples/http_server.ts",
      "--port",
      "0",
    ],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let output = "";
  while (!output.includes("\n")) output += (await reader.read()).value ?? "";
  const [, port] = /^Listening on http:\/\/127\.0\.0\.1:(\d+) \(backend: deno\)\n$/.exec(output)!;
  const conn = await Deno.connect({ port: Number(port) });
  await writeAll(conn, new TextEncoder().encode(`GET / HTTP/1.1\r\n${HOST}\r\n`));
  await conn.read(new Uint8Array(1000));
  child.kill("SIGINT");
  assertEquals(await conn.read(new Uint8Array(1)), null);
  conn.close();
  assertEquals((await child.status).code, 0);
  for (let read = await reader.read(); !read.done; read = await reader.read()) output += read.value;
  assertStringIncludes(output, "Shutting down, in 5 s at the latest\n");
});
