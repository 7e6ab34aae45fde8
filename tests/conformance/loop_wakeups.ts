/** Semantic 14: wakeups. */
import { assert, assertEquals, assertGreater, assertLessOrEqual, fail } from "@std/assert";
import { Loop, wakeup, type WakeupHandle } from "@usockets/usockets";
import { after } from "../support/pairs.ts";
import type { Behaviours } from "./fixture.ts";

export const loopWakeups: Behaviours = (behaviour) => {
  {
    let woken: (loop: Loop) => void = () => {};
    behaviour("wakeup() calls onWakeup in an iteration, not inside the call", async (t) => {
      const calls: number[] = [];
      let keeper = t.loop.createTimer();
      keeper.set(() => fail("never woken"), 3_600_000);
      woken = (loop) => {
        assertEquals(loop === t.loop, true);
        calls.push(loop.iterationNumber);
        if (calls.length === 1) {
          loop.wakeup(); // a wakeup in onWakeup is one more
          assertEquals(calls.length, 1);
        } else if (calls.length === 2) {
          wakeup(loop.wakeupHandle); // the other way to do it
          assertEquals(calls.length, 2);
        } else {
          keeper.close();
        }
      };
      after(t, 1, () => {
        t.loop.wakeup();
        assertEquals(calls, []);
      });
      await t.run();
      assertEquals(calls.length, 3);
      assertEquals(new Set(calls).size, 3, "two calls of onWakeup in one iteration");
      // One that came between two runs belongs to the second.
      t.loop.wakeup();
      keeper = t.loop.createTimer();
      keeper.set(() => fail("never woken"), 3_600_000);
      await t.run();
      assertEquals(calls.length, 4);
    }, { onWakeup: (loop) => woken(loop) });
  }

  {
    let woken = () => {};
    behaviour("wakeups coalesce, and alone do not keep run() going", async (t) => {
      let calls = 0;
      woken = () => {};
      t.loop.wakeup();
      await t.run(); // nothing is left: the wakeup is not waited for
      const keeper = t.loop.createTimer();
      keeper.set(() => fail("never woken"), 3_600_000);
      after(t, 1, () => {
        calls = 0;
        woken = () => {
          calls++;
          keeper.close();
          if (calls === 1) after(t, 10, () => {}); // time for a second call to show
        };
        for (let i = 0; i < 1000; i++) t.loop.wakeup();
      });
      await t.run();
      assertEquals(calls, 1);
    }, { onWakeup: () => woken() });
  }

  {
    let woken = () => {};
    behaviour("wakeups from four Workers at once are all seen", async (t) => {
      const workers = await startWorkers(4);
      const words = new Int32Array(new SharedArrayBuffer(8));
      const count = 500;
      const keeper = t.loop.createTimer();
      keeper.set(() => fail("never woken"), 3_600_000);
      let calls = 0, seen = 0;
      woken = () => {
        calls++;
        const done = Atomics.load(words, 1); // first: who is done has sent everything
        const sent = Atomics.load(words, 0);
        assert(sent >= seen);
        seen = sent;
        // Without the wakeup behind the last of them, nobody would look again.
        if (done === workers.length) keeper.close();
      };
      const { wakeupHandle: handle } = t.loop;
      const done = workers.map((worker) => message(worker));
      for (const worker of workers) worker.postMessage({ handle, count, words });
      await t.run();
      // None is terminated in the middle of what it does.
      for (const said of await Promise.all(done)) assertEquals(said, "done");
      for (const worker of workers) worker.terminate();
      assertEquals(seen, 4 * count);
      assertGreater(calls, 0);
      assertLessOrEqual(calls, 4 * (count + 1));
    }, { onWakeup: () => woken() });
  }

  {
    let calls = 0;
    behaviour("onWakeup that throws reports it, and is called again", async (t) => {
      t.expectsErrors = true;
      calls = 0;
      const timer = t.loop.createTimer();
      timer.set(
        () => {
          if (calls === 3) timer.close();
          else t.loop.wakeup();
        },
        1,
        1,
      );
      await t.run();
      assertEquals(
        t.errors.map((error) => (error as Error).message),
        ["wakeup 1", "wakeup 2", "wakeup 3"],
      );
    }, {
      onWakeup() {
        throw new Error(`wakeup ${++calls}`);
      },
    });
  }

  behaviour("a wakeup after free() does nothing, in any thread", async (t) => {
    let calls = 0;
    const loop = new Loop({ backend: t.transport.backend, onWakeup: () => void calls++ });
    const { wakeupHandle: handle } = loop;
    loop.integrate();
    loop.wakeup(); // still under way when the loop goes
    loop.free();
    loop.wakeup();
    wakeup(handle);
    const [worker] = await startWorkers(1);
    const words = new Int32Array(new SharedArrayBuffer(8));
    const done = message(worker);
    worker.postMessage({ handle, count: 10, words });
    assertEquals(await done, "done");
    worker.terminate();
    after(t, 5, () => {});
    await t.run();
    assertEquals([words[0], words[1], calls], [10, 1, 0]);
  });

  {
    let woken = () => {};
    behaviour("a wakeup handle names its loop, also as a structured clone", async (t) => {
      let calls = 0, others = 0;
      const other = new Loop({ backend: t.transport.backend, onWakeup: () => void others++ });
      other.integrate();
      const handle = structuredClone(t.loop.wakeupHandle) as WakeupHandle;
      for (let round = 1; round <= 2; round++) {
        const keeper = t.loop.createTimer();
        keeper.set(() => fail("never woken"), 3_600_000);
        woken = () => {
          calls++;
          keeper.close();
        };
        after(t, 1, () => wakeup(handle));
        await t.run();
        assertEquals([calls, others], [round, 0]);
        other.free(); // which changes nothing for the second round
      }
    }, { onWakeup: () => woken() });
  }
};

/** Workers that wait for their order. */
function startWorkers(count: number): Promise<Worker[]> {
  const url = import.meta.resolve("../support/wakeup_worker.js");
  return Promise.all(Array.from({ length: count }, async () => {
    const worker = new Worker(url, { type: "module" });
    assertEquals(await message(worker), "ready");
    return worker;
  }));
}

/** The next message of a Worker. */
function message(worker: Worker): Promise<unknown> {
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => {
      event.preventDefault();
      reject(new Error(event.message));
    };
  });
}
