// Conns that the Deno backend takes over: adopted ones, and plain ones that go over to TLS.
import { assert, assertEquals, assertThrows } from "@std/assert";
import { CloseCode, Loop, type Socket } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { concat, writeAll } from "../support/streams.ts";

const strict = { sanitizeOps: true, sanitizeResources: true };

const hostname = "127.0.0.1";
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

// ---------------------------------------------------------------- adoptHandle()

/** Adopts one end of a connection, sees it echo to the other, and returns the events in order. */
async function adopt(near: Deno.Conn, far: Deno.Conn): Promise<string[]> {
  const events: string[] = [];
  const loop = new Loop();
  const context = loop.createContext({
    socketExt: () => "ext",
    onOpen(opened, isClient, ip) {
      events.push(`open ${isClient} ${ip}`);
      assert(opened === socket && opened.nativeHandle === near);
      assertEquals([opened.ext, opened.remoteAddress], ["ext", ip]);
    },
    onHandshake: () => void events.push("handshake"),
    onData: (socket, data) => void socket.write(data),
    onEnd(socket) {
      events.push("end");
      socket.end();
    },
    onClose: (_socket, code) => void events.push(`close ${code}`),
  });
  const socket: Socket = context.adoptHandle(near);
  assertEquals([socket.isEstablished, events.length], [false, 0]);
  await far.write(new TextEncoder().encode("echo"));
  assertEquals(events, [], "an event before run()");
  const run = loop.run();
  assertEquals(events, [], "an event from inside run()");
  const answer = new Uint8Array(4);
  await far.read(answer);
  assertEquals(text(answer), "echo");
  await far.closeWrite();
  assertEquals(await far.read(answer), null);
  await run;
  assertEquals([loop.stats().accepted, loop.stats().open], [1, 0]);
  loop.free();
  far.close();
  return events;
}

Deno.test("adoptHandle() takes a TCP Conn of either side", strict, async () => {
  for (const isAccepted of [true, false]) {
    using listener = Deno.listen({ hostname, port: 0 });
    const dialed = await Deno.connect({ hostname, port: listener.addr.port });
    const accepted = await listener.accept();
    const events = isAccepted ? await adopt(accepted, dialed) : await adopt(dialed, accepted);
    assertEquals(events, ["open false 127.0.0.1", "end", "close 0"]);
  }
});

Deno.test("adoptHandle() takes a unix Conn", strict, async () => {
  const directory = Deno.makeTempDirSync();
  const path = `${directory}/x.sock`;
  const listener = Deno.listen({ transport: "unix", path });
  const dialed = await Deno.connect({ transport: "unix", path });
  const accepted = await listener.accept();
  listener.close();
  assertEquals(await adopt(accepted, dialed), ["open false ", "end", "close 0"]);
  Deno.removeSync(directory);
});

Deno.test("adoptHandle() takes a TlsConn of either side", strict, async () => {
  const { ca, server } = await testCertificates();
  for (const isAccepted of [true, false]) {
    using listener = Deno.listenTls({ hostname, port: 0, ...server });
    const options = { hostname, port: listener.addr.port, caCerts: [ca] };
    const [dialed, accepted] = await Promise.all([Deno.connectTls(options), listener.accept()]);
    const events = isAccepted ? await adopt(accepted, dialed) : await adopt(dialed, accepted);
    assertEquals(events, ["open false 127.0.0.1", "handshake", "end", "close 0"]);
  }
});

Deno.test("adoptHandle() refuses what is no Conn", strict, () => {
  using loop = new Loop();
  const context = loop.createContext();
  const close = () => {};
  for (const handle of [{}, null, undefined, "conn", { close }, new ReadableStream()]) {
    assertThrows(() => context.adoptHandle(handle), TypeError, "Deno.Conn");
  }
  assertEquals([loop.isActive, loop.stats().open], [false, 0]);
});

Deno.test("adoptHandle() refuses a plain Conn in a TLS context", strict, async () => {
  const { server } = await testCertificates();
  using listener = Deno.listen({ hostname, port: 0 });
  const dialed = await Deno.connect({ hostname, port: listener.addr.port });
  const accepted = await listener.accept();
  using loop = new Loop();
  const context = loop.createContext({ tls: server });
  assertThrows(() => context.adoptHandle(accepted), Deno.errors.NotSupported, "epoll");
  assertEquals(loop.isActive, false);
  accepted.close(); // still the caller's
  dialed.close();
});

Deno.test("free() closes an adopted Conn that was never opened", strict, async () => {
  using listener = Deno.listen({ hostname, port: 0 });
  const dialed = await Deno.connect({ hostname, port: listener.addr.port });
  const loop = new Loop();
  loop.createContext({ onOpen: () => assert(false) }).adoptHandle(await listener.accept());
  loop.free();
  assertEquals(await dialed.read(new Uint8Array(1)), null);
  dialed.close();
});

// ---------------------------------------------------------------- STARTTLS

/** What a STARTTLS server saw. */
interface StarttlsServer extends AsyncDisposable {
  readonly port: number;
  /** What came in the clear, and the first byte behind it. */
  readonly plain: Promise<[text: string, next: number]>;
}

/** Copies to the end, which is passed on, or to an error, which a client that went away made. */
async function copy(from: Deno.Conn, to: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(16_384);
  try {
    for (let n = await from.read(buffer); n !== null; n = await from.read(buffer)) {
      await writeAll(to, buffer.subarray(0, n));
    }
    await to.closeWrite();
  } catch { /* gone */ }
}

