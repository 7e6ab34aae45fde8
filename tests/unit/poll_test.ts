/** Poll: what the core decides, with a backend that only takes notes. */
import { assertEquals, assertThrows } from "@std/assert";
import { type CoreLoop, Loop, Poll, READABLE, WRITABLE } from "@usockets/usockets";

class NotedPoll<T> extends Poll<T> {
  readonly updates: [number, number][] = [];

  protected override update(before: number, events: number): void {
    if (events === (READABLE | WRITABLE)) throw new Deno.errors.NotSupported("not both");
    this.updates.push([before, events]);
  }

  fire(events: number): void {
    this.ready(events);
  }
}

Deno.test("Poll starts, changes, stops and is freed", () => {
  using loop = new Loop();
  const ready: [string, number][] = [];
  const poll = new NotedPoll(loop as CoreLoop, 7, {
    ext: "name",
    onReady: (poll, events) => ready.push([poll.ext, events]),
  });
  assertEquals([poll.fd, poll.ext, poll.events, poll.loop], [7, "name", 0, loop]);
  poll.fire(READABLE);
  assertEquals(ready, [], "an event after stop() is dropped");
  poll.start(READABLE);
  poll.fire(READABLE);
  poll.change(WRITABLE);
  poll.change(WRITABLE);
  assertEquals([poll.events, loop.isActive], [WRITABLE, true]);
  assertThrows(() => poll.change(READABLE | WRITABLE), Deno.errors.NotSupported);
  assertEquals(poll.events, WRITABLE, "what the backend refused changes nothing");
  poll.stop();
  poll.stop();
  assertEquals([poll.events, loop.isActive], [0, false]);
  poll.start(READABLE);
  poll.free();
  poll.free();
  poll.stop();
  assertEquals(loop.isActive, false);
  assertThrows(
    () => poll.start(READABLE),
    Deno.errors.BadResource,
    "Cannot start a poll: it is freed",
  );
  assertEquals(ready, [["name", READABLE]]);
  assertEquals(poll.updates, [[0, 1], [1, 2], [2, 0], [0, 1], [1, 0]]);
});

Deno.test("Poll that falls through does not keep the loop running", () => {
  using loop = new Loop();
  const poll = new NotedPoll(loop as CoreLoop, 7, { fallthrough: true, onReady: () => {} });
  poll.start(READABLE);
  assertEquals(loop.isActive, false);
});

Deno.test("Poll refuses events that are none", () => {
  using loop = new Loop();
  const poll = new NotedPoll(loop as CoreLoop, 7, { onReady: () => {} });
  assertThrows(
    () => poll.start(4),
    RangeError,
    '"events" must be READABLE, WRITABLE or both, not 4',
  );
});

Deno.test("Poll whose callback throws reports it to onError", () => {
  const errors: unknown[] = [];
  using loop = new Loop({ onError: (error) => errors.push(error) });
  const poll = new NotedPoll(loop as CoreLoop, 7, {
    onReady: () => {
      throw new Error("mine");
    },
  });
  poll.start(READABLE);
  poll.fire(READABLE);
  assertEquals(errors.map(String), ["Error: mine"]);
});
