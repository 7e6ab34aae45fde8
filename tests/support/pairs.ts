/** Connections with both ends on the fixture's loop. */
import type { Handlers, Socket, SocketContext } from "@usockets/usockets";
import type { Fixture } from "../conformance/fixture.ts";

/** Open connections: `clients[i]` and `servers[i]` are the two ends of one. */
export interface Pairs {
  readonly clients: Socket[];
  readonly servers: Socket[];
  readonly client: SocketContext;
  readonly server: SocketContext;
}

/** The handlers of the two ends; `onOpen` and `onHandshake` are taken. */
export interface Ends {
  client?: Handlers;
  server?: Handlers;
}

/**
 * Opens so many connections, one after another. When both ends of all are open, and TLS is agreed
 * on, the listener closes and `ready` is called, in a later iteration and outside of any handler of
 * a socket.
 */
export function openPairs(
  t: Fixture,
  count: number,
  ends: Ends,
  ready: (pairs: Pairs) => void,
): void {
  const clients: Socket[] = [], servers: Socket[] = [];
  const landing = t.transport.isTls ? "onHandshake" : "onOpen";
  const landed = (sockets: Socket[]) => (socket: Socket) => {
    sockets.push(socket);
    if (clients.length !== servers.length) return;
    if (clients.length < count) return void t.connect(client, listener);
    listener.close();
    after(t, 1, () => ready({ clients, servers, client, server }));
  };
  const client = t.client<unknown>({ ...ends.client, [landing]: landed(clients) });
  const server = t.server<unknown>({ ...ends.server, [landing]: landed(servers) });
  const listener = t.listen(server);
  t.connect(client, listener);
}

/** Closes both ends of all connections. */
export function closeAll(pairs: Pairs): void {
  for (const socket of [...pairs.clients, ...pairs.servers]) socket.close();
}

/** Calls back in so many milliseconds, and keeps the loop running until then. */
export function after(t: Fixture, ms: number, callback: () => void): void {
  t.loop.createTimer().set(callback, ms);
}

/** Calls back behind the handler at hand: no microtask runs while the loop blocks the thread. */
export function soon(t: Fixture, callback: () => void): void {
  if (t.transport.isBlocking) after(t, 1, callback);
  else queueMicrotask(callback);
}

/** Calls back in so many milliseconds, if something else keeps the loop running until then. */
export function afterFallthrough(t: Fixture, ms: number, callback: () => void): void {
  t.loop.createTimer({ fallthrough: true }).set(callback, ms);
}
