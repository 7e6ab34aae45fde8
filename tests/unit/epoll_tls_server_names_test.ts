// Server names on the epoll backend: each with its certificate, its options and its user data, and
// changed while the server runs.
import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import {
  CloseCode,
  epoll,
  type Handlers,
  Loop,
  type Socket,
  type SocketContext,
  type TlsOptions,
} from "@usockets/usockets";
import { X509Certificate } from "node:crypto";
import { certificateFor, type CertifiedKey, testCertificates } from "../support/certificates.ts";
import { nativeTest, runLoop } from "../support/native.ts";
import { assertAgreed, assertTlsFailure, type Exchange, TlsEnds } from "../support/tls_ends.ts";

const host = "127.0.0.1";

/** A server at `localhost` that has names beside, and a client that asks it for one. */
async function withNames(
  names: (server: SocketContext<unknown>) => void,
  test: (ask: (serverName: string, tls?: TlsOptions) => Promise<Exchange>) => Promise<void>,
  server: Handlers = {},
): Promise<void> {
  const { server: local, ca } = await testCertificates();
  await using ends = new TlsEnds(local, { server });
  names(ends.server);
  // A context of its own each time: a session that is resumed brings the old certificate along.
  await test((serverName, tls) => ends.exchange({ ca, ...tls }, { serverName }));
}

function fingerprint({ cert }: CertifiedKey): string {
  return new X509Certificate(cert).fingerprint256;
}

/** The client saw this certificate, and trusts it. */
function assertShown(outcome: Exchange, expected: CertifiedKey): void {
  assertAgreed(outcome);
  assertEquals(outcome.client.info!.peerCertificate!.fingerprint256, fingerprint(expected));
}

nativeTest("what the options of a name do not say is as the context has it", async () => {
  const { server: local, otherHost, client, ca } = await testCertificates();
  const demanding = { ...local, ca, requestCert: true, alpnProtocols: ["context's"] };
  await using ends = new TlsEnds(demanding);
  const ask = (tls: TlsOptions) =>
    ends.exchange({ ca, alpnProtocols: ["name's", "context's"], ...tls }, {
      serverName: "other.test",
    });
  ends.server.addServerName("other.test", { ...otherHost, requestCert: undefined });
  assertTlsFailure(
    (await ask({})).server,
    "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE",
  );
  const known = await ask(client);
  assertShown(known, otherHost);
  assertEquals(known.client.info!.alpnProtocol, "context's");
  const own = { ...otherHost, requestCert: false, alpnProtocols: ["name's"] };
  ends.server.addServerName("other.test", own);
  const unknown = await ask({});
  assertShown(unknown, otherHost);
  assertEquals(unknown.client.info!.alpnProtocol, "name's");
});

nativeTest("the options of a name may be on a prototype, as all others", async () => {
  const { server: local, otherHost, ca } = await testCertificates();
  const demanding = { ca, requestCert: true };
  for (
    const [ofContext, own] of [
      [Object.assign(Object.create(demanding), local), otherHost],
      [local, Object.assign(Object.create(demanding), otherHost)],
    ]
  ) {
    await using ends = new TlsEnds(ofContext);
    ends.server.addServerName("other.test", own);
    const { server } = await ends.exchange({ ca }, { serverName: "other.test" });
    assertTlsFailure(server, "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE");
  }
});

nativeTest(
  "each name has its certificate and its user data, the others the context's",
  async () => {
    const { server, otherHost } = await testCertificates();
    const [wildcard, exact] = [
      await certificateFor("*.example.test"),
      await certificateFor("www.example.test"),
    ];
    const otherData = { of: "other" };
    await withNames((context) => {
      context.addServerName("other.test", otherHost, otherData);
      context.addServerName("*.example.test", wildcard, "wild");
      context.addServerName("www.example.test", exact);
    }, async (ask) => {
      const other = await ask("other.test");
      assertShown(other, otherHost);
      assertStrictEquals(other.server.socket!.serverNameUserData, otherData);
      assertEquals(other.server.info!.serverName, "other.test");
      assertEquals(other.client.socket!.serverNameUserData, undefined);
      const wild = await ask("a.example.test");
      assertShown(wild, wildcard);
      assertEquals(wild.server.socket!.serverNameUserData, "wild");
      const www = await ask("www.example.test");
      assertShown(www, exact);
      assertEquals(www.server.socket!.serverNameUserData, undefined);
      const local = await ask("localhost");
      assertShown(local, server);
      assertEquals(local.server.socket!.serverNameUserData, undefined);
      assertShown(await ask("127.0.0.1"), server); // sends no name
    });
  },
);

