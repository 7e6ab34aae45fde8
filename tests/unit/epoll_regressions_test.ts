// What was wrong with the epoll backend once, a test for each.
import { assert, assertEquals, assertGreater, assertLess, assertRejects } from "@std/assert";
import { assertThrows } from "@std/assert";
import { CloseCode, epoll, Loop, type LoopOptions, type Socket } from "@usockets/usockets";
import { type Bytes, familyOf, unixSockaddr } from "../../ffi/address.ts";
import { AF_INET, AF_UNIX, EPOLL_CTL_ADD } from "../../ffi/constants.ts";
import { type Libc, openLibc, replaceLibc } from "../../ffi/libc.ts";
import { openListener } from "../../ffi/listen.ts";
import { createSocket } from "../../ffi/sockets.ts";
import { countDescriptors } from "../support/descriptors.ts";
import { close, modes, nativeTest, read, runLoop, write } from "../support/native.ts";
import { concat, pattern, sha256 } from "../support/streams.ts";
import { modUrl, runProgram } from "../support/subprocess.ts";

const host = "127.0.0.1";
const ignore = Deno.build.os !== "linux"; // the epoll backend needs Linux
const SHUT_RDWR = 2;
/** How long to count iterations, in milliseconds; a loop that spins makes tens of thousands. */
const COUNT_MS = 200, SPINS = 100;
const chunk = new Uint8Array(65_536);

function epollLoop(options: LoopOptions = {}): Loop {
  return new Loop({ backend: epoll, ...options });
}

/** A loop with some functions of libc replaced. */
function loopWith(change: (real: Libc) => Partial<Libc>): Loop {
  const real = openLibc();
  replaceLibc({ ...real, ...change(real) });
  try {
    return epollLoop();
  } finally {
    replaceLibc(real);
  }
}

/** A peer on a unix path: each of its calls is made in the midst of a handler. */
function dial(path: string): number {
  const address = unixSockaddr(path);
  const fd = createSocket(openLibc(), "A peer cannot connect", AF_UNIX);
  assertEquals(openLibc().connect(fd, address, address.length), 0);
  return fd;
}

/** Writes until there is no room, then pauses: what an echo does with a slow reader. */
function stuff(socket: Socket): void {
  while (socket.write(chunk) === chunk.length);
  socket.pause();
}

/** What a program prints, line by line, if it ends well. */
async function linesOf(source: string, flags?: string[], args?: string[]): Promise<string[]> {
  const program = `import { epoll, Loop } from "${modUrl}";${source}`;
  const { code, stdout, stderr } = await runProgram(program, { flags, args });
  assertEquals(code, 0, stderr);
  return stdout.split("\n").slice(0, -1);
}

// ---------------------------------------------------------------- sockets

for (const mode of modes) {
  nativeTest(`a hang-up without room to write does not spin: ${mode}`, async () => {
    const path = `\0usockets-hang-up-${Deno.pid}-${mode}`;
    const told: string[] = [];
    let iterations = 0;
    const loop = epollLoop({ onPost: () => iterations++ });
    const context = loop.createContext({
      onOpen(socket) {
        stuff(socket);
        // What the peer has not read still fills the socket: EPOLLHUP comes without EPOLLOUT.
        assertEquals(openLibc().shutdown(peer, SHUT_RDWR), 0);
      },
      onWritable: () => void told.push("writable"),
    });
    context.listen({ path });
    const peer = dial(path);
    // There is no event for what does not happen.
    loop.createTimer().set(() => context.close(), COUNT_MS);
    await runLoop(loop, mode);
    assertLess(iterations, SPINS);
    assertEquals(told, ["writable"]);
    close(peer);
    loop.free();
  });

  nativeTest(`a socket that hung up and is resumed in onWritable reads on: ${mode}`, async () => {
    const path = `\0usockets-resumed-${Deno.pid}-${mode}`;
    const told: unknown[] = [];
    const loop = epollLoop();
    const context = loop.createContext({
      onOpen(socket) {
        stuff(socket);
        // At once, so that room to write, bytes and the hang-up are told together.
        write(peer, new TextEncoder().encode("hello"));
        while (read(peer).length > 0);
        close(peer);
      },
      onWritable: (socket) => void (told.push("writable"), socket.resume()),
      onData: (_socket, data) => void told.push(new TextDecoder().decode(data)),
      onEnd: (socket) => void (told.push("end"), socket.close()),
      onClose: (_socket, code) => void (told.push(code), listener.close()),
    });
    const listener = context.listen({ path });
    const peer = dial(path);
    await runLoop(loop, mode);
    assertEquals(told, ["writable", "hello", "end", CloseCode.Clean]);
    loop.free();
  });

  nativeTest(`a listener that somebody else shut down does not spin: ${mode}`, async () => {
    let iterations = 0;
    const loop = epollLoop({ onPost: () => iterations++ });
    const { fd } = openListener(openLibc(), { host, port: 0 });
    const listener = loop.createContext().listen({ fd });
    loop.createTimer().set(() => openLibc().shutdown(fd, SHUT_RDWR), 1);
    // There is no event for what does not happen.
    loop.createTimer().set(() => listener.close(), COUNT_MS);
    await runLoop(loop, mode);
    assertLess(iterations, SPINS);
    loop.free();
  });
}

