/** The sweep of timeouts where very many are due at once, on a clock of the test's own. */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import type { Socket } from "../../src/socket.ts";
import { clock, LATE_MS, restartClock, stopClock, World } from "../support/fake_loop.ts";

const COUNT = 1000;
/** How long a handler takes, and how many of them there are in the millisecond that a tick has. */
const EACH_MS = 0.125, MOST = 8;
/** How long it takes to call all of them, pauses included. */
const ALL_MS = 2 * COUNT * EACH_MS;

describe("TimerSweep, of a crowd", () => {
  beforeEach(stopClock);
  afterEach(restartClock);

  /** How many handlers were called without a pause in which others have their turn. */
  function crowd(onTimeout: (socket: Socket) => void): { world: World; parts: number[] } {
    const parts: number[] = [];
    let doneAt = -1;
    const called = (socket: Socket) => {
      if (clock.now > doneAt) parts.push(0);
      parts[parts.length - 1]++;
      onTimeout(socket);
      doneAt = clock.now += EACH_MS;
    };
    const world = new World({ onTimeout: called, onLongTimeout: called, onClose() {} });
    return { world, parts };
  }

  it("those due together are told in parts, a moment apart", () => {
    const { world, parts } = crowd((socket) => {
      assert(clock.now >= setAt + 10_000);
      assertLessOrEqual(clock.now, setAt + 10_000 + LATE_MS + ALL_MS);
      socket.close();
    });
    for (let i = 0; i < COUNT; i++) world.open().timeout(10);
    const setAt = clock.now;
    world.pass(20_000);
    assertEquals(parts, new Array(COUNT / MOST).fill(MOST));
  });

  it("both timeouts of a socket count", () => {
    const { world, parts } = crowd(() => {});
    for (let i = 0; i < MOST; i++) {
      const socket = world.open();
      socket.timeout(60);
      socket.longTimeout(1);
    }
    world.pass(70_000);
    assertEquals(parts, [MOST, MOST]);
  });

  it("what handlers set meanwhile is neither early nor late", () => {
    const due = new Map<Socket, number>();
    let calls = 0;
    const { world, parts } = crowd((socket) => {
      calls++;
      assertLessOrEqual(due.get(socket)!, clock.now);
      assertLessOrEqual(clock.now - due.get(socket)!, LATE_MS + ALL_MS);
      due.set(socket, clock.now + 5000);
      socket.timeout(5);
    });
    for (let i = 0; i < COUNT; i++) {
      const socket = world.open();
      due.set(socket, clock.now + 5000);
      socket.timeout(5);
    }
    world.pass(60_000);
    assert(calls >= 6 * COUNT, `${calls}`);
    assertEquals(Math.max(...parts), MOST);
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

  it("a handler may free the loop when the time is over", () => {
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
