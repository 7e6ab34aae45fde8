/** The hand-over of descriptors between loops: its ring, and who gets a connection. */
import { assertEquals, assertRejects } from "@std/assert";
import { epoll, Loop, reclaim, type WakeupHandle } from "@usockets/usockets";
import { Acceptor, adoptFrom, Inbox } from "../../examples/support/hand_over.ts";
import { SharedCounts } from "../../examples/support/shared_counts.ts";
import { nativeTest } from "../support/native.ts";
import { receive, send } from "./servers.ts";

const HAND_OVER = new URL("../../examples/support/hand_over.ts", import.meta.url).href;

/** How long a test may take before it counts as hanging, in milliseconds. */
const HANG_MS = 20_000;

// ---------------------------------------------------------------- the ring

Deno.test("Inbox: what was put is taken in order, across the end of the ring", () => {
  const inbox = new Inbox(4);
  const sameInbox = new Inbox(inbox.shared);
  for (let fd = 0; fd < 1000; fd += 3) {
    for (let i = 0; i < 3; i++) inbox.put(fd + i);
    for (let i = 0; i < 3; i++) assertEquals(sameInbox.take(), fd + i);
    assertEquals(sameInbox.take(), -1);
  }
});

Deno.test("Inbox: is full when it has as many as its capacity, and has room when one is taken", () => {
  const inbox = new Inbox(4);
  for (let fd = 10; fd < 14; fd++) {
    assertEquals(inbox.isFull, false);
    inbox.put(fd);
  }
  assertEquals(inbox.isFull, true);
  assertEquals(inbox.take(), 10);
  assertEquals(inbox.isFull, false);
  inbox.put(14);
  assertEquals(inbox.isFull, true);
  assertEquals([1, 2, 3, 4, 5].map(() => inbox.take()), [11, 12, 13, 14, -1]);
});

Deno.test("Inbox: its counters wrap around", () => {
  const inbox = new Inbox(4);
  new Int32Array(inbox.shared).fill(2 ** 31 - 2, 0, 1).fill(2 ** 31 - 2, 16, 17);
  for (let fd = 0; fd < 4; fd++) inbox.put(fd);
  assertEquals(inbox.isFull, true);
  assertEquals([1, 2, 3, 4, 5].map(() => inbox.take()), [0, 1, 2, 3, -1]);
  inbox.put(4);
  assertEquals([inbox.isFull, inbox.take(), inbox.take()], [false, 4, -1]);
});

Deno.test("Inbox: counts what was put until it is told that it closed", () => {
  const inbox = new Inbox(4);
  inbox.put(1);
  inbox.put(2);
  inbox.take();
  assertEquals(inbox.open, 2);
  inbox.noteClosed();
  assertEquals(inbox.open, 1);
});

/** What a Worker does with an inbox, in JavaScript; resolves to what `result` is in the end. */
function inWorker(inbox: Inbox, body: string): Promise<unknown> {
  const code = `import { Inbox } from ${JSON.stringify(HAND_OVER)};
    onmessage = ({ data }) => {
      const inbox = new Inbox(data);
      let result = 0;
      ${body}
      postMessage(result);
    };`;
  const url = `data:text/javascript,${encodeURIComponent(code)}`;
  const worker = new Worker(url, { type: "module" });
  worker.postMessage(inbox.shared);
  return new Promise((resolve) => {
    const end = (result: unknown) => {
      clearTimeout(watchdog);
      worker.terminate();
      resolve(result);
    };
    const watchdog = setTimeout(() => end("hangs"), HANG_MS);
    worker.onmessage = ({ data }) => end(data);
  });
}

nativeTest("Inbox: loses and repeats nothing between two threads", async () => {
  const inbox = new Inbox(8);
  const results = await Promise.all([
    inWorker(inbox, "for (let fd = 0; fd < 200_000; ) if (!inbox.isFull) inbox.put(fd++);"),
    inWorker(
      inbox,
      `for (let next = 0; next < 200_000; ) {
        const fd = inbox.take();
        if (fd === -1) continue;
        if (fd !== next) result++;
        next = fd + 1;
      }`,
    ),
  ]);
  assertEquals(results, [0, 0]);
  assertEquals(inbox.take(), -1);
});

