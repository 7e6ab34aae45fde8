// What the epoll backend does to its process: permissions, and how long the process lives.
import { assertEquals, assertStringIncludes } from "@std/assert";
import { modUrl, Program, runProgram } from "../support/subprocess.ts";

const ignore = Deno.build.os !== "linux"; // the epoll backend needs Linux
const header = `import { autoBackend, epoll, Loop, READABLE } from "${modUrl}";
  const host = "127.0.0.1";`;
const root = new URL("../..", import.meta.url).pathname;

/** What a program prints, line by line, if it ends well. */
async function linesOf(source: string, flags?: string[], args?: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await runProgram(`${header}${source}`, { flags, args });
  assertEquals(code, 0, stderr);
  return stdout.split("\n").slice(0, -1);
}

// ---------------------------------------------------------------- what is enough

/** A server that echoes, a client that checks it; `$HOST` and `$RUN` are put in. */
const echo = `
  function echoing(host) {
    const loop = new Loop({ backend: epoll });
    const server = loop.createContext({ onData: (socket, data) => void socket.write(data) });
    const listener = server.listen({ host, port: 0 });
    const client = loop.createContext({
      onOpen: (socket) => void socket.write("hello"),
      onData(socket, data) {
        console.log(host, new TextDecoder().decode(data), socket.remotePort === listener.port);
        socket.close();
      },
      onConnectError: (_socket, error) => console.log(error),
      onClose: () => listener.close(),
    });
    client.connect({ host, port: listener.port });
    return loop;
  }`;

Deno.test({
  name: "epoll works with --allow-ffi and --allow-net alone",
  ignore,
  async fn() {
    const lines = await linesOf(
      `${echo}
      for (const host of ["127.0.0.1", "localhost"]) {
        await echoing(host).run();
        echoing(host).runBlocking();
      }
      const loop = echoing("localhost");
      loop.createContext().listen({ port: 0 }).close();
      loop.integrate();`,
      ["--allow-ffi", "--allow-net"],
    );
    const of = (host: string) => `${host} hello true`;
    assertEquals(
      lines,
      [of("127.0.0.1"), of("127.0.0.1"), ...Array(3).fill(of("localhost"))],
    );
  },
});

Deno.test({
  name: "epoll works in a Worker with these permissions",
  ignore,
  async fn() {
    const worker = `${header}${echo}
      const console = { log: (...args) => postMessage(args.join(" ")) };
      await echoing("localhost").run();
      echoing(host).runBlocking();
      postMessage("done");`;
    const lines = await linesOf(
      `
      const code = Deno.args[0];
      const worker = new Worker("data:text/javascript," + encodeURIComponent(code), {
        type: "module",
      });
      worker.onmessage = ({ data }) => {
        console.log(data);
        if (data === "done") worker.terminate();
      };`,
      // Deno loads no file into a Worker without being allowed to read it.
      ["--allow-ffi", "--allow-net", `--allow-read=${root}`],
      [worker],
    );
    assertEquals(lines, ["localhost hello true", "127.0.0.1 hello true", "done"]);
  },
});

Deno.test({
  name: "without --allow-ffi epoll throws NotCapable, and autoBackend does without",
  ignore,
  async fn() {
    const program = `
      console.log(new Loop({ backend: autoBackend }).backendName);
      try {
        console.log(new Loop({ backend: epoll }).backendName);
      } catch (error) {
        console.log(error instanceof Deno.errors.NotCapable, error.message);
      }`;
    const message = "true Cannot use the epoll backend: requires ffi access without limits, run " +
      "again with the --allow-ffi flag, without a path";
    assertEquals(await linesOf(program, ["--allow-net"]), ["deno", message]);
    for (const scope of ["/tmp", "libc.so.6"]) {
      assertEquals(
        await linesOf(program, ["--allow-net", `--allow-ffi=${scope}`]),
        ["deno", message],
        scope,
      );
    }
    assertEquals(await linesOf(program, ["--allow-all", "--deny-ffi"]), ["deno", message]);
    assertEquals(await linesOf(program, ["--allow-ffi"]), ["epoll", "epoll"]);
  },
});

Deno.test("on other systems epoll throws NotSupported, and autoBackend does without", async () => {
  const { code, stdout, stderr } = await runProgram(`
    const { build } = Deno;
    const { autoBackend, epoll, Loop } = await import("${modUrl}");
    for (const change of [{ os: "darwin" }, { os: "linux", arch: "riscv64" }]) {
      Object.defineProperty(Deno, "build", { value: { ...build, ...change }, configurable: true });
      console.log(new Loop({ backend: autoBackend }).backendName);
      try {
        new Loop({ backend: epoll });
      } catch (error) {
        console.log(error instanceof Deno.errors.NotSupported, error.message);
      }
    }`);
  assertEquals(code, 0, stderr);
  assertEquals(stdout.split("\n"), [
    "deno",
    "true Cannot use the epoll backend: it needs Linux, and this is darwin (denoConn works " +
    "everywhere)",
    "deno",
    "true Cannot use the epoll backend on riscv64",
    "",
  ]);
});

