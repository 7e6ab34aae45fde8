// upgradeTls() on the epoll backend where it cannot be, or comes to nothing.
import { assertEquals, assertInstanceOf, assertThrows, fail } from "@std/assert";
import { CloseCode, epoll, Loop, type TlsOptions } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { nativeTest, runLoop } from "../support/native.ts";
import { meetPlain, noted } from "../support/tls_ends.ts";

const host = "127.0.0.1";
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

nativeTest("received must be a Uint8Array, and what is refused changes nothing", async () => {
  const { server: tls, mismatchedKey, ca } = await testCertificates();
  const server: unknown[] = [];
  await meetPlain({
    ...noted(server, (socket, words) => {
      const { InvalidData } = Deno.errors;
      const upgrade = (options?: unknown, received?: unknown) => () =>
        socket.upgradeTls(options as TlsOptions, received as Uint8Array);
      assertThrows(upgrade(tls, "text"), TypeError, '"received"');
      assertThrows(upgrade(tls, [22]), TypeError, '"received"');
      assertThrows(upgrade({ certFle: "x" }), TypeError, "certFle");
      assertThrows(upgrade("yes"), TypeError);
      assertThrows(upgrade(mismatchedKey), InvalidData, "private key");
      assertThrows(upgrade({ ca }), TypeError, "certificate");
      assertThrows(upgrade(), TypeError, "certificate"); // nor has the context
      socket.write(`${words} is still plain`);
      socket.shutdown();
    }),
  }, {
    onOpen: (socket) => void socket.write("it"),
    onData: (_socket, data) => void server.push(text(data)),
  });
  assertEquals(server, ["it", "it is still plain", "end", CloseCode.Clean]);
});

// ---------------------------------------------------------------- when it cannot be

nativeTest(
  "upgradeTls() is Busy where TLS is started, and NotConnected without a socket",
  async () => {
    const { server: tls, ca } = await testCertificates();
    const { Busy, NotConnected } = Deno.errors;
    const loop = new Loop({ backend: epoll });
    const listener = loop.createContext({
      tls,
      onOpen: (socket) => void assertThrows(() => socket.upgradeTls(), Busy),
      onHandshake: (socket) => void assertThrows(() => socket.upgradeTls(tls), Busy),
    }).listen({ host, port: 0 });
    const socket = loop.createContext({
      onOpen(socket) {
        socket.upgradeTls({ ca });
        assertThrows(() => socket.upgradeTls({ ca }), Busy);
      },
      onHandshake(socket) {
        assertThrows(() => socket.upgradeTls({ ca }), Busy);
        socket.close();
        socket.upgradeTls({ ca }); // as every call on a closed socket it does nothing
        listener.close();
      },
    }).connect({ host, port: listener.port });
    assertThrows(() => socket.upgradeTls({ ca }), NotConnected);
    await runLoop(loop);
    loop.free();
  },
);

nativeTest("upgradeTls() is NotConnected once a direction has ended", async () => {
  const { server: tls, ca } = await testCertificates();
  const { NotConnected } = Deno.errors;
  const notes: string[] = [];
  await meetPlain({
    onEnd(socket) {
      assertThrows(() => socket.upgradeTls(tls), NotConnected);
      notes.push("peer ended");
      socket.end();
    },
  }, {
    onOpen(socket) {
      socket.shutdown();
      assertThrows(() => socket.upgradeTls({ ca }), NotConnected);
      notes.push("shut down");
    },
  });
  assertEquals(notes, ["shut down", "peer ended"]);
});

// ---------------------------------------------------------------- handshakes that fail

nativeTest("a client refuses a server that it cannot verify", async () => {
  const { server: tls, ca, otherHost } = await testCertificates();
  for (
    const [serverTls, clientTls, code] of [
      [tls, undefined, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY"],
      [otherHost, { ca }, "IP_ADDRESS_MISMATCH"],
      [tls, { ca, serverName: "other.test" }, "HOSTNAME_MISMATCH"],
    ] as [TlsOptions, TlsOptions | undefined, string][]
  ) {
    const reasons: unknown[] = [];
    const never = { onHandshake: () => fail("agreed"), onData: () => fail("data") };
    await meetPlain({
      ...never,
      onOpen: (socket) => socket.upgradeTls(serverTls),
      onClose: (_socket, code) => assertEquals(code, CloseCode.Tls),
    }, {
      ...never,
      onOpen: (socket) => socket.upgradeTls(clientTls),
      onClose(_socket, closeCode, reason) {
        assertInstanceOf(reason, Deno.errors.InvalidData);
        reasons.push(closeCode, (reason as Error & { code: string }).code);
      },
    });
    assertEquals(reasons, [CloseCode.Tls, code]);
  }
});

nativeTest("on a unix path the server's name is needed", async () => {
  const { server: tls, ca } = await testCertificates();
  const path = `\0usockets-upgrade-${Deno.pid}`;
  const notes: unknown[] = [];
  const loop = new Loop({ backend: epoll });
  const listener = loop.createContext({
    onOpen(socket) {
      listener.close();
      socket.upgradeTls(tls);
    },
  }).listen({ path });
  loop.createContext({
    onOpen(socket) {
      assertThrows(() => socket.upgradeTls({ ca }), TypeError, '"serverName"');
      socket.upgradeTls({ ca, serverName: "localhost" });
    },
    onHandshake(socket, info) {
      notes.push(info.authorized);
      socket.end();
    },
    onClose: (_socket, code) => void notes.push(code),
  }).connect({ path });
  await runLoop(loop);
  loop.free();
  assertEquals(notes, [true, CloseCode.Clean]);
});

nativeTest("a peer that goes on in plain text ends the handshake with onClose(Tls)", async () => {
  const { server: tls } = await testCertificates();
  const codes: unknown[] = [];
  await meetPlain({
    onData(socket) {
      socket.upgradeTls(tls);
      socket.write("go on");
    },
    onHandshake: () => fail("agreed"),
    onClose(_socket, code, reason) {
      assertInstanceOf(reason, Deno.errors.InvalidData);
      codes.push(code);
    },
  }, {
    onOpen(socket) {
      socket.write("STARTTLS");
      // No answer comes, and no event tells that the server has begun.
      socket.context.loop.createTimer().set(() => void socket.write("MAIL FROM: <me>"), 20);
    },
  });
  assertEquals(codes, [CloseCode.Tls]);
});

nativeTest("handshakeTimeoutSeconds of upgradeTls() bounds a silent peer", async () => {
  const { server: tls } = await testCertificates();
  const reasons: unknown[] = [];
  await meetPlain({
    onOpen: (socket) => socket.upgradeTls({ ...tls, handshakeTimeoutSeconds: 0.02 }),
    onHandshake: () => fail("agreed"),
    onClose: (_socket, code, reason) => void reasons.push(code, (reason as Error).name),
  }, { onOpen: () => {} });
  assertEquals(reasons, [CloseCode.Tls, "TimedOut"]);
});