nativeTest(
  "write2() sends long headers with short payloads, and short ones with long",
  async () => {
    const path = `\0usockets-write2-${Deno.pid}`;
    const parts = [[16_380, 5], [16_380, 100], [100, 16_380]]
      .map((sizes) => sizes.map((size, i) => pattern(size, size + i)));
    const errors: unknown[] = [], received: Uint8Array[] = [];
    const loop = epollLoop({ onError: (error) => void errors.push(error) });
    const context = loop.createContext({
      onOpen(socket, isClient) {
        if (!isClient) return;
        for (const [header, payload] of parts) {
          assertEquals(socket.write2(header, payload), header.length + payload.length);
        }
        socket.end();
      },
      onData: (_socket, data) => void received.push(data.slice()),
      onClose: () => listener.close(),
    });
    const listener = context.listen({ path });
    context.connect({ path });
    await runLoop(loop);
    assertEquals(errors, []);
    assertEquals(sha256(concat(received)), sha256(concat(parts.flat())));
    loop.free();
  },
);

nativeTest("sizes beyond 2 GiB are written in part, cut down or refused", async () => {
  assertThrows(() => epollLoop({ recvBufferBytes: 2 ** 31 }), RangeError, '"recvBufferBytes"');
  assertThrows(() => epollLoop({ recvBufferBytes: 2 ** 30 + 1 }), RangeError, '"recvBufferBytes"');
  const huge = new Uint8Array(2 ** 31 + 100); // of which nobody touches more than the first pages
  const counts: number[] = [], errors: unknown[] = [];
  const loop = epollLoop({ onError: (error) => void errors.push(error) });
  const context = loop.createContext({
    onOpen(socket, isClient) {
      socket.pause();
      if (!isClient) return;
      counts.push(socket.write(huge), socket.write2(chunk, huge), socket.write2(huge, chunk));
      context.close();
    },
  });
  const listener = context.listen({ host, port: 0, backlog: 2 ** 32 });
  context.connect({ port: listener.port });
  await runLoop(loop);
  assertEquals([errors, counts.length], [[], 3]);
  assert(counts[0] > 0 && counts[0] < 2 ** 31, `${counts}`);
  loop.free();
});

// ---------------------------------------------------------------- unspecified addresses

nativeTest("a connection to the unspecified address is one to the loopback address", async () => {
  const hosts = { "0.0.0.0": host, "0": host, "::": "::1" };
  for (const [unspecified, loopback] of Object.entries(hosts)) {
    const told: string[] = [];
    const loop = epollLoop();
    const context = loop.createContext({
      onOpen(socket, isClient, ip) {
        if (isClient) told.push(ip, socket.remoteAddress);
        if (isClient) context.close();
      },
      onConnectError: (_socket, error) => void (told.push(error.message), context.close()),
    });
    let port: number;
    try {
      ({ port } = context.listen({ host: loopback, port: 0 }));
    } catch { // a machine without IPv6
      assertEquals(loopback, "::1");
      loop.free();
      continue;
    }
    context.connect({ host: unspecified, port });
    await runLoop(loop);
    assertEquals(told, [loopback, loopback]);
    loop.free();
  }
});

