/** connect(), listen(), and the types that Deno's own code sees. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  CloseCode,
  denoConn,
  epoll,
  Loop,
  type Socket,
  type SocketContext,
} from "@usockets/usockets";
import {
  connect,
  listen,
  type SocketConn,
  type SocketListener,
  toConn,
} from "@usockets/usockets/streams";
import { PAUSED } from "../../src/socket_state.ts";
import { connTest, dial, encode, outcome, readText, socketClosed, turn } from "../support/conns.ts";
import { testCertificates } from "../support/certificates.ts";
import { HangingPort } from "../support/hanging_port.ts";
import { pattern, readAll, sha256, writeAll } from "../support/streams.ts";

/** Code that knows Deno's own interfaces only. */
async function echoOf(conn: Deno.Conn, bytes: Uint8Array): Promise<Uint8Array> {
  const written = writeAll(conn, bytes).then(() => conn.closeWrite());
  const answer = await readAll(conn);
  await written;
  conn.close();
  return answer;
}

async function serveEcho(listener: Deno.Listener): Promise<void> {
  for await (const conn of listener) {
    conn.readable.pipeTo(conn.writable).catch(() => {});
  }
}

connTest("code written for Deno.Conn and Deno.Listener works on both", async (t) => {
  const serving = serveEcho(t.listener);
  const bytes = pattern(3 << 20);
  const conn = await connect(t.clientContext, t.addressOf(t.listener.socket));
  assertEquals(sha256(await echoOf(conn, bytes)), sha256(bytes));
  t.listener.close();
  await serving;
});

connTest("addresses are those of Deno's own", async (t) => {
  const { client, server, listener } = t;
  if (t.transport.isUnix) {
    const { host } = listener.socket;
    const named = { transport: "unix", path: host }, unnamed = { transport: "unix", path: "" };
    assertEquals<unknown[]>([listener.addr, client.remoteAddr, server.localAddr], [
      named,
      named,
      named,
    ]);
    assertEquals<unknown[]>([client.localAddr, server.remoteAddr], [unnamed, unnamed]);
  } else {
    const { port } = listener.socket;
    const at = { transport: "tcp", hostname: "127.0.0.1", port };
    assertEquals<unknown[]>([listener.addr, client.remoteAddr, server.localAddr], [at, at, at]);
    assertEquals(client.localAddr, server.remoteAddr);
  }
  await server.closeWrite();
});

connTest("setNoDelay() and setKeepAlive() are those of the socket", async ({ client, server }) => {
  client.setNoDelay();
  client.setKeepAlive(false);
  await client.write(encode("x"));
  assertEquals(await readText(server), "x");
}, ({ name }) => name !== "deno tls");

// ---------------------------------------------------------------- connect()

connTest("connect() rejects with what onConnectError would get", async (t) => {
  t.listener.close();
  await t.listener.socket.closed;
  const expected = t.transport.isUnix ? "NotFound" : "ConnectionRefused";
  const address = t.addressOf(t.listener.socket);
  assertEquals(await outcome(connect(t.clientContext, address)), expected);
  assertEquals(await outcome(connect(t.clientContext, {})), "TypeError");
});

connTest("connect() calls no handler of its context", async (t) => {
  const context = t.loop.createContext({
    tls: t.clientTls,
    socketExt: () => {
      throw new Error("socketExt");
    },
    onOpen: () => {
      throw new Error("onOpen");
    },
  });
  using conn = await connect(context, t.addressOf(t.listener.socket));
  await conn.write(encode("x"));
});

connTest("connect() takes an AbortSignal", async (t) => {
  using hanging = await HangingPort.open();
  const address = { host: "127.0.0.1", port: hanging.port };
  const open = t.loop.stats().open;
  const controller = new AbortController();
  const aborted = connect(t.clientContext, { ...address, signal: controller.signal });
  await turn();
  const reason = new Error("changed my mind");
  controller.abort(reason);
  assertEquals(await aborted.catch((error) => error), reason);
  const { signal } = controller;
  assertEquals(await connect(t.clientContext, { ...address, signal }).catch((e) => e), reason);
  assertEquals(t.loop.stats().open, open);
}, ({ isUnix }) => !isUnix);

connTest("connect() that is aborted just when it is done rejects, and closes", async (t) => {
  const controller = new AbortController();
  const { signal } = controller;
  const reason = new Error("too late");
  const { open } = t.loop.stats();
  let asked = 0;
  signal.throwIfAborted = () => { // asked before it connects, and when it has
    if (++asked === 2) controller.abort(reason);
    if (signal.aborted) throw reason;
  };
  const connecting = connect(t.clientContext, { ...t.addressOf(t.listener.socket), signal });
  assertEquals(await connecting.catch((error) => error), reason);
  (await t.listener.accept()).close();
  while (t.loop.stats().open > open) await turn();
});

