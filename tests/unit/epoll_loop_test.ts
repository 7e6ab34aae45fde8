// Loops of the epoll backend on one thread, and on several: beside each other, beside Deno's own.
import { assert, assertEquals, assertGreaterOrEqual, assertThrows } from "@std/assert";
import {
  epoll,
  type Handlers,
  type ListenSocket,
  Loop,
  type LoopOptions,
  type Socket,
} from "@usockets/usockets";
import { modes, nativeTest, runLoop } from "../support/native.ts";
import { modUrl } from "../support/subprocess.ts";

const host = "127.0.0.1";

function epollLoop(options: LoopOptions = {}): Loop {
  return new Loop({ backend: epoll, ...options });
}

/** A server that echoes. */
function echoServer(loop: Loop): ListenSocket {
  const server = loop.createContext({ onData: (socket, data) => void socket.write(data) });
  return server.listen({ host, port: 0 });
}

/** A client that makes so many round trips to a port, then closes. */
function pingPong(loop: Loop, port: number, rounds: number, onRound?: (round: number) => void) {
  const { promise, resolve } = Promise.withResolvers<number>();
  let round = 0;
  const client = loop.createContext({
    onOpen: (socket) => void socket.write("x"),
    onData(socket) {
      round++;
      onRound?.(round);
      if (round === rounds) socket.close();
      else socket.write("x");
    },
    onConnectError: () => resolve(-1),
    onClose: () => resolve(round),
  });
  client.connect({ host, port });
  return promise;
}

// ---------------------------------------------------------------- several loops on one thread

nativeTest("three loops on one thread talk to each other, while they come and go", async () => {
  const [a, b, c] = [epollLoop(), epollLoop(), epollLoop()];
  const listeners = [a, b, c].map(echoServer);
  const timeOfC = c.createTimer();
  timeOfC.set(() => timeOfC.ext = undefined, 1, 1);
  const iterations = () => [a, b, c].map((loop) => loop.iterationNumber);
  const runs = [a.run(), b.run()];
  // a to b and b to a; c is not run yet: it must not answer.
  assertEquals(
    await Promise.all([
      pingPong(a, listeners[1].port, 50),
      pingPong(b, listeners[0].port, 50),
    ]),
    [50, 50],
  );
  assertEquals(iterations()[2], 0);
  // c comes in the middle of an exchange.
  const [aToB, bToC] = [
    pingPong(a, listeners[1].port, 100, (round) => {
      if (round === 50) c.integrate();
    }),
    pingPong(b, listeners[2].port, 100),
  ];
  assertEquals(await Promise.all([aToB, bToC]), [100, 100]);
  // b is freed in the middle of two exchanges: both connections end, the loops go on.
  const broken = pingPong(a, listeners[1].port, 1000, (round) => {
    if (round === 30) b.free();
  });
  const whole = pingPong(c, listeners[0].port, 200);
  assertEquals(await Promise.all([broken, whole]), [30, 200]);
  await runs[1];
  // a ends by itself, and c alone goes on.
  listeners[0].close();
  await runs[0];
  const before = iterations();
  assertEquals(await pingPong(c, listeners[2].port, 20), 20);
  assertEquals(iterations()[0], before[0]);
  assertGreaterOrEqual(iterations()[2], before[2] + 20);
  c.free();
  a.free();
});

nativeTest("a loop that blocks inside a handler of another leaves both sound", async () => {
  const outer = epollLoop(), inner = epollLoop();
  const listener = echoServer(outer);
  const order: string[] = [];
  const whole = pingPong(outer, listener.port, 3, (round) => {
    order.push(`outer ${round}`);
    if (round !== 2) return;
    inner.createTimer().set(() => order.push("inner"), 1);
    inner.runBlocking();
    listener.close();
  });
  await runLoop(outer);
  assertEquals(await whole, 3);
  assertEquals(order, ["outer 1", "outer 2", "inner", "outer 3"]);
  outer.free();
  inner.free();
});

nativeTest("a loop is run again and again, in turn in both ways", async () => {
  const loop = epollLoop();
  for (let i = 0; i < 5; i++) {
    for (const mode of modes) {
      const listener = echoServer(loop);
      const rounds = pingPong(loop, listener.port, 10, (round) => {
        if (round === 10) listener.close();
      });
      await runLoop(loop, mode);
      assertEquals(await rounds, 10);
    }
  }
  loop.free();
});

nativeTest(
  "an integrated loop rests when it has nothing to do, and goes on, ten times",
  async () => {
    const loop = epollLoop();
    const other = epollLoop(); // one that is there all the time, in every second round
    loop.integrate();
    const alive = setInterval(() => {}, 1000);
    for (let i = 0; i < 10; i++) {
      const listener = echoServer(loop);
      const others = i % 2 === 0 ? undefined : echoServer(other);
      const run = i % 2 === 0 ? undefined : other.run();
      assertEquals(await pingPong(loop, listener.port, 5), 5);
      listener.close();
      // What falls through comes while it rests, too.
      const timer = loop.createTimer({ fallthrough: true });
      await new Promise<void>((resolve) => timer.set(() => resolve(), 1));
      timer.close();
      others?.close();
      await run;
    }
    clearInterval(alive);
    assertThrows(() => loop.integrate(), Deno.errors.Busy);
    loop.free();
    other.free();
  },
);

