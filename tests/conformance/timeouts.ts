/** Semantic 6: timeouts of sockets. */
import { assert, assertEquals, assertGreaterOrEqual, assertThrows, fail } from "@std/assert";
import type { Socket } from "@usockets/usockets";
import { after, closeAll, openPairs } from "../support/pairs.ts";
import { HangingPort } from "../support/hanging_port.ts";
import type { Behaviours } from "./fixture.ts";
import { timeoutsInHandlers } from "./timeouts_in_handlers.ts";

/** Long enough for a timeout of a few milliseconds that should not fire to do so. */
const QUIET_MS = 25;
/** Further away than any test lasts. */
const NEVER_SECONDS = 3600;

export const timeouts: Behaviours = (behaviour) => {
  behaviour("timeout() fires once, and never early", async (t) => {
    const seconds = [0.02, 0.001, 0.05, 0.0355];
    const starts: number[] = [];
    const waited: number[][] = seconds.map(() => []);
    openPairs(t, seconds.length, {
      client: {
        onTimeout(socket) {
          waited[pairs.indexOf(socket)].push(performance.now() - starts[pairs.indexOf(socket)]);
          // Some time for a second call to show.
          if (waited.flat().length === seconds.length) after(t, QUIET_MS, done);
        },
        onLongTimeout: () => fail("onLongTimeout, and nobody asked for it"),
      },
    }, (opened) => {
      pairs = opened.clients;
      done = () => closeAll(opened);
      seconds.forEach((second, i) => {
        starts[i] = performance.now();
        pairs[i].timeout(second);
      });
    });
    let pairs: Socket[] = [];
    let done = () => {};
    await t.run();
    seconds.forEach((second, i) => {
      assertEquals(waited[i].length, 1);
      assertGreaterOrEqual(waited[i][0], second * 1000);
    });
  });

  behaviour("longTimeout() takes minutes, and leaves timeout() alone", async (t) => {
    const fired: Record<string, number> = {};
    let start = 0;
    const note = (what: string) => {
      assertEquals(fired[what], undefined, `${what} fired twice`);
      fired[what] = performance.now() - start;
      if (Object.keys(fired).length === 6) after(t, QUIET_MS, done);
    };
    let names: string[] = [];
    let sockets: Socket[] = [];
    let done = () => {};
    openPairs(t, 5, {
      client: {
        onTimeout: (socket) => note(`${names[sockets.indexOf(socket)]}: timeout`),
        onLongTimeout: (socket) => note(`${names[sockets.indexOf(socket)]}: long`),
      },
    }, (pairs) => {
      sockets = pairs.clients;
      done = () => closeAll(pairs);
      names = ["long later", "long first", "no timeout", "no long", "set anew"];
      start = performance.now();
      sockets[0].timeout(0.01);
      sockets[0].longTimeout(0.0005);
      sockets[1].longTimeout(0.0002);
      sockets[1].timeout(0.04);
      sockets[2].timeout(0.01);
      sockets[2].longTimeout(0.0001);
      sockets[2].timeout(0);
      sockets[3].longTimeout(0.0001);
      sockets[3].timeout(0.01);
      sockets[3].longTimeout(0);
      sockets[4].longTimeout(0.0001); // replaced by one that is not reached
      sockets[4].longTimeout(NEVER_SECONDS / 60);
      sockets[4].timeout(0);
    });
    await t.run();
    const least: Record<string, number> = {
      "long first: long": 12,
      "long first: timeout": 40,
      "long later: long": 30,
      "long later: timeout": 10,
      "no long: timeout": 10,
      "no timeout: long": 6,
    };
    assertEquals(Object.keys(fired).sort(), Object.keys(least));
    for (const [what, ms] of Object.entries(least)) assertGreaterOrEqual(fired[what], ms, what);
  });

  behaviour("setting a timeout again replaces it, and 0 disarms it", async (t) => {
    let sockets: Socket[] = [];
    const fired: number[][] = [[], [], [], [], []];
    let start = 0;
    let done = () => {};
    openPairs(t, fired.length, {
      client: {
        onTimeout(socket) {
          fired[sockets.indexOf(socket)].push(performance.now() - start);
          if (fired.filter((times) => times.length > 0).length === 3) after(t, QUIET_MS, done);
        },
      },
    }, (pairs) => {
      sockets = pairs.clients;
      done = () => closeAll(pairs);
      start = performance.now();
      sockets[0].timeout(0.005); // later
      sockets[0].timeout(0.06);
      sockets[1].timeout(NEVER_SECONDS); // earlier
      sockets[1].timeout(0.005);
      sockets[2].timeout(0.005); // never
      sockets[2].timeout(0);
      sockets[3].timeout(0.005); // disarmed and armed anew
      sockets[3].timeout(0);
      sockets[3].timeout(0.03);
      sockets[4].timeout(0); // what was never armed
    });
    await t.run();
    assertEquals(fired.map((times) => times.length), [1, 1, 0, 1, 0]);
    assertGreaterOrEqual(fired[0][0], 60);
    assertGreaterOrEqual(fired[1][0], 5);
    assertGreaterOrEqual(fired[3][0], 30);
  });

  behaviour("a timeout put off again and again does not fire", async (t) => {
    let puts = 0, fired = 0;
    openPairs(t, 1, { client: { onTimeout: () => void fired++ } }, (pairs) => {
      const [socket] = pairs.clients;
      socket.timeout(NEVER_SECONDS);
      t.loop.createTimer().set(
        (timer) => {
          socket.timeout(NEVER_SECONDS - puts);
          if (++puts < 10) return;
          timer.close();
          closeAll(pairs);
        },
        5,
        5,
      );
    });
    await t.run();
    assertEquals([puts, fired], [10, 0]);
  });

  behaviour("timeouts far beyond 240 ticks do not wrap", async (t) => {
    const waited: Record<string, number> = {};
    let start = 0;
    let done = () => {};
    const note = (what: string) => {
      waited[what] = performance.now() - start;
      if (Object.keys(waited).length === 2) done();
    };
    openPairs(t, 2, {
      client: { onTimeout: () => note("timeout"), onLongTimeout: () => note("long") },
      // A signed 32-bit number of milliseconds holds less than a month.
      server: {
        onTimeout: () => fail("a timeout of 1,000 years fired"),
        onLongTimeout: () => fail("a long timeout of a million years fired"),
      },
    }, (pairs) => {
      done = () => closeAll(pairs);
      start = performance.now();
      pairs.clients[0].timeout(0.26);
      pairs.clients[0].longTimeout(0.0045);
      pairs.servers[0].timeout(1000 * 365 * 86_400);
      pairs.servers[0].longTimeout(1_000_000 * 365 * 1440);
      pairs.servers[1].timeout(2 ** 31 / 1000);
      pairs.servers[1].longTimeout(2 ** 32 / 60_000);
    });
    await t.run();
    assertGreaterOrEqual(waited.timeout, 260);
    assertGreaterOrEqual(waited.long, 270);
  }, { timeoutGranularityMs: 1 });

  behaviour("timeouts need be no whole number of granules", async (t) => {
    let waited = 0;
    openPairs(t, 1, { client: { onTimeout: () => done() } }, (pairs) => {
      const start = performance.now();
      done = () => {
        waited = performance.now() - start;
        closeAll(pairs);
      };
      pairs.clients[0].timeout(0.01);
    });
    let done = () => {};
    await t.run();
    assertGreaterOrEqual(waited, 10);
  }, { timeoutGranularityMs: 70 });

  behaviour("a thousand timeouts fire in the order of their deadlines", async (t) => {
    const granularityMs = 5;
    const deadlines = new Map<Socket, number>();
    const fired: { deadline: number; at: number; iteration: number }[] = [];
    let done = () => {};
    const onTimeout = (socket: Socket) => {
      const deadline = deadlines.get(socket);
      assert(deadline !== undefined, "a timeout fired twice");
      deadlines.delete(socket);
      fired.push({ deadline, at: performance.now(), iteration: t.loop.iterationNumber });
      if (deadlines.size === 0) done();
    };
    const pairsCount = t.transport.isTls ? 50 : 500; // handshakes are costly
    openPairs(t, pairsCount, { client: { onTimeout }, server: { onTimeout } }, (pairs) => {
      done = () => closeAll(pairs);
      [...pairs.clients, ...pairs.servers].forEach((socket, i) => {
        const ms = 1 + i * 7919 % 200;
        deadlines.set(socket, performance.now() + ms);
        socket.timeout(ms / 1000);
      });
    });
    await t.run();
    assertEquals(fired.length, 2 * pairsCount);
    // One sweep may call what is due in any order; between sweeps, the deadlines rule.
    let latest = 0, latestBefore = 0, iteration = 0;
    for (const fire of fired) {
      assertGreaterOrEqual(fire.at, fire.deadline);
      if (fire.iteration !== iteration) latestBefore = latest;
      iteration = fire.iteration;
      latest = Math.max(latest, fire.deadline);
      assertGreaterOrEqual(fire.deadline + granularityMs, latestBefore);
    }
  });

  behaviour("timeouts run while a socket is paused, shut down or half-open", async (t) => {
    const fired: Socket[] = [];
    let sockets: Socket[] = [];
    let done = () => {};
    openPairs(t, 3, {
      client: {
        onEnd() {},
        onTimeout(socket) {
          fired.push(socket);
          if (fired.length === 3) done();
        },
      },
      server: { onEnd() {} },
    }, (pairs) => {
      sockets = pairs.clients;
      done = () => closeAll(pairs);
      pairs.clients[0].pause();
      pairs.clients[1].shutdown();
      pairs.servers[2].shutdown();
      for (const socket of sockets) socket.timeout(0.03);
    });
    await t.run();
    assertEquals(sockets.map((socket) => fired.indexOf(socket) >= 0), [true, true, true]);
  });

  behaviour("traffic neither puts a timeout off nor disarms it", async (t) => {
    let waited = -1, received = 0;
    openPairs(t, 1, {
      client: {
        onData: (socket, data) => void socket.write(data),
        onTimeout() {
          assertEquals(waited, -1);
          waited = performance.now() - start;
        },
      },
      server: {
        onData(socket, data) {
          received += data.length;
          // Some more rounds after the timeout, which must not fire twice.
          if (waited < 0 || ++rounds < 10) socket.write(data);
          else socket.end();
        },
      },
    }, (pairs) => {
      start = performance.now();
      pairs.clients[0].timeout(0.03);
      pairs.servers[0].write("ping");
    });
    let rounds = 0, start = 0;
    await t.run();
    assertGreaterOrEqual(waited, 30);
    assertGreaterOrEqual(received, 40);
  });

  behaviour("timeout() applies while connecting", async (t) => {
    using silent = await HangingPort.open();
    const fired: [string, boolean][] = [];
    const client = t.client({
      onTimeout(socket) {
        fired.push(["timeout", socket.isEstablished]);
        if (fired.length < 3) return socket.timeout(0.005);
        socket.close(); // cancels: neither onConnectError nor onClose
      },
      onLongTimeout: (socket) => void fired.push(["long", socket.isEstablished]),
      onOpen: () => fail("onOpen, from a port that answers nobody"),
      onConnectError: () => fail("onConnectError after close()"),
      onClose: () => fail("onClose of a socket that never opened"),
    });
    const socket = client.connect({ host: "127.0.0.1", port: silent.port });
    socket.longTimeout(0.0001);
    const start = performance.now();
    socket.timeout(0.03);
    await t.run();
    assertGreaterOrEqual(performance.now() - start, 30);
    fired.sort();
    assertEquals(fired, [["long", false], ["timeout", false], ["timeout", false]]);
    assert(socket.isClosed);
  });

  behaviour("a timeout set while connecting goes on behind onOpen", async (t) => {
    const events: string[] = [];
    const listener = t.listen(t.server());
    const client = t.client({
      onOpen: () => void events.push("open"),
      onTimeout(socket) {
        events.push(socket.isEstablished ? "timeout" : "timeout while connecting");
        socket.close();
        listener.close();
      },
    });
    t.connect(client, listener).timeout(0.05);
    await t.run();
    // A machine may be slow to connect; but the timeout fires, and once.
    assertEquals(events.at(-1)!.startsWith("timeout"), true);
    assertEquals(events.length, events[0] === "open" ? 2 : 1);
  });

  behaviour(
    "close() and end() disarm both timeouts, and after end() none can be set",
    async (t) => {
      const fired: string[] = [];
      openPairs(t, 3, {
        client: {
          onTimeout: () => void fired.push("timeout"),
          onLongTimeout: () => void fired.push("long"),
        },
        server: { onEnd() {} }, // stays half-open, so that end() has to wait
      }, (pairs) => {
        const [closed, ended, late] = pairs.clients;
        for (const socket of [closed, ended]) {
          socket.timeout(0.01);
          socket.longTimeout(0.0002);
        }
        closed.close();
        closed.timeout(0.01);
        closed.longTimeout(0.0002);
        ended.end();
        late.end();
        late.timeout(0.01);
        late.longTimeout(0.0002);
        after(t, 60, () => closeAll(pairs));
      });
      await t.run();
      assertEquals(fired, []);
    },
  );

  behaviour("timeout() and longTimeout() refuse what is no time", async (t) => {
    let fired = 0;
    openPairs(t, 1, { client: { onTimeout: () => done() } }, (pairs) => {
      const [socket] = pairs.clients;
      done = () => {
        fired++;
        closeAll(pairs);
        assertThrows(() => socket.timeout(-1), RangeError); // the argument is wrong, closed or not
      };
      socket.timeout(0.01); // what follows must not disarm it
      for (const wrong of [-1, -0.001, NaN, -Infinity]) {
        assertThrows(() => socket.timeout(wrong), RangeError);
        assertThrows(() => socket.longTimeout(wrong), RangeError);
      }
      assertThrows(() => socket.timeout("1" as unknown as number), RangeError);
    });
    let done = () => {};
    await t.run();
    assertEquals(fired, 1);
  });

  timeoutsInHandlers(behaviour);
};
