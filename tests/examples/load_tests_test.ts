/** The load tests, in process: what they send, count, and make of servers that misbehave. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import {
  type BackendFactory,
  denoConn,
  epoll,
  type Handlers,
  Loop,
  type Socket,
} from "@usockets/usockets";
import { echoServer } from "../../examples/echo_server.ts";
import { program as httpLoad } from "../../examples/http_load_test.ts";
import { httpServer } from "../../examples/http_server.ts";
import type { LoadReport } from "../../examples/support/load_client.ts";
import { type LoadFlags, parseLoadFlags, shareOf } from "../../examples/support/load_flags.ts";
import { LoadResults } from "../../examples/support/load_results.ts";
import type { LoadTest } from "../../examples/support/load_test.ts";
import type { ListenFlags, Listening } from "../../examples/support/server.ts";
import { program as tcpLoad } from "../../examples/tcp_load_test.ts";
import { timeoutsOf } from "../support/fake_loop.ts";
import { nativeTest, runLoop } from "../support/native.ts";
import { serverTest } from "./servers.ts";

// deno-lint-ignore no-explicit-any -- either load test
type AnyLoadTest = LoadTest<any, any>;

/** A load that has begun. */
interface RunningLoad {
  readonly reports: LoadReport[];
  readonly results: Promise<LoadResults>;
  stop(): void;
}

function begin(
  program: AnyLoadTest,
  loop: Loop,
  args: (string | number)[],
  changes: Partial<LoadFlags> = {},
): RunningLoad {
  const flags = { ...parseLoadFlags(args.map(String), program.options)!, ...changes };
  const reports: LoadReport[] = [];
  const { promise, resolve } = Promise.withResolvers<LoadResults>();
  const { stop } = program.start(loop, flags, () => {}, (report) => {
    const told = structuredClone(report) as LoadReport; // as between threads
    reports.push(told);
    if (told.kind !== "results") return;
    const results = new LoadResults();
    results.add(told.results);
    resolve(results);
  });
  return { reports, results: promise, stop };
}

function load(
  program: AnyLoadTest,
  loop: Loop,
  ...args: (string | number)[]
): Promise<LoadResults> {
  return begin(program, loop, args).results;
}

function assertCounts(results: LoadResults, answers: number, errors: [string, number][] = []) {
  const { latencyCount } = results;
  assertEquals([results.answers, latencyCount, [...results.errors]], [answers, answers, errors]);
}

/** A server of these handlers. */
function server<S>(handlers: Handlers<S> & { socketExt: () => S }) {
  return (loop: Loop, { host, port }: ListenFlags): Listening => ({
    listener: loop.createContext(handlers).listen({ host, port }),
    drain: () => {},
  });
}

/** A server that answers the requests of each connection, counted from 1, as the function says. */
function scripted(answer: (socket: Socket<{ count: number }>, count: number) => void) {
  return server({
    socketExt: () => ({ count: 0 }),
    onData: (socket) => answer(socket, ++socket.ext.count),
  });
}

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab";

// ---------------------------------------------------------------- messages that are echoed

for (
  const [what, connections, pipeline, size, requests] of [
    ["messages one at a time", 3, 1, 1024, 100],
    ["a pipeline of messages", 2, 7, 1000, 1000],
    ["messages of one byte", 2, 100, 1, 1000],
    ["messages larger than any buffer", 2, 3, 4 << 20, 8],
  ]
) {
  serverTest(`tcp_load_test sends ${what}`, echoServer, async ({ loop, listener }) => {
    const where = [connections, "127.0.0.1", listener.port, pipeline];
    const args = [...where, "--size", size, "--requests", requests];
    const results = await load(tcpLoad, loop, ...args);
    assertCounts(results, requests as number);
    assert(results.latencyAt(50) > 0 && results.latencyAt(50) <= results.latencyAt(100));
  });
}

const BAD = "bad bytes: not what was sent";

