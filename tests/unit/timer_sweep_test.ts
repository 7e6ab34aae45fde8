/** The sweep of timeouts on a clock that stands still until it is told to go on. */
import { assert, assertEquals, assertGreaterOrEqual, assertLessOrEqual } from "@std/assert";
import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import type { SocketContext } from "../../src/context.ts";
import type { Socket } from "../../src/socket.ts";
import { CONNECTING } from "../../src/socket_state.ts";
import { pendingTimeout } from "../../src/timer_sweep.ts";
import {
  clock,
  GRANULARITY_MS,
  LATE_MS,
  restartClock,
  stopClock,
  timeoutsOf,
  World,
} from "../support/fake_loop.ts";

const TICK_MS = GRANULARITY_MS / 2;

describe("TimerSweep", () => {
  beforeEach(stopClock);
  afterEach(restartClock);

  it("a timeout fires within a granule of its time, and never early", () => {
    const due = new Map<Socket, number>();
    let fires = 0;
    const world = new World({
      onTimeout(socket) {
        assertGreaterOrEqual(clock.now, due.get(socket)!);
        assertLessOrEqual(clock.now - due.get(socket)!, LATE_MS);
        assert(due.delete(socket), "fired twice");
        fires++;
      },
    });
    world.open().longTimeout(60); // keeps the ticks where they are
    let set = 0;
    for (const wait of [0, 0.5, 1, 999, TICK_MS - 1001, TICK_MS - 1, 1, TICK_MS, TICK_MS + 1.25]) {
      world.pass(wait);
      for (const seconds of [0.001, 1.999, 2, 2.0001, 3.9, 4, 4.1, 8, 8.1, 30]) {
        const socket = world.open();
        due.set(socket, clock.now + seconds * 1000);
        socket.timeout(seconds);
        set++;
      }
    }
    world.pass(50_000);
    assertEquals(fires, set);
  });

  it("pending timeouts and deadlines are whole numbers, and the deadlines never early", () => {
    for (const at of [0, 0.001, 0.999, 234.5, 5e9]) {
      for (const ms of [0.002, 0.4, 1, 7, 29.5, 3e10]) {
        stopClock();
        const world = new World();
        clock.now += at;
        const socket = world.open();
        socket.timeout(ms / 1000);
        const pending = timeoutsOf(socket).short;
        assert(Number.isInteger(pending) && pending < 0);
        world.timers[0].expire();
        const deadline = timeoutsOf(socket).short;
        assert(Number.isInteger(deadline) && deadline > 0);
        const begun = clock.now;
        clock.now = begun + ms - 0.001;
        world.timers[0].expire();
        assertEquals(world.events.length, 0, `${ms} ms, begun at ${begun}: early`);
        clock.now = begun + ms + 2;
        world.timers[0].expire();
        assertEquals(world.events.length, 1, `${ms} ms, begun at ${begun}: late`);
      }
    }
    assertEquals([pendingTimeout(0), pendingTimeout(Infinity)], [-1, -Infinity]);
  });

  it("no number of ticks makes a deadline wrap", () => {
    const world = new World();
    world.open("near").timeout(239 * 4);
    world.open("far").timeout(241 * 4);
    world.open("farther").timeout(70_000 * 4);
    world.open("long").longTimeout(300);
    world.open("month").timeout(30 * 86_400);
    world.open("never").timeout(Number.MAX_SAFE_INTEGER);
    world.open("infinite").timeout(Infinity);
    world.pass(660_000 * GRANULARITY_MS);
    const at = (seconds: number) => 1 + seconds + 4;
    assertEquals(world.events, [
      `${at(239 * 4)} timeout near`,
      `${at(241 * 4)} timeout far`,
      `${at(300 * 60)} long long`,
      `${at(70_000 * 4)} timeout farther`,
      `${at(30 * 86_400)} timeout month`,
    ]);
  });

  it("sweeps only while some socket has a timeout, and keeps no loop running", () => {
    const world = new World();
    const socket = world.open();
    socket.timeout(0);
    socket.longTimeout(0);
    socket.setLibraryTimeout(-1);
    assertEquals(world.timers.length, 0);
    socket.timeout(1);
    assertEquals(world.timers.length, 1);
    assert(world.timers[0].isFallthrough);
    socket.timeout(0);
    world.pass(TICK_MS);
    assert(world.timers[0].isClosed, "a timer for no timeout");
    socket.longTimeout(1);
    socket.timeout(1);
    assertEquals(world.timers.length, 2);
    world.pass(100_000);
    assert(world.timers[1].isClosed, "a timer for no timeout");
    assertEquals(world.events.map((event) => event.split(" ")[1]), ["timeout", "long"]);
    world.open().timeout(1);
    world.loop.free();
    assertEquals(world.loop.timers.size, 0);
    assertEquals(world.timers.filter((timer) => !timer.isClosed), []);
  });

  it("stops soon when what was far away is disarmed, closed or adopted", () => {
    const adopt = (socket: Socket) => void socket.context.loop.createContext().adopt(socket);
    const [timeout, long, library]: ((socket: Socket) => void)[] = [
      (socket) => socket.timeout(4000),
      (socket) => socket.longTimeout(1000),
      (socket) => socket.setLibraryTimeout(4e6),
    ];
    for (
      const [set, disarm] of [
        [timeout, (socket: Socket) => socket.timeout(0)],
        [long, (socket: Socket) => socket.longTimeout(0)],
        [library, (socket: Socket) => socket.setLibraryTimeout(-1)],
        ...[timeout, long, library].map((set) => [set, (socket: Socket) => socket.close()]),
        ...[timeout, long].map((set) => [set, adopt]),
      ]
    ) {
      const world = new World();
      world.open(); // keeps the loop from having nothing left
      const socket = world.open();
      set(socket);
      world.pass(3 * TICK_MS);
      disarm(socket);
      assert(!world.timers[0].isClosed);
      world.pass(TICK_MS);
      assert(world.timers[0].isClosed, `a timer for no timeout: ${set}, ${disarm}`);
    }
  });

  it("starts with a whole tick ahead", () => {
    const world = new World();
    for (const wait of [0, 12_345, 999.5]) {
      world.pass(wait);
      const socket = world.open();
      socket.timeout(1);
      assertEquals(world.timers.at(-1)!.nextAt, clock.now + TICK_MS);
      socket.close();
      world.pass(TICK_MS);
    }
    assertEquals(world.timers.length, 3);
  });

  it("does not look at the timeouts while none is pending or due", () => {
    const world = new World();
    const socket = world.open();
    socket.timeout(400);
    socket.longTimeout(40);
    world.pass(TICK_MS);
    let walks = 0;
    const { short } = world.loop.sweep;
    const { times } = short;
    Object.defineProperty(short, "times", {
      get() {
        walks++;
        return times;
      },
    });
    const walksDuring = (ms: number) => {
      walks = 0;
      world.pass(ms);
      return walks;
    };
    assertEquals(walksDuring(399_000), 0);
    socket.longTimeout(40);
    assertEquals(walksDuring(TICK_MS), 0, "for a timeout of another kind");
    assert(walksDuring(TICK_MS) > 0);
    assertEquals(world.events.length, 1);
    assert(walksDuring(TICK_MS) > 0, "behind calls there is no telling what is due next");
    assertEquals(walksDuring(100_000), 0);
  });

  it("setting timeouts reads no clock, and a tick reads it once", () => {
    const world = new World();
    const socket = world.open();
    const before = clock.reads;
    for (let request = 0; request < 100; request++) {
      socket.timeout(30 + request);
      socket.longTimeout(30 + request);
      socket.setLibraryTimeout(30_000 + request);
    }
    assertEquals([clock.reads - before, world.timers.length], [0, 1]);
    for (let tick = 1; tick <= 10; tick++) {
      world.pass(TICK_MS);
      socket.timeout(30);
      assertEquals(clock.reads - before, tick);
    }
  });

  it("a timeout that is put off at each request fires only behind the last", () => {
    const world = new World();
    const socket = world.open("x");
    for (let request = 0; request < 1000; request++) {
      socket.timeout(30);
      world.pass(1700);
    }
    assertEquals(world.events, []);
    world.pass(40_000);
    assertEquals(world.events.length, 1);
  });

  it("a late tick fires everything that is due, each once", () => {
    const world = new World();
    for (const seconds of [1, 5, 9, 13, 90]) world.open(`${seconds}`).timeout(seconds);
    world.pass(TICK_MS);
    clock.now += 20_000; // the thread was busy
    world.timers[0].expire();
    assertEquals(world.events.map((event) => event.split(" ")[2]).sort(), ["1", "13", "5", "9"]);
    world.timers[0].expire();
    assertEquals(world.events.length, 4);
  });

  it("what is set in front of a late tick is not early", () => {
    const world = new World();
    world.open().longTimeout(60);
    world.pass(TICK_MS);
    clock.now += 20_000;
    world.open("x").timeout(5);
    world.timers[0].expire(); // knows nothing of when in these 20 s the timeout was set
    clock.now += 4999;
    world.timers[0].expire();
    assertEquals(world.events, []);
    clock.now += 2;
    world.timers[0].expire();
    assertEquals(world.events, ["28.001 timeout x"]);
  });

  it("what a handler sets during a walk begins right behind that walk", () => {
    for (const target of [0, 4]) { // whichever end the walk begins at
      let setAt = 0, firedAt = 0;
      const sockets: Socket[] = [];
      const world = new World({
        onTimeout(socket) {
          if (socket !== sockets[2]) return void (firedAt = clock.now);
          clock.now += TICK_MS - 10; // a slow handler: the next tick is close
          setAt = clock.now;
          sockets[target].timeout(1);
          sockets[target].setLibraryTimeout(0);
        },
      });
      for (let i = 0; i < 5; i++) sockets.push(world.open());
      sockets[2].timeout(1);
      world.pass(2 * TICK_MS);
      assert(setAt > 0 && firedAt === 0);
      const { short, library } = timeoutsOf(sockets[target]);
      assert(short > 0, "not begun");
      assert(library !== Infinity, "not at the next tick, but at this one");
      world.pass(3 * TICK_MS);
      assertGreaterOrEqual(
        firedAt - setAt,
        1000,
        "begun by a clock that was read before it was set",
      );
      assertLessOrEqual(firedAt - setAt, 1000 + TICK_MS + 2);
    }
  });

  it("a timeout that its handler sets again and again is at most a tick late", () => {
    const fired: number[] = [];
    const world = new World({
      onTimeout(socket) {
        fired.push(clock.now);
        socket.timeout(4);
      },
    });
    world.open().timeout(4);
    world.pass(60_000);
    const apart = fired.slice(1).map((at, i) => at - fired[i]);
    assertEquals(new Set(apart), new Set([4000 + TICK_MS]));
  });

  it("setLibraryTimeout(0) is the next tick", () => {
    const world = new World();
    world.open("x", world.context, CONNECTING).setLibraryTimeout(0);
    world.pass(TICK_MS - 1);
    assertEquals(world.events, []);
    world.pass(1);
    assertEquals(world.events, ["3 connect error x"]);
    const early = new World();
    const socket = early.open("x", early.context, CONNECTING);
    socket.setLibraryTimeout(0);
    early.timers[0].expire(); // in the very millisecond in which the loop was made
    assert(socket.isClosed);
  });

  it("adoption clears the user's timeouts, pending or begun, and keeps the library's", () => {
    for (const begun of [false, true]) {
      stopClock();
      const world = new World();
      const socket = world.open("x", world.context, CONNECTING);
      socket.timeout(1);
      socket.longTimeout(1 / 60);
      socket.setLibraryTimeout(3000);
      if (begun) world.pass(TICK_MS);
      const { library } = timeoutsOf(socket);
      world.loop.createContext({
        onTimeout: () => world.events.push("timeout"),
        onLongTimeout: () => world.events.push("long"),
        onConnectError: () => world.events.push(`${clock.now / 1000} connect error`),
      }).adopt(socket);
      assertEquals(timeoutsOf(socket), { short: Infinity, long: Infinity, library });
      world.pass(20_000);
      assertEquals(world.events, ["7 connect error"]);
    }
  });

  it("what is adopted in the walk in which its connect times out tells its new context", () => {
    const left: (Socket | undefined)[] = [];
    const world = new World();
    const second = world.loop.createContext({
      onConnectError(socket) {
        left.push(socket);
        world.context.adopt(sockets.find((other) => other !== socket)!); // whichever comes first
      },
    }) as unknown as SocketContext;
    const sockets = ["x", "y"].map((name) => world.open(name, second, CONNECTING));
    for (const socket of sockets) socket.setLibraryTimeout(1000);
    world.pass(2 * TICK_MS);
    assertEquals([left.length, world.events.length], [1, 1]);
    assertEquals(world.events[0], `5 connect error ${left[0] === sockets[0] ? "y" : "x"}`);
  });

  it("a timeout that is due with another's, whose handler adopts its socket, does not fire", () => {
    const left: string[] = [];
    const world = new World();
    const second = world.loop.createContext({
      onTimeout(socket) {
        left.push(world.names.get(socket)!);
        const other = sockets.find((other) => other !== socket)!; // whichever comes first
        world.context.adopt(other).timeout(1);
      },
    }) as unknown as SocketContext;
    const sockets = ["x", "y"].map((name) => world.open(name, second));
    for (const socket of sockets) socket.timeout(1);
    world.pass(2 * TICK_MS);
    assertEquals([left.length, world.events], [1, []]);
    world.pass(TICK_MS);
    assertEquals(world.events, [`7 timeout ${left[0] === "x" ? "y" : "x"}`]);
  });

  it("a handler may free the loop in the middle of a walk", () => {
    let fires = 0;
    const world = new World({
      onTimeout(socket) {
        fires++;
        socket.context.loop.free();
      },
      onClose: (socket) => socket.timeout(1),
    });
    for (let i = 0; i < 5; i++) world.open().timeout(1);
    world.pass(20_000);
    assertEquals([fires, world.timers.length, world.timers[0].isClosed], [1, 1, true]);
  });

  it("what onClose handlers set while the loop is freed starts no timer", () => {
    let closes = 0;
    const world = new World({
      onClose() {
        closes++;
        other.timeout(1);
      },
    });
    const other = world.open("other", world.loop.createContext() as unknown as SocketContext);
    world.open();
    world.loop.free();
    assertEquals([closes, world.timers.length], [1, 0]);
  });

  it("a handler may close the last socket and open another in the middle of a walk", () => {
    const fired: string[] = [];
    const world = new World({
      onTimeout(socket) {
        fired.push(`${clock.now / 1000} ${world.names.get(socket)}`);
        socket.close();
        if (fired.length < 2) world.open("second").timeout(1);
      },
      onClose() {},
    });
    world.open("first").timeout(1);
    world.pass(20_000);
    assertEquals(fired, ["5 first", "7 second"]);
    assertEquals(world.timers.map((timer) => timer.isClosed), [true, true]);
  });

  it("onTimeout may disarm, put off or close away the long timeout due with it", () => {
    for (const what of ["disarm", "put off", "close"]) {
      const long: number[] = [];
      const world = new World({
        onTimeout(socket) {
          if (what === "disarm") socket.longTimeout(0);
          else if (what === "put off") socket.longTimeout(1);
          else socket.close();
        },
        onLongTimeout: () => void long.push(clock.now - start),
      });
      const start = clock.now;
      const socket = world.open();
      socket.timeout(1);
      socket.longTimeout(1 / 60);
      world.pass(100_000);
      assertEquals(long, what === "put off" ? [66_000] : [], what);
    }
  });

  it("one timeout that fires leaves the later ones of its socket alone, not those due with it", () => {
    const world = new World();
    const socket = world.open("x");
    socket.timeout(10);
    socket.longTimeout(1);
    socket.setLibraryTimeout(3000); // of an open socket that bounds nothing
    world.pass(100_000);
    assertEquals(world.events, ["15 timeout x", "65 long x"]);
    assertEquals(timeoutsOf(socket), { short: Infinity, long: Infinity, library: Infinity });
    socket.timeout(2);
    socket.longTimeout(3 / 60);
    world.pass(20_000);
    assertEquals(world.events.slice(2), ["107 timeout x", "107 long x"]); // both in one tick
  });

  it("a connect that times out has no onTimeout behind it", () => {
    const world = new World();
    const socket = world.open("x", world.context, CONNECTING);
    socket.timeout(1);
    socket.longTimeout(1 / 60);
    socket.setLibraryTimeout(500);
    world.pass(100_000);
    assertEquals(world.events, ["5 connect error x"]);
    assert(socket.isClosed);
  });
});
