/** What a review found broken once: each test is named after what went wrong for a program. */
import { assertEquals, assertFalse, assertThrows, fail } from "@std/assert";
import { CloseCode, type Handlers, type ListenSocket, type Socket } from "@usockets/usockets";
import { Flood } from "../support/flood.ts";
import { after, openPairs } from "../support/pairs.ts";
import { resettingPeer } from "../support/peers.ts";
import { runWith, Signal } from "../support/scripts.ts";
import { concat, pattern, Sender, sha256 } from "../support/streams.ts";
import type { Behaviours } from "./fixture.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

export const regressions: Behaviours = (behaviour) => {
  behaviour("close() in onWritable while data waits ends the socket, and no other", async (t) => {
    const floods = new Map<Socket, Flood>();
    const codes: number[] = [];
    let answer = "";
    let isDraining = false;
    const listener = t.listen(t.server({ onData: (socket, data) => void socket.write(data) }));
    openPairs(t, 4, {
      server: {
        onWritable(socket) {
          if (isDraining) socket.close(1);
          else floods.get(socket)!.pump(socket);
        },
        onClose: (_socket, code) => void codes.push(code),
      },
      client: {
        // A byte for each piece: when the server has room again, it has something to read too.
        onData: (socket) => void socket.write("x"),
      },
    }, ({ clients, servers }) => {
      for (const client of clients) client.pause();
      for (const server of servers) floods.set(server, new Flood());
      for (const [server, flood] of floods) flood.pump(server);
      const last = [...floods.values()].at(-1)!;
      last.whenStuck(t, () => {
        isDraining = true;
        for (const client of clients) client.resume();
        // The other connection lives in the same iterations.
        t.connect(bystander, listener);
      });
    });
    const bystander = t.client({
      onOpen: (socket) => void socket.write("here?"),
      onData(socket, data) {
        answer += text(data);
        if (answer.length === 5) socket.end();
      },
      onClose: () => listener.close(),
    });
    await t.run();
    assertEquals([codes, answer], [[1, 1, 1, 1], "here?"]);
  });

  for (const call of ["resume", "end"] as const) {
    behaviour(`${call}() inside onData leaves the view in hand alone`, async (t) => {
      const sent = pattern(1 << 20);
      const sender = new Sender(sent);
      const received: Uint8Array[] = [];
      let changed = 0;
      openPairs(t, 1, {
        server: {
          onData(socket, data) {
            const before = data.slice();
            received.push(before);
            // end() comes late, when a backend's buffers have the size that the traffic asks for
            if (call === "end" && received.length < 8) return;
            socket.pause();
            socket[call]();
            if (sha256(before) !== sha256(data)) changed++;
          },
        },
        client: {
          onWritable(socket) {
            if (sender.pump(socket)) socket.end();
          },
        },
      }, ({ clients: [client], servers: [server] }) => {
        // More waits in the kernel than one view holds.
        server.pause();
        if (sender.pump(client)) client.end();
        after(t, 20, () => server.resume());
      });
      await t.run();
      assertEquals(changed, 0, `of ${received.length} views`);
      const bytes = concat(received);
      if (call === "resume") assertEquals(bytes.length, sent.length);
      assertEquals(sha256(bytes), sha256(sent.slice(0, bytes.length)));
    }, { recvBufferBytes: 65_536 });
  }

  behaviour("a handler that transfers its view's buffer hurts no other connection", async (t) => {
    const pairs = 4;
    const answers = new Map<Socket, string>();
    let transfers = 0;
    openPairs(t, pairs, {
      server: {
        onData(socket, data) {
          if (data[0] !== "T".charCodeAt(0)) return void socket.write(data);
          transfers++;
          try {
            // A byte stream's enqueue() and postMessage() do the same.
            structuredClone(data, { transfer: [data.buffer as ArrayBuffer] });
          } catch { /* a backend may have buffers that cannot be transferred */ }
        },
      },
      client: {
        onData(socket, data) {
          const answer = (answers.get(socket) ?? "") + text(data);
          answers.set(socket, answer);
          if (answer.length === 5) socket.end();
        },
      },
    }, ({ clients: [vandal, ...innocents] }) => {
      vandal.write("T");
      after(t, 20, () => {
        for (const socket of innocents) socket.write("hello");
        after(t, 20, () => vandal.end());
      });
    });
    await t.run();
    assertEquals([transfers, [...answers.values()]], [1, Array(pairs - 1).fill("hello")]);
  });

  behaviour(
    "a reconnect some promises behind the last onClose still keeps run() going",
    async (t) => {
      for (let promises = 0; promises < 6; promises++) {
        let opened = 0, open = 0;
        const start = () => {
          const handlers: Handlers<undefined> = {
            onOpen() {
              opened++;
              open++;
            },
            async onClose() {
              if (--open > 0 || opened > 2) return;
              for (let i = 0; i < promises; i++) await undefined;
              start();
            },
          };
          const listener = t.listen(t.server({
            ...handlers,
            onOpen(socket, isClient, ip) {
              handlers.onOpen!(socket, isClient, ip);
              listener.close(); // nothing but the two sockets is left
              after(t, 10, () => socket.end());
            },
          }));
          t.connect(t.client(handlers), listener);
        };
        start();
        await t.run();
        assertEquals([opened, open], [4, 0], `${promises} promises behind`);
      }
    },
  );

  const endings: Record<string, (listeners: ListenSocket[]) => void> = {
    "context": ([{ context }]) => context.close(),
    "loop": ([{ context }]) => void context.loop.shutdown({ graceSeconds: 0 }),
    "listener": (listeners) => listeners.forEach((listener) => listener.close()),
  };
  for (const [what, close] of Object.entries(endings)) {
    behaviour(
      `a connection accepted in the turn that closes its ${what} does not open`,
      async (t) => {
        let opened = 0, isOver = false;
        const server = t.server({
          onOpen(socket) {
            opened++;
            if (isOver) socket.close();
            isOver = true;
            close(listeners); // those that accepted the other connections, too
            socket.close();
          },
        });
        const listeners = Array.from({ length: 8 }, () => t.listen(server));
        const client = t.client();
        for (const listener of listeners) t.connect(client, listener);
        await t.run();
        assertEquals([opened, t.loop.stats().open], [1, 0]);
      },
    );

    // onPreOpen may well close the listener and keep this connection: its last one.
    if (what === "listener") continue;
    behaviour(`a connection whose onPreOpen closes its ${what} does not open`, async (t) => {
      let asked = 0;
      const server = t.server({
        onPreOpen() {
          asked++;
          close([listener]);
          return true;
        },
        onOpen(socket) {
          socket.close();
          fail("onOpen");
        },
      });
      const listener = t.listen(server);
      t.connect(t.client(), listener);
      await t.run();
      assertEquals([asked, t.loop.stats().open], [1, 0]);
    });
  }

  behaviour("a write() behind a latched error on a paused socket ends in onClose", async (t) => {
    const codes: number[] = [];
    let isOpen = false;
    const accepted: number[] = [];
    const paused = new Signal(t);
    const listener = t.listen(t.server({
      onData(socket) {
        if (isOpen) return fail("onData while paused");
        isOpen = true;
        socket.pause(); // until the database has answered, say
        if (t.transport.isUnix) socket.write("go"); // what makes a unix peer reset
        paused.fire();
        const answer = () => {
          accepted.push(socket.write("answer"));
          if (accepted.length === 1) after(t, 30, answer);
          else assertEquals(accepted[1], 0);
        };
        after(t, 100, answer);
      },
      onWritable: () => fail("onWritable of a dead connection"),
      onEnd: () => fail("onEnd behind a RST"),
      onClose: (_socket, code) => void codes.push(code),
    }));
    const peer = function* () {
      const resetting = yield* resettingPeer(t, listener);
      yield* resetting.send(pattern(10));
      yield* paused.wait();
      listener.close();
      yield* resetting.reset();
    };
    await runWith(t, peer());
    assertEquals([accepted.length, codes], [2, [CloseCode.Reset]]);
  });

  for (const action of ["close", "throw"] as const) {
    behaviour(`what was written before a ${action} in onHandshake is still sent`, async (t) => {
      let received = "";
      const codes: Record<string, number> = {};
      t.expectsErrors = action === "throw";
      const listener = t.listen(t.server({
        onData: (_socket, data) => void (received += text(data)),
        onClose: (_socket, code) => void (codes.server = code),
      }));
      const act = (socket: Socket) => {
        if (action === "close") socket.close(1);
        else throw new Error("intended");
      };
      const client = t.client({
        onOpen(socket) {
          listener.close();
          socket.write("QUIT\r\n");
          if (!t.transport.isTls) act(socket);
        },
        onHandshake: act,
        onClose: (_socket, code) => void (codes.client = code),
      });
      t.connect(client, listener);
      await t.run();
      assertEquals(t.errors.length, action === "close" ? 0 : 1);
      assertEquals([received, codes], ["QUIT\r\n", {
        server: 0,
        client: action === "close" ? 1 : CloseCode.Handler,
      }]);
    });
  }

  behaviour("a failed handshake of a paused socket is reported without resume()", async (t) => {
    // Answers the ClientHello in the clear, as a server without TLS would.
    const plain = t.loop.createContext({
      onData(socket) {
        socket.write("HTTP/1.1 400 Bad Request\r\n\r\n");
        socket.end();
      },
    });
    const listener = plain.listen({ host: "127.0.0.1", port: 0 });
    const codes: number[] = [];
    const client = t.loop.createContext({
      tls: { ...t.clientTls, handshakeTimeoutSeconds: 3600 },
      onOpen(socket) {
        listener.close();
        socket.pause(); // for good
      },
      onHandshake: () => fail("onHandshake"),
      onClose: (_socket, code) => void codes.push(code),
    });
    t.connect(client, listener);
    await t.run();
    assertEquals(codes, [CloseCode.Tls]);
  });

  for (const end of ["shutdown", "free"] as const) {
    behaviour(`a client that reconnects in onClose can tell ${end}()`, async (t) => {
      const { loop } = t;
      const states: boolean[][] = [];
      const listener = t.listen(t.server());
      const client = t.client({
        onOpen(socket) {
          if (loop.stats().connected === 1) socket.close(); // and again
          else if (end === "free") loop.free();
          else loop.shutdown({ graceSeconds: 0 });
        },
        onClose() {
          states.push([loop.isShuttingDown, loop.isFreed]);
          if (!loop.isShuttingDown && !loop.isFreed) return void t.connect(client, listener);
          assertThrows(() => t.connect(client, listener), Deno.errors.BadResource);
        },
      });
      t.connect(client, listener);
      await t.run();
      assertEquals(states, [[false, false], [end === "shutdown", end === "free"]]);
    });
  }

  behaviour("stats() counts what shutdownRead() dropped as received", async (t) => {
    openPairs(t, 1, {
      server: { onData: () => fail("onData behind shutdownRead()") },
    }, ({ clients: [client], servers: [server] }) => {
      server.shutdownRead();
      client.write(pattern(1000));
      client.end();
    });
    await t.run();
    const { bytesIn, bytesOut } = t.loop.stats();
    assertEquals([bytesIn, bytesOut], [1000, 1000]);
  });

  behaviour("no onHandshake behind end()", async (t) => {
    const codes: Record<string, number> = {};
    const listener = t.listen(t.server({
      onClose: (_socket, code) => void (codes.server = code),
    }));
    const client = t.client({
      onOpen(socket) {
        listener.close();
        socket.end();
        assertFalse(socket.isClosed);
      },
      onHandshake: () => fail("onHandshake"),
      onClose: (_socket, code) => void (codes.client = code),
    });
    t.connect(client, listener);
    await t.run();
    assertEquals(codes, { server: 0, client: 0 });
  });

  behaviour("maxConnections counts a closed connection that still has bytes to send", async (t) => {
    const flood = new Flood();
    let opened = 0;
    const servers: Socket[] = [];
    const server = t.server<unknown>({
      onOpen(socket) {
        servers.push(socket);
        opened++;
        if (opened === 1) flood.pump(socket);
        else socket.end();
      },
      onWritable: (socket) => flood.pump(socket),
    });
    const listener = server.listen({ ...t.address(), maxConnections: 1 });
    const received: Uint8Array[] = [];
    const slow = t.client<unknown>({
      onOpen(socket) {
        socket.pause();
        flood.whenStuck(t, () => {
          for (const socket of servers) socket.close();
          t.connect(t.client<unknown>({ onClose: () => listener.close() }), listener);
          after(t, 50, () => {
            assertEquals(opened, 1, "accepted while the first one was still sending");
            socket.resume();
          });
        });
      },
      onData: (_socket, data) => void received.push(data.slice()),
    });
    t.connect(slow, listener);
    await t.run();
    assertEquals(opened, 2);
    assertEquals(sha256(concat(received)), sha256(flood.sent));
  });

  behaviour("write() refuses what is no bytes, and names it", async (t) => {
    const wrong = [new ArrayBuffer(4), new Uint16Array(2), [1, 2], 7, null, undefined];
    openPairs(t, 1, {}, ({ clients: [socket] }) => {
      for (const data of wrong) {
        assertThrows(() => socket.write(data as never), TypeError, 'Cannot write: "data" must be');
        assertThrows(() => socket.write2(data as never, pattern(1)), TypeError, "Cannot write");
      }
      socket.end();
    });
    await t.run();
  });
};
