/** Semantic 12: listening and accepting. What only unix paths show is in listening_paths.ts. */
import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import type { ListenOptions, ListenSocket, Socket, SocketContext } from "@usockets/usockets";
import type { Behaviours, Fixture } from "./fixture.ts";
import { listeningPaths } from "./listening_paths.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** Whether this machine has the IPv6 loopback. */
export const hasIpv6 = (() => {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return false;
  }
})();

/** Sends a word through an echo server, and closes the listener behind the answer. */
export async function assertEchoes(t: Fixture, listener: ListenSocket): Promise<void> {
  let answer = "";
  const client = t.client({
    onOpen: (socket) => void socket.write("alive"),
    onData(socket, data) {
      answer += text(data);
      if (answer.length === 5) socket.end();
    },
    onClose: () => listener.close(),
  });
  t.connect(client, listener);
  await t.run();
  assertEquals(answer, "alive");
}

/** A server context that echoes. */
export function echoing(t: Fixture): SocketContext<undefined> {
  return t.server({ onData: (socket, data) => void socket.write(data) });
}

/** A connection that no TLS is spoken on, whatever the transport. */
function dialSilently(t: Fixture, listener: ListenSocket): Promise<Deno.Conn> {
  return t.transport.isUnix
    ? Deno.connect({ transport: "unix", path: listener.host })
    : Deno.connect({ hostname: "127.0.0.1", port: listener.port });
}

