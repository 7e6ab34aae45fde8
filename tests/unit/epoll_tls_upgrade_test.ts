// upgradeTls() on the epoll backend: plain before, encrypted after, and no byte on the wrong side.
import { assertEquals, fail } from "@std/assert";
import { CloseCode, epoll, Loop, type Socket, type SocketContext } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { nativeTest, runLoop } from "../support/native.ts";
import { concat, Digest, pattern } from "../support/streams.ts";
import { pump } from "../support/tapped.ts";
import { meetPlain, noted } from "../support/tls_ends.ts";

const host = "127.0.0.1";
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

nativeTest("both sides go from plain to TLS behind a command and its answer", async () => {
  const { server: tls, ca } = await testCertificates();
  const server: unknown[] = [], client: unknown[] = [];
  await meetPlain({
    ...noted(server, (socket, words) => {
      if (words === "secret") return void socket.write("also secret");
      assertEquals(socket.tls, null);
      socket.write("220 go");
      socket.upgradeTls(tls);
      assertEquals(socket.tls, null);
    }),
  }, {
    ...noted(client, (socket, words) => {
      if (words === "also secret") return socket.end();
      socket.upgradeTls({ ca, serverName: "localhost" });
      socket.write("secret"); // waits for the handshake
    }),
    onOpen: (socket) => void socket.write("STARTTLS"),
  });
  assertEquals(server, ["STARTTLS", "TLSv1.3", "secret", "end", CloseCode.Clean]);
  assertEquals(client, ["220 go", "TLSv1.3", "also secret", CloseCode.Clean]);
});

nativeTest("a server may begin TLS right away, and a client too", async () => {
  const { server: tls, ca } = await testCertificates();
  const server: unknown[] = [], client: unknown[] = [];
  await meetPlain({
    ...noted(server, (socket) => socket.end()),
    onOpen: (socket) => socket.upgradeTls(tls),
  }, {
    ...noted(client, () => {}),
    onOpen(socket) {
      socket.upgradeTls({ ca });
      socket.write("hello");
    },
  });
  assertEquals(server, ["TLSv1.3", "hello", CloseCode.Clean]);
  assertEquals(client, ["TLSv1.3", "end", CloseCode.Clean]);
});

nativeTest("what was accepted before upgradeTls() goes out before it, plain", async () => {
  const { server: tls, ca } = await testCertificates();
  const sent = new Digest(), received = new Digest();
  const notes: unknown[] = [];
  await meetPlain({
    onOpen(socket) {
      for (let seed = 1, isShort = false; !isShort; seed++) {
        const bytes = pattern(1_000_000, seed);
        const accepted = socket.write(bytes);
        isShort = accepted < bytes.length;
        sent.add(bytes.subarray(0, accepted));
      }
      socket.upgradeTls(tls);
      socket.write("secret");
    },
    onWritable: () => void notes.push("writable"),
    onHandshake: () => void notes.push("handshake"),
  }, {
    onData(socket, data) {
      if (socket.tls !== null) {
        assertEquals(text(data), "secret");
        return socket.end();
      }
      received.add(data);
      if (received.length === sent.length) socket.upgradeTls({ ca });
    },
  });
  assertEquals(notes, ["handshake", "writable"]); // it was owed since the short write
  assertEquals([received.length, received.hex()], [sent.length, sent.hex()]);
});

// ---------------------------------------------------------------- what came behind the command

nativeTest("a ClientHello behind the command is not lost", async () => {
  const { server: tls, ca } = await testCertificates();
  const server: unknown[] = [], client: unknown[] = [];
  let before = new Uint8Array(0);
  await meetPlain({
    ...noted(server, (socket) => socket.end()),
    onData(socket, data) {
      if (socket.tls !== null) {
        server.push(text(data));
        return socket.end();
      }
      before = new Uint8Array(concat([before, data]));
      const end = before.indexOf(10) + 1;
      if (end === 0 || before.length === end) return; // until something is behind it
      server.push(text(before.subarray(0, end)));
      socket.upgradeTls(tls, before.subarray(end));
      before.fill(0); // the library has its own copy
    },
  }, {
    ...noted(client, () => {}),
    onOpen(socket) {
      socket.write("STARTTLS\n");
      socket.upgradeTls({ ca }); // without waiting for an answer
      socket.write("secret");
    },
  });
  assertEquals(server, ["STARTTLS\n", "TLSv1.3", "secret", CloseCode.Clean]);
  assertEquals(client, ["TLSv1.3", "end", CloseCode.Clean]);
});

