/** Semantics 1 and 2: writing, room, receiving, pausing. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { after, soon } from "../support/pairs.ts";
import { dialPeer } from "../support/peers.ts";
import { runWith, type Script } from "../support/scripts.ts";
import { concat, Digest, pattern, Sender, sha256 } from "../support/streams.ts";
import type { Behaviours } from "./fixture.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

export const data: Behaviours = (behaviour) => {
  behaviour("an echo gives back what was sent", async (t) => {
    let answer = "";
    const server = t.server({ onData: (socket, data) => void socket.write(data) });
    const listener = t.listen(server);
    const client = t.client({
      onOpen: (socket) => void socket.write("hello"),
      onData(socket, data) {
        answer += text(data);
        if (answer.length === 5) socket.end();
      },
      onClose: () => listener.close(),
    });
    t.connect(client, listener);
    await t.run();
    assertEquals(answer, "hello");
    const { open, accepted, connected, bytesIn, bytesOut } = t.loop.stats();
    assertEquals({ open, accepted, connected, bytesIn, bytesOut }, {
      open: 0,
      accepted: 1,
      connected: 1,
      bytesIn: 10,
      bytesOut: 10,
    });
  });

  behaviour("write() sends a string as UTF-8 and returns its bytes", async (t) => {
    const accepted: number[] = [];
    const listener = t.listen(t.server({
      onOpen(socket) {
        accepted.push(
          socket.write("grün €"),
          socket.write(""),
          socket.write2(pattern(3), pattern(4)),
        );
        socket.end();
      },
    }));
    const received: Uint8Array[] = [];
    const client = t.client({
      onData: (_socket, data) => void received.push(data.slice()),
      onClose: () => listener.close(),
    });
    t.connect(client, listener);
    await t.run();
    assertEquals(accepted, [9, 0, 7]);
    assertEquals(
      concat(received),
      concat([new TextEncoder().encode("grün €"), pattern(3), pattern(4)]),
    );
  });

  behaviour(
    "a short write is followed by exactly one onWritable, and no byte is lost",
    async (t) => {
      const bytes = pattern(8 << 20);
      const sender = new Sender(bytes);
      let isShort = false;
      let shortWrites = 0, writables = 0;
      const pump = (socket: Parameters<Sender["pump"]>[0]) => {
        isShort = !sender.pump(socket);
        if (isShort) shortWrites++;
        else socket.end();
      };
      const listener = t.listen(t.server({
        onOpen: (socket) => pump(socket),
        onWritable(socket) {
          assert(isShort, "onWritable without a short write");
          isShort = false;
          writables++;
          pump(socket);
        },
      }));
      // The reader does not read at first: the writer must come to a stand.
      let received: Uint8Array = new Uint8Array(0);
      const read = function* (): Script {
        const peer = yield* dialPeer(t, listener);
        yield (go) => after(t, 50, go);
        assertEquals(
          [shortWrites > 0, isShort],
          [true, true],
          "8 MiB fitted into the buffers of an idle reader",
        );
        received = yield* peer.readAll();
        peer.close();
        listener.close();
      };
      await runWith(t, read());
      assertEquals(writables, shortWrites);
      assertEquals(sha256(received), sha256(bytes));
    },
  );

  behaviour("64 MiB echoed through a reader that pauses all the time arrive intact", async (t) => {
    const bytes = pattern(1 << 20);
    const rounds = 64;
    const sent = new Digest(), received = new Digest();
    const listener = t.listen(t.server({
      socketExt: () => ({ rest: new Uint8Array(0) }),
      onData(socket, data) {
        const written = socket.write(data);
        if (written < data.length) {
          socket.ext.rest = data.slice(written);
          socket.pause();
        }
      },
      onWritable(socket) {
        socket.ext.rest = socket.ext.rest.subarray(socket.write(socket.ext.rest));
        if (socket.ext.rest.length === 0) socket.resume();
      },
    }));
    let round = 0;
    let rest = bytes;
    const client = t.client({
      onOpen: (socket) => pump(socket),
      onWritable: (socket) => pump(socket),
      onData(socket, data) {
        received.add(data);
        if (received.length % 7 === 0) {
          socket.pause();
          soon(t, () => socket.resume());
        }
        if (received.length === rounds * bytes.length) socket.end();
      },
      onClose: () => listener.close(),
    });
    function pump(socket: { write(data: Uint8Array): number; isShutDown: boolean }): void {
      while (round < rounds) {
        const accepted = socket.write(rest);
        sent.add(rest.subarray(0, accepted));
        rest = rest.subarray(accepted);
        if (rest.length > 0) return;
        round++;
        rest = bytes;
      }
    }
    t.connect(client, listener);
    await t.run();
    assertEquals(received.length, rounds * bytes.length);
    assertEquals(received.hex(), sent.hex());
  });

  behaviour("write() accepts nothing before the socket is open, and says when it is", async (t) => {
    const events: string[] = [];
    const listener = t.listen(t.server({ onData: (socket) => socket.end() }));
    const client = t.client({
      onOpen: () => void events.push("open"),
      onWritable(socket) {
        events.push("writable");
        socket.write("x");
      },
      onClose: () => listener.close(),
    });
    const socket = t.connect(client, listener);
    assertEquals([socket.isEstablished, socket.write("early"), socket.write("")], [false, 0, 0]);
    await t.run();
    assertEquals(events, ["open", "writable"]);
  });

  behaviour("write() returns 0 on a socket that is shut down or closed", async (t) => {
    const listener = t.listen(t.server({}));
    const accepted: number[] = [];
    const client = t.client({
      onOpen(socket) {
        socket.shutdown();
        accepted.push(socket.write("late"), socket.write2(pattern(1), pattern(2)));
        socket.flush();
        socket.close();
        accepted.push(socket.write("later"), socket.write2(pattern(1), pattern(2)));
        socket.flush();
      },
      onClose: () => listener.close(),
      onWritable: () => assert(false, "onWritable for a write that can never be done"),
    });
    t.connect(client, listener);
    await t.run();
    assertEquals(accepted, [0, 0, 0, 0]);
  });

  behaviour("what a handler wrote may be overwritten at once", async (t) => {
    const scratch = new Uint8Array(1000);
    const listener = t.listen(t.server({
      onOpen(socket) {
        for (let i = 0; i < 20; i++) {
          scratch.fill(i);
          socket.write(scratch, i < 19);
        }
        scratch.fill(0xff);
        socket.end();
      },
    }));
    const read = function* () {
      const peer = yield* dialPeer(t, listener);
      const received = yield* peer.readAll();
      assertEquals(received.length, 20_000);
      for (let i = 0; i < received.length; i++) assertEquals(received[i], Math.floor(i / 1000));
      peer.close();
      listener.close();
    };
    await runWith(t, read());
  });

  behaviour("pause() holds data and the end back until resume()", async (t) => {
    const events: string[] = [];
    const bytes = pattern(300_000);
    const received: Uint8Array[] = [];
    const listener = t.listen(t.server({
      onOpen(socket) {
        socket.pause();
        t.loop.createTimer().set(() => {
          events.push("resume");
          socket.resume();
          assertEquals(received.length, 0, "resume() delivered from inside the call");
        }, 60);
      },
      onData(socket, data) {
        if (received.length === 0) events.push("data");
        received.push(data.slice());
        if (received.length % 3 === 0) { // in the middle of a stream, too
          socket.pause();
          t.loop.createTimer().set(() => socket.resume(), 1);
        }
      },
      onEnd(socket) {
        events.push("end");
        socket.close();
        listener.close();
      },
    }));
    const send = function* () {
      const peer = yield* dialPeer(t, listener);
      yield* peer.send(bytes);
      yield* peer.end();
      yield* peer.readAll(); // nothing, until the server closes
      peer.close();
    };
    await runWith(t, send());
    assertEquals(events, ["resume", "data", "end"]);
    assertEquals(sha256(concat(received)), sha256(bytes));
  });

  behaviour("a paused reader slows its writer down", async (t) => {
    let socketOfServer: { resume(): void } | undefined;
    let received = 0;
    const listener = t.listen(t.server({
      onOpen(socket) {
        socketOfServer = socket;
        socket.pause();
      },
      onData: (_socket, data) => void (received += data.length),
      onEnd(socket) {
        socket.close();
        listener.close();
      },
    }));
    const bytes = pattern(64 << 20);
    const sender = new Sender(bytes);
    let isDone = false;
    const pump = (socket: Parameters<Sender["pump"]>[0]) => {
      if (sender.pump(socket)) {
        isDone = true;
        socket.end();
      }
    };
    const client = t.client({ onOpen: pump, onWritable: pump });
    t.connect(client, listener);
    t.loop.createTimer().set(() => {
      assertEquals([isDone, received], [false, 0]);
      assertLess(t.loop.stats().bytesOut, bytes.length);
      socketOfServer!.resume();
    }, 100);
    await t.run();
    assertEquals([isDone, received], [true, bytes.length]);
  });

  behaviour("writes outside of handlers go out too", async (t) => {
    const listener = t.listen(t.server({ onData: (socket, data) => void socket.write(data) }));
    let answer = "";
    const client = t.client({
      onOpen(socket) {
        setTimeout(() => {
          socket.write("first ");
          Promise.resolve().then(() => socket.write("second"));
        });
      },
      onData(socket, data) {
        answer += text(data);
        if (answer.length === 12) socket.end();
      },
      onClose: () => listener.close(),
    });
    t.connect(client, listener);
    await t.run();
    assertEquals(answer, "first second");
  });
};
