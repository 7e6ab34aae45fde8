// Descriptors that come from elsewhere, and those that go elsewhere.
import { assertEquals, assertThrows } from "@std/assert";
import { epoll, type Handlers, Loop, type Socket, type SocketContext } from "@usockets/usockets";
import { AF_INET, AF_UNIX, IPPROTO_TCP, TCP_NODELAY } from "../../ffi/constants.ts";
import { openLibc } from "../../ffi/libc.ts";
import { createSocket } from "../../ffi/sockets.ts";
import { openListener } from "../../ffi/listen.ts";
import {
  close,
  modes,
  nativeTest,
  optionOf,
  pipe,
  read,
  runLoop,
  socketPair,
  write,
} from "../support/native.ts";

const host = "127.0.0.1";
const SOCK_DGRAM = 2;
const encoder = new TextEncoder(), decoder = new TextDecoder();

function world(handlers: Handlers = {}): { loop: Loop; context: SocketContext } {
  const loop = new Loop({ backend: epoll });
  return { loop, context: loop.createContext(handlers) as SocketContext };
}

// ---------------------------------------------------------------- adoptHandle()

for (const mode of modes) {
  nativeTest(`adoptHandle() takes one end of a socket pair: ${mode}`, async () => {
    const [ours, theirs] = socketPair();
    const events: unknown[] = [];
    const { loop, context } = world({
      onOpen(socket, isClient, ip) {
        events.push(["open", isClient, ip, socket.nativeHandle === ours]);
        socket.write("hello");
      },
      onData(_socket, data) {
        events.push(decoder.decode(data));
        close(theirs);
      },
      onClose: (_socket, code) => void events.push(["close", code]),
    });
    assertEquals(write(theirs, encoder.encode("before")), 6);
    const socket = context.adoptHandle(ours);
    assertEquals([socket.isEstablished, events], [false, []]); // opens once the loop runs
    loop.createTimer().set(() => assertEquals(decoder.decode(read(theirs)), "hello"), 1e-6);
    await runLoop(loop, mode);
    assertEquals(events, [["open", false, "", true], "before", ["close", 0]]);
    loop.free();
  });
}

nativeTest("adoptHandle() takes an accepted TCP connection, with its addresses", async () => {
  const { loop, context } = world();
  const handles: number[] = [];
  // onPreOpen exports the descriptor: it is nobody's, and blocking or not is told by its flags.
  const server = loop.createContext({
    onPreOpen(handle) {
      handles.push(handle as number);
      listener.close();
      return false;
    },
  });
  const listener = server.listen({ host, port: 0 });
  const texts: string[] = [];
  const client = loop.createContext({
    onData(socket, data) {
      texts.push(decoder.decode(data));
      socket.close();
    },
  });
  const connecting = client.connect({ port: listener.port });
  const { port } = listener;
  loop.createTimer().set(
    (timer) => {
      if (handles.length === 0) return;
      timer.close();
      // Another loop of the same thread serves it.
      const adopted = context.adoptHandle(handles[0]);
      assertEquals([adopted.remoteAddress, adopted.remotePort], [host, connecting.localPort]);
      assertEquals([adopted.localAddress, adopted.localPort], [host, port]);
      assertEquals(optionOf(handles[0], IPPROTO_TCP, TCP_NODELAY), 1);
      context.onOpen = (socket) => void socket.write("from the new owner");
    },
    1,
    1,
  );
  await runLoop(loop);
  assertEquals(texts, ["from the new owner"]);
  assertEquals(loop.stats().accepted, 1);
  loop.free();
});

nativeTest("onPreOpen hands a connection to another loop of the thread", async () => {
  const [acceptor, worker] = [new Loop({ backend: epoll }), new Loop({ backend: epoll })];
  const echo = worker.createContext({
    onData: (socket, data) => void socket.write(data),
    onClose: () => keeper.close(),
  });
  const keeper = worker.createContext().listen({ host, port: 0 }); // keeps it running till then
  const server = acceptor.createContext({
    onPreOpen(handle) {
      echo.adoptHandle(handle);
      return false;
    },
    onOpen: () => opened++,
  });
  let opened = 0;
  const listener = server.listen({ host, port: 0 });
  let text = "";
  const client = acceptor.createContext({
    onOpen: (socket) => void socket.write("ping"),
    onData(socket, data) {
      text += decoder.decode(data);
      socket.close();
      listener.close();
    },
  });
  client.connect({ port: listener.port });
  await Promise.all([runLoop(acceptor), runLoop(worker)]);
  assertEquals([text, opened], ["ping", 0]);
  assertEquals([acceptor.stats().accepted, worker.stats().accepted], [0, 1]);
  acceptor.free();
  worker.free();
});

nativeTest("adoptHandle() refuses what is no stream socket, and leaves it open", () => {
  const { loop, context } = world();
  const [reading, writing] = pipe();
  const datagrams = socketPair(SOCK_DGRAM);
  const what = "Cannot adopt a handle";
  for (const handle of [-1, 1.5, "3", null, undefined, {}, 2 ** 53]) {
    assertThrows(() => context.adoptHandle(handle), TypeError, `${what}: the epoll backend takes`);
  }
  for (const fd of [reading, writing]) {
    assertThrows(
      () => context.adoptHandle(fd),
      TypeError,
      `${what}: descriptor ${fd} is not a socket`,
    );
  }
  assertThrows(
    () => context.adoptHandle(datagrams[0]),
    TypeError,
    `${what}: descriptor ${datagrams[0]} is not a stream socket`,
  );
  close(reading, writing, ...datagrams); // they are ours still
  assertThrows(() => context.adoptHandle(reading), Deno.errors.BadResource, what);
  assertThrows(() => context.adoptHandle(2 ** 31 - 1), Deno.errors.BadResource, what);
  assertThrows(() => context.adoptHandle(2 ** 32), Error, what);
  assertEquals(loop.isActive, false);
  loop.free();
});

