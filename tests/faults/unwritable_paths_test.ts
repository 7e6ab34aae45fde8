/** Unix paths in directories that cannot be written, or not any more. */
import { assertEquals } from "@std/assert";
import { denoRun, runInNamespace, whyNoNamespaces } from "../support/namespaces.ts";

const isSkipped = whyNoNamespaces === undefined ? "" : ` (skipped: ${whyNoNamespaces})`;
const repository = new URL("../..", import.meta.url).pathname;

/** What each backend says to it, as somebody whom permissions are for. */
const program = `
  import { denoConn, epoll, Loop } from "file:///run/repository/mod.ts";
  const tell = (what, act) => {
    try {
      act();
      console.log(what, "nothing");
    } catch (error) {
      console.log(what, error.name, error.message.split(":")[0]);
    }
  };
  for (const backend of [denoConn, epoll]) {
    const directory = Deno.makeTempDirSync({ dir: "/run" });
    const loop = new Loop({ backend });
    const context = loop.createContext({
      onConnectError: (socket, error) => console.log("connect", error.name),
    });
    const stale = Deno.listen({ transport: "unix", path: directory + "/new" });
    Deno.renameSync(directory + "/new", directory + "/stale");
    stale.close();
    const listener = context.listen({ path: directory + "/live" });
    Deno.chmodSync(directory, 0o555);
    tell("new", () => context.listen({ path: directory + "/none" }));
    tell("stale", () => context.listen({ path: directory + "/stale" }));
    tell("closing", () => listener.close());
    await listener.closed;
    console.log(Deno.lstatSync(directory + "/stale").isSocket);
    // a socket that belongs to somebody else
    context.connect({ path: "/run/private.sock" });
    await loop.run();
    tell("read-only", () => context.listen({ path: "/run/read-only/x" }));
    loop.free();
  }`;

Deno.test({
  name: `listen() in a directory that cannot be written says so, and close() is fine${isSkipped}`,
  ignore: whyNoNamespaces !== undefined,
  async fn() {
    const server = `
      Deno.listen({ transport: "unix", path: "/run/private.sock" });
      Deno.chmodSync("/run/private.sock", 0o600);
      setTimeout(() => {}, 60_000);`;
    const { stdout, stderr } = await runInNamespace(`
      mount -t tmpfs none /run
      chmod 777 /run
      mkdir -m 777 /run/repository /run/cache /run/read-only
      mount -t tmpfs -o ro none /run/read-only
      touch /run/deno
      mount --bind "${Deno.execPath()}" /run/deno
      mount --bind "${repository}" /run/repository
      ${denoRun(server)} &
      while [ "$(stat -c %a /run/private.sock 2> /dev/null)" != 600 ]; do sleep 0.01; done
      export DENO_DIR=/run/cache
      exec setpriv --reuid=65534 --regid=65534 --clear-groups ${denoRun(program, "/run/deno")}`);
    const of = [
      "new PermissionDenied Cannot listen on",
      "stale AddrInUse Cannot listen on",
      "closing nothing",
      "true",
      "connect PermissionDenied",
      "read-only Error Cannot listen on /run/read-only/x",
    ];
    const lines = stdout.trim().split("\n").map((line) =>
      line.replace(/ \/run\/[0-9a-f]+\/\w+/, "")
    );
    assertEquals(lines, [...of, ...of], stderr);
  },
});
