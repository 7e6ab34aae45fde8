// Handshakes that once went wrong: in pieces, with names that change, out of memory.
import { assert, assertEquals, assertFalse, assertInstanceOf, assertThrows } from "@std/assert";
import {
  CloseCode,
  epoll,
  type Handlers,
  Loop,
  type SocketContext,
  type TlsInfo,
  type TlsOptions,
} from "@usockets/usockets";
import { type Libssl, openLibssl, replaceLibssl } from "../../ffi/tls/libssl.ts";
import { cString } from "../../ffi/tls/strings.ts";
import { commonNameCertificate, testCertificates } from "../support/certificates.ts";
import { HandDriven } from "../support/hand_driven.ts";
import { nativeTest, runLoop } from "../support/native.ts";
import { concat, writeAll } from "../support/streams.ts";
import { assertTlsFailure, exchange } from "../support/tls_ends.ts";

const host = "127.0.0.1";
const HEADER_BYTES = 5, HANDSHAKE_RECORD = 22;
const SSL_CTRL_SET_GROUPS_LIST = 92;

/** What a server came to know of its only client. */
interface Met {
  info: TlsInfo | null;
  userData: unknown;
  code: number;
  reason: (Error & { code?: string }) | undefined;
}

/** A server that takes one client, which is driven by hand: run to its end. */
async function serve(
  tls: TlsOptions,
  client: HandDriven,
  setUp: (server: SocketContext<unknown>) => void,
  act: (conn: Deno.Conn, server: SocketContext<unknown>) => Promise<void>,
  handlers: Handlers<unknown> = {},
): Promise<Met> {
  using _ = client;
  const met: Met = { info: null, userData: undefined, code: NaN, reason: undefined };
  const loop = new Loop({ backend: epoll, timeoutGranularityMs: 5 });
  const server = loop.createContext<unknown>({
    ...handlers,
    tls,
    socketExt: () => undefined,
    onOpen: () => listener.close(),
    onHandshake(socket, info) {
      met.info = info;
      met.userData = socket.serverNameUserData;
    },
    onClose: (_socket, code, reason) => void Object.assign(met, { code, reason }),
  });
  setUp(server);
  const listener = server.listen({ host, port: 0 });
  const running = runLoop(loop);
  const conn = await Deno.connect({ hostname: host, port: listener.port });
  await act(conn, server);
  conn.close();
  await running;
  loop.free();
  return met;
}

/** Agrees on TLS, and ends as is right. */
async function shakeHandsAndEnd(client: HandDriven, conn: Deno.Conn): Promise<void> {
  await client.shakeHands(conn);
  client.end();
  await client.send(conn);
  await client.readAll(conn);
}

// ---------------------------------------------------------------- a ClientHello in pieces

for (const how of ["addServerName()", "onServerName"] as const) {
  nativeTest(`a ClientHello that comes in several reads is enough: ${how}`, async () => {
    const { server: tls, ca } = await testCertificates();
    // Shorter than a ClientHello, longer than what the client sends to finish.
    const loop = new Loop({ backend: epoll, recvBufferBytes: 150 });
    const codes: number[] = [], asked: string[] = [];
    const server = loop.createContext({
      tls,
      onServerName: how === "onServerName" ? (_context, name) => void asked.push(name) : undefined,
      onClose: (_socket, code) => void codes.push(code),
    });
    if (how === "addServerName()") server.addServerName("localhost", tls);
    const listener = server.listen({ host, port: 0 });
    loop.createContext({
      tls: { ca },
      onHandshake: (socket) => socket.end(),
      onClose(_socket, code) {
        codes.push(code);
        listener.close();
      },
    }).connect({ host, port: listener.port, serverName: "localhost" });
    await runLoop(loop);
    loop.free();
    assertEquals(codes, [0, 0]);
    assertEquals(asked, how === "onServerName" ? ["localhost"] : []);
  });
}

nativeTest("a ClientHello in more records than are looked into asks for no name", async () => {
  const { server, otherHost, ca } = await testCertificates();
  const client = new HandDriven("client", {}, "other.test");
  const met = await serve(
    server,
    client,
    // Who gets in by this name must show a certificate: nobody else may be told to have asked for it.
    (context) => context.addServerName("other.test", { ...otherHost, ca, requestCert: true }, 1),
    async (conn) => {
      client.handshake();
      const message = client.take().subarray(HEADER_BYTES);
      const records: Uint8Array[] = [];
      for (let at = 0; at < message.length; at += 2) {
        const piece = message.subarray(at, at + 2);
        records.push(new Uint8Array([HANDSHAKE_RECORD, 3, 1, 0, piece.length, ...piece]));
      }
      await writeAll(conn, concat(records));
      await client.receive(conn);
      await shakeHandsAndEnd(client, conn);
    },
  );
  assertEquals([met.code, met.reason], [CloseCode.Clean, undefined]);
  assertEquals([met.info!.serverName, met.userData], [undefined, undefined]);
});

