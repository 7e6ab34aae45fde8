/** Semantic 5: connecting. What only TLS shows is in connecting_tls.ts. */
import { assert, assertEquals, assertGreater, assertThrows } from "@std/assert";
import type { ConnectOptions, Socket } from "@usockets/usockets";
import { lookup } from "node:dns/promises";
import { countDescriptors } from "../support/descriptors.ts";
import { HangingPort } from "../support/hanging_port.ts";
import { connectingTls } from "./connecting_tls.ts";
import type { Behaviours, Fixture } from "./fixture.ts";
import { hasIpv6 } from "./listening.ts";
import { leaveDeadSocket } from "./listening_paths.ts";

/** A connect that was given up holds no descriptor, while what it hung on is still there. */
async function assertDescriptors(expected: number): Promise<void> {
  for (let turn = 0; turn < 100 && countDescriptors() !== expected; turn++) {
    // no event tells when Deno's runtime has let go of a descriptor
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assertEquals(countDescriptors(), expected, "the connect goes on");
}

/** An address that nobody listens on. */
async function refusingAddress(
  t: Fixture,
): Promise<{ host: string; port: number } | { path: string }> {
  const address = t.address();
  if ("path" in address) {
    leaveDeadSocket(address.path);
    return address;
  }
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  listener.close();
  await Promise.resolve();
  return { host: "127.0.0.1", port };
}

export const connecting: Behaviours = (behaviour) => {
  behaviour("connect() returns a connecting socket that opens later", async (t) => {
    const events: string[] = [];
    const ip = t.transport.isUnix ? "" : "127.0.0.1";
    const server = t.server({
      onOpen(_socket, isClient, ip) {
        assertEquals([isClient, ip], [false, t.transport.isUnix ? "" : "127.0.0.1"]);
      },
    });
    const listener = t.listen(server);
    const client = t.client({
      onOpen(opened, isClient, openedIp) {
        events.push("open");
        assert(opened === socket);
        assertEquals([isClient, openedIp, opened.remoteAddress], [true, ip, ip]);
        assertEquals(
          [opened.isEstablished, opened.remotePort, opened.localAddress],
          [true, listener.port, ip],
        );
        if (!t.transport.isUnix) assertGreater(opened.localPort, 0);
        opened.close();
        listener.close();
      },
    });
    const socket = t.connect(client, listener);
    events.push("returned");
    assert(socket.context === client);
    assertEquals([socket.isEstablished, socket.isClosed, socket.isShutDown], [false, false, false]);
    assertEquals(
      [socket.remoteAddress, socket.remotePort, socket.localAddress, socket.localPort],
      ["", 0, "", 0],
    );
    assertEquals([socket.tls, socket.nativeHandle], [null, null]);
    await t.run();
    assertEquals(events, ["returned", "open"]);
  });

  behaviour("a refused connect ends in one onConnectError", async (t) => {
    const address = await refusingAddress(t);
    const name = "path" in address ? address.path : `127.0.0.1:${address.port}`;
    const failures: [Socket, Error][] = [];
    const client = t.client({
      onConnectError(socket, error) {
        failures.push([socket, error]);
        assertEquals([socket.isClosed, socket.isEstablished], [true, false]);
        socket.close(); // closed already: does nothing
      },
      onClose: () => assert(false, "onClose of a socket that never opened"),
    });
    const socket = client.connect(address);
    await t.run();
    assertEquals(failures.length, 1);
    const [[failed, error]] = failures;
    assert(failed === socket);
    assert(error instanceof Deno.errors.ConnectionRefused, String(error));
    assert(error.message.includes(name), error.message);
    assertEquals(t.loop.stats().connected, 0);
  });

  behaviour("a name that does not resolve ends in onConnectError with NotFound", async (t) => {
    const errors: Error[] = [];
    const client = t.client({ onConnectError: (_socket, error) => void errors.push(error) });
    client.connect({ host: "no.such.host.invalid", port: 9 });
    await t.run();
    assertEquals(errors.length, 1);
    assert(errors[0] instanceof Deno.errors.NotFound, String(errors[0]));
    assert(errors[0].message.includes("no.such.host.invalid"), errors[0].message);
  });

  behaviour("connect() tries every address of a name", async (t) => {
    const addresses = new Set((await lookup("localhost", { all: true })).map((a) => a.address));
    const hosts = ["127.0.0.1", "::1"].filter((host) => addresses.has(host));
    assertGreater(hosts.length, 0, "localhost has no address");
    for (const host of hosts) { // one listens, the other refuses
      const listener = t.server().listen({ host, port: 0 });
      const peers: string[] = [];
      const client = t.client({
        onOpen(socket) {
          peers.push(socket.remoteAddress);
          socket.close();
          listener.close();
        },
        onConnectError(_socket, error) {
          listener.close();
          throw error;
        },
      });
      client.connect({ host: "localhost", port: listener.port });
      await t.run();
      assertEquals(peers, [host]);
    }
  });

  behaviour("connect() takes IPv6 addresses", async (t) => {
    const host = hasIpv6 ? "::1" : "127.0.0.1";
    const listener = t.server().listen({ host, port: 0 });
    const peers: string[] = [];
    const client = t.client({
      onOpen(socket, _isClient, ip) {
        peers.push(ip, socket.remoteAddress, socket.localAddress);
        socket.close();
        listener.close();
      },
    });
    client.connect({ host, port: listener.port });
    await t.run();
    assertEquals(peers, [host, host, host]);
  });

  behaviour("connect() to a missing path ends in onConnectError with NotFound", async (t) => {
    const address = t.address();
    const errors: Error[] = [];
    const client = t.client({ onConnectError: (_socket, error) => void errors.push(error) });
    client.connect(address);
    await t.run();
    assertEquals(errors.length, 1);
    assert(errors[0] instanceof Deno.errors.NotFound, String(errors[0]));
    assert("path" in address && errors[0].message.includes(address.path), errors[0].message);
  });

  behaviour("timeoutSeconds ends a connect that hangs with TimedOut", async (t) => {
    using hanging = await HangingPort.open();
    const errors: Error[] = [];
    const client = t.client({
      onConnectError: (_socket, error) => void errors.push(error),
      onOpen: () => assert(false, "the connect did not hang"),
      onTimeout: () => assert(false, "onTimeout, which nobody asked for"),
    });
    const before = countDescriptors();
    const started = performance.now();
    client.connect({ host: "127.0.0.1", port: hanging.port, timeoutSeconds: 0.1 });
    await t.run();
    assertGreater(performance.now() - started, 99, "gave up too early");
    await assertDescriptors(before);
    assertEquals(errors.length, 1);
    assert(errors[0] instanceof Deno.errors.TimedOut, String(errors[0]));
    assert(errors[0].message.includes(`127.0.0.1:${hanging.port}`), errors[0].message);
  });

  behaviour("timeoutSeconds does not outlast the connect", async (t) => {
    const listener = t.listen(t.server());
    let closeCode: number | undefined;
    const client = t.client({
      onOpen(socket) {
        t.loop.createTimer().set(() => { // long after the time is up
          assert(!socket.isClosed);
          socket.close(7);
        }, 300);
      },
      onClose(_socket, code) {
        closeCode = code;
        listener.close();
      },
      onConnectError: (_socket, error) => assert(false, String(error)),
    });
    client.connect({ ...t.addressOf(listener), timeoutSeconds: 0.2 });
    await t.run();
    assertEquals(closeCode, 7);
  });

  behaviour("timeout() and longTimeout() run while connecting", async (t) => {
    using hanging = await HangingPort.open();
    const events: string[] = [];
    const client = t.client({
      onLongTimeout(socket) {
        events.push("long timeout");
        assertEquals([socket.isEstablished, socket.isClosed], [false, false]);
        socket.timeout(0.02); // goes on connecting
      },
      onTimeout(socket) {
        events.push("timeout");
        socket.close();
      },
      onOpen: () => void events.push("open"),
      onClose: () => void events.push("close"),
      onConnectError: () => void events.push("connect error"),
    });
    const socket = client.connect({ host: "127.0.0.1", port: hanging.port });
    socket.longTimeout(0.02 / 60);
    await t.run();
    assertEquals(events, ["long timeout", "timeout"]);
  });

  behaviour("close() cancels a connect and emits nothing", async (t) => {
    const client = t.client({
      onOpen: () => assert(false, "onOpen after close()"),
      onClose: () => assert(false, "onClose of a socket that never opened"),
      onConnectError: () => assert(false, "onConnectError after close()"),
    });
    const listener = t.listen(t.server());
    const atOnce = t.connect(client, listener);
    atOnce.close();
    atOnce.close();
    assertEquals([atOnce.isClosed, atOnce.isEstablished, atOnce.write("x")], [true, false, 0]);
    const refused = client.connect(await refusingAddress(t));
    refused.end(); // the polite way is the same for what is not open
    assert(refused.isClosed);
    t.loop.createTimer().set(() => listener.close(), 20);
    await t.run();
  });

  behaviour("close() in a later turn cancels a connect that hangs", async (t) => {
    using hanging = await HangingPort.open();
    const client = t.client({
      onOpen: () => assert(false, "onOpen after close()"),
      onClose: () => assert(false, "onClose of a socket that never opened"),
      onConnectError: () => assert(false, "onConnectError after close()"),
    });
    const before = countDescriptors();
    const socket = client.connect({ host: "127.0.0.1", port: hanging.port, timeoutSeconds: 15 });
    t.loop.createTimer().set(() => socket.close(), 20);
    await t.run();
    assert(socket.isClosed);
    await assertDescriptors(before);
  });

  behaviour("close() after the transport connected, before onOpen, emits nothing", async (t) => {
    const address = t.address();
    const raw = "path" in address
      ? Deno.listen({ transport: "unix", path: address.path })
      : Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const client = t.client({
      onOpen: () => assert(false, "onOpen after close()"),
      onClose: () => assert(false, "onClose of a socket that never opened"),
    });
    const socket = client.connect(
      "path" in address ? address : { host: "127.0.0.1", port: (raw.addr as Deno.NetAddr).port },
    );
    const conn = await raw.accept(); // the kernel says so; the loop does not run yet
    assert(!socket.isEstablished);
    socket.close();
    await t.run();
    assertEquals(await conn.read(new Uint8Array(1)), null); // nothing was sent, and it is closed
    conn.close();
    raw.close();
  });

  behaviour("a connect in onConnectError keeps the loop running", async (t) => {
    const refusing = await refusingAddress(t);
    const listener = t.listen(t.server());
    let failures = 0, opened = 0;
    const client = t.client({
      onConnectError() {
        if (++failures < 3) client.connect(refusing);
        else t.connect(client, listener);
      },
      onOpen(socket) {
        opened++;
        socket.close();
        listener.close();
      },
    });
    client.connect(refusing);
    await t.run();
    assertEquals([failures, opened], [3, 1]);
  });

  behaviour("a connect in onClose keeps the loop running", async (t) => {
    const refusing = await refusingAddress(t);
    let closed = 0, failures = 0;
    const listener = t.listen(t.server({ onOpen: (socket) => socket.end() }));
    const client = t.client({
      onClose() {
        if (++closed === 3) {
          listener.close();
          client.connect(refusing);
        } else t.connect(client, listener);
      },
      onConnectError: () => void failures++,
    });
    t.connect(client, listener);
    await t.run();
    assertEquals([closed, failures], [3, 1]);
  });

  behaviour("a socket's ext is connect()'s option, or else socketExt()'s", async (t) => {
    let made = 0;
    const opened: { name: string }[] = [];
    const listener = t.listen(t.server());
    const client = t.client({
      socketExt: () => ({ name: `made ${++made}` }),
      onOpen(socket) {
        opened.push(socket.ext);
        if (opened.length < 2) return;
        client.close();
        listener.close();
      },
    });
    const own = { name: "own" };
    const first = client.connect({ ...t.addressOf(listener), ext: own });
    assert(first.ext === own);
    assertEquals(made, 0);
    const second = t.connect(client, listener); // there from the start
    assertEquals([made, second.ext.name], [1, "made 1"]);
    await t.run();
    assertEquals(made, 1);
    assertEquals(opened.map(({ name }) => name).sort(), ["made 1", "own"]);
  });

  behaviour(
    "an accepted socket's ext is its listener's socketExt(), or else the context's",
    async (t) => {
      const opened: string[] = [];
      const server = t.server({
        socketExt: () => "of the context",
        onOpen: (socket) => void opened.push(socket.ext),
      });
      const own = server.listen({ ...t.address(), socketExt: () => "of the listener" });
      const other = t.listen(server);
      const client = t.client({
        onOpen: (socket) => socket.end(),
        onClose() {
          if (opened.length === 1) return void t.connect(client, other);
          own.close();
          other.close();
        },
      });
      t.connect(client, own);
      await t.run();
      assertEquals(opened, ["of the listener", "of the context"]);
    },
  );

  behaviour("connect() refuses options that make no sense", async (t) => {
    const address = t.transport.isUnix ? { path: "x.sock" } : { host: "127.0.0.1", port: 9 };
    const wrongTypes: Record<string, ConnectOptions<undefined>> = {
      "no address": {},
      "a host without a port": { host: "127.0.0.1" },
      "an empty host": { host: "", port: 9 },
      "a NUL in a host": { host: "local\0host", port: 9 },
      "a port and a path": { port: 9, path: "x.sock" },
      "a host and a path": { host: "127.0.0.1", path: "x.sock" },
      "an empty path": { path: "" },
      "an empty abstract name": { path: "\0" },
    };
    const outOfRange: Record<string, ConnectOptions<undefined>> = {
      "port 0": { host: "127.0.0.1", port: 0 },
      "a port of 65536": { host: "127.0.0.1", port: 65_536 },
      "a port of 1.5": { host: "127.0.0.1", port: 1.5 },
      "an overlong path": { path: `/tmp/${"x".repeat(103)}` },
      "a negative timeout": { ...address, timeoutSeconds: -1 },
      "a timeout of NaN": { ...address, timeoutSeconds: NaN },
    };
    const context = t.client({
      onConnectError: () => assert(false, "onConnectError beside an exception"),
    });
    for (const [what, options] of Object.entries(wrongTypes)) {
      assertThrows(() => context.connect(options), TypeError, "Cannot connect", what);
    }
    for (const [what, options] of Object.entries(outOfRange)) {
      assertThrows(() => context.connect(options), RangeError, "Cannot connect", what);
    }
    if (!t.transport.isTls) {
      const options = { ...address, serverName: "localhost" };
      assertThrows(() => context.connect(options), TypeError, "serverName");
    }
    await t.run(); // nothing was begun that could keep it running
  });

  behaviour("200 connects at once all open", async (t) => {
    const many = 200;
    let accepted = 0, opened = 0, closed = 0;
    const listener = t.listen(t.server({ onOpen: () => void accepted++ }));
    const sockets = new Set<Socket>();
    const client = t.client({
      onOpen(socket) {
        sockets.add(socket);
        if (++opened < many) return;
        assertEquals([sockets.size, t.loop.stats().connected], [many, many]);
        for (const socket of sockets) socket.end();
      },
      onClose: () => ++closed === many && listener.close(),
      onConnectError: (_socket, error) => assert(false, String(error)),
    });
    for (let i = 0; i < many; i++) t.connect(client, listener);
    await t.run();
    assertEquals([accepted, opened, closed], [many, many, many]);
  });

  connectingTls(behaviour);
};
