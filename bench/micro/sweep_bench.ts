/**
 * What timeouts cost: setting them, and the sweep that looks for those that are due. The sockets are
 * of no connection and the timer expires when it is told to.
 * @module
 */
import type { Handlers, Socket } from "@usockets/usockets";
import { World } from "../../tests/support/fake_loop.ts";
import { bench } from "./support/measure.ts";

const group = "timeouts";

/** An hour: nothing is due while this runs. */
const SECONDS = 3600;

/** A loop of so many sockets that all have a timeout, set in the order that is asked for. */
function crowd(count: number, handlers: Handlers = {}, order = (_sockets: Socket[]) => {}) {
  const world = new World(handlers);
  const sockets = Array.from({ length: count }, () => world.open("", world.context));
  order(sockets);
  for (const socket of sockets) socket.timeout(SECONDS);
  const [timer] = world.timers;
  timer.expire(); // begins all of them: later sweeps find deadlines
  return { sockets, timer };
}

// What is expensive to make is made by the first run, so that --filter leaves it out.
function lazy<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => made ??= make();
}

function benchSweep(name: string, times: number, make: () => ReturnType<typeof crowd>): void {
  const crowded = lazy(make);
  bench({
    group,
    name,
    times,
    run(times) {
      const { sockets, timer } = crowded();
      for (let i = 0; i < times; i++) {
        sockets[0].timeout(SECONDS); // without a change a tick looks at nobody
        timer.expire();
      }
    },
  });
}

benchSweep("sweep of 1,000 sockets, none due", 100, () => crowd(1000));
benchSweep("sweep of 100,000 sockets, none due", 1, () => crowd(100_000));
benchSweep("sweep of 100,000 sockets, scattered", 1, () => crowd(100_000, {}, scatter));

/**
 * Sockets that were made one after another lie so in memory, and a walk has the next one in the
 * cache. Where connections have come and gone for a while, they lie anywhere: this is what a server
 * that runs has.
 */
function scatter(sockets: Socket[]): void {
  let random = 1;
  for (let i = sockets.length - 1; i > 0; i--) {
    random = Math.imul(random, 1_103_515_245) + 12_345 >>> 1; // the same order in each round
    const j = random % (i + 1);
    [sockets[i], sockets[j]] = [sockets[j], sockets[i]];
  }
  for (const socket of sockets) {
    socket.context.unlink(socket);
    socket.context.link(socket);
  }
}

let due = 0;
const expiring = lazy(() => crowd(1000, { onTimeout: () => void due++ }));

bench({
  group,
  name: "sweep of 1,000 sockets, 1 % due",
  times: 100,
  run(times) {
    const { sockets, timer } = expiring();
    for (let i = 0; i < times; i++) {
      for (let j = 0; j < sockets.length; j += 100) expireNow(sockets[j]);
      timer.expire();
    }
  },
});

/** Sets a timeout, and has its deadline passed already. */
function expireNow(socket: Socket): void {
  socket.timeout(SECONDS);
  socket.context.loop.sweep.short.times[socket.slot] = 0;
}

const setting = lazy(() => crowd(1000));

bench({
  group,
  name: "timeout() of one socket after another",
  times: 10_000,
  run(times) {
    const { sockets } = setting();
    for (let i = 0; i < times; i++) sockets[i % sockets.length].timeout(30);
  },
});

bench({
  group,
  name: "timeout() again, in the same tick",
  times: 10_000,
  run(times) {
    const [socket] = setting().sockets;
    for (let i = 0; i < times; i++) socket.timeout(30);
  },
});