nativeTest("names are the same in any case, and with the root's dot", async () => {
  const { otherHost } = await testCertificates();
  await withNames((context) => {
    context.addServerName("OTHER.Test.", otherHost, "other");
    assertEquals(context.findServerNameUserData("other.TEST"), "other");
    assertEquals(context.findServerNameUserData("other.test."), "other");
  }, async (ask) => {
    for (const name of ["other.test", "oThEr.tEsT", "other.test."]) {
      assertShown(await ask(name), otherHost);
    }
  });
});

nativeTest("a name that is not served gets the context's certificate", async () => {
  const wildcard = await certificateFor("*.example.test");
  await withNames((context) => context.addServerName("*.example.test", wildcard), async (ask) => {
    for (const name of ["example.test", "a.b.example.test", "elsewhere.test"]) {
      assertTlsFailure((await ask(name)).client, "HOSTNAME_MISMATCH");
    }
  });
});

nativeTest("removeServerName() stops serving a name and no other", async () => {
  const { otherHost } = await testCertificates();
  const exact = await certificateFor("www.example.test");
  const wildcard = await certificateFor("*.example.test");
  let server!: SocketContext<unknown>;
  await withNames((context) => {
    server = context;
    context.addServerName("www.example.test", exact, 1);
    context.addServerName("*.example.test", wildcard, 2);
    context.addServerName("other.test", otherHost, 3);
  }, async (ask) => {
    assertShown(await ask("www.example.test"), exact);
    server.removeServerName("WWW.example.test");
    assertEquals(server.findServerNameUserData("www.example.test"), 2);
    assertShown(await ask("www.example.test"), wildcard);
    server.removeServerName("*.example.test");
    assertEquals(server.findServerNameUserData("www.example.test"), undefined);
    assertTlsFailure((await ask("www.example.test")).client, "HOSTNAME_MISMATCH");
    server.removeServerName("*.example.test"); // is gone already
    server.removeServerName("never.test");
    assertShown(await ask("other.test"), otherHost);
    assertEquals(server.findServerNameUserData("other.test"), 3);
  });
});

nativeTest("a pattern is matched literally, and not by itself", async () => {
  const { server, otherHost } = await testCertificates();
  using loop = new Loop({ backend: epoll });
  const context = loop.createContext({ tls: server });
  context.addServerName("a.*.test", otherHost, 1);
  context.addServerName("*.b.test", otherHost, 2);
  const find = (name: string) => context.findServerNameUserData(name);
  assertEquals(find("a.b.test"), 1); // exact in the first label
  assertEquals([find("a.c.test"), find("c.b.test"), find("c.c.test")], [1, 2, undefined]);
  assertEquals([find("b.test"), find("a.a.b.test"), find("test")], [
    undefined,
    undefined,
    undefined,
  ]);
});

/** A server that keeps its connections, and clients that stay: calls back with both ends. */
async function withOpenConnections(
  test: (
    loop: Loop,
    server: SocketContext,
    connect: (name: string) => Promise<Socket>,
  ) => Promise<void>,
): Promise<void> {
  const { server: local, ca } = await testCertificates();
  const loop = new Loop({ backend: epoll });
  const server = loop.createContext({
    tls: local,
    onData: (socket, data) => void socket.write(data),
  });
  const listener = server.listen({ host, port: 0 });
  const running = runLoop(loop);
  await test(loop, server as SocketContext, (serverName) =>
    new Promise((resolve, reject) => {
      loop.createContext({
        tls: { ca },
        onHandshake: (socket) => resolve(socket as Socket),
        onClose: (_socket, _code, reason) => reject(reason),
      }).connect({ host, port: listener.port, serverName });
    }));
  listener.close();
  server.close();
  await running;
  loop.free();
}

