/** The sweep of timeouts on a clock that stands still until it is told to go on. */
import { assert, assertEquals, assertGreaterOrEqual, assertLessOrEqual } from "@std/assert";
import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import type { Backend } from "../../src/backend.ts";
import type { SocketContext } from "../../src/context.ts";
import type { Handlers } from "../../src/handlers.ts";
import { Loop } from "../../src/loop.ts";
import { Socket } from "../../src/socket.ts";
import { CONNECTING, OPENED } from "../../src/socket_state.ts";
import { Timer } from "../../src/timer.ts";

const GRANULARITY_MS = 4000;

/** What `performance.now()` says. */
let now = 0;
const { now: realNow } = performance;

/** A timer that expires when it is told to. */
class FakeTimer extends Timer {
  nextAt = Infinity;
  #repeatMs = 0;

  get isClosed(): boolean {
    return !this.loop.timers.has(this);
  }

  expire(): void {
    this.nextAt = this.#repeatMs > 0 ? this.nextAt + this.#repeatMs : Infinity;
    this.expired();
  }

  protected override arm(ms: number, repeatMs: number): void {
    this.nextAt = now + ms;
    this.#repeatMs = repeatMs;
  }

  protected override disarm(): void {
    this.nextAt = Infinity;
  }

  protected override release(): void {}
}

/** A socket of no connection. */
class FakeSocket extends Socket {
  override readonly remoteAddress = "";
  override readonly remotePort = 0;
  override readonly localAddress = "";
  override readonly localPort = 0;
  override readonly tls = null;
  override readonly serverNameUserData = undefined;
  override readonly nativeHandle = null;
  override readonly peerName = "nowhere";
  override setNoDelay(): void {}
  override setKeepAlive(): void {}
  override upgradeTls(): void {}
  protected override sendBytes = () => 0;
  protected override sendBytes2 = () => 0;
  protected override sendFlush(): void {}
  protected override sendFin(): void {}
  protected override sendReset(): void {}
  protected override receivePause(): void {}
  protected override receiveResume(): void {}
  protected override release(): void {}
}

/** A loop whose timers and sockets are the ones above, and what happened on it. */
class World {
  readonly timers: FakeTimer[] = [];
  readonly events: string[] = [];
  readonly names = new Map<Socket, string>();
  readonly loop: Loop;
  readonly context: SocketContext;

  constructor(handlers: Handlers = {}) {
    const backend = {
      name: "fake",
      createTimer: (loop: Loop, options: { fallthrough?: boolean }) => {
        const timer = new FakeTimer(loop, options);
        this.timers.push(timer);
        return timer;
      },
      activityChanged() {},
      free() {},
    };
    this.loop = new Loop(() => backend as unknown as Backend, {
      timeoutGranularityMs: GRANULARITY_MS,
      onError: (error) => {
        throw error;
      },
    }) as Loop;
    const note = (event: string) => (socket: Socket) => {
      this.events.push(`${now / 1000} ${event} ${this.names.get(socket)}`);
    };
    this.context = this.loop.createContext({
      onTimeout: note("timeout"),
      onLongTimeout: note("long"),
      onConnectError: note("connect error"),
      onClose: note("close"),
      ...handlers,
    }) as unknown as SocketContext;
  }

  open(name = `${this.names.size}`, context = this.context, flags = OPENED): Socket {
    const socket = new FakeSocket(context, flags, undefined);
    this.names.set(socket, name);
    return socket;
  }

  /** Lets time pass, timers expiring on their way. */
  pass(ms: number): void {
    const until = now + ms;
    while (true) {
      const due = this.timers.filter((timer) => timer.nextAt <= until);
      if (due.length === 0) break;
      const first = due.reduce((a, b) => a.nextAt <= b.nextAt ? a : b);
      now = Math.max(now, first.nextAt);
      first.expire();
    }
    now = until;
  }
}

