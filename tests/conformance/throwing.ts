/** Semantics 10: where an error goes that a handler throws. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { CloseCode, type Socket } from "@usockets/usockets";
import { after, openPairs } from "../support/pairs.ts";
import type { Behaviours } from "./fixture.ts";

/** Collects what globalThis.reportError() gets, and keeps the process alive. */
function catchReported(): { errors: unknown[] } & Disposable {
  const errors: unknown[] = [];
  const listen = (event: ErrorEvent) => {
    event.preventDefault();
    errors.push(event.error);
  };
  globalThis.addEventListener("error", listen);
  return { errors, [Symbol.dispose]: () => globalThis.removeEventListener("error", listen) };
}

export const throwing: Behaviours = (behaviour) => {
  const reports: { error: unknown; socket: Socket | undefined }[] = [];
  const onError = (error: unknown, socket?: Socket) => {
    reports.push({ error, socket });
  };

  behaviour("whatever a handler throws closes its socket with an Error", async (t) => {
    reports.length = 0;
    const thrown: unknown[] = ["a string", undefined, null, 0, new TypeError("an error")];
    const reasons: unknown[] = [];
    let closed = 0;
    openPairs(t, thrown.length, {
      server: {
        onData(_socket, data) {
          throw thrown[data[0]];
        },
        onClose(_socket, code, reason) {
          assertEquals(code, CloseCode.Handler);
          reasons.push(reason);
        },
      },
      client: {
        onClose(_socket, code) { // the other end sees nothing but an end
          assertEquals(code, 0);
          closed++;
        },
      },
    }, ({ clients }) => {
      const sendNext = (i: number) => {
        clients[i].write(new Uint8Array([i]));
        if (i + 1 < thrown.length) after(t, 5, () => sendNext(i + 1));
      };
      sendNext(0);
    });
    await t.run();
    assertEquals(reports.map(({ error }) => error), thrown);
    assertEquals(closed, thrown.length);
    for (const [i, reason] of reasons.entries()) {
      assertInstanceOf(reason, Error);
      if (thrown[i] instanceof Error) assertStrictEquals<unknown>(reason, thrown[i]);
      else assertEquals([reason.message, reason.cause], [String(thrown[i]), thrown[i]]);
    }
  }, { onError });

  behaviour("a throw in onClose changes nothing about the closing", async (t) => {
    reports.length = 0;
    const closed: unknown[] = [];
    openPairs(t, 4, {
      client: {
        onClose(socket, code, reason) {
          closed.push([code, reason]);
          throw new Error(`closing ${socket.isClosed}`);
        },
      },
    }, ({ clients, client }) => {
      clients[0].close(1, "one"); // does not throw
      assertEquals(clients[0].isClosed, true);
      client.close();
      assertEquals(closed.length, 4);
    });
    await t.run();
    assertEquals(closed, [[1, "one"], ...Array(3).fill([0, undefined])]);
    assertEquals(
      reports.map(({ error }) => (error as Error).message),
      Array(4).fill("closing true"),
    );
    for (const { socket } of reports) assert(socket?.isClosed);
  }, { onError });

  behaviour("a throw behind close() is reported, and the first code stays", async (t) => {
    reports.length = 0;
    const closed: unknown[] = [];
    const error = new Error("too late");
    openPairs(t, 1, {
      server: {
        onData(socket) {
          socket.close(4);
          throw error;
        },
        onClose: (_socket, code) => void closed.push(code),
      },
    }, ({ clients: [client] }) => client.write("x"));
    await t.run();
    assertEquals(closed, [4]);
    assertStrictEquals(reports[0].error, error);
    assertEquals(reports.length, 1);
  }, { onError });

  behaviour("what onOpen wrote before it threw is still sent", async (t) => {
    reports.length = 0;
    let received = "";
    const listener = t.listen(t.server({
      onOpen(socket) {
        socket.write("sorry");
        throw new Error("out of order");
      },
      onClose(_socket, code) {
        assertEquals(code, CloseCode.Handler);
        listener.close();
      },
    }));
    const client = t.client({
      onData: (_socket, data) => void (received += new TextDecoder().decode(data)),
    });
    t.connect(client, listener);
    await t.run();
    assertEquals([received, reports.length], ["sorry", 1]);
  }, { onError });

  behaviour("without onError a thrown error goes to reportError()", async (t) => {
    using reported = catchReported();
    const error = new Error("nobody's");
    let answer = "";
    let closeCode: number | undefined;
    openPairs(t, 2, {
      server: {
        onData(socket, data) {
          if (data[0] === 0) throw error;
          socket.write(data);
        },
        onClose: (_socket, code) => void (closeCode ??= code),
      },
      client: {
        onData(socket, data) {
          answer += new TextDecoder().decode(data);
          socket.end();
        },
      },
    }, ({ clients: [first, second] }) => {
      first.write(new Uint8Array(1));
      after(t, 5, () => second.write("still here"));
    });
    await t.run();
    assertEquals([closeCode, answer], [CloseCode.Handler, "still here"]);
    assertEquals(reported.errors.length, 1);
    assertStrictEquals(reported.errors[0], error);
  }, { onError: undefined });

  behaviour("an onError that throws harms nothing, and goes to reportError()", async (t) => {
    using reported = catchReported();
    let closes = 0;
    openPairs(t, 1, {
      server: {
        onData() {
          throw new Error("first");
        },
        onClose: () => void closes++,
      },
      client: { onClose: () => void closes++ },
    }, ({ clients: [client] }) => client.write("x"));
    await t.run();
    assertEquals(closes, 2);
    assertEquals(reported.errors.map((error) => (error as Error).message), ["again: first"]);
  }, {
    onError(error) {
      throw new Error(`again: ${(error as Error).message}`);
    },
  });

  behaviour("what an async handler returns or rejects with is ignored", async (t) => {
    const unhandled: string[] = [];
    const rejected = Promise.withResolvers<void>();
    const listen = (event: PromiseRejectionEvent) => {
      event.preventDefault();
      unhandled.push(event.reason.message);
      if (unhandled.length === 2) rejected.resolve();
    };
    globalThis.addEventListener("unhandledrejection", listen);
    try {
      const closed: unknown[] = [];
      let received = "";
      const listener = t.listen(t.server({
        // deno-lint-ignore require-await -- an async handler's own affair
        onOpen: async () => {
          throw new Error("in onOpen");
        },
        // deno-lint-ignore require-await
        onData: async (socket, data) => {
          received += new TextDecoder().decode(data);
          if (received === "ab") socket.shutdown();
          throw new Error("in onData");
        },
        onEnd: () => Promise.resolve(false), // and no default in its place
        onClose: (_socket, code, reason) => void closed.push([code, reason]),
      }));
      const client = t.client({
        onOpen: (socket) => void socket.write("a"),
        onEnd(socket) {
          socket.shutdown();
          listener.close();
        },
      });
      const socket = t.connect(client, listener);
      after(t, 10, () => socket.write("b"));
      await t.run();
      await rejected.promise; // the test's runner sees none of them
      assertEquals([received, closed], ["ab", [[0, undefined]]]);
      assertEquals(unhandled.slice(0, 2), ["in onOpen", "in onData"]);
    } finally {
      globalThis.removeEventListener("unhandledrejection", listen);
    }
  });
};
