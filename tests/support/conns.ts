/** Pairs of Conns on every backend and transport that promises go on with. */
import { conformance, type Fixture } from "../conformance/fixture.ts";
import { type Transport, transports } from "../conformance/transports.ts";
import type { Socket, SocketContext } from "@usockets/usockets";
import { connect, listen, type SocketConn, type SocketListener } from "@usockets/usockets/streams";
import { concat } from "./streams.ts";

/** How long a test may take before it counts as hanging, in milliseconds. */
const HANG_MS = 20_000;

/** What a test gets: an integrated loop, and both ends of one connection. */
export interface ConnFixture extends Omit<Fixture, "client" | "server"> {
  readonly clientContext: SocketContext;
  readonly serverContext: SocketContext;
  readonly listener: SocketListener;
  readonly client: SocketConn;
  readonly server: SocketConn;
}

/** Registers a test on all transports, or those that match. */
export function connTest(
  name: string,
  test: (t: ConnFixture) => Promise<void>,
  matches: (transport: Transport) => boolean = () => true,
): void {
  for (const transport of transports) {
    if (transport.isBlocking || !matches(transport)) continue; // no promise goes on there
    conformance(transport, "streams", (behaviour) => {
      behaviour(name, async (t) => {
        const watchdog = setTimeout(() => t.loop.free(), HANG_MS); // rejects what it waits for
        try {
          await test(await openConns(t));
        } finally {
          clearTimeout(watchdog);
        }
      });
    });
  }
}

async function openConns(t: Fixture): Promise<ConnFixture> {
  t.loop.integrate();
  const clientContext = t.loop.createContext({ tls: t.clientTls }) as SocketContext;
  const serverContext = t.loop.createContext({ tls: t.serverTls }) as SocketContext;
  const listener = listen(serverContext, t.address()) as SocketListener;
  const [client, server] = await Promise.all([
    connect(clientContext, t.addressOf(listener.socket)),
    listener.accept(),
  ]);
  return Object.assign(t, {
    clientContext,
    serverContext,
    listener,
    client: client as SocketConn,
    server,
  });
}

/** One more connection to the same listener. */
export async function dial(t: ConnFixture): Promise<{ client: SocketConn; server: SocketConn }> {
  const [client, server] = await Promise.all([
    connect(t.clientContext, t.addressOf(t.listener.socket)),
    t.listener.accept(),
  ]);
  return { client: client as SocketConn, server };
}

/** UTF-8. */
export function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** One read of at most so many bytes, as text; null at the end. */
export async function readText(conn: Deno.Conn, length = 65_536): Promise<string | null> {
  const buffer = new Uint8Array(length);
  const count = await conn.read(buffer);
  return count === null ? null : new TextDecoder().decode(buffer.subarray(0, count));
}

/** Everything that a stream has until its end. */
export async function collect(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return concat(chunks);
}

/** Resolves when a socket is closed: no Conn tells. */
export async function socketClosed(socket: Socket): Promise<void> {
  while (!socket.isClosed) await turn();
}

/** Resolves behind a turn of Deno's loop. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** The class and message that a promise rejects with, or what it resolves to. */
export async function outcome(promise: Promise<unknown>): Promise<unknown> {
  try {
    return await promise;
  } catch (error) {
    return (error as Error).constructor.name;
  }
}