nativeTest("what can be no host name is neither asked for nor told", async () => {
  const { server } = await testCertificates();
  const asked: string[] = [];
  for (const name of ["../../etc/passwd", "a/b", "a b", "ok.test"]) {
    const client = new HandDriven("client", {}, name);
    const met = await serve(
      server,
      client,
      () => {},
      (conn) => shakeHandsAndEnd(client, conn),
      { onServerName: (_context, hostname) => void asked.push(hostname) },
    );
    assertEquals([met.code, met.info?.serverName], [0, name === "ok.test" ? name : undefined]);
  }
  assertEquals(asked, ["ok.test"]);
});

// ---------------------------------------------------------------- a HelloRetryRequest

/**
 * A server whose name `other.test` wants a key of a kind that the client did not send: so the client
 * says hello twice. Calls back between.
 */
async function helloTwice(
  client: HandDriven,
  between: (server: SocketContext<unknown>, tls: TlsOptions) => void,
): Promise<Met> {
  const { server, otherHost } = await testCertificates();
  const tls = { ...otherHost, alpnProtocols: ["of/other"] };
  const real = openLibssl();
  const groups = cString("P-384");
  const make: Libssl["SSL_CTX_new"] = (method) => {
    const context = real.SSL_CTX_new(method);
    real.SSL_CTX_ctrl(context, SSL_CTRL_SET_GROUPS_LIST, 0n, Deno.UnsafePointer.of(groups));
    return context;
  };
  replaceLibssl({ ...real, SSL_CTX_new: make });
  try {
    return await serve(
      server,
      client,
      (context) => context.addServerName("other.test", tls, "other"),
      async (conn, context) => {
        client.handshake();
        await client.send(conn);
        await client.receive(conn);
        between(context, tls);
        await shakeHandsAndEnd(client, conn).catch(() => {}); // where it is refused
      },
    );
  } finally {
    replaceLibssl(real);
  }
}

nativeTest("a name may be renewed or removed in the middle of its handshake", async () => {
  for (const how of ["renew", "remove"]) {
    const client = new HandDriven("client", { alpnProtocols: ["of/other"] }, "other.test");
    const met = await helloTwice(client, (server, tls) => {
      server.removeServerName("other.test");
      if (how === "renew") server.addServerName("other.test", tls, "another");
    });
    assertEquals([met.code, met.reason], [CloseCode.Clean, undefined]);
    const { alpnProtocol, serverName } = met.info!;
    assertEquals([alpnProtocol, serverName, met.userData], ["of/other", "other.test", "other"]);
  }
});

nativeTest("a client must not ask for another name the second time", async () => {
  for (const name of ["localhost", "x.other.test"]) {
    const client = new HandDriven("client", {}, "other.test");
    const met = await helloTwice(client, () => client.askFor(name));
    assertEquals(met.info, null);
    assertEquals([met.code, met.reason?.code], [CloseCode.Tls, "ERR_SSL_BAD_SERVER_NAME"]);
  }
});

// ---------------------------------------------------------------- time, certificates, handlers

nativeTest("a handshake that took too long leaves nothing to wait for", async () => {
  const { server } = await testCertificates();
  const loop = new Loop({ backend: epoll, timeoutGranularityMs: 5 });
  const seen: unknown[] = [];
  const listener = loop.createContext({
    tls: { ...server, handshakeTimeoutSeconds: 0.2 },
    onOpen(socket) {
      listener.close();
      socket.write("for when the handshake is done");
    },
    onClose(socket, code) {
      seen.push(code);
      loop.createTimer().set(() => seen.push(socket.nativeHandle), 1); // closed by then
    },
  }).listen({ host, port: 0 });
  const conn = await Deno.connect({ hostname: host, port: listener.port });
  await runLoop(loop);
  conn.close();
  loop.free();
  assertEquals(seen, [CloseCode.Tls, null]);
});

nativeTest("a certificate is not for the host that is its common name", async () => {
  const { ca } = await testCertificates();
  const tls = await commonNameCertificate("localhost");
  const { client } = await exchange(tls, { ca }, { serverName: "localhost" });
  assertTlsFailure(client, "HOSTNAME_MISMATCH");
});

nativeTest("onHandshake may take the memory of bytes that were received before", async () => {
  const { server: tls, ca } = await testCertificates();
  for (const count of [10, 2000]) {
    const loop = new Loop({ backend: epoll });
    const received: number[] = [];
    let kept: Uint8Array | undefined, connected = 0;
    const listener = loop.createContext({
      tls,
      onHandshake() {
        if (kept !== undefined) structuredClone(kept, { transfer: [kept.buffer as ArrayBuffer] });
      },
      onData(socket, data) {
        received.push(data.filter((byte) => byte === 7).length);
        kept = data; // which is none of its business
        socket.end();
      },
    }).listen({ host, port: 0 });
    const client = loop.createContext({
      tls: { ca },
      onOpen: (socket) => void socket.write(new Uint8Array(count).fill(7)),
      onClose: () => ++connected < 2 ? connect() : listener.close(),
    });
    const connect = () => void client.connect({ host, port: listener.port });
    connect();
    await runLoop(loop);
    loop.free();
    assertEquals(received, [count, count]);
  }
});

