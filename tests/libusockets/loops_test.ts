// The C header: loops, on both backends and in all ways of running.
import {
  assert,
  assertEquals,
  assertGreater,
  assertInstanceOf,
  assertRejects,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { CloseCode, denoConn } from "@usockets/usockets";
import {
  us_create_loop,
  us_create_socket_context,
  us_create_timer,
  us_last_error,
  us_loop_ext,
  us_loop_free,
  us_loop_integrate,
  us_loop_iteration_number,
  us_loop_run,
  type us_loop_t,
  us_socket_context_listen,
  us_socket_context_on_close,
  us_socket_local_port,
  us_timer_close,
  us_timer_set,
  us_wakeup_loop,
} from "@usockets/usockets/libusockets";
import { onEach, type World } from "./world.ts";

/** What `us_create_loop` takes for this combination. */
function hintOf(w: World) {
  return w.transport.backend === denoConn ? null : w.transport.backend;
}

onEach("us_create_loop() calls back with the loop: wakeup_cb, pre_cb, post_cb", async (w) => {
  const calls: string[] = [];
  const note = (what: string) => (loop: us_loop_t) => {
    assertStrictEquals(loop, made);
    calls.push(what);
  };
  const made: us_loop_t = us_create_loop(
    hintOf(w),
    (loop) => {
      note("wakeup")(loop);
      us_timer_close(keeper);
    },
    note("pre"),
    note("post"),
    0,
  );
  assertEquals(made.backendName, w.isEpoll ? "epoll" : "deno");
  const keeper = us_create_timer(made, 0, 0)!;
  us_timer_set(keeper, () => us_wakeup_loop(made), 1, 0);
  const holder = us_create_timer(made, 0, 0)!;
  us_timer_set(holder, () => calls.includes("wakeup") && us_timer_close(holder), 1, 1);
  await w.run(made);
  us_loop_free(made);
  assertEquals(calls.filter((call) => call === "wakeup").length, 1);
  assertEquals(calls[0], "pre");
  assertEquals(calls.at(-1), "post");
  const around = calls.filter((call) => call !== "wakeup");
  assertEquals(around, around.map((_, i) => i % 2 === 0 ? "pre" : "post"));
}, { plainTcp: true });

onEach("us_loop_ext() is as large as asked for, zeroed, and the loop's own", async (w) => {
  const loops = [16, 16, 3].map((size) => us_create_loop(hintOf(w), null, null, null, size));
  const [first, second, third] = loops.map((loop) => us_loop_ext(loop));
  assertEquals([first, second, third], [16, 16, 3].map((size) => new Uint8Array(size)));
  first[0] = 1;
  assertEquals(us_loop_ext(loops[0])[0], 1);
  assertEquals(second[0], 0);
  for (const loop of loops) await w.run(loop); // which has nothing to do, and no callback to call
  loops.forEach(us_loop_free);
}, { plainTcp: true });

onEach("us_loop_ext() of size 0 is nothing, of a function what it makes", (w) => {
  const none = us_create_loop(hintOf(w), null, null, null, 0);
  assertEquals(us_loop_ext<undefined>(none), undefined);
  const made = us_create_loop(hintOf(w), null, null, null, () => new Map([["key", 1]]));
  assertEquals(us_loop_ext<Map<string, number>>(made).get("key"), 1);
  us_loop_free(none);
  us_loop_free(made);
}, { plainTcp: true, blocking: false });

onEach("us_loop_run() ends when nothing is left, and may be called again", async (w) => {
  const timer = us_create_timer(w.loop, 0, 0)!;
  for (const round of [1, 2]) {
    let fired = 0;
    us_timer_set(timer, () => void fired++, 1, 0);
    const ended = us_loop_run(w.loop);
    // On epoll it blocked: all is done before anybody awaits it.
    assertEquals(fired, w.isEpoll ? 1 : 0, `round ${round}`);
    await ended;
    assertEquals(fired, 1, `round ${round}`);
  }
  us_timer_close(timer);
}, { plainTcp: true });

onEach("us_loop_run() rejects for a loop that runs, and one that is freed", async (w) => {
  const inside: Promise<unknown>[] = [];
  w.after(1, () => inside.push(assertRejects(() => us_loop_run(w.loop), Deno.errors.Busy)));
  await w.run();
  assertEquals(inside.length, 1);
  await Promise.all(inside);
  us_loop_free(w.loop);
  await assertRejects(() => us_loop_run(w.loop), Deno.errors.BadResource);
}, { plainTcp: true });

onEach("us_loop_integrate() delivers beside the rest of Deno", async (w) => {
  us_loop_integrate(w.loop);
  assertThrows(() => us_loop_integrate(w.loop), Deno.errors.Busy);
  for (let round = 0; round < 2; round++) {
    await new Promise<void>((resolve) => w.after(1, resolve));
  }
}, { plainTcp: true, blocking: false });

onEach("us_loop_iteration_number() counts up by one with each pre_cb", async (w) => {
  const numbers: number[] = [];
  const loop = us_create_loop(
    hintOf(w),
    null,
    (loop) => void numbers.push(us_loop_iteration_number(loop)),
    (loop) => assertEquals(us_loop_iteration_number(loop), numbers.at(-1)),
    0,
  );
  assertEquals(us_loop_iteration_number(loop), 0);
  const timer = us_create_timer(loop, 0, 0)!;
  us_timer_set(timer, () => numbers.length > 2 && us_timer_close(timer), 1, 1);
  await w.run(loop);
  us_loop_free(loop);
  assertEquals(numbers, numbers.map((_, i) => i + 1));
  assertGreater(numbers.length, 2);
}, { plainTcp: true });

onEach("us_wakeup_loop() takes a wakeupHandle in a Worker", async (w) => {
  let calls = 0;
  const loop = us_create_loop(
    hintOf(w),
    () => {
      calls++;
      us_timer_close(keeper);
    },
    null,
    null,
    0,
  );
  const keeper = us_create_timer(loop, 0, 0)!;
  us_timer_set(keeper, () => {}, 3_600_000, 0);
  const worker = new Worker(import.meta.resolve("./wakeup_worker.js"), { type: "module" });
  const message = () =>
    new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => {
        event.preventDefault();
        reject(new Error(event.message));
      };
    });
  assertEquals(await message(), "ready");
  const done = message();
  worker.postMessage(loop.wakeupHandle);
  await w.run(loop);
  assertEquals(await done, "done");
  assertEquals(calls, 1);
  us_loop_free(loop);
  const again = message();
  worker.postMessage(loop.wakeupHandle);
  assertEquals(await again, "done"); // which did nothing
  assertEquals(calls, 1);
  worker.terminate();
}, { plainTcp: true });

