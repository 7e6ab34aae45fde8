/**
 * A peer on node:tls or node:net, for Node and for what Deno has of it: a client or a server of one connection
 * at a time. It does what it reads, a command a line, and prints what happens, an event a line.
 *
 * The first argument, JSON, is {@linkcode NodePeerOptions} of node_peer.ts.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import net from "node:net";
import process from "node:process";
import readline from "node:readline";
import tls from "node:tls";

const { role, port, path, tls: options, net: plain, isRaw, staysSilent } = JSON.parse(
  process.argv[2],
);

/** The connection at hand, the TCP socket below it where there is one of our own, and a hash. */
let socket, raw, hash, length;
/** Of a client, to be resumed. */
let session;
let server;

function tell(...words) {
  process.stdout.write(`${words.join(" ")}\n`);
}

function follow(accepted) {
  socket = accepted;
  hash = createHash("sha256");
  length = 0;
  if (!staysSilent) {
    socket.on("data", (bytes) => {
      hash.update(bytes);
      length += bytes.length;
      if (bytes.length < 100) tell("data", bytes.toString().trim());
    });
  }
  socket.on("session", (given) => {
    session = given;
    tell("session");
  });
  socket.on("end", () => tell("end", length, hash.digest("hex")));
  socket.on("error", (error) => tell("error", error.code ?? error.message));
  socket.on("close", (hadError) => tell("close", hadError));
}

function secured() {
  const info = {
    protocol: socket.getProtocol(),
    alpn: socket.alpnProtocol,
    authorized: socket.authorized,
    authorizationError: socket.authorizationError?.code ?? socket.authorizationError ?? null,
    resumed: socket.isSessionReused?.() ?? false,
    serverName: socket.servername || null,
    subject: socket.getPeerCertificate?.()?.subject?.CN ?? null,
  };
  tell("secure", JSON.stringify(info));
}

function connect() {
  if (plain) {
    const where = path === undefined ? { host: "127.0.0.1", port } : { path };
    return follow(net.connect({ ...where, ...plain }, () => tell("connected")));
  }
  const all = { host: "127.0.0.1", port, servername: "localhost", session, ...options };
  if (!isRaw) return follow(tls.connect(all, secured));
  raw = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true }, () => {
    follow(tls.connect({ ...all, socket: raw }, secured));
  });
}

function listen() {
  if (plain) {
    server = net.createServer(plain, (accepted) => {
      follow(accepted);
      tell("connected");
    });
  } else if (isRaw) {
    server = net.createServer({ allowHalfOpen: true }, (accepted) => {
      raw = accepted;
      follow(new tls.TLSSocket(raw, { isServer: true, ...options }));
      socket.on("secure", secured);
    });
  } else {
    server = tls.createServer(options, (accepted) => {
      follow(accepted);
      secured();
    });
    server.on("tlsClientError", (error) => tell("tlsClientError", error.code ?? error.message));
  }
  if (path === undefined) server.listen(0, "127.0.0.1", listening);
  else server.listen(path, listening);
}

function listening() {
  tell("listening", server.address().port ?? 0);
}

/** The pattern of streams.ts. */
function pattern(bytes, seed) {
  const words = new Uint32Array((bytes + 3) >> 2);
  let state = seed >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return Buffer.from(words.buffer, 0, bytes);
}

const COMMANDS = {
  connect,
  say: (...words) => socket.write(`${words.join(" ")}\n`),
  /** Much, and then the end. */
  send: (bytes, seed) => socket.end(pattern(Number(bytes), Number(seed))),
  end: () => socket.end(),
  destroy: () => socket.destroy(),
  /** Below TLS, behind a last word. */
  fin: () => socket.write("last\n", () => raw.end()),
  reset: () => (raw ?? socket).resetAndDestroy(),
  pause: () => {
    socket.pause();
    tell("paused");
  },
  resume: () => socket.resume(),
  renegotiate: () => socket.renegotiate({}, (error) => tell("renegotiated", error?.code ?? "")),
  /** What was handed out before is worth nothing from here on. */
  forget: () => server.setTicketKeys(Buffer.alloc(48, 7)),
  /** Both ends are done: what still comes is an error of this program. */
  quit: () => process.exit(0),
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const [command, ...words] = line.split(" ");
  COMMANDS[command](...words);
});

if (role === "server") listen();
else connect();
