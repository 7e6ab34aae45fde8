/** The sweep of timeouts where very many are due at once, on a clock of the test's own. */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import type { Socket } from "../../src/socket.ts";
import { clock, LATE_MS, restartClock, stopClock, World } from "../support/fake_loop.ts";

const COUNT = 1000;
/** So many handlers one tick calls. */
const MOST = 32;

describe("TimerSweep, of a crowd", () => {
  beforeEach(stopClock);
  afterEach(restartClock);

  /** How many handlers were called at each time of the clock. */
  function crowd(
    onTimeout: (socket: Socket) => void,
  ): { world: World; calls: Map<number, number> } {
    const calls = new Map<number, number>();
    const called = (socket: Socket) => {
      calls.set(clock.now, (calls.get(clock.now) ?? 0) + 1);
      onTimeout(socket);
    };
    const world = new World({ onTimeout: called, onLongTimeout: called, onClose() {} });
    return { world, calls };
  }

  function total(calls: Map<number, number>): number {
    return [...calls.values()].reduce((sum, count) => sum + count, 0);
  }

  it("those due together are told in parts, a moment apart", () => {
    const { world, calls } = crowd((socket) => socket.close());
    for (let i = 0; i < COUNT; i++) world.open().timeout(10);
    const setAt = clock.now;
    world.pass(20_000);
    assertEquals(total(calls), COUNT);
    assertEquals(Math.max(...calls.values()), MOST);
    assertEquals(calls.size, Math.ceil(COUNT / MOST));
    for (const at of calls.keys()) {
      assert(at >= setAt + 10_000);
      assertLessOrEqual(at, setAt + 10_000 + LATE_MS + COUNT / MOST);
    }
  });

  it("both timeouts of a socket count", () => {
    const { world, calls } = crowd(() => {});
    for (let i = 0; i < MOST; i++) {
      const socket = world.open();
      socket.timeout(60);
      socket.longTimeout(1);
    }
    world.pass(70_000);
    assertEquals([...calls.values()], [MOST, MOST]);
  });

  it("what handlers set meanwhile is neither early nor late", () => {
    const due = new Map<Socket, number>();
    const { world, calls } = crowd((socket) => {
      assertLessOrEqual(due.get(socket)!, clock.now);
      assertLessOrEqual(clock.now - due.get(socket)!, LATE_MS + COUNT / MOST);
      due.set(socket, clock.now + 5000);
      socket.timeout(5);
    });
    for (let i = 0; i < COUNT; i++) {
      const socket = world.open();
      due.set(socket, clock.now + 5000);
      socket.timeout(5);
    }
    world.pass(60_000);
    assert(total(calls) >= 6 * COUNT, `${total(calls)}`);
    assertEquals(Math.max(...calls.values()), MOST);
  });

  it("the ticks are as rare as before when all is told", () => {
    const { world } = crowd((socket) => socket.close());
    for (let i = 0; i < COUNT; i++) world.open().timeout(1);
    world.open().timeout(1000);
    world.pass(10_000);
    clock.reads = 0;
    world.pass(100_000);
    assertLessOrEqual(clock.reads, 52);
  });

  it("a handler may free the loop when there is no room for more", () => {
    let count = 0;
    const { world } = crowd(() => {
      if (++count === MOST) world.loop.free();
    });
    for (let i = 0; i < COUNT; i++) world.open().timeout(1);
    world.pass(10_000);
    assertEquals(count, MOST);
    assert(world.timers.every((timer) => timer.isClosed));
  });
});