Deno.test("SharedCounts: every Worker has a row of its own", () => {
  const counts = new SharedCounts(2);
  const row = { open: 1, accepted: 2, bytesIn: 2 ** 40, bytesOut: 4 };
  new SharedCounts(counts.shared).publish(1, row);
  assertEquals(counts.read(), [{ open: 0, accepted: 0, bytesIn: 0, bytesOut: 0 }, row]);
});

// ---------------------------------------------------------------- who gets a connection

/** Takes what an acceptor gives it, as a Worker does; it echoes. */
class Taker {
  readonly loop: Loop;
  readonly inbox: Inbox;
  opened = 0;
  /** How many had opened when it was told that no more come. */
  openedAtLast = -1;

  constructor(capacity = 1024) {
    this.inbox = new Inbox(capacity);
    this.loop = new Loop({ backend: epoll, onWakeup: () => woken() });
    const context = this.loop.createContext<unknown>({
      socketExt: () => undefined,
      onOpen: () => void this.opened++,
      onData: (socket, data) => void socket.write(data),
    });
    const woken = adoptFrom(this.inbox, context, () => {
      this.openedAtLast = this.opened;
      this.loop.shutdown({ graceSeconds: 0 });
    });
    this.loop.createTimer().set(() => this.loop.free(), HANG_MS); // keeps the loop running
  }
}

/** An acceptor and what it accepts for, all on one thread; at the end nothing may be left. */
async function handingOver(
  takers: Taker[],
  test: (acceptor: Acceptor, connect: () => Promise<Deno.TcpConn>) => Promise<void>,
): Promise<void> {
  const acceptor = new Acceptor({ host: "127.0.0.1", port: 0 }, takers.map(({ inbox }) => inbox));
  const accepting = acceptor.run(takers.map(({ loop }) => loop.wakeupHandle));
  try {
    await withConnections(acceptor.port, (connect) => test(acceptor, connect));
  } finally {
    acceptor.stop();
    await accepting;
    acceptor.free();
    for (const { loop } of takers) loop.free();
  }
}

/** Connections that are closed when a test hangs: then what it waits for fails. */
async function withConnections(
  port: number,
  test: (connect: () => Promise<Deno.TcpConn>) => Promise<void>,
): Promise<void> {
  const conns: Deno.TcpConn[] = [];
  const watchdog = setTimeout(() => conns.forEach((conn) => conn.close()), HANG_MS);
  try {
    await test(async () => {
      const conn = await Deno.connect({ hostname: "127.0.0.1", port });
      conns.push(conn);
      return conn;
    });
  } finally {
    clearTimeout(watchdog);
  }
}

/** Says hello, and hears it: then somebody has taken the connection. */
async function greet(conn: Deno.Conn): Promise<void> {
  await send(conn, "hello");
  assertEquals(await receive(conn, 5), "hello");
}

nativeTest("Acceptor: gives each connection to whom has the fewest open ones", async () => {
  const [first, second] = [new Taker(), new Taker()];
  const running = Promise.all([first.loop.run(), second.loop.run()]);
  await handingOver([first, second], async (acceptor, connect) => {
    const conns = [];
    for (let i = 0; i < 6; i++) {
      conns.push(await connect());
      await greet(conns[i]);
    }
    assertEquals([first.opened, second.opened], [3, 3]);
    // The connections of one of them close: what comes next is its own, until it has as many.
    for (const i of [0, 2, 4]) {
      await conns[i].closeWrite();
      assertEquals(await conns[i].read(new Uint8Array(1)), null);
      conns[i].close();
    }
    assertEquals([first.inbox.open, second.inbox.open].sort(), [0, 3]);
    const busy = first.inbox.open === 3 ? first : second;
    for (const i of [0, 2, 4]) {
      conns[i] = await connect();
      await greet(conns[i]);
      assertEquals(busy.opened, 3);
    }
    acceptor.stop();
    await running;
    assertEquals([first.openedAtLast, second.openedAtLast], [first.opened, second.opened]);
    for (const conn of conns) conn.close();
  });
});

