// What the Deno backend alone shows: what it refuses, and what it does without. Adopted Conns are in
// deno_adopt_test.ts, whole processes in deno_process_test.ts.
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  type ConnectOptions,
  type ListenOptions,
  Loop,
  type Socket,
  type TlsOptions,
} from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";

const strict = { sanitizeOps: true, sanitizeResources: true };

const hostname = "127.0.0.1";
const local = { host: hostname, port: 0 };
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** Expects NotSupported in one line that names the thing and the backend that has it. */
function assertNotSupported(call: () => unknown, ...named: string[]): void {
  const { message } = assertThrows(call, Deno.errors.NotSupported);
  for (const name of [...named, "epoll"]) {
    assert(message.includes(name), `"${message}" does not name ${name}`);
  }
  assert(!message.includes("\n"), message);
}

/** Runs `check` on an open socket of each side, then sees that both still work. */
async function withOpenSockets(
  check: (socket: Socket, isClient: boolean) => void,
  tls?: { server: TlsOptions; client: TlsOptions },
  path?: string,
): Promise<void> {
  const loop = new Loop();
  const errors: unknown[] = [];
  const guarded = (socket: Socket, isClient: boolean) => {
    try {
      check(socket, isClient);
    } catch (error) {
      errors.push(error);
    }
  };
  const server = loop.createContext({
    tls: tls?.server,
    onData(socket, data) {
      guarded(socket, false);
      socket.write(data);
    },
  });
  const listener = server.listen(path === undefined ? local : { path });
  let answer = "";
  const client = loop.createContext({
    tls: tls?.client,
    onOpen: (socket) => void socket.write("unharmed"),
    onData(socket, data) {
      answer += text(data);
      if (answer.length < 8) return;
      guarded(socket, true);
      socket.end();
    },
    onClose: () => listener.close(),
  });
  client.connect(path === undefined ? { host: hostname, port: listener.port } : { path });
  await loop.run();
  loop.free();
  if (errors.length > 0) throw errors[0];
  assertEquals(answer, "unharmed");
}

/** A path for a unix socket, for the time of a test. */
class UnixPath {
  readonly #directory = Deno.makeTempDirSync();
  readonly path = `${this.#directory}/x.sock`;

