/**
 * What the types of the public API infer. Most of this is checked by the compiler: a line that
 * should be an error and is none fails as an unused `@ts-expect-error`. Nothing opens a socket.
 */
import { assertEquals } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import {
  type ConnectOptions,
  type CoreLoop,
  type Handlers,
  type ListenSocket,
  Loop,
  type Socket,
  type SocketContext,
  type Timer,
  type TlsInfo,
} from "@usockets/usockets";

/** True for the same type only: `any` is equal to nothing but itself. */
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true
  : false;

/** Takes a type that is `true`. */
function same<_IsSame extends true>(): void {}

/** Checked by the compiler, and never run. */
function never(_check: () => void): void {}

interface User {
  name: string;
}

describe("types", () => {
  it("socket.ext is typed in every handler, whatever the order of the properties", () => {
    never(() => {
      const loop = new Loop();
      loop.createContext({
        onOpen(socket, isClient, ip) {
          same<Same<typeof socket.ext, { count: number; user?: User }>>();
          same<Same<typeof isClient, boolean>>();
          same<Same<typeof ip, string>>();
        },
        onData(socket, data) {
          same<Same<typeof socket.ext.count, number>>();
          same<Same<typeof data, Uint8Array>>();
          // @ts-expect-error: there is no such property
          socket.ext.total++;
        },
        onWritable: (socket) => void socket.ext.count++,
        socketExt: (): { count: number; user?: User } => ({ count: 0 }),
        onEnd: (socket) => void socket.ext.user?.name.length,
        onClose(socket, code, reason) {
          same<Same<typeof socket.ext.count, number>>();
          same<Same<typeof code, number>>();
          same<Same<typeof reason, unknown>>();
        },
        onTimeout: (socket) => void socket.ext.count++,
        onLongTimeout: (socket) => void socket.ext.count++,
        onConnectError(socket, error) {
          same<Same<typeof socket.ext.count, number>>();
          same<Same<typeof error, Error>>();
        },
        onHandshake(socket, info) {
          same<Same<typeof socket.ext.count, number>>();
          same<Same<typeof info, TlsInfo>>();
        },
        onServerName(context, hostname) {
          same<Same<typeof context, SocketContext<{ count: number; user?: User }, undefined>>>();
          same<Same<typeof hostname, string>>();
        },
        onPreOpen(handle, ip) {
          same<Same<typeof handle, unknown>>();
          same<Same<typeof ip, string>>();
          return true;
        },
      });
    });
  });

  it("socket.ext is what socketExt() returns, be it first or last", () => {
    never(() => {
      const loop = new Loop();
      const first = loop.createContext({
        socketExt: () => new Map<string, number>(),
        onData: (socket) => void socket.ext.get("x")?.toFixed(),
      });
      const last = loop.createContext({
        onData: (socket) => void socket.ext.get("x")?.toFixed(),
        socketExt: () => new Map<string, number>(),
      });
      same<Same<typeof first, SocketContext<Map<string, number>, undefined>>>();
      same<Same<typeof last, SocketContext<Map<string, number>, undefined>>>();
      loop.createContext({
        socketExt: () => 1,
        // @ts-expect-error: a number has no such method
        onData: (socket) => void socket.ext.toUpperCase(),
      });
      loop.createContext({
        // @ts-expect-error: a number has no such method
        onData: (socket) => void socket.ext.toUpperCase(),
        socketExt: () => 1,
      });
    });
  });

  it("a context without socketExt has sockets without user data", () => {
    never(() => {
      const loop = new Loop();
      const context = loop.createContext({
        onOpen(socket) {
          same<Same<typeof socket.ext, undefined>>();
          // @ts-expect-error: undefined has no properties
          socket.ext.name;
        },
      });
      same<Same<typeof context, SocketContext<undefined, undefined>>>();
      const bare = loop.createContext();
      same<Same<typeof bare, SocketContext<undefined, undefined>>>();
      same<Same<typeof bare.ext, undefined>>();
      // @ts-expect-error: there is no user data to give
      context.connect({ port: 1, ext: { name: "x" } });
    });
  });

  it("ext of a loop, a context and a timer is typed", () => {
    const loop = new Loop({ ext: { name: "loop" }, onPre: (loop) => void loop.ext.name.length });
    same<Same<typeof loop.ext, { name: string }>>();
    const context = loop.createContext({
      onOpen(socket) {
        same<Same<typeof socket.context.ext, User>>();
        same<Same<typeof socket.ext, undefined>>();
      },
      ext: { name: "context" } as User,
    });
    same<Same<typeof context.ext, User>>();
    const both = loop.createContext({
      ext: 7,
      onData(socket) {
        same<Same<typeof socket.ext, string>>();
        same<Same<typeof socket.context.ext, number>>();
      },
      socketExt: () => "each",
    });
    same<Same<typeof both, SocketContext<string, number>>>();
    const timer = loop.createTimer({ ext: [1, 2], fallthrough: true });
    same<Same<typeof timer, Timer<number[]>>>();
    never(() => timer.set((timer) => void timer.ext.push(3), 1));
    assertEquals([loop.ext.name, context.ext.name, both.ext, timer.ext], [
      "loop",
      "context",
      7,
      [1, 2],
    ]);
    const bare = new Loop();
    same<Same<typeof bare.ext, unknown>>();
    assertEquals([bare.ext, bare.createTimer().ext, bare.createContext().ext], [
      undefined,
      undefined,
      undefined,
    ]);
    never(() => {
      // @ts-expect-error: no such option
      new Loop({ granularity: 1 });
      // @ts-expect-error: the types of handlers hold for arguments, too
      loop.createContext({ onData: (_socket, data: string) => data });
    });
    bare.free();
    loop.free();
  });

  it("handlers may be assigned later, with the same types", () => {
    never(() => {
      const context = new Loop().createContext({ socketExt: () => ({ count: 0 }) });
      context.onData = (socket, data) => void (socket.ext.count += data.length);
      context.onClose = undefined;
      // @ts-expect-error: there is no such property
      context.onTimeout = (socket) => socket.ext.total;
      // @ts-expect-error: a number is no handler
      context.onEnd = 1;
      context.socketExt = () => ({ count: 1 });
      // @ts-expect-error: another type of user data
      context.socketExt = () => ({ total: 1 });
    });
  });

  it("async handlers are allowed, and those of fewer parameters", () => {
    never(() => {
      new Loop().createContext({
        async onData(socket) {
          await Promise.resolve();
          socket.end();
        },
        onOpen: () => {},
      });
    });
  });

  it("adopt() returns the socket with the types of its new context", () => {
    never(() => {
      const loop = new Loop();
      const web = loop.createContext({ socketExt: () => ({ headers: "" }) });
      const chat = loop.createContext({
        socketExt: () => ({ nick: "" }),
        ext: { room: 1 },
        onData: (socket) => void socket.ext.nick.length,
      });
      const bare = loop.createContext();
      web.onData = (socket) => {
        const adopted = chat.adopt(socket, { nick: "x" });
        same<Same<typeof adopted, Socket<{ nick: string }, { room: number }>>>();
        adopted.context.ext.room.toFixed();
        same<Same<typeof socket.ext, { headers: string }>>(); // a variable keeps its type
        const plain = bare.adopt(adopted);
        same<Same<typeof plain, Socket<undefined, undefined>>>();
        chat.adopt(plain);
        // @ts-expect-error: the user data of another context
        chat.adopt(socket, { headers: "" });
        // @ts-expect-error: not all of it
        chat.adopt(socket, {});
        // @ts-expect-error: more than there is
        chat.adopt(socket, { nick: "x", age: 7 });
      };
    });
  });

  it("createChild() infers as createContext() does", () => {
    never(() => {
      const parent = new Loop().createContext({ socketExt: () => 1, ext: "parent" });
      const child = parent.createChild({
        onData: (socket) => void socket.ext.count.toFixed(),
        socketExt: () => ({ count: 0 }),
        ext: [1],
      });
      same<Same<typeof child, SocketContext<{ count: number }, number[]>>>();
      const bare = parent.createChild();
      same<Same<typeof bare, SocketContext<undefined, undefined>>>();
      // @ts-expect-error: TLS is the parent's
      parent.createChild({ tls: {} });
    });
  });

  it("connect() takes the user data of its context, and returns its socket", () => {
    never(() => {
      const context = new Loop().createContext({ socketExt: () => ({ id: 0 }), ext: "x" });
      const socket = context.connect({ port: 1, ext: { id: 7 } });
      same<Same<typeof socket, Socket<{ id: number }, string>>>();
      const options: ConnectOptions<{ id: number }> = { path: "x" };
      context.connect(options);
      // @ts-expect-error: wrong user data
      context.connect({ port: 1, ext: { id: "7" } });
      // @ts-expect-error: a port is a number
      context.connect({ port: "1" });
      const listener = context.listen({ port: 0 });
      same<Same<typeof listener, ListenSocket>>();
      same<Same<typeof listener.closed, Promise<void>>>();
    });
  });

  it("sockets and contexts of any user data can be passed where none is named", () => {
    never(() => {
      const loop = new Loop({ ext: 1 });
      const context = loop.createContext({ socketExt: () => ({ id: 0 }), ext: "x" });
      const socket = context.connect({ port: 1 });
      const anySocket: Socket = socket;
      const someSocket: Socket<{ id: number }> = socket;
      same<Same<typeof anySocket.ext, unknown>>();
      same<Same<typeof someSocket.context.ext, unknown>>();
      const count = (sockets: Socket[], contexts: SocketContext[], timers: Timer[]) =>
        sockets.length + contexts.length + timers.length;
      count([socket, anySocket], [context], [loop.createTimer({ ext: 1 })]);
      const anyLoop: CoreLoop = loop;
      same<Same<typeof anyLoop.ext, unknown>>();
      // @ts-expect-error: what is known about it is not enough
      const wrong: Socket<{ id: string }> = socket;
      void wrong;
    });
  });

  it("handlers written apart fit the context they are for", () => {
    never(() => {
      const handlers: Handlers<User, number> = {
        onData: (socket) => void socket.ext.name.at(socket.context.ext),
      };
      const loop = new Loop();
      const context = loop.createContext({ ...handlers, socketExt: () => ({ name: "" }), ext: 0 });
      same<Same<typeof context, SocketContext<User, number>>>();
      const general: Handlers = { onClose: (_socket, code) => void code.toFixed() };
      loop.createContext({ ...general, socketExt: () => ({ name: "" }) });
    });
  });

  it("write() takes bytes and strings, and returns a number", () => {
    never(() => {
      const socket = new Loop().createContext().connect({ port: 1 });
      same<Same<ReturnType<typeof socket.write>, number>>();
      socket.write(new Uint8Array(1), true);
      socket.write("x");
      socket.write2(new Uint8Array(1), new Uint8Array(1));
      // @ts-expect-error: not without a view
      socket.write(new ArrayBuffer(1));
      // @ts-expect-error: strings have no second half
      socket.write2("x", "y");
      // @ts-expect-error: only adopt() does that
      socket.context = new Loop().createContext();
    });
  });
});