/** An echo server that changes a byte, given how many came before it on the connection. */
function garbled(change: (byte: number, before: number) => number) {
  return server({
    socketExt: () => ({ count: 0 }),
    onData: (socket, data) =>
      void socket.write(data.map((byte) => change(byte, socket.ext.count++))),
  });
}

serverTest(
  "tcp_load_test sees one wrong bit, and goes on with another connection",
  garbled((byte, before) => before === 2999 ? byte ^ 1 : byte),
  async ({ loop, listener }) => {
    const args = [1, "127.0.0.1", listener.port, "--requests", 5, "--size", 1000];
    assertCounts(await load(tcpLoad, loop, ...args), 5, [[BAD, 2]]);
  },
);

serverTest(
  "tcp_load_test sees a message that came twice in place of the next",
  (loop, { host, port }) => {
    const context = loop.createContext({
      socketExt: () => ({ first: 0 }),
      onData(socket, data) {
        if (socket.ext.first === 0) socket.ext.first = data[0];
        socket.write(new Uint8Array([socket.ext.first]).subarray(0, data.length));
      },
    });
    return { listener: context.listen({ host, port }), drain() {} };
  },
  async ({ loop, listener }) => {
    const args = [1, "127.0.0.1", listener.port, "--requests", 1000, "--size", 1, "--seconds", 0];
    const run = begin(tcpLoad, loop, args);
    const { errors } = await run.results;
    assert(errors.get(BAD)! > 0);
  },
);

serverTest("tcp_load_test sees the message of another connection", (loop, { host, port }) => {
  const sockets: Socket[] = [];
  const context = loop.createContext({
    onOpen: (socket) => void sockets.push(socket),
    onData: (socket, data) => void sockets[1 - sockets.indexOf(socket)].write(data),
  });
  return { listener: context.listen({ host, port }), drain() {} };
}, async ({ loop, listener }) => {
  const args = [2, "127.0.0.1", listener.port, "--requests", 4];
  const results = await load(tcpLoad, loop, ...args);
  assertEquals([results.answers, results.errors.get(BAD)! > 0], [0, true]);
});

// ---------------------------------------------------------------- HTTP

for (const [pipeline, requests] of [[1, 100], [16, 1000]]) {
  serverTest(
    `http_load_test counts responses, ${pipeline} in flight`,
    httpServer,
    async ({ loop, listener }) => {
      const args = [3, "127.0.0.1", listener.port, pipeline, "--requests", requests];
      assertCounts(await load(httpLoad, loop, ...args), requests);
    },
  );
}

serverTest("http_load_test counts error statuses", httpServer, async ({ loop, listener }) => {
  const args = [2, "127.0.0.1", listener.port, "--requests", 10, "--path", "/no"];
  const results = await load(httpLoad, loop, ...args);
  assertCounts(results, 10, [["status 404", 10]]);
  assertEquals(results.refusals, 10);
});

serverTest(
  "http_load_test asks for the path of the host",
  server({
    socketExt: () => null,
    onData(socket, data) {
      const body = new TextDecoder().decode(data).replaceAll("\r\n", "|");
      const status = body === `GET /a?b HTTP/1.1|Host: 127.0.0.1:${socket.localPort}||` ? 200 : 400;
      socket.write(`HTTP/1.1 ${status} x\r\nContent-Length: 0\r\n\r\n`);
    },
  }),
  async ({ loop, listener }) => {
    const args = [1, "127.0.0.1", listener.port, "--requests", 2, "--path", "/a?b"];
    assertCounts(await load(httpLoad, loop, ...args), 2);
  },
);

serverTest(
  "http_load_test opens connections again that the server announced to close",
  scripted((socket, count) => {
    socket.write(count === 1 ? OK : OK.replace("\r\n", "\r\nConnection: close\r\n"));
    if (count === 2) socket.end();
  }),
  async ({ loop, listener }) => {
    const accepted = loop.stats().accepted;
    const args = [2, "127.0.0.1", listener.port, "--requests", 20];
    assertCounts(await load(httpLoad, loop, ...args), 20);
    assert(loop.stats().accepted - accepted >= 10);
  },
);

