/**
 * A small, correct HTTP/1.1 keep-alive server: pipelined and split requests, bodies, HEAD, 400 for
 * garbage, 431 for oversized heads, a 30 s idle timeout, and backpressure.
 *
 * deno run --allow-net --allow-read examples/http_server.ts --help
 *
 * @module
 */
import type { ListenSocket, Loop, Socket } from "@usockets/usockets";
import { CONTINUE, HttpRequestParser, REQUEST } from "./support/http_request.ts";
import { parseServerFlags, runMain, serve, type ServerFlags } from "./support/server.ts";

/** A connection that sends nothing for so long is closed. */
const IDLE_SECONDS = 30;

const PAGE = "<html><body><h1>Why hello there!</h1></body></html>";
const REASONS: Record<number, string> = {
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  413: "Content Too Large",
  431: "Request Header Fields Too Large",
  501: "Not Implemented",
  505: "HTTP Version Not Supported",
};

/** What each connection keeps between events. */
interface Connection {
  readonly parser: HttpRequestParser;
  /** The rest of an answer that found no room, and the input behind its request. */
  unsent: Uint8Array | null;
  unparsed: Uint8Array | null;
  /** The last answer is given: end when it is sent. */
  isLast: boolean;
}

/** Listens with the server's context on the given loop. */
export function httpServer(
  loop: Loop,
  flags: ServerFlags,
): { listener: ListenSocket; drain: () => void } {
  const sockets = new Set<Socket<Connection>>();
  let isDraining = false;
  const context = loop.createContext({
    tls: flags.tls,
    socketExt: (): Connection => ({
      parser: new HttpRequestParser(),
      unsent: null,
      unparsed: null,
      isLast: false,
    }),
    onOpen(socket) {
      sockets.add(socket);
      socket.timeout(IDLE_SECONDS);
    },
    onData(socket, data) {
      socket.timeout(IDLE_SECONDS);
      answerAll(socket, data, isDraining);
    },
    onWritable(socket) {
      const { ext } = socket;
      socket.timeout(IDLE_SECONDS);
      if (!send(socket, ext.unsent!)) return;
      const { unparsed } = ext;
      ext.unsent = ext.unparsed = null;
      if (ext.isLast) return socket.end();
      if (unparsed === null || answerAll(socket, unparsed, isDraining)) socket.resume();
    },
    // Every request is answered by now: while an answer is unsent the socket is paused, and the end
    // held back.
    onEnd: (socket) => socket.end(),
    onTimeout: (socket) => socket.end(),
    onClose: (socket) => void sockets.delete(socket),
  });
  const drain = () => {
    isDraining = true;
    for (const socket of sockets) {
      if (socket.ext.unsent === null) socket.end();
      else socket.ext.isLast = true;
    }
  };
  return { listener: context.listen({ host: flags.host, port: flags.port }), drain };
}

/**
 * Answers every request in the data. Returns false when the socket has no room for more, or has
 * ended.
 */
function answerAll(socket: Socket<Connection>, data: Uint8Array, isDraining: boolean): boolean {
  const { ext } = socket;
  const { parser } = ext;
  let event = parser.parse(data);
  while (event === REQUEST || event === CONTINUE) {
    if (event === REQUEST && (isDraining || !parser.keepAlive)) {
      ext.isLast = true;
      return send(socket, lastAnswer(parser)) && end(socket);
    }
    const answer = event === CONTINUE ? CONTINUE_ANSWER : answerFor(parser);
    if (!send(socket, answer)) {
      if (parser.offset < data.length) ext.unparsed = data.slice(parser.offset);
      return false;
    }
    if (parser.offset === data.length && event === REQUEST) return true;
    event = parser.parse(data, parser.offset);
  }
  if (event < 400) return true; // the rest of a request is still to come
  ext.isLast = true;
  return send(socket, errorAnswer(event)) && end(socket);
}

/** Sends, or keeps what finds no room and stops reading until onWritable. */
function send(socket: Socket<Connection>, bytes: Uint8Array): boolean {
  const written = socket.write(bytes);
  if (written === bytes.length) return true;
  socket.ext.unsent = bytes.subarray(written);
  socket.pause();
  return false;
}

function end(socket: Socket<Connection>): false {
  socket.end();
  return false;
}

function answerFor(parser: HttpRequestParser): Uint8Array {
  // HTTP/1.0 wants to be told that the connection is kept.
  const { kept, kept10 } = answersFor(parser);
  return parser.minorVersion === 1 ? kept : kept10;
}

function lastAnswer(parser: HttpRequestParser): Uint8Array {
  return answersFor(parser).last;
}

function answersFor(parser: HttpRequestParser): Answers {
  const { method, isRoot } = parser;
  if (method === "OTHER") return NOT_ALLOWED;
  const answers = isRoot ? FOUND : NOT_FOUND;
  return method === "HEAD" ? answers.head : answers;
}

/** One answer, ready to send, for each way of going on with the connection. */
interface Answers {
  readonly kept: Uint8Array;
  readonly kept10: Uint8Array;
  readonly last: Uint8Array;
}

function answers(status: string, body: string, withBody = true): Answers {
  const make = (connection: string) =>
    bytes(
      `HTTP/1.1 ${status}\r\n${connection}Content-Length: ${body.length}\r\n\r\n${
        withBody ? body : ""
      }`,
    );
  return {
    kept: make(""),
    kept10: make("Connection: keep-alive\r\n"),
    last: make("Connection: close\r\n"),
  };
}

function errorAnswer(status: number): Uint8Array {
  return answers(`${status} ${REASONS[status]}`, `${REASONS[status]}\n`).last;
}

function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

const FOUND = { ...answers("200 OK", PAGE), head: answers("200 OK", PAGE, false) };
const NOT_FOUND_BODY = "Not Found\n";
const NOT_FOUND = {
  ...answers("404 Not Found", NOT_FOUND_BODY),
  head: answers("404 Not Found", NOT_FOUND_BODY, false),
};
const NOT_ALLOWED = answers("405 Method Not Allowed\r\nAllow: GET, HEAD", "Method Not Allowed\n");
const CONTINUE_ANSWER = bytes("HTTP/1.1 100 Continue\r\n\r\n");

if (import.meta.main) {
  await runMain(async () => {
    const flags = parseServerFlags(Deno.args, "A small HTTP/1.1 server: GET / says hello.");
    if (flags !== null) await serve(flags, "http", httpServer);
  });
}
