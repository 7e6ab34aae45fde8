/**
 * An echo server: whatever comes goes back, and a slow reader loses nothing.
 *
 * deno run --allow-net --allow-read --allow-ffi examples/echo_server.ts --help
 *
 * @module
 */
import type { Loop, Socket } from "@usockets/usockets";
import { type ListenFlags, type Listening, runServer, serverProgram } from "./support/server.ts";

/** A connection that is silent for so long is closed. */
const IDLE_SECONDS = 30;

/** What is still to be echoed, while there is anything: then the socket is paused. */
interface Echo {
  rest: Uint8Array;
  isLast: boolean;
}

/** Listens with the server's context on the given loop. */
export function echoServer(
  loop: Loop,
  { host, port, tls, reusePort }: ListenFlags,
): Listening {
  const sockets = new Set<Socket<Echo | null>>();
  const context = loop.createContext({
    tls,
    socketExt: (): Echo | null => null,
    onOpen(socket) {
      sockets.add(socket);
      socket.timeout(IDLE_SECONDS);
    },
    onData(socket, data) {
      socket.timeout(IDLE_SECONDS);
      const written = socket.write(data);
      if (written < data.length) {
        socket.ext = { rest: data.slice(written), isLast: false };
        socket.pause();
      }
    },
    onWritable(socket) {
      const echo = socket.ext!;
      socket.timeout(IDLE_SECONDS);
      echo.rest = echo.rest.subarray(socket.write(echo.rest));
      if (echo.rest.length > 0) return;
      socket.ext = null;
      if (echo.isLast) socket.end();
      else socket.resume();
    },
    onEnd: (socket) => socket.end(), // nothing is left to echo: while there is, the socket is paused
    onTimeout: (socket) => socket.end(),
    onClose: (socket) => void sockets.delete(socket),
  });
  const drain = () => {
    for (const socket of sockets) {
      if (socket.ext === null) socket.end();
      else socket.ext.isLast = true;
    }
  };
  return { listener: context.listen({ host, port, reusePort }), drain };
}

/** What {@linkcode runServer} and its Workers run. */
export const program = serverProgram({
  about: "An echo server: whatever comes goes back.",
  scheme: "tcp",
  listen: echoServer,
});

if (import.meta.main) await runServer(import.meta.url, program);
