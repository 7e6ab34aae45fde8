/**
 * The contestant that is Bun's own sockets, `Bun.listen`: µSockets in C++ below JavaScript.
 * @module
 */
import {
  backlog,
  block,
  cert,
  compute,
  countLine,
  endsRequest,
  host,
  isShared,
  isTls,
  key,
  response,
  service,
  start,
} from "./common.mjs";

/** Answers requests; `socket.data` is how much of an answer was sent. */
const http = {
  open: (socket) => void (socket.data = 0),
  data(socket, data) {
    if (!endsRequest(data, data.length)) return;
    compute();
    const written = socket.write(response);
    if (written === response.length) return;
    socket.data = Math.max(written, 0);
    socket.pause();
  },
  drain(socket) {
    if (socket.data === 0) return;
    socket.data += Math.max(socket.write(response, socket.data, response.length - socket.data), 0);
    if (socket.data < response.length) return;
    socket.data = 0;
    socket.resume();
  },
  end: (socket) => socket.end(),
};

/** Gives back what it gets; `socket.data` is what found no room. */
const echo = {
  open: (socket) => void (socket.data = null),
  data(socket, data) {
    const written = socket.write(data);
    if (written === data.length) return;
    socket.data = data.subarray(Math.max(written, 0)); // Bun gives each chunk away: no copy
    socket.pause();
  },
  drain(socket) {
    if (socket.data === null) return;
    socket.data = socket.data.subarray(Math.max(socket.write(socket.data), 0));
    if (socket.data.length > 0) return;
    socket.data = null;
    socket.resume();
  },
  end: (socket) => socket.end(),
};

/** Counts what comes. */
const sink = {
  open: (socket) => void (socket.data = 0),
  data: (socket, data) => void (socket.data += data.length),
  drain() {},
  end: (socket) => socket.end(countLine(socket.data)),
};

/** Writes without end; `socket.data` is the position in the block. */
const source = {
  open: (socket) => void (socket.data = 0),
  data() {},
  drain: fill,
  end: (socket) => socket.end(),
};
source[isTls ? "handshake" : "open"] = (socket) => {
  socket.data = 0;
  fill(socket);
};

function fill(socket) {
  const written = Math.max(socket.write(block, socket.data, block.length - socket.data), 0);
  const isShort = socket.data + written < block.length;
  socket.data = (socket.data + written) % block.length;
  if (isShort) return;
  setImmediate(fill, socket); // there is room: other connections have their turn, then this one
}

const SERVICES = { http, echo, sink, source };

start(import.meta, (port, listening) => {
  const listener = Bun.listen({
    hostname: host,
    port,
    backlog,
    reusePort: isShared,
    allowHalfOpen: true,
    tls: isTls ? { cert: Bun.file(cert), key: Bun.file(key) } : undefined,
    socket: { ...SERVICES[service], error() {} }, // what fails is closed
  });
  listening(listener.port);
});
