/** Semantics 4: closing, and what is closed. */
import { assert, assertEquals, assertInstanceOf, assertThrows } from "@std/assert";
import { CloseCode, type Socket } from "@usockets/usockets";
import { Flood } from "../support/flood.ts";
import { after, openPairs } from "../support/pairs.ts";
import { dialPeer } from "../support/peers.ts";
import { runWith, Signal } from "../support/scripts.ts";
import { concat, pattern, sha256 } from "../support/streams.ts";
import { closingHalf } from "./closing_half.ts";
import { closingTls } from "./closing_tls.ts";
import { ending } from "./ending.ts";
import type { Behaviours } from "./fixture.ts";
import { resets } from "./resets.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

export const closing: Behaviours = (behaviour) => {
  closingHalf(behaviour);
  ending(behaviour);
  resets(behaviour);
  closingTls(behaviour);

  behaviour("close() right behind accepted writes loses none of them", async (t) => {
    const flood = new Flood();
    let received: Uint8Array = new Uint8Array(0);
    const closed = new Signal(t);
    const listener = t.listen(t.server({
      onOpen(socket) {
        flood.pump(socket);
        flood.whenStuck(t, () => {
          socket.close();
          listener.close();
          closed.fire();
        });
      },
      onWritable: (socket) => flood.pump(socket),
      onClose: (_socket, code) => assertEquals(code, 0),
    }));
    const read = function* () {
      const peer = yield* dialPeer(t, listener);
      yield* closed.wait(); // nothing is read until then, and nothing is ever sent
      received = yield* peer.readAll();
      peer.close();
    };
    await runWith(t, read());
    assertEquals(sha256(received), sha256(flood.sent));
  });

  behaviour("close() inside onOpen still sends what onOpen wrote", async (t) => {
    const bytes = pattern(5000);
    const received: Record<string, Uint8Array[]> = { server: [], client: [] };
    const closed: Record<string, number> = {};
    // Once the server closes in its onOpen, once the client does.
    const connection = (closer: "server" | "client", next: () => void) => {
      const end = (name: "server" | "client") => ({
        onOpen(socket: Socket) {
          if (name !== closer) return;
          assertEquals(socket.write(bytes), bytes.length);
          socket.close(9);
        },
        onData: (_socket: Socket, data: Uint8Array) => void received[name].push(data.slice()),
        onClose(_socket: Socket, code: number) {
          if (name === closer) return assertEquals(code, 9);
          closed[name] = code;
          next();
        },
      });
      const listener = t.listen(t.server(end("server")));
      const client = t.client(end("client"));
      t.connect(client, listener);
      return listener;
    };
    const first = connection("server", () => {
      first.close();
      const second = connection("client", () => second.close());
    });
    await t.run();
    assertEquals(closed, { client: 0, server: 0 });
    assertEquals(sha256(concat(received.client)), sha256(bytes));
    assertEquals(sha256(concat(received.server)), sha256(bytes));
  });

  behaviour("two sockets that are closed with full buffers do not hold each other", async (t) => {
    const floods = new Map<Socket, Flood>();
    const handlers = { onWritable: (socket: Socket) => floods.get(socket)?.pump(socket) };
    openPairs(t, 1, { client: handlers, server: handlers }, ({ clients, servers }) => {
      const both = [...clients, ...servers];
      let stuck = 0;
      for (const socket of both) {
        const flood = new Flood();
        floods.set(socket, flood);
        socket.pause();
        flood.pump(socket);
        flood.whenStuck(t, () => {
          if (++stuck === 2) { for (const one of both) one.close(); }
        });
      }
    });
    await t.run(); // ends, and not by a time limit
  });

  behaviour("close() calls onClose inside itself, once, with its code and reason", async (t) => {
    const reason = { why: "any value" };
    const events: unknown[] = [];
    openPairs(t, 3, {
      client: {
        onClose(socket, code, given) {
          events.push([code, given === reason, socket.isClosed]);
          socket.close(5, "again"); // does nothing
        },
      },
    }, ({ clients }) => {
      clients[0].close(4711, reason);
      events.push("returned");
      clients[0].close(4712, "again");
      clients[0].end();
      clients[0].shutdown();
      clients[1].close();
      events.push("returned");
      after(t, 1, () => { // outside of any socket's handler, and in a later iteration
        clients[2].close(0, reason);
        events.push("returned");
      });
    });
    await t.run();
    assertEquals(events, [
      ...[[4711, true, true], "returned"],
      ...[[0, false, true], "returned"],
      ...[[0, true, true], "returned"],
    ]);
  });

  behaviour("close() refuses the library's codes and fractions, and stays open", async (t) => {
    let answer = "";
    openPairs(t, 1, {
      server: { onData: (socket, data) => void socket.write(data) },
      client: {
        onData(socket, data) {
          answer += text(data);
          if (answer === "open") socket.close();
        },
        onClose: (_socket, code) => assertEquals(code, 0),
      },
    }, ({ clients: [socket] }) => {
      for (const code of [CloseCode.Reset, -100, 1.5, NaN, Infinity]) {
        assertThrows(() => socket.close(code), RangeError);
      }
      assertEquals([socket.isClosed, socket.isEstablished], [false, true]);
      socket.write("open");
    });
    await t.run();
    assertEquals(answer, "open");
  });

  behaviour("isEstablished, isShutDown and isClosed tell each stage of a socket", async (t) => {
    const stages: Record<string, boolean[]> = {};
    const note = (stage: string, { isEstablished, isShutDown, isClosed }: Socket) =>
      stages[stage] = [isEstablished, isShutDown, isClosed];
    const listener = t.listen(t.server({
      onOpen: (socket) => note("accepted", socket),
      onEnd(socket) {
        note("half open", socket);
        socket.shutdown();
        note("both ended", socket);
      },
    }));
    const client = t.client({
      onOpen(socket) {
        note("open", socket);
        socket.shutdown();
        note("shut down", socket);
      },
      onClose(socket) {
        note("closing", socket);
        listener.close();
      },
    });
    const socket = t.connect(client, listener);
    note("connecting", socket);
    await t.run();
    note("closed", socket);
    assertEquals(stages, {
      connecting: [false, false, false],
      accepted: [true, false, false],
      open: [true, false, false],
      "shut down": [true, true, false],
      "half open": [true, false, false],
      "both ended": [false, true, true],
      closing: [false, true, true],
      closed: [false, true, true],
    });
  });

  behaviour("addresses are there from onOpen to onClose", async (t) => {
    type Addresses = [string, number, string, number];
    const seen: Record<string, Addresses> = {};
    const addresses = (socket: Socket): Addresses => [
      socket.remoteAddress,
      socket.remotePort,
      socket.localAddress,
      socket.localPort,
    ];
    const end = (name: string) => ({
      onOpen(socket: Socket, isClient: boolean, ip: string) {
        assertEquals([isClient, ip], [name === "client", socket.remoteAddress]);
        seen[`${name} opens`] = addresses(socket);
      },
      onClose(socket: Socket) {
        seen[`${name} closes`] = addresses(socket);
        if (name === "server") listener.close();
      },
    });
    const listener = t.listen(t.server({
      ...end("server"),
      onData: (socket) => socket.end(),
    }));
    const client = t.client(end("client"));
    const socket = t.connect(client, listener);
    assertEquals(addresses(socket), ["", 0, "", 0]);
    after(t, 5, function send(): void { // once it is open
      if (socket.write("bye") === 0) after(t, 5, send);
    });
    await t.run();
    if (t.transport.isUnix) {
      for (const each of Object.values(seen)) assertEquals(each, ["", 0, "", 0]);
    } else {
      const port = seen["client opens"][3];
      assert(port > 0);
      const ofServer: Addresses = ["127.0.0.1", port, "127.0.0.1", listener.port];
      const ofClient: Addresses = ["127.0.0.1", listener.port, "127.0.0.1", port];
      assertEquals([seen["server opens"], seen["server closes"]], [ofServer, ofServer]);
      assertEquals([seen["client opens"], seen["client closes"]], [ofClient, ofClient]);
    }
    assertEquals(Object.keys(seen).length, 4);
  });

  behaviour("context.close() closes its listeners and all its sockets with 0", async (t) => {
    const closed: unknown[] = [];
    let isListenerClosed = false;
    const server = t.server({
      onClose(_socket, code, reason) {
        closed.push([code, reason]);
        server.close(); // from inside, too
      },
    });
    const spare = t.listen(server);
    spare.closed.then(() => isListenerClosed = true);
    let clientsClosed = 0;
    openPairs(t, 3, {
      server: { onClose: (_socket, code, reason) => void closed.push([code, reason]) },
      client: { onClose: () => void clientsClosed++ },
    }, ({ server: context, client }) => {
      server.close();
      const canceled = client.connect(t.addressOf(t.listen(server)));
      context.close();
      assertEquals([closed.length, clientsClosed], [3, 0], "not closed before it returned");
      server.close();
      canceled.close();
      assertEquals(context.listen(t.address()).close(), undefined); // it can still be used
      assertEquals(client.loop.stats().open, 3);
    });
    await t.run();
    assertEquals(closed, Array(3).fill([CloseCode.Clean, undefined]));
    assertEquals([clientsClosed, t.loop.stats().open], [3, 0]);
    await spare.closed;
    assert(isListenerClosed);
  });

  behaviour("context.free() closes with Freed, and nothing comes of it after", async (t) => {
    const closed: number[] = [];
    const ofChild: string[] = [];
    openPairs(t, 3, {
      server: {
        onClose(_socket, code, reason) {
          assertInstanceOf(reason, Error);
          closed.push(code);
        },
      },
    }, ({ server, servers, clients }) => {
      const child = server.createChild({
        onData: (_socket, data) => void ofChild.push(text(data)),
        onClose: (_socket, code) => void ofChild.push(`closed with ${code}`),
      });
      child.adopt(servers[0]); // children stay
      server.free();
      server.free();
      assertEquals(closed, [CloseCode.Freed, CloseCode.Freed]);
      const { BadResource } = Deno.errors;
      assertThrows(() => server.listen(t.address()), BadResource);
      assertThrows(() => server.connect({ port: 1 }), BadResource);
      assertThrows(() => server.createChild(), BadResource);
      assertThrows(() => server.adopt(servers[0]), BadResource);
      for (const socket of clients) {
        socket.write("alive"); // two of them to nobody
        socket.shutdown();
      }
    });
    await t.run();
    assertEquals(ofChild, ["alive", "closed with 0"]);
    assertEquals(t.loop.stats().open, 0);
  });
};
