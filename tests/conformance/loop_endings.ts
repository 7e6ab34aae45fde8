/** The end of a loop: free() and shutdown(). */
import {
  assert,
  assertEquals,
  assertGreaterOrEqual,
  assertInstanceOf,
  assertRejects,
  assertThrows,
  fail,
} from "@std/assert";
import { CloseCode, Loop, type LoopOptions, type Socket } from "@usockets/usockets";
import { after, openPairs } from "../support/pairs.ts";
import { HangingPort } from "../support/hanging_port.ts";
import type { Behaviours, Fixture } from "./fixture.ts";

const { BadResource } = Deno.errors;

export const loopEndings: Behaviours = (behaviour) => {
  behaviour("free() inside a handler closes everything, and run() ends", async (t) => {
    using silent = await HangingPort.open();
    const closes: string[] = [];
    const onClose = (socket: Socket, code: number, reason: unknown) => {
      closes.push(`${code} ${reason instanceof Error} ${socket.isClosed}`);
      assertEquals(socket.write("x"), 0);
    };
    const listener = t.listen(t.server({ onOpen: () => fail("accepted after free()") }));
    const timer = t.loop.createTimer();
    let ticks = 0;
    openPairs(t, 3, {
      client: { onClose, onEnd() {}, onTimeout: () => fail("onTimeout after free()") },
      server: {
        onClose,
        onEnd() {},
        onData(socket) {
          socket.context.loop.free();
          assertEquals(closes.length, 6, "free() leaves closing for later");
          assertThrows(() => timer.set(() => {}, 1), BadResource);
          ticks = 0;
          socket.context.loop.free(); // twice does nothing
        },
      },
    }, (pairs) => {
      const connecting = pairs.client.connect({ host: "127.0.0.1", port: silent.port });
      connecting.timeout(3600);
      timer.set(() => void ticks++, 1, 1);
      t.loop.createTimer({ fallthrough: true }).set(() => {}, 1, 1);
      for (const socket of pairs.clients) socket.timeout(3600);
      pairs.clients[1].pause();
      pairs.servers[2].shutdown();
      pairs.clients[0].write("x");
    });
    await t.run();
    await listener.closed;
    assertEquals(closes, Array(6).fill(`${CloseCode.Freed} true true`));
    assertEquals([ticks, t.loop.stats().open], [0, 0]);
  });

  behaviour("a freed loop refuses everything, and says so", async (t) => {
    const context = t.client<unknown>();
    const { wakeupHandle } = t.loop;
    t.loop.free();
    t.loop.free();
    assertThrows(() => t.loop.createContext(), BadResource, "Cannot create a context: ");
    assertThrows(() => t.loop.createTimer(), BadResource, "Cannot create a timer: ");
    assertThrows(() => t.loop.integrate(), BadResource);
    assertThrows(() => t.loop.runBlocking(), BadResource);
    await assertRejects(() => t.loop.run(), BadResource);
    assertThrows(() => context.listen(t.address()), BadResource, "Cannot listen: ");
    assertThrows(() => context.connect({ port: 1 }), BadResource, "Cannot connect: ");
    assertThrows(() => context.createChild(), BadResource);
    context.close(); // these have nothing to do
    context.free();
    t.loop.wakeup();
    assertEquals(t.loop.wakeupHandle, wakeupHandle);
    await t.loop.shutdown();
    assertEquals(t.loop.stats().open, 0);
  });

  behaviour("free() works inside every kind of callback, and none follows", async (t) => {
    const failures: string[] = [];
    for (const place of freePlaces) {
      if (place === "onHandshake" && !t.transport.isTls) continue;
      await freeInside(t, place).catch((error) => failures.push(`${place}: ${error.message}`));
      for (const error of t.errors.splice(0)) failures.push(`${place}: ${error}`);
    }
    assertEquals(failures, []);
  });

  behaviour("a loop is freed at the end of a using block", (t) => {
    let kept: Loop;
    {
      using loop = new Loop({ backend: t.transport.backend });
      kept = loop;
      const listener = loop.createContext({ tls: t.serverTls }).listen(t.address());
      loop.createTimer().set(() => fail("a timer of a freed loop fired"), 1);
      assert(listener.port > 0 || t.transport.isUnix);
    }
    assertThrows(() => kept.createContext(), BadResource);
  });

  behaviour("shutdown() closes listeners at once and lets open sockets finish", async (t) => {
    const answers: string[] = [];
    const listener = t.listen(t.server());
    const address = t.addressOf(listener);
    let done: Promise<void> | undefined, again: Promise<void> | undefined;
    let isDone = false;
    openPairs(t, 2, {
      server: { onData: (socket, data) => void socket.write(data) },
      client: {
        onData(socket, data) {
          assertEquals(isDone, false);
          answers.push(new TextDecoder().decode(data));
          if (answers.length < 4) after(t, 5, () => void socket.write(`${answers.length}`));
          else for (const each of clients) each.end();
        },
        onClose: (_socket, code) => assertEquals(code, 0),
      },
    }, (pairs) => {
      clients = pairs.clients;
      done = t.loop.shutdown({ graceSeconds: 3600 }); // longer than this test can take
      done.then(() => isDone = true);
      again = t.loop.shutdown({ graceSeconds: 0 }); // too late: the first call rules
      assertThrows(() => pairs.client.connect(address), BadResource, "Cannot connect: ");
      assertThrows(() => pairs.server.listen(t.address()), BadResource, "Cannot listen: ");
      clients[0].write("0");
    });
    let clients: Socket[] = [];
    await t.run();
    await done;
    await again;
    await listener.closed;
    assertEquals(answers, ["0", "1", "2", "3"]);
    // Nobody listens there any more.
    await assertRejects(() =>
      "path" in address
        ? Deno.connect({ transport: "unix", path: address.path })
        : Deno.connect({ hostname: address.host, port: address.port })
    );
  });

  behaviour("shutdown() closes with Freed what is left after the grace period", async (t) => {
    using silent = await HangingPort.open();
    const codes: number[] = [];
    let waited = 0, start = 0;
    const onClose = (_socket: Socket, code: number, reason: unknown) => {
      if (codes.length === 0) waited = performance.now() - start;
      codes.push(code);
      assertInstanceOf(reason, Error);
    };
    let done: Promise<void> | undefined;
    openPairs(t, 2, {
      client: { onClose, onConnectError: () => {} },
      server: { onClose },
    }, (pairs) => {
      pairs.clients[0].pause();
      pairs.client.connect({ host: "127.0.0.1", port: silent.port });
      t.loop.createTimer().set(() => {}, 1, 1); // would keep the loop running
      start = performance.now();
      done = t.loop.shutdown({ graceSeconds: 0.03 });
      assertEquals(codes, []);
    });
    await t.run();
    await done;
    assertEquals(codes, Array(4).fill(CloseCode.Freed));
    assertGreaterOrEqual(waited, 29.9);
  });

  behaviour("shutdown() with a grace of 0 closes everything at once", async (t) => {
    const codes: number[] = [];
    const onClose = (_socket: Socket, code: number) => void codes.push(code);
    let done: Promise<void> | undefined;
    t.listen(t.server());
    openPairs(t, 2, { client: { onClose }, server: { onClose } }, () => {
      t.loop.createTimer().set(() => fail("a timer fired after shutdown()"), 3_600_000);
      done = t.loop.shutdown({ graceSeconds: 0 });
    });
    await t.run();
    await done;
    assertEquals(codes, Array(4).fill(CloseCode.Freed));
  });

  behaviour("shutdown() ends a loop that has no sockets, or does not run", async (t) => {
    const listener = t.listen(t.server());
    const idle = new Loop({ backend: t.transport.backend });
    idle.createContext({ tls: t.serverTls }).listen(t.address());
    await idle.shutdown({ graceSeconds: 3600 }); // nobody would see the sockets finish
    await idle.run();
    idle.free();
    let done: Promise<void> | undefined;
    after(t, 5, () => {
      t.loop.createTimer().set(() => fail("a timer fired after shutdown()"), 3_600_000);
      done = t.loop.shutdown();
    });
    await t.run();
    await done;
    await listener.closed;
  });

  behaviour("shutdown() refuses what is no time, and then nothing has begun", async (t) => {
    const listener = t.listen(t.server());
    for (const graceSeconds of [-1, NaN]) {
      assertThrows(() => t.loop.shutdown({ graceSeconds }), RangeError, "Cannot shut down: ");
    }
    let opened = 0;
    t.client({
      onOpen(socket) {
        opened++;
        socket.close();
        listener.close();
      },
    }).connect(t.addressOf(listener));
    await t.run();
    assertEquals(opened, 1);
  });

  behaviour("free() cuts a shutdown() short", async (t) => {
    const codes: number[] = [];
    const onClose = (_socket: Socket, code: number) => void codes.push(code);
    let done: Promise<void> | undefined;
    openPairs(t, 1, { client: { onClose }, server: { onClose } }, () => {
      done = t.loop.shutdown({ graceSeconds: 3600 });
      after(t, 5, () => t.loop.free());
    });
    await t.run();
    await done;
    assertEquals(codes, [CloseCode.Freed, CloseCode.Freed]);
  });
};