// ---------------------------------------------------------------- free() inside of everything

type Place = "pre" | "post" | "wakeup" | "timer" | "poll" | keyof Handlers;
const places: readonly Place[] = [
  "pre",
  "post",
  "wakeup",
  "timer",
  "poll",
  "onPreOpen",
  "onOpen",
  "onData",
  "onEnd",
  "onClose",
  "onTimeout",
  "onConnectError",
];

for (const way of ["run", "runBlocking", "integrate", "run beside another"] as const) {
  nativeTest(`free() inside of every callback leaves nothing open: ${way}`, async () => {
    const other = epollLoop();
    const listener = way === "run beside another" ? echoServer(other) : undefined;
    const running = listener && other.run();
    for (const place of places) {
      let calls = 0;
      const { promise, resolve } = Promise.withResolvers<void>();
      const act = (at: Place) => () => {
        assert(!loop.isFreed || at === "onClose", `${at} after free() in ${place}`);
        if (at !== place) return true;
        if (calls++ === 0) loop.free();
        resolve();
        return true;
      };
      const loop = epollLoop({
        onPre: act("pre"),
        onPost: act("post"),
        onWakeup: act("wakeup"),
        timeoutGranularityMs: 5,
      });
      busy(loop, act);
      if (way === "integrate") loop.integrate();
      else await (way === "runBlocking" ? loop.runBlocking() : loop.run());
      await promise;
      if (place !== "onClose") assertEquals(calls, 1, place); // the others close then, too
      assert(loop.isFreed);
    }
    if (listener !== undefined) assertEquals(await pingPong(other, listener.port, 5), 5);
    listener?.close();
    await running;
    other.free();
  });
}

/** Gives a loop something of every kind to do. */
function busy(loop: Loop, act: (place: Place) => () => boolean): void {
  const sockets: Socket[] = [];
  const server = loop.createContext({
    onPreOpen: act("onPreOpen"),
    onOpen(socket) {
      sockets.push(socket);
      socket.timeout(0.005);
      socket.write("hello");
      act("onOpen")();
    },
    onTimeout: (socket) => void (act("onTimeout")(), socket.shutdown()),
  });
  const { port } = server.listen({ host, port: 0 });
  const client = loop.createContext({
    onData: act("onData"),
    onEnd: (socket) => void (act("onEnd")(), socket.close()),
    onClose: act("onClose"),
    onConnectError: act("onConnectError"),
  });
  for (let i = 0; i < 4; i++) client.connect({ host, port });
  client.connect({ path: "\0usockets-nobody" });
  loop.createTimer().set(act("timer"), 1, 1);
  // Another loop's epoll descriptor, in which a timer is due.
  const watched = epollLoop();
  watched.createTimer().set(() => {}, 0.001);
  const { fd } = (watched.backend as unknown as { selector: { fd: number } }).selector;
  loop.createPoll(fd, { onReady: act("poll") }).start(1);
  loop.wakeup();
  const free = loop.free.bind(loop);
  loop.free = () => {
    free();
    watched.free();
  };
}

// ---------------------------------------------------------------- beside Deno's own loop

nativeTest("what a handler's promises go on with runs before the next batch", async () => {
  const order: string[] = [];
  const loop = epollLoop({ onPre: () => order.push("pre"), onPost: () => order.push("post") });
  const listener = echoServer(loop);
  let rounds = 0;
  const client = loop.createContext({
    onOpen: (socket) => void socket.write("x"),
    async onData(socket) {
      order.push("data");
      socket.write("x");
      if (++rounds === 50) {
        socket.close();
        listener.close();
      }
      await undefined;
      order.push("microtask");
      await Promise.resolve();
      order.push("microtask");
    },
  });
  client.connect({ host, port: listener.port });
  await runLoop(loop);
  const story = order.join(" ").replaceAll("pre post ", "");
  assertEquals(order.filter((word) => word === "data").length, 50);
  assertEquals(story.match(/pre data post microtask microtask/g)?.length, 50, story);
  loop.free();
});

for (const sliceMs of [0, 2, 50]) {
  nativeTest(`timers, fetches and files go on beside a busy loop: sliceMs ${sliceMs}`, async () => {
    const loop = epollLoop({ sliceMs });
    const server = Deno.serve({ hostname: host, port: 0, onListen() {} }, () => new Response("hi"));
    const listener = echoServer(loop);
    let rounds = 0, isDone = false;
    const client = loop.createContext({
      onOpen: (socket) => void socket.write("x"),
      onData(socket) {
        rounds++;
        if (isDone) socket.close();
        else socket.write("x");
      },
      onClose: () => listener.close(),
    });
    for (let i = 0; i < 8; i++) client.connect({ host, port: listener.port });
    const run = loop.run();
    // Each of these ends only if Deno's loop gets its turns while ours is never idle.
    const progress = [0];
    for (let i = 0; i < 3; i++) {
      await new Promise((resolve) => void setTimeout(resolve, 1)); // no event: it is the event
      const response = await fetch(`http://${host}:${server.addr.port}/`);
      assertEquals(await response.text(), "hi");
      assert((await Deno.readTextFile(new URL(import.meta.url))).includes("readTextFile"));
      progress.push(rounds);
    }
    isDone = true;
    await run;
    for (let i = 1; i < progress.length; i++) assert(progress[i] > progress[i - 1], `${progress}`);
    await server.shutdown();
    loop.free();
  });
}

