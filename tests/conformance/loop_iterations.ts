/** Semantic 9: iterations. */
import { assert, assertEquals, assertLess } from "@std/assert";
import { Loop, type Socket } from "@usockets/usockets";
import { after, closeAll, openPairs } from "../support/pairs.ts";
import type { Behaviours } from "./fixture.ts";

export const loopIterations: Behaviours = (behaviour) => {
  {
    const trace: [what: string, iteration: number][] = [];
    const note = (what: string) => (loop: Loop) => void trace.push([what, loop.iterationNumber]);
    behaviour("an iteration is onPre, its events, onPost, and counts up by one", async (t) => {
      trace.length = 0;
      const event = () => void trace.push(["event", t.loop.iterationNumber]);
      let rounds = 0;
      openPairs(t, 3, {
        server: {
          onData(socket, data) {
            event();
            socket.write(data);
          },
          onEnd(socket) {
            event();
            socket.end();
          },
        },
        client: {
          onData(socket) {
            event();
            if (++rounds < 30) socket.write("x");
            else socket.timeout(0.001);
          },
          onTimeout(socket) {
            event();
            for (const each of clients) each.end();
            assert(socket.isShutDown);
          },
          onClose: event,
        },
      }, (pairs) => {
        event();
        clients = pairs.clients;
        clients[0].write("x");
        t.loop.wakeup();
      });
      let clients: Socket[] = [];
      assertEquals(t.loop.iterationNumber, 0);
      await t.run();
      let inside = false, number = 0, events = 0;
      for (const [what, iteration] of trace) {
        if (what === "pre") {
          assertEquals([inside, iteration], [false, ++number]);
          inside = true;
        } else {
          assertEquals([inside, iteration], [true, number], what);
          if (what === "post") inside = false;
          else events++;
        }
      }
      assertEquals(inside, false);
      assert(events >= 60 + 1 + 3 + 3);
      assertEquals(trace.filter(([what]) => what === "wakeup").length, 1);
      assertEquals([t.loop.iterationNumber, t.loop.stats().iterations], [number, number]);
    }, { onPre: note("pre"), onPost: note("post"), onWakeup: note("wakeup") });
  }

  {
    let calls = 0;
    const fails = (what: string) => () => {
      if (calls++ < 4) throw new Error(what);
    };
    behaviour("onPre and onPost that throw stop nothing", async (t) => {
      t.expectsErrors = true;
      calls = 0;
      let answer = 0;
      openPairs(t, 1, {
        server: { onData: (socket, data) => void socket.write(data) },
        client: {
          onData(socket) {
            answer++;
            socket.end();
          },
        },
      }, ({ clients: [socket] }) => void socket.write("x"));
      await t.run();
      assertEquals(answer, 1);
      assertEquals(
        t.errors.map((error) => (error as Error).message),
        ["pre", "post", "pre", "post"],
      );
    }, { onPre: fails("pre"), onPost: fails("post") });
  }

  behaviour("events that are ready together come in one iteration", async (t) => {
    const count = 50;
    const iterations = new Set<number>();
    let received = 0;
    let done = () => {};
    openPairs(t, count, {
      server: {
        onData() {
          iterations.add(t.loop.iterationNumber);
          if (++received === count) done();
        },
      },
    }, (pairs) => {
      done = () => closeAll(pairs);
      for (const socket of pairs.clients) socket.write("x");
      // They are sent when this callback is over; then this thread looks away while they arrive.
      after(t, 1, () => {
        const until = performance.now() + 20;
        while (performance.now() < until);
      });
    });
    await t.run();
    assertEquals(received, count);
    assertLess(iterations.size, count / 4);
  });

  behaviour("two loops on one thread run side by side", async (t) => {
    const other = new Loop({
      backend: t.transport.backend,
      onError: (error) => t.errors.push(error),
    });
    const calls: string[] = [];
    const server = other.createContext({
      tls: t.serverTls,
      onData(socket, data) {
        calls.push(`server ${t.loop.stats().open} ${other.stats().open}`);
        socket.write(data);
      },
      onClose: () => listener.close(),
    });
    const listener = server.listen(t.address());
    const client = t.client({
      onOpen: (socket) => void (t.transport.isTls || socket.write("x")),
      onHandshake: (socket) => void socket.write("x"),
      onData(socket) {
        calls.push(`client ${t.loop.stats().open} ${other.stats().open}`);
        socket.end();
      },
    });
    t.connect(client, listener);
    const running = other.run();
    await t.run();
    await running;
    assertEquals(calls, ["server 1 1", "client 1 1"]);
    other.free();
    assertEquals([t.loop.stats().open, other.stats().open], [0, 0]);
    await t.run(); // the one does not go with the other
  });

  behaviour("stats() counts what happened so far", async (t) => {
    const seen: number[][] = [];
    const look = () => {
      const { open, accepted, connected, bytesIn, bytesOut } = t.loop.stats();
      seen.push([open, accepted, connected, bytesIn, bytesOut]);
    };
    const dead = t.listen(t.server());
    const address = t.addressOf(dead);
    dead.close();
    await dead.closed;
    const client = t.client();
    client.connect(address); // fails: connected to nothing
    client.connect(address).close(); // cancelled
    look();
    openPairs(t, 2, {
      server: {
        onData() {
          look();
          closeAllPairs();
          look();
        },
      },
    }, (pairs) => {
      closeAllPairs = () => closeAll(pairs);
      look();
      assertEquals(pairs.clients[0].write(new Uint8Array(1000)), 1000);
      look();
    });
    let closeAllPairs = () => {};
    await t.run();
    assertEquals([seen[0], seen[1], seen[2]], [[0, 0, 0, 0, 0], [4, 2, 2, 0, 0], [
      4,
      2,
      2,
      0,
      1000,
    ]]);
    const read = seen[3][3]; // chunking is the system's affair
    assert(read > 0 && read <= 1000);
    assertEquals([seen[3], seen[4]], [[4, 2, 2, read, 1000], [0, 2, 2, read, 1000]]);
  });
};