/** Wherever user code is called. */
const freePlaces = [
  "onPreOpen",
  "onOpen",
  "onHandshake",
  "onData",
  "onWritable",
  "onTimeout",
  "onEnd",
  "onClose",
  "onConnectError",
  "onError",
  "onPre",
  "onPost",
  "onWakeup",
  "socketExt",
  "a timer's callback",
] as const;

/** Lets a loop do something of everything, and frees it when the given place is first reached. */
async function freeInside(t: Fixture, place: typeof freePlaces[number]): Promise<void> {
  const closed: Socket[] = [];
  let opened = 0, freed = 0;
  const at = (here: string) => {
    assertEquals(freed, 0, `${here} after free()`);
    // The hooks of iterations at a moment when something is open.
    if (here !== place || (here.startsWith("onP") && here !== "onPreOpen" && opened < 2)) return;
    freed++;
    loop.free();
  };
  const hooks: LoopOptions = {
    backend: t.transport.backend,
    timeoutGranularityMs: 5,
    onPre: () => at("onPre"),
    // The iteration that free() was called in may have its end.
    onPost: () => void (freed === 0 && at("onPost")),
    onWakeup: () => at("onWakeup"),
    onError: (error) => {
      if ((error as Error).message !== "on purpose") t.errors.push(error);
      else at("onError");
    },
  };
  const loop = new Loop(hooks);
  const handlers = {
    socketExt: () => at("socketExt"),
    onPreOpen() {
      at("onPreOpen");
      return true;
    },
    onOpen(socket: Socket<void>) {
      opened++;
      at("onOpen");
      if (!t.transport.isTls) begin(socket);
    },
    onHandshake(socket: Socket<void>) {
      at("onHandshake");
      begin(socket);
    },
    onData(socket: Socket<void>) {
      at("onData");
      socket.timeout(0.001);
    },
    onWritable: () => at("onWritable"),
    onTimeout(socket: Socket<void>) {
      at("onTimeout");
      loop.wakeup();
      socket.shutdown();
    },
    onEnd(socket: Socket<void>) {
      at("onEnd");
      if (freed > 0) return;
      loop.createTimer().set(() => {
        at("a timer's callback");
        if (freed === 0) throw new Error("on purpose");
      }, 10);
      socket.close();
    },
    onClose(socket: Socket<void>) {
      closed.push(socket as Socket);
      if (freed === 0) at("onClose"); // else it is free() that closes
    },
    onConnectError: () => at("onConnectError"),
  };
  const begin = (socket: Socket<void>) => {
    if (socket.write(new Uint8Array(32 << 20)) === 32 << 20) fail("32 MiB fitted into the buffers");
  };
  const server = loop.createContext({ ...handlers, tls: t.serverTls });
  const listener = server.listen(t.address());
  // connect() calls socketExt at once: here it is to be called for accepted sockets only.
  const client = loop.createContext({ ...handlers, socketExt: () => {}, tls: t.clientTls });
  const gone = server.listen(t.address());
  const address = t.addressOf(gone);
  gone.close();
  if (place === "onConnectError") client.connect(address);
  client.connect(t.addressOf(listener));
  if (t.transport.isBlocking) loop.runBlocking();
  else await loop.run();
  assertEquals(freed, 1, `${place} was never reached`);
  assertEquals(closed.length, new Set(closed).size, "onClose twice");
  assertEquals(closed.length, opened, "as many onClose as onOpen");
  assertThrows(() => loop.createTimer(), BadResource);
}
