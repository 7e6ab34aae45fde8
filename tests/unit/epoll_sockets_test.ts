// Sockets of the epoll backend: what their descriptors say, addresses, and bytes.
import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import {
  type ConnectOptions,
  epoll,
  type Handlers,
  type ListenOptions,
  type ListenSocket,
  Loop,
  type Socket,
  type SocketContext,
} from "@usockets/usockets";
import {
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPV6_V6ONLY,
  SO_KEEPALIVE,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOL_SOCKET,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
} from "../../ffi/constants.ts";
import { openLibc } from "../../ffi/libc.ts";
import { openListener } from "../../ffi/listen.ts";
import { nativeTest, optionOf, runLoop } from "../support/native.ts";
import { concat, pattern, sha256 } from "../support/streams.ts";

const host = "127.0.0.1";

/** A loop, and a context on it whose errors fail the test. */
function world(handlers: Handlers = {}): { loop: Loop; context: SocketContext } {
  const loop = new Loop({ backend: epoll });
  return { loop, context: loop.createContext(handlers) as SocketContext };
}

/** Opens one connection and calls back with both ends, both open; closes all behind that. */
async function withPair(
  test: (client: Socket, server: Socket, listener: ListenSocket) => void,
  listen: ListenOptions = { host, port: 0 },
  connect: ConnectOptions<unknown> = {},
): Promise<void> {
  const ends: Socket[] = [];
  const onOpen = (socket: Socket, isClient: boolean) => {
    ends[isClient ? 0 : 1] = socket;
    if (ends[0] === undefined || ends[1] === undefined) return;
    listener.close();
    loop.createTimer().set(() => {
      try {
        test(ends[0], ends[1], listener);
      } catch (error) {
        failure = error;
      }
      for (const end of ends) end.close();
    }, 0.01);
  };
  let failure: unknown;
  const { loop, context } = world({ onOpen, onConnectError: (_, error) => failure = error });
  const listener = context.listen(listen);
  const to = listen.path === undefined ? { host, port: listener.port } : { path: listen.path };
  const socket = context.connect({ ...to, ...connect });
  socket.context.onConnectError = (_, error) => {
    failure = error;
    listener.close();
  };
  await runLoop(loop);
  loop.free();
  if (failure !== undefined) throw failure;
  assertEquals(ends.length, 2);
}

// ---------------------------------------------------------------- options

nativeTest(
  "both ends have TCP_NODELAY, until setNoDelay(false)",
  () =>
    withPair((client, server) => {
      const noDelay = (socket: Socket) => optionOf(socket.nativeHandle, IPPROTO_TCP, TCP_NODELAY);
      for (const socket of [client, server]) {
        assertEquals(noDelay(socket), 1);
        socket.setNoDelay(false);
        assertEquals(noDelay(socket), 0);
        socket.setNoDelay();
        assertEquals(noDelay(socket), 1);
      }
    }),
);

nativeTest("setKeepAlive() sets what it is given, and nothing else", () =>
  withPair((client) => {
    const { nativeHandle: fd } = client;
    const state = () => [
      optionOf(fd, SOL_SOCKET, SO_KEEPALIVE),
      ...[TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT].map((name) => optionOf(fd, IPPROTO_TCP, name)),
    ];
    const [, idle, interval, probes] = state();
    assertEquals(state(), [0, idle, interval, probes]);
    client.setKeepAlive();
    assertEquals(state(), [1, idle, interval, probes]);
    client.setKeepAlive(true, { idleSeconds: 17, intervalSeconds: 5, probes: 3 });
    assertEquals(state(), [1, 17, 5, 3]);
    client.setKeepAlive(false, { probes: 4 });
    assertEquals(state(), [0, 17, 5, 4]);
    assertThrows(
      () => client.setKeepAlive(true, { idleSeconds: 1e6 }),
      Error,
      "Cannot set keep-alive",
    );
    assertThrows(() => client.setKeepAlive(true, { idleSeconds: 0 }), RangeError);
    // @ts-expect-error -- misspelled
    assertThrows(() => client.setKeepAlive(true, { idleSecs: 1 }), TypeError);
  }));

nativeTest(
  "unix sockets have neither, and no addresses",
  () =>
    withPair((client, server, listener) => {
      for (const socket of [client, server]) {
        socket.setNoDelay();
        socket.setKeepAlive(true, { idleSeconds: 1 });
        const { remoteAddress, remotePort, localAddress, localPort } = socket;
        assertEquals([remoteAddress, remotePort, localAddress, localPort], ["", 0, "", 0]);
      }
      assertEquals([listener.port, listener.host], [0, `\0usockets-${Deno.pid}`]);
    }, { path: `\0usockets-${Deno.pid}` }),
);

