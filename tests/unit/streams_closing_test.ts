/** How a Conn ends, by whomever, and how it takes a socket over. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { CloseCode, type Socket } from "@usockets/usockets";
import { type SocketConn, toConn } from "@usockets/usockets/streams";
import { PAUSED } from "../../src/socket_state.ts";
import {
  collect,
  type ConnFixture,
  connTest,
  dial,
  encode,
  outcome,
  readText,
  socketClosed,
  turn,
} from "../support/conns.ts";
import { connectTcp, destroyed, Relay } from "../support/peers.ts";
import { pattern, sha256 } from "../support/streams.ts";
import { modUrl, runProgram } from "../support/subprocess.ts";

const one = () => new Uint8Array(1);

/** A read, a write behind so many that it waits, an end behind it, and two streams that wait. */
function pendingOf(conn: SocketConn): Promise<unknown[]> {
  const reader = conn.readable.getReader();
  const pending = [
    conn.read(one()),
    conn.write(pattern(16 << 20)),
    conn.write(one()),
    conn.closeWrite(),
    reader.closed,
    conn.writable.getWriter().closed,
  ];
  return Promise.all(pending.map(outcome));
}

// ---------------------------------------------------------------- close()

connTest("close() interrupts what is pending", async ({ client }) => {
  const pending = pendingOf(client);
  await turn();
  client.close();
  assertEquals(await pending, [
    ...Array(4).fill("Interrupted"),
    ...Array(2).fill("BadResource"), // as the streams of Deno's own Conn
  ]);
});

connTest("close() makes a BadResource of everything behind it", async ({ client, server }) => {
  await server.write(encode("unread"));
  while (client.socket.context.loop.stats().bytesIn < 6) await turn();
  const { localAddr, remoteAddr } = client;
  client.close();
  const later = [client.read(one()), client.write(one()), client.closeWrite()];
  const stream = client.readable.getReader().read();
  const writer = client.writable.getWriter();
  writer.closed.catch(() => {});
  for (const promise of [...later, stream, writer.write(one())]) {
    assertEquals(await outcome(promise), "BadResource");
  }
  assertThrows(() => client.close(), Deno.errors.BadResource);
  client[Symbol.dispose]();
  client.unref();
  client.ref();
  assertEquals([client.localAddr, client.remoteAddr], [localAddr, remoteAddr]);
});

connTest("close() of a Conn that has ended by itself throws nothing", async (t) => {
  await t.client.closeWrite();
  await t.server.closeWrite();
  assertEquals(await readText(t.client), null);
  await socketClosed(t.client.socket);
  assertEquals(await readText(t.client), null);
  t.client.close();
  assertEquals(await outcome(t.client.read(one())), "BadResource");
});

connTest("using disposes of a Conn", async (t) => {
  {
    using client = t.client;
    await client.write(encode("bye"));
  }
  assert(t.client.socket.isClosed);
  assertEquals([await readText(t.server), await readText(t.server)], ["bye", null]);
});

// ---------------------------------------------------------------- the library closes it

connTest("loop.free() interrupts what is pending", async (t) => {
  const pending = pendingOf(t.server);
  await turn();
  t.loop.free();
  assertEquals(await pending, Array(6).fill("Interrupted"));
  assertEquals(await outcome(t.server.read(one())), "Interrupted");
  t.server.close();
});

connTest("loop.shutdown() lets a Conn end in its time", async (t) => {
  const shutdown = t.loop.shutdown({ graceSeconds: 60 });
  await t.client.write(encode("in time"));
  await t.client.closeWrite();
  assertEquals(await collect(t.server.readable), encode("in time"));
  await t.server.closeWrite();
  await shutdown;
});

connTest("loop.shutdown() ends a Conn behind the grace", async (t) => {
  const read = outcome(t.server.read(one()));
  await t.loop.shutdown({ graceSeconds: 0 });
  assertEquals(await read, "Interrupted");
});

connTest("socket.timeout() fails a Conn with TimedOut", async ({ client }) => {
  const read = outcome(client.read(one()));
  client.socket.timeout(0.01);
  assertEquals([await read, await outcome(client.write(one()))], ["TimedOut", "TimedOut"]);
});

