/** Semantics 4: end(), the polite way out. */
import { assertEquals, assertGreaterOrEqual, assertThrows, fail } from "@std/assert";
import { CloseCode, type Handlers, type Socket } from "@usockets/usockets";
import { Flood } from "../support/flood.ts";
import { after, openPairs } from "../support/pairs.ts";
import { concat, pattern, sha256 } from "../support/streams.ts";
import type { Behaviours } from "./fixture.ts";

/** A socket that has called end() has one event left. */
const onlyOnClose: Handlers = {
  onData: (socket) => socket.isShutDown && fail("onData behind end()"),
  onWritable: (socket) => socket.isShutDown && fail("onWritable behind end()"),
  onEnd: () => fail("onEnd behind end()"),
  onTimeout: () => fail("onTimeout behind end()"),
  onLongTimeout: () => fail("onLongTimeout behind end()"),
};

export const ending: Behaviours = (behaviour) => {
  behaviour("end() delivers what was accepted, the FIN, and drops what still comes", async (t) => {
    const flood = new Flood();
    const received: Uint8Array[] = [];
    const events: string[] = [];
    openPairs(t, 1, {
      server: {
        ...onlyOnClose,
        onWritable: (socket) => flood.pump(socket),
        onClose: (_socket, code) => void events.push(`server closed with ${code}`),
      },
      client: {
        onData(socket, data) {
          received.push(data.slice());
          if (received.length < 50) socket.write(pattern(5000)); // to a socket that has ended
        },
        onEnd(socket) {
          events.push("client ended");
          socket.write(pattern(5000));
          // Time for the server to close too early, which would also reset the client.
          after(t, 30, () => {
            events.push("client shuts down");
            socket.shutdown();
          });
        },
        onClose: (_socket, code) => void events.push(`client closed with ${code}`),
      },
    }, ({ servers: [server], clients: [client] }) => {
      client.pause();
      flood.pump(server);
      flood.whenStuck(t, () => {
        server.timeout(0.01);
        server.longTimeout(0.0002);
        server.end();
        server.timeout(0.01);
        server.longTimeout(0.0002);
        events.push(`shut down: ${server.isShutDown}, closed: ${server.isClosed}`);
        assertEquals(server.write("more"), 0);
        server.shutdown();
        server.end(0); // no shorter than the first
        after(t, 20, () => client.resume());
      });
    });
    await t.run();
    assertEquals(events, [
      "shut down: true, closed: false",
      "client ended",
      "client shuts down",
      "client closed with 0",
      "server closed with 0",
    ]);
    assertEquals(sha256(concat(received)), sha256(flood.sent));
  });

  behaviour("end() waits lingerSeconds for a peer that never stops sending", async (t) => {
    let endedAt = 0, lasted = 0, clientCode = 0;
    openPairs(t, 1, {
      server: {
        ...onlyOnClose,
        onClose(_socket, code) {
          assertEquals(code, 0);
          lasted = performance.now() - endedAt;
        },
      },
      client: {
        onWritable: (socket) => flood(socket),
        onEnd: () => {}, // goes on all the same
        onClose(_socket, code) {
          clientCode = code;
        },
      },
    }, ({ servers: [server], clients: [client] }) => {
      endedAt = performance.now();
      server.end(0.06);
      flood(client);
    });
    const bytes = pattern(1 << 20);
    const flood = (socket: Socket) => {
      while (socket.write(bytes) === bytes.length);
    };
    await t.run();
    assertGreaterOrEqual(lasted, 60);
    assertEquals(clientCode, CloseCode.Reset); // nobody reads what it sends any more
  });

  behaviour("end() waits lingerSeconds for a silent peer", async (t) => {
    for (const seconds of [0.03, 0]) {
      let endedAt = 0, lasted = -1;
      openPairs(t, 1, {
        server: {
          ...onlyOnClose,
          onClose(_socket, code) {
            assertEquals(code, 0);
            lasted = performance.now() - endedAt;
          },
        },
        client: { onEnd: (socket) => after(t, 60, () => socket.close()) },
      }, ({ servers: [server] }) => {
        endedAt = performance.now();
        server.end(seconds);
        assertEquals(server.isClosed, false);
      });
      await t.run();
      assertGreaterOrEqual(lasted, seconds * 1000);
    }
  });

  behaviour("end() behind the peer's end closes with 0 before it returns", async (t) => {
    const events: string[] = [];
    openPairs(t, 1, {
      server: {
        onEnd(socket) {
          socket.write("answer");
          socket.end();
          events.push(`returned, closed: ${socket.isClosed}`);
        },
        onClose: (_socket, code) => void events.push(`closed with ${code}`),
      },
      client: {
        onData: (_socket, data) => void events.push(new TextDecoder().decode(data)),
        onClose: (_socket, code) => void events.push(`client closed with ${code}`),
      },
    }, ({ clients: [client] }) => client.shutdown());
    await t.run();
    assertEquals(events, [
      "closed with 0",
      "returned, closed: true",
      "answer",
      "client closed with 0",
    ]);
  });

  behaviour("end() of a paused socket sees the peer's end, and drops what was held", async (t) => {
    let closed = 0;
    openPairs(t, 1, {
      server: {
        ...onlyOnClose,
        onClose(_socket, code) {
          assertEquals(code, 0);
          closed++;
        },
      },
      client: { onEnd: (socket) => socket.shutdown() },
    }, ({ servers: [server], clients: [client] }) => {
      server.pause();
      client.write(pattern(5000));
      after(t, 10, () => {
        server.end(3600);
        server.pause(); // too late
      });
    });
    await t.run();
    assertEquals(closed, 1);
  });

  behaviour("end() from both sides at once closes both with 0", async (t) => {
    const codes: number[] = [];
    const end = { ...onlyOnClose, onClose: (_: Socket, code: number) => void codes.push(code) };
    openPairs(t, 1, { server: end, client: end }, ({ servers: [server], clients: [client] }) => {
      for (const socket of [server, client]) {
        socket.write(pattern(5000)); // dropped by the other
        socket.end(3600);
      }
    });
    await t.run();
    assertEquals(codes, [0, 0]);
  });

  behaviour("end() of a connecting socket cancels it, and nothing comes of it", async (t) => {
    const listener = t.listen(t.server());
    const client = t.client({
      onOpen: () => fail("onOpen of a socket that was ended before"),
      onClose: () => fail("onClose of a socket that never opened"),
      onConnectError: () => fail("onConnectError of a connect that was cancelled"),
    });
    const socket = t.connect(client, listener);
    socket.end();
    assertEquals([socket.isClosed, t.loop.stats().open], [true, 0]);
    after(t, 20, () => listener.close());
    await t.run();
  });

  behaviour("end() refuses a negative time, and close() ends the waiting", async (t) => {
    const events: unknown[] = [];
    openPairs(t, 1, {
      server: { ...onlyOnClose, onClose: (_socket, ...rest) => void events.push(rest) },
      client: { onEnd: () => {} },
    }, ({ servers: [server], clients: [client] }) => {
      for (const seconds of [-1, -0.001, NaN]) {
        assertThrows(() => server.end(seconds), RangeError);
      }
      assertEquals([server.isShutDown, server.isClosed], [false, false]);
      server.end(3600);
      after(t, 10, () => {
        server.close(7, "enough");
        events.push("returned");
        client.close();
      });
    });
    await t.run();
    assertEquals(events, [[7, "enough"], "returned"]);
  });
};
