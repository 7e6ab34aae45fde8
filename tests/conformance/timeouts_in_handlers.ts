/** Semantic 6: what handlers may do to sockets while the timeouts are swept. */
import { assert, assertEquals, assertGreaterOrEqual, fail } from "@std/assert";
import { CloseCode, type Handlers, type Socket, type SocketContext } from "@usockets/usockets";
import { after, closeAll, openPairs } from "../support/pairs.ts";
import type { Behaviours, Fixture } from "./fixture.ts";

/** What `onTimeout` does to some socket; returns whether a timeout of that one is still to come. */
type Action = (socket: Socket, isDue: boolean, other: SocketContext) => boolean;

const actions: Record<string, Action> = {
  close(socket) {
    socket.close();
    return false;
  },
  end(socket) {
    socket.end();
    return false;
  },
  adopt(socket, _isDue, other) {
    other.adopt(socket);
    return false;
  },
  "adopt and arm"(socket, _isDue, other) {
    other.adopt(socket).timeout(0.005);
    return true;
  },
  disarm(socket) {
    socket.timeout(0);
    return false;
  },
  rearm(socket) {
    socket.timeout(0.005);
    return true;
  },
  "disarm and arm"(socket) {
    socket.timeout(0);
    socket.timeout(0.005);
    return true;
  },
  pause(socket, isDue) {
    socket.pause();
    return isDue;
  },
};

export const timeoutsInHandlers: Behaviours = (behaviour) => {
  for (const [name, action] of Object.entries(actions)) {
    behaviour(`onTimeout may ${name} itself and any socket near it`, async (t) => {
      // Offsets in the order of opening: neighbours in the context's list, whatever its direction.
      await meddle(t, action, [0, 1, -1, 2, -2]);
    });
  }

  behaviour("onTimeout may adopt sockets of other contexts into its own", async (t) => {
    let fired = 0;
    const onTimeout = (socket: Socket) => {
      fired++;
      const from = socket.context === pairs.client ? pairs.servers : pairs.clients;
      socket.context.adopt(from[7]);
      if (fired === 18) closeAll(pairs);
    };
    const handlers: Handlers = { onTimeout };
    let pairs!: Parameters<Parameters<typeof openPairs>[3]>[0];
    openPairs(t, 10, { client: handlers, server: handlers }, (opened) => {
      pairs = opened;
      // The adopted ones have a long timeout only; with it gone, none of theirs is left to fire.
      for (const sockets of [pairs.clients, pairs.servers]) {
        sockets.forEach((socket, i) => i === 7 ? socket.longTimeout(1) : socket.timeout(0.01));
      }
    });
    await t.run();
    assertEquals(fired, 18);
  });

  behaviour("onTimeout may set its own timeout again and again", async (t) => {
    const waits: number[] = [];
    openPairs(t, 1, {
      client: {
        onTimeout(socket) {
          waits.push(performance.now() - start);
          start = performance.now();
          if (waits.length < 5) socket.timeout(0.006);
          else socket.end();
        },
      },
    }, ({ clients: [socket] }) => {
      start = performance.now();
      socket.timeout(0.006);
    });
    let start = 0;
    await t.run();
    assertEquals(waits.length, 5);
    for (const wait of waits) assertGreaterOrEqual(wait, 6);
  });

  behaviour("onTimeout may arm sockets that had no timeout", async (t) => {
    const fired: number[] = [];
    let sockets: Socket[] = [];
    let done = () => {};
    openPairs(t, 12, {
      client: {
        onTimeout(socket) {
          fired.push(sockets.indexOf(socket));
          if (fired.length === 12) return done();
          // Once towards the one end of the list, once towards the other.
          if (fired.length === 1) { for (const i of [1, 2, 3, 4, 5]) sockets[i].timeout(0.001); }
          if (fired.length === 6) {
            for (const i of [11, 10, 9, 8, 7, 6]) sockets[i].timeout(0.001);
          }
        },
      },
    }, (pairs) => {
      sockets = pairs.clients;
      done = () => closeAll(pairs);
      sockets[0].timeout(0.005);
    });
    await t.run();
    assertEquals(fired.sort((a, b) => a - b), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  behaviour("onTimeout may close or free its context, and open a new one", async (t) => {
    for (const way of ["close", "free"] as const) {
      let fired = 0;
      const codes: number[] = [];
      openPairs(t, 12, {
        client: {
          onTimeout(socket) {
            fired++;
            socket.context[way]();
            t.loop.createContext().listen(t.address()).close();
          },
          onClose: (_socket, code) => void codes.push(code),
        },
        server: {
          onTimeout: (socket) => {
            if (++served === 12) after(t, 15, () => socket.context.close());
          },
          onEnd() {},
        },
      }, (pairs) => {
        for (const socket of pairs.clients) socket.timeout(0.005);
        for (const socket of pairs.servers) socket.timeout(0.005);
      });
      let served = 0;
      await t.run();
      assertEquals(codes, Array(12).fill(way === "close" ? CloseCode.Clean : CloseCode.Freed));
      // Of the context that went away at its first timeout no other one fires; of the other, all.
      assertEquals([fired, served], [1, 12]);
    }
  });

  behaviour("an onTimeout that throws closes its socket, and the others fire", async (t) => {
    t.expectsErrors = true;
    const codes: number[] = [];
    let fired = 0;
    openPairs(t, 10, {
      client: {
        onTimeout() {
          fired++;
          throw new Error("on purpose");
        },
        onClose: (_socket, code) => void codes.push(code),
      },
    }, ({ clients }) => {
      for (const socket of clients) socket.timeout(0.005);
    });
    await t.run();
    assertEquals([fired, t.errors.length], [10, 10]);
    assertEquals(codes, Array(10).fill(CloseCode.Handler));
  });
};

/**
 * Arms many sockets for the same time. Each one that fires does something to a socket near it,
 * unless that has been done to it before. Whatever is due then must fire, and nothing else.
 */
async function meddle(t: Fixture, action: Action, offsets: number[]): Promise<void> {
  const due = new Set<Socket>();
  const touched = new Set<Socket>();
  let sockets: Socket[] = [];
  let done = () => {};
  const handlers: Handlers = {
    onTimeout(socket) {
      assert(due.delete(socket), "onTimeout of a socket that has none to come");
      const count = sockets.length;
      const index = sockets.indexOf(socket);
      const target = sockets[(index + offsets[index % offsets.length] + count) % count];
      if (!touched.has(target)) {
        touched.add(target);
        if (action(target, due.has(target), other)) due.add(target);
        else due.delete(target);
      }
      if (due.size === 0) after(t, 15, done); // time for what should not fire
    },
    onLongTimeout: () => fail("onLongTimeout, and nobody asked for it"),
  };
  const other = t.client<unknown>(handlers);
  openPairs(t, 24, { client: handlers, server: { onEnd() {} } }, (pairs) => {
    sockets = pairs.clients;
    done = () => closeAll(pairs);
    for (const socket of sockets) {
      due.add(socket);
      socket.timeout(0.005);
    }
  });
  await t.run();
  assertEquals(due.size, 0);
  assertGreaterOrEqual(touched.size, 5);
}
