/** Semantics 3 and 4 with TLS: an end without close_notify, and handshakes that come to nothing. */
import { assertEquals, assertInstanceOf, fail } from "@std/assert";
import { CloseCode, type Handlers, type Socket } from "@usockets/usockets";
import { Flood } from "../support/flood.ts";
import { after } from "../support/pairs.ts";
import { connectTcp, destroyed, Relay } from "../support/peers.ts";
import { concat, pattern, readAll, Sender, sha256, writeAll } from "../support/streams.ts";
import type { Behaviours, Fixture } from "./fixture.ts";

/** A server whose clients never finish a handshake. */
function hopeless(events: string[], next: (socket: Socket) => void = () => {}): Handlers {
  return {
    onHandshake: () => fail("onHandshake"),
    onData: () => fail("onData"),
    onEnd: () => fail("onEnd"),
    onClose(socket, code, reason) {
      assertInstanceOf(reason, Error);
      events.push(`close ${code}`);
      next(socket);
    },
  };
}

/** Has a server meet a peer that speaks raw TCP, and runs the loop to its end. */
async function meet(t: Fixture, act: (port: number) => Promise<void>): Promise<string[]> {
  const events: string[] = [];
  const listener = t.listen(t.server<unknown>(hopeless(events, () => listener.close())));
  await Promise.all([t.run(), act(listener.port)]);
  return events;
}

/** The start of a ClientHello: its record header promises more than comes. */
const halfHello = new Uint8Array([22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3, 7, 7, 7]);
const dialRaw = (port: number) => Deno.connect({ hostname: "127.0.0.1", port });

