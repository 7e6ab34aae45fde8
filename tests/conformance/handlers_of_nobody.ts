/** Semantics 4, 5 and 10: handlers that run while there is no open socket yet, or none any more. */
import { assert, assertEquals, assertStrictEquals, assertThrows, fail } from "@std/assert";
import { type ListenSocket, type Socket, type SocketContext } from "@usockets/usockets";
import { after, openPairs } from "../support/pairs.ts";
import type { Behaviours, Fixture } from "./fixture.ts";

/** What the first call of an accepting context's `onPreOpen` or `socketExt` does. */
const acceptActions = {
  throw: () => {
    throw new Error("on purpose");
  },
  closeListener: ({ listener }: Accepting) => listener.close(),
  closeContext: ({ context }: Accepting) => context.close(),
  freeContext: ({ context }: Accepting) => context.free(),
  closeOther: ({ first }: Accepting) => first!.close(),
} as const;

interface Accepting {
  context: SocketContext;
  listener: ListenSocket;
  /** The client whose connection is being accepted. */
  first: Socket | undefined;
}

/** Lets a server act in its first call of a handler, with a client that ends after a while. */
async function accept(
  t: Fixture,
  place: "onPreOpen" | "socketExt",
  action: keyof typeof acceptActions,
): Promise<{ events: string[]; calls: number; clientsClosed: number }> {
  const events: string[] = [];
  let calls = 0, clientsClosed = 0;
  const context = t.server<unknown>({
    [place]() {
      if (calls++ === 0) acceptActions[action](accepting);
      return true;
    },
    onOpen: () => void events.push("open"),
    onClose() {
      events.push("close");
      accepting.listener.close();
    },
  });
  const accepting: Accepting = { context, listener: t.listen(context), first: undefined };
  const client = t.client({
    onOpen: (socket) => after(t, 20, () => socket.end()),
    onClose() {
      clientsClosed++;
      // After one that was refused, the next one is served.
      if (action === "throw" && clientsClosed === 1) t.connect(client, accepting.listener);
      else accepting.listener.close();
    },
    onConnectError: () => fail("the listener was there"),
  });
  accepting.first = t.connect(client, accepting.listener);
  await t.run();
  return { events, calls, clientsClosed };
}

/** Nobody listens on this port of the loopback interface, nor on this path. */
function deadAddress(t: Fixture) {
  return t.transport.isUnix
    ? { path: `${(t.address() as { path: string }).path}.none` }
    : { host: "127.0.0.1", port: 1 };
}

