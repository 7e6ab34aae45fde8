/**
 * A small, correct HTTP/1.1 keep-alive server: pipelined and split requests, bodies, HEAD, 400 for
 * garbage, 431 for oversized heads, bounds on the time of requests and of idle connections, and
 * backpressure.
 *
 * deno run --allow-net --allow-read --allow-ffi examples/http_server.ts --help
 *
 * @module
 */
import type { Loop, Socket, SocketContext, TlsOptions } from "@usockets/usockets";
import {
  DEFAULT_LIMITS,
  HTTP_FLAGS,
  type HttpLimits,
  parseHttpLimits,
} from "./support/http_limits.ts";
import { CONTINUE, HttpRequestParser, REQUEST } from "./support/http_request.ts";
import { type ListenFlags, type Listening, runServer, serverProgram } from "./support/server.ts";

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

/** What a connection keeps that is in the middle of something. */
interface Exchange {
  /** Of the request that came in part. */
  readonly parser: HttpRequestParser;
  /** The rest of an answer that found no room, and the input behind its request. */
  unsent: Uint8Array | null;
  unparsed: Uint8Array | null;
  /** The last answer is given: end when it is sent. */
  isLast: boolean;
}

/** A connection. Between requests it keeps nothing: there may be very many of them. */
type Connection = Socket<Exchange | null>;

/** Parses what comes whole, as most requests do, on all connections; none has left its traces. */
let sharedParser = new HttpRequestParser();

/** Listens with the server's context on the given loop. */
export function httpServer(
  loop: Loop,
  { host, port, tls, reusePort }: ListenFlags,
  limits: HttpLimits = DEFAULT_LIMITS,
): Listening {
  const { context, drain } = httpContext(loop, tls, limits);
  const { maxConnections } = limits;
  return { listener: context.listen({ host, port, reusePort, maxConnections }), drain };
}

/** The server's context, for connections wherever they come from, and what ends them. */
export function httpContext(
  loop: Loop,
  tls: TlsOptions | undefined,
  { idleSeconds, requestSeconds, handshakeSeconds }: HttpLimits = DEFAULT_LIMITS,
): { context: SocketContext<unknown>; drain: () => void } {
  const connections = new Set<Connection>();
  const onData = (socket: Connection, data: Uint8Array) => {
    const outcome = answerAll(socket, data);
    // More of a request that has begun gives it no more time: else a byte now and then would keep
    // the connection for ever.
    if (outcome !== CONTINUED) socket.timeout(outcome === BEGUN ? requestSeconds : idleSeconds);
    return outcome !== STOPPED;
  };
  const context = loop.createContext({
    tls: tls && { handshakeTimeoutSeconds: handshakeSeconds, ...tls },
    socketExt: (): Exchange | null => null,
    onOpen(socket) {
      connections.add(socket);
      socket.timeout(idleSeconds);
    },
    onData,
    onWritable(socket) {
      const exchange = socket.ext!;
      socket.timeout(idleSeconds);
      if (!send(socket, exchange.unsent!)) return;
      const { unparsed } = exchange;
      exchange.unsent = exchange.unparsed = null;
      if (exchange.isLast) return socket.end();
      if (unparsed === null || onData(socket, unparsed)) socket.resume();
    },
    // Every request is answered by now: while an answer is unsent the socket is paused, and the end
    // held back.
    onEnd: (socket) => socket.end(),
    onTimeout: (socket) => socket.end(),
    onClose: (socket) => void connections.delete(socket),
  });
  const drain = () => {
    for (const socket of connections) {
      if (socket.ext === null || socket.ext.unsent === null) socket.end();
      else socket.ext.isLast = true;
    }
  };
  return { context: context as SocketContext<unknown>, drain };
}

/** How far the data went: to the end of a request, or into one that it began or only continued. */
const DONE = 0, BEGUN = 1, CONTINUED = 2;
/** The socket has no room for more answers, or has ended. */
const STOPPED = 3;

/** Answers every request in the data. Returns one of the above. */
function answerAll(socket: Connection, data: Uint8Array): number {
  const parser = socket.ext === null ? sharedParser : socket.ext.parser;
  let inside = socket.ext === null ? BEGUN : CONTINUED;
  let event = parser.parse(data);
  while (event === REQUEST || event === CONTINUE) {
    if (event === REQUEST && !parser.keepAlive) return sendLast(socket, lastAnswer(parser));
    if (!send(socket, event === REQUEST ? answerFor(parser) : CONTINUE_ANSWER)) {
      if (parser.offset < data.length) exchangeOf(socket).unparsed = data.slice(parser.offset);
      return STOPPED;
    }
    if (event === REQUEST) {
      inside = BEGUN;
      if (parser.offset === data.length) {
        socket.ext = null; // all is said and done
        return DONE;
      }
    }
    event = parser.parse(data, parser.offset);
  }
  // The parser is in the middle of a request, or has given up: this connection's own from now on.
  exchangeOf(socket);
  return event < 400 ? inside : sendLast(socket, errorAnswer(event));
}

/** What the connection keeps from here on: the parser among it, and the others share a new one. */
function exchangeOf(socket: Connection): Exchange {
  if (socket.ext === null) {
    socket.ext = { parser: sharedParser, unsent: null, unparsed: null, isLast: false };
    sharedParser = new HttpRequestParser();
  }
  return socket.ext;
}

/** Sends, or keeps what finds no room and stops reading until onWritable. */
function send(socket: Connection, bytes: Uint8Array): boolean {
  const written = socket.write(bytes);
  if (written === bytes.length) return true;
  exchangeOf(socket).unsent = bytes.subarray(written);
  socket.pause();
  return false;
}

/** Sends, and ends the connection behind that. */
function sendLast(socket: Connection, bytes: Uint8Array): number {
  if (send(socket, bytes)) socket.end();
  else exchangeOf(socket).isLast = true;
  return STOPPED;
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

/** What {@linkcode runServer} and its Workers run. */
export const program = serverProgram({
  about: "A small HTTP/1.1 server: GET / says hello.",
  scheme: "http",
  flags: HTTP_FLAGS,
  parse: parseHttpLimits,
  listen: (loop, flags) => httpServer(loop, flags, flags.more),
});

if (import.meta.main) await runServer(import.meta.url, program);