connTest("socket.close() of the program interrupts, or gives the reason", async (t) => {
  const read = outcome(t.client.read(one()));
  t.client.socket.close(4000);
  assertEquals(await read, "Interrupted");
  t.server.socket.close(4000, new RangeError("of the program"));
  await assertRejects(() => t.server.write(one()), RangeError, "of the program");
});

connTest("a reset comes behind the bytes that came before it", async (t) => {
  const dialing = connectTcp((t.listener.addr as Deno.NetAddr).port);
  const conn = await t.listener.accept();
  const peer = await dialing;
  const bytes = pattern(600_000); // more than waits unasked
  await new Promise<void>((resolve) => peer.write(bytes, () => resolve()));
  await destroyed(peer, () => peer.resetAndDestroy());
  const reader = conn.readable.getReader();
  const chunks: Uint8Array[] = [];
  const error = await assertRejects(async () => {
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      chunks.push(chunk.value);
    }
  }, Deno.errors.ConnectionReset);
  // The kernel drops what it holds at a RST: what came is a prefix, and the end is never clean.
  const received = new Uint8Array(await new Blob(chunks as BlobPart[]).arrayBuffer());
  assertEquals(sha256(received), sha256(bytes.subarray(0, received.length)));
  assertEquals(await conn.read(one()).catch((later) => later), error); // the same object
  assertEquals(await conn.write(one()).catch((later) => later), error);
}, ({ isTls, isUnix }) => !isTls && !isUnix);

connTest("bytes that were received before an error are read first", async (t) => {
  await t.client.write(encode("first"));
  while (t.loop.stats().bytesIn < 5) await turn();
  const writing = outcome(t.server.write(pattern(16 << 20)));
  const broken = new Deno.errors.ConnectionReset("broken");
  t.server.socket.terminate(CloseCode.Reset, broken);
  assertEquals(await writing, "ConnectionReset");
  const reader = t.server.readable.getReader();
  assertEquals((await reader.read()).value, encode("first"));
  assertEquals(await reader.read().catch((error) => error), broken);
});

connTest("a TLS stream cut short is UnexpectedEof, behind its bytes", async (t) => {
  const relay = await Relay.start((t.listener.addr as Deno.NetAddr).port);
  const plain = await Deno.connect({ hostname: "127.0.0.1", port: relay.port });
  const started = Deno.startTls(plain, { hostname: "localhost", caCerts: [t.clientTls!.ca!] });
  const conn = await t.listener.accept();
  const peer = await started;
  await peer.write(encode("half a sent"));
  await peer.closeWrite(); // the relay keeps the close_notify for itself
  assertEquals(await readText(conn), "half a sent");
  const read = await outcome(conn.read(one()));
  assert(read !== null, "taken for a clean end");
  assertEquals(await outcome(conn.write(one())), read);
  await relay.finished;
  peer.close();
}, ({ isTls }) => isTls);

// ---------------------------------------------------------------- taking sockets over, and losing them

/** A context whose sockets become Conns in one of its handlers. */
function taking(t: ConnFixture, handler: "onOpen" | "onData" | "onEnd"): Promise<SocketConn> {
  return new Promise((resolve) => {
    const context = t.loop.createContext({
      tls: t.serverTls,
      [handler]: (socket: Socket) => resolve(toConn(socket)),
    });
    const listener = context.listen(t.address());
    const client = t.loop.createContext({
      tls: t.clientTls,
      onOpen: (socket) => void socket.write("hello"),
      onData(socket, data) {
        socket.write(data);
        socket.shutdown();
      },
      onEnd: (socket) => socket.end(),
      onClose: () => listener.close(),
    });
    const socket = client.connect(t.addressOf(listener));
    if (handler === "onEnd") client.onOpen = () => socket.shutdown();
  });
}

connTest("toConn() in onOpen gives all bytes to the Conn", async (t) => {
  const conn = await taking(t, "onOpen");
  assertEquals(await readText(conn), "hello");
  await conn.write(encode("back"));
  await conn.closeWrite();
  assertEquals(await collect(conn.readable), encode("back"));
});