for (const count of [1, 4, 60]) {
  nativeTest(`the first ${count} bytes of a ClientHello may come behind the command`, async () => {
    const { server: tls, ca } = await testCertificates();
    const notes: unknown[] = [];
    const loop = new Loop({ backend: epoll });
    const upgraded = Promise.withResolvers<void>();
    const server = loop.createContext({
      tls,
      onServerName: (_context, name) => void notes.push(name), // looks into it itself
      onHandshake: (socket) => void socket.end(),
      onClose: (_socket, code) => void notes.push(code),
    });
    const listener = loop.createContext<unknown>({
      socketExt: () => undefined,
      onData(socket, data) {
        assertEquals(data.length, count);
        server.adopt(socket as Socket).upgradeTls(undefined, data);
        upgraded.resolve();
      },
    }).listen({ host, port: 0 });
    // Between the two: lets through so many bytes first, the rest when TLS has begun.
    const relay = Deno.listen({ hostname: host, port: 0 });
    const front = relay.accept();
    loop.createContext({
      onOpen: (socket) => socket.upgradeTls({ ca, serverName: "localhost" }),
    }).connect({ host, port: relay.addr.port });
    const running = runLoop(loop);
    const back = await Deno.connect({ hostname: host, port: listener.port });
    await pass(await front, back, count, upgraded.promise);
    relay.close();
    listener.close();
    await running;
    loop.free();
    assertEquals(notes, ["localhost", CloseCode.Clean]);
  });
}

/** Passes on what two connections send, the first bytes alone and the rest of them later. */
async function pass(
  front: Deno.TcpConn,
  back: Deno.TcpConn,
  count: number,
  later: Promise<void>,
): Promise<void> {
  back.setNoDelay(true);
  const hello = new Uint8Array(4096);
  const length = (await front.read(hello))!;
  await back.write(hello.subarray(0, count));
  await later;
  await back.write(hello.subarray(count, length));
  await Promise.all([pump(front, back), pump(back, front)]);
  front.close();
  back.close();
}

// ---------------------------------------------------------------- contexts

nativeTest("adopted into a context with TLS, a socket takes its options", async () => {
  const { server: tls, ca, client: mine } = await testCertificates();
  const notes: unknown[] = [];
  const never = { onData: () => fail("ciphertext"), onHandshake: () => fail("old handler") };
  const loop = new Loop({ backend: epoll });
  const secureServer = loop.createContext({
    tls: { ...tls, ca, requestCert: true, alpnProtocols: ["x"] },
    onHandshake: (socket, info) => {
      notes.push(info.alpnProtocol, info.peerCertificate!.subject);
      socket.write("secret");
    },
    onClose: (_socket, code) => void notes.push(code),
  });
  const secureClient = loop.createContext({
    tls: { ca, ...mine, alpnProtocols: ["x"] },
    onData: (socket, data) => {
      notes.push(text(data));
      socket.end();
    },
  });
  const adopt = (context: SocketContext, socket: Socket) => context.adopt(socket).upgradeTls();
  const listener = loop.createContext({
    ...never,
    onOpen(socket) {
      listener.close();
      adopt(secureServer as SocketContext, socket as Socket);
    },
  }).listen({ host, port: 0 });
  loop.createContext({
    ...never,
    onOpen: (socket) => adopt(secureClient as SocketContext, socket as Socket),
  }).connect({ host: "localhost", port: listener.port }); // which the server has to prove
  await runLoop(loop);
  loop.free();
  assertEquals(notes, ["x", "CN=test client", "secret", CloseCode.Clean]);
});

nativeTest("the context's options may be freed while the socket lives on", async () => {
  const { server: tls, ca } = await testCertificates();
  const notes: unknown[] = [];
  const loop = new Loop({ backend: epoll });
  const plain = loop.createContext({
    onHandshake: (socket) => void socket.write("secret"),
    onClose: (_socket, code) => void notes.push(code),
  });
  const listener = plain.listen({ host, port: 0 });
  plain.onOpen = (socket) => {
    listener.close();
    const secure = loop.createContext({ tls: { ...tls, alpnProtocols: ["x"] } });
    secure.adopt(socket as Socket).upgradeTls();
    plain.adopt(socket as Socket);
    secure.free();
  };
  loop.createContext({
    onOpen: (socket) => socket.upgradeTls({ ca, alpnProtocols: ["x"] }),
    onData: (socket, data) => {
      notes.push(text(data), socket.tls!.alpnProtocol);
      socket.end();
    },
  }).connect({ host, port: listener.port });
  await runLoop(loop);
  loop.free();
  assertEquals(notes, ["secret", "x", CloseCode.Clean]);
});

nativeTest("a paused socket shakes hands, and holds back what it decrypts", async () => {
  const { server: tls, ca } = await testCertificates();
  const notes: unknown[] = [];
  let server!: Socket<unknown>;
  await meetPlain({
    onOpen(socket) {
      server = socket;
      socket.pause();
      socket.upgradeTls(tls);
    },
    onHandshake(socket) {
      notes.push("handshake");
      socket.write("go");
    },
    onData(socket, data) {
      notes.push(text(data));
      socket.end();
    },
  }, {
    onOpen(socket) {
      socket.upgradeTls({ ca });
      socket.write("hello");
    },
    onData() {
      notes.push("resume");
      server.resume();
    },
  });
  assertEquals(notes, ["handshake", "resume", "hello"]);
});
