// What a program sees when the system has no memory for the moment, and that it goes on behind that.
// Out of descriptors: tests/unit/epoll_exhaustion_test.ts.
import { assertEquals, assertThrows } from "@std/assert";
import {
  CloseCode,
  type Handlers,
  type ListenSocket,
  type Loop,
  READABLE,
  type Socket,
} from "@usockets/usockets";
import { ENOBUFS, ENOMEM } from "../../ffi/errno.ts";
import { ENOSPC, faultyLoop } from "../support/faulty_libc.ts";
import { close, modes, nativeTest, pipe, runLoop, write } from "../support/native.ts";
import { concat, pattern } from "../support/streams.ts";

const host = "127.0.0.1";
const bytes = pattern(100_000);

/** "close -6 ENOMEM": what onClose was told. */
function told(code: number, reason: unknown): string {
  return `close ${code} ${(reason as { code?: string } | undefined)?.code ?? ""}`.trim();
}

/** A listener whose connections have these handlers. */
function serve(loop: Loop, handlers: Handlers): ListenSocket {
  return loop.createContext<undefined>(handlers as Handlers<undefined>).listen({ host, port: 0 });
}

for (const mode of modes) {
  for (const [name, errno] of [["ENOBUFS", ENOBUFS], ["ENOMEM", ENOMEM]] as const) {
    for (const call of ["send", "sendmsg"] as const) {
      nativeTest(`${call}() with ${name} is a write of 0, then onWritable (${mode})`, async () => {
        const { loop, faulty } = faultyLoop();
        const writes: number[] = [];
        const chunks: Uint8Array[] = [];
        let sent = 0;
        const listener = serve(loop, {
          onData: (_socket, data) => void chunks.push(data.slice()),
          onEnd(socket) {
            listener.close();
            socket.close();
          },
        });
        const pump = (socket: Socket) => {
          const rest = bytes.subarray(sent);
          const accepted = call === "send"
            ? socket.write(rest)
            : socket.write2(rest.subarray(0, 500), rest.subarray(500));
          writes.push(accepted);
          sent += accepted;
          if (sent === bytes.length) socket.shutdown();
        };
        faulty.failNext(call, errno, errno, errno);
        loop.createContext({
          onOpen: (socket) => pump(socket as Socket),
          onWritable: pump as never,
        })
          .connect({ host, port: listener.port });
        await runLoop(loop, mode);
        assertEquals(writes.slice(0, 3), [0, 0, 0]);
        assertEquals([faulty.due(call), concat(chunks)], [0, bytes]);
        loop.free();
      });
    }
  }

  nativeTest(
    `recv() with ENOMEM closes its socket with System, and no other (${mode})`,
    async () => {
      const { loop, faulty } = faultyLoop();
      const events: string[] = [];
      let greeted = 0;
      const listener = serve(loop, {
        onData(socket, data) {
          events.push("data");
          socket.write(data);
        },
        onClose: (_socket, code, reason) => void events.push(told(code, reason)),
      });
      const client = loop.createContext({
        onOpen(socket) {
          if (++greeted === 1) faulty.failNext("recv", ENOMEM);
          socket.write("hello");
        },
        onData(socket) {
          listener.close();
          socket.close();
        },
        onClose() {
          if (greeted === 1) client.connect({ host, port: listener.port });
        },
      });
      client.connect({ host, port: listener.port });
      await runLoop(loop, mode);
      assertEquals(events, [`close ${CloseCode.System} ENOMEM`, "data", "close 0"]);
      loop.free();
    },
  );

  nativeTest(`accept4() without memory loses nobody who waits (${mode})`, async () => {
    const { loop, faulty } = faultyLoop();
    const clients = 5;
    let served = 0, closed = 0;
    const listener = serve(loop, {
      onOpen(socket) {
        if (++served === clients) listener.close();
        socket.end();
      },
    });
    faulty.failNext("accept4", ENOMEM, ENOBUFS, ENOMEM);
    const client = loop.createContext({ onClose: (_socket, code) => void (closed += 1 - code) });
    for (let i = 0; i < clients; i++) client.connect({ host, port: listener.port });
    await runLoop(loop, mode);
    assertEquals([served, closed, faulty.due("accept4")], [clients, clients, 0]);
    loop.free();
  });

  for (
    const [call, name, errno] of [["socket", "ENOBUFS", ENOBUFS], [
      "epoll_ctl",
      "ENOSPC",
      ENOSPC,
    ]] as const
  ) {
    nativeTest(
      `connect() for which ${call}() fails says ${name}, and the next works (${mode})`,
      async () => {
        const { loop, faulty } = faultyLoop();
        const events: string[] = [];
        const listener = serve(loop, {});
        const client = loop.createContext({
          onConnectError(_socket, error) {
            const { code, message } = error as Error & { code?: string };
            events.push(`${code} ${message.startsWith(`Cannot `)}`);
            client.connect({ host, port: listener.port });
          },
          onOpen(socket) {
            events.push("open");
            listener.close();
            socket.close();
          },
        });
        faulty.failNext(call, errno);
        client.connect({ host, port: listener.port });
        await runLoop(loop, mode);
        assertEquals(events, [`${name} true`, "open"]);
        loop.free();
      },
    );
  }

  nativeTest(
    `a connection that cannot be watched is dropped, and the next served (${mode})`,
    async () => {
      const { loop, faulty } = faultyLoop();
      const events: string[] = [];
      let accepted = 0;
      const listener = serve(loop, {
        onPreOpen() { // what is to be watched next is this connection
          if (++accepted === 1) faulty.failNext("epoll_ctl", ENOSPC);
          return true;
        },
        onOpen(socket) {
          events.push("served");
          listener.close();
          socket.close();
        },
        onClose: () => void events.push("closed"),
      });
      const client = loop.createContext({
        onClose() {
          if (accepted === 1) client.connect({ host, port: listener.port });
        },
      });
      client.connect({ host, port: listener.port });
      await runLoop(loop, mode);
      assertEquals([events, accepted], [["served", "closed"], 2]);
      loop.free();
    },
  );

  nativeTest(`a poll that cannot be watched can be started again (${mode})`, async () => {
    const { loop, faulty } = faultyLoop();
    const [readable, writable] = pipe();
    let count = 0;
    const poll = loop.createPoll(readable, {
      onReady(poll) {
        count++;
        poll.free();
      },
    });
    faulty.failNext("epoll_ctl", ENOMEM);
    const error = assertThrows(() => poll.start(READABLE), Error, "Cannot watch descriptor");
    assertEquals([(error as { code?: string }).code, poll.events], ["ENOMEM", 0]);
    poll.start(READABLE);
    write(writable, new Uint8Array(1));
    await runLoop(loop, mode);
    assertEquals(count, 1);
    close(readable, writable);
    loop.free();
  });
}

nativeTest("listen() without memory throws, leaves nothing, and works the next time", () => {
  const { loop, faulty } = faultyLoop();
  const context = loop.createContext();
  const directory = Deno.makeTempDirSync();
  const path = `${directory}/memory.sock`;
  for (
    const [call, name, errno] of [
      ["socket", "ENOBUFS", ENOBUFS],
      ["bind", "ENOMEM", ENOMEM],
      ["epoll_ctl", "ENOSPC", ENOSPC],
    ] as const
  ) {
    for (const address of [{ host, port: 0 }, { path }]) {
      faulty.failNext(call, errno);
      const error = assertThrows(() => context.listen(address), Error, "Cannot ");
      assertEquals((error as { code?: string }).code, name);
      assertEquals([...Deno.readDirSync(directory)], []);
    }
  }
  for (const address of [{ host, port: 0 }, { path }]) context.listen(address).close();
  loop.free();
  Deno.removeSync(directory);
});
