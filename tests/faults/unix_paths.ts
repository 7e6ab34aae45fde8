/** Unix paths at which nobody can be reached. */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { epoll, Loop } from "@usockets/usockets";
import type { Behaviours } from "../conformance/fixture.ts";
import { leaveDeadSocket } from "../conformance/listening_paths.ts";
import { Bystander } from "../conformance/trials.ts";
import { Attackers } from "../support/attackers.ts";
import { RawPeer } from "../support/raw_peer.ts";

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

  behaviour("connects to a path whose backlog is full wait, or are given up", async (t) => {
    const count = 10;
    const attackers = new Attackers(t); // a backlog can be given to those alone
    const address = t.address();
    let opened = 0, closed = 0;
    const server = attackers.context({});
    const listener = server.listen({ ...address, backlog: 1 });
    const failed: Error[] = [];
    const client = t.client({
      onOpen(socket) {
        opened++;
        socket.end();
      },
      onClose() {
        if (++closed === count) listener.close();
      },
      onConnectError: (_socket, error) => void failed.push(error),
    });
    for (let i = 0; i < count; i++) client.connect(t.addressOf(listener));
    const cancelled = Array.from({ length: count }, () => client.connect(t.addressOf(listener)));
    for (const socket of cancelled) socket.close();
    await attackers.run();
    assertEquals([opened, closed, failed], [count, count, []]);
  });

  behaviour("timeoutSeconds ends a connect to a path whose backlog stays full", async (t) => {
    const address = t.address();
    assert("path" in address);
    // nobody runs it: it accepts nobody
    using idle = new Loop({ backend: epoll });
    idle.createContext().listen({ ...address, backlog: 1 });
    const fillers = [0, 1].map(() => RawPeer.dialPath(t, address.path));
    const failed: Error[] = [];
    const client = t.client({
      onOpen: () => assert(false, "opened"),
      onConnectError: (_socket, error) => void failed.push(error),
    });
    client.connect({ ...address, timeoutSeconds: 0.05 });
    const cancelled = client.connect(address);
    t.loop.createTimer().set(() => cancelled.close(), 30);
    await t.run();
    for (const filler of fillers) filler.vanish();
    assertEquals(failed.map(({ name }) => name), ["TimedOut"]);
  });

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
