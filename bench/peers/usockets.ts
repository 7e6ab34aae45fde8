/**
 * The contestant that this library is: `--backend deno`, `epoll` beside Deno's own loop, or
 * `blocking`, epoll that has the thread for itself.
 * @module
 */
import { denoConn, epoll, type Handlers, Loop, type Socket } from "@usockets/usockets";
import {
  backend,
  backlog,
  block,
  cert,
  compute,
  countLine,
  endsRequest,
  host,
  isLateness,
  isShared,
  isTls,
  key,
  refuse,
  response,
  service,
  start,
} from "./common.mjs";

const BACKENDS: Record<string, typeof denoConn> = { deno: denoConn, epoll, blocking: epoll };
if (!(backend in BACKENDS)) refuse(`there is no backend "${backend}"`);
if (isLateness && backend === "blocking") refuse("no timer of Deno's fires in a loop that blocks");

interface Service<S> extends Handlers<S> {
  socketExt(): S;
}

/** Answers requests. The user data of a socket is how much of an answer was sent. */
const http: Service<number> = {
  socketExt: () => 0,
  onData(socket, data) {
    if (!endsRequest(data, data.length)) return;
    compute();
    const written = socket.write(response);
    if (written === response.length) return;
    socket.ext = written;
    socket.pause();
  },
  onWritable(socket) {
    socket.ext += socket.write(response.subarray(socket.ext));
    if (socket.ext === response.length) socket.resume();
  },
  onEnd: (socket) => socket.end(),
};

const NOTHING = new Uint8Array(0);

/** Gives back what it gets. The user data is what found no room. */
const echo: Service<Uint8Array> = {
  socketExt: () => NOTHING,
  onData(socket, data) {
    const written = socket.write(data);
    if (written === data.length) return;
    socket.ext = data.slice(written);
    socket.pause();
  },
  onWritable(socket) {
    socket.ext = socket.ext.subarray(socket.write(socket.ext));
    if (socket.ext.length > 0) return;
    socket.ext = NOTHING;
    socket.resume();
  },
  onEnd: (socket) => socket.end(),
};

/** Counts what comes. */
const sink: Service<number> = {
  socketExt: () => 0,
  onData: (socket, data) => void (socket.ext += data.length),
  onEnd(socket) {
    socket.write(countLine(socket.ext));
    socket.end();
  },
};

/** Writes without end. The user data is the position in the block. */
const source: Service<number> = {
  socketExt: () => 0,
  [isTls ? "onHandshake" : "onOpen"]: fill,
  onWritable: fill,
};

/** Sources that wrote a block and found room for all of it. */
let waiting: Socket<number>[] = [];

function fill(socket: Socket<number>): void {
  const rest = socket.ext === 0 ? block : block.subarray(socket.ext);
  const written = socket.write(rest);
  socket.ext = (socket.ext + written) % block.length;
  if (written < rest.length) return;
  waiting.push(socket);
  socket.context.loop.wakeup();
}

function fillWaiting(): void {
  const sockets = waiting;
  waiting = [];
  sockets.forEach(fill);
}

const SERVICES: Record<string, Service<unknown>> = { http, echo, sink, source };

start(import.meta, (port: number, listening: (port: number) => void) => {
  const loop = new Loop({ backend: BACKENDS[backend], onWakeup: fillWaiting });
  const context = loop.createContext({
    ...SERVICES[service],
    tls: isTls ? { certFile: cert, keyFile: key } : undefined,
  });
  listening(context.listen({ host, port, backlog, reusePort: isShared }).port);
  if (backend === "blocking") loop.runBlocking();
  else loop.run();
});
