// What a review found broken once, where only the Deno backend shows it: each test is named after
// what went wrong for a program. The others are in ../conformance/regressions.ts.
import { assert, assertEquals, assertInstanceOf, assertThrows, fail } from "@std/assert";
import { Loop, type Socket } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { countDescriptors } from "../support/descriptors.ts";
import { modUrl, Program } from "../support/subprocess.ts";

const strict = { sanitizeOps: true, sanitizeResources: true };

const hostname = "127.0.0.1";
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

Deno.test("onPreOpen that closes the handle and keeps it ends in no crash", strict, async () => {
  const errors: unknown[] = [], codes: number[] = [];
  let asked = 0, answer = "";
  const loop = new Loop({ onError: (error) => errors.push(error) });
  const server = loop.createContext({
    onPreOpen(handle) {
      if (asked++ === 0) (handle as Deno.Conn).close();
      return true;
    },
    onData: (socket, data) => void socket.write(data),
    onClose: (_socket, code) => void codes.push(code),
  });
  const listener = server.listen({ host: hostname, port: 0 });
  const client = loop.createContext({
    onData(socket, data) {
      answer += text(data);
      if (answer.length === 5) socket.end();
    },
    onClose() {
      if (asked === 1) connect();
      else listener.close();
    },
  });
  const connect = () => {
    client.connect({ host: hostname, port: listener.port }).write("x"); // accepts nothing yet
  };
  client.onWritable = (socket) => {
    if (asked === 2) socket.write("hello");
  };
  connect();
  await loop.run();
  loop.free();
  assertEquals([errors, asked, answer, codes.at(-1)], [[], 2, "hello", 0]);
  assert(codes.length === 1 || codes[0] < 0, `closed with ${codes}`);
});

Deno.test("run() of a TLS loop ends behind close_notify", async () => {
  const { ca, server: { cert, key } } = await testCertificates();
  // What the kernel's buffers hold, and more than that: then the alert has to wait for room.
  for (const bytes of [1, 4_500_000, 5 << 20, 5_500_000]) {
    const program = new Program(
      `
      import { Loop } from "${modUrl}";
      const [cert, key, bytes] = Deno.args;
      const loop = new Loop({ sendBufferBytes: Number(bytes) });
      const server = loop.createContext({
        tls: { cert, key },
        onHandshake(socket) {
          socket.write(new Uint8Array(Number(bytes)));
          socket.close();
        },
        onClose() {
          listener.close();
          console.log("closed");
        },
      });
      const listener = server.listen({ host: "${hostname}", port: 0 });
      console.log(listener.port);
      await loop.run();
      Deno.exit();`,
      { args: [cert, key, String(bytes)] },
    );
    const port = Number(await program.line());
    const conn = await Deno.connectTls({ hostname: "localhost", port, caCerts: [ca] });
    await conn.handshake();
    assertEquals(await program.line(), "closed");
    // A slow reader, by its small pieces: what is sent last finds no room. Rejects with
    // UnexpectedEof where close_notify is missing.
    let received = 0;
    const piece = new Uint8Array(512);
    for (let n = await conn.read(piece); n !== null; n = await conn.read(piece)) received += n;
    conn.close();
    assertEquals([received, await program.ended()], [bytes, 0]);
  }
});

Deno.test("STARTTLS beyond the handshake budget goes on in the next turn", strict, async () => {
  const clients = 12;
  const silent = Deno.listen({ hostname, port: 0 });
  const accepted: Deno.Conn[] = [];
  // No sweep comes to the aid of those that wait.
  const loop = new Loop({ timeoutGranularityMs: 3_600_000 });
  let closed = 0;
  const client = loop.createContext({
    onData(socket) {
      socket.write("STARTTLS");
      socket.upgradeTls();
    },
    onHandshake: () => fail("onHandshake"),
    onClose: () => void closed++,
  });
  for (let i = 0; i < clients; i++) client.connect({ host: hostname, port: silent.addr.port });
  const running = loop.run();
  while (accepted.length < clients) accepted.push(await silent.accept());
  const hang = setTimeout(() => loop.free(), 10_000);
  // All at once, so that all ask for a handshake in one turn.
  for (const conn of accepted) conn.write(new Uint8Array(1));
  const hellos = await Promise.all(accepted.map(async (conn) => {
    const buffer = new Uint8Array(4096);
    let received = "";
    while (received.length <= "STARTTLS".length) {
      const n = await conn.read(buffer).catch(() => null);
      if (n === null) return "none";
      received += String.fromCharCode(...buffer.subarray(0, n));
    }
    return received.slice(0, "STARTTLS".length + 1);
  }));
  for (const conn of accepted) conn.close();
  silent.close();
  await running;
  clearTimeout(hang);
  loop.free();
  assertEquals(hellos, Array(clients).fill("STARTTLS\x16")); // a TLS handshake record
  assertEquals(closed, clients);
});

