/**
 * What the core adds to an event: from the backend's call of the dispatcher into the user's handler.
 * The sockets are of no connection, so that no system call is in it.
 * @module
 */
// deno-lint-ignore-file require-await -- a promise that nobody awaits is what an async handler costs
import type { Handlers, Socket } from "@usockets/usockets";
import * as dispatch from "../../src/dispatch.ts";
import { CONNECTING, OPENED, WANTS_WRITABLE } from "../../src/socket_state.ts";
import { FakeSocket, World } from "../../tests/support/fake_loop.ts";
import { bench } from "./support/measure.ts";

const group = "dispatch";
const bytes = new Uint8Array(64);

/** What handlers count, so that they do something. */
let calls = 0;

const SYNC: Handlers<unknown> = {
  onData: () => void calls++,
  onWritable: () => void calls++,
};

// Handlers are to return nothing; TypeScript lets an async one pass, and programs have them.
const ASYNC: Handlers<unknown> = {
  onData: async () => void calls++,
  onWritable: async () => void calls++,
};

function socketOf(handlers: Handlers<unknown>): Socket {
  return new World(handlers as Handlers).open();
}

const receiveAll = (socket: Socket) => (times: number) => {
  for (let i = 0; i < times; i++) dispatch.received(socket, bytes);
};

const allWritable = (socket: Socket) => (times: number) => {
  for (let i = 0; i < times; i++) {
    socket.flags |= WANTS_WRITABLE;
    dispatch.writable(socket);
  }
};

const bodies = [
  { name: "received, no handler", run: receiveAll(socketOf({})) },
  { name: "received, a handler", run: receiveAll(socketOf(SYNC)) },
  { name: "received, an async handler", run: receiveAll(socketOf(ASYNC)) },
  { name: "writable, no handler", run: allWritable(socketOf({})) },
  { name: "writable, a handler", run: allWritable(socketOf(SYNC)) },
  { name: "writable, an async handler", run: allWritable(socketOf(ASYNC)) },
];

// V8 inlines the one handler that it knows. A program has several, and what is measured must not
// depend on which of these ran before: so all of them have been called before the first is.
for (let round = 0; round < 20; round++) {
  for (const { run } of bodies) run(1000);
}

for (const { name, run } of bodies) bench({ group, name, times: 10_000, run });

const lives = new World({ onOpen: () => void calls++, onClose: () => void calls++ });

bench({
  group,
  name: "a socket made, opened and closed",
  times: 1000,
  run(times) {
    for (let i = 0; i < times; i++) {
      const socket = new FakeSocket(lives.context, CONNECTING, undefined);
      dispatch.opened(socket, "127.0.0.1");
      socket.close();
    }
  },
});

const world = new World();
const other = world.loop.createContext();
const moving = world.open("", world.context, OPENED);

bench({
  group,
  name: "adopt() to another context and back",
  times: 1000,
  run(times) {
    for (let i = 0; i < times; i++) {
      other.adopt(moving);
      world.context.adopt(moving);
    }
  },
});
