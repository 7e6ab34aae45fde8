// reclaim(): what a Worker's loop left open, or holds while it blocks, is given back.
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { epoll, Loop, reclaim, type WakeupHandle } from "@usockets/usockets";
import { isLinux } from "../support/native.ts";
import { modUrl } from "../support/subprocess.ts";

const hostname = "127.0.0.1";

/** Deno itself has no timerfd; behind Workers it leaves an eventfd and an epoll descriptor open. */
function openSocketsAndTimers(): number {
  let count = 0;
  for (const { name } of Deno.readDirSync("/proc/self/fd")) {
    try {
      if (/^socket:|\[timerfd\]/.test(Deno.readLinkSync(`/proc/self/fd/${name}`))) count++;
    } catch {
      // the directory's own, which is closed by now
    }
  }
  return count;
}

/** Registers a test with Workers that fails if it leaves a socket or a timer of the system's open. */
function workerTest(name: string, test: () => Promise<void>): void {
  Deno.test({
    name,
    ignore: !isLinux,
    async fn() {
      const before = openSocketsAndTimers();
      await test();
      for (let turn = 0; turn < 200 && openSocketsAndTimers() > before; turn++) {
        // no event tells when Deno has closed what a Worker had
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      assertEquals(openSocketsAndTimers() - before, 0, "descriptors were left open");
    },
  });
}

/** A Worker whose loop listens and greets, run in some way. */
class Server {
  readonly #worker: Worker;
  readonly #messages: unknown[] = [];
  #heard = Promise.withResolvers<void>();
  port = 0;
  handle!: WakeupHandle;

  static async start(run: string): Promise<Server> {
    const server = new Server(run);
    ({ port: server.port, handle: server.handle } = await server.next() as Server);
    return server;
  }

  private constructor(run: string) {
    // JavaScript: Deno would check the types of TypeScript anew for each Worker.
    const code = `
      import { epoll, Loop } from "${modUrl}";
      const loop = new Loop({ backend: epoll });
      const server = loop.createContext({ onOpen: (socket) => void socket.write("hi") });
      const { port } = server.listen({ host: "${hostname}", port: 0 });
      loop.createTimer().set(() => {}, 1_000_000);
      postMessage({ port, handle: loop.wakeupHandle });
      ${run}`;
    this.#worker = new Worker(`data:text/javascript,${encodeURIComponent(code)}`, {
      type: "module",
    });
    this.#worker.onmessage = ({ data }) => {
      this.#messages.push(data);
      this.#heard.resolve();
    };
  }

  /** What it says next. */
  async next(): Promise<unknown> {
    if (this.#messages.length === 0) await this.#heard.promise;
    this.#heard = Promise.withResolvers();
    return this.#messages.shift();
  }

  /** A connection that it has opened. */
  async connect(): Promise<Deno.Conn> {
    const conn = await Deno.connect({ hostname, port: this.port });
    assertEquals(await conn.read(new Uint8Array(2)), 2);
    return conn;
  }

  terminate(): void {
    this.#worker.terminate();
  }

  /** Its thread is gone: before that, its loop could still free itself. */
  async ended(): Promise<void> {
    const thread = new Int32Array(this.handle.state)[3];
    while ([...Deno.readDirSync("/proc/self/task")].some(({ name }) => name === `${thread}`)) {
      // no event tells when a thread has ended
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  assertListens(): void {
    assertThrows(() => Deno.listen({ hostname, port: this.port }), Deno.errors.AddrInUse);
  }

  assertListensNoMore(): void {
    Deno.listen({ hostname, port: this.port }).close();
  }
}

/** Reads to the end, which a connection comes to when its other end is closed. */
async function assertEnds(conn: Deno.Conn): Promise<void> {
  assertEquals(await conn.read(new Uint8Array(1)), null);
  conn.close();
}

for (const run of ["loop.integrate();", "await loop.run();"]) {
  workerTest(`reclaim() closes what a terminated Worker left open: ${run}`, async () => {
    const server = await Server.start(run);
    const conn = await server.connect();
    server.terminate();
    await server.ended();
    server.assertListens(); // which is why there is reclaim()
    // epoll, timers, wakeups; the listener and its reserve, the connection; the thread's tick
    assertEquals(await reclaim(server.handle), 7);
    server.assertListensNoMore();
    await assertEnds(conn);
    assertEquals(await reclaim(server.handle), 0);
  });
}

workerTest(
  "reclaim() closes what a terminated Worker left open that never ran its loop",
  async () => {
    const server = await Server.start("");
    server.terminate();
    assertEquals(await reclaim(server.handle), 5);
    server.assertListensNoMore();
  },
);

for (const run of ["loop.integrate();", "await loop.run();", "loop.runBlocking();"]) {
  workerTest(`reclaim() has the loop of a live Worker free itself: ${run}`, async () => {
    const server = await Server.start(`
      ${run}
      setInterval(() => { // a while later: the thread's own descriptor goes a turn after the loop's
        if (loop.isFreed) postMessage("freed");
      }, 10);`);
    const conn = await server.connect();
    assertEquals(await reclaim(server.handle), 0);
    server.assertListensNoMore();
    await assertEnds(conn);
    assertEquals(await server.next(), "freed");
    server.terminate();
  });
}

workerTest("reclaim() lets a terminated Worker end that blocks its thread", async () => {
  const server = await Server.start("loop.runBlocking();");
  const conn = await server.connect();
  server.terminate(); // has no effect until something wakes it up
  server.assertListens();
  await reclaim(server.handle); // the loop frees itself, or its thread ends before
  server.assertListensNoMore();
  await assertEnds(conn);
});

workerTest("reclaim() of a loop that is freed does nothing, and of nothing throws", async () => {
  const loop = new Loop({ backend: epoll });
  const { wakeupHandle } = loop;
  loop.free();
  assertEquals(await reclaim(wakeupHandle), 0);
  for (const wrong of [undefined, null, 1, {}, { state: new ArrayBuffer(16) }, loop]) {
    await assertRejects(
      () => reclaim(wrong as unknown as WakeupHandle),
      TypeError,
      "Cannot reclaim a loop",
    );
  }
});

workerTest("reclaim() frees a loop of this very thread that runs", async () => {
  const loop = new Loop({ backend: epoll });
  loop.createContext().listen({ host: hostname, port: 0 });
  const run = loop.run();
  assertEquals(await reclaim(loop.wakeupHandle), 0);
  await run;
  assertEquals(loop.isFreed, true);
});