Deno.test("upgradeTls() on an accepted socket is refused", strict, async () => {
  const { ca } = await testCertificates();
  const loop = new Loop();
  let refused = 0, answer = "";
  const server = loop.createContext({
    onOpen(socket) {
      const { message } = assertThrows(() => socket.upgradeTls({ ca }), Deno.errors.NotSupported);
      assert(message.includes("upgradeTls()"), message);
      refused++;
    },
    onData: (socket, data) => void socket.write(data),
  });
  const listener = server.listen({ host: hostname, port: 0 });
  const client = loop.createContext({
    onOpen: (socket) => void socket.write("plain"),
    onData(socket, data) {
      answer += text(data); // a ClientHello would stand before it
      if (answer.length >= 5) socket.end();
    },
    onClose: () => listener.close(),
  });
  client.connect({ host: hostname, port: listener.port });
  await loop.run();
  loop.free();
  assertEquals([refused, answer], [1, "plain"]);
});

Deno.test("upgradeTls() twice throws Busy, and the first goes on", strict, async () => {
  const { ca, server } = await testCertificates();
  const loop = new Loop();
  const events: string[] = [];
  const echo = loop.createContext({
    tls: server,
    onData: (socket, data) => void socket.write(data),
  });
  const listener = echo.listen({ host: hostname, port: 0 });
  const expectBusy = (call: () => void) => {
    const { message } = assertThrows(call, Deno.errors.Busy);
    events.push(message);
  };
  const client = loop.createContext({
    onOpen(socket) {
      const upgrade = () => socket.upgradeTls({ ca, serverName: "localhost" });
      upgrade();
      expectBusy(upgrade);
      queueMicrotask(() => expectBusy(upgrade));
    },
    onHandshake: (socket) => void socket.write("x"),
    onData(socket, data) {
      events.push(text(data));
      socket.end();
    },
    onClose(_socket, code) {
      events.push(`close ${code}`);
      listener.close();
    },
  });
  client.connect({ host: hostname, port: listener.port });
  await loop.run();
  loop.free();
  const busy = "Cannot start TLS: it is started already";
  assertEquals(events, [busy, busy, "x", "close 0"]);
});

Deno.test("setNoDelay() of a client that starts TLS names what it lacks", strict, async () => {
  const { ca, server } = await testCertificates();
  const loop = new Loop();
  const listener = loop.createContext({ tls: server }).listen({ host: hostname, port: 0 });
  const errors: unknown[] = [];
  const client = loop.createContext({
    tls: { ca, serverName: "localhost" },
    onOpen(socket) {
      socket.setNoDelay(); // TCP still, as docs/backends.md says
      socket.setKeepAlive();
      queueMicrotask(() => {
        for (const call of ["setNoDelay", "setKeepAlive"] as const) {
          try {
            socket[call]();
          } catch (error) {
            errors.push(error);
          }
        }
      });
    },
    onHandshake: (socket) => socket.end(),
    onClose: () => listener.close(),
  });
  client.connect({ host: hostname, port: listener.port });
  await loop.run();
  loop.free();
  assertEquals(errors.length, 2);
  for (const error of errors) assertInstanceOf(error, Deno.errors.NotSupported);
});

Deno.test("connects cancelled when just made leave nothing open", strict, async () => {
  using loop = new Loop();
  const before = countDescriptors();
  const listener = loop.createContext().listen({ host: "127.0.0.1", port: 0 });
  const client = loop.createContext();
  const running = loop.run();
  for (let i = 0; i < 40; i++) {
    const sockets = Array.from({ length: 10 }, () => client.connect({ port: listener.port }));
    setTimeout(() => sockets.forEach((socket) => socket.close()), i % 4);
    const until = performance.now() + i % 3; // a busy program: the connections are made meanwhile
    while (performance.now() < until);
    // no event: a cancelled connect tells nothing
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  listener.close();
  await running; // hung: the accepted sides waited for peers that nobody could close
  assertEquals(countDescriptors() <= before, true);
});

Deno.test("TCP options can be set while a write is under way", strict, async () => {
  const errors: unknown[] = [];
  using loop = new Loop({ onError: (error) => errors.push(error) });
  const listener = loop.createContext({
    onOpen: (socket) => socket.pause(),
  }).listen({ host: "127.0.0.1", port: 0 });
  const fill = (socket: Socket) => {
    while (socket.write(new Uint8Array(65_536)) > 0);
  };
  const client = loop.createContext({ onOpen: fill, onWritable: fill });
  const socket = client.connect({ port: listener.port });
  loop.createTimer().set((timer) => {
    timer.close();
    try {
      socket.setNoDelay(false);
      socket.setKeepAlive(true);
    } finally {
      loop.free();
    }
  }, 100);
  await loop.run();
  assertEquals(errors, []);
});
