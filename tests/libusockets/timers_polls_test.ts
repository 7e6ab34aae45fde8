// The C header: timers, polls and constants.
// deno-lint-ignore-file camelcase -- the header's names
import { assertEquals, assertInstanceOf, assertStrictEquals, assertThrows } from "@std/assert";
import { type BackendOptions, READABLE, WRITABLE } from "@usockets/usockets";
import {
  LIBUS_EXT_ALIGNMENT,
  LIBUS_LISTEN_DEFAULT,
  LIBUS_LISTEN_EXCLUSIVE_PORT,
  LIBUS_LISTEN_REUSE_PORT,
  LIBUS_RECV_BUFFER_LENGTH,
  LIBUS_RECV_BUFFER_PADDING,
  LIBUS_SOCKET_ERROR,
  LIBUS_SOCKET_READABLE,
  LIBUS_SOCKET_WRITABLE,
  LIBUS_TIMEOUT_GRANULARITY,
  POLL_TYPE_CALLBACK,
  us_create_loop,
  us_create_poll,
  us_create_socket_context,
  us_create_timer,
  us_last_error,
  us_loop_ext,
  us_loop_free,
  us_poll_change,
  us_poll_events,
  us_poll_ext,
  us_poll_fd,
  us_poll_free,
  us_poll_init,
  us_poll_resize,
  us_poll_start,
  us_poll_stop,
  us_poll_t,
  us_socket_context_connect,
  us_socket_timeout,
  us_timer_close,
  us_timer_ext,
  us_timer_loop,
  us_timer_set,
  type us_timer_t,
} from "@usockets/usockets/libusockets";
import { close, pipe, read, socketPair, write } from "../support/native.ts";
import { onEach } from "./world.ts";

onEach("us_timer_set() calls back with the timer, once without repeat_ms", async (w) => {
  const calls: us_timer_t[] = [];
  const timer = us_create_timer(w.loop, 0, 16)!;
  assertEquals(us_timer_ext(timer), new Uint8Array(16));
  assertStrictEquals(us_timer_loop(timer), w.loop);
  us_timer_ext(timer)[0] = 1;
  us_timer_set(timer, (t) => calls.push(t), 1, 0);
  await w.run();
  assertEquals(calls.length, 1);
  assertStrictEquals(calls[0], timer);
  assertEquals(us_timer_ext(calls[0])[0], 1);
  us_timer_close(timer);
}, { plainTcp: true });

onEach("us_timer_set() repeats, until us_timer_close() in the callback itself", async (w) => {
  let calls = 0;
  const timer = us_create_timer(w.loop, 0, () => ({ left: 3 }))!;
  us_timer_set(
    timer,
    (t) => {
      calls++;
      if (--us_timer_ext<{ left: number }>(t).left === 0) us_timer_close(t);
    },
    1,
    1,
  );
  await w.run();
  assertEquals(calls, 3);
  assertThrows(() => us_timer_set(timer, () => {}, 1, 0), Deno.errors.BadResource);
  us_timer_close(timer); // twice does nothing
}, { plainTcp: true });

onEach("us_timer_set() with both times 0 disarms, and replaces what was set", async (w) => {
  const calls: string[] = [];
  const timer = us_create_timer(w.loop, 0, 0)!;
  const other = us_create_timer(w.loop, 0, 0)!;
  assertEquals(us_timer_ext<undefined>(timer), undefined);
  us_timer_set(timer, () => calls.push("disarmed"), 1, 1);
  us_timer_set(timer, () => calls.push("disarmed"), 0, 0);
  us_timer_set(other, () => calls.push("replaced"), 1, 0);
  us_timer_set(other, () => calls.push("other"), 2, 0);
  for (const [ms, repeat_ms] of [[-1, 0], [1, -1], [NaN, 0]]) {
    assertThrows(() => us_timer_set(timer, () => {}, ms, repeat_ms), RangeError);
  }
  w.after(10, () => {}); // time for the others to show
  await w.run();
  assertEquals(calls, ["other"]);
  us_timer_close(timer);
  us_timer_close(other);
}, { plainTcp: true });

