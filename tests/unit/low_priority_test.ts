import { assertEquals } from "@std/assert";
import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import { LowPriorityQueue } from "../../src/low_priority.ts";
import { clock, restartClock, stopClock } from "../support/fake_loop.ts";

/** Notes its turns; `wants` is what readmit() returns. */
class Waiter {
  readonly turns: Waiter[];
  readonly name: string;
  wants = true;

  constructor(turns: Waiter[], name: string) {
    this.turns = turns;
    this.name = name;
  }

  readmit(): boolean {
    this.turns.push(this);
    return this.wants;
  }
}

/** A queue whose budget is spent, and so many that wait. */
function queueOf(count: number): { queue: LowPriorityQueue; waiters: Waiter[]; turns: Waiter[] } {
  const queue = new LowPriorityQueue();
  const turns: Waiter[] = [];
  for (let i = 0; i < 5; i++) queue.admit(new Waiter(turns, `first ${i}`));
  const waiters = Array.from({ length: count }, (_, i) => new Waiter(turns, `${i}`));
  for (const waiter of waiters) queue.admit(waiter);
  return { queue, waiters, turns };
}

const names = (waiters: Waiter[]) => waiters.map(({ name }) => name).join(" ");

describe("LowPriorityQueue", () => {
  beforeEach(stopClock);
  afterEach(restartClock);

  it("admit() lets five through at once, and no more until readmit()", () => {
    const queue = new LowPriorityQueue();
    const turns: Waiter[] = [];
    const admitted = Array.from({ length: 7 }, (_, i) => queue.admit(new Waiter(turns, `${i}`)));
    assertEquals(admitted, [true, true, true, true, true, false, false]);
    assertEquals([queue.isWaiting, names(turns)], [true, ""]);
    queue.readmit();
    assertEquals([queue.isWaiting, names(turns)], [false, "5 6"]);
  });

  it("readmit() takes five an iteration, in the order they came", () => {
    const { queue, turns } = queueOf(12);
    const seen: [string, boolean][] = [];
    for (let iteration = 0; iteration < 4; iteration++) {
      turns.length = 0;
      queue.readmit();
      seen.push([names(turns), queue.isWaiting]);
    }
    assertEquals(seen, [["0 1 2 3 4", true], ["5 6 7 8 9", true], ["10 11", false], ["", false]]);
  });

  it("those that wait go before those that come, and all share one budget", () => {
    const { queue, turns } = queueOf(3);
    queue.readmit();
    const late = Array.from({ length: 4 }, (_, i) => new Waiter(turns, `late ${i}`));
    assertEquals(late.map((waiter) => queue.admit(waiter)), [true, true, false, false]);
    assertEquals(names(turns), "0 1 2");
    queue.readmit();
    assertEquals(names(turns), "0 1 2 late 2 late 3");
    assertEquals(late.map((waiter) => queue.admit(waiter)), [true, true, true, false]);
  });

  it("readmit() of one that has no more use for its turn costs nothing", () => {
    const { queue, waiters, turns } = queueOf(20);
    for (const i of [0, 1, 2, 4, 6, 12]) waiters[i].wants = false;
    queue.readmit();
    assertEquals(names(turns), "0 1 2 3 4 5 6 7 8 9");
    turns.length = 0;
    queue.readmit();
    assertEquals(names(turns), "10 11 12 13 14 15");
  });

  it("a queue of nothing but such ones is empty after one iteration", () => {
    const { queue, waiters, turns } = queueOf(100);
    for (const waiter of waiters) waiter.wants = false;
    queue.readmit();
    assertEquals([turns.length, queue.isWaiting], [100, false]);
    // and has its whole budget left
    const admitted = waiters.slice(0, 6).map((waiter) => queue.admit(waiter));
    assertEquals(admitted, [true, true, true, true, true, false]);
  });

  it("one that queues anew in its own turn waits for the next iteration", () => {
    const queue = new LowPriorityQueue();
    let turns = 0;
    const again = {
      readmit(): boolean {
        turns++;
        while (queue.admit({ readmit: () => true })); // uses up what is left of the budget
        queue.admit(again);
        return true;
      },
    };
    while (queue.admit(again));
    queue.readmit();
    assertEquals([turns, queue.isWaiting], [1, true]);
  });

  it("iterations that take long go on with one for each four milliseconds, up to 64", () => {
    const queue = new LowPriorityQueue();
    const turns: Waiter[] = [];
    for (let i = 0; i < 205; i++) queue.admit(new Waiter(turns, `${i}`));
    const taken = [0, 10, 40, 80, 5000].map((ms) => {
      clock.now += ms;
      const before = turns.length;
      queue.readmit();
      return turns.length - before;
    });
    assertEquals(taken, [5, 5, 10, 20, 64]);
  });

  it("a long wait for events is no long iteration", () => {
    const queue = new LowPriorityQueue();
    const turns: Waiter[] = [];
    for (let i = 0; i < 6; i++) queue.admit(new Waiter(turns, `${i}`));
    queue.readmit();
    queue.readmit(); // nobody waits any more
    clock.now += 5000;
    for (let i = 0; i < 20; i++) queue.admit(new Waiter(turns, `late ${i}`));
    turns.length = 0;
    queue.readmit();
    assertEquals(turns.length, 5);
  });
});
