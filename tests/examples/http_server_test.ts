/** The HTTP server example, in process and with raw peers. */
import { assert, assertEquals } from "@std/assert";
import { denoConn, Loop } from "@usockets/usockets";
import { httpContext, httpServer, program } from "../../examples/http_server.ts";
import { DEFAULT_LIMITS, type HttpLimits } from "../../examples/support/http_limits.ts";
import { type ListenFlags, parseServerFlags } from "../../examples/support/server.ts";
import { readAll, writeAll } from "../support/streams.ts";
import { exchange, receive, send, serverTest } from "./servers.ts";

const PAGE = "<html><body><h1>Why hello there!</h1></body></html>";
const OK = `HTTP/1.1 200 OK\r\nContent-Length: ${PAGE.length}\r\n\r\n`;
const OK_LAST = `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ${PAGE.length}\r\n\r\n`;
const HOST = "Host: localhost\r\n";
const NOT_FOUND = "HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nNot Found\n";
const GET = `GET / HTTP/1.1\r\n${HOST}\r\n`;
const LAST = `GET / HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`;

/** A test that sends requests on one connection; the last must end it. */
function answers(name: string, pieces: string[], expected: string): void {
  serverTest(`http_server ${name}`, httpServer, async ({ connect }) => {
    assertEquals(await exchange(await connect(), ...pieces), expected);
  });
}