connTest("connect() forgets its AbortSignal when it is done", async (t) => {
  const controller = new AbortController();
  const address = t.addressOf(t.listener.socket);
  const conn = await connect(t.clientContext, { ...address, signal: controller.signal });
  controller.abort();
  await conn.write(encode("x"));
  assertEquals(await readText(await t.listener.accept()), "x");
});

connTest("connect() ends with its loop", async (t) => {
  using hanging = await HangingPort.open();
  const pending = outcome(connect(t.clientContext, { port: hanging.port }));
  await turn();
  t.loop.free();
  assertEquals(await pending, "Interrupted");
  assertEquals(await outcome(connect(t.loop, { port: hanging.port })), "BadResource");
}, ({ isUnix }) => !isUnix);

connTest("connect() gives up behind timeoutSeconds", async (t) => {
  using hanging = await HangingPort.open();
  const { port } = hanging;
  const pending = connect(t.clientContext, { port, timeoutSeconds: 0.02 });
  await assertRejects(() => pending, Deno.errors.TimedOut);
}, ({ isUnix }) => !isUnix);

connTest("socket.timeout() fails a Conn that still connects with TimedOut", async (t) => {
  using hanging = await HangingPort.open();
  const conn = toConn(t.clientContext.connect({ port: hanging.port }) as Socket);
  conn.socket.timeout(0.02);
  await assertRejects(() => conn.read(new Uint8Array(1)), Deno.errors.TimedOut);
  await assertRejects(() => conn.closeWrite(), Deno.errors.TimedOut);
}, ({ isUnix }) => !isUnix);

// ---------------------------------------------------------------- TLS

connTest("handshake() tells both ends what TLS agreed on", async ({ client, server }) => {
  const both = await Promise.all([client.handshake(), server.handshake()]);
  assertEquals(both.map(({ alpnProtocol }) => alpnProtocol), [null, null]);
  assertEquals(await client.handshake(), client.socket.tls);
}, ({ isTls }) => isTls);

connTest("handshake() of a plain socket rejects", async ({ client }) => {
  await assertRejects(() => client.handshake(), TypeError);
}, ({ isTls }) => !isTls);

connTest("a server that is not trusted fails handshake(), reads, writes and streams", async (t) => {
  const { otherCa } = await testCertificates();
  const context = t.loop.createContext({ tls: { ca: otherCa, serverName: "localhost" } });
  const conn = await connect(context, t.addressOf(t.listener.socket));
  const pending = [
    conn.handshake(),
    conn.read(new Uint8Array(1)),
    conn.write(pattern(1 << 20)),
    conn.readable.getReader().closed,
    conn.writable.getWriter().closed,
  ].map((promise) => (promise as Promise<unknown>).catch((error) => error));
  const reasons = await Promise.all(pending);
  assert(reasons[0] instanceof Error);
  for (const reason of reasons) assertEquals(reason, reasons[0]); // the same object
  assertEquals(await conn.handshake().catch((error) => error), reasons[0]);
}, ({ isTls }) => isTls);

connTest("toConn() and connect() keep the context's handshakeTimeoutSeconds", async (t) => {
  const silent = listen(t.loop, { host: "127.0.0.1", port: 0 });
  const context = t.loop.createContext({ tls: { ...t.clientTls, handshakeTimeoutSeconds: 0.02 } });
  const conn = await connect(context, { port: silent.addr.port });
  await assertRejects(() => conn.read(new Uint8Array(1)), Deno.errors.TimedOut);
  silent.close();
}, ({ isTls }) => isTls);

// ---------------------------------------------------------------- listen()

connTest("accept() gives connections that came before it, in their order", async (t) => {
  const clients: SocketConn[] = [];
  for (const text of ["first", "second", "third"]) {
    const client = await connect(t.clientContext, t.addressOf(t.listener.socket)) as SocketConn;
    await client.write(encode(text));
    clients.push(client);
  }
  while (t.loop.stats().open < 8) await turn();
  for (const text of ["first", "second", "third"]) {
    assertEquals(await readText(await t.listener.accept()), text);
  }
});

connTest("a connection that nobody accepts reads nothing", async (t) => {
  const client = await connect(t.clientContext, t.addressOf(t.listener.socket));
  while (t.loop.stats().open < 4) await turn();
  const before = t.loop.stats().bytesIn;
  const written = client.write(pattern(16 << 20));
  const conn = await t.listener.accept();
  assertEquals(t.loop.stats().bytesIn, before);
  assertEquals(conn.socket.flags & PAUSED, 0);
  await conn.readable.cancel();
  await written;
});

connTest("close() of a listener ends what waits for it", async (t) => {
  const waiting = await connect(t.clientContext, t.addressOf(t.listener.socket));
  while (t.loop.stats().open < 4) await turn();
  t.listener.close();
  assertThrows(() => t.listener.close(), Deno.errors.BadResource);
  t.listener[Symbol.dispose]();
  assertEquals(await outcome(t.listener.accept()), "BadResource");
  const end = await outcome(waiting.read(new Uint8Array(1)));
  assert(end === null || typeof end === "string");
  await t.client.write(encode("accepted before"));
  assertEquals(await readText(t.server), "accepted before");
});