onEach("us_create_timer() with fallthrough does not keep the loop running", async (w) => {
  let calls = 0;
  const fallthrough = us_create_timer(w.loop, 1, 0)!;
  const keeper = us_create_timer(w.loop, 0, 0)!;
  us_timer_set(fallthrough, () => void calls++, 3_600_000, 0);
  us_timer_set(keeper, () => void calls++, 1, 0);
  await w.run();
  assertEquals(calls, 1);
  us_timer_close(fallthrough);
  us_timer_close(keeper);
}, { plainTcp: true });

onEach("us_create_timer() is null when the system has none left", (w) => {
  const refused = new Error("Too many open files");
  w.loop.createTimer = () => {
    throw refused;
  };
  assertEquals(us_create_timer(w.loop, 0, 0), null);
  assertStrictEquals(us_last_error(w.loop), refused);
}, { plainTcp: true, blocking: false });

onEach("us_poll_start(), us_poll_change() and us_poll_stop() rule what is told", async (w) => {
  const [fd, peer] = socketPair();
  const told: number[] = [];
  const p = us_create_poll(w.loop, 0, 4);
  assertInstanceOf(p, us_poll_t);
  assertEquals(us_poll_events(p), 0);
  us_poll_init(p, fd, POLL_TYPE_CALLBACK, (poll, events) => {
    assertStrictEquals(poll, p);
    told.push(events);
    switch (told.length) {
      case 1:
        us_poll_change(p, w.loop, LIBUS_SOCKET_READABLE | LIBUS_SOCKET_WRITABLE);
        break;
      case 2:
        us_poll_change(p, w.loop, LIBUS_SOCKET_READABLE);
        break;
      case 3:
        assertEquals(read(fd).length, 1);
        us_poll_change(p, w.loop, LIBUS_SOCKET_WRITABLE);
        break;
      default:
        us_poll_stop(p, w.loop);
        assertEquals(us_poll_events(p), 0);
    }
  });
  assertEquals([us_poll_fd(p), us_poll_events(p)], [fd, 0]);
  write(peer, Uint8Array.of(1));
  us_poll_start(p, w.loop, LIBUS_SOCKET_READABLE);
  assertEquals(us_poll_events(p), LIBUS_SOCKET_READABLE);
  await w.run();
  const both = LIBUS_SOCKET_READABLE | LIBUS_SOCKET_WRITABLE;
  assertEquals(told, [LIBUS_SOCKET_READABLE, both, LIBUS_SOCKET_READABLE, LIBUS_SOCKET_WRITABLE]);
  us_poll_start(p, w.loop, LIBUS_SOCKET_WRITABLE); // goes on behind a stop
  await w.run();
  assertEquals(told.length, 5);
  assertThrows(() => us_poll_start(p, w.loop, 4), RangeError);
  us_poll_free(p, w.loop);
  us_poll_free(p, w.loop); // twice does nothing
  close(fd, peer); // which freeing left open
}, { plainTcp: true, backend: "epoll" });

onEach("us_poll_resize() keeps the poll going, and what its user data held", async (w) => {
  const [reading, writing] = pipe();
  const p = us_create_poll(w.loop, 0, 2);
  assertEquals(us_poll_ext(p), new Uint8Array(2));
  us_poll_ext(p).set([1, 2]);
  let calls = 0;
  us_poll_init(p, reading, POLL_TYPE_CALLBACK, (poll) => {
    calls++;
    assertStrictEquals(us_poll_resize(poll, w.loop, 4), poll);
    assertEquals(us_poll_ext(poll), Uint8Array.of(1, 2, 0, 0));
    assertEquals(us_poll_events(poll), LIBUS_SOCKET_READABLE);
    us_poll_resize(poll, w.loop, 1);
    assertEquals(us_poll_ext(poll), Uint8Array.of(1));
    if (calls === 2) us_poll_free(poll, w.loop);
    us_poll_resize(poll, w.loop, 2);
    us_poll_ext(poll)[1] = 2;
  });
  us_poll_start(p, w.loop, LIBUS_SOCKET_READABLE);
  write(writing, Uint8Array.of(1));
  await w.run();
  assertEquals(calls, 2);
  close(reading, writing);
}, { plainTcp: true, backend: "epoll" });

onEach("us_create_poll() with fallthrough does not keep the loop running", async (w) => {
  const [reading, writing] = pipe();
  const p = us_create_poll(w.loop, 1, 0);
  us_poll_init(p, reading, POLL_TYPE_CALLBACK, () => {});
  us_poll_start(p, w.loop, LIBUS_SOCKET_READABLE);
  await w.run();
  us_poll_free(p, w.loop);
  close(reading, writing);
}, { plainTcp: true, backend: "epoll" });