/**
 * A server that greets in the clear, and from behind the client's first line on speaks TLS, by a
 * relay to a TLS server of Deno's, which gives back what it gets.
 */
async function starttlsServer(): Promise<StarttlsServer> {
  const { server } = await testCertificates();
  const inner = Deno.listenTls({ hostname, port: 0, ...server });
  const outer = Deno.listen({ hostname, port: 0 });
  const { promise: plain, resolve: tellPlain } = Promise.withResolvers<[string, number]>();

  async function echo(): Promise<void> {
    const conn = await inner.accept();
    await copy(conn, conn);
    conn.close();
  }

  async function relay(): Promise<void> {
    const conn = await outer.accept();
    const served = echo();
    await conn.write(new TextEncoder().encode("220 ready\r\n"));
    let received = new Uint8Array(0);
    const buffer = new Uint8Array(16_384);
    let end = -1;
    while (end < 0 || received.length === end) { // the line, and a byte behind it
      const n = await conn.read(buffer);
      if (n === null) break;
      received = concat([received, buffer.slice(0, n)]) as Uint8Array<ArrayBuffer>;
      end = received.indexOf(10) + 1 || -1;
    }
    tellPlain([text(received.subarray(0, end)), received[end]]);
    const tls = await Deno.connect({ hostname, port: inner.addr.port });
    await tls.write(received.subarray(end));
    await Promise.all([copy(conn, tls), copy(tls, conn), served]);
    conn.close();
    tls.close();
  }

  const relayed = relay();
  return {
    port: outer.addr.port,
    plain,
    async [Symbol.asyncDispose]() {
      await relayed;
      inner.close();
      outer.close();
    },
  };
}

Deno.test("upgradeTls() starts TLS behind what was written before", strict, async () => {
  const { ca } = await testCertificates();
  await using server = await starttlsServer();
  const events: string[] = [];
  const loop = new Loop();
  let plain = "", encrypted = "";
  const client = loop.createContext({
    onOpen: (socket) => void events.push(`open ${socket.tls}`),
    onData(socket, data) {
      if (socket.tls !== null) {
        encrypted += text(data);
        if (encrypted === "early late") socket.end();
        return;
      }
      plain += text(data);
      if (plain !== "220 ready\r\n") return;
      socket.write("START");
      socket.write("TLS\r\n");
      socket.upgradeTls({ ca, serverName: "localhost" });
      assertEquals(socket.write("early "), 6);
      events.push(`upgraded ${socket.tls}`);
    },
    onHandshake(socket, info) {
      events.push(`handshake ${info.alpnProtocol}`);
      assertEquals(socket.tls, info);
      socket.write("late");
    },
    onClose: (_socket, code, reason) => void events.push(`close ${code} ${reason}`),
  });
  client.connect({ host: hostname, port: server.port });
  await loop.run();
  loop.free();
  assertEquals(await server.plain, ["STARTTLS\r\n", 0x16]); // a TLS handshake record
  assertEquals([plain, encrypted], ["220 ready\r\n", "early late"]);
  assertEquals(events, ["open null", "upgraded null", "handshake null", "close 0 undefined"]);
});

Deno.test("upgradeTls() verifies the server", strict, async () => {
  const { ca } = await testCertificates();
  await using server = await starttlsServer();
  const events: unknown[] = [];
  const loop = new Loop();
  const client = loop.createContext({
    onData(socket) {
      socket.write("STARTTLS\r\n");
      socket.upgradeTls({ ca, serverName: "other.test" });
    },
    onHandshake: () => void events.push("handshake"),
    onClose(_socket, code, reason) {
      events.push(code, (reason as Error).name);
    },
  });
  client.connect({ host: hostname, port: server.port });
  await loop.run();
  loop.free();
  assertEquals(events, [CloseCode.Tls, "InvalidData"]);
});

Deno.test(
  "upgradeTls() without options takes the TLS of the socket's context",
  strict,
  async () => {
    const { ca } = await testCertificates();
    await using server = await starttlsServer();
    const loop = new Loop();
    let agreed = false;
    // Of another authority, and of another name than the host's.
    const secure = loop.createContext({
      tls: { ca, serverName: "localhost" },
      onHandshake(socket) {
        agreed = true;
        socket.write("early late");
      },
      onData: (socket) => socket.end(),
    });
    const client = loop.createContext({
      onData(socket) {
        socket.write("STARTTLS\r\n");
        secure.adopt(socket).upgradeTls();
      },
    });
    client.connect({ host: hostname, port: server.port });
    await loop.run();
    loop.free();
    assert(agreed);
  },
);

Deno.test("upgradeTls() may be followed by close() at once", strict, async () => {
  const { ca } = await testCertificates();
  using listener = Deno.listen({ hostname, port: 0 });
  const loop = new Loop();
  const codes: number[] = [];
  const client = loop.createContext({
    onData(socket) {
      socket.upgradeTls({ ca, serverName: "localhost" });
      socket.close(7);
    },
    onHandshake: () => assert(false, "onHandshake after close()"),
    onClose: (_socket, code) => void codes.push(code),
  });
  client.connect({ host: hostname, port: listener.addr.port });
  const conn = await listener.accept();
  await conn.write(new Uint8Array(1));
  await loop.run();
  loop.free();
  assertEquals(codes, [7]);
  conn.close(); // Deno leaves TCP open until the peer ends it: see deno_facts_test.ts
});