connTest("close() of a listener rejects a pending accept()", async ({ listener }) => {
  const accepts = [listener.accept(), listener.accept()].map(outcome);
  listener.close();
  assertEquals(await Promise.all(accepts), ["BadResource", "BadResource"]);
});

connTest("loop.shutdown() and loop.free() end an iteration", async (t) => {
  const others = [t.address(), t.address()].map((at) =>
    listen(t.serverContext, at) as SocketListener
  );
  const count = async (listener: SocketListener) => {
    let conns = 0;
    for await (const _ of listener) conns++;
    return conns;
  };
  const first = count(others[0]);
  const shutdown = t.loop.shutdown({ graceSeconds: 60 });
  assertEquals(await first, 0);
  t.loop.free();
  await shutdown;
  assertEquals(await count(others[1]), 0);
});

connTest("leaving an iteration closes the listener", async (t) => {
  const context = t.serverContext;
  const listener = listen(context, t.address()) as SocketListener;
  const client = connect(t.clientContext, t.addressOf(listener.socket));
  for await (const conn of listener) {
    await (await client).write(encode("x"));
    assertEquals(await readText(conn), "x");
    break;
  }
  assertThrows(() => listener.close(), Deno.errors.BadResource);
  await listener.socket.closed;
});

connTest("listen() that throws leaves nothing behind", (t) => {
  const contexts = t.loop.contexts.size;
  const { host, port } = t.listener.socket;
  const taken = t.transport.isUnix ? { path: host } : { host, port };
  assertThrows(() => listen(t.serverContext, taken), Deno.errors.AddrInUse);
  assertEquals(t.loop.contexts.size, contexts);
  assertThrows(() => t.listener.unref(), Deno.errors.NotSupported);
  t.listener.ref();
  return Promise.resolve();
});

connTest("listen() asks onPreOpen of its context", async (t) => {
  let asked = 0;
  t.serverContext.onPreOpen = () => ++asked > 0;
  const { client, server } = await dial(t);
  await client.write(encode("x"));
  assertEquals([await readText(server), asked], ["x", 1]);
});

connTest("a connection that fails before accept() is forgotten", async (t) => {
  const client = await connect(t.clientContext, t.addressOf(t.listener.socket));
  while (t.loop.stats().open < 4) await turn();
  const context = [...t.loop.contexts].find(({ listeners }) => listeners.size > 0)!;
  const waiting = context.head!;
  waiting.terminate(CloseCode.Reset, new Error("gone"));
  await socketClosed(waiting);
  client.close();
  const { client: second, server } = await dial(t);
  await second.write(encode("second"));
  assertEquals(await readText(server), "second");
});

// ---------------------------------------------------------------- types

Deno.test("types: Conns and listeners are assignable to Deno's own", async () => {
  using loop = new Loop({ backend: denoConn });
  // deno-lint-ignore no-constant-condition -- checked by the compiler, and never run
  if (false) {
    const tcp: Deno.TcpConn = await connect(loop, { port: 1 });
    const tls: Deno.TlsConn = await connect(loop, { host: "localhost", port: 1 });
    const unix: Deno.UnixConn = await connect(loop, { path: "/socket" });
    const any: Deno.Conn = (tcp as unknown) as SocketConn;
    const tcpListener: Deno.TcpListener = listen(loop, { port: 0 });
    const tlsListener: Deno.TlsListener = listen(loop, { port: 0 });
    const unixListener: Deno.UnixListener = listen(loop, { path: "/socket" });
    const anyListener: Deno.Listener = listen(loop, { port: 0 });
    void [tls, unix, any, tcpListener, tlsListener, unixListener, anyListener];
    // @ts-expect-error: a path is no port
    const wrong: Deno.TcpConn = await connect(loop, { path: "/socket" });
    void wrong;
  }
});

connTest("onServerName is asked for connections that accept() waits for, too", async (t) => {
  const { server, otherHost, ca } = await testCertificates();
  const asked: string[] = [];
  const context = t.loop.createContext({
    tls: server,
    onServerName(context, hostname) {
      asked.push(hostname);
      context.addServerName(hostname, otherHost);
    },
  });
  using listener = listen(context as SocketContext, { host: "127.0.0.1", port: 0 });
  const client = t.loop.createContext({ tls: { ca, serverName: "other.test" } });
  const [accepted, conn] = await Promise.all([
    listener.accept(), // waits before the client comes
    connect(client as SocketContext, { port: listener.addr.port }),
  ]);
  await conn.handshake();
  assertEquals(asked, ["other.test"]);
  for (const one of [accepted, conn]) one.close();
}, (transport) => transport.backend === epoll && transport.isTls);