describe("TimerSweep", () => {
  beforeEach(() => {
    now = 1000;
    performance.now = () => now;
  });
  afterEach(() => {
    performance.now = realNow;
  });

  it("a timeout fires at the first sweep that is not before it", () => {
    const world = new World();
    for (const seconds of [0.001, 3.9, 4, 4.1, 8, 8.1]) world.open(`${seconds}`).timeout(seconds);
    world.pass(40_000);
    const fired = world.events.map((event) => event.split(" ")).map(([at, , name]) => {
      const late = Number(at) - 1 - Number(name);
      assertGreaterOrEqual(late, 0);
      assertLessOrEqual(late, GRANULARITY_MS / 1000 + 0.002); // rounding up costs as much as 2 ms
      return name;
    });
    assertEquals(fired.sort(), ["0.001", "3.9", "4", "4.1", "8", "8.1"]);
  });

  it("deadlineIn() is a whole number that is never early", () => {
    const { sweep } = new World().loop;
    for (const [at, ms] of [[1000, 0], [1000.001, 1], [1000.999, 0.002], [1234.5, 0.4], [5e9, 7]]) {
      now = at;
      const deadline = sweep.deadlineIn(ms);
      assert(Number.isInteger(deadline) && deadline >= 1);
      // The sweep's own clock is one ahead, so that no deadline is 0, which means none.
      assertGreaterOrEqual(deadline, at - 1000 + ms + 1);
    }
  });

  it("no number of ticks makes a deadline wrap", () => {
    const world = new World();
    world.open("near").timeout(239 * 4);
    world.open("far").timeout(241 * 4);
    world.open("farther").timeout(70_000 * 4);
    world.open("long").longTimeout(300);
    world.open("never").timeout(Number.MAX_SAFE_INTEGER);
    world.open("infinite").timeout(Infinity);
    world.pass(75_000 * GRANULARITY_MS);
    const at = (ticks: number) => ticks * 4 + 1;
    assertEquals(world.events, [
      `${at(239)} timeout near`,
      `${at(241)} timeout far`,
      `${at(300 * 15)} long long`,
      `${at(70_000)} timeout farther`,
    ]);
  });

  it("sweeps only while some socket has a deadline, and keeps no loop running", () => {
    const world = new World();
    const socket = world.open();
    assertEquals(world.timers.length, 0);
    socket.timeout(1);
    assertEquals(world.timers.length, 1);
    assert(world.timers[0].isFallthrough);
    socket.timeout(0);
    world.pass(2 * GRANULARITY_MS);
    assert(world.timers[0].isClosed, "a timer for no deadline");
    socket.longTimeout(1);
    socket.timeout(1);
    assertEquals(world.timers.length, 2);
    world.pass(100_000);
    assert(world.timers[1].isClosed, "a timer for no deadline");
    assertEquals(world.events.map((event) => event.split(" ")[1]), ["timeout", "long"]);
    world.open().timeout(1);
    world.loop.free();
    assertEquals(world.loop.timers.size, 0);
    assertEquals(world.timers.filter((timer) => !timer.isClosed), []);
  });

  it("does not look at the sockets while no deadline has passed", () => {
    const world = new World();
    world.open().timeout(400);
    let walks = 0;
    const { head } = world.context;
    Object.defineProperty(world.context, "head", {
      get() {
        walks++;
        return head;
      },
    });
    world.pass(399_000);
    assertEquals(walks, 0);
    world.pass(10_000);
    assertEquals([walks, world.events.length], [1, 1]);
  });

  it("a sweep that comes late fires everything that is due, each once", () => {
    const world = new World();
    for (const seconds of [1, 5, 9, 13, 90]) world.open(`${seconds}`).timeout(seconds);
    now += 20_000; // the thread was busy
    world.timers[0].expire();
    assertEquals(world.events.map((event) => event.split(" ")[2]).sort(), ["1", "13", "5", "9"]);
    world.timers[0].expire();
    assertEquals(world.events.length, 4);
  });

  it("both timeouts of a socket fire when both are due", () => {
    const world = new World();
    const socket = world.open("both");
    socket.timeout(2);
    socket.longTimeout(3 / 60);
    world.pass(20_000);
    assertEquals(world.events, ["5 timeout both", "5 long both"]);
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
        onLongTimeout: () => void long.push(now - start),
      });
      const start = now;
      const socket = world.open();
      socket.timeout(1);
      socket.longTimeout(1 / 60);
      world.pass(100_000);
      assertEquals(long, what === "put off" ? [64_000] : [], what);
    }
  });

  it("one deadline that fires leaves the later ones of its socket alone", () => {
    const world = new World();
    const socket = world.open("x");
    socket.timeout(10);
    socket.longTimeout(1);
    socket.setLibraryTimeout(3000); // of an open socket that bounds nothing
    world.pass(100_000);
    assertEquals(world.events, ["13 timeout x", "61 long x"]);
    assertEquals(socket.deadline, 0);
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

  it("what a handler arms in sockets already walked past is found by a later sweep", () => {
    for (const target of [0, 4]) { // whichever end the walk begins at
      let armed = false;
      const sockets: Socket[] = [];
      const world = new World({
        onTimeout(socket) {
          fired.push(sockets.indexOf(socket));
          if (socket !== sockets[2] || armed) return;
          armed = true;
          sockets[target].timeout(1);
        },
      });
      const fired: number[] = [];
      for (let i = 0; i < 5; i++) sockets.push(world.open());
      sockets[2].timeout(1);
      world.pass(4 * GRANULARITY_MS);
      assertEquals(fired, [2, target]);
    }
  });

  it("agrees with a simple model over random operations", () => {
    let seed = 1;
    const random = (below: number) => (seed = seed * 48_271 % 2_147_483_647) % below;
    const due = new Map<Socket, number>();
    const sockets: Socket[] = [];
    let fires = 0;
    const meddle = () => {
      const socket = sockets[random(sockets.length)];
      const seconds = 1 + random(30);
      switch (random(6)) {
        case 0:
          socket.timeout(0);
          due.delete(socket);
          break;
        case 1:
          contexts[random(2)].adopt(socket);
          due.delete(socket);
          break;
        case 2:
          if (sockets.length > 20) {
            socket.close();
            due.delete(socket);
            sockets.splice(sockets.indexOf(socket), 1);
          } else {
            sockets.push(world.open("", contexts[random(2)]));
          }
          break;
        default:
          socket.timeout(seconds);
          due.set(socket, now + seconds * 1000);
      }
    };
    const handlers: Handlers = {
      onTimeout(socket) {
        const at = due.get(socket);
        assert(at !== undefined && at <= now, `early, or not due at all: ${at} at ${now}`);
        assertLessOrEqual(now - at, GRANULARITY_MS + 2);
        due.delete(socket);
        fires++;
        for (let i = random(3); i > 0; i--) meddle();
      },
      onClose() {},
    };
    const world = new World(handlers);
    const contexts = [
      world.context,
      world.loop.createContext(
        handlers as Handlers<undefined, undefined>,
      ) as unknown as SocketContext,
    ];
    for (let i = 0; i < 20; i++) sockets.push(world.open("", contexts[i % 2]));
    for (let round = 0; round < 2000; round++) {
      meddle();
      world.pass(random(5000));
      for (const at of due.values()) assertLessOrEqual(now - at, GRANULARITY_MS + 2, "never fired");
    }
    assert(fires > 200);
  });
});