Deno.test("http_load_test ignores what comes behind the last answer", () => {
  const receiver = httpLoad.options.createReceiver(undefined!, 0, new LoadResults());
  const last = OK.replace("\r\n", "\r\nConnection: close\r\n");
  const receive = (text: string) => receiver.receive(new TextEncoder().encode(text));
  assertEquals([receive(OK + last + "x"), receive("x"), receiver.problem], [2, 0, ""]);
});

serverTest(
  "http_load_test reads bodies that only the end ends",
  scripted((socket) => {
    socket.write("HTTP/1.1 200 OK\r\n\r\nhello");
    socket.end();
  }),
  async ({ loop, listener }) => {
    const args = [2, "127.0.0.1", listener.port, "--requests", 6];
    assertCounts(await load(httpLoad, loop, ...args), 6);
  },
);

serverTest(
  "http_load_test counts unannounced ends, and sends once more what is lost",
  scripted((socket, count) => {
    if (count <= 3) socket.write(OK);
    else socket.end();
  }),
  async ({ loop, listener }) => {
    const args = [1, "127.0.0.1", listener.port, "--requests", 10];
    assertCounts(await load(httpLoad, loop, ...args), 10, [["closed by the server", 3]]);
  },
);

serverTest(
  "http_load_test gives up connections that never gave an answer, and ends when none is left",
  scripted((socket) => socket.end()),
  async ({ loop, listener }) => {
    const args = [3, "127.0.0.1", listener.port, "--seconds", 0];
    assertCounts(await load(httpLoad, loop, ...args), 0, [["closed by the server", 3]]);
  },
);

serverTest(
  "http_load_test hands what one connection lost to one that has nothing to do",
  (loop, { host, port }) => {
    let first: Socket | null = null, other: Socket | null = null;
    const context = loop.createContext({
      onData(socket) {
        // Of two requests the second goes unanswered, when nothing is left to be begun.
        if (first === null) first = socket;
        else if (other === null) {
          other = socket;
          first.write(OK);
          socket.end();
        } else socket.write(OK);
      },
    });
    return { listener: context.listen({ host, port }), drain() {} };
  },
  async ({ loop, listener }) => {
    const args = [2, "127.0.0.1", listener.port, "--requests", 2];
    assertCounts(await load(httpLoad, loop, ...args), 2, [["closed by the server", 1]]);
  },
);

serverTest(
  "http_load_test counts bad bytes",
  scripted((socket) => socket.write("220 smtp.example.com\r\n")),
  async ({ loop, listener }) => {
    const args = [2, "127.0.0.1", listener.port, "--requests", 2];
    const errors: [string, number][] = [["bad bytes: no HTTP/1 response", 2]];
    assertCounts(await load(httpLoad, loop, ...args), 0, errors);
  },
);

serverTest(
  "http_load_test counts answers to nothing",
  scripted((socket) => socket.write(OK + OK)),
  async ({ loop, listener }) => {
    const args = [2, "127.0.0.1", listener.port, "--requests", 2];
    assertCounts(await load(httpLoad, loop, ...args), 0, [["an answer to nothing", 2]]);
  },
);

// ---------------------------------------------------------------- how connections come and go

serverTest(
  "a load begins when all connections are open, and tells how many are",
  scripted((socket) => {
    const { connected } = socket.context.loop.stats();
    socket.write(OK.replace("200", connected === 300 ? "200" : "500"));
  }),
  async ({ loop, listener }) => {
    const run = begin(httpLoad, loop, [300, "127.0.0.1", listener.port, "--requests", 300]);
    assertCounts(await run.results, 300);
    const connecting = run.reports.filter(({ kind }) => kind === "connecting");
    assertEquals(
      connecting,
      [100, 200, 300].map((connected) => ({ kind: "connecting", connected, failed: 0 })),
    );
  },
);