nativeTest("OpenSSL is always given a passphrase, or it would ask at the terminal", async () => {
  const { server, ca } = await testCertificates();
  const dhParamsFile = Deno.makeTempFileSync();
  const real = openLibssl();
  const given: Record<string, boolean[]> = {};
  const watched = { ...real } as Record<string, unknown>;
  for (const [name, read] of Object.entries(real)) {
    if (!name.startsWith("PEM_read_")) continue;
    watched[name] = (...args: unknown[]) => {
      (given[name] ??= []).push(args[3] !== null);
      return (read as (...args: unknown[]) => unknown)(...args);
    };
  }
  replaceLibssl(watched as Libssl);
  try {
    using loop = new Loop({ backend: epoll });
    assertThrows(() => loop.createContext({ tls: { ...server, ca, dhParamsFile } }));
  } finally {
    replaceLibssl(real);
    Deno.removeSync(dhParamsFile);
  }
  const names = ["PEM_read_bio_DHparams", "PEM_read_bio_PrivateKey", "PEM_read_bio_X509"];
  assertEquals(Object.keys(given).sort(), names);
  assert(Object.values(given).flat().every((isGiven) => isGiven));
});

// ---------------------------------------------------------------- out of memory

/** Has the next calls of one function fail, as often as `failures.left` says. */
async function withFailing(
  name: "SSL_new" | "BIO_new" | "BIO_new_mem_buf",
  test: (failures: { left: number }) => Promise<void>,
): Promise<void> {
  const real = openLibssl();
  const failures = { left: 0 };
  const make = real[name] as (...args: unknown[]) => Deno.PointerObject | null;
  const failing = (...args: unknown[]) => {
    if (failures.left === 0) return make(...args);
    failures.left--;
    return null;
  };
  replaceLibssl({ ...real, [name]: failing } as Libssl);
  try {
    await test(failures);
  } finally {
    replaceLibssl(real);
  }
}

for (const side of ["client", "server"] as const) {
  nativeTest(`a ${side} without memory for TLS closes at once, whatever was written`, async () => {
    const { server: tls, ca } = await testCertificates();
    await withFailing("SSL_new", async (failures) => {
      const loop = new Loop({ backend: epoll });
      const handshakeTimeoutSeconds = 100;
      let failed: { code: number; reason: unknown } | undefined;
      const end = (name: string): Handlers => ({
        onOpen(socket) {
          socket.write("for when the handshake is done");
          if (name === "client" && side === "client") failures.left = 1;
        },
        onServerName: () => void (failures.left = side === "server" ? 1 : 0),
        onClose(_socket, code, reason) {
          if (name === side) failed = { code, reason };
          listener.close();
        },
      });
      const listener = loop
        .createContext({ tls: { ...tls, handshakeTimeoutSeconds }, ...end("server") })
        .listen({ host, port: 0 });
      loop.createContext({ tls: { ca, handshakeTimeoutSeconds }, ...end("client") })
        .connect({ host, port: listener.port, serverName: "localhost" });
      await runLoop(loop); // which does not wait for what can never be sent
      loop.free();
      assertEquals(failed?.code, CloseCode.System);
      assertInstanceOf(failed?.reason, Error);
    });
  });
}

for (const name of ["BIO_new", "BIO_new_mem_buf"] as const) {
  nativeTest(
    `without memory for TLS createContext() throws, and may try again: ${name}`,
    async () => {
      const { server: tls } = await testCertificates();
      await withFailing(name, (failures) => {
        using loop = new Loop({ backend: epoll });
        failures.left = 1;
        assertThrows(() => loop.createContext({ tls }), Error, "memory");
        assertEquals(failures.left, 0);
        loop.createContext({ tls }).free();
        return Promise.resolve();
      });
    },
  );
}

nativeTest("a certificate that there is no memory to read counts as none", async () => {
  const { server: tls, ca, client } = await testCertificates();
  await withFailing("BIO_new", async (failures) => {
    const loop = new Loop({ backend: epoll });
    let info: TlsInfo | undefined;
    const listener = loop.createContext({
      tls: { ...tls, ca, requestCert: true },
      onServerName: () => void (failures.left = 1), // from here on
      onHandshake(socket, given) {
        info = given;
        socket.end();
        listener.close();
      },
    }).listen({ host, port: 0 });
    loop.createContext({ tls: { ...client, ca } })
      .connect({ host: "localhost", port: listener.port });
    await runLoop(loop);
    loop.free();
    assert(info !== undefined);
    assertEquals([failures.left, info.peerCertificate], [0, null]);
    assertFalse(info.authorized);
  });
});