/** Sends a word there and back. */
async function assertEchoes(socket: Socket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<string>();
  socket.context.onData = (_socket, data) => resolve(new TextDecoder().decode(data));
  socket.write("still there");
  assertEquals(await promise, "still there");
}

nativeTest("a renewed certificate is for new connections, and open ones live on", async () => {
  const renewed: CertifiedKey[] = [];
  for (let i = 0; i < 3; i++) renewed.push(await certificateFor("www.example.test"));
  await withOpenConnections(async (_loop, server, connect) => {
    const open: Socket[] = [];
    for (const [i, tls] of renewed.entries()) {
      server.addServerName("www.example.test", tls, i);
      open.push(await connect("www.example.test"));
    }
    server.removeServerName("www.example.test");
    for (const [i, socket] of open.entries()) {
      await assertEchoes(socket);
      assertEquals(socket.tls!.peerCertificate!.fingerprint256, fingerprint(renewed[i]));
    }
  });
});

nativeTest("children share the names of their parent, also when it is freed", async () => {
  const { otherHost } = await testCertificates();
  await withOpenConnections(async (_loop, server, connect) => {
    const child = server.createChild();
    child.addServerName("other.test", otherHost, "from the child");
    assertEquals(server.findServerNameUserData("other.test"), "from the child");
    await assertEchoes(await connect("other.test"));
    const grandchild = child.createChild();
    child.free();
    assertEquals(child.findServerNameUserData("other.test"), undefined);
    assertEquals(grandchild.findServerNameUserData("other.test"), "from the child");
    grandchild.removeServerName("other.test");
    assertEquals(server.findServerNameUserData("other.test"), undefined);
    assertThrows(() => child.addServerName("x.test", otherHost), Deno.errors.BadResource);
  });
});

nativeTest("a name has options of its own", async () => {
  const { client, ca, otherHost, server } = await testCertificates();
  const strict: TlsOptions = {
    ...otherHost,
    ca,
    requestCert: true,
    alpnProtocols: ["of/other"],
    minVersion: "TLSv1.3",
  };
  await withNames((context) => context.addServerName("other.test", strict), async (ask) => {
    const agreed = await ask("other.test", { ...client, alpnProtocols: ["of/other"] });
    assertShown(agreed, otherHost);
    assertEquals(agreed.server.info!.alpnProtocol, "of/other");
    assertEquals(agreed.server.info!.peerCertificate!.subject, "CN=test client");
    const failures: [TlsOptions, string][] = [
      [{}, "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE"],
      [{ ...client, alpnProtocols: ["of/another"] }, "ERR_SSL_NO_APPLICATION_PROTOCOL"],
      [{ ...client, maxVersion: "TLSv1.2" }, "ERR_SSL_UNSUPPORTED_PROTOCOL"],
    ];
    for (const [tls, code] of failures) {
      assertTlsFailure((await ask("other.test", tls)).server, code);
      assertShown(await ask("localhost", tls), server); // which has none of them
    }
  });
});

nativeTest("onServerName adds a name for the very handshake that asks for it", async () => {
  const { server } = await testCertificates();
  const made = await certificateFor("made.test");
  const asked: string[] = [];
  await withNames(() => {}, async (ask) => {
    const outcome = await ask("Made.Test");
    assertShown(outcome, made);
    assertEquals(outcome.server.socket!.serverNameUserData, "just now");
    assertShown(await ask("made.test"), made); // is there already
    assertShown(await ask("localhost"), server); // adds none
    assertShown(await ask("127.0.0.1"), server); // asks for none
    assertEquals(asked, ["Made.Test", "localhost"]);
  }, {
    onServerName(context, hostname) {
      asked.push(hostname);
      if (hostname !== "localhost") context.addServerName(hostname, made, "just now");
    },
  });
});