export const listening: Behaviours = (behaviour) => {
  behaviour("listen() where something listens already throws AddrInUse", async (t) => {
    const listener = t.listen(echoing(t));
    const other = t.server();
    const address = t.addressOf(listener);
    const name = "path" in address ? address.path : `127.0.0.1:${address.port}`;
    assertThrows(() => other.listen(address), Deno.errors.AddrInUse, name);
    await assertEchoes(t, listener); // unharmed
  });

  behaviour("listen() on an address of no interface throws AddrNotAvailable", (t) => {
    // TEST-NET-3: reserved for documentation, so no machine's own
    assertThrows(
      () => t.server().listen({ host: "203.0.113.1", port: 0 }),
      Deno.errors.AddrNotAvailable,
      "203.0.113.1",
    );
    return t.run();
  });

  behaviour("listen() refuses options that make no sense", async (t) => {
    const address = t.address();
    const wrongTypes: Record<string, ListenOptions> = {
      "no address": {},
      "a host without a port": { host: "127.0.0.1" },
      "an empty host": { host: "", port: 0 },
      "a port and a path": { port: 0, path: "x.sock" },
      "a host and a path": { host: "127.0.0.1", path: "x.sock" },
      "an empty path": { path: "" },
      "an empty abstract name": { path: "\0" },
      "a NUL inside a path": { path: "a\0b" },
      "an address and a descriptor": { ...address, fd: 3 },
      "two ways to share": { host: "127.0.0.1", port: 0, exclusive: true, reusePort: true },
    };
    const outOfRange: Record<string, ListenOptions> = {
      "a port of 65536": { host: "127.0.0.1", port: 65_536 },
      "a port of 1.5": { host: "127.0.0.1", port: 1.5 },
      "a negative port": { host: "127.0.0.1", port: -1 },
      "a port of NaN": { host: "127.0.0.1", port: NaN },
      "an overlong path": { path: `/tmp/${"x".repeat(103)}` },
      "an overlong path in bytes": { path: `/tmp/${"µ".repeat(52)}` },
      "an overlong abstract name": { path: `\0${"x".repeat(108)}` },
      "a negative backlog": { ...address, backlog: -1 },
      "half a backlog": { ...address, backlog: 1.5 },
      "no connections": { ...address, maxConnections: 0 },
      "half a connection": { ...address, maxConnections: 1.5 },
      "a negative descriptor": { fd: -1 },
    };
    const context = t.server();
    for (const [what, options] of Object.entries(wrongTypes)) {
      assertThrows(() => context.listen(options), TypeError, "Cannot listen", what);
    }
    for (const [what, options] of Object.entries(outOfRange)) {
      assertThrows(() => context.listen(options), RangeError, "Cannot listen", what);
    }
    await t.run(); // nothing is open that could keep it running
  });

  behaviour("a listener tells where it listens", async (t) => {
    const address = t.address();
    const listener = t.server().listen(address);
    if ("path" in address) {
      assertEquals([listener.port, listener.host], [0, address.path]);
    } else {
      assertGreater(listener.port, 0);
      assertEquals(listener.host, "127.0.0.1");
    }
    listener.close();
    await t.run();
  });

  behaviour("a listener without a host takes IPv4 and IPv6", async (t) => {
    const peers: string[][] = [];
    const server = t.server({
      onOpen(socket, _isClient, ip) {
        peers.push([ip, socket.remoteAddress, socket.localAddress]);
        socket.end();
      },
    });
    const listener = server.listen({ port: 0 });
    const hosts = hasIpv6 ? ["127.0.0.1", "::1"] : ["127.0.0.1"];
    const dialed: string[] = [];
    let open = hosts.length;
    const client = t.client({
      onOpen: (socket) => void dialed.push(socket.remoteAddress),
      onClose: () => --open === 0 && listener.close(),
    });
    for (const host of hosts) client.connect({ host, port: listener.port });
    await t.run();
    // IPv4 reads as IPv4 at both ends, although the listener is one of IPv6
    assertEquals(peers.sort(), hosts.map((host) => [host, host, host]));
    assertEquals(dialed.sort(), hosts);
  });

  behaviour("a listener closes once, and with its scope", async (t) => {
    const address = t.address();
    let closed = Promise.resolve();
    for (let round = 0; round < 2; round++) {
      using listener = t.server().listen(address);
      closed = listener.closed;
      if (round === 0) listener.close();
      listener.close();
      await closed;
    }
    await t.run();
    await closed;
  });

  behaviour("a closed listener accepts nobody", async (t) => {
    const listener = t.listen(t.server({ onOpen: () => assert(false, "accepted") }));
    const address = t.addressOf(listener);
    const errors: Error[] = [];
    const client = t.client({ onConnectError: (_socket, error) => void errors.push(error) });
    t.loop.createTimer().set(() => { // it accepts by then
      listener.close();
      listener.closed.then(() => client.connect(address));
    }, 1);
    await t.run();
    await t.run(); // where promises wait for the loop to end
    assertEquals(errors.length, 1);
    const gone = t.transport.isUnix ? Deno.errors.NotFound : Deno.errors.ConnectionRefused;
    assert(errors[0] instanceof gone, String(errors[0]));
  });

  behaviour("an address is free as soon as closed resolves, 100 times", async (t) => {
    const server = t.server({ onOpen: (socket) => socket.end() });
    let address = t.address();
    let rounds = 0;
    const listen = () => {
      const listener = server.listen(address);
      address = t.addressOf(listener);
      // a connection that the server ended leaves TIME_WAIT behind, which must not matter
      const client = t.client({
        onClose() {
          listener.close();
          listener.closed.then(() => ++rounds < 100 && listen())
            .catch((error) => t.errors.push(error));
        },
      });
      client.connect(address);
    };
    listen();
    for (let run = 0; run < 100 && rounds < 100; run++) await t.run();
    assertEquals(rounds, 100);
  });

  behaviour("a listener closed in the first onOpen leaves that connection open", async (t) => {
    let answer = "";
    const server = t.server({
      onOpen: () => listener.close(),
      onData: (socket, data) => void socket.write(data),
    });
    const listener = t.listen(server);
    const client = t.client({
      onOpen: (socket) => void socket.write("still here"),
      onData(socket, data) {
        answer += text(data);
        if (answer.length === 10) socket.end();
      },
    });
    t.connect(client, listener);
    await t.run();
    await listener.closed;
    assertEquals(answer, "still here");
  });

  behaviour("connections that came before run() are accepted in it", async (t) => {
    let opened = 0;
    const listener = t.listen(t.server({
      onOpen(socket) {
        if (++opened === 5) listener.close();
        socket.close();
      },
    }));
    const conns = await Promise.all([0, 1, 2, 3, 4].map(() => dialSilently(t, listener)));
    assertEquals([opened, t.loop.stats().accepted], [0, 0], "onOpen before run()");
    await t.run();
    for (const conn of conns) conn.close();
    assertEquals([opened, t.loop.stats().accepted], [5, 5]);
  });

  behaviour("maxConnections is never exceeded, and everybody is served in the end", async (t) => {
    const most = 3, clients = 9;
    let open = 0, highest = 0, closed = 0;
    const waiting: Socket[] = [];
    const server = t.server({
      onOpen() {
        highest = Math.max(highest, ++open);
      },
      onData(socket) {
        // served in threes: less than the limit would be too few as well
        if (waiting.push(socket) < most) return;
        for (const one of waiting.splice(0)) {
          one.write("served");
          one.end();
        }
      },
      onClose: () => void open--,
    });
    const listener = server.listen({ ...t.address(), maxConnections: most });
    const answers: string[] = [];
    const client = t.client({
      socketExt: () => ({ answer: "" }),
      onOpen: (socket) => void socket.write("please"),
      onData: (socket, data) => void (socket.ext.answer += text(data)),
      onClose(socket) {
        answers.push(socket.ext.answer);
        if (++closed === clients) listener.close();
      },
    });
    for (let i = 0; i < clients; i++) t.connect(client, listener);
    await t.run();
    assertEquals(answers, new Array(clients).fill("served"));
    assertEquals(highest, most);
  });

  behaviour("onPreOpen that returns false owns the handle, and nothing else happens", async (t) => {
    const handles: unknown[] = [];
    const events: string[] = [];
    const server = t.server({
      onPreOpen(handle) {
        handles.push(handle);
        listener.close();
        t.loop.createTimer().set(() => { // still good in a later turn
          assertEquals(t.loop.stats().accepted, 0);
          owner.adoptHandle(handle);
        }, 20);
        return false;
      },
      onOpen: () => void events.push("opened by its listener"),
    });
    const owner = t.server({
      onOpen(socket) {
        events.push("adopted");
        socket.write("from the owner");
        socket.end();
      },
      onClose: () => void events.push("closed"),
    });
    const listener = t.listen(server);
    let answer = "";
    const client = t.client({ onData: (_socket, data) => void (answer += text(data)) });
    t.connect(client, listener);
    await t.run();
    assertEquals(handles.length, 1);
    assertEquals(events, ["adopted", "closed"]);
    assertEquals(answer, "from the owner");
  });

  behaviour("onPreOpen that returns true gets the peer's address before onOpen", async (t) => {
    const events: string[] = [];
    const server = t.server({
      onPreOpen(handle, ip) {
        assert(handle !== null && handle !== undefined);
        events.push(`preopen ${ip}`);
        return true;
      },
      onOpen(socket, isClient, ip) {
        events.push(`open ${ip} ${isClient}`);
        listener.close();
        socket.end();
      },
    });
    const listener = t.listen(server);
    const client = t.client({
      onPreOpen: () => assert(false, "onPreOpen for a connect") as never,
    });
    t.connect(client, listener);
    await t.run();
    const ip = t.transport.isUnix ? "" : "127.0.0.1";
    assertEquals(events, [`preopen ${ip}`, `open ${ip} false`]);
  });

  behaviour("onPreOpen that throws closes the handle and is reported", async (t) => {
    t.expectsErrors = true;
    let asked = 0, opened = 0, closed = 0;
    const server = t.server({
      onPreOpen() {
        if (++asked === 1) throw new Error("not this one");
        return true;
      },
      onOpen(socket) {
        opened++;
        socket.end();
      },
    });
    const listener = t.listen(server);
    const client = t.client({
      onClose() { // the first one is closed by the server's side, too
        if (++closed === 1) t.connect(client, listener);
        else listener.close();
      },
    });
    t.connect(client, listener);
    await t.run();
    assertEquals([asked, opened, closed], [2, 1, 2]);
    assertEquals(t.errors.map(String), ["Error: not this one"]);
  });

  listeningPaths(behaviour);
};