// ---------------------------------------------------------------- other threads

const WAKERS = 4, WAKEUPS = 2000;

/** Workers that each count up in shared memory and wake up the loop, so many times. */
function startWakers(loop: Loop, counts: Int32Array<SharedArrayBuffer>): Worker[] {
  const code = `
    import { wakeup } from "${modUrl}";
    onmessage = ({ data: { handle, counts, i } }) => {
      for (let n = 1; n <= ${WAKEUPS}; n++) {
        Atomics.store(counts, i, n);
        wakeup(handle);
        // Now and then the loop gets the time to fall asleep.
        if (n % 500 === 0) Atomics.wait(counts, ${WAKERS}, 0, 20);
      }
      postMessage("done");
    };`;
  return Array.from({ length: WAKERS }, (_, i) => {
    const worker = new Worker(`data:text/javascript,${encodeURIComponent(code)}`, {
      type: "module",
    });
    worker.postMessage({ handle: loop.wakeupHandle, counts, i });
    return worker;
  });
}

for (const way of ["runBlocking", "run", "integrate"] as const) {
  nativeTest(`the last wakeup of four Workers is always seen: ${way}`, async () => {
    const counts = new Int32Array(new SharedArrayBuffer((WAKERS + 1) * 4));
    const seen = Promise.withResolvers<void>();
    const keeper = { close() {} };
    let calls = 0;
    const loop = epollLoop({
      onWakeup() {
        calls++;
        if (counts.subarray(0, WAKERS).some((count) => count < WAKEUPS)) return;
        keeper.close();
        seen.resolve();
      },
    });
    const listener = echoServer(loop); // keeps it running, without an event of its own
    keeper.close = () => listener.close();
    const workers = startWakers(loop, counts);
    const done = workers.map((worker) => new Promise((resolve) => worker.onmessage = resolve));
    if (way === "integrate") loop.integrate();
    else await runLoop(loop, way);
    await seen.promise;
    assert(calls >= 1 && calls <= WAKERS * WAKEUPS);
    loop.free();
    await Promise.all(done); // none is terminated in the middle of what it does
    for (const worker of workers) worker.terminate();
  });
}

nativeTest("a loop in a Worker serves one in this thread", async () => {
  const code = `
    import { epoll, Loop } from "${modUrl}";
    const loop = new Loop({ backend: epoll, onWakeup: (loop) => loop.free() });
    const server = loop.createContext({ onData: (socket, data) => void socket.write(data) });
    const { port } = server.listen({ host: "${host}", port: 0 });
    postMessage({ port, handle: loop.wakeupHandle });
    await loop.run();
    setTimeout(() => postMessage("ended"), 10); // the thread's own descriptor goes a turn later`;
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(code)}`, { type: "module" });
  const messages: unknown[] = [];
  let heard = Promise.withResolvers<void>();
  worker.onmessage = ({ data }) => {
    messages.push(data);
    heard.resolve();
  };
  await heard.promise;
  heard = Promise.withResolvers();
  const { port, handle } = messages[0] as { port: number; handle: Loop["wakeupHandle"] };
  for (const mode of modes) {
    const loop = epollLoop();
    const rounds = pingPong(loop, port, 100);
    await runLoop(loop, mode);
    assertEquals(await rounds, 100);
    loop.free();
  }
  const { wakeup } = await import("@usockets/usockets");
  wakeup(handle);
  await heard.promise;
  assertEquals(messages[1], "ended");
  worker.terminate();
});

nativeTest("promises that a handler resolves go on, four deep, before the next wait", async () => {
  const loop = new Loop({ backend: epoll, sliceMs: 60_000 }); // no tick helps
  let told: (() => void) | undefined;
  const listener = loop.createContext({
    onData: (socket, data) => void socket.write(data),
    onEnd: (socket) => socket.end(),
  }).listen({ host: "127.0.0.1", port: 0 });
  const answer = () => new Promise<void>((resolve) => told = resolve); // 1
  const parsed = async () => await answer(); // 2
  const checked = async () => { // 3
    await parsed();
    await null; // 4
  };
  let rounds = 0;
  loop.createContext({
    async onOpen(socket) {
      for (; rounds < 10; rounds++) {
        socket.write("x");
        await checked();
      }
      socket.end();
      listener.close();
    },
    onData: () => told!(),
  }).connect({ host: "127.0.0.1", port: listener.port });
  await runLoop(loop);
  loop.free();
  assertEquals(rounds, 10);
});
