/** Semantic 8: what runs a loop, and what keeps it running. */
import { assert, assertEquals, assertRejects, assertThrows, fail } from "@std/assert";
import { after, afterFallthrough, closeAll, openPairs, type Pairs } from "../support/pairs.ts";
import { pattern, readAll, sha256 } from "../support/streams.ts";
import { HangingPort } from "../support/hanging_port.ts";
import type { Behaviours, Fixture } from "./fixture.ts";
import { loopEndings } from "./loop_endings.ts";
import { loopIterations } from "./loop_iterations.ts";
import { loopTimers } from "./loop_timers.ts";
import { loopWakeups } from "./loop_wakeups.ts";

/** How long something is the only thing that keeps a loop running. */
const ALONE_MS = 30;

export const loops: Behaviours = (behaviour) => {
  behaviour("run() of a loop with nothing to do ends, and may be called again", async (t) => {
    await t.run();
    await t.run();
    for (let round = 1; round <= 3; round++) {
      let echoed = 0;
      openPairs(t, 1, {
        server: { onData: (socket, data) => void socket.write(data) },
        client: {
          onData(socket) {
            echoed++;
            socket.end();
          },
        },
      }, ({ clients: [socket] }) => void socket.write("x"));
      await t.run();
      assertEquals(echoed, 1);
      assertEquals(t.loop.stats().connected, round);
    }
    await t.run();
  });

  behaviour("run() goes on while a listener is open", async (t) => {
    const listener = t.listen(t.server());
    await alone(t, () => listener.close());
  });

  behaviour("run() goes on while a socket is open, and nothing else is", async (t) => {
    await alonePair(t, () => {});
  });

  behaviour("run() goes on while a socket is paused", async (t) => {
    await alonePair(t, ({ clients, servers }) => {
      for (const socket of [...clients, ...servers]) socket.pause();
    });
  });

  behaviour("run() goes on while a socket is half-open", async (t) => {
    await alonePair(t, ({ clients: [socket] }) => socket.shutdown());
    await alonePair(t, ({ servers: [socket] }) => socket.shutdown());
  });

  behaviour("run() goes on while one socket waits in end() for its peer", async (t) => {
    const listener = t.listen(t.server());
    const conn = await t.dial(listener);
    let socketClosed = false;
    const ended = (): void => {
      afterFallthrough(t, ALONE_MS, () => {
        assertEquals(socketClosed, false);
        conn.close();
      });
    };
    listener.context.onOpen = (socket) => {
      listener.close();
      if (t.transport.isTls) return;
      socket.end();
      ended();
    };
    listener.context.onHandshake = (socket) => {
      socket.end();
      ended();
    };
    listener.context.onClose = () => void (socketClosed = true);
    await t.run();
    assert(socketClosed);
  });

  behaviour("run() goes on while a connect is under way", async (t) => {
    using silent = await HangingPort.open();
    const socket = t.client().connect({ host: "127.0.0.1", port: silent.port });
    await alone(t, () => socket.close());
  });

  behaviour("run() goes on until a connect has landed", async (t) => {
    let landed = "";
    const listener = t.listen(t.server());
    const gone = t.addressOf(listener);
    listener.close();
    await listener.closed;
    t.client({ onConnectError: () => void (landed = "error") }).connect(gone);
    await t.run();
    assertEquals(landed, "error");
    // Nobody accepts it, which takes nothing away from its being open.
    const raw = t.transport.isUnix
      ? Deno.listen({ transport: "unix", path: (t.address() as { path: string }).path })
      : Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const client = t.client({
      onOpen(socket) {
        landed = "open";
        socket.close();
      },
    });
    client.connect(
      raw.addr.transport === "unix"
        ? { path: raw.addr.path }
        : { host: "127.0.0.1", port: (raw.addr as Deno.NetAddr).port },
    );
    await t.run();
    raw.close();
    assertEquals(landed, "open");
  });

  behaviour("run() goes on until an armed timer has fired, is disarmed or closed", async (t) => {
    let fired = 0;
    t.loop.createTimer().set(() => void fired++, 20);
    await t.run();
    assertEquals(fired, 1);
    const disarmed = t.loop.createTimer(), closed = t.loop.createTimer();
    disarmed.set(() => fail("a disarmed timer fired"), 3_600_000);
    await alone(t, () => disarmed.set(() => fail("a disarmed timer fired"), 0, 0));
    closed.set(() => fail("a closed timer fired"), 3_600_000, 1);
    await alone(t, () => closed.close());
  });

  behaviour("fallthrough timers alone do not keep run() going", async (t) => {
    const once = t.loop.createTimer({ fallthrough: true });
    once.set(() => fail("a timer of an hour fired"), 3_600_000);
    const repeated = t.loop.createTimer({ fallthrough: true });
    const keeper = t.loop.createTimer();
    let ticks = 0;
    repeated.set(
      () => {
        ticks++;
        keeper.close();
      },
      1,
      1,
    );
    await t.run();
    ticks = 0;
    keeper.set(() => fail("nothing fired in an hour"), 3_600_000);
    await t.run(); // while something else keeps the loop running, they fire
    assert(ticks > 0);
    once.close();
    repeated.close();
    await t.run();
  });

  behaviour("armed timeouts do not outlive their sockets: run() ends", async (t) => {
    openPairs(t, 2, {}, (pairs) => {
      for (const socket of [...pairs.clients, ...pairs.servers]) {
        socket.timeout(3600);
        socket.longTimeout(60);
      }
      closeAll(pairs);
    });
    await t.run();
  });

  behaviour("run() ends when what was accepted before close() is on its way", async (t) => {
    const bytes = pattern(32 << 20);
    let accepted = 0;
    const listener = t.listen(t.server());
    const write = (socket: { write(data: Uint8Array): number; close(): void }) => {
      listener.close();
      accepted = socket.write(bytes);
      while (accepted < bytes.length) { // up to the brim
        const more = socket.write(bytes.subarray(accepted));
        if (more === 0) break;
        accepted += more;
      }
      socket.close();
    };
    if (t.transport.isTls) listener.context.onHandshake = write;
    else listener.context.onOpen = write;
    const conn = await t.dial(listener);
    const { promise, resolve } = Promise.withResolvers<Uint8Array>();
    listener.context.onClose = () =>
      setTimeout(() => resolve(readAll(conn)), ALONE_MS) as unknown as void;
    await t.run();
    t.loop.free(); // gives up whatever run() did not wait for
    const received = await promise;
    conn.close();
    assertEquals(received.length, accepted);
    assertEquals(sha256(received), sha256(bytes.subarray(0, accepted)));
  });

  behaviour("a loop that runs can be run neither again nor integrated", async (t) => {
    let again: Promise<void> | undefined;
    after(t, 1, () => {
      again = t.loop.run();
      again.catch(() => {}); // looked at below
      assertThrows(() => t.loop.integrate(), Deno.errors.Busy);
      assertThrows(() => t.loop.runBlocking(), Deno.errors.Busy);
      after(t, 5, () => events.push("still running"));
    });
    const events: string[] = [];
    await t.run();
    await assertRejects(() => again!, Deno.errors.Busy);
    assertEquals(events, ["still running"]);
    await t.run(); // and now it can
  });

  {
    const calls: string[] = [];
    let keeper: { close(): void } | undefined;
    const note = (call: string) => {
      calls.push(call);
      if (calls.length === 8) keeper?.close();
    };
    behaviour("no callback comes before run()", async (t) => {
      calls.length = 0;
      const listener = t.listen(t.server({
        onPreOpen() {
          note("pre-open");
          return true;
        },
        onOpen: () => note("accepted"),
        onData(socket, data) {
          note(`data ${new TextDecoder().decode(data)}`);
          socket.close();
          listener.close();
        },
      }));
      const conn = await t.dial(listener);
      const written = conn.write(new TextEncoder().encode("x"));
      const elsewhere = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const { port } = elsewhere.addr;
      const address = { host: "127.0.0.1", port };
      const client = t.client({
        onOpen: (socket) => socket.close(),
        onTimeout: () => note("timeout"),
        onClose: () => note("connected"),
        onConnectError: () => note("connect error"),
      });
      client.connect(address).timeout(3600);
      t.loop.createTimer().set(() => note("timer"), 1);
      t.loop.createTimer({ fallthrough: true }).set(() => note("fallthrough"), 1, 3_600_000);
      t.loop.wakeup();
      const dead = t.listen(t.server());
      dead.close();
      await dead.closed;
      client.connect(t.addressOf(dead));
      // Neither a wakeup nor a fallthrough timer keeps the loop running until it was seen.
      const timer = t.loop.createTimer();
      timer.set(() => fail("not all came"), 3_600_000);
      keeper = timer;
      // Each of them gets the time to call back: there is no event that tells of none.
      await new Promise((resolve) => setTimeout(resolve, 40));
      assertEquals([calls, t.loop.iterationNumber], [[], 0]);
      await t.run();
      await written;
      conn.close();
      elsewhere.close();
      assertEquals(
        new Set(calls),
        new Set([
          "pre-open",
          "accepted",
          "data x",
          "connected",
          "connect error",
          "timer",
          "fallthrough",
          "wakeup",
        ]),
      );
      assertEquals(calls.length, 8);
    }, { onWakeup: () => note("wakeup") });
  }

  behaviour("integrate() delivers, and goes on after the loop was idle", async (t) => {
    t.loop.integrate();
    assertThrows(() => t.loop.integrate(), Deno.errors.Busy);
    await assertRejects(() => t.loop.run(), Deno.errors.Busy);
    for (let round = 0; round < 3; round++) {
      const { promise, resolve } = Promise.withResolvers<void>();
      openPairs(t, 1, {
        server: {
          onData: (socket, data) => void socket.write(data),
          onClose: () => resolve(),
        },
        client: { onData: (socket) => socket.end() },
      }, ({ clients: [socket] }) => void socket.write("x"));
      await promise;
    }
    assertEquals(t.loop.stats().accepted, 3);
  });

  behaviour("the rest of Deno goes on beside a busy loop", async (t) => {
    let rounds = 0;
    let isDone = false;
    const bounce = {
      onData(socket: Pairs["clients"][0], data: Uint8Array) {
        rounds++;
        if (isDone) socket.close();
        else socket.write(data);
      },
    };
    openPairs(t, 4, { client: bounce, server: bounce }, ({ clients }) => {
      for (const socket of clients) socket.write("x");
      deno().catch((error) => t.errors.push(error)).finally(() => isDone = true);
    });
    async function deno(): Promise<void> {
      // no event but the timer's own: that it fires beside a busy loop is what is tested
      // no event: a timer of Deno's own is what this is about
      await new Promise((resolve) => setTimeout(resolve, 5));
      const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      const [there, here] = await Promise.all([
        listener.accept(),
        Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
      ]);
      await there.write(new Uint8Array(3));
      assertEquals(await here.read(new Uint8Array(8)), 3);
      for (const each of [there, here, listener]) each.close();
    }
    await t.run();
    assert(isDone);
    assert(rounds > 4);
  });

  loopIterations(behaviour);
  loopTimers(behaviour);
  loopWakeups(behaviour);
  loopEndings(behaviour);
};

/** Runs the loop with one thing to keep it running, and checks that it did until `close()`. */
async function alone(t: Fixture, close: () => void): Promise<void> {
  let isOver = false;
  afterFallthrough(t, ALONE_MS, () => {
    isOver = true;
    close();
  });
  await t.run();
  assert(isOver, "run() ended too early");
}

/** The same for a connection in a state that `prepare` brings about. */
async function alonePair(t: Fixture, prepare: (pairs: Pairs) => void): Promise<void> {
  let isOver = false;
  openPairs(t, 1, { client: { onEnd() {} }, server: { onEnd() {} } }, (pairs) => {
    prepare(pairs);
    afterFallthrough(t, ALONE_MS, () => {
      isOver = true;
      closeAll(pairs);
    });
  });
  await t.run();
  assert(isOver, "run() ended too early");
}