nativeTest("Acceptor: where one has no room another gets the connection", async () => {
  const [full, other] = [new Taker(1), new Taker(8)]; // nobody takes: their loops do not run
  await handingOver([full, other], async (acceptor, connect) => {
    const conns = await Promise.all(Array.from({ length: 9 }, connect));
    while (full.inbox.open + other.inbox.open < 9) await turn();
    assertEquals([full.inbox.open, other.inbox.open, acceptor.refused], [1, 8, 0]);
    for (const conn of conns) conn.close();
  });
});

nativeTest("Acceptor: resets connections while nobody has room, and goes on after", async () => {
  const taker = new Taker(2);
  await handingOver([taker], async (acceptor, connect) => {
    const kept = [await connect(), await connect()];
    while (taker.inbox.open < 2) await turn();
    await assertRejects(async () => {
      using refused = await connect(); // may be told as early as this
      await refused.read(new Uint8Array(1));
    }, Deno.errors.ConnectionReset);
    assertEquals(acceptor.refused, 1);
    const running = taker.loop.run(); // now it takes them
    for (const conn of kept) await greet(conn);
    const next = await connect();
    await greet(next);
    assertEquals(acceptor.refused, 1);
    acceptor.stop();
    await running;
    for (const conn of [...kept, next]) conn.close();
  });
});

nativeTest("a Worker takes what came last before it stops", async () => {
  const taker = new Taker();
  await handingOver([taker], async (acceptor, connect) => {
    const conns = await Promise.all([connect(), connect(), connect()]);
    while (taker.inbox.open < 3) await turn();
    acceptor.stop();
    await taker.loop.run(); // ends by itself
    assertEquals([taker.openedAtLast, taker.inbox.open, taker.inbox.take()], [3, 0, -1]);
    for (const conn of conns) {
      assertEquals(await conn.read(new Uint8Array(1)), null);
      conn.close();
    }
  });
});

nativeTest("Acceptor: closes what a Worker that died has not taken", async () => {
  // A loop that blocks its thread and never looks into its inbox.
  const code = `import { epoll, Loop } from "@usockets/usockets";
    const loop = new Loop({ backend: epoll });
    loop.createTimer().set(() => {}, 600_000);
    postMessage(loop.wakeupHandle);
    loop.runBlocking();`.replace("@usockets/usockets", import.meta.resolve("@usockets/usockets"));
  const url = `data:text/javascript,${encodeURIComponent(code)}`;
  const worker = new Worker(url, { type: "module" });
  const handle = await new Promise<WakeupHandle>((resolve) => {
    worker.onmessage = ({ data }) => resolve(data);
  });
  const inbox = new Inbox();
  const acceptor = new Acceptor({ host: "127.0.0.1", port: 0 }, [inbox]);
  const accepting = acceptor.run([handle]);
  await withConnections(acceptor.port, async (connect) => {
    const conns = await Promise.all([connect(), connect(), connect()]);
    while (inbox.open < 3) await turn();
    worker.terminate();
    await reclaim(handle);
    acceptor.stop(); // wakes up a loop that is gone
    await accepting;
    assertEquals(acceptor.free(), 3);
    for (const conn of conns) {
      await assertRejects(() => conn.read(new Uint8Array(1)), Deno.errors.ConnectionReset);
      conn.close();
    }
  });
});

/** A turn of Deno's loop, and so of those that run beside it. */
function turn(): Promise<void> {
  // no event tells that a descriptor was put into an inbox whose owner does not run
  return new Promise((resolve) => setTimeout(resolve, 0));
}
