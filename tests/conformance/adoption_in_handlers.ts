/** Semantic 7: adoption at every moment of a socket's life. */
import { assert, assertEquals, assertStrictEquals, fail } from "@std/assert";
import type { Handlers, Socket, SocketContext } from "@usockets/usockets";
import { after, closeAll, openPairs } from "../support/pairs.ts";
import { concat, pattern, Sender, sha256 } from "../support/streams.ts";
import type { Behaviours } from "./fixture.ts";

export const adoptionInHandlers: Behaviours = (behaviour) => {
  behaviour("a connecting socket that is adopted opens in its new context", async (t) => {
    const events: string[] = [];
    const listener = t.listen(t.server());
    const other = t.client<{ name: string }>({
      socketExt: () => ({ name: "made" }),
      onOpen(socket, isClient) {
        events.push(`open ${isClient} ${socket.ext.name}`);
        if (!t.transport.isTls) socket.end();
      },
      onHandshake(socket) {
        events.push("handshake");
        socket.end();
      },
      onClose: () => listener.close(),
    });
    const client = t.client({
      onOpen: () => fail("onOpen of the old context"),
      onHandshake: () => fail("onHandshake of the old context"),
      onClose: () => fail("onClose of the old context"),
    });
    const socket = t.connect(client, listener);
    assertStrictEquals(other.adopt(socket, { name: "given" }) as unknown, socket);
    await t.run();
    assertEquals(events, ["open true given", ...t.transport.isTls ? ["handshake"] : []]);
  });

  behaviour("a connecting socket that is adopted fails in its new context", async (t) => {
    const events: string[] = [];
    const listener = t.listen(t.server());
    const address = t.addressOf(listener);
    const other = t.client<unknown>({
      onConnectError: (socket) => void events.push(`error ${socket.context === other}`),
    });
    const client = t.client({ onConnectError: () => fail("onConnectError of the old context") });
    listener.close();
    await listener.closed; // nobody listens there any more
    other.adopt(client.connect(address));
    await t.run();
    assertEquals(events, ["error true"]);
  });

  behaviour("an onWritable that is owed comes in the new context, once", async (t) => {
    const bytes = pattern(16 << 20);
    const sender = new Sender(bytes);
    let writables = 0, received = 0;
    const other = t.client<unknown>({
      onWritable(socket) {
        writables++;
        while (!sender.pump(socket)) return;
        socket.end();
      },
    });
    openPairs(t, 1, {
      client: { onWritable: () => fail("onWritable of the old context") },
      server: { onData: (_socket, data) => void (received += data.length) },
    }, ({ clients: [socket], servers: [peer] }) => {
      peer.pause();
      assert(!sender.pump(socket), "16 MiB fitted into the buffers of an idle reader");
      other.adopt(socket);
      after(t, 10, () => peer.resume());
    });
    await t.run();
    assert(writables > 0);
    assertEquals(received, bytes.length);
  });

  behaviour(
    "an onWritable that is owed from while connecting comes in the new context",
    async (t) => {
      const events: string[] = [];
      const listener = t.listen(t.server());
      const other = t.client<unknown>({
        onOpen: () => void events.push("open"),
        onWritable(socket) {
          events.push("writable");
          socket.end();
        },
        onClose: () => listener.close(),
      });
      const client = t.client({ onWritable: () => fail("onWritable of the old context") });
      const socket = t.connect(client, listener);
      assertEquals(socket.write("early"), 0);
      other.adopt(socket);
      await t.run();
      assertEquals(events, ["open", "writable"]);
    },
  );

  behaviour("a paused socket that is adopted stays paused until resume()", async (t) => {
    const events: string[] = [];
    const received: Uint8Array[] = [];
    const bytes = pattern(200_000);
    const sender = new Sender(bytes);
    const pump = (socket: Socket) => void (sender.pump(socket) && socket.end());
    const other = t.server<unknown>({
      onData(_socket, data) {
        if (received.length === 0) events.push("data");
        received.push(data.slice());
      },
      onEnd(socket) {
        events.push("end");
        socket.end();
      },
    });
    openPairs(t, 1, {
      client: { onWritable: pump },
      server: {
        onData: () => fail("onData of the old context"),
        onEnd: () => fail("onEnd of the old context"),
      },
    }, ({ clients: [client], servers: [socket] }) => {
      socket.pause();
      pump(client);
      after(t, 20, () => {
        other.adopt(socket);
        after(t, 20, () => {
          events.push("resume");
          socket.resume();
        });
      });
    });
    await t.run();
    assertEquals(events, ["resume", "data", "end"]);
    assertEquals(sha256(concat(received)), sha256(bytes));
  });

  behaviour("pause() then adopt() in the middle of a stream loses nothing", async (t) => {
    const bytes = pattern(2 << 20);
    const sender = new Sender(bytes);
    const pump = (socket: Socket) => void (sender.pump(socket) && socket.end());
    const received: Uint8Array[] = [];
    const handlers: Handlers = {
      onData(socket, data) {
        received.push(data.slice());
        socket.pause();
        contexts[received.length % 2].adopt(socket);
        after(t, 1, () => socket.resume());
      },
      onEnd(socket) {
        socket.end();
        listener.close();
      },
    };
    const contexts = [t.server<unknown>(handlers), t.server<unknown>(handlers)];
    const listener = t.listen(contexts[0]);
    t.connect(t.client<unknown>({ onOpen: pump, onWritable: pump }), listener);
    await t.run();
    assertEquals(sha256(concat(received)), sha256(bytes));
  });

  behaviour("adopt() works inside every handler", async (t) => {
    // Two contexts that hand the socket over at each event, and note which of them had it.
    const events: string[] = [];
    const sender = new Sender(new Uint8Array(8 << 20));
    const make = (name: string, next: string): Handlers => {
      const hand = (event: string, socket: Socket) => {
        events.push(`${event} ${name}`);
        assertStrictEquals(socket.context, contexts[name] as unknown);
        assertStrictEquals(contexts[next].adopt(socket), socket);
      };
      const pump = (socket: Socket) => void (sender.pump(socket) && socket.write("end"));
      return {
        onOpen(socket) {
          hand("open", socket);
          if (!t.transport.isTls) pump(socket);
        },
        onHandshake(socket) {
          hand("handshake", socket);
          pump(socket);
        },
        onWritable(socket) {
          hand("writable", socket);
          pump(socket);
        },
        onData(socket) {
          hand("data", socket);
          socket.timeout(0.005);
        },
        onTimeout(socket) {
          hand("timeout", socket);
          socket.write("bye");
        },
        onEnd(socket) {
          hand("end", socket);
          socket.shutdown(); // both directions have ended
          assert(socket.isClosed);
        },
        onClose(socket) {
          events.push(`close ${name}`);
          assertStrictEquals(contexts[next].adopt(socket), socket);
          assertStrictEquals(socket.context, contexts[name] as unknown);
          listener.close();
        },
      };
    };
    const contexts: Record<string, SocketContext> = {
      a: t.client<unknown>(make("a", "b")),
      b: t.client<unknown>(make("b", "a")),
    };
    let received = 0;
    const listener = t.listen(t.server({
      onData(socket, data) {
        received += data.length;
        if (received === (8 << 20) + 3) socket.write("x");
        if (received === (8 << 20) + 6) socket.shutdown();
      },
    }));
    t.connect(contexts.a, listener);
    await t.run();
    assertEquals(received, (8 << 20) + 6);
    // How many short writes it takes is the system's affair.
    const names = events.map((event) => event.split(" ")[0]);
    assertEquals([...new Set(names)], [
      "open",
      ...t.transport.isTls ? ["handshake"] : [],
      "writable",
      "data",
      "timeout",
      "end",
      "close",
    ]);
    // They take turns without a gap: each event came in the context that the socket was in.
    assertEquals(
      events.map((event) => event.split(" ")[1]),
      events.map((_, i) => i % 2 === 0 ? "a" : "b"),
    );
  });

  behaviour("onEnd comes once, also for a socket that is adopted in it", async (t) => {
    const ends: string[] = [];
    const other = t.server<unknown>({ onEnd: () => void ends.push("other") });
    openPairs(t, 1, {
      server: {
        onEnd(socket) {
          ends.push("old");
          other.adopt(socket);
          after(t, 20, () => socket.close());
        },
      },
    }, ({ clients: [socket] }) => socket.shutdown());
    await t.run();
    assertEquals(ends, ["old"]);
  });

  behaviour("a socket adopted while its context is being closed lives on", async (t) => {
    const events: string[] = [];
    const other = t.client<unknown>({ onClose: () => void events.push("other") });
    let kept: Socket | undefined;
    openPairs(t, 4, {
      client: {
        onClose() {
          events.push("old");
          const rescued = sockets.find((socket) => !socket.isClosed);
          if (kept === undefined && rescued !== undefined) kept = other.adopt(rescued);
        },
      },
    }, (pairs) => {
      sockets = pairs.clients;
      pairs.client.close();
      assertEquals(events, ["old", "old", "old"]);
      assertEquals(kept!.isClosed, false);
      closeAll(pairs);
    });
    let sockets: Socket[] = [];
    await t.run();
    assertEquals(events, ["old", "old", "old", "other"]);
  });
};