export const handlersOfNobody: Behaviours = (behaviour) => {
  const reports: { error: unknown; socket: Socket | undefined }[] = [];
  const onError = (error: unknown, socket?: Socket) => {
    reports.push({ error, socket });
  };

  for (const place of ["onPreOpen", "socketExt"] as const) {
    behaviour(`${place} may throw, and close or free what it belongs to`, async (t) => {
      for (const action of Object.keys(acceptActions) as (keyof typeof acceptActions)[]) {
        reports.length = 0;
        const { events, calls, clientsClosed } = await accept(t, place, action);
        // A connection that is refused is closed; whether one opens in a context that was
        // closed meanwhile, but not freed, is left to the backend.
        const expected = action === "freeContext"
          ? [""]
          : action === "closeContext"
          ? ["", "open,close"]
          : ["open,close"];
        assert(expected.includes(String(events)), `${action}: the server saw ${events}`);
        const isThrow = action === "throw";
        assertEquals(calls, isThrow ? 2 : 1);
        // The other end may have been still connecting when it was closed.
        if (action !== "closeOther") assertEquals(clientsClosed, isThrow ? 2 : 1, action);
        const messages = reports.map(({ error }) => (error as Error).message);
        assertEquals(messages, isThrow ? ["on purpose"] : []);
        assertEquals(t.loop.stats().open, 0);
      }
    }, { onError });
  }

  behaviour("a socketExt that throws passes through connect() and adopt()", async (t) => {
    const picky = t.client({
      socketExt(): string {
        throw new RangeError("no data for you");
      },
      onOpen: () => fail("onOpen"),
      onConnectError: () => fail("onConnectError"),
    });
    const answers: string[] = [];
    openPairs(t, 1, {
      server: { onData: (socket, data) => void socket.write(data) },
      client: {
        onData(socket, data) {
          answers.push(new TextDecoder().decode(data));
          socket.end();
        },
      },
    }, ({ clients: [socket], client }) => {
      assertThrows(() => picky.connect(deadAddress(t)), RangeError, "no data for you");
      assertThrows(() => picky.adopt(socket), RangeError, "no data for you");
      assert(socket.context === client, "moved all the same");
      assertStrictEquals<unknown>(picky.adopt(socket, "given"), socket);
      client.adopt(socket);
      socket.write("still here");
    });
    await t.run();
    assertEquals(answers, ["still here"]);
  });

  const connectErrorActions: Record<string, (socket: Socket, other: SocketContext) => void> = {
    close: (socket) => socket.close(),
    closeWithReason: (socket) => socket.close(7, "why"),
    shutdown: (socket) => socket.shutdown(),
    end: (socket) => socket.end(),
    write: (socket) => assertEquals(socket.write("hello?"), 0),
    pauseAndResume(socket) {
      socket.pause();
      socket.resume();
    },
    timeout(socket) {
      socket.timeout(0.001);
      socket.longTimeout(0.0001);
    },
    adopt(socket, other) {
      const { context } = socket;
      assertStrictEquals<unknown>(other.adopt(socket), socket);
      assert(socket.context === context);
    },
    throw() {
      throw new Error("on purpose");
    },
    closeContext: (socket) => socket.context.close(),
    freeContext: (socket) => socket.context.free(),
    connectElsewhere: () => {}, // below: what a client does that has several servers
  };

  behaviour("every action inside onConnectError leaves the loop sound", async (t) => {
    reports.length = 0;
    const failed: string[] = [];
    const failedSockets = new Map<Socket, string>();
    let connected = 0;
    const address = t.transport.isUnix ? t.address() : undefined;
    const listener = address ? t.server().listen(address) : t.listen(t.server());
    const other = t.client({ onTimeout: () => fail("onTimeout of a failed connect") });
    for (const [name, act] of Object.entries(connectErrorActions)) {
      const context: SocketContext = t.client<unknown>({
        onConnectError(socket, error) {
          failed.push(name);
          failedSockets.set(socket, name);
          assert(error instanceof Error && socket.isClosed && !socket.isEstablished);
          if (name === "connectElsewhere") t.connect(context, listener);
          else act(socket, other);
        },
        onOpen(socket) {
          assertEquals(name, "connectElsewhere");
          connected++;
          socket.end();
        },
        onClose: () => listener.close(),
        onTimeout: () => fail("onTimeout of a failed connect"),
        onLongTimeout: () => fail("onLongTimeout of a failed connect"),
      });
      context.connect(deadAddress(t));
    }
    after(t, 30, () => {}); // what was set on a failed socket would show by then
    await t.run();
    assertEquals(failed.toSorted(), Object.keys(connectErrorActions).toSorted());
    assertEquals(connected, 1);
    assertEquals(
      reports.map(({ error, socket }) => [(error as Error).message, failedSockets.get(socket!)]),
      [["on purpose", "throw"]],
    );
    assertEquals(t.loop.stats().open, 0);
  }, { onError });

  behaviour("onClose may connect again, until the last one", async (t) => {
    let closes = 0;
    const listener = t.listen(t.server({ onOpen: (socket) => socket.end() }));
    const client = t.client({
      onClose() {
        if (++closes < 10) t.connect(client, listener);
        else listener.close();
      },
    });
    t.connect(client, listener);
    await t.run();
    assertEquals([closes, t.loop.stats().connected], [10, 10]);
  });
};
