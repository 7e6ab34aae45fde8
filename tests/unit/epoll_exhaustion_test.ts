// The epoll backend when descriptors have run out.
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { modUrl, Program, runProgram } from "../support/subprocess.ts";

const ignore = Deno.build.os !== "linux"; // the epoll backend needs Linux
const hostname = "127.0.0.1";
const header = `
  import { epoll, Loop } from "${modUrl}";
  const host = "127.0.0.1";
  // Deno makes its signal handling at the first need, and panics where there is no descriptor.
  Deno.addSignalListener("SIGUSR1", () => {});
  const held = [];
  /** Takes all descriptors but so many; returns how many it took. */
  function exhaust(left = 0) {
    const before = held.length;
    try {
      for (;;) held.push(Deno.openSync("/dev/null"));
    } catch (error) {
      if (error.code !== "EMFILE") throw error;
    }
    const taken = held.length - before;
    for (let i = 0; i < left; i++) held.pop().close();
    return taken;
  }
  function release() {
    for (const file of held.splice(0)) file.close();
  }`;

/** What a program prints, line by line, if it ends well. */
async function linesOf(source: string): Promise<string[]> {
  const { code, stdout, stderr } = await runProgram(
    `${header}${source}
    Deno.exit();`,
    { descriptors: 64 },
  );
  assertEquals(code, 0, stderr);
  return stdout.split("\n").slice(0, -1);
}

Deno.test({
  name: "an epoll listener out of descriptors neither spins nor ends, and serves who waited",
  ignore,
  async fn() {
    const clients = 100;
    const program = new Program(
      `${header}
      const loop = new Loop({ backend: epoll });
      const server = loop.createContext({
        onOpen: (socket) => void socket.write("hi"),
        onData: (socket) => void socket.write(\`\${loop.iterationNumber}\\n\`),
      });
      console.log(server.listen({ host, port: 0 }).port);
      await loop.run();`,
      { descriptors: 64 },
    );
    const port = Number(await program.line());
    const conns: Deno.TcpConn[] = [];
    for (let i = 0; i < clients; i++) conns.push(await Deno.connect({ hostname, port }));
    const greeted = new Set<Deno.TcpConn>();
    let lost = 0; // to a program that died
    const greetings = conns.map(async (conn) => {
      const n = await conn.read(new Uint8Array(2)).catch(() => null);
      if (n === null) lost++;
      else greeted.add(conn);
    });

    // The first one is open for sure: ask it how many iterations the loop has run.
    const [first] = conns;
    await greetings[0];
    const ask = async () => {
      await first.write(new Uint8Array(1));
      const buffer = new Uint8Array(20);
      const n = await first.read(buffer);
      return Number(new TextDecoder().decode(buffer.subarray(0, n!)));
    };
    const before = await ask();
    // No event tells that nothing is tried: a loop that spins runs thousands of iterations.
    await new Promise((resolve) => setTimeout(resolve, 300));
    assertLess(await ask() - before, 50);
    assertLess(greeted.size, clients);

    // Room for the rest: everybody who waited is served.
    const done = [...greeted].filter((conn) => conn !== first);
    assertGreater(done.length, 10);
    for (const conn of done) conn.close();
    let waiting = conns.filter((conn) => conn !== first && !done.includes(conn));
    while (waiting.length > 0) {
      await Promise.race(waiting.map((conn) => greetings[conns.indexOf(conn)]));
      assertEquals(lost, 0);
      // those that are greeted make room for the next
      for (const conn of waiting) if (greeted.has(conn)) conn.close();
      waiting = waiting.filter((conn) => !greeted.has(conn));
    }
    await Promise.all(greetings);
    assertEquals(greeted.size, clients);
    assert(await ask() > 0); // and the first one is still open
    first.close();
    await program.kill();
  },
});

Deno.test({
  name: "connect() out of descriptors ends in onConnectError with EMFILE, and timers still work",
  ignore,
  async fn() {
    for (const mode of ["run", "runBlocking"]) {
      const lines = await linesOf(`
        const loop = new Loop({ backend: epoll });
        const listener = loop.createContext().listen({ host, port: 0 });
        const client = loop.createContext({
          onOpen() {
            console.log("open");
            listener.close();
            client.close();
          },
          onConnectError(_socket, error) {
            console.log(error.code, error.message.startsWith("Cannot connect to "));
            release();
            if (options.length > 0) connect();
          },
        });
        const options = [
          { port: listener.port },
          { path: "/tmp/nobody" },
        ];
        const connect = () => {
          exhaust();
          client.connect(options.shift());
        };
        exhaust();
        let ticks = 0;
        loop.createTimer().set((timer) => {
          console.log("tick");
          if (++ticks < 2) return;
          timer.close();
          release();
          connect();
        }, 1, 1);
        release();
        // The last one, when there is room again.
        loop.createTimer({ fallthrough: true }).set(() => {
          if (options.length === 0) client.connect({ port: listener.port });
        }, 50, 50);
        exhaust();
        try {
          await loop.${mode}();
        } catch (error) { // run() needs a descriptor of its own
          console.log("run", error.code);
          release();
          await loop.${mode}();
        }`);
      const refused = mode === "run" ? ["run EMFILE"] : [];
      assertEquals(
        lines,
        [...refused, "tick", "tick", "EMFILE true", "EMFILE true", "open"],
        mode,
      );
    }
  },
});

Deno.test({
  name: "a loop for which descriptors do not suffice throws EMFILE and leaks none",
  ignore,
  async fn() {
    const lines = await linesOf(`
      new Loop({ backend: epoll }).free();
      for (let left = 0; left < 8; left++) {
        exhaust(left);
        try {
          new Loop({ backend: epoll }).free();
          console.log(left, "made", exhaust());
        } catch (error) {
          console.log(left, error.code, exhaust());
        }
        release();
      }`);
    const made = lines.findIndex((line) => line.includes("made"));
    assert(made > 0, lines.join());
    lines.forEach((line, left) => {
      assertEquals(line, `${left} ${left < made ? "EMFILE" : "made"} ${left}`);
    });
  },
});

Deno.test({
  name: "run() and integrate() for which descriptors do not suffice may be called again",
  ignore,
  async fn() {
    const lines = await linesOf(`
      for (const way of ["run", "integrate"]) {
        const loop = new Loop({ backend: epoll });
        const timer = loop.createTimer();
        const fired = new Promise((resolve) => timer.set(() => resolve(console.log(way, "fired")), 1));
        exhaust();
        try {
          await loop[way]();
          console.log(way, "began");
        } catch (error) {
          console.log(way, error.code);
          release();
          await loop[way]();
        }
        await fired; // an integrated loop goes on behind its call
        release();
        loop.free();
      }`);
    const of = (way: string) => [`${way} EMFILE`, `${way} fired`];
    assertEquals(lines, [...of("run"), ...of("integrate")]);
  },
});

Deno.test({
  name: "listen() out of descriptors throws EMFILE and leaks none",
  ignore,
  async fn() {
    const lines = await linesOf(`
      const loop = new Loop({ backend: epoll });
      const context = loop.createContext();
      for (const options of [{ host, port: 0 }, { port: 0 }, { path: "\\0usockets-none" }]) {
        for (let left = 0; left < 2; left++) {
          exhaust(left);
          try {
            const listener = context.listen(options);
            console.log("listens", exhaust());
            listener.close();
          } catch (error) {
            console.log(error.code);
          }
          console.log(exhaust());
          release();
        }
      }`);
    // One descriptor is enough, and closing the listener gives it back.
    assertEquals(lines.join(), Array(3).fill("EMFILE,0,listens 0,1").join());
  },
});
