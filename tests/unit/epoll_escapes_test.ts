// Ways around Deno's sandbox that the epoll backend once left open, a test for each.
import { assert, assertEquals } from "@std/assert";
import { modUrl, runProgram } from "../support/subprocess.ts";

const ignore = Deno.build.os !== "linux"; // the epoll backend needs Linux

/** Prints what comes of one attempt; a listener is left as it is. */
const program = `
  import { epoll, Loop } from "${modUrl}";
  const [what, options] = JSON.parse(Deno.args[0]);
  const loop = new Loop({ backend: epoll });
  const context = loop.createContext({
    onOpen(socket) {
      console.log("open");
      socket.close();
    },
    onConnectError: (_socket, error) => console.log(error.name),
  });
  try {
    const made = context[what](options);
    if (what === "listen") {
      console.log("listens", made.host);
      Deno.exit();
    }
  } catch (error) {
    console.log(error.name);
  }
  await loop.run();`;

async function outcome(flags: string[], what: "listen" | "connect", options: unknown) {
  const { code, stdout, stderr } = await runProgram(program, {
    flags: ["--allow-ffi", ...flags],
    args: [JSON.stringify([what, options])],
  });
  assertEquals(code, 0, stderr);
  return stdout.trim();
}

interface Tree {
  /** What a program is granted; `link` in it leads to {@linkcode deep}. */
  app: string;
  /** What it is not; somebody listens on `docker.sock` in it. */
  secret: string;
  deep: string;
}

/** Calls back with directories that are looked through behind the test. */
async function withTree(test: (tree: Tree) => Promise<void>): Promise<void> {
  const root = Deno.realPathSync(Deno.makeTempDirSync());
  const tree = { app: `${root}/app`, secret: `${root}/secret`, deep: `${root}/secret/deep` };
  try {
    for (const directory of Object.values(tree)) Deno.mkdirSync(directory);
    Deno.symlinkSync(tree.deep, `${tree.app}/link`);
    using _listener = Deno.listen({ transport: "unix", path: `${tree.secret}/docker.sock` });
    await test(tree);
    assertEquals(namesIn(tree.secret), ["deep", "docker.sock"]); // nothing was made or taken away
    assertEquals(namesIn(tree.deep), []);
  } finally {
    Deno.removeSync(root, { recursive: true });
  }
}

function namesIn(directory: string): string[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name).sort();
}

Deno.test({
  name: "a unix path is used as it is granted, without the `..` behind a symbolic link",
  ignore,
  fn: () =>
    withTree(async ({ app }) => {
      const flags = (name: string) => [
        `--allow-net=unix:${app}/${name}`,
        `--allow-read=${app}`,
        `--allow-write=${app}`,
      ];
      for (const around of ["link/..", "link/../link/..", "link//./.."]) {
        const of = (name: string, what: "connect" | "listen") =>
          outcome(flags(name), what, { path: `${app}/${around}/${name}` });
        assertEquals(await of("docker.sock", "connect"), "NotFound", around);
        assertEquals(await of("new.sock", "listen"), `listens ${app}/new.sock`);
        // A program before this one may have left it behind: dead, it is replaced where it is granted.
        assertEquals(namesIn(app), ["link", "new.sock"]);
      }
    }),
});

Deno.test({
  name: "unix paths by way of /proc are refused, whatever is granted but all",
  ignore,
  fn: () =>
    withTree(async ({ secret }) => {
      const flags = [
        "--allow-net",
        "--allow-read",
        "--allow-write",
        `--deny-read=${secret}`,
        `--deny-write=${secret}`,
      ];
      for (const way of ["/proc/self/root", "/proc/thread-self/root", "/proc/self/task/../root"]) {
        const connected = await outcome(flags, "connect", { path: `${way}${secret}/docker.sock` });
        assertEquals(connected, "NotCapable", way);
        const listened = await outcome(flags, "listen", { path: `${way}${secret}/new.sock` });
        assertEquals(listened, "NotCapable", way);
      }
    }),
});

Deno.test({
  name: "--deny-net of an own address holds for the unspecified one from there",
  ignore,
  async fn() {
    // Linux connects from 127.0.0.2 to 0.0.0.0 as if that were 127.0.0.2.
    using listener = Deno.listen({ hostname: "127.0.0.2", port: 0 });
    const { port } = listener.addr;
    const to = (host: string) => ({ host, port, sourceHost: "127.0.0.2" });
    const flags = ["--allow-net", "--deny-net=127.0.0.2"];
    for (const host of ["127.0.0.2", "0.0.0.0", "0"]) {
      const found = await outcome(flags, "connect", to(host));
      assert(["NotCapable", "ConnectionRefused"].includes(found), `${host}: ${found}`);
    }
    assertEquals(await outcome(["--allow-net"], "connect", to("127.0.0.2")), "open");
  },
});

Deno.test({
  name: "--deny-net of the loopback address does not keep from listening on all",
  ignore,
  async fn() {
    const flags = ["--allow-net", "--deny-net=127.0.0.1,[::1]"];
    for (const host of ["0.0.0.0", "::"]) {
      assertEquals(await outcome(flags, "listen", { host, port: 0 }), `listens ${host}`);
    }
  },
});

Deno.test({
  name: "a listener removes its own path though the program has changed its directory",
  ignore,
  async fn() {
    const directory = Deno.makeTempDirSync();
    const { code, stderr } = await runProgram(
      `
      import { epoll, Loop } from "${modUrl}";
      const loop = new Loop({ backend: epoll });
      Deno.chdir(Deno.args[0]);
      const listener = loop.createContext().listen({ path: "own.sock" });
      Deno.lstatSync("own.sock");
      Deno.chdir("/");
      listener.close();`,
      { args: [directory] },
    );
    assertEquals([code, namesIn(directory)], [0, []], stderr);
    Deno.removeSync(directory);
  },
});