function status(line: string, body: string): string {
  return `HTTP/1.1 ${line}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

answers("answers GET / with the page", [LAST], OK_LAST + PAGE);
answers(
  "keeps the connection alive",
  [GET, LAST],
  OK + PAGE + OK_LAST + PAGE,
);
answers(
  "answers pipelined requests in order",
  [`GET / HTTP/1.1\r\n${HOST}\r\nHEAD / HTTP/1.1\r\n${HOST}\r\nGET /no HTTP/1.1\r\n${HOST}\r\n${LAST}`],
  `${OK}${PAGE}${OK}${NOT_FOUND}${OK_LAST}${PAGE}`,
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

answers(
  "answers the requests before garbage",
  [`GET / HTTP/1.1\r\n${HOST}\r\nnonsense\r\n\r\n`],
  OK + PAGE + status("400 Bad Request", "Bad Request\n"),
);

serverTest(
  "http_server answers a long pipeline of a client that then shuts down its side",
  httpServer,
  async ({ connect }) => {
    const conn = await connect();
    const count = 60_000;
    const sent = send(conn, GET.repeat(count)).then(() => conn.closeWrite());
    const answer = await readAll(conn);
    await sent;
    conn.close();
    assertEquals(answer.length, count * (OK.length + PAGE.length));
  },
);

serverTest(
  "http_server keeps the halves of requests on several connections apart",
  httpServer,
  async ({ connect }) => {
    const conns = [await connect(), await connect(), await connect()];
    const [first, second, garbled] = conns;
    // The answer to what comes before a half tells that the half was parsed.
    await send(first, GET + "GET /no HT");
    assertEquals(await receive(first, (OK + PAGE).length), OK + PAGE);
    await send(
      second,
      `HEAD / HTTP/1.1\r\n${HOST}\r\nHEAD / HTTP/1.1\r\n${HOST}Content-Length: 3\r\n\r\n1`,
    );
    assertEquals(await receive(second, OK.length), OK);
    assertEquals(await exchange(garbled, "?\r\n"), status("400 Bad Request", "Bad Request\n"));
    const whole = await connect();
    await send(whole, GET);
    assertEquals(await receive(whole, (OK + PAGE).length), OK + PAGE);
    assertEquals(await exchange(first, `TP/1.1\r\n${HOST}\r\n${LAST}`), NOT_FOUND + OK_LAST + PAGE);
    assertEquals(await exchange(second, `23${LAST}`), OK + OK_LAST + PAGE);
    assertEquals(await exchange(whole, LAST), OK_LAST + PAGE);
  },
);

serverTest(
  "http_server keeps nothing for a connection between requests",
  httpServer,
  async ({ connect, listener }) => {
    const conn = await connect();
    await send(conn, GET);
    await receive(conn, (OK + PAGE).length);
    assertEquals(listener.context.head!.ext, null);
    await send(conn, GET + "GET / ");
    await receive(conn, (OK + PAGE).length);
    assert(listener.context.head!.ext !== null);
    await send(conn, `HTTP/1.1\r\n${HOST}\r\n`);
    await receive(conn, (OK + PAGE).length);
    assertEquals(listener.context.head!.ext, null);
    conn.close();
  },
);

serverTest(
  "http_server answers through connections that take few bytes at a time",
  httpServer,
  async ({ connect, listener, drain, loop }) => {
    const { context } = listener;
    const { onOpen } = context;
    context.onOpen = (socket, isClient, ip) => {
      const { write } = socket;
      socket.write = (data) => {
        const written = write.call(socket, data.slice(0, 50));
        if (written < data.length) setTimeout(() => context.onWritable!(socket));
        return written;
      };
      onOpen!.call(context, socket, isClient, ip);
    };
    const body = `GET / HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc`;
    const answer = await exchange(await connect(), GET + body + LAST);
    assertEquals(answer, `${OK}${PAGE}HTTP/1.1 100 Continue\r\n\r\n${OK}${PAGE}${OK_LAST}${PAGE}`);
    const refused = status("400 Bad Request", "Bad Request\n");
    assertEquals(await exchange(await connect(), "?"), refused);
    const conn = await connect();
    await send(conn, GET + GET);
    assertEquals(await receive(conn, 2 * (OK + PAGE).length), OK + PAGE + OK + PAGE);
    drain();
    const ended = loop.shutdown({ graceSeconds: 60 });
    assertEquals(await conn.read(new Uint8Array(1)), null);
    conn.close();
    await ended;
  },
);

serverTest(
  "http_server ends its idle connections when it drains",
  httpServer,
  async ({ connect, drain, loop }) => {
    const idle = await connect();
    await send(idle, GET);
    await receive(idle, (OK + PAGE).length);
    const half = await connect();
    await send(half, GET + "GET ");
    await receive(half, (OK + PAGE).length);
    drain();
    const ended = loop.shutdown({ graceSeconds: 60 });
    for (const conn of [idle, half]) {
      assertEquals(await conn.read(new Uint8Array(1)), null);
      conn.close();
    }
    await ended;
  },
);

serverTest(
  "http_server ends a connection behind the answer it has begun when it drains",
  httpServer,
  async ({ connect, drain, loop, listener }) => {
    const full = Promise.withResolvers<void>();
    const { context } = listener;
    const { onData } = context;
    context.onData = (socket, data) => {
      onData!.call(context, socket, data);
      if ((socket.ext as { unsent: unknown } | null)?.unsent) full.resolve();
    };
    const conn = await connect();
    const requests = new TextEncoder().encode(GET.repeat(10_000));
    let isFull = false;
    const flood = async () => {
      while (!isFull) await writeAll(conn, requests);
    };
    const flooding = flood().catch(() => {}); // the server ends with requests unread
    await full.promise;
    isFull = true;
    drain();
    const ended = loop.shutdown({ graceSeconds: 60 });
    const { length } = await readAll(conn);
    assert(length > 0);
    assertEquals(length % (OK + PAGE).length, 0, "an answer was cut");
    await flooding;
    conn.close();
    await ended;
  },
);

// ---------------------------------------------------------------- limits

function limited(limits: Partial<HttpLimits>) {
  return (loop: Loop, flags: ListenFlags) =>
    httpServer(loop, flags, { ...DEFAULT_LIMITS, ...limits });
}

serverTest(
  "http_server ends a request that takes too long, however steadily its bytes come",
  limited({ requestSeconds: 0.05 }),
  async ({ connect }) => {
    const conn = await connect();
    await send(conn, `POST / HTTP/1.1\r\n${HOST}Content-Length: 1000000000\r\n\r\n`);
    let hasEnded = false;
    const drip = async () => {
      while (!hasEnded) await send(conn, "x");
    };
    const dripping = drip().catch(() => {}); // the server has closed the connection meanwhile
    assertEquals(await conn.read(new Uint8Array(1)), null);
    hasEnded = true;
    await dripping;
    conn.close();
  },
  { timeoutGranularityMs: 10 },
);

serverTest(
  "http_server ends a connection that is idle for too long",
  limited({ idleSeconds: 0.05 }),
  async ({ connect }) => {
    const silent = await connect();
    assertEquals(await readAll(silent), new Uint8Array());
    silent.close();
  },
  { timeoutGranularityMs: 10 },
);

serverTest(
  "http_server gives each request its own time, and none for its later bytes",
  limited({ idleSeconds: 30, requestSeconds: 20 }),
  async ({ connect, listener }) => {
    const { context } = listener;
    const { onOpen, onData } = context;
    const set: (number | string)[] = [];
    const received = new ReadableStream<void>({
      start(controller) {
        context.onData = (socket, data) => {
          set.push(new TextDecoder().decode(data).slice(-6));
          onData!.call(context, socket, data);
          controller.enqueue();
        };
      },
    }).getReader();
    context.onOpen = (socket, isClient, ip) => {
      socket.timeout = (seconds) => void set.push(seconds);
      onOpen!.call(context, socket, isClient, ip);
    };
    const conn = await connect();
    for (
      const piece of ["GET /a", " HTTP/", `1.1\r\n${HOST}\r\nGET /b`, ` HTTP/1.1\r\n${HOST}\r\n`]
    ) {
      await send(conn, piece);
      await received.read();
    }
    conn.close();
    const last = "host\r\n\r\n".slice(-6);
    assertEquals(set, [30, "GET /a", 20, " HTTP/", "GET /b", 20, last, 30]);
  },
);

serverTest(
  "http_server lets so many in, and the next one when one is gone",
  limited({ maxConnections: 1 }),
  async ({ connect, loop }) => {
    const first = await connect();
    const second = await connect();
    await send(second, LAST);
    for (let i = 0; i < 10; i++) {
      await send(first, GET);
      await receive(first, (OK + PAGE).length);
    }
    assertEquals(loop.stats().accepted, 1);
    first.close();
    assertEquals(new TextDecoder().decode(await readAll(second)), OK_LAST + PAGE);
    second.close();
  },
);

Deno.test("http_server has its limits by flags", () => {
  const flags = "--idle-timeout 1 --request-timeout 2 --handshake-timeout 3 --max-connections 4";
  const given = parseServerFlags(flags.split(" "), program.options)!.more;
  assertEquals(given, {
    idleSeconds: 1,
    requestSeconds: 2,
    handshakeSeconds: 3,
    maxConnections: 4,
  });
  assertEquals(parseServerFlags([], program.options)!.more, DEFAULT_LIMITS);
  using loop = new Loop({ backend: denoConn });
  assertEquals(httpContext(loop, {}, given).context.handshakeTimeoutMs, 3000);
});