onEach("us_poll_init() again gives the poll another descriptor, and stops the first", async (w) => {
  const [first, second] = [pipe(), pipe()];
  const told: string[] = [];
  const p = us_create_poll(w.loop, 0, 0);
  us_poll_init(p, first[0], POLL_TYPE_CALLBACK, () => told.push("first"));
  us_poll_start(p, w.loop, LIBUS_SOCKET_READABLE);
  write(first[1], Uint8Array.of(1));
  us_poll_init(p, second[0], POLL_TYPE_CALLBACK, () => {
    told.push("second");
    us_poll_free(p, w.loop);
  });
  assertEquals([us_poll_fd(p), us_poll_events(p)], [second[0], 0]);
  us_poll_start(p, w.loop, LIBUS_SOCKET_READABLE);
  write(second[1], Uint8Array.of(1));
  await w.run();
  assertEquals(told, ["second"]);
  close(...first, ...second);
}, { plainTcp: true, backend: "epoll" });

onEach("us_poll_init() comes first, and takes no poll of a socket", (w) => {
  const p = us_create_poll(w.loop, 0, 0);
  const uninitialized = Deno.errors.BadResource;
  assertThrows(
    () => us_poll_start(p, w.loop, LIBUS_SOCKET_READABLE),
    uninitialized,
    "us_poll_init",
  );
  assertThrows(() => us_poll_change(p, w.loop, LIBUS_SOCKET_READABLE), uninitialized);
  assertThrows(() => us_poll_fd(p), uninitialized);
  us_poll_stop(p, w.loop); // does nothing
  for (const type of [0, 1, 2, 4]) {
    assertThrows(() => us_poll_init(p, 0, type, () => {}), TypeError, "POLL_TYPE_CALLBACK");
  }
  us_poll_free(p, w.loop);
}, { plainTcp: true, blocking: false });

onEach("us_poll_init() throws NotSupported where there are no descriptors", (w) => {
  const p = us_create_poll(w.loop, 0, 0);
  assertThrows(() => us_poll_init(p, 0, POLL_TYPE_CALLBACK, () => {}), Deno.errors.NotSupported);
  assertEquals(us_poll_events(p), 0);
}, { plainTcp: true, backend: "deno" });

Deno.test("LIBUS_* and POLL_TYPE_CALLBACK have the header's values", () => {
  assertEquals([LIBUS_LISTEN_DEFAULT, LIBUS_LISTEN_EXCLUSIVE_PORT, LIBUS_LISTEN_REUSE_PORT], [
    0,
    1,
    4,
  ]);
  assertEquals([LIBUS_SOCKET_READABLE, LIBUS_SOCKET_WRITABLE], [READABLE, WRITABLE]);
  assertEquals([LIBUS_SOCKET_ERROR, POLL_TYPE_CALLBACK], [-1, 3]);
});

onEach("LIBUS_* say what a loop of us_create_loop() does", (w) => {
  let given: BackendOptions | undefined;
  const loop = us_create_loop(
    (loop, options) => {
      given = options;
      return w.transport.backend(loop, options);
    },
    null,
    null,
    null,
    64,
  );
  assertEquals(given!.recvBufferBytes, LIBUS_RECV_BUFFER_LENGTH);
  assertEquals(us_loop_ext(loop).byteOffset % LIBUS_EXT_ALIGNMENT, 0);
  assertEquals(LIBUS_RECV_BUFFER_PADDING, 0);
  // Timeouts are looked at twice in the time that they may be late.
  const ticks: number[] = [];
  const createTimer = loop.createTimer.bind(loop);
  loop.createTimer = (options) => {
    const timer = createTimer(options);
    const set = timer.set.bind(timer);
    timer.set = (callback, ms, repeatMs) => {
      ticks.push(ms);
      set(callback, ms, repeatMs);
    };
    return timer;
  };
  const context = us_create_socket_context(0, loop, 0, {})!;
  us_socket_timeout(0, us_socket_context_connect(0, context, null, 1, 0, 0)!, 1);
  assertEquals(ticks, [LIBUS_TIMEOUT_GRANULARITY * 1000 / 2]);
  us_loop_free(loop);
}, { plainTcp: true, blocking: false });
