// Peers whose TLS is driven by hand: what they send comes in parts, and they read late, or never. And
// sockets that close with bytes which nobody can take.
import { assertEquals, assertLess } from "@std/assert";
import { CloseCode, epoll, type Handlers, Loop, type Socket } from "@usockets/usockets";
import { EPOLL_CTL_MOD, SOL_SOCKET } from "../../ffi/constants.ts";
import { ENOMEM, setErrno } from "../../ffi/errno.ts";
import { openLibc, replaceLibc } from "../../ffi/libc.ts";
import { setNonblocking, setOption } from "../../ffi/sockets.ts";
import { testCertificates } from "../support/certificates.ts";
import { HandDriven, hasTicketsAtWill } from "../support/hand_driven.ts";
import { close, isLinux, nativeTest, read, runLoop, socketPair, write } from "../support/native.ts";
import { concat, pattern, sha256, writeAll } from "../support/streams.ts";

const host = "127.0.0.1";
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

const SO_SNDBUF = 7;

/** More than all buffers on the way take. */
const FLOOD_BYTES = 16 << 20;

// ---------------------------------------------------------------- a peer that never reads

/** Plays a script in turns of the loop, one step after another, beside what else it does. */
function play(loop: Loop, script: Generator<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    const turns = loop.createTimer();
    turns.set(
      () => {
        try {
          if (!script.next().done) return;
          turns.close();
          resolve();
        } catch (error) {
          loop.free();
          reject(error);
        }
      },
      1,
      1,
    );
  });
}

nativeTest("a peer that asks for new keys and reads no answer is not read from", async () => {
  const { server: tls } = await testCertificates();
  const [fd, peerFd] = socketPair();
  const libc = openLibc();
  setNonblocking(libc, peerFd, "Cannot connect a peer");
  for (const end of [fd, peerFd]) setOption(libc, end, SOL_SOCKET, SO_SNDBUF, 20_000);
  using peer = new HandDriven("client", {});
  const loop = new Loop({ backend: epoll });
  let code = NaN, sent = 0, echo: Uint8Array = new Uint8Array(0);
  const answer = (socket: Socket) => echo = echo.subarray(socket.write(echo));
  loop.createContext({
    tls,
    onData(socket, data) {
      echo = data.slice();
      answer(socket);
    },
    onWritable: answer,
    onClose: (_socket, given) => void (code = given),
  }).adoptHandle(fd);
  let rest: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  /** Sends what there is room for; returns whether that was all. */
  const send = () => {
    rest = new Uint8Array(concat([rest, peer.take()]));
    const count = rest.length > 0 ? Math.max(0, write(peerFd, rest)) : 0;
    sent += count;
    rest = rest.subarray(count);
    return rest.length === 0;
  };
  function* flood() {
    while (!peer.handshake()) {
      send();
      yield;
      peer.feed(read(peerFd));
    }
    // Until nothing is taken for some turns: the server reads no more.
    for (let stuck = 0; stuck < 5;) {
      for (let i = 0; i < 1000 && rest.length === 0; i++) peer.requestKeyUpdate();
      stuck = send() ? 0 : stuck + 1;
      assertLess(sent, 4 << 20, "it reads on");
      yield;
    }
    peer.write("still there?");
    let received = "";
    while (!peer.isEnded) { // it reads the answers now
      send();
      yield;
      for (let bytes = read(peerFd); bytes.length > 0; bytes = read(peerFd)) peer.feed(bytes);
      received += text(peer.read());
      if (received === "still there?") peer.end();
    }
    assertEquals(received, "still there?");
  }
  await Promise.all([runLoop(loop), play(loop, flood())]);
  assertEquals(code, CloseCode.Clean);
  loop.free();
  close(peerFd);
});

// ---------------------------------------------------------------- a server of records in parts

/** A client meets a server that is driven by hand, and is run to its end. */
async function meetServer(
  clientHandlers: Handlers<unknown>,
  act: (server: HandDriven, conn: Deno.Conn) => Promise<void>,
  sendBufferBytes?: number,
): Promise<void> {
  const { server: tls, client, ca } = await testCertificates();
  // With the client's certificate in it a ticket is longer than a record may be here.
  using server = new HandDriven("server", { ...tls, ca, requestCert: true });
  server.sendSmallRecords();
  const loop = new Loop({ backend: epoll, sendBufferBytes });
  const listener = Deno.listen({ hostname: host, port: 0 });
  loop.createContext<unknown>({
    ...clientHandlers,
    tls: { ...client, ca },
    socketExt: () => undefined,
  }).connect({ host, port: listener.addr.port });
  const running = runLoop(loop);
  const conn = await listener.accept();
  listener.close();
  conn.setNoDelay(true);
  try {
    await act(server, conn);
  } finally {
    conn.close();
    await running;
    loop.free();
  }
}

/** Registers a test, if this OpenSSL can do what it takes. */
function ticketTest(name: string, test: () => Promise<void>): void {
  if (!isLinux || hasTicketsAtWill()) nativeTest(name, test);
  else Deno.test.ignore(`${name} (it takes OpenSSL 3)`, () => {});
}

