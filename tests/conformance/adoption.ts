/** Semantic 7: moving sockets between contexts, and child contexts. */
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertThrows,
  fail,
} from "@std/assert";
import { CloseCode, Loop, type Socket } from "@usockets/usockets";
import { after, closeAll, openPairs } from "../support/pairs.ts";
import { Digest, pattern, Sender, sha256 } from "../support/streams.ts";
import { adoptionInHandlers } from "./adoption_in_handlers.ts";
import { HangingPort } from "../support/hanging_port.ts";
import type { Behaviours } from "./fixture.ts";

export const adoption: Behaviours = (behaviour) => {
  behaviour("adopt() returns the same socket, with the handlers of its new context", async (t) => {
    const events: string[] = [];
    const note = (name: string) => ({
      onData(socket: Socket, data: Uint8Array) {
        events.push(`${name} ${new TextDecoder().decode(data)}`);
        if (name === "web") {
          assertStrictEquals(socketSocket.adopt(socket), socket);
          assertStrictEquals(socket.context, socketSocket as unknown);
          socket.write("upgraded");
        } else {
          socket.write("bye");
        }
      },
      onEnd(socket: Socket) {
        events.push(`${name} end`);
        socket.shutdown();
      },
      onClose: (_socket: Socket, code: number) => void events.push(`${name} close ${code}`),
    });
    const socketSocket = t.server<unknown>(note("socket"));
    openPairs(t, 1, {
      server: note("web"),
      client: {
        onData(socket, data) {
          const answer = new TextDecoder().decode(data);
          events.push(`client ${answer}`);
          if (answer === "bye") socket.end();
          else socket.write("frame");
        },
      },
    }, ({ clients: [socket] }) => void socket.write("upgrade"));
    await t.run();
    assertEquals(events, [
      "web upgrade",
      "client upgraded",
      "socket frame",
      "client bye",
      "socket end",
      "socket close 0",
    ]);
  });

  behaviour("bytes already on the way go to whichever context the socket is in", async (t) => {
    const bytes = pattern(4 << 20);
    const received = new Digest();
    const counts = { first: 0, second: 0 };
    const handlers = (name: "first" | "second") => ({
      onData(socket: Socket, data: Uint8Array) {
        assertStrictEquals(socket.context, contexts[name] as unknown);
        received.add(data);
        counts[name]++;
        contexts[name === "first" ? "second" : "first"].adopt(socket);
      },
      onEnd(socket: Socket) {
        socket.end();
        listener.close();
      },
    });
    const contexts = {
      first: t.server<unknown>(handlers("first")),
      second: t.server<unknown>(handlers("second")),
    };
    const listener = t.listen(contexts.first);
    const sender = new Sender(bytes);
    const pump = (socket: Socket) => {
      if (sender.pump(socket)) socket.end();
    };
    t.connect(t.client<unknown>({ onOpen: pump, onWritable: pump }), listener);
    await t.run();
    assertEquals(received.length, bytes.length);
    assertEquals(received.hex(), sha256(bytes));
    assert(counts.first - counts.second === 0 || counts.first - counts.second === 1);
    assert(counts.second > 0, "all 4 MiB came as one");
  });

  behaviour(
    "adopt() replaces ext by what is given, else by socketExt(), else by nothing",
    async (t) => {
      let made = 0;
      const withExt = t.client<{ id: number }>({ socketExt: () => ({ id: ++made }) });
      const without = t.client();
      const onClose: Record<string, unknown> = {};
      withExt.onClose = (socket) => void (onClose.ext = socket.ext);
      openPairs(t, 1, {}, (pairs) => {
        const [socket] = pairs.clients;
        const given = { id: 100 };
        assertStrictEquals(withExt.adopt(socket, given).ext, given);
        assertEquals(made, 0);
        assertEquals(withExt.adopt(socket).ext, { id: 1 }); // into the context it is in already
        assertStrictEquals(without.adopt(socket).ext, undefined);
        assertEquals(withExt.adopt(socket).ext, { id: 2 });
        closeAll(pairs);
      });
      await t.run();
      assertEquals(onClose, { ext: { id: 2 } });
    },
  );

  behaviour("adoptHandle()'s ext is what it is given, or else socketExt()'s", async (t) => {
    const opened: string[] = [];
    const server = t.server({
      onPreOpen(handle) {
        if (opened.length === 0) adopting.adoptHandle(handle, "given");
        else adopting.adoptHandle(handle);
        return false;
      },
    });
    const adopting = server.createChild({
      socketExt: () => "made",
      onOpen: (socket) => void opened.push(socket.ext),
    });
    const listener = t.listen(server);
    const client = t.client({
      onOpen: (socket) => socket.end(),
      onClose() {
        if (opened.length === 1) t.connect(client, listener);
        else listener.close();
      },
    });
    t.connect(client, listener);
    await t.run();
    assertEquals(opened, ["given", "made"]);
  });

  behaviour("adopt() clears both timeouts, and new ones can be set", async (t) => {
    const fired: string[] = [];
    const other = t.client<unknown>({
      onTimeout(socket) {
        fired.push("other timeout");
        after(t, 20, () => socket.end());
      },
      onLongTimeout: () => fail("onLongTimeout of the new context"),
    });
    openPairs(t, 1, {
      client: {
        onTimeout: () => fail("onTimeout of the old context"),
        onLongTimeout: () => fail("onLongTimeout of the old context"),
      },
    }, ({ clients: [socket] }) => {
      socket.timeout(0.005);
      socket.longTimeout(0.0002);
      other.adopt(socket);
      after(t, 30, () => {
        assertEquals(fired, []);
        socket.timeout(0.005);
      });
    });
    await t.run();
    assertEquals(fired, ["other timeout"]);
  });

  behaviour("adopt() keeps what bounds end()", async (t) => {
    const closes: string[] = [];
    const other = t.client<unknown>({
      onClose(_socket, code) {
        closes.push(`other ${code}`);
        for (const socket of servers) socket.close();
      },
    });
    let servers: Socket[] = [];
    openPairs(t, 1, {
      client: { onClose: () => void closes.push("old") },
      server: { onEnd() {} }, // never ends its own direction
    }, (pairs) => {
      servers = pairs.servers;
      pairs.clients[0].end(0.03);
      other.adopt(pairs.clients[0]);
    });
    await t.run();
    assertEquals(closes, ["other 0"]);
  });

  behaviour("adopt() keeps what bounds a connect and a handshake", async (t) => {
    const { isTls } = t.transport;
    using silent = await HangingPort.open(); // lets no connect through
    // Lets connects through, and says nothing.
    const mute = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const events: string[] = [];
    const next = t.loop.createContext({
      onOpen: () => void events.push("open"),
      onConnectError: (_socket, error) => void events.push(`connect ${error.name}`),
      onClose: (_socket, code) => void events.push(`close ${code}`),
    });
    const client = t.loop.createContext({
      tls: isTls ? { ...t.clientTls, handshakeTimeoutSeconds: 0.02 } : undefined,
      onOpen: (socket) => void next.adopt(socket), // the handshake is still to come
      onConnectError: () => fail("onConnectError of the old context"),
      onClose: () => fail("onClose of the old context"),
    });
    next.adopt(
      client.connect({ host: "127.0.0.1", port: silent.port, timeoutSeconds: 0.02 }),
    );
    if (isTls) client.connect({ host: "127.0.0.1", port: mute.addr.port });
    await t.run();
    mute.close();
    const expected = ["connect TimedOut"];
    if (isTls) expected.push(`close ${CloseCode.Tls}`);
    assertEquals(events.sort(), expected.sort());
  });

  behaviour("a socket adopted back and forth a thousand times goes on working", async (t) => {
    const contexts = [t.client<unknown>(), t.client<unknown>()];
    const ends = contexts.map(() => 0);
    let answer = "";
    contexts.forEach((context, i) => {
      context.onData = (_socket, data) => {
        answer += new TextDecoder().decode(data);
        if (answer === "pong") { for (const each of contexts) each.close(); }
      };
      context.onClose = () => void ends[i]++;
    });
    openPairs(t, 3, {
      server: {
        onData: (socket) => void socket.write("pong"),
      },
    }, ({ clients: [first, second, third] }) => {
      contexts[0].adopt(second); // a neighbour that stays
      contexts[1].adopt(third);
      for (let i = 0; i < 1000; i++) {
        for (const context of contexts) assertStrictEquals(context.adopt(first), first);
      }
      first.write("ping");
    });
    await t.run();
    assertEquals([answer, ...ends], ["pong", 1, 2]);
    assertEquals(t.loop.stats().open, 0);
  });

  behaviour("a closed socket is adopted by nobody, and comes back unchanged", async (t) => {
    let made = 0;
    const other = t.client<number>({ socketExt: () => ++made });
    openPairs(t, 1, {}, (pairs) => {
      const [socket] = pairs.clients;
      closeAll(pairs);
      assertStrictEquals(other.adopt(socket) as Socket, socket);
      assertStrictEquals(other.adopt(socket, 7) as Socket, socket);
      assertStrictEquals(socket.context, pairs.client as unknown);
      assertStrictEquals(socket.ext, undefined);
      assert(socket.isClosed);
    });
    await t.run();
    assertEquals(made, 0);
  });

  behaviour("adopt() refuses sockets of other loops, and freed contexts", async (t) => {
    using foreign = new Loop({ backend: t.transport.backend });
    const foreignContext = foreign.createContext();
    const freed = t.loop.createContext();
    freed.free();
    const codes: number[] = [];
    openPairs(t, 1, {
      client: { onClose: (_socket, code) => void codes.push(code) },
    }, (pairs) => {
      const [socket] = pairs.clients;
      const error = assertThrows(() => foreignContext.adopt(socket), TypeError);
      assert(error.message.startsWith("Cannot adopt: "), error.message);
      assertThrows(() => freed.adopt(socket), Deno.errors.BadResource, "Cannot adopt: ");
      assertStrictEquals(socket.context, pairs.client as unknown);
      pairs.client.close(); // it is still in there
      closeAll(pairs);
    });
    await t.run();
    assertEquals(codes, [0]);
  });

  behaviour(
    "close() of a context closes what it adopted, and not what was adopted from it",
    async (t) => {
      const events: string[] = [];
      const other = t.client<unknown>({
        onClose: (_socket, code) => void events.push(`other ${code}`),
      });
      openPairs(t, 3, {
        client: { onClose: (_socket, code) => void events.push(`old ${code}`) },
      }, (pairs) => {
        other.adopt(pairs.clients[1]);
        pairs.client.close();
        events.push("-");
        other.close();
      });
      await t.run();
      assertEquals(events, ["old 0", "old 0", "-", "other 0"]);
    },
  );

  behaviour("a child context shares its parent's TLS, and no handlers", async (t) => {
    const events: string[] = [];
    const parent = t.server({ onOpen: () => fail("onOpen of the parent") });
    const child = parent.createChild({
      socketExt: () => ({ name: "of a child" }),
      ext: "context",
      onHandshake: () => void events.push("handshake"),
      onData(socket, data) {
        events.push(`${socket.ext.name} ${socket.context.ext}`);
        socket.write(data);
      },
    });
    const listener = child.listen(t.address()); // without TLS options of its own
    const client = t.client({ onOpen: () => fail("onOpen of the parent") }).createChild({
      onOpen: (socket) => void (t.transport.isTls || socket.write("x")),
      onHandshake: (socket) => void socket.write("x"),
      onData: (socket) => socket.end(),
      onClose: () => listener.close(),
    });
    t.connect(client, listener);
    parent.free(); // children stay
    await t.run();
    assertEquals(
      events,
      t.transport.isTls ? ["handshake", "of a child context"] : ["of a child context"],
    );
  });

  behaviour("createChild() refuses TLS options, and freed parents", (t) => {
    const parent = t.server();
    const options = { tls: t.clientTls ?? {} };
    // @ts-expect-error: the types know no such option either
    const error = assertThrows(() => parent.createChild(options), TypeError);
    assertInstanceOf(error, TypeError);
    parent.free();
    assertThrows(() => parent.createChild(), Deno.errors.BadResource);
  });

  adoptionInHandlers(behaviour);
};