export const closingTls: Behaviours = (behaviour) => {
  behaviour("a TCP FIN without close_notify is Truncated, behind the bytes", async (t) => {
    const bytes = pattern(100_000);
    for (const sender of ["client", "server"]) {
      const events: Record<string, string[]> = { client: [], server: [] };
      const received: Uint8Array[] = [];
      const end = (name: string): Handlers => ({
        onHandshake(socket) {
          if (name === "server") listener.close();
          if (name !== sender) return;
          const rest = new Sender(bytes);
          const send = () => rest.pump(socket) ? socket.shutdown() : after(t, 1, send);
          send();
        },
        onData(_socket, data) {
          if (received.length === 0) events[name].push("data");
          received.push(data.slice());
        },
        onEnd: () => fail(`onEnd of the ${name}`),
        onClose: (_socket, code) => void events[name].push(`close ${code}`),
      });
      const listener = t.listen(t.server<unknown>(end("server")));
      const relay = await Relay.start(listener.port);
      t.client<unknown>(end("client")).connect({ host: "127.0.0.1", port: relay.port });
      await t.run();
      await relay.finished;
      const receiver = sender === "client" ? "server" : "client";
      assertEquals(events[receiver], ["data", `close ${CloseCode.Truncated}`]);
      assertEquals(events[sender], [`close ${CloseCode.Truncated}`]);
      assertEquals(sha256(concat(received)), sha256(bytes));
    }
  });

  behaviour("a TCP FIN without close_notify behind end() is a clean end", async (t) => {
    for (const ender of ["client", "server"]) {
      const codes: Record<string, number> = {};
      let received = "";
      const end = (name: string): Handlers => ({
        onHandshake(socket) {
          if (name === "server") listener.close();
          if (name !== ender) return;
          socket.write("bye");
          socket.end();
        },
        onData: (_socket, data) => void (received += new TextDecoder().decode(data)),
        onEnd: () => fail(`onEnd of the ${name}`),
        onClose: (_socket, code) => void (codes[name] = code),
      });
      const listener = t.listen(t.server<unknown>(end("server")));
      const relay = await Relay.start(listener.port); // lets no close_notify through
      t.client<unknown>(end("client")).connect({ host: "127.0.0.1", port: relay.port });
      await t.run();
      await relay.finished;
      const other = ender === "client" ? "server" : "client";
      assertEquals(codes, { [ender]: CloseCode.Clean, [other]: CloseCode.Truncated });
      assertEquals(received, "bye");
    }
  });

  behaviour("what was accepted still reaches a peer whose own stream was cut short", async (t) => {
    const flood = new Flood();
    const received: Uint8Array[] = [];
    const codes: number[] = [];
    const pieces = t.loop.createTimer();
    const listener = t.listen(t.server<unknown>({
      onHandshake(socket) {
        listener.close();
        // In pieces, so that some wait behind the write under way when the buffers are full.
        pieces.set(() => flood.pump(socket, 20_000), 1, 1);
      },
      onClose(_socket, code) {
        pieces.close();
        codes.push(code);
        client.resume();
      },
    }));
    const relay = await Relay.start(listener.port);
    const client = t.client<unknown>({
      onHandshake(socket) {
        socket.pause();
        flood.whenStuck(t, () => socket.shutdown()); // the relay lets no close_notify through
      },
      onData: (_socket, data) => void received.push(data.slice()),
    }).connect({ host: "127.0.0.1", port: relay.port });
    await t.run();
    await relay.finished;
    assertEquals(codes, [CloseCode.Truncated]);
    assertEquals(sha256(concat(received)), sha256(flood.sent));
  });

  behaviour("a truncated stream of a paused socket waits for resume()", async (t) => {
    const events: string[] = [];
    const listener = t.listen(t.server({
      onHandshake(socket) {
        listener.close();
        socket.pause();
        after(t, 60, () => {
          events.push("resume");
          socket.resume();
        });
      },
      onData: (_socket, data) => void events.push(new TextDecoder().decode(data)),
      onEnd: () => fail("onEnd of a truncated stream"),
      onClose: (_socket, code) => void events.push(`close ${code}`),
    }));
    const relay = await Relay.start(listener.port);
    const client = t.client({
      onHandshake(socket) {
        socket.write("before the cut");
        socket.shutdown();
      },
    });
    client.connect({ host: "127.0.0.1", port: relay.port });
    await t.run();
    await relay.finished;
    assertEquals(events, ["resume", "before the cut", `close ${CloseCode.Truncated}`]);
  });

  behaviour("garbage in place of a ClientHello is onClose(Tls)", async (t) => {
    const events = await meet(t, async (port) => {
      const conn = await dialRaw(port);
      await writeAll(conn, new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"));
      await readAll(conn).catch(() => {}); // an alert, perhaps, and the end
      conn.close();
    });
    assertEquals(events, [`close ${CloseCode.Tls}`]);
  });

  behaviour("a peer that ends in the middle of a handshake is onClose(Tls)", async (t) => {
    for (const bytes of [new Uint8Array(0), halfHello]) {
      const events = await meet(t, async (port) => {
        const conn = await dialRaw(port);
        await writeAll(conn, bytes);
        conn.close();
      });
      assertEquals(events, [`close ${CloseCode.Tls}`]);
    }
  });

  behaviour("a RST in the middle of a handshake is onClose(Reset)", async (t) => {
    const events: string[] = [];
    const opened = Promise.withResolvers<void>();
    const listener = t.listen(t.server<unknown>({
      ...hopeless(events, () => listener.close()),
      onOpen: () => opened.resolve(),
    }));
    const peer = async () => {
      const socket = await connectTcp(listener.port);
      await new Promise((resolve) => socket.write(halfHello, resolve));
      await opened.promise; // or nobody would accept it any more
      await destroyed(socket, () => socket.resetAndDestroy());
    };
    await Promise.all([t.run(), peer()]);
    assertEquals(events, [`close ${CloseCode.Reset}`]);
  });

  behaviour("a server's handshakeTimeoutSeconds bounds a silent client", async (t) => {
    let reason: unknown, opened = 0, lasted = 0;
    const closed = Promise.withResolvers<void>();
    const server = t.loop.createContext({
      tls: { ...t.serverTls, handshakeTimeoutSeconds: 0.05 },
      onOpen: () => void (opened = performance.now()),
      onHandshake: () => fail("onHandshake"),
      onEnd: () => fail("onEnd"),
      onClose(_socket, code, given) {
        lasted = performance.now() - opened;
        assertEquals(code, CloseCode.Tls);
        reason = given;
        listener.close();
        closed.resolve();
      },
    });
    const listener = t.listen(server);
    const stay = async () => {
      const conn = await dialRaw(listener.port);
      await closed.promise;
      conn.close();
    };
    await Promise.all([t.run(), stay()]);
    assertInstanceOf(reason, Deno.errors.TimedOut);
    assertEquals([lasted >= 50, t.loop.stats().open], [true, 0]);
  });

  behaviour("a client's handshakeTimeoutSeconds bounds a silent server", async (t) => {
    let reason: unknown;
    const silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const accepted = silent.accept();
    const client = t.loop.createContext({
      tls: { ...t.clientTls, handshakeTimeoutSeconds: 0.05 },
      onHandshake: () => fail("onHandshake"),
      onEnd: () => fail("onEnd"),
      onClose(_socket, code, given) {
        assertEquals(code, CloseCode.Tls);
        reason = given;
      },
    });
    client.connect({ host: "127.0.0.1", port: silent.addr.port });
    const conn = await accepted;
    const closed = t.run();
    await closed;
    conn.close();
    silent.close();
    assertInstanceOf(reason, Deno.errors.TimedOut);
  });

  behaviour("a handshake that is done in time is bounded no more", async (t) => {
    const codes: number[] = [];
    const tls = { ...t.serverTls, handshakeTimeoutSeconds: 0.05 };
    const server = t.loop.createContext({
      tls,
      onHandshake: (socket) => after(t, 100, () => socket.end()),
      onClose(_socket, code) {
        codes.push(code);
        listener.close();
      },
    });
    const listener = t.listen(server);
    t.connect(t.client({ onClose: (_socket, code) => void codes.push(code) }), listener);
    await t.run();
    assertEquals(codes, [0, 0]);
  });

  behaviour("end() in the middle of a handshake is polite once it is done", async (t) => {
    const events: Record<string, string[]> = { client: [], server: [] };
    const end = (name: string): Handlers => ({
      onOpen(socket) {
        if (name !== "server") return;
        socket.write("bye");
        socket.end();
      },
      onData: (_socket, data) => void events[name].push(new TextDecoder().decode(data)),
      onClose(_socket, code) {
        events[name].push(`close ${code}`);
        if (name === "server") listener.close();
      },
    });
    const listener = t.listen(t.server<unknown>(end("server")));
    t.connect(t.client<unknown>(end("client")), listener);
    await t.run();
    assertEquals(events, { client: ["bye", "close 0"], server: ["close 0"] });
  });
};
