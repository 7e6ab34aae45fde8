// Timers of the epoll backend: one timerfd for all of them.
import { assert, assertEquals, assertGreaterOrEqual, assertLessOrEqual } from "@std/assert";
import { epoll, Loop, type Timer } from "@usockets/usockets";
import { countDescriptors } from "../support/descriptors.ts";
import { modes, nativeTest, runLoop } from "../support/native.ts";

/** Calls back while the clock stands still: times that are set differ by what they are alone. */
function atOneTime(callback: (at: number) => void): void {
  const { now } = performance;
  const at = performance.now();
  performance.now = () => at;
  try {
    callback(at);
  } finally {
    performance.now = now;
  }
}

for (const mode of modes) {
  nativeTest(
    `thousands of timers fire in order, never early, on one descriptor: ${mode}`,
    async () => {
      const loop = new Loop({ backend: epoll });
      const before = countDescriptors();
      const fired: number[] = [];
      // All different, up to 50 ms.
      const times = Array.from({ length: 5000 }, (_, i) => (i * 7919) % 5000 / 100 + 0.01);
      atOneTime((at) => {
        for (const ms of times) {
          loop.createTimer().set(() => {
            assertGreaterOrEqual(performance.now(), at + ms);
            fired.push(ms);
          }, ms);
        }
      });
      assertEquals(countDescriptors(), before);
      await runLoop(loop, mode);
      assertEquals(fired, times.toSorted((a, b) => a - b));
      loop.free();
    },
  );

  nativeTest(
    `timers due at the same time fire in the order they were set in: ${mode}`,
    async () => {
      const loop = new Loop({ backend: epoll });
      const fired: number[] = [];
      atOneTime(() => {
        for (let i = 0; i < 100; i++) loop.createTimer().set(() => fired.push(i), 2);
      });
      await runLoop(loop, mode);
      assertEquals(fired, Array.from({ length: 100 }, (_, i) => i));
      loop.free();
    },
  );

  nativeTest(`tiny times fire, and huge ones do not: ${mode}`, async () => {
    const loop = new Loop({ backend: epoll });
    const fired: number[] = [];
    const huge: Timer[] = [];
    for (const ms of [2 ** 32 * 1000, 1e12, 1e15, Number.MAX_VALUE, Infinity]) {
      const timer = loop.createTimer({ fallthrough: true }) as Timer;
      timer.set(() => fired.push(ms), ms);
      huge.push(timer);
    }
    for (const ms of [Number.MIN_VALUE, 1e-6, 1e-3, 0.5]) {
      loop.createTimer().set(() => fired.push(ms), ms);
    }
    await runLoop(loop, mode);
    assertEquals(fired.toSorted(), [Number.MIN_VALUE, 1e-6, 1e-3, 0.5].toSorted());
    for (const timer of huge) timer.close();
    loop.free();
  });

  nativeTest(
    `a tiny period neither stalls the loop nor is called twice for one time: ${mode}`,
    async () => {
      let iterations = 0;
      const loop = new Loop({ backend: epoll, onPre: () => iterations++ });
      let calls = 0;
      loop.createTimer().set(
        (timer) => {
          if (++calls === 1000) timer.close();
        },
        0,
        1e-9,
      );
      // Others get their turn meanwhile.
      let others = 0;
      loop.createTimer().set(
        (timer) => {
          if (++others === 3) timer.close();
        },
        0.1,
        0.1,
      );
      await runLoop(loop, mode);
      assertEquals([calls, others], [1000, 3]);
      assert(iterations > 1, `${iterations} iterations`);
      loop.free();
    },
  );

  nativeTest(`expiries that were missed are one, and the period is kept: ${mode}`, async () => {
    const loop = new Loop({ backend: epoll });
    const periodMs = 4;
    const start = performance.now();
    const at: number[] = [];
    loop.createTimer().set(
      (timer) => {
        at.push(performance.now() - start);
        if (at.length === 1) { while (performance.now() - start < 8 * periodMs + 1); // misses some
         }
        if (at.length === 4) timer.close();
      },
      periodMs,
      periodMs,
    );
    await runLoop(loop, mode);
    assertEquals(at.length, 4);
    // The second is the one of the missed ones; those behind it are on the beat again.
    assertGreaterOrEqual(at[1], 8 * periodMs);
    assertGreaterOrEqual(at[2], 9 * periodMs);
    assertGreaterOrEqual(at[3], at[2]);
    loop.free();
  });

  nativeTest(`handlers close, set and replace other timers that are due: ${mode}`, async () => {
    const loop = new Loop({ backend: epoll });
    const fired: string[] = [];
    const timers: Timer[] = [];
    const names = ["a", "b", "c", "d", "e"];
    atOneTime(() =>
      names.forEach((name, i) => {
        const timer = loop.createTimer() as Timer;
        timers.push(timer);
        timer.set(() => {
          fired.push(name);
          if (name === "a") {
            timers[1].close(); // due now, and does not fire
            timers[2].set(() => fired.push("c, later"), 5); // likewise, but later
            timers[3].set(() => fired.push("d, soon"), 1e-6);
            loop.createTimer().set(() => fired.push("new"), 1e-6);
          }
          timer.close(); // itself
        }, 1 + i * 1e-3);
      })
    );
    await runLoop(loop, mode);
    // What "a" set is due before or behind "e", as the clock has it; each fires once.
    assertEquals(fired[0], "a");
    assertEquals(fired.toSorted(), ["a", "c, later", "d, soon", "e", "new"]);
    assertEquals(fired.at(-1), "c, later");
    loop.free();
  });

  nativeTest(
    `a timer that is set over and over makes no iteration until it is due: ${mode}`,
    async () => {
      let iterations = 0;
      const loop = new Loop({ backend: epoll, onPre: () => iterations++ });
      const timer = loop.createTimer();
      for (let i = 0; i < 10_000; i++) timer.set(() => {}, 1000 + i);
      timer.set(() => {}, 20);
      await runLoop(loop, mode);
      assertLessOrEqual(iterations, 3); // one would do; the clock of timers may be a little behind
      loop.free();
    },
  );
}