  [Symbol.dispose](): void {
    Deno.removeSync(this.#directory, { recursive: true });
  }
}

// ---------------------------------------------------------------- refusals

Deno.test("Loop refuses what needs a blocking wait or descriptors", strict, async () => {
  const loop = new Loop();
  assertNotSupported(() => loop.runBlocking(), "runBlocking()");
  assertNotSupported(() => loop.createPoll(0, { onReady: () => {} }), "createPoll()");
  assertEquals([loop.polls.size, loop.isActive], [0, false]);
  await loop.run(); // not left in the middle of anything
  loop.free();
});

Deno.test("SocketContext refuses server names and descriptors", strict, async () => {
  const { server } = await testCertificates();
  using loop = new Loop();
  const context = loop.createContext({ tls: server });
  assertNotSupported(() => context.addServerName("a.test", server), "addServerName()");
  assertNotSupported(() => context.removeServerName("a.test"), "removeServerName()");
  assertNotSupported(() => context.findServerNameUserData("a.test"), "findServerNameUserData()");
  assertNotSupported(() => context.adoptHandle(3), "adoptHandle()");
  assertEquals(context.nativeHandle, null);
  assertEquals(loop.isActive, false);
});

Deno.test("listen() refuses options that Deno has no counterpart for", strict, async () => {
  const { server } = await testCertificates();
  using unix = new UnixPath();
  const { path } = unix;
  using loop = new Loop();
  const plain = loop.createContext();
  const refused: Record<string, ListenOptions> = {
    fd: { fd: 3 },
    ipv6Only: { host: "::1", port: 0, ipv6Only: true },
    backlog: { path, backlog: 10 },
  };
  for (const [name, options] of Object.entries(refused)) {
    assertNotSupported(() => plain.listen(options), `"${name}"`);
  }
  assertNotSupported(() => loop.createContext({ tls: server }).listen({ path }), "TLS", "unix");
  assertThrows(() => Deno.lstatSync(path), Deno.errors.NotFound);
  assertEquals([plain.listeners.size, loop.isActive], [0, false]);
});

Deno.test("listen() refuses reusePort without --unstable-net", {
  ...strict,
  ignore: "listenDatagram" in Deno,
}, () => {
  using loop = new Loop();
  const context = loop.createContext();
  // Deno itself would end the process.
  assertNotSupported(() => context.listen({ ...local, reusePort: true }), '"reusePort"');
  assertEquals(loop.isActive, false);
});

Deno.test("connect() refuses options that Deno has no counterpart for", strict, async () => {
  const { ca, client } = await testCertificates();
  using unix = new UnixPath();
  using loop = new Loop();
  const connect = (tls: TlsOptions | undefined, options: ConnectOptions<undefined>) => () =>
    loop.createContext({ tls }).connect(options);
  const address = { host: "localhost", port: 9 };
  assertNotSupported(connect(undefined, { ...address, sourceHost: hostname }), '"sourceHost"');
  assertNotSupported(connect({ ca }, { path: unix.path }), "TLS", "unix");
  // connectTls() takes a client certificate and no server name, startTls() the reverse
  const certified = { ca, ...client };
  const other = { ...address, serverName: "other.test" };
  assertNotSupported(connect(certified, other), '"serverName"', "client certificate");
  assertNotSupported(connect({ ...certified, serverName: "other.test" }, address), '"serverName"');
  assertEquals(loop.isActive, false);
  // the same name is no other
  let failures = 0;
  const onConnectError = () => void failures++;
  loop.createContext({ tls: certified, onConnectError })
    .connect({ ...address, serverName: "localhost" });
  await loop.run();
  assertEquals(failures, 1);
});

Deno.test("createContext() refuses TLS options that rustls does not have", strict, async () => {
  const { ca, server } = await testCertificates();
  using loop = new Loop();
  const refused: [string, TlsOptions][] = [
    ["dhParamsFile", { dhParamsFile: "/nonexistent" }],
    ["ciphers", { ciphers: "HIGH" }],
    ["ciphersuites", { ciphersuites: "TLS_AES_128_GCM_SHA256" }],
    ["preferLowMemory", { preferLowMemory: true }],
    ["rejectUnauthorized", { rejectUnauthorized: false }],
    ["minVersion", { minVersion: "TLSv1.3" }],
    ["minVersion", { minVersion: "TLSv1.1" }],
    ["maxVersion", { maxVersion: "TLSv1.2" }],
  ];
  for (const [name, tls] of refused) {
    assertNotSupported(() => loop.createContext({ tls: { ...server, ...tls } }), name);
  }
  assertEquals(loop.contexts.size, 0);
  // A client has no use for it; a server must not let in who was to be verified.
  const demanding = loop.createContext({ tls: { ...server, ca, requestCert: true } });
  for (const context of [demanding, demanding.createChild()]) {
    assertNotSupported(() => context.listen({ port: 0 }), "requestCert");
  }
  // what says no more than rustls does anyway
  loop.createContext({
    tls: {
      ca,
      preferLowMemory: false,
      requestCert: false,
      rejectUnauthorized: true,
      minVersion: "TLSv1.2",
      maxVersion: "TLSv1.3",
    },
  });
});

Deno.test("Socket refuses reset() and keep-alive timings, and lives on", strict, async () => {
  await withOpenSockets((socket) => {
    assertNotSupported(() => socket.reset(), "reset()");
    assertNotSupported(() => socket.setKeepAlive(true, { idleSeconds: 1 }), "setKeepAlive()");
    assert(!socket.isClosed);
  });
});

Deno.test("setNoDelay() and setKeepAlive() work on TCP", strict, async () => {
  let calls = 0;
  await withOpenSockets((socket) => {
    for (const enable of [undefined, false, true]) {
      socket.setNoDelay(enable);
      socket.setKeepAlive(enable);
    }
    calls++;
  });
  assertEquals(calls, 2);
});

Deno.test("setNoDelay() and setKeepAlive() do nothing on unix sockets", strict, async () => {
  using unix = new UnixPath();
  let calls = 0;
  await withOpenSockets(
    (socket) => {
      socket.setNoDelay();
      socket.setKeepAlive(false);
      calls++;
    },
    undefined,
    unix.path,
  );
  assertEquals(calls, 2);
});

Deno.test("setNoDelay() and setKeepAlive() are refused on TLS", strict, async () => {
  const { ca, server } = await testCertificates();
  let calls = 0;
  await withOpenSockets((socket) => {
    assertNotSupported(() => socket.setNoDelay(), "setNoDelay()", "TLS");
    assertNotSupported(() => socket.setKeepAlive(), "setKeepAlive()", "TLS");
    calls++;
  }, { server, client: { ca } });
  assertEquals(calls, 2);
});

Deno.test("upgradeTls() refuses the server side, TLS and unix sockets", strict, async () => {
  const { ca, server } = await testCertificates();
  let calls = 0;
  const refuse = (options: TlsOptions) => (socket: Socket) => {
    assertNotSupported(() => socket.upgradeTls(options), "upgradeTls()");
    calls++;
  };
  await withOpenSockets(refuse(server));
  await withOpenSockets((socket) => {
    const { message } = assertThrows(() => socket.upgradeTls({ ca }), Deno.errors.Busy);
    assertEquals(message, "Cannot start TLS: it is started already");
    calls++;
  }, { server, client: { ca } });
  using unix = new UnixPath();
  await withOpenSockets(refuse({ ca }), undefined, unix.path);
  assertEquals(calls, 6);
});

Deno.test(
  "upgradeTls() outside of onData is refused, and the socket lives on",
  strict,
  async () => {
    const { ca } = await testCertificates();
    const loop = new Loop();
    const server = loop.createContext({ onData: (socket, data) => void socket.write(data) });
    const listener = server.listen(local);
    let answer = "", isRefused = false;
    const client = loop.createContext({
      onOpen(socket) {
        loop.createTimer().set(() => {
          assertNotSupported(() => socket.upgradeTls({ ca }), "upgradeTls()", "onData");
          isRefused = true;
          socket.write("unharmed");
        }, 1);
      },
      onData(socket, data) {
        answer += text(data);
        if (answer.length === 8) socket.end();
      },
      onClose: () => listener.close(),
    });
    client.connect({ host: hostname, port: listener.port });
    await loop.run();
    loop.free();
    assertEquals([isRefused, answer], [true, "unharmed"]);
  },
);

Deno.test("a flood of connections leaves room for those that are open", async () => {
  const count = 200;
  let accepted = 0, most = 0;
  const loop = new Loop();
  const listener = loop.createContext({
    onOpen: () => void (++accepted === count && listener.close()),
  }).listen({ host: "127.0.0.1", port: 0 });
  const address = { hostname: "127.0.0.1", port: listener.port };
  const conns = await Promise.all(Array.from({ length: count }, () => Deno.connect(address)));
  let before = 0;
  const turn = () => {
    most = Math.max(most, accepted - before);
    before = accepted;
    if (accepted < count) setImmediate(turn);
    else for (const conn of conns) conn.close();
  };
  setImmediate(turn);
  await loop.run();
  assert(most <= 16, `${most} in one turn`);
});