nativeTest("listeners reuse addresses, and share ports only where they are asked to", () => {
  const { loop, context } = world();
  const libc = openLibc();
  const option = (options: ListenOptions, level: number, name: number) => {
    const { fd, close } = openListener(libc, { port: 0, ...options });
    const value = optionOf(fd, level, name);
    close();
    return value;
  };
  for (const options of [{}, { host }, { exclusive: true }, { reusePort: true }]) {
    assertEquals(option(options, SOL_SOCKET, SO_REUSEADDR), 1);
    const shares = "reusePort" in options ? 1 : 0;
    assertEquals(option(options, SOL_SOCKET, SO_REUSEPORT), shares);
  }
  assertEquals(option({}, IPPROTO_IPV6, IPV6_V6ONLY), 0);
  assertEquals(option({ ipv6Only: true }, IPPROTO_IPV6, IPV6_V6ONLY), 1);
  const refused = (first: ListenOptions, second: ListenOptions) => {
    const listener = context.listen({ host, port: 0, ...first });
    assertThrows(
      () => context.listen({ host, port: listener.port, ...second }),
      Deno.errors.AddrInUse,
      `Cannot listen on ${host}:${listener.port}`,
    );
    listener.close();
  };
  refused({}, {});
  refused({ exclusive: true }, { reusePort: true });
  refused({ reusePort: true }, {});
  refused({ reusePort: true }, { exclusive: true });
  assertThrows(
    () => context.listen({ host, port: 0, exclusive: true, reusePort: true }),
    TypeError,
  );
  assertThrows(
    () => context.listen({ host, port: 0, ipv6Only: true }),
    TypeError,
    '"ipv6Only" needs an IPv6 address',
  );
  loop.free();
});

nativeTest("two listeners with reusePort both get connections", async () => {
  const { loop } = world();
  const counts = [0, 0];
  const listeners: ListenSocket[] = [];
  let port = 0;
  for (const i of [0, 1]) {
    const server = loop.createContext({
      onOpen(socket) {
        counts[i]++;
        socket.close();
        // 64 of 64 on one side would take a hash of 2^-63.
        if (counts[0] + counts[1] === 64) { for (const listener of listeners) listener.close(); }
      },
    });
    listeners.push(server.listen({ host, port, reusePort: true }));
    ({ port } = listeners[0]);
  }
  const client = loop.createContext();
  for (let i = 0; i < 64; i++) client.connect({ port });
  await runLoop(loop);
  assert(counts[0] > 0 && counts[1] > 0, `${counts}`);
  loop.free();
});

nativeTest("backlog bounds how many wait: Linux drops the SYNs of the rest", async () => {
  const { loop, context } = world();
  const listener = context.listen({ host, port: 0, backlog: 1 }); // nobody accepts: it is not run
  const other = new Loop({ backend: epoll, timeoutGranularityMs: 5 });
  let open = 0, failed = 0;
  const client = other.createContext({
    onOpen: () => void open++,
    onConnectError: (_, error) => {
      assertInstanceOf(error, Deno.errors.TimedOut);
      failed++;
      client.close();
    },
  });
  for (let i = 0; i < 2; i++) client.connect({ port: listener.port });
  const late = other.createTimer();
  late.set(() => void client.connect({ port: listener.port, timeoutSeconds: 0.05 }), 50);
  await runLoop(other);
  assertEquals([open, failed], [2, 1]);
  other.free();
  loop.free();
});

// ---------------------------------------------------------------- addresses

nativeTest("both ends agree on addresses and ports", () =>
  withPair((client, server, listener) => {
    assertEquals(client.remotePort, listener.port);
    assertEquals(server.localPort, listener.port);
    assertEquals(client.localPort, server.remotePort);
    for (const { remoteAddress, localAddress } of [client, server]) {
      assertEquals([remoteAddress, localAddress], [host, host]);
    }
  }));

nativeTest(
  "IPv4 through a dual-stack listener is shown as IPv4, on both ends",
  () =>
    withPair((client, server, listener) => {
      assertEquals(listener.host, "::");
      for (const { remoteAddress, localAddress } of [client, server]) {
        assertEquals([remoteAddress, localAddress], [host, host]);
      }
    }, { port: 0 }),
);

nativeTest("IPv6 addresses are shown in their short form", () =>
  withPair(
    (client, server) => {
      for (const { remoteAddress, localAddress } of [client, server]) {
        assertEquals([remoteAddress, localAddress], ["::1", "::1"]);
      }
    },
    { port: 0, ipv6Only: true },
    { host: "0:0:0:0:0:0:0:1" },
  ));

nativeTest("sourceHost is where a connection comes from", () =>
  withPair(
    (client, server) => {
      assertEquals([client.localAddress, server.remoteAddress], ["127.0.0.7", "127.0.0.7"]);
    },
    { host, port: 0 },
    { sourceHost: "127.0.0.7" },
  ));