serverTest("a load tells its rate by the timeout of one socket", httpServer, async (server) => {
  const { loop, listener } = server;
  const run = begin(httpLoad, loop, [4, "127.0.0.1", listener.port, "--seconds", 0]);
  const clients = [...loop.contexts].find((context) => context !== listener.context)!;
  const reporter = () => {
    const armed = [];
    for (let socket = clients.head; socket !== null; socket = socket.next) {
      if (timeoutsOf(socket).short !== Infinity) armed.push(socket);
    }
    assertEquals(armed.length, 1);
    return armed[0];
  };
  const received = clients.onData!;
  const seen = Promise.withResolvers<void>();
  clients.onData = (socket, data) => {
    received.call(clients, socket, data);
    seen.resolve();
  };
  await seen.promise;
  const first = reporter();
  clients.onTimeout!(first);
  assertEquals(reporter(), first);
  first.close(); // another takes its place
  clients.onTimeout!(reporter());
  run.stop();
  await run.results;
  const rates = run.reports.filter((report) => report.kind === "rate");
  assertEquals([rates.length, rates[0].rate > 0], [2, true]);
});

serverTest("a load ends after --seconds", httpServer, async ({ loop, listener }) => {
  const where = [2, "127.0.0.1", listener.port];
  const { results } = begin(httpLoad, loop, where, { seconds: 0.05 });
  const { answers, seconds, bytesIn } = await results;
  assert(answers > 0 && bytesIn > 0);
  assert(seconds >= 0.049, `after ${seconds} s`);
});

serverTest(
  "a load that is stopped while it connects has no answers",
  httpServer,
  async (server) => {
    const run = begin(httpLoad, server.loop, [2, "127.0.0.1", server.listener.port]);
    run.stop();
    assertCounts(await run.results, 0);
  },
);

serverTest("a load looks up a name once", httpServer, async ({ loop, listener }) => {
  const run = begin(httpLoad, loop, [3, "localhost", listener.port, "--requests", 30]);
  const { context } = listener;
  const connected = loop.stats().connected;
  const clients = [...loop.contexts].find((other) => other !== context)!;
  const { connect } = clients;
  const hosts: unknown[] = [];
  clients.connect = (options) => {
    hosts.push(options.host);
    return connect.call(clients, options);
  };
  assertCounts(await run.results, 30);
  assertEquals([hosts, loop.stats().connected - connected], [["127.0.0.1", "127.0.0.1"], 3]);
});

/** Registers a test with a loop of its own on each backend. */
function loopTest(name: string, test: (loop: Loop) => Promise<void>): void {
  const run = async (backend: BackendFactory) => {
    using loop = new Loop({ backend, timeoutGranularityMs: 10 });
    await test(loop);
  };
  Deno.test(`${name} (deno)`, () => run(denoConn));
  nativeTest(`${name} (epoll)`, () => run(epoll));
}

loopTest("a load counts connections that are refused, and ends", async (loop) => {
  const closed = loop.createContext().listen({ host: "127.0.0.1", port: 0 });
  closed.close();
  await closed.closed;
  const { results } = begin(httpLoad, loop, [5, "127.0.0.1", closed.port, "--seconds", 0]);
  await runLoop(loop);
  const { errors } = await results;
  assertEquals([...errors.values()], [5]);
  assertMatch([...errors.keys()][0], /^Cannot connect to 127\.0\.0\.1:\d+: Connection refused/);
});

loopTest("a load counts servers that are silent for too long", async (loop) => {
  const listener = loop.createContext({ onEnd: (socket) => socket.close() })
    .listen({ host: "127.0.0.1", port: 0 });
  const where = [2, "127.0.0.1", listener.port, "--seconds", 0];
  const { results } = begin(httpLoad, loop, where, { timeoutSeconds: 0.01 });
  results.then(() => listener.close());
  await runLoop(loop);
  assertCounts(await results, 0, [["timeout: no answer", 2]]);
});

