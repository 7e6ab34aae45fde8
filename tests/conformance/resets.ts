/** Semantics 4: a RST, a FIN and a dead connection are told apart. */
import { assertEquals, assertInstanceOf, assertNotEquals, fail } from "@std/assert";
import { CloseCode, type Handlers, type Socket } from "@usockets/usockets";
import { Flood } from "../support/flood.ts";
import { after, openPairs } from "../support/pairs.ts";
import { dialPeer, type ResettingPeer, resettingPeer } from "../support/peers.ts";
import { runWith, type Script, Signal } from "../support/scripts.ts";
import { concat, pattern, sha256 } from "../support/streams.ts";
import type { Behaviours, Fixture } from "./fixture.ts";

/** Keeps what a server saw of one connection. */
class Witness implements Handlers {
  readonly events: string[] = [];
  readonly received: Uint8Array[] = [];

  onData = (_socket: Socket, data: Uint8Array) => {
    if (this.received.length === 0) this.events.push("data");
    this.received.push(data.slice());
  };
  onEnd = (_socket: Socket) => void this.events.push("end");
  onClose = (_socket: Socket, code: number, reason: unknown) => {
    this.events.push(`close ${code}`);
    if (code < 0) assertInstanceOf(reason, Error);
  };
}

/** Serves one connection of a peer that resets, and runs the loop to its end. */
async function serveReset(
  t: Fixture,
  handlers: Handlers,
  act: (peer: ResettingPeer, socket: Socket) => Script,
): Promise<void> {
  const opened = new Signal<Socket>(t);
  const landing = t.transport.isTls ? "onHandshake" : "onOpen";
  const listener = t.listen(t.server<unknown>({
    ...handlers,
    [landing](socket: Socket) {
      // A unix peer needs input to leave unread; elsewhere no write of ours should meet the RST.
      if (t.transport.isUnix) socket.write("go");
      listener.close();
      opened.fire(socket);
    },
  }));
  const peer = function* () {
    const resetting = yield* resettingPeer(t, listener);
    yield* act(resetting, yield* opened.wait());
  };
  await runWith(t, peer());
}