// ---------------------------------------------------------------- how long the process lives

/** Two ends of a connection, both paused: no event is to come. */
const pausedPair = `
  const loop = new Loop({ backend: epoll });
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

Deno.test({
  name: "an epoll loop with nothing but paused sockets keeps the process alive, and lets it end",
  ignore,
  async fn() {
    const awaited = await linesOf(`${pausedPair} await loop.run(); console.log("ended");`);
    assertEquals(awaited, ["alive", "ended"]);
    assertEquals(await linesOf(`${pausedPair} loop.integrate();`), ["alive"]);
  },
});

Deno.test({
  name: "an epoll loop that is not run does not keep the process alive",
  ignore,
  async fn() {
    const lines = await linesOf(`
      const loop = new Loop({ backend: epoll });
      loop.createContext().listen({ host, port: 0 });
      loop.createTimer().set(() => console.log("fired"), 1);
      console.log("end");`);
    assertEquals(lines, ["end"]);
  },
});

Deno.test({
  name: "fallthrough timers and polls do not keep an epoll loop running, nor the process alive",
  ignore,
  async fn() {
    const fallthrough = `
      const loop = new Loop({ backend: epoll });
      loop.createTimer({ fallthrough: true }).set(() => {}, 1, 1);
      loop.createTimer({ fallthrough: true }).set(() => {}, 1_000_000);
      // Of standard input, which is /dev/null here and cannot be watched; an own loop's epoll can.
      const other = new Loop({ backend: epoll });
      const poll = loop.createPoll(other.backend.selector.fd, {
        onReady() {},
        fallthrough: true,
      });
      poll.start(READABLE);`;
    for (const run of ["await loop.run();", "loop.runBlocking();", "loop.integrate();"]) {
      assertEquals(await linesOf(`${fallthrough} ${run} console.log("end");`), ["end"], run);
    }
  },
});

Deno.test({
  name: "the process ends by Deno.exit(), and by an error, while a loop sleeps",
  ignore,
  async fn() {
    // A quiet loop waits in another thread; that must not hold the process up.
    const asleep = `
      const loop = new Loop({ backend: epoll });
      loop.createContext().listen({ host, port: 0 });
      loop.integrate();
      // no event tells that the wait has moved
      setTimeout(() => {`;
    const exits = await runProgram(`${header}${asleep} Deno.exit(3); }, 100);`);
    assertEquals([exits.code, exits.stderr], [3, ""]);
    const fails = await runProgram(`${header}${asleep} throw new Error("mine"); }, 100);`);
    assertEquals(fails.code, 1);
    assertStringIncludes(fails.stderr, "Error: mine");
    const frees = await runProgram(`${header}${asleep} loop.free(); }, 100);`);
    assertEquals([frees.code, frees.stderr], [0, ""]);
  },
});

Deno.test({
  name: "an integrated loop with nothing to do lets the process end, and goes on when there is",
  ignore,
  async fn() {
    assertEquals(
      await linesOf(`
        const loop = new Loop({ backend: epoll });
        loop.integrate();
        setTimeout(() => {
          loop.createTimer().set(() => console.log("fired"), 5);
        }, 50);`),
      ["fired"],
    );
  },
});

Deno.test({
  name: "the rest of Deno goes on while a loop sleeps, and its end lets the process end",
  ignore,
  async fn() {
    const program = new Program(`${header}
      const loop = new Loop({ backend: epoll });
      const server = loop.createContext({ onOpen: () => console.log("open") });
      const listener = server.listen({ host, port: 0 });
      Deno.addSignalListener("SIGUSR1", function signalled() {
        console.log("signalled");
        Deno.removeSignalListener("SIGUSR1", signalled);
        server.close(); // nothing else keeps the process alive
      });
      loop.integrate();
      console.log(Deno.pid);
      console.log(listener.port);`);
    const pid = Number(await program.line());
    using _conn = await Deno.connect({ port: Number(await program.line()) });
    assertEquals(await program.line(), "open");
    Deno.kill(pid, "SIGUSR1");
    assertEquals(await program.line(), "signalled");
    assertEquals(await program.ended(), 0);
  },
});