nativeTest("a connection to itself is refused, by the unspecified address too", async () => {
  // The system may choose the very port that is connected to: here it must.
  const loop = loopWith((real) => ({
    connect(fd, address, length) {
      if (familyOf(address as Bytes) === AF_INET) assertEquals(real.bind(fd, address, length), 0);
      return real.connect(fd, address, length);
    },
  }));
  for (const to of [host, "0.0.0.0"]) {
    const told: unknown[] = [];
    const context = loop.createContext({
      onOpen: (socket) => void (told.push("open"), socket.close()),
      onConnectError: (_socket, error) => void told.push(error.name),
    });
    const listener = context.listen({ host, port: 0 });
    listener.close(); // its port is free
    context.connect({ host: to, port: listener.port });
    await runLoop(loop);
    assertEquals(told, ["ConnectionRefused"]);
  }
  loop.free();
});

// ---------------------------------------------------------------- loops and threads

for (const mode of modes) {
  nativeTest(
    `free() in a timer's callback leaves the next loop's alone: ${mode}`,
    async () => {
      const first = epollLoop();
      const made = Promise.withResolvers<Loop>();
      const fired = Promise.withResolvers<boolean>();
      first.createTimer().set(() => {
        first.free();
        const next = epollLoop(); // takes over the numbers of the descriptors
        next.createTimer().set(() => fired.resolve(true), 20);
        made.resolve(next);
      }, 1);
      await first[mode](); // with no other timer, of which the end would hide the mistake
      const next = await made.promise;
      const run = next.run();
      // runLoop()'s own watchdog would be as deaf as the timer.
      const watchdog = setTimeout(() => fired.resolve(false), 10_000);
      assert(await fired.promise, "the timer did not fire");
      clearTimeout(watchdog);
      next.free();
      await run;
    },
  );
}

/** For scripts: keeps all threads of Deno's pool busy until they are released. */
const BUSY_POOL = `
      const libc = Deno.dlopen("libc.so.6", {
        pipe: { parameters: ["buffer"], result: "i32" },
        write: { parameters: ["i32", "buffer", "i32"], result: "i32" },
        read: { parameters: ["i32", "buffer", "i32"], result: "i32", nonblocking: true },
      }).symbols;
      const ends = new Int32Array(2);
      libc.pipe(new Uint8Array(ends.buffer));
      const fillPool = () =>
        Array.from({ length: 40 }, () => libc.read(ends[0], new Uint8Array(1), 1));
      const release = () => libc.write(ends[1], new Uint8Array(40), 40);`;

Deno.test({
  name: "a sleeping loop answers while all threads of Deno's pool are busy",
  ignore,
  async fn() {
    const lines = await linesOf(`
      ${BUSY_POOL}
      const loop = new Loop({ backend: epoll });
      const server = loop.createContext({ onData: (socket, data) => void socket.write(data) });
      const { port } = server.listen({ host: "127.0.0.1", port: 0 });
      loop.integrate();
      const conn = await Deno.connect({ port });
      const roundTrip = async () => {
        await conn.write(new Uint8Array(1));
        await conn.read(new Uint8Array(1));
      };
      await roundTrip();
      // Deno has 32 such threads; these wait for the bytes that come last.
      const reads = fillPool();
      await roundTrip(); // it was asleep already, in a thread that is free from here on
      // No event tells that it has fallen asleep again.
      await new Promise((resolve) => setTimeout(resolve, 300));
      const watchdog = setTimeout(() => {
        console.log("deaf");
        release();
      }, 10_000);
      await roundTrip();
      clearTimeout(watchdog);
      console.log("answers");
      release();
      await Promise.all(reads);
      console.log("done");
      Deno.exit();`);
    assertEquals(lines, ["answers", "done"]);
  },
});

Deno.test({
  name: "a loop that has nothing left to do ends, though a glance met the news before the wait did",
  ignore,
  async fn() {
    const lines = await linesOf(`
      ${BUSY_POOL}
      const loop = new Loop({ backend: epoll });
      const timer = loop.createTimer();
      const run = loop.run().then(() => console.log("ended"));
      const fires = (ms) => new Promise((resolve) => timer.set(resolve, ms));
      await fires(300);
      // Deno has 32 such threads; the loop's next wait does not begin before the bytes come.
      const fired = fires(300);
      const reads = fillPool();
      await fired;
      timer.set(() => {}, 100_000);
      // No event tells that it has fallen asleep again.
      await new Promise((resolve) => setTimeout(resolve, 300));
      timer.close();
      // No event tells that it has had its glance.
      await new Promise((resolve) => setTimeout(resolve, 300));
      release();
      await Promise.all(reads);
      setTimeout(() => {
        console.log("goes on");
        Deno.exit();
      }, 10_000);
      await run;
      Deno.exit();`);
    assertEquals(lines, ["ended"]);
  },
});