connTest("toConn() in onData leaves those bytes to the caller", async (t) => {
  const conn = await taking(t, "onData");
  await conn.write(encode("back"));
  assertEquals(await readText(conn), "back");
  conn.close();
});

connTest("toConn() in onEnd has nothing to read", async (t) => {
  const conn = await taking(t, "onEnd");
  assertEquals(await readText(conn), null);
  await conn.write(encode("still writing"));
  await conn.closeWrite();
  await socketClosed(conn.socket);
});

connTest("toConn() of a socket that still connects waits", async (t) => {
  const socket = t.clientContext.connect(t.addressOf(t.listener.socket)) as Socket;
  const conn = toConn(socket);
  assertEquals(conn.localAddr, { transport: "tcp", hostname: "", port: 0 });
  const writes = [conn.write(encode("early")), conn.closeWrite()];
  const read = collect(conn.readable);
  const server = await t.listener.accept();
  assertEquals(await readText(server), "early");
  await server.write(encode("late"));
  await server.closeWrite();
  await Promise.all(writes);
  assertEquals(await read, encode("late"));
  assertEquals(conn.localAddr.transport, t.transport.isUnix ? "unix" : "tcp");
});

connTest("toConn() of a socket that cannot connect rejects all", async (t) => {
  const missing = t.transport.isUnix
    ? { path: `${t.listener.socket.host}-missing` }
    : { host: "127.0.0.1", port: 1 };
  const conn = toConn(t.clientContext.connect(missing) as Socket);
  const expected = t.transport.isUnix ? "NotFound" : "ConnectionRefused";
  assertEquals(await pendingOf(conn), Array(6).fill(expected));
});

connTest("toConn() refuses what it cannot take over", ({ client, clientContext, listener }) => {
  assertThrows(() => toConn(client.socket), Deno.errors.Busy);
  client.close();
  assertThrows(() => toConn(client.socket), Deno.errors.BadResource);
  assertThrows(() => toConn({} as Socket), TypeError);
  const address = listener.addr.transport === "unix"
    ? { path: listener.socket.host }
    : { port: listener.socket.port };
  const cancelled = clientContext.connect(address) as Socket;
  cancelled.close();
  assertThrows(() => toConn(cancelled), Deno.errors.BadResource);
  return Promise.resolve();
});

connTest("toConn() ends a pause", async (t) => {
  let conn: SocketConn | undefined;
  const context = t.loop.createContext({
    tls: t.serverTls,
    onOpen(socket) {
      socket.pause();
      conn = toConn(socket as Socket);
    },
  });
  const listener = context.listen(t.address());
  const client = t.loop.createContext({
    tls: t.clientTls,
    onOpen(socket) {
      socket.write("through");
      socket.shutdown();
    },
    onEnd: () => {},
  });
  client.connect(t.addressOf(listener));
  while (conn === undefined) await turn();
  assertEquals(await collect(conn.readable), encode("through"));
});

connTest("a Conn whose socket is adopted keeps what it has, and nothing more", async (t) => {
  const { client, server } = t;
  await client.write(encode("kept"));
  while (t.loop.stats().bytesIn < 4) await turn();
  const writing = outcome(server.write(pattern(16 << 20)));
  const writer = server.writable.getWriter();
  const streams = [outcome(writer.closed)];
  const adopted = new Promise<string>((resolve) => {
    const heir = t.loop.createContext({
      onData: (_socket, data) => resolve(new TextDecoder().decode(data)),
    });
    heir.adopt(server.socket);
  });
  assertEquals([await writing, ...await Promise.all(streams)], ["BadResource", "BadResource"]);
  await client.write(encode("the heir's"));
  assertEquals(await adopted, "the heir's");
  assertEquals(await readText(server), "kept");
  assertEquals(await outcome(server.read(one())), "BadResource");
  assertEquals(await outcome(server.readable.getReader().read()), "BadResource");
  server.close();
  assert(!server.socket.isClosed, "closed a socket of somebody else");
  const again = toConn(server.socket);
  await client.write(encode("and back"));
  assertEquals(await readText(again), "and back");
});

