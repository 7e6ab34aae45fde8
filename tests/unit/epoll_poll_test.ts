// Polls of the epoll backend: eventfds, pipes, sockets.
import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { epoll, Loop, type LoopOptions, type Poll, READABLE, WRITABLE } from "@usockets/usockets";
import { EFD_CLOEXEC, EFD_NONBLOCK } from "../../ffi/constants.ts";
import { openLibc } from "../../ffi/libc.ts";
import {
  close,
  modes,
  nativeTest,
  pipe,
  read,
  runLoop,
  socketPair,
  write,
} from "../support/native.ts";

function epollLoop(options: LoopOptions = {}): Loop {
  return new Loop({ backend: epoll, ...options });
}

function eventfd(): number {
  return openLibc().eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

const one = new Uint8Array(new BigUint64Array([1n]).buffer);
const byte = new Uint8Array(1);

for (const mode of modes) {
  nativeTest(
    `a poll of an eventfd tells when it is readable, and when writable: ${mode}`,
    async () => {
      const fd = eventfd();
      const loop = epollLoop();
      const events: number[] = [];
      const poll = loop.createPoll(fd, {
        ext: "mine",
        onReady(poll, ready) {
          assertEquals([poll.ext, poll.fd, poll.loop], ["mine", fd, loop]);
          events.push(ready);
          if (events.length === 1) { // READABLE alone was asked for
            poll.change(READABLE | WRITABLE);
          } else if (events.length === 2) {
            read(fd, 8);
          } else if (events.length === 3) {
            poll.change(WRITABLE);
          } else {
            poll.stop();
          }
        },
      });
      assertEquals(poll.events, 0);
      write(fd, one);
      poll.start(READABLE);
      assertEquals(poll.events, READABLE);
      await runLoop(loop, mode);
      assertEquals(events, [READABLE, READABLE | WRITABLE, WRITABLE, WRITABLE]);
      poll.free();
      loop.free();
      close(fd); // stopping and freeing left it open
    },
  );

  nativeTest(
    `a poll is level-triggered, starts again, and is freed in its handler: ${mode}`,
    async () => {
      const [reading, writing] = pipe();
      const loop = epollLoop();
      let calls = 0, last = 0;
      const poll = loop.createPoll(reading, {
        onReady(poll, ready) {
          last = ready;
          if (++calls % 3 === 0) poll.stop(); // what is not read is told again and again
          if (calls === 6) poll.free();
        },
      });
      write(writing, byte);
      for (const expected of [3, 6]) {
        poll.start(READABLE);
        await runLoop(loop, mode);
        assertEquals([calls, poll.events, last], [expected, 0, READABLE]);
      }
      assertThrows(() => poll.start(READABLE), Deno.errors.BadResource);
      assertEquals(loop.polls.size, 0);
      loop.free();
      close(reading, writing);
    },
  );

  nativeTest(`a hang-up alone is told as 0: ${mode}`, async () => {
    const loop = epollLoop();
    const told: number[] = [];
    // The reading end of a pipe without a writer, and the writing end of one without a reader.
    for (const end of [0, 1]) {
      const ends = pipe();
      const poll = loop.createPoll(ends[end], {
        onReady(poll, ready) {
          told.push(ready);
          poll.free();
        },
      });
      close(ends[1 - end]);
      poll.start(end === 0 ? READABLE : WRITABLE);
      await runLoop(loop, mode);
      close(ends[end]);
    }
    assertEquals(told, [0, WRITABLE]); // the write would not block: it fails
    const [ours, theirs] = socketPair();
    const poll = loop.createPoll(ours, {
      onReady(poll, ready) {
        told.push(ready);
        poll.stop();
      },
    });
    poll.start(READABLE | WRITABLE);
    close(theirs);
    await runLoop(loop, mode);
    assertEquals(told[2], READABLE | WRITABLE); // the end can be read
    poll.free();
    close(ours);
    loop.free();
  });

  nativeTest(`polls are stopped and freed in each other's handlers: ${mode}`, async () => {
    const loop = epollLoop();
    const fds = Array.from({ length: 6 }, eventfd);
    const told: number[] = [];
    const polls: Poll[] = fds.map((fd, i) =>
      loop.createPoll(fd, {
        onReady() {
          told.push(i);
          // All are ready in this one batch; none of the others may be told any more.
          polls.forEach((poll, j) => j % 2 === 0 ? poll.free() : poll.stop());
        },
      }) as Poll
    );
    for (const fd of fds) write(fd, one);
    for (const poll of polls) poll.start(READABLE);
    await runLoop(loop, mode);
    assertEquals(told.length, 1);
    loop.free();
    close(...fds);
  });
}

nativeTest("a fallthrough poll is served, and does not keep the loop running", async () => {
  const loop = epollLoop();
  const fd = eventfd();
  let calls = 0;
  const poll = loop.createPoll(fd, {
    fallthrough: true,
    onReady() {
      calls++;
      read(fd, 8);
    },
  });
  poll.start(READABLE);
  for (const mode of modes) {
    calls = 0;
    write(fd, one);
    assertEquals(loop.isActive, false);
    const timer = loop.createTimer();
    timer.set(() => (calls === 0 ? undefined : timer.close()), 1, 1);
    await runLoop(loop, mode);
    assertEquals(calls, 1);
  }
  loop.free();
  close(fd);
});

nativeTest("a second poll of a descriptor in one loop is Busy, in another it is not", async () => {
  const loop = epollLoop(), other = epollLoop();
  const fd = eventfd();
  const told: string[] = [];
  const pollOf = (loop: Loop, name: string) =>
    loop.createPoll(fd, {
      onReady(poll) {
        told.push(name);
        poll.free();
      },
    });
  const first = pollOf(loop, "first"), second = pollOf(loop, "second");
  const third = pollOf(other, "third");
  first.start(READABLE);
  assertThrows(
    () => second.start(READABLE),
    Deno.errors.Busy,
    `Cannot start a poll: descriptor ${fd} is watched by this loop already`,
  );
  assertEquals(second.events, 0);
  third.start(READABLE);
  write(fd, one);
  await Promise.all([runLoop(loop), runLoop(other)]);
  assertEquals(told.toSorted(), ["first", "third"]);
  second.start(READABLE); // now it may
  await runLoop(loop);
  assertEquals(told[2], "second");
  loop.free();
  other.free();
  close(fd);
});

nativeTest("what cannot be watched is refused, and changes nothing", () => {
  const loop = epollLoop();
  using file = Deno.openSync(new URL(import.meta.url));
  const fds = new Set([...Deno.readDirSync("/proc/self/fd")].map(({ name }) => Number(name)));
  const closed = eventfd();
  close(closed);
  const regular = [...fds].find((fd) => {
    try {
      return Deno.readLinkSync(`/proc/self/fd/${fd}`) === new URL(import.meta.url).pathname;
    } catch {
      return false; // the directory's own
    }
  })!;
  const start = (fd: number) => loop.createPoll(fd, { onReady() {} }).start(READABLE);
  const error = assertThrows(() => start(regular), Deno.errors.PermissionDenied);
  assert(error.message.startsWith(`Cannot watch descriptor ${regular}: `), error.message);
  assertEquals((error as Error & { code: string }).code, "EPERM");
  assertThrows(() => start(closed), Deno.errors.BadResource, `Cannot watch descriptor ${closed}`);
  for (const fd of [-1, 1.5, NaN, "3"]) {
    assertThrows(() => loop.createPoll(fd as number, { onReady() {} }), RangeError);
  }
  // @ts-expect-error -- no handler
  assertThrows(() => loop.createPoll(0, {}), TypeError);
  assertEquals([loop.isActive, [...loop.polls].every(({ events }) => events === 0)], [false, true]);
  loop.free();
  file.statSync(); // and the file is open still
});

nativeTest(
  "a descriptor that its owner closed is told no more, and its number may be reused",
  async () => {
    for (const mode of modes) {
      const loop = epollLoop();
      const told: string[] = [];
      const fd = eventfd();
      const gone = loop.createPoll(fd, { onReady: () => void told.push("gone") });
      gone.start(READABLE);
      close(fd);
      const next = eventfd();
      assertEquals(next, fd); // the lowest free number
      gone.free(); // of what was there before
      const poll = loop.createPoll(next, {
        onReady(poll) {
          told.push("next");
          poll.free();
        },
      });
      poll.start(READABLE);
      write(next, one);
      await runLoop(loop, mode);
      assertEquals(told, ["next"]);
      loop.free();
      close(next);
    }
  },
);

nativeTest(
  "a number that was reused while the first poll still has it can be polled again",
  async () => {
    const loop = epollLoop();
    const told: string[] = [];
    const fd = eventfd();
    const gone = loop.createPoll(fd, { onReady: () => void told.push("gone") });
    gone.start(READABLE);
    close(fd);
    assertEquals(eventfd(), fd);
    write(fd, one);
    // change() on a number that the selector no longer has must not pass in silence.
    assertThrows(() => gone.change(READABLE | WRITABLE), Error);
    gone.free();
    await runLoop(loop);
    assertEquals(told, []);
    loop.free();
    close(fd);
  },
);

nativeTest("what onReady throws goes to onError, and the poll goes on", async () => {
  const errors: unknown[] = [];
  const loop = epollLoop({ onError: (error) => void errors.push(error) });
  const fd = eventfd();
  write(fd, one);
  loop.createPoll(fd, {
    onReady(poll) {
      if (errors.length === 2) return poll.free();
      throw new Error("mine");
    },
  }).start(READABLE);
  await runLoop(loop);
  assertEquals(errors.length, 2);
  assertInstanceOf(errors[0], Error);
  loop.free();
  close(fd);
});
