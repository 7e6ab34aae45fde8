/** Semantic 12 again: unix paths, of the living and of the dead. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { Behaviours, Fixture } from "./fixture.ts";
import { assertEchoes, echoing } from "./listening.ts";

/** A path of the test's own. */
function pathOf(t: Fixture): string {
  const address = t.address();
  assert("path" in address, "needs a unix transport");
  return address.path;
}

/** Leaves a socket at the path that nobody listens on, as a server that crashed does. */
export function leaveDeadSocket(path: string): void {
  const listener = Deno.listen({ transport: "unix", path: `${path}.new` });
  Deno.renameSync(`${path}.new`, path); // so that closing finds nothing to unlink
  listener.close();
  assert(Deno.lstatSync(path).isSocket);
}

export const listeningPaths: Behaviours = (behaviour) => {
  behaviour("listen() takes over the path of a dead server", async (t) => {
    const path = pathOf(t);
    leaveDeadSocket(path);
    await assertEchoes(t, echoing(t).listen({ path }));
  });

  behaviour("listen() touches nothing at a path that is no dead server's", async (t) => {
    const path = pathOf(t);
    const file = `${path}.file`, directory = `${path}.directory`, link = `${path}.link`;
    Deno.writeTextFileSync(file, "precious");
    Deno.mkdirSync(directory);
    Deno.symlinkSync("nowhere", link);
    const context = t.server();
    for (const taken of [file, directory, link]) {
      assertThrows(() => context.listen({ path: taken }), Deno.errors.AddrInUse, taken);
    }
    assertEquals(Deno.readTextFileSync(file), "precious");
    assert(Deno.lstatSync(directory).isDirectory);
    assertEquals(Deno.readLinkSync(link), "nowhere");
    await t.run();
  });

  behaviour("listen() on a path in a missing directory throws NotFound", async (t) => {
    const path = `${pathOf(t)}.missing/x.sock`;
    assertThrows(() => t.server().listen({ path }), Deno.errors.NotFound, path);
    await t.run();
  });

  behaviour("a closed listener takes its path away", async (t) => {
    const path = pathOf(t);
    const listener = t.server().listen({ path });
    assert(Deno.lstatSync(path).isSocket);
    listener.close();
    await t.run();
    await listener.closed;
    assertThrows(() => Deno.lstatSync(path), Deno.errors.NotFound);
  });

  behaviour("a listener leaves the socket of its successor alone", async (t) => {
    const path = pathOf(t);
    const predecessor = t.server().listen({ path });
    Deno.removeSync(path); // as a new release of a server may do that takes over from the old one
    const successor = echoing(t).listen({ path });
    predecessor.close();
    await predecessor.closed;
    assert(Deno.lstatSync(path).isSocket);
    await assertEchoes(t, successor);
  });

  behaviour("an abstract name works and leaves no file", async (t) => {
    assert(t.transport.isUnix);
    const path = `\0usockets-test-${crypto.randomUUID()}`;
    const addresses: unknown[] = [];
    const server = t.server({
      onOpen(socket, _isClient, ip) {
        addresses.push(ip, socket.remoteAddress, socket.localAddress, socket.localPort);
      },
      onData: (socket, data) => void socket.write(data),
    });
    const listener = server.listen({ path });
    assertThrows(
      () => t.server().listen({ path }),
      Deno.errors.AddrInUse,
      `@${path.slice(1)}`,
    );
    await assertEchoes(t, listener);
    await listener.closed;
    assertEquals(addresses, ["", "", "", 0]);
    assertThrows(() => Deno.lstatSync(path.slice(1)), Deno.errors.NotFound);
    await assertRejects(() => Deno.connect({ transport: "unix", path }));
  });
};
