/**
 * A gzip server: what a client sends comes back compressed, made of web streams alone.
 *
 * deno run --allow-net --allow-read --allow-ffi examples/web_streams.ts --port 3000
 * nc -N 127.0.0.1 3000 < README.md | gunzip
 *
 * @module
 */
import type { Loop, SocketContext } from "@usockets/usockets";
import { connect, listen, type SocketConn } from "@usockets/usockets/streams";
import { type ListenFlags, type Listening, runServer, serverProgram } from "./support/server.ts";

/** A client that neither sends nor takes anything for so long is given up. */
const IDLE_SECONDS = 30;

/** Listens on the given loop, which must share its thread with promises: `--mode run`. */
export function gzipServer(
  loop: Loop,
  flags: ListenFlags & { readonly isBlocking?: boolean },
): Listening {
  const { host, port, tls, reusePort, isBlocking } = flags;
  if (isBlocking) {
    throw new Deno.errors.NotSupported("Streams need --mode run: promises wait for a blocked loop");
  }
  const listener = listen(loop.createContext({ tls }), { host, port, reusePort });
  (async () => {
    for await (const conn of listener) {
      compress(conn).catch(() => {}); // that client is gone: the others do not mind
    }
  })();
  // A client is done when it has sent all: who is in the middle of that has the grace of shutdown().
  return { listener: listener.socket, drain: () => {} };
}

/** The end of what is received ends what is sent, and then the connection. */
async function compress(conn: SocketConn): Promise<void> {
  await conn.readable
    .pipeThrough(whileBusy(conn))
    .pipeThrough(new CompressionStream("gzip"))
    .pipeThrough(whileBusy(conn))
    .pipeTo(conn.writable);
}

/** Passes everything on; each chunk is a sign of life. */
function whileBusy(conn: SocketConn): TransformStream<Uint8Array<ArrayBuffer>> {
  conn.socket.timeout(IDLE_SECONDS);
  return new TransformStream({
    transform(chunk, controller) {
      conn.socket.timeout(IDLE_SECONDS);
      controller.enqueue(chunk);
    },
  });
}

/** A client: has a server compress a stream. Fails where either end does. */
export async function compressRemotely(
  from: Loop | SocketContext,
  server: { host: string; port: number },
  input: ReadableStream<Uint8Array>,
): Promise<Uint8Array> {
  const conn = await connect(from, server);
  const [output] = await Promise.all([
    new Response(conn.readable).bytes(),
    input.pipeTo(conn.writable),
  ]);
  return output;
}

/** What {@linkcode runServer} and its Workers run. */
export const program = serverProgram({
  about: "A gzip server: what a client sends comes back compressed.",
  scheme: "tcp",
  listen: gzipServer,
});

if (import.meta.main) await runServer(import.meta.url, program);
