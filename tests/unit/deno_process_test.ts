// What the Deno backend does to its process: permissions, lifetime, descriptors, bytes on the way.
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { Loop } from "@usockets/usockets";
import { pattern, readAll, sha256 } from "../support/streams.ts";
import { modUrl, Program, runProgram } from "../support/subprocess.ts";

const strict = { sanitizeOps: true, sanitizeResources: true };

const hostname = "127.0.0.1";
const header = `import { Loop } from "${modUrl}"; const host = "127.0.0.1";`;

// ---------------------------------------------------------------- permissions

Deno.test("importing mod.ts needs no permission, and opens nothing", async () => {
  const denied = await runProgram(`${header} console.log(typeof Loop);`, { flags: [] });
  assertEquals([denied.code, denied.stdout], [0, "function\n"], denied.stderr);
  const counted = await runProgram(`
    const count = () => [...Deno.readDirSync("/proc/self/fd")].length;
    await import("data:text/javascript,"); // whatever the first import opens
    const before = count();
    const { Loop } = await import("${modUrl}");
    console.log(count() - before);
    new Loop().createContext();
    console.log(count() - before);`);
  assertEquals([counted.code, counted.stdout], [0, "0\n0\n"], counted.stderr);
});

Deno.test("what is not granted fails with NotCapable", async () => {
  const path = `${Deno.makeTempDirSync()}/x.sock`;
  const { code, stdout, stderr } = await runProgram(
    `
    ${header}
    const loop = new Loop();
    const path = Deno.args[0];
    const context = loop.createContext({
      onConnectError: (_socket, error) => report("connect", error),
    });
    function report(what, error) {
      const { NotCapable } = Deno.errors;
      console.log(what, error instanceof NotCapable, /127.0.0.1:|x.sock/.test(error.message));
    }
    for (const options of [{ host, port: 0 }, { path }]) {
      try {
        context.listen(options).close();
      } catch (error) {
        report("listen", error);
      }
    }
    context.connect({ host, port: 9 });
    context.connect({ path });
    await loop.run();
    console.log("ended");`,
    { flags: [], args: [path] },
  );
  const expected = "listen true true\n".repeat(2) + "connect true true\n".repeat(2) + "ended\n";
  assertEquals([code, stdout], [0, expected], stderr);
  Deno.removeSync(path.slice(0, path.lastIndexOf("/"))); // empty, so no socket was made
});

Deno.test("reusePort shares a port with --unstable-net", async () => {
  const { code, stdout, stderr } = await runProgram(
    `
    ${header}
    const loop = new Loop();
    const context = loop.createContext();
    const first = context.listen({ host, port: 0, reusePort: true });
    const second = context.listen({ host, port: first.port, reusePort: true });
    console.log(first.port === second.port);
    try {
      context.listen({ host, port: first.port });
    } catch (error) {
      console.log(error.name);
    }
    first.close();
    second.close();
    await loop.run();`,
    { flags: ["--allow-net", "--unstable-net"] },
  );
  assertEquals([code, stdout], [0, "true\nAddrInUse\n"], stderr);
});

// ---------------------------------------------------------------- lifetime

/** Two ends of a connection, both paused: Deno has no operation under way. */
const pausedPair = `
  ${header}
  const loop = new Loop();
  let open = 0;
  const onOpen = (socket) => {
    socket.pause();
    if (++open < 2) return;
    listener.close();
    // An unreferenced timer fires only while something else keeps the process alive.
    Deno.unrefTimer(setTimeout(() => {
      console.log("alive");
      server.close();
      client.close();
    }, 100));
  };
  const server = loop.createContext({ onOpen });
  const client = loop.createContext({ onOpen });
  const listener = server.listen({ host, port: 0 });
  client.connect({ host, port: listener.port });`;

Deno.test("a loop with nothing but paused sockets keeps the process alive", async () => {
  const { code, stdout, stderr } = await runProgram(
    `${pausedPair} await loop.run(); console.log("ended");`,
  );
  assertEquals([code, stdout], [0, "alive\nended\n"], stderr);
});

Deno.test("an integrated loop keeps the process alive, and lets it end", async () => {
  const { code, stdout, stderr } = await runProgram(`${pausedPair} loop.integrate();`);
  assertEquals([code, stdout], [0, "alive\n"], stderr);
});

Deno.test("a loop that is not run does not keep the process alive", async () => {
  const { code, stdout, stderr } = await runProgram(`
    ${header}
    const loop = new Loop();
    loop.createContext().listen({ host, port: 0 });
    loop.createTimer().set(() => console.log("fired"), 1);
    console.log("end");`);
  assertEquals([code, stdout], [0, "end\n"], stderr);
});

