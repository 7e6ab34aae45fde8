/** Semantics 3: each direction of a connection ends by itself. */
import { assertEquals, fail } from "@std/assert";
import type { Socket } from "@usockets/usockets";
import { Flood } from "../support/flood.ts";
import { after, openPairs } from "../support/pairs.ts";
import { concat, Digest, pattern, Sender, sha256 } from "../support/streams.ts";
import type { Behaviours } from "./fixture.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

export const closingHalf: Behaviours = (behaviour) => {
  behaviour("a client that shuts down first still gets the whole answer", async (t) => {
    const answer = pattern(4 << 20);
    const sender = new Sender(answer);
    const received = new Digest();
    const events: string[] = [];
    let request = "";
    const pump = (socket: Socket) => {
      if (sender.pump(socket)) socket.shutdown();
    };
    const listener = t.listen(t.server({
      onData: (_socket, data) => void (request += text(data)),
      onEnd(socket) {
        events.push(`server ended behind ${request}`);
        pump(socket);
      },
      onWritable: pump,
      onClose: (_socket, code) => void events.push(`server closed with ${code}`),
    }));
    const client = t.client({
      onOpen(socket) {
        for (const part of ["GET ", "/", " now"]) socket.write(part);
        socket.shutdown();
      },
      onData: (_socket, data) => received.add(data),
      onEnd: () => void events.push("client ended"),
      onClose(_socket, code) {
        events.push(`client closed with ${code}`);
        listener.close();
      },
    });
    t.connect(client, listener);
    await t.run();
    assertEquals(events, [
      "server ended behind GET / now",
      "server closed with 0", // inside its shutdown(): both directions have ended
      "client ended",
      "client closed with 0",
    ]);
    assertEquals([received.length, received.hex()], [answer.length, sha256(answer)]);
  });

  behaviour("a server that shuts down first still gets the whole upload", async (t) => {
    const upload = pattern(4 << 20);
    const sender = new Sender(upload);
    const received = new Digest();
    const events: string[] = [];
    const pump = (socket: Socket) => {
      if (sender.pump(socket)) socket.shutdown();
    };
    const listener = t.listen(t.server({
      onOpen(socket) {
        socket.write("go");
        socket.shutdown();
      },
      onData: (_socket, data) => received.add(data),
      onEnd: () => void events.push(`server ended behind ${received.length}`),
      onClose(_socket, code) {
        events.push(`server closed with ${code}`);
        listener.close();
      },
    }));
    let greeting = "";
    const client = t.client({
      onData: (_socket, data) => void (greeting += text(data)),
      onEnd(socket) {
        events.push(`client ended behind ${greeting}`);
        pump(socket);
      },
      onWritable: pump,
      onClose: (_socket, code) => void events.push(`client closed with ${code}`),
    });
    t.connect(client, listener);
    await t.run();
    assertEquals(events, [
      "client ended behind go",
      "client closed with 0",
      `server ended behind ${upload.length}`,
      "server closed with 0",
    ]);
    assertEquals(received.hex(), sha256(upload));
  });

  behaviour("both ends may shut down at once, and both close with 0", async (t) => {
    const events: Record<string, string[]> = { server: [], client: [] };
    const end = (name: string) => ({
      onOpen(socket: Socket) {
        socket.write(`from ${name}`);
        socket.shutdown();
      },
      onData: (_socket: Socket, data: Uint8Array) => void events[name].push(text(data)),
      onEnd: () => void events[name].push("end"),
      onClose(_socket: Socket, code: number) {
        events[name].push(`close ${code}`);
        if (name === "server") listener.close();
      },
    });
    const listener = t.listen(t.server(end("server")));
    t.connect(t.client(end("client")), listener);
    await t.run();
    assertEquals(events, {
      server: ["from client", "end", "close 0"],
      client: ["from server", "end", "close 0"],
    });
  });

  behaviour("without onEnd a socket closes when its peer ends", async (t) => {
    const events: string[] = [];
    const listener = t.listen(t.server({
      onData: (_socket, data) => void events.push(`server got ${text(data)}`),
      onClose: (_socket, code, reason) => void events.push(`server closed with ${code} ${reason}`),
    }));
    const client = t.client({
      onOpen(socket) {
        socket.write("last words");
        socket.shutdown();
      },
      onEnd: () => void events.push("client ended"),
      onClose: () => listener.close(),
    });
    t.connect(client, listener);
    await t.run();
    assertEquals(events, [
      "server got last words",
      "server closed with 0 undefined",
      "client ended",
    ]);
  });

  behaviour("shutdown() sends the FIN behind everything accepted", async (t) => {
    const flood = new Flood();
    const received: Uint8Array[] = [];
    const events: string[] = [];
    let writer: Socket | undefined;
    const listener = t.listen(t.server({
      onOpen(socket) {
        writer = socket;
        flood.pump(socket);
      },
      onWritable(socket) {
        if (socket.isShutDown) fail("onWritable for what can never be written");
        flood.pump(socket);
      },
      onClose: () => listener.close(),
    }));
    let ends = 0;
    const client = t.client({
      onOpen(socket) {
        socket.pause();
        flood.whenStuck(t, () => {
          writer!.shutdown(); // every buffer on the way is full now, the library's too
          events.push(`shut down: ${writer!.isShutDown}, write: ${writer!.write("more")}`);
          after(t, 10, () => socket.resume());
        });
      },
      onData: (_socket, data) => void received.push(data.slice()),
      onEnd(socket) {
        ends++;
        socket.close();
      },
    });
    t.connect(client, listener);
    await t.run();
    assertEquals([ends, events], [1, ["shut down: true, write: 0"]]);
    assertEquals(sha256(concat(received)), sha256(flood.sent));
  });

  behaviour("shutdown() behind the peer's end closes with 0 before it returns", async (t) => {
    const events: string[] = [];
    const listener = t.listen(t.server({
      socketExt: () => "at once",
      onEnd(socket) {
        const shutDown = () => {
          socket.shutdown();
          events.push(`${socket.ext}: returned, closed: ${socket.isClosed}`);
        };
        if (events.length === 0) return shutDown();
        socket.ext = "later";
        after(t, 5, shutDown);
      },
      onClose: (socket, code) => void events.push(`${socket.ext}: closed with ${code}`),
    }));
    let clients = 0;
    const client = t.client({
      onOpen: (socket) => socket.shutdown(),
      onClose() {
        if (++clients === 1) t.connect(client, listener);
        else listener.close();
      },
    });
    t.connect(client, listener);
    await t.run();
    assertEquals(events, [
      "at once: closed with 0",
      "at once: returned, closed: true",
      "later: closed with 0",
      "later: returned, closed: true",
    ]);
  });

  behaviour("shutdownRead() drops what comes, and onEnd still comes", async (t) => {
    const events: string[] = [];
    openPairs(t, 1, {
      server: {
        onData(socket, data) {
          events.push(`server got ${text(data)}`);
          socket.shutdownRead();
          socket.write("drop");
        },
        onEnd(socket) {
          events.push("server ended");
          socket.write("still writing");
          socket.shutdown();
        },
        onClose: (_socket, code) => void events.push(`server closed with ${code}`),
      },
      client: {
        onData(socket, data) {
          events.push(`client got ${text(data)}`);
          if (text(data) !== "drop") return;
          socket.write(pattern(50_000)); // behind the answer, so after shutdownRead()
          socket.shutdown();
        },
      },
    }, ({ clients }) => clients[0].write("keep"));
    await t.run();
    assertEquals(events, [
      "server got keep",
      "client got drop",
      "server ended",
      "server closed with 0",
      "client got still writing",
    ]);
  });
};