connTest("a Conn that paused its socket hands it on without the pause", async (t) => {
  const bytes = pattern(16 << 20);
  const written = t.client.write(bytes);
  while ((t.server.socket.flags & PAUSED) === 0) await turn();
  const { bytesIn } = t.loop.stats();
  t.loop.createContext({ onData: () => {} }).adopt(t.server.socket);
  assertEquals(await written, bytes.length);
  while (t.loop.stats().bytesIn < bytes.length) await turn();
  assert(bytesIn < bytes.length);
});

// ---------------------------------------------------------------- what keeps the loop running

connTest("a Conn keeps its loop running until both directions are done", async (t) => {
  t.listener.close();
  await t.listener.socket.closed;
  await t.client.closeWrite();
  assertEquals(await readText(t.server), null);
  assert(t.loop.isActive);
  await t.server.closeWrite();
  assertEquals(await readText(t.client), null);
  await socketClosed(t.client.socket);
  assert(!t.loop.isActive);
});

connTest("unref() lets the loop end, ref() takes that back, and closing keeps count", async (t) => {
  t.listener.close();
  await t.listener.socket.closed;
  for (const conn of [t.client, t.server]) {
    conn.unref();
    conn.unref();
  }
  assert(!t.loop.isActive);
  t.client.ref();
  t.client.ref();
  assert(t.loop.isActive);
  await t.client.write(encode("moves"));
  assertEquals(await readText(t.server), "moves");
  t.client.unref();
  t.server.close(); // releases what it does not hold
  while (t.loop.isActive) await turn(); // a close_notify goes out
  t.loop.createContext().adopt(t.client.socket);
  assert(t.loop.isActive, "the heir relies on a loop that runs");
  t.client.ref();
  t.client.socket.close();
  while (t.loop.isActive) await turn();
});

connTest("an unref()'d Conn still has timeouts", async (t) => {
  t.listener.close();
  await t.listener.socket.closed;
  t.client.socket.timeout(0.02);
  t.server.unref();
  t.client.unref();
  assertEquals(await outcome(t.client.read(one())), "TimedOut");
});

connTest("an unref()'d Conn is freed with its loop", async (t) => {
  t.client.unref();
  t.server.unref();
  const read = outcome(t.client.read(one()));
  t.loop.free();
  assertEquals(await read, "Interrupted");
});

for (const backend of ["denoConn", "epoll"]) {
  const ignore = backend === "epoll" && Deno.build.os !== "linux";
  Deno.test(`unref() lets the process end on ${backend}`, { ignore }, async () => {
    const { code, stdout, stderr } = await runProgram(`
      import { ${backend}, Loop } from "${modUrl}";
      import { connect, listen } from "${new URL("../../src/streams.ts", import.meta.url)}";
      const loop = new Loop({ backend: ${backend} });
      const listener = listen(loop, { host: "127.0.0.1", port: 0 });
      const ended = loop.run();
      const conns = await Promise.all([
        connect(loop, { port: listener.addr.port }),
        listener.accept(),
      ]);
      conns[1].read(new Uint8Array(1)).catch(() => {});
      for (const conn of conns) conn.unref();
      listener.close();
      await ended;
      console.log("ended", conns[0].socket.isClosed);
    `);
    assertEquals({ code, stdout }, { code: 0, stdout: "ended false\n" }, stderr);
  });
}

connTest("a Conn among many fails alone", async (t) => {
  const other = await dial(t);
  await outcome(t.client.writable.abort(new Error("mine")));
  await other.client.write(encode("unharmed"));
  assertEquals(await readText(other.server), "unharmed");
});

connTest("closeWrite() of a Conn that still connects sends the end when it is open", async (t) => {
  const where = t.addressOf(t.listener.socket);
  for (const write of [false, true]) {
    const client = toConn(t.clientContext.connect(where) as Socket);
    const written = write ? client.write(encode("first")) : null;
    const ended = client.closeWrite();
    assertEquals(await outcome(client.write(one())), "BrokenPipe");
    const server = await t.listener.accept();
    assertEquals(new TextDecoder().decode(await collect(server.readable)), write ? "first" : "");
    await ended;
    await written;
    await server.write(encode("last"));
    await server.closeWrite();
    assertEquals(await collect(client.readable), encode("last"));
    await socketClosed(client.socket);
  }
});