export const resets: Behaviours = (behaviour) => {
  behaviour("bytes received before a RST are delivered, then onClose(Reset)", async (t) => {
    const bytes = pattern(3000);
    const witness = new Witness();
    await serveReset(t, { ...witness }, function* (peer) {
      yield* peer.send(bytes);
      yield* peer.reset();
    });
    assertEquals(witness.events, ["data", `close ${CloseCode.Reset}`]);
    assertEquals(sha256(concat(witness.received)), sha256(bytes));
  });

  behaviour("a RST without a byte before it is onClose(Reset)", async (t) => {
    const witness = new Witness();
    await serveReset(t, { ...witness }, (peer) => peer.reset());
    assertEquals(witness.events, [`close ${CloseCode.Reset}`]);
  });

  for (const moment of ["while it reads", "in its onData"]) {
    behaviour(`a RST of a socket paused ${moment} waits for resume()`, async (t) => {
      const witness = new Witness();
      const bytes = pattern(3000);
      let isPaused = false;
      const pause = (socket: Socket) => {
        isPaused = true;
        socket.pause();
      };
      await serveReset(t, {
        onData(socket, data) {
          if (isPaused) fail("onData while paused");
          witness.onData(socket, data);
          if (moment === "in its onData" && witness.received.length === 1) pause(socket);
        },
        onEnd: witness.onEnd,
        onClose(socket, code, reason) {
          if (isPaused) fail("onClose while paused");
          witness.onClose(socket, code, reason);
        },
      }, function* (peer, socket) {
        if (moment === "while it reads") pause(socket);
        yield* peer.send(bytes);
        yield* peer.reset();
        after(t, 30, () => {
          isPaused = false;
          socket.resume();
          assertEquals(socket.isClosed, false, "resume() delivered from inside the call");
        });
      });
      assertEquals(witness.events, ["data", `close ${CloseCode.Reset}`]);
      assertEquals(sha256(concat(witness.received)), sha256(bytes));
    });
  }

  behaviour("a RST without a byte before it waits for resume() too", async (t) => {
    const witness = new Witness();
    await serveReset(t, { ...witness }, function* (peer, socket) {
      socket.pause();
      yield* peer.reset();
      after(t, 30, () => {
        assertEquals([socket.isClosed, witness.events], [false, []]);
        socket.resume();
      });
    });
    assertEquals(witness.events, [`close ${CloseCode.Reset}`]);
  });

  behaviour("a RST of a paused socket with onWritable owed closes it at once", async (t) => {
    const flood = new Flood();
    const witness = new Witness();
    await serveReset(t, {
      ...witness,
      onWritable: (socket) => flood.pump(socket),
    }, function* (peer, socket) {
      socket.pause(); // for good
      flood.pump(socket);
      yield (go) => flood.whenStuck(t, go);
      yield* peer.reset();
    });
    assertEquals(witness.events, [`close ${CloseCode.Reset}`]);
  });

  behaviour("a write that finds the connection dead is Reset, never onEnd", async (t) => {
    const witness = new Witness();
    const bytes = pattern(3000);
    await serveReset(t, { ...witness }, function* (peer, socket) {
      socket.pause();
      yield* peer.send(bytes);
      yield* peer.reset();
      // The write takes the error off the connection: a read finds a clean end behind the bytes.
      after(t, 10, () => {
        socket.write("into the void");
        after(t, 30, () => socket.resume());
      });
    });
    assertEquals(witness.events, ["data", `close ${CloseCode.Reset}`]);
    assertEquals(sha256(concat(witness.received)), sha256(bytes));
  });

  behaviour("a refused write of a paused socket whose connection is dead closes it", async (t) => {
    const witness = new Witness();
    let refused = -1;
    await serveReset(t, { ...witness }, function* (peer, socket) {
      socket.pause(); // for good: the onWritable that would resume it can never come
      yield* peer.reset();
      after(t, 10, () => {
        socket.write("into the void"); // may be accepted, and then find the RST
        after(t, 30, () => void (refused = socket.write("more")));
      });
    });
    assertEquals(refused, 0);
    assertEquals(witness.events, [`close ${CloseCode.Reset}`]);
  });

  behaviour("all bytes before a RST reach a slow reader, though a write found it", async (t) => {
    const witness = new Witness();
    const bytes = pattern(60_000);
    await serveReset(t, {
      ...witness,
      onData(socket, data) {
        witness.onData(socket, data);
        const busyUntil = performance.now() + 12; // longer than the sweep's interval
        while (performance.now() < busyUntil);
      },
    }, function* (peer, socket) {
      socket.pause();
      yield* peer.send(bytes);
      yield* peer.reset();
      after(t, 10, () => {
        socket.write("into the void");
        after(t, 30, () => socket.resume());
      });
    });
    assertEquals(witness.events, ["data", `close ${CloseCode.Reset}`]);
    assertEquals(sha256(concat(witness.received)), sha256(bytes));
  });

  behaviour("writing on to a peer that has ended and gone is Reset", async (t) => {
    const witness = new Witness();
    openPairs(t, 1, {
      server: {
        onEnd(socket) {
          witness.onEnd(socket);
          // Each write may be the first that the system refuses.
          t.loop.createTimer().set(
            (timer) => {
              if (socket.isClosed) timer.close();
              else socket.write("anyone?");
            },
            2,
            2,
          );
        },
        onClose: witness.onClose,
      },
    }, ({ clients: [client] }) => client.close());
    await t.run();
    assertEquals(witness.events, ["end", `close ${CloseCode.Reset}`]);
  });

  behaviour("a FIN is never taken for a RST", async (t) => {
    const rounds = 20;
    const codes: number[] = [];
    let ends = 0, bytes = 0;
    const listener = t.listen(t.server({
      onData: (_socket, data) => void (bytes += data.length),
      onEnd(socket) {
        ends++;
        socket.close();
      },
      onClose(_socket, code) {
        if (codes.push(code) === rounds) listener.close();
      },
    }));
    const dial = function* () {
      for (let round = 0; round < rounds; round++) {
        const peer = yield* dialPeer(t, listener);
        if (round % 2 === 0) yield* peer.send(pattern(100));
        if (round % 4 < 2) {
          yield* peer.end();
          yield* peer.readAll();
        }
        peer.close();
      }
    };
    await runWith(t, dial());
    assertEquals([ends, bytes, codes], [rounds, 1000, Array(rounds).fill(0)]);
  });

  behaviour("reset() sends a RST and closes with code 0", async (t) => {
    const codes: Record<string, number> = {};
    openPairs(t, 1, {
      server: { onClose: (_socket, code) => void (codes.server = code) },
      client: {
        onEnd(socket) {
          // A unix socket has no RST to send.
          if (!t.transport.isUnix) fail("onEnd behind a RST");
          socket.close();
        },
        onClose: (_socket, code) => void (codes.client = code),
      },
    }, ({ servers: [server] }) => {
      server.reset();
      assertEquals([server.isClosed, codes], [true, { server: 0 }]);
      server.reset();
    });
    await t.run();
    if (!t.transport.isUnix) assertEquals(codes.client, CloseCode.Reset);
    assertNotEquals(codes.client, undefined);
  });
};
