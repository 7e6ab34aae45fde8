/** Where the sweep has the timeouts of sockets, while these come and go, in handlers too. */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import fc from "fast-check";
import type { Socket } from "../../src/socket.ts";
import { CONNECTING } from "../../src/socket_state.ts";
import {
  GRANULARITY_MS,
  restartClock,
  stopClock,
  timeoutsOf,
  World,
} from "../support/fake_loop.ts";

const TICK_MS = GRANULARITY_MS / 2;
/** More than there is room for at first. */
const MANY = 1000;

describe("slots of timeouts", () => {
  beforeEach(stopClock);
  afterEach(restartClock);

  /** How many numbers there is room for. */
  const roomOf = ({ loop: { sweep } }: World) =>
    [sweep.short, sweep.long, sweep.library].map(({ times }) => times.length);

  it("a socket that sets no timeout takes none, nor does one that is closed", () => {
    const world = new World({ onClose: (socket) => setAll(socket, 1) });
    const idle = world.open();
    idle.setLibraryTimeout(-1);
    idle.timeout(0);
    idle.longTimeout(0);
    world.context.adopt(idle);
    assert(idle.slot < 0);
    const socket = world.open();
    setAll(socket, 1);
    assertEquals(socket.slot, 0);
    socket.close();
    setAll(socket, 1);
    assert(socket.slot < 0);
    setAll(idle, 1);
    assertEquals(idle.slot, 0, "the slot of the one that closed was not given back");
  });

  it("a kind of timeout that nobody sets takes no memory, and what is closed gives it back", () => {
    const world = new World({ onClose() {} });
    const [room] = roomOf(world);
    const sockets = Array.from({ length: MANY }, () => world.open());
    assertEquals(roomOf(world), [room, room, room]);
    for (const socket of sockets) socket.timeout(1);
    assert(roomOf(world)[0] >= MANY);
    assertEquals(roomOf(world).slice(1), [room, room]);
    for (const socket of sockets) socket.longTimeout(1);
    for (const socket of sockets) socket.setLibraryTimeout(1);
    while (sockets.length > 0) {
      sockets.splice(sockets.length * 7 % 13 % sockets.length, 1)[0].close();
      for (const size of roomOf(world)) assertLessOrEqual(size, Math.max(4 * sockets.length, 64));
    }
  });

  it("a slot has nothing left of the socket that had it before", () => {
    const world = new World({ onClose() {} });
    world.open().timeout(100);
    for (const begun of [false, true]) {
      const before = world.open();
      setAll(before, 1);
      if (begun) world.timers[0].expire();
      const { slot } = before;
      before.close();
      const socket = world.open();
      socket.timeout(50);
      assertEquals(socket.slot, slot);
      assertEquals(timeoutsOf(socket), { short: -50_002, long: Infinity, library: Infinity });
      socket.close();
    }
    const first = world.open();
    setAll(first, 1);
    const second = world.open();
    setAll(second, 1);
    first.close(); // the second moves there
    const third = world.open();
    third.timeout(50);
    assertEquals(timeoutsOf(third), { short: -50_002, long: Infinity, library: Infinity });
  });

  it("a kind of timeout set by few moves along with those that set others", () => {
    const world = new World({ onClose() {} });
    const sockets = Array.from({ length: MANY }, () => world.open());
    for (const socket of sockets) socket.timeout(500);
    sockets[1].longTimeout(1);
    sockets[MANY - 1].setLibraryTimeout(9000);
    sockets[0].close(); // to where the last moves
    sockets[1].close(); // to where one moves that never had a long timeout
    const kept = timeoutsOf(sockets[MANY - 1]);
    assertEquals(kept, { short: -500_002, long: Infinity, library: -9002 });
    assertEquals(timeoutsOf(sockets[MANY - 2]).long, Infinity);
    sockets[5].longTimeout(1);
    world.pass(70_000);
    assertEquals(world.events, ["65 long 5"]);
  });

  it("handlers may open so many sockets in a walk that the timeouts need more room", () => {
    const opened: Socket[] = [];
    const fired = new Map<Socket, number>();
    const world = new World({
      onTimeout(socket) {
        fired.set(socket, (fired.get(socket) ?? 0) + 1);
        if (opened.length > 0 || socket !== first[32]) return;
        for (let i = 0; i < MANY; i++) {
          opened.push(world.open());
          opened[i].timeout(1);
        }
      },
    });
    const first = Array.from({ length: 64 }, () => world.open());
    for (const socket of first) socket.timeout(1);
    const [room] = roomOf(world);
    world.pass(2 * TICK_MS);
    assert(roomOf(world)[0] > room);
    assertEquals([...fired.keys()].sort(bySlot), first, "all that were due, and no other");
    world.pass(2 * TICK_MS);
    assertEquals([...fired.keys()].sort(bySlot), [...first, ...opened]);
    assertEquals(new Set(fired.values()), new Set([1]));
  });

  it("handlers may close all others in a walk, and the timeouts take less room then", () => {
    for (const rest of [0, 1, 10]) { // those that the first one leaves open
      const fired: Socket[] = [];
      const world = new World({
        onTimeout(socket) {
          fired.push(socket);
          const others = sockets.filter((other) => other !== socket && !other.isClosed);
          for (const other of others.slice(rest)) other.close();
        },
        onClose() {},
      });
      const sockets = Array.from({ length: MANY }, () => world.open());
      for (const socket of sockets) socket.timeout(1);
      world.pass(2 * TICK_MS);
      assertEquals(fired.length, rest + 1);
      assertEquals(new Set(fired), new Set(sockets.filter((socket) => !socket.isClosed)));
      assertLessOrEqual(roomOf(world)[0], 64);
    }
  });

  it("a socket opened in a walk, into the slot of one closed in it, does not fire early", () => {
    for (const victim of [0, 31, 63]) { // behind, at, and in front of the one that is due
      let opened: Socket | undefined;
      const world = new World({
        onTimeout(socket) {
          world.events.push(`${socket === opened ? "new" : "old"}`);
          if (opened !== undefined) return;
          sockets[victim].close();
          sockets.at(-1)!.close();
          opened = world.open();
          opened.timeout(1);
        },
        onClose() {},
      });
      const sockets = Array.from({ length: 64 }, () => world.open());
      for (const socket of sockets) socket.timeout(100);
      world.pass(TICK_MS);
      sockets[31].timeout(1);
      world.pass(2 * TICK_MS);
      assertEquals(world.events, ["old"]);
      world.pass(TICK_MS);
      assertEquals(world.events, ["old", "new"]);
    }
  });

  it("all that is due fires once in its tick, whatever the order and whomever handlers close", () => {
    const script = fc.record({
      setting: fc.shuffledSubarray([...Array(80).keys()], { minLength: 80 }),
      // What the handlers do, in the order in which they are called.
      acts: fc.array(fc.record({
        what: fc.constantFrom("close", "open", "set", "adopt"),
        whom: fc.nat(79),
      })),
    });
    fc.assert(fc.property(script, ({ setting, acts }) => {
      stopClock();
      const due = new Set<Socket>();
      let steps = 0;
      const act = (socket: Socket) => {
        assert(due.delete(socket), "early, twice, or after it was disarmed");
        if (steps === acts.length) return;
        const { what, whom } = acts[steps++];
        const other = sockets[whom];
        if (what === "open") return world.open().timeout(1);
        due.delete(other);
        if (what === "close") other.close();
        else if (what === "set") other.timeout(1);
        else if (what === "adopt") world.context.adopt(other);
      };
      const world = new World({ onTimeout: act, onClose() {} });
      const sockets = Array.from({ length: 80 }, () => world.open());
      for (const i of setting) {
        sockets[i].timeout(1);
        due.add(sockets[i]);
      }
      world.timers[0].expire();
      world.pass(2 * TICK_MS);
      assertEquals(due.size, 0, "due, and did not fire in its tick");
      for (const { whom } of acts) sockets[whom].timeout(0);
      world.loop.free();
    }));
  });

  it("what was set before the sweep stopped is swept with what another kind starts it for", () => {
    const world = new World();
    world.open("unreferenced").timeout(1);
    world.loop.release(); // as a Conn's unref() does
    assertEquals(world.loop.timers.size, 0);
    world.open("x").longTimeout(1);
    world.pass(10_000);
    assertEquals(world.events, ["5 timeout unreferenced"]);
    world.loop.retain();
  });

  it("a handler of a connect that times out may close the rest", () => {
    const world = new World({
      onConnectError(socket) {
        world.events.push("connect error");
        socket.context.close();
      },
    });
    for (let i = 0; i < MANY; i++) {
      const socket = world.open("", world.context, CONNECTING);
      setAll(socket, 1);
    }
    world.pass(10 * TICK_MS);
    assertEquals(world.events, ["connect error"]);
    assertEquals(world.loop.timers.size, 0);
  });
});

function setAll(socket: Socket, seconds: number): void {
  socket.timeout(seconds);
  socket.longTimeout(seconds);
  socket.setLibraryTimeout(seconds * 1000);
}

function bySlot(a: Socket, b: Socket): number {
  return a.slot - b.slot;
}
