// Writing and ending with TLS on the epoll backend: before the handshake is done, in both directions
// by turns, and much at once.
import { assert, assertEquals, assertFalse } from "@std/assert";
import {
  CloseCode,
  epoll,
  type Handlers,
  Loop,
  type LoopOptions,
  type Socket,
  type TlsOptions,
} from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { nativeTest, runLoop } from "../support/native.ts";
import { Digest, pattern, Sender, sha256 } from "../support/streams.ts";

const host = "127.0.0.1";
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

interface Ends {
  server?: Handlers;
  client?: Handlers;
  tls?: TlsOptions;
  loop?: LoopOptions;
}

/** A TLS server that takes one client, run to its end. */
async function meet(
  { server = {}, client = {}, tls = {}, loop: options = {} }: Ends,
): Promise<void> {
  const { server: local, ca } = await testCertificates();
  const errors: unknown[] = [];
  const onError = (error: unknown) => void errors.push(error);
  const loop = new Loop({ backend: epoll, timeoutGranularityMs: 5, onError, ...options });
  const own = { socketExt: () => undefined };
  const listener = loop.createContext<unknown>({
    ...server,
    ...own,
    tls: { ...local, ...tls },
    onOpen(socket, isClient, ip) {
      listener.close();
      server.onOpen?.(socket, isClient, ip);
    },
  }).listen({ host, port: 0 });
  loop.createContext<unknown>({ ...client, ...own, tls: { ca, ...tls } })
    .connect({ host, port: listener.port });
  await runLoop(loop);
  loop.free();
  if (errors.length > 0) throw errors[0];
}

// ---------------------------------------------------------------- before the handshake is done

for (const sendBufferBytes of [1, 1000, 100_000]) {
  nativeTest(`before the handshake a socket accepts ${sendBufferBytes} bytes`, async () => {
    const sent = pattern(300_000);
    const received = new Digest();
    const notes: unknown[] = [];
    let rest = sent;
    const pump = (socket: Socket) => rest = rest.subarray(socket.write(rest));
    await meet({
      loop: { sendBufferBytes },
      client: {
        onOpen(socket) {
          assertEquals(socket.write(rest.subarray(0, 1)), 1);
          rest = rest.subarray(1);
          pump(socket);
          assertEquals(sent.length - rest.length, sendBufferBytes);
          assertEquals(socket.write(rest), 0);
          assertEquals(socket.write2(rest.subarray(0, 5), rest.subarray(5)), 0);
          assertEquals(socket.write(new Uint8Array(0)), 0);
        },
        onHandshake: () => void notes.push("handshake"),
        onWritable(socket) {
          notes.push("writable");
          pump(socket);
          if (rest.length === 0) socket.end();
        },
      },
      server: { onData: (_socket, data) => received.add(data) },
    });
    assertEquals(notes.slice(0, 2), ["handshake", "writable"]);
    assertEquals(notes.filter((note) => note === "handshake").length, 1);
    assertEquals([received.length, received.hex()], [sent.length, sha256(sent)]);
  });
}

nativeTest("onWritable comes once where all fits behind the handshake", async () => {
  const notes: string[] = [];
  let received = "";
  await meet({
    loop: { sendBufferBytes: 10 },
    client: {
      onOpen(socket) {
        assertEquals(socket.write("0123456789more"), 10);
        assertEquals(socket.write("nothing"), 0);
      },
      onWritable(socket) {
        notes.push("writable");
        socket.write("more");
      },
    },
    server: {
      onOpen: (socket) => assertEquals(socket.write("0123456789"), 10), // not short: none is owed
      onWritable: () => void notes.push("the server's"),
      onData(socket, data) {
        received += text(data);
        if (received.endsWith("more")) socket.end();
      },
    },
  });
  assertEquals([received, notes], ["0123456789more", ["writable"]]);
});

nativeTest("what is written before and in onHandshake comes in that order", async () => {
  let received = "";
  await meet({
    client: {
      onOpen(socket) {
        socket.write("one ");
        socket.write2(new Uint8Array([50]), new Uint8Array([32])); // "2 "
        socket.write("three ", true);
        socket.flush();
      },
      onHandshake(socket) {
        socket.write("four ");
        socket.write("five");
        socket.end();
      },
    },
    server: { onData: (_socket, data) => void (received += text(data)) },
  });
  assertEquals(received, "one 2 three four five");
});

nativeTest("bytes handed over before the handshake may be changed at once", async () => {
  let received = "";
  await meet({
    client: {
      onOpen(socket) {
        const bytes = new TextEncoder().encode("as it was");
        socket.write(bytes);
        bytes.fill(33);
        socket.end();
      },
    },
    server: { onData: (_socket, data) => void (received += text(data)) },
  });
  assertEquals(received, "as it was");
});

for (const way of ["close", "end", "shutdown"] as const) {
  nativeTest(`${way}() before the handshake still sends what was accepted`, async () => {
    const sent = pattern(60_000), received = new Digest();
    const notes: unknown[] = [];
    await meet({
      client: {
        onOpen(socket) {
          assertEquals(socket.write(sent), sent.length);
          socket[way]();
          assertEquals(socket.write("more"), 0);
          assertEquals(socket.isClosed, way === "close");
        },
        onData: () => assertFalse(true),
        onClose: (_socket, code) => void notes.push(code),
      },
      server: {
        onData: (_socket, data) => received.add(data),
        onEnd(socket) {
          notes.push("end");
          socket.end();
        },
        onClose: (_socket, code) => void notes.push(code),
      },
    });
    assertEquals(received.hex(), sha256(sent));
    assertEquals(new Set(notes), new Set([0, "end"]));
    assertEquals(notes.length, 3);
  });
}

