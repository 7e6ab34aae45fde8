/** Descriptors that run out, where tests/unit does not look: connects of the Deno backend, and TLS. */
import { assertEquals, assertGreater, assertRejects } from "@std/assert";
import "../support/preload.ts";
import { testCertificates } from "../support/certificates.ts";
import { modUrl, Program, runProgram } from "../support/subprocess.ts";

const hostname = "127.0.0.1";

/** What few descriptors leave room for, and what must find none. */
const header = `
  import { denoConn, epoll, Loop } from "${modUrl}";
  const host = "127.0.0.1";
  // Deno makes its signal handling at the first need, and panics where there is no descriptor.
  Deno.addSignalListener("SIGUSR1", () => {});
  const held = [];
  function exhaust() {
    try {
      for (;;) held.push(Deno.openSync("/dev/null"));
    } catch (error) {
      if (error.code !== "EMFILE") throw error;
    }
  }
  function release() {
    for (const file of held.splice(0)) file.close();
  }`;

Deno.test("connects of the Deno backend out of descriptors fail, timers go on", async () => {
  const { ca, server } = await testCertificates();
  const { code, stdout, stderr } = await runProgram(
    `${header}
    const { ca, server } = ${JSON.stringify({ ca, server })};
    const loop = new Loop();
    const plain = loop.createContext().listen({ host, port: 0 });
    const secure = loop.createContext({ tls: server }).listen({ host, port: 0 });
    const options = [{ port: plain.port }, { path: "/tmp/nobody" }, { port: secure.port }];
    const contextOf = (to) => contexts[to.port === secure.port ? 1 : 0];
    let round = 0;
    const next = () => {
      if (round === 2 * options.length) {
        plain.close();
        secure.close();
        return;
      }
      const to = options[round % options.length];
      if (round++ < options.length) exhaust(); // and then once more, with room
      else release();
      contextOf(to).connect(to);
    };
    const handlers = {
      onOpen(socket) {
        console.log("open");
        socket.close();
        next();
      },
      onConnectError(socket, error) {
        console.log(error.code ?? error.name, error.message.startsWith("Cannot connect to "));
        // no descriptor is needed for the time to pass
        loop.createTimer().set(next, 1);
      },
    };
    const contexts = [loop.createContext(handlers), loop.createContext({ ...handlers, tls: { ca } })];
    next();
    await loop.run();
    Deno.exit();`,
    { descriptors: 64 },
  );
  assertEquals(code, 0, stderr);
  assertEquals(
    stdout.trim().split("\n"),
    ["EMFILE true", "EMFILE true", "EMFILE true", "open", "ENOENT true", "open"],
    stderr,
  );
});

for (const run of ["run", "runBlocking"]) {
  Deno.test({
    name: `who waits for 5 s is reset by an epoll listener, and the next is served (${run})`,
    ignore: Deno.build.os !== "linux",
    async fn() {
      const program = new Program(
        `${header}
        const loop = new Loop({ backend: epoll });
        const { now } = performance;
        let waited = 0;
        performance.now = () => now.call(performance) + waited;
        const orders = {
          exhaust,
          release,
          wait: () => waited += 6000,
        };
        const context = loop.createContext({
          onOpen: (socket) => void socket.write("hi"),
          onData(socket, data) {
            orders[new TextDecoder().decode(data)]();
            socket.write("ok");
          },
        });
        console.log(context.listen({ host, port: 0 }).port);
        await loop.${run}();`,
        { descriptors: 64 },
      );
      const port = Number(await program.line());
      const hear = async (conn: Deno.Conn) => {
        const buffer = new Uint8Array(2);
        return new TextDecoder().decode(buffer.subarray(0, await conn.read(buffer) ?? 0));
      };
      using first = await Deno.connect({ hostname, port });
      assertEquals(await hear(first), "hi");
      const order = async (what: string) => {
        await first.write(new TextEncoder().encode(what));
        assertEquals(await hear(first), "ok");
      };
      await order("exhaust");
      const waiting = await Promise.all(
        Array.from({ length: 100 }, () => Deno.connect({ hostname, port })),
      );
      const ends = waiting.map((conn) => hear(conn));
      let left = waiting.length;
      for (const end of ends) end.catch(() => left--);
      // the first time perhaps before it has found that there are none
      while (left > 0) await order("wait");
      for (const end of ends) await assertRejects(() => end, Deno.errors.ConnectionReset);
      for (const conn of waiting) conn.close();
      await order("release");
      using next = await Deno.connect({ hostname, port });
      assertEquals(await hear(next), "hi");
      await program.kill();
    },
  });
}

for (const backend of ["denoConn", "epoll"]) {
  Deno.test({
    name: `TLS connections that find no descriptor wait, and are served (${backend})`,
    ignore: backend === "epoll" && Deno.build.os !== "linux",
    async fn() {
      const clients = 100;
      const { ca, server } = await testCertificates();
      const program = new Program(
        `${header}
        const loop = new Loop({ backend: ${backend} });
        const context = loop.createContext({
          tls: ${JSON.stringify({ ...server, handshakeTimeoutSeconds: 60 })},
          onHandshake: (socket) => void socket.write("hi"),
        });
        console.log(context.listen({ host, port: 0 }).port);
        await loop.run();`,
        { descriptors: 64 },
      );
      const port = Number(await program.line());
      let greeted = 0, lost = 0;
      let mayClose = false;
      const waiting: Deno.Conn[] = [];
      const full = Promise.withResolvers<void>();
      const serve = async () => {
        const conn = await Deno.connectTls({ hostname: "localhost", port, caCerts: [ca] });
        const count = await conn.read(new Uint8Array(2)).catch(() => null);
        if (count === null) lost++;
        else if (++greeted === 15) full.resolve();
        if (mayClose) conn.close();
        else waiting.push(conn);
      };
      const served = Array.from({ length: clients }, serve);
      await full.promise;
      // No event tells that there is no more room; the rest waits for it meanwhile.
      await new Promise((resolve) => setTimeout(resolve, 300));
      const before = greeted;
      mayClose = true;
      for (const conn of waiting) conn.close();
      await Promise.all(served);
      assertEquals([greeted, lost], [clients, 0]);
      assertGreater(clients, before, "descriptors did not run out");
      await program.kill();
    },
  });
}