Deno.test("fallthrough timers do not keep the process alive", async () => {
  const timers = `
    ${header}
    const loop = new Loop();
    loop.createTimer({ fallthrough: true }).set(() => {}, 1, 1);
    loop.createTimer({ fallthrough: true }).set(() => {}, 1_000_000);`;
  for (const run of ["await loop.run();", "loop.integrate();"]) {
    const { code, stdout, stderr } = await runProgram(`${timers} ${run} console.log("end");`);
    assertEquals([code, stdout], [0, "end\n"], stderr);
  }
});

// ---------------------------------------------------------------- bytes on the way

Deno.test("sendBufferBytes bounds what write() accepts", strict, async () => {
  const loop = new Loop({ sendBufferBytes: 1000 });
  const accepted: number[] = [];
  const server = loop.createContext({
    onOpen(socket) {
      accepted.push(
        socket.write(pattern(400)),
        socket.write2(pattern(400), pattern(400)),
        socket.write(pattern(1)),
      );
      socket.end();
    },
  });
  const listener = server.listen({ host: hostname, port: 0 });
  let received = 0;
  const client = loop.createContext({
    onData: (_socket, data) => void (received += data.length),
    onClose: () => listener.close(),
  });
  client.connect({ host: hostname, port: listener.port });
  await loop.run();
  loop.free();
  assertEquals([accepted, received], [[400, 600, 0], 1000]);
});

Deno.test("bytes accepted before close() arrive from a process that then ends", async () => {
  // more than the kernel's buffers hold, and read only when the other side has closed
  const megabytes = 32;
  using listener = Deno.listen({ hostname, port: 0 });
  const program = new Program(
    `
    ${header}
    const loop = new Loop({ sendBufferBytes: ${megabytes << 20} });
    const client = loop.createContext({
      onOpen(socket) {
        console.log(socket.write(new Uint8Array(${megabytes << 20}).fill(7)));
        socket.close();
        console.log(socket.isClosed);
      },
    });
    client.connect({ host, port: Number(Deno.args[0]) });
    await loop.run();`,
    { args: [String(listener.addr.port)] },
  );
  const conn = await listener.accept();
  assertEquals([await program.line(), await program.line()], [String(megabytes << 20), "true"]);
  const received = await readAll(conn);
  assertEquals(received.length, megabytes << 20);
  assertEquals(sha256(received), sha256(new Uint8Array(megabytes << 20).fill(7)));
  conn.close();
  assertEquals(await program.ended(), 0);
});

// ---------------------------------------------------------------- descriptors

Deno.test("running out of descriptors neither spins nor ends the listener", async () => {
  const clients = 100;
  const program = new Program(
    `
    ${header}
    // Deno makes its signal handling at the first need, and panics where there is no descriptor.
    Deno.addSignalListener("SIGUSR1", () => {});
    let accepts = 0, hasFailed = false;
    const listen = Deno.listen;
    Deno.listen = (options) => { // counts what the library asks for
      const listener = listen(options);
      const accept = listener.accept.bind(listener);
      listener.accept = async () => {
        accepts++;
        try {
          return await accept();
        } catch (error) {
          if (!hasFailed) console.log(error.code);
          hasFailed = true;
          throw error;
        }
      };
      return listener;
    };
    const loop = new Loop();
    const server = loop.createContext({
      onOpen: (socket) => void socket.write("hi"),
      onData: (socket) => void socket.write(\`\${accepts}\\n\`),
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
  assertEquals(await program.line(), "EMFILE");

  // The first one is open for sure: ask it how often the library tried to accept.
  const [first] = conns;
  await greetings[0];
  const ask = async () => {
    await first.write(new Uint8Array(1));
    const buffer = new Uint8Array(20);
    const n = await first.read(buffer);
    return Number(new TextDecoder().decode(buffer.subarray(0, n!)));
  };
  const before = await ask();
  assertGreater(before, 10);
  // No event tells that nothing is tried: a loop that spins tries thousands of times.
  await new Promise((resolve) => setTimeout(resolve, 300));
  assertLess(await ask() - before, 50);
  assertLess(greeted.size, clients);

  // Room for the rest: everybody who waited is served.
  const done = [...greeted].filter((conn) => conn !== first);
  assertGreater(done.length, 10);
  for (const conn of done) conn.close();
  const waiting = conns.filter((conn) => conn !== first && !done.includes(conn));
  while (waiting.some((conn) => !greeted.has(conn))) {
    await Promise.race(
      waiting.filter((conn) => !greeted.has(conn)).map((conn) => {
        return greetings[conns.indexOf(conn)];
      }),
    );
    assertEquals(lost, 0);
    // those that are greeted make room for the next
    for (const conn of waiting) if (greeted.has(conn)) tryClose(conn);
  }
  await Promise.all(greetings);
  assertEquals(greeted.size, clients);
  assert(await ask() > 0); // and the first one is still open
  first.close();
  await program.kill();
});

function tryClose(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch { /* closed before */ }
}