Deno.test({
  name: "handshakes that a glance puts off go on, though nothing else happens",
  ignore,
  async fn() {
    const lines = await linesOf(`
      ${BUSY_POOL}
      const news = new Int32Array(2);
      libc.pipe(new Uint8Array(news.buffer));
      const loop = new Loop({ backend: epoll });
      const { promise, resolve } = Promise.withResolvers();
      const poll = loop.createPoll(news[0], {
        onReady: () => {
          poll.stop();
          while (loop.lowPriority.admit({ readmit: () => true }));
          loop.lowPriority.admit({ readmit: () => (resolve(), true) });
          release();
        },
      });
      poll.start(1);
      const timer = loop.createTimer();
      const fires = (ms) => new Promise((resolve) => timer.set(resolve, ms));
      loop.integrate();
      await fires(300);
      const fired = fires(300);
      // Deno has 32 such threads; the loop's next wait does not begin before the bytes come.
      fillPool();
      await fired;
      timer.set(() => {}, 100_000); // keeps the loop running
      // No event tells that it has fallen asleep again.
      await new Promise((resolve) => setTimeout(resolve, 300));
      libc.write(news[1], new Uint8Array(1), 1);
      setTimeout(() => {
        console.log("forgotten");
        Deno.exit();
      }, 5_000);
      await promise;
      console.log("goes on");
      Deno.exit();`);
    assertEquals(lines, ["goes on"]);
  },
});

nativeTest("a resting loop that gets something to do out of descriptors is served", async () => {
  let fails = false, failures = 0;
  const loop = loopWith((real) => ({
    timerfd_create(clock, flags) {
      if (fails) failures++;
      return fails ? -1 : real.timerfd_create(clock, flags);
    },
  }));
  const before = countDescriptors();
  loop.integrate();
  assertGreater(countDescriptors(), before);
  while (countDescriptors() > before) {
    // no event tells that the loop has come to rest
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const fires = () => new Promise<void>((resolve) => loop.createTimer().set(() => resolve(), 1));
  fails = true;
  await fires();
  assertGreater(failures, 0);
  await fires();
  fails = false;
  await fires();
  loop.free();
});

nativeTest("loops that the system refuses to wait for end with its error", async () => {
  let fails = true;
  const members: number[] = [];
  const refusing = () =>
    loopWith((real) => ({
      // Of several loops each is watched as one descriptor.
      epoll_ctl(fd, operation, target, event) {
        if (fails && operation === EPOLL_CTL_ADD && members.includes(target)) return -1;
        return real.epoll_ctl(fd, operation, target, event);
      },
    }));
  const loops = [refusing(), refusing()];
  for (const loop of loops) {
    members.push((loop.backend as unknown as { selector: { fd: number } }).selector.fd);
    loop.createTimer().set(() => {}, 1);
  }
  const runs = loops.map((loop) => loop.run());
  await Promise.all(runs.map((run) => assertRejects(() => run, Error)));
  fails = false;
  await Promise.all(loops.map((loop) => runLoop(loop))); // the thread is as good as before
  for (const loop of loops) loop.free();
});

nativeTest("free() closes at once while another loop of the thread sleeps", async () => {
  const asleep = epollLoop({ sliceMs: 1 });
  asleep.createContext().listen({ host, port: 0 });
  asleep.integrate();
  // No event tells that it has fallen asleep.
  await new Promise((resolve) => setTimeout(resolve, 300));
  const busy = epollLoop();
  let leaked = -1;
  busy.createTimer().set(() => {
    const before = countDescriptors();
    for (let i = 0; i < 5; i++) epollLoop().free();
    leaked = countDescriptors() - before;
  }, 1);
  busy.runBlocking();
  assertEquals(leaked, 0);
  busy.free();
  asleep.free();
});