nativeTest("a sourceHost that cannot be ends in onConnectError", async () => {
  const errors: Error[] = [];
  const { loop, context } = world({ onConnectError: (_, error) => void errors.push(error) });
  const listener = context.listen({ host, port: 0 });
  const { port } = listener;
  context.connect({ port, sourceHost: "::1" });
  context.connect({ port, sourceHost: "localhost" });
  context.connect({ port, sourceHost: "192.0.2.1" });
  context.connect({ path: "\0nobody", sourceHost: host });
  loop.createTimer().set(() => listener.close(), 20);
  await runLoop(loop);
  const messages = errors.map(({ name, message }) => `${name}: ${message}`).toSorted();
  assertEquals(messages.length, 4);
  assertEquals(
    messages[0].slice(0, 60),
    "AddrNotAvailable: Cannot connect from 192.0.2.1: Cannot assi",
  );
  assertEquals(messages.slice(1), [
    "TypeError: Cannot connect to 127.0.0.1:" + port +
    ': "sourceHost" ::1 cannot reach an IPv4 address',
    'TypeError: Cannot connect: "sourceHost" is for ports, not for unix paths',
    'TypeError: Cannot connect: "sourceHost" must be an address, not "localhost"',
  ]);
  loop.free();
});

nativeTest(
  "addresses and the handle are still there in onClose, and the handle not behind it",
  async () => {
    const seen: unknown[] = [];
    const { loop, context } = world({
      onOpen: (socket, isClient) => {
        if (isClient) socket.close();
      },
      onClose(socket) {
        const { localAddress, localPort, remoteAddress, remotePort, nativeHandle } = socket;
        assert(localPort > 0 && remotePort > 0);
        seen.push(localAddress, remoteAddress, typeof nativeHandle);
        sockets.push(socket);
      },
    });
    const sockets: Socket[] = [];
    const listener = context.listen({ host, port: 0 });
    const connecting = context.connect({ port: listener.port });
    assertEquals([connecting.nativeHandle, connecting.localPort, connecting.remotePort], [
      null,
      0,
      0,
    ]);
    loop.createTimer().set(() => listener.close(), 20);
    await runLoop(loop);
    assertEquals(seen, [host, host, "number", host, host, "number"]);
    for (const socket of sockets) {
      assertEquals([socket.nativeHandle, socket.remoteAddress], [
        null,
        host,
      ]);
    }
    loop.free();
  },
);

// ---------------------------------------------------------------- bytes

nativeTest("write2() sends headers and payloads of all sizes, byte for byte", async () => {
  const sizes = [0, 1, 64, 65, 128, 129, 1000, 8192, 16_384, 16_385, 100_000];
  const sent: Uint8Array[] = [], got: Uint8Array[] = [];
  let rest: Uint8Array = new Uint8Array(0);
  const pairs = sizes.flatMap((header) => sizes.map((payload) => [header, payload]));
  const { loop, context } = world({
    onOpen: (socket, isClient) => void (isClient && next(socket)),
    onWritable: (socket) => next(socket),
    onData: (_socket, data) => void got.push(data.slice()),
    onClose: () => listener.close(),
  });
  /** Goes on until a write is short; `rest` is what it left. */
  function next(socket: Socket): void {
    for (;;) {
      rest = rest.subarray(socket.write(rest));
      if (rest.length > 0) return;
      const pair = pairs.shift();
      if (pair === undefined) return socket.end();
      const header = pattern(pair[0], pairs.length + 1);
      const payload = pattern(pair[1] + 7, pairs.length + 500).subarray(7); // at an odd address
      const both = concat([header, payload]);
      rest = both.subarray(socket.write2(header, payload));
      sent.push(both);
      header.fill(0xee); // what was accepted is the library's no more
      payload.fill(0xee);
    }
  }
  const listener = context.listen({ host, port: 0 });
  context.connect({ port: listener.port });
  await runLoop(loop);
  assertEquals(pairs.length, 0);
  const expected = concat(sent), actual = concat(got);
  assertEquals([actual.length, sha256(actual)], [expected.length, sha256(expected)]);
  loop.free();
});

nativeTest("more holds a segment back until flush(), or the next write", async () => {
  for (const push of ["flush", "write"] as const) {
    const events: string[] = [];
    const { loop, context } = world({
      onOpen(socket, isClient) {
        if (!isClient) return;
        socket.write("held", true);
        // The kernel holds it for 200 ms; another connection's round trip is over long before.
        other.connect({ port: listener.port });
        held = socket;
      },
      onData(socket, data) {
        events.push(new TextDecoder().decode(data));
        socket.close();
        if (events.length === 3) listener.close();
      },
    });
    let held: Socket | undefined;
    const other = loop.createContext({
      onOpen: (socket) => void socket.write("passes"),
      onClose() {
        if (events.length > 1) return;
        if (push === "flush") held!.flush();
        else held!.write(" no more");
        other.connect({ port: listener.port }); // passes no more: what was held is on its way
      },
    });
    const listener = context.listen({ host, port: 0 });
    context.connect({ port: listener.port });
    await runLoop(loop);
    assertEquals(events, ["passes", push === "flush" ? "held" : "held no more", "passes"]);
    loop.free();
  }
});
