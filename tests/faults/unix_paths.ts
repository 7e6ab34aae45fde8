/** Unix paths at which nobody can be reached. */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import type { Behaviours } from "../conformance/fixture.ts";
import { leaveDeadSocket } from "../conformance/listening_paths.ts";
import { Bystander } from "../conformance/trials.ts";

const { ConnectionRefused, FilesystemLoop, NotADirectory, NotFound } = Deno.errors;

export const unixPaths: Behaviours = (behaviour) => {
  behaviour(
    "connect() to whatever is no live socket fails once, and leaves it alone",
    async (t) => {
      const address = t.address();
      assert("path" in address);
      const { path } = address;
      leaveDeadSocket(`${path}.stale`);
      Deno.writeTextFileSync(`${path}.file`, "precious");
      Deno.mkdirSync(`${path}.directory`);
      Deno.symlinkSync("nowhere", `${path}.dangling`);
      Deno.symlinkSync(`${path}.stale`, `${path}.link`);
      Deno.symlinkSync(`${path}.loop`, `${path}.loop`);
      const expected = {
        stale: ConnectionRefused,
        file: ConnectionRefused,
        directory: ConnectionRefused,
        link: ConnectionRefused,
        dangling: NotFound,
        loop: FilesystemLoop,
        "missing/x": NotFound,
        "file/x": NotADirectory,
      };
      const failed = new Map<string, Error>();
      const bystander = new Bystander(t, () => failed.size === Object.keys(expected).length);
      for (const name of Object.keys(expected)) {
        t.client({
          onOpen: () => assert(false, name),
          onConnectError: (_socket, error) => void failed.set(name, error),
        }).connect({ path: `${path}.${name}` });
      }
      await t.run();
      for (const [name, ErrorClass] of Object.entries(expected)) {
        assertInstanceOf(failed.get(name), ErrorClass, name);
      }
      assert(Deno.lstatSync(`${path}.stale`).isSocket);
      assertEquals(Deno.readTextFileSync(`${path}.file`), "precious");
      assertEquals(bystander.isSound, true, "another connection was disturbed");
    },
  );

  behaviour("a path that is replaced while it is listened on is the newcomer's", async (t) => {
    const address = t.address();
    assert("path" in address);
    const { path } = address;
    const opened: string[] = [];
    const closeWhenOver = () => {
      if (opened.length < 2) return;
      // the predecessor's socket has no name any more, and what is there now is not its own
      first.close();
      second.close();
    };
    const serve = (name: string) =>
      t.server({
        onOpen(socket) {
          opened.push(name);
          socket.end();
          closeWhenOver();
        },
      });
    const client = t.client();
    const first = serve("first").listen({ path });
    client.connect({ path });
    Deno.renameSync(path, `${path}.old`);
    const second = serve("second").listen({ path });
    client.connect({ path });
    await t.run();
    assertEquals(opened.sort(), ["first", "second"]);
    await Promise.all([first.closed, second.closed]);
    Deno.removeSync(`${path}.old`);
  });
};
