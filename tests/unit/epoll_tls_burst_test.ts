// Many handshakes at once on the epoll backend: each gets its turn, and who is open is served meanwhile.
import { assertEquals, assertGreater } from "@std/assert";
import { epoll, Loop } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { modes, nativeTest, runLoop } from "../support/native.ts";

const host = "127.0.0.1";
const COUNT = 60;

for (const mode of modes) {
  nativeTest(`${COUNT} clients that come at once all get in: ${mode}`, async () => {
    const { server: tls, otherHost, ca } = await testCertificates();
    const loop = new Loop({ backend: epoll });
    const names: unknown[] = [];
    const server = loop.createContext({
      tls,
      onHandshake: (socket) => void names.push(socket.serverNameUserData),
      onData: (socket, data) => void socket.write(data),
    });
    server.addServerName("other.test", otherHost, "other");
    const listener = server.listen({ host, port: 0 });
    const answers: string[] = [];
    const clients = loop.createContext<number>({
      tls: { ca },
      socketExt: () => 0,
      onOpen: (socket) => void socket.write(`client ${socket.ext}`),
      onData(socket, data) {
        answers.push(new TextDecoder().decode(data));
        socket.end();
      },
      onClose: () => {
        if (answers.length === COUNT) listener.close();
      },
    });
    for (let ext = 0; ext < COUNT; ext++) {
      const serverName = ext % 2 === 0 ? "localhost" : "other.test";
      clients.connect({ host, port: listener.port, serverName, ext });
    }
    await runLoop(loop, mode);
    loop.free();
    const expected = Array.from({ length: COUNT }, (_, i) => `client ${i}`);
    assertEquals(answers.toSorted(), expected.toSorted());
    assertEquals(names.filter((name) => name === "other").length, COUNT / 2);
  });

  nativeTest(`a burst of handshakes leaves room for those that are open: ${mode}`, async () => {
    const { server: tls, ca } = await testCertificates();
    let handshakes = 0, echoes = 0;
    const most: number[] = [];
    const loop = new Loop({
      backend: epoll,
      onPre: () => most.push(0),
    });
    const server = loop.createContext({
      tls,
      onHandshake: () => {
        handshakes++;
        most[most.length - 1]++;
      },
      onData: (socket, data) => void socket.write(data),
    });
    const listener = server.listen({ host, port: 0 });
    const burst = () => {
      for (let i = 0; i < COUNT; i++) {
        loop.createContext({
          tls: { ca },
          onHandshake: (socket) => void (handshakes < COUNT + 1 || socket.end()),
        }).connect({ host, port: listener.port });
      }
    };
    loop.createContext({
      tls: { ca },
      onHandshake(socket) {
        socket.write("echo");
        burst();
      },
      onData(socket, data) {
        if (handshakes <= COUNT) echoes++;
        if (handshakes <= COUNT) return void socket.write(data);
        listener.close();
        for (const context of loop.contexts) context.close();
      },
    }).connect({ host, port: listener.port });
    await runLoop(loop, mode);
    loop.free();
    assertEquals(handshakes, COUNT + 1);
    assertGreater(echoes, 3);
    assertEquals(most.filter((count) => count > 5), []); // in one iteration
  });
}

nativeTest("who closes while waiting for a turn takes nobody's", async () => {
  const { server: tls, ca } = await testCertificates();
  const greeted: number[] = [];
  let gone = 0, served = 0;
  const loop = new Loop({ backend: epoll });
  const listener = loop.createContext({ tls, onHandshake: () => served++ })
    .listen({ host, port: 0 });
  const clients = loop.createContext<number>({
    tls: { ca },
    socketExt: () => 0,
    onOpen(socket) { // its first turn comes behind this
      if (socket.ext % 3 === 0) socket.close();
      if (socket.ext % 3 === 1) socket.reset();
    },
    onHandshake(socket) {
      greeted.push(socket.ext);
      socket.end();
    },
    onClose() {
      if (++gone === COUNT) listener.close();
    },
  });
  for (let ext = 0; ext < COUNT; ext++) clients.connect({ host, port: listener.port, ext });
  await runLoop(loop);
  loop.free();
  const patient = Array.from({ length: COUNT }, (_, i) => i).filter((i) => i % 3 === 2);
  assertEquals(greeted.toSorted((a, b) => a - b), patient);
  assertEquals(served, patient.length);
});