nativeTest("onServerName belongs to the context that listens, a child too", async () => {
  const { server: local, otherHost, ca } = await testCertificates();
  const loop = new Loop({ backend: epoll });
  const parent = loop.createContext({
    tls: local,
    onServerName: () => assertEquals("asked the parent", ""),
  });
  let served: unknown;
  const child = parent.createChild({
    onServerName: (context, name) => context.addServerName(name, otherHost, "by the child"),
    onHandshake(socket) {
      served = socket.serverNameUserData;
      socket.end();
      listener.close();
    },
  });
  const listener = child.listen({ host, port: 0 });
  loop.createContext({ tls: { ca } })
    .connect({ host, port: listener.port, serverName: "other.test" });
  await runLoop(loop);
  assertEquals(served, "by the child");
  assertEquals(parent.findServerNameUserData("other.test"), "by the child");
  loop.free();
});

nativeTest("onServerName that throws closes its socket and nothing else", async () => {
  const { server: local, ca } = await testCertificates();
  const errors: unknown[] = [], codes: unknown[] = [];
  const boom = new Error("no such name");
  const loop = new Loop({ backend: epoll, onError: (error) => void errors.push(error) });
  const server = loop.createContext({
    tls: local,
    onServerName(_context, name) {
      if (name !== "localhost") throw boom;
    },
    onClose: (_socket, code, reason) => void codes.push(code, reason),
  });
  const listener = server.listen({ host, port: 0 });
  const open: Socket[] = [];
  const ended: string[] = [];
  const connect = (serverName: string, next: () => void) => {
    loop.createContext({
      tls: { ca },
      onHandshake(socket) {
        open.push(socket as Socket);
        next();
      },
      onClose(_socket, code) {
        ended.push(`${serverName} ${code < 0}`);
        if (open.length < 2) next();
      },
    }).connect({ host, port: listener.port, serverName });
  };
  connect("localhost", () =>
    connect("bad.test", () =>
      connect("localhost", () => {
        listener.close();
        assertEquals(open.map(({ isClosed }) => isClosed), [false, false]);
        for (const socket of open) socket.close();
      })));
  await runLoop(loop);
  loop.free();
  assertEquals(errors, [boom]);
  assertEquals(codes.slice(0, 2), [CloseCode.Handler, boom]);
  assertEquals(ended, ["bad.test true", "localhost false", "localhost false"]);
});

nativeTest("onServerName may close the socket, or free its context", async () => {
  const { server: local, ca } = await testCertificates();
  for (const how of ["close", "free"] as const) {
    const codes: number[] = [];
    const loop = new Loop({ backend: epoll });
    const server = loop.createContext({
      tls: local,
      onServerName: (context) => context[how](),
      onHandshake: () => void codes.push(NaN),
      onClose: (_socket, code) => void codes.push(code),
    });
    const listener = server.listen({ host, port: 0 });
    loop.createContext({ tls: { ca } }).connect({ host: "localhost", port: listener.port });
    await runLoop(loop);
    loop.free();
    assertEquals(codes, [how === "close" ? CloseCode.Clean : CloseCode.Freed]);
  }
});

nativeTest("what is wrong with a name leaves the one before in place", async () => {
  const { server, otherHost, expired, mismatchedKey, ca } = await testCertificates();
  using loop = new Loop({ backend: epoll });
  const context = loop.createContext({ tls: server });
  context.addServerName("other.test", otherHost, "good");
  const { InvalidData } = Deno.errors;
  assertThrows(() => context.addServerName("other.test", mismatchedKey, "bad"), InvalidData);
  assertThrows(() => context.addServerName("other.test", { ca }, "bad"), TypeError, "certificate");
  const { cert } = otherHost;
  assertThrows(() => context.addServerName("other.test", { cert }, "bad"), TypeError, "key");
  assertEquals(context.findServerNameUserData("other.test"), "good");
  for (const name of ["", "a b", "a\0b", "a\n", 5 as unknown as string]) {
    assertThrows(() => context.addServerName(name, otherHost), TypeError, "server name");
    assertThrows(() => context.removeServerName(name), TypeError, "server name");
    assertThrows(() => context.findServerNameUserData(name), TypeError, "server name");
  }
  const plain = loop.createContext();
  assertThrows(() => plain.addServerName("other.test", expired), TypeError, '"tls"');
  assertEquals(plain.findServerNameUserData("other.test"), undefined);
  plain.removeServerName("other.test");
});