// ---------------------------------------------------------------- one direction ends

for (const first of ["server", "client"] as const) {
  nativeTest(`the ${first} may end first, and still hear the other out`, async () => {
    const notes: string[] = [];
    const answer = pattern(400_000), received = new Digest();
    const sender = new Sender(answer);
    const speaker: Handlers = { // ends first, then listens
      onHandshake(socket) {
        socket.write("question");
        socket.shutdown();
        assert(socket.isShutDown);
        assertEquals(socket.write("more"), 0);
      },
      onData: (_socket, data) => received.add(data),
      onEnd: () => void notes.push("both ended"),
      onClose: (_socket, code) => void notes.push(`speaker ${code}`),
    };
    const pump = (socket: Socket) => void (sender.pump(socket) && socket.shutdown());
    const listener: Handlers = {
      onData: (_socket, data) => void notes.push(text(data)),
      onEnd(socket) {
        notes.push("one ended");
        pump(socket);
      },
      onWritable: pump,
      onClose: (_socket, code) => void notes.push(`listener ${code}`),
    };
    await meet(
      first === "client"
        ? { client: speaker, server: listener }
        : { client: listener, server: speaker },
    );
    assertEquals(notes.slice(0, 2), ["question", "one ended"]);
    assertEquals(notes.slice(2).sort(), ["both ended", "listener 0", "speaker 0"]);
    assertEquals([received.length, received.hex()], [answer.length, sha256(answer)]);
  });
}

// ---------------------------------------------------------------- much at once

for (const tls of [{}, { maxVersion: "TLSv1.2" }, { ktls: true }, { preferLowMemory: true }]) {
  nativeTest(`close() with much accepted delivers all: ${JSON.stringify(tls)}`, async () => {
    const sent = new Digest(), received = new Digest();
    const codes: number[] = [];
    await meet({
      tls: tls as TlsOptions,
      server: {
        onData(socket) { // by now the kernel takes what is written, until its buffers are full
          for (let seed = 1, isShort = false; !isShort; seed++) {
            const bytes = pattern(500_000, seed);
            const accepted = socket.write(bytes);
            isShort = accepted < bytes.length;
            sent.add(bytes.subarray(0, accepted));
          }
          socket.close();
        },
        onClose: (_socket, code) => void codes.push(code),
      },
      client: {
        onOpen: (socket) => void socket.write("go"),
        onData: (_socket, data) => received.add(data),
        onClose: (_socket, code) => void codes.push(code),
      },
    });
    assertEquals([received.length, received.hex()], [sent.length, sent.hex()]);
    assertEquals(codes, [CloseCode.Clean, CloseCode.Clean]); // close_notify came behind it
  });
}

nativeTest("megabytes go both ways at once, through small buffers", async () => {
  const bytes = pattern(2_000_000);
  const end = (received: Digest): Handlers => {
    const sender = new Sender(bytes);
    let isSent = false;
    const pump = (socket: Socket) => {
      isSent = isSent || sender.pump(socket);
      if (isSent && received.length === bytes.length) socket.shutdown();
    };
    return {
      onHandshake: pump,
      onWritable: pump,
      onData(socket, data) {
        received.add(data);
        if (isSent && received.length === bytes.length) socket.shutdown();
      },
      onEnd: () => {},
    };
  };
  const client = new Digest(), server = new Digest();
  await meet({
    loop: { recvBufferBytes: 1000, sendBufferBytes: 1000 },
    client: end(client),
    server: end(server),
  });
  assertEquals([client.hex(), server.hex()], [sha256(bytes), sha256(bytes)]);
});

nativeTest("a pause holds back what is decrypted, and the end behind it", async () => {
  const notes: string[] = [];
  await meet({
    client: {
      onHandshake(socket) {
        socket.write("hello");
        socket.shutdown();
      },
    },
    server: {
      onHandshake(socket) {
        socket.pause();
        socket.context.loop.createTimer().set(() => { // no event tells that nothing comes
          notes.push("resume");
          socket.resume();
        }, 20);
      },
      onData: (_socket, data) => void notes.push(text(data)),
      onEnd(socket) {
        notes.push("end");
        socket.close();
      },
    },
  });
  assertEquals(notes, ["resume", "hello", "end"]);
});

nativeTest("handlers that throw close their TLS socket with what they threw", async () => {
  const boom = new Error("boom");
  for (const event of ["onOpen", "onHandshake", "onData"] as const) {
    const notes: unknown[] = [];
    const thrown: unknown = await meet({
      client: { onHandshake: (socket) => void socket.write("hello") },
      server: {
        [event]() {
          throw boom;
        },
        onClose: (_socket, code, reason) => void notes.push(code, reason),
      },
    }).catch((error) => error);
    assertEquals(thrown, boom);
    assertEquals(notes, [CloseCode.Handler, boom]);
  }
});