for (const how of ["write", "shutdown", "close"] as const) {
  ticketTest(`${how}() between two parts of a ticket waits for the second`, async () => {
    const events: unknown[] = [];
    const acted = Promise.withResolvers<void>();
    const answer = (socket: Socket) => void events.push(socket.write("answer"));
    await meetServer({
      onData(socket, data) {
        events.push(text(data));
        if (how === "write") answer(socket as Socket);
        else socket[how]();
        acted.resolve();
      },
      onWritable: (socket) => answer(socket as Socket),
      onClose: (_socket, code) => void events.push(`close ${code}`),
    }, async (server, conn) => {
      await server.shakeHands(conn);
      server.write("go");
      const go = server.take();
      server.sendTicket();
      const ticket = server.take();
      const partBytes = 5 + (ticket[3] << 8 | ticket[4]);
      assertLess(partBytes, ticket.length); // there are two
      await writeAll(conn, concat([go, ticket.subarray(0, partBytes)]));
      await acted.promise;
      await writeAll(conn, ticket.subarray(partBytes));
      if (how === "write") {
        let received = "";
        while (received !== "answer" && await server.receive(conn)) received += text(server.read());
        assertEquals(received, "answer");
        server.end();
        await server.send(conn);
      }
      assertEquals(text(await server.readAll(conn)), ""); // close_notify, and no mere FIN
      server.end();
      if (how === "shutdown") await server.send(conn);
    });
    assertEquals(events, ["go", ...how === "write" ? [0, 6] : [], "close 0"]);
  });
}

for (const moment of ["onOpen", "onHandshake"] as const) {
  ticketTest(`close() of a client behind writes in ${moment} loses none of them`, async () => {
    const bytes = pattern(1 << 20);
    let accepted = 0, code = NaN;
    await meetServer(
      {
        [moment](socket: Socket) {
          accepted = socket.write(bytes);
          socket.close();
        },
        onClose: (_socket, given) => void (code = given),
      },
      async (server, conn) => {
        const most = 4096; // it reads late
        await server.shakeHands(conn, most);
        server.sendTicket(); // by now nobody is interested in it
        await server.send(conn);
        const received = await server.readAll(conn, most);
        assertEquals(received.length, accepted);
        assertEquals(sha256(received), sha256(bytes.subarray(0, accepted)));
      },
      bytes.length,
    );
    assertEquals(code, CloseCode.Clean);
  });
}

// ---------------------------------------------------------------- closing with much accepted

nativeTest("two ends that close with much accepted do not wait for each other", async () => {
  const { server: tls, ca } = await testCertificates();
  const loop = new Loop({ backend: epoll });
  const bytes = new Uint8Array(FLOOD_BYTES);
  const shaken: Socket[] = [];
  const codes: number[] = [];
  const end: Handlers = {
    onHandshake(socket) {
      socket.pause();
      shaken.push(socket as Socket);
      if (shaken.length < 2) return;
      listener.close();
      loop.createTimer().set(() => { // behind the handshake the kernel's buffers can be filled
        for (const one of shaken) assertLess(one.write(bytes), bytes.length);
        for (const one of shaken) one.close();
      }, 1);
    },
    onClose: (_socket, code) => void codes.push(code),
  };
  const listener = loop.createContext({ ...end, tls }).listen({ host, port: 0 });
  loop.createContext({ ...end, tls: { ca } }).connect({ host, port: listener.port });
  await runLoop(loop);
  loop.free();
  assertEquals(codes, [CloseCode.Clean, CloseCode.Clean]);
});

nativeTest("a TLS socket that cannot be watched closes with System, and is gone", async () => {
  const { server: tls, ca } = await testCertificates();
  const real = openLibc();
  let failing = -1;
  const control: typeof real.epoll_ctl = (epfd, operation, fd, event) => {
    if (fd !== failing || operation !== EPOLL_CTL_MOD) {
      return real.epoll_ctl(epfd, operation, fd, event);
    }
    setErrno(real, ENOMEM);
    return -1;
  };
  replaceLibc({ ...real, epoll_ctl: control });
  let loop: Loop;
  try {
    loop = new Loop({ backend: epoll });
  } finally {
    replaceLibc(real);
  }
  const codes: number[] = [];
  const listener = loop.createContext({
    tls,
    onData(socket) {
      listener.close();
      client.pause();
      failing = socket.nativeHandle as number;
      assertLess(socket.write(new Uint8Array(FLOOD_BYTES)), FLOOD_BYTES); // the rest waits for room
    },
    onClose(_socket, code) {
      codes.push(code);
      client.resume(); // and read on until the descriptor is closed
    },
  }).listen({ host, port: 0 });
  const client = loop.createContext({
    tls: { ca },
    onHandshake: (socket) => void socket.write("go"),
    onClose: (_socket, code) => void codes.push(code),
  }).connect({ host, port: listener.port });
  await runLoop(loop);
  loop.free();
  assertEquals(codes, [CloseCode.System, CloseCode.Truncated]);
});