loopTest("a load runs over a unix socket", async (loop) => {
  const path = `\0usockets load test ${crypto.randomUUID()}`;
  const listener = loop.createContext({ onData: (socket, data) => void socket.write(data) })
    .listen({ path });
  const args = [2, 3, "--unix", path.replace("\0", "@"), "--requests", 100];
  const { results } = begin(tcpLoad, loop, args);
  results.then(() => listener.close());
  await runLoop(loop);
  assertCounts(await results, 100);
});

serverTest(
  "a load awaits answers only where messages are in flight",
  scripted((socket) => {
    let guarded = 0;
    for (const { head } of socket.context.loop.contexts) {
      for (let other = head; other !== null; other = other.next) {
        if (timeoutsOf(other).long !== Infinity) guarded++;
      }
    }
    socket.write(OK.replace("200", guarded === 1 ? "200" : "500"));
  }),
  async ({ loop, listener }) => {
    const args = [3, "127.0.0.1", listener.port, "--requests", 1];
    assertCounts(await load(httpLoad, loop, ...args), 1);
  },
);

for (const event of ["onOpen", "onData"] as const) {
  serverTest(
    `a load counts a TLS handshake that the server ends in ${event} once`,
    server({ socketExt: () => null, [event]: (socket: Socket) => socket.end() }),
    async ({ loop, listener }) => {
      const { results } = begin(httpLoad, loop, [3, "127.0.0.1", listener.port, "--tls"]);
      const { answers, errors } = await results;
      assertEquals([answers, [...errors.values()]], [0, [3]]);
    },
  );
}

nativeTest("a load counts connections that the server resets", async () => {
  using loop = new Loop({ backend: epoll });
  const context = loop.createContext({ onData: (socket) => socket.reset() });
  const listener = context.listen({ host: "127.0.0.1", port: 0 });
  const { results } = begin(tcpLoad, loop, [2, "127.0.0.1", listener.port, "--requests", 5]);
  results.then(() => listener.close());
  await runLoop(loop);
  const { answers, errors } = await results;
  assertEquals([answers, [...errors.values()]], [0, [2]]);
  assertMatch([...errors.keys()][0], /reset/i);
});

// ---------------------------------------------------------------- results

Deno.test("parseLoadFlags() limits the time where nothing else does", () => {
  const secondsOf = (...args: string[]) =>
    parseLoadFlags(["1", "a", "1", ...args], httpLoad.options)!.seconds;
  assertEquals(secondsOf(), 10);
  assertEquals(secondsOf("--requests", "1"), 0);
  assertEquals(secondsOf("--requests", "1", "--seconds", "3"), 3);
});

Deno.test("shareOf() gives every worker its part", () => {
  const args = ["10", "a", "1", "--workers", "4", "--requests", "1001"];
  const flags = parseLoadFlags(args, httpLoad.options)!;
  const shares = [0, 1, 2, 3].map((worker) => shareOf(flags, worker));
  assertEquals(shares.map((share) => share.connections), [2, 2, 3, 3]);
  assertEquals(shares.map((share) => share.requests), [250, 250, 250, 251]);
});

Deno.test("LoadResults of several loops are put together", () => {
  const all = new LoadResults();
  for (const [seconds, latencies] of [[1, [1, 2, 3]], [2, [0.0101, 70_000]], [0, []]] as const) {
    const results = new LoadResults();
    for (const ms of latencies) results.recordLatency(ms);
    results.answers = latencies.length;
    results.bytesIn = 1_000_000;
    results.seconds = seconds;
    results.failed("once");
    if (seconds === 2) results.failed("more than once");
    if (seconds === 2) results.refused("more than once");
    all.add(structuredClone(results.toPlain()));
  }
  assertEquals(
    all.describe("requests").split("\n"),
    [
      "5 requests in 2.00 s: 3 per second, 1.50 MB/s received",
      "Latency: p50 2.00 ms, p90 70.06 s, p99 70.06 s, p99.9 70.06 s, max 70.06 s",
      "Errors:",
      "  3 × once",
      "  2 × more than once",
    ],
  );
  assertEquals(all.refusals, 1);
  assertEquals(all.latencyAt(20).toPrecision(3), "0.0101");
});
