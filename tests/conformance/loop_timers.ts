/** Timers of a loop. */
import { assert, assertEquals, assertGreaterOrEqual, assertThrows, fail } from "@std/assert";
import { after } from "../support/pairs.ts";
import type { Behaviours } from "./fixture.ts";

export const loopTimers: Behaviours = (behaviour) => {
  behaviour("a timer fires once, not before its time, with itself as the argument", async (t) => {
    const timer = t.loop.createTimer({ ext: { ticks: 0 } });
    const start = performance.now();
    timer.set((same) => {
      same.ext.ticks++;
      assertEquals(same === timer, true);
      assertGreaterOrEqual(performance.now() - start, 19.9);
    }, 20);
    after(t, 60, () => {});
    await t.run();
    assertEquals(timer.ext.ticks, 1);
    assertEquals(timer.loop === t.loop, true);
    assertEquals(t.loop.createTimer().ext, undefined);
  });

  behaviour("a timer repeats until it is closed, also in its own callback", async (t) => {
    const times: number[] = [];
    const start = performance.now();
    t.loop.createTimer().set(
      (timer) => {
        times.push(performance.now() - start);
        if (times.length < 5) return;
        timer.close();
        timer.close();
        assertThrows(() => timer.set(() => {}, 1), Deno.errors.BadResource, "Cannot set a timer: ");
      },
      20,
      3,
    );
    let immediate = 0;
    t.loop.createTimer().set(
      (timer) => {
        if (++immediate === 3) timer.set(() => fail("a disarmed timer fired"), 0, 0);
      },
      0,
      3,
    );
    await t.run();
    assertEquals([times.length, immediate], [5, 3]);
    assertGreaterOrEqual(times[0], 19.9);
  });

  behaviour("setting a timer again replaces what was set", async (t) => {
    const fired: string[] = [];
    const start = performance.now();
    const later = t.loop.createTimer(), sooner = t.loop.createTimer();
    const once = t.loop.createTimer(), never = t.loop.createTimer();
    later.set(() => fail("the first setting of a timer fired"), 2, 2);
    later.set(() => {
      fired.push("later");
      assertGreaterOrEqual(performance.now() - start, 39.9);
    }, 40);
    sooner.set(() => fail("the first setting of a timer fired"), 3_600_000);
    sooner.set(() => void fired.push("sooner"), 2);
    once.set(
      () => {
        fired.push("repeated");
        once.set(() => void fired.push("once"), 2);
      },
      2,
      2,
    );
    never.set(() => fail("a disarmed timer fired"), 2, 2);
    never.set(() => fail("a disarmed timer fired"), 0, 0);
    await t.run();
    assertEquals(fired.sort(), ["later", "once", "repeated", "sooner"]);
  });

  behaviour("a timer can set itself again, or another one, as often as it likes", async (t) => {
    let ticks = 0, tocks = 0;
    const other = t.loop.createTimer();
    const tick = () => {
      if (++ticks === 10) return;
      other.set(tock, 1);
    };
    const timer = t.loop.createTimer();
    const tock = () => {
      tocks++;
      timer.set(tick, 1);
    };
    timer.set(tick, 1);
    await t.run();
    assertEquals([ticks, tocks], [10, 9]);
  });

  behaviour("a timer closed or disarmed when it is due already does not fire", async (t) => {
    // Both are due when this thread looks again; whichever comes first stops the other.
    for (const stop of ["close", "disarm"] as const) {
      let fired = 0;
      const timers = [t.loop.createTimer(), t.loop.createTimer()];
      timers.forEach((timer, i) =>
        timer.set(() => {
          fired++;
          const other = timers[1 - i];
          if (stop === "close") other.close();
          else other.set(() => fail("a disarmed timer fired"), 0);
        }, 5)
      );
      after(t, 1, () => {
        const until = performance.now() + 20;
        while (performance.now() < until);
      });
      await t.run();
      assertEquals(fired, 1, stop);
    }
  });

  behaviour("expiries that a timer had no time for are one call", async (t) => {
    const iterations: number[] = [];
    const start = performance.now();
    t.loop.createTimer().set(
      (timer) => {
        iterations.push(t.loop.iterationNumber);
        if (iterations.length === 3) timer.close();
      },
      2,
      2,
    );
    after(t, 1, () => {
      const until = performance.now() + 50;
      while (performance.now() < until);
    });
    await t.run();
    assertEquals(new Set(iterations).size, iterations.length);
    assertGreaterOrEqual(performance.now() - start, 50);
  });

  behaviour("timers of more than 24 days do not fire at once", async (t) => {
    for (const ms of [2 ** 31 - 1, 2 ** 31, 2 ** 32 + 5, 1e15]) {
      const once = t.loop.createTimer({ fallthrough: true });
      once.set(() => fail(`a timer of ${ms} ms fired`), ms);
      const repeated = t.loop.createTimer({ fallthrough: true });
      let fired = 0;
      repeated.set(() => void (++fired > 1 && fail(`a timer repeated every ${ms} ms did`)), 1, ms);
    }
    after(t, 40, () => {});
    await t.run();
  });

  behaviour("a timer whose callback throws reports it and goes on", async (t) => {
    t.expectsErrors = true;
    let ticks = 0;
    t.loop.createTimer().set(
      (timer) => {
        if (++ticks === 3) timer.close();
        throw new Error(`tick ${ticks}`);
      },
      1,
      1,
    );
    await t.run();
    assertEquals(t.errors.map((error) => (error as Error).message), ["tick 1", "tick 2", "tick 3"]);
  });

  behaviour("a timer refuses what is no time, and stays as it was", async (t) => {
    let fired = 0;
    {
      using timer = t.loop.createTimer();
      timer.set(() => void fired++, 5);
      for (const wrong of [-1, NaN, -Infinity]) {
        assertThrows(() => timer.set(() => fail("wrong"), wrong), RangeError, "Cannot set a timer");
        assertThrows(() => timer.set(() => fail("wrong"), 5, wrong), RangeError);
      }
      await t.run();
      assertEquals(fired, 1);
      timer.set(() => fail("a disposed timer fired"), 1);
    } // disposes it
    after(t, 10, () => {});
    await t.run();
  });

  behaviour("a hundred timers fire in the order of their times", async (t) => {
    // Due between two times, as setting it takes a while on a machine that is busy.
    const fired: { from: number; to: number; iteration: number }[] = [];
    for (let i = 0; i < 100; i++) {
      const ms = 1 + i * 37 % 100;
      const due = { from: performance.now() + ms, to: 0, iteration: 0 };
      after(t, ms, () => {
        due.iteration = t.loop.iterationNumber;
        fired.push(due);
      });
      due.to = performance.now() + ms;
    }
    await t.run();
    assertEquals(fired.length, 100);
    let latest = 0, latestBefore = 0, iteration = 0;
    for (const due of fired) {
      if (due.iteration !== iteration) latestBefore = latest;
      iteration = due.iteration;
      latest = Math.max(latest, due.from);
      assert(due.to + 2 >= latestBefore, "a timer overtook another by more than its precision");
    }
  });
};
