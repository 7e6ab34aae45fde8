/**
 * An echo server: whatever comes goes back, and a slow reader loses nothing.
 *
 * deno run --allow-net --allow-read examples/echo_server.ts --help
 *
 * @module
 */
import type { ListenSocket, Loop, Socket } from "@usockets/usockets";
import { parseServerFlags, runMain, serve, type ServerFlags } from "./support/server.ts";

/** A connection that is silent for so long is closed. */
const IDLE_SECONDS = 30;

/** What is still to be echoed; the socket is paused while there is any. */
interface Connection {
  rest: Uint8Array;
  isDraining: boolean;
}

/** Listens with the server's context on the given loop. */
export function echoServer(
  loop: Loop,
  flags: ServerFlags,
): { listener: ListenSocket; drain: () => void } {
  const sockets = new Set<Socket<Connection>>();
  const context = loop.createContext({
    tls: flags.tls,
    socketExt: (): Connection => ({ rest: new Uint8Array(0), isDraining: false }),
    onOpen(socket) {
      sockets.add(socket);
      socket.timeout(IDLE_SECONDS);
    },
    onData(socket, data) {
      socket.timeout(IDLE_SECONDS);
      const written = socket.write(data);
      if (written < data.length) {
        socket.ext.rest = data.slice(written);
        socket.pause();
      }
    },
    onWritable(socket) {
      const { ext } = socket;
      socket.timeout(IDLE_SECONDS);
      ext.rest = ext.rest.subarray(socket.write(ext.rest));
      if (ext.rest.length > 0) return;
      if (ext.isDraining) socket.end();
      else socket.resume();
    },
    onEnd: (socket) => socket.end(), // nothing is left to echo: while there is, the socket is paused
    onTimeout: (socket) => socket.end(),
    onClose: (socket) => void sockets.delete(socket),
  });
  const drain = () => {
    for (const socket of sockets) {
      if (socket.ext.rest.length === 0) socket.end();
      else socket.ext.isDraining = true;
    }
  };
  return { listener: context.listen({ host: flags.host, port: flags.port }), drain };
}

if (import.meta.main) {
  await runMain(async () => {
    const flags = parseServerFlags(Deno.args, "An echo server: whatever comes goes back.");
    if (flags !== null) await serve(flags, "tcp", echoServer);
  });
}