onEach("us_loop_free() closes what is open, and nothing can be begun after it", async (w) => {
  const closed: unknown[] = [];
  const { client, server } = w.pair(() => us_loop_free(w.loop));
  for (const context of [client, server]) {
    us_socket_context_on_close(w.ssl, context, (_s, code) => closed.push(code));
  }
  await w.run();
  assertEquals(closed, [CloseCode.Freed, CloseCode.Freed]);
  assertThrows(() => us_create_socket_context(0, w.loop, 0, {}), Deno.errors.BadResource);
  assertThrows(() => us_create_timer(w.loop, 0, 0), Deno.errors.BadResource);
  us_loop_free(w.loop); // twice does nothing
});

onEach("us_last_error() tells of its own loop, and stays until the next", (w) => {
  const other = us_create_loop(hintOf(w), null, null, null, 0);
  const context = us_create_socket_context(0, w.loop, 0, {})!;
  assertEquals(us_last_error(w.loop), null);
  const ls = us_socket_context_listen(0, context, "127.0.0.1", 0, 0, 0)!;
  const port = us_socket_local_port(0, ls);
  assertEquals(us_socket_context_listen(0, context, "127.0.0.1", port, 0, 0), null);
  const error = us_last_error(w.loop);
  assertInstanceOf(error, Deno.errors.AddrInUse);
  assert(error.message.includes(`127.0.0.1:${port}`), error.message);
  assertThrows(() => us_socket_context_listen(0, context, null, -1, 0, 0), RangeError);
  assertStrictEquals(us_last_error(w.loop), error); // a mistake throws, and is not kept
  // TEST-NET-1 is no address of any machine.
  assertEquals(us_socket_context_listen(0, context, "192.0.2.1", 0, 0, 0), null);
  assertInstanceOf(us_last_error(w.loop), Deno.errors.AddrNotAvailable);
  assertEquals(us_last_error(other), null);
  us_loop_free(other);
}, { plainTcp: true, blocking: false });