nativeTest("adoptHandle() refuses a descriptor that this loop watches already", async () => {
  const { loop, context } = world();
  const [ours, theirs] = socketPair();
  const errors: unknown[] = [];
  context.onOpen = (socket) => {
    try {
      context.adoptHandle(ours);
    } catch (error) {
      errors.push(error instanceof Deno.errors.Busy);
    }
    socket.close();
  };
  context.adoptHandle(ours);
  await runLoop(loop);
  assertEquals(errors, [true]);
  close(theirs);
  loop.free();
});

nativeTest("adoptHandle() refuses a descriptor that it adopted a moment ago", async () => {
  const { loop, context } = world({ onOpen: (socket) => void socket.close() });
  const [ours, theirs] = socketPair();
  context.adoptHandle(ours);
  assertThrows(() => context.adoptHandle(ours), Deno.errors.Busy);
  await runLoop(loop);
  close(theirs);
  loop.free();
});

nativeTest("adoptHandle() refuses a listening descriptor", () => {
  const { loop, context } = world();
  const { fd } = openListener(openLibc(), { host, port: 0 });
  assertThrows(() => context.adoptHandle(fd), TypeError, "Cannot adopt a handle: descriptor");
  close(fd);
  loop.free();
});

// ---------------------------------------------------------------- listen({ fd })

for (const mode of modes) {
  nativeTest(`listen({ fd }) takes over a listening descriptor: ${mode}`, async () => {
    const path = `\0usockets-fd-${Deno.pid}`;
    for (const options of [{ host, port: 0 }, { port: 0 }, { path }]) {
      const opened = openListener(openLibc(), options);
      let text = "";
      const { loop, context } = world({
        onOpen: (socket, isClient) => void (isClient && socket.write("hello")),
        onData(socket, data) {
          text += decoder.decode(data);
          socket.close();
          listener.close();
        },
      });
      const listener = context.listen({ fd: opened.fd });
      assertEquals([listener.port, listener.host], [opened.port, opened.host]);
      context.connect("path" in options ? { path } : { port: listener.port });
      await runLoop(loop, mode);
      assertEquals(text, "hello");
      loop.free();
    }
  });
}

nativeTest("listen({ fd }) refuses what does not listen, and leaves it open", () => {
  const { loop, context } = world();
  const libc = openLibc();
  const [reading, writing] = pipe();
  const pair = socketPair();
  const idle = [AF_INET, AF_UNIX].map((family) => createSocket(libc, "a test", family));
  for (const fd of [reading, ...pair, ...idle]) {
    assertThrows(
      () => context.listen({ fd }),
      TypeError,
      `Cannot listen on descriptor ${fd}: ${fd === reading ? "descriptor" : "it is not listening"}`,
    );
  }
  close(reading, writing, ...pair, ...idle);
  assertThrows(() => context.listen({ fd: reading }), Deno.errors.BadResource, "Cannot listen on");
  for (const options of [{ port: 0 }, { host }, { path: "x" }]) {
    assertThrows(() => context.listen({ fd: 0, ...options }), TypeError, '"fd" excludes');
  }
  for (const name of ["backlog", "exclusive", "reusePort", "ipv6Only"]) {
    assertThrows(() => context.listen({ fd: 0, [name]: 1 }), TypeError, `"fd" excludes "${name}"`);
  }
  assertEquals([loop.isActive, context.listeners.size], [false, 0]);
  loop.free();
});

nativeTest("listen({ fd }) refuses a descriptor that this loop listens on already", async () => {
  const { loop, context } = world();
  const { fd } = openListener(openLibc(), { host, port: 0 });
  const listener = context.listen({ fd });
  assertThrows(() => context.listen({ fd }), Error);
  assertEquals(context.listeners.size, 1);
  listener.close();
  await runLoop(loop); // nothing is left that keeps it running
  loop.free();
});

nativeTest("a descriptor number that is reused is not taken for the one before", async () => {
  // What was closed in a handler and opened again in another, in one iteration.
  const { loop } = world();
  const numbers: unknown[] = [];
  let closes = 0;
  const sockets: Socket[] = [];
  const context = loop.createContext({
    onOpen: (socket) => void sockets.push(socket),
    onData(_socket, data) {
      numbers.push(decoder.decode(data));
      if (numbers.length > 1) return;
      for (const socket of [...sockets]) socket.close();
      // Takes over the numbers, with nothing to read.
      for (let i = 0; i < 3; i++) {
        const [ours, theirs] = socketPair();
        context.adoptHandle(ours);
        others.push(theirs);
      }
      loop.createTimer().set(() => context.close(), 10);
    },
    onClose: () => void closes++,
  });
  const others: number[] = [];
  for (let i = 0; i < 3; i++) {
    const [ours, theirs] = socketPair();
    write(theirs, encoder.encode("x"));
    context.adoptHandle(ours);
    others.push(theirs);
  }
  await runLoop(loop);
  assertEquals([numbers, closes], [["x"], 6]);
  close(...others);
  loop.free();
});
