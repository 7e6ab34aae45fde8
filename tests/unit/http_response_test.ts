// Every stream is fed whole, byte by byte and cut in two at each place: where the reads end must
// never show. A response is written as its status with "keep" or "close".
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  BAD,
  type HeadMemory,
  HttpResponseParser,
  NEED_MORE,
  RESPONSE,
} from "../../examples/support/http_response.ts";

/** Bytes of text whose characters are all below 256. */
function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function describe(parser: HttpResponseParser): string {
  return `${parser.status} ${parser.keepAlive ? "keep" : "close"}`;
}

/** The events of a stream that is received in the given pieces, and then ends. */
function eventsOf(pieces: Uint8Array[], memory: HeadMemory = { last: null }): string[] {
  const parser = new HttpResponseParser(memory);
  const events: string[] = [];
  for (const piece of pieces) {
    const data = piece.slice();
    for (let offset = 0; offset < data.length; offset = parser.offset) {
      const event = parser.parse(data, offset);
      if (event === BAD) return [...events, parser.problem];
      if (event === NEED_MORE) break;
      events.push(describe(parser));
      assert(parser.offset > offset && parser.offset <= data.length);
    }
    if (data.length > 0) assertEquals(parser.offset, data.length);
    data.fill(0); // it is not kept
  }
  if (parser.end() === RESPONSE) events.push(`${describe(parser)} at the end`);
  else if (!parser.isBetween) events.push("cut");
  return events;
}

/** The pieces of a stream cut at the given places, taken modulo its length. */
function cut(stream: Uint8Array, places: number[]): Uint8Array[] {
  const sorted = places.map((place) => place % (stream.length + 1)).sort((a, b) => a - b);
  return [...sorted, stream.length].map((end, index) =>
    stream.subarray(sorted[index - 1] ?? 0, end)
  );
}

function assertEvents(stream: string, ...expected: string[]): void {
  const bytes = bytesOf(stream);
  assertEquals(eventsOf([bytes]), expected, JSON.stringify(stream));
  assertEquals(eventsOf(cut(bytes, [...bytes.keys()])), expected, "byte by byte");
  for (let place = 1; place < bytes.length; place++) {
    assertEquals(eventsOf(cut(bytes, [place])), expected, `cut at ${place}`);
  }
}

/** Asserts the events of each head, with "ab" behind it, and then the end. */
function assertHeads(heads: string[], ...expected: string[]): void {
  for (const head of heads) assertEvents(`${head}\r\n\r\nab`, ...expected);
}

const OK = "HTTP/1.1 200 OK\r\n";
const TWO = `${OK}Content-Length: 2\r\n\r\nab`;

Deno.test("HttpResponseParser reads responses by length, one behind the other", () => {
  assertEvents(TWO + TWO, "200 keep", "200 keep");
  assertEvents(`${OK}Content-Length: 0\r\n\r\n${TWO}`, "200 keep", "200 keep");
});

Deno.test("HttpResponseParser takes a head for another only if all of it is the same", () => {
  assertEvents(
    TWO + TWO.replace("200", "404") + TWO.replace("h: 2", "h: 1") + TWO.slice(1),
    "200 keep",
    "404 keep",
    "200 keep",
    "no HTTP/1 response",
  );
});

Deno.test("HttpResponseParser reads chunks, their extensions and trailers", () => {
  const chunks = "5\r\nhello\r\n00A ;a=b\r\n0123456789\r\n0\r\nX: y\r\n\r\n";
  assertEvents(
    `${OK}Transfer-Encoding: chunked\r\n\r\n${chunks}${TWO}`,
    "200 keep",
    "200 keep",
  );
  assertEvents(`${OK}Transfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\n`, "200 keep");
});

Deno.test("HttpResponseParser gives up malformed chunks", () => {
  for (const size of ["", "g", "-1", "1x", " 1", ";a", "1234567890abc"]) {
    assertEvents(`${OK}Transfer-Encoding: chunked\r\n\r\n${size}\r\n`, "a malformed chunk size");
  }
  assertEvents(
    `${OK}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n`,
    "a chunk longer than its size",
  );
});

Deno.test("HttpResponseParser skips interim responses", () => {
  assertEvents(`HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nLink: a\r\n\r\n${TWO}`, "200 keep");
});

Deno.test("HttpResponseParser knows the responses without a body", () => {
  const length = "Content-Length: 2\r\n\r\n";
  assertEvents(`HTTP/1.1 204 No Content\r\n\r\n${TWO}`, "204 keep", "200 keep");
  assertEvents(`HTTP/1.1 304 Not Modified\r\n${length}${TWO}`, "304 keep", "200 keep");
});

Deno.test("HttpResponseParser reads a body up to the end where nothing else ends it", () => {
  assertHeads(
    [`${OK}A: b`, "HTTP/1.0 200", `${OK}Transfer-Encoding: gzip`],
    "200 close at the end",
  );
});

Deno.test("HttpResponseParser tells a response that is cut", () => {
  assertEvents(TWO.slice(0, -1), "cut");
  assertEvents(`${OK}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n`, "cut");
});

Deno.test("HttpResponseParser knows whether the connection is kept", () => {
  const length = "Content-Length: 2";
  assertHeads(
    [
      `${OK}${length}\r\nConnection: a, Close`,
      `${OK}CONNECTION: close\r\n${length}`,
      `HTTP/1.0 200 OK\r\n${length}`,
    ],
    "200 close",
  );
  assertHeads(
    [
      `${OK}${length}\r\nConnection: closed`,
      `HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n${length}`,
      `HTTP/1.1 200\r\n${length}, 2\r\ncontent-length:\t2 `,
    ],
    "200 keep",
  );
  const chunked = "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
  assertEvents(`${OK}${length}\r\n${chunked}`, "200 close");
  assertEvents(`HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n${chunked}`, "200 close");
});

Deno.test("HttpResponseParser gives up what is no HTTP", () => {
  assertHeads(
    [
      "x",
      "\r\nHTTP/1.1 200 OK",
      "HTTP/2.0 200",
      "HTTP/1.1 20",
      "HTTP/1.1  200",
      "HTTP/1.1 099",
      "HTTP/1.1 200OK",
    ],
    "no HTTP/1 response",
  );
  assertEvents("h", "no HTTP/1 response"); // and not only at a blank line, which may never come
  assertHeads([`${OK}a`, `${OK}a : b`, `${OK}: b`, `${OK}A: b\r\n c`], "a malformed header field");
  assertHeads(
    ["-1", "1 1", "", "x", "1, 2", "2\r\nContent-Length: 1"].map((value) =>
      `${OK}Content-Length: ${value}`
    ),
    "a malformed Content-Length",
  );
  assertHeads(["HTTP/1.1 101 Switching"], "an upgrade that was not asked for");
});

Deno.test("HttpResponseParser gives up heads and lines without an end", () => {
  const endless = ["a head or line that does not end"];
  const long = "x".repeat(70_000);
  for (const end of ["", "\r\n\r\n"]) {
    for (const start of [`${OK}A: `, `${OK}Transfer-Encoding: chunked\r\n\r\n1;`]) {
      const stream = bytesOf(start + long + end);
      assertEquals(eventsOf([stream]), endless);
      assertEquals(eventsOf(cut(stream, [9_000, 40_000, 69_999])), endless);
    }
  }
});

// ---------------------------------------------------------------- properties

const name = fc.constantFrom("Date", "X-A", "Server", "content-type");
const field = fc.tuple(name, fc.stringMatching(/^[ -~]{0,20}$/)).map(([name, value]) =>
  `${name}: ${value.trim()}\r\n`
);
const fields = fc.array(field, { maxLength: 3 }).map((all) => all.join(""));
const body = fc.string({ unit: "binary-ascii", maxLength: 40 });
const status = fc.integer({ min: 200, max: 599 }).filter((code) => code !== 204 && code !== 304);

/** A response, and the event that it is. */
const response = fc.oneof(
  fc.tuple(status, fields, body).map(([code, fields, body]) => ({
    text: `HTTP/1.1 ${code} x\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`,
    event: `${code} keep`,
  })),
  fc.tuple(status, fields, fc.array(body), fields).map(([code, fields, chunks, trailers]) => ({
    text: `HTTP/1.1 ${code}\r\nTransfer-Encoding: chunked\r\n${fields}\r\n${
      chunks.filter((chunk) => chunk !== "")
        .map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join("")
    }0\r\n${trailers}\r\n`,
    event: `${code} keep`,
  })),
  fc.tuple(fc.constantFrom(204, 304), fields).map(([code, fields]) => ({
    text: `HTTP/1.1 100\r\n\r\nHTTP/1.1 ${code}\r\n${fields}\r\n`,
    event: `${code} keep`,
  })),
);

const places = fc.array(fc.nat(), { maxLength: 8 });

Deno.test("HttpResponseParser reads any responses, wherever the reads end", () => {
  // Few different ones, so that heads repeat themselves.
  const responses = fc.array(response, { minLength: 1, maxLength: 3 }).chain((some) =>
    fc.array(fc.constantFrom(...some), { maxLength: 8 })
  );
  fc.assert(fc.property(responses, places, (responses, places) => {
    const stream = bytesOf(responses.map(({ text }) => text).join(""));
    assertEquals(eventsOf(cut(stream, places)), responses.map(({ event }) => event));
  }));
});

Deno.test("HttpResponseParser makes the same of any bytes, wherever the reads end", () => {
  const piece = fc.oneof(
    response.map(({ text }) => text),
    fc.constantFrom("\r\n", "\n", "\r", "HTTP/1.1 ", "200", "Content-Length: 3", "a: b", "0", "\0"),
    fc.constantFrom("Transfer-Encoding: chunked\r\n\r\n", "Connection: close\r\n", "5\r\nhello"),
    body,
  );
  const stream = fc.array(piece, { maxLength: 12 }).map((pieces) => bytesOf(pieces.join("")));
  fc.assert(fc.property(stream, places, (stream, places) => {
    assertEquals(eventsOf(cut(stream, places)), eventsOf([stream]));
  }));
});

Deno.test("HttpResponseParser: connections that share the last head do not disturb each other", () => {
  const streams = fc.array(fc.array(response, { maxLength: 4 }), { minLength: 2, maxLength: 3 });
  fc.assert(fc.property(streams, fc.integer({ min: 1, max: 30 }), (streams, step) => {
    const memory: HeadMemory = { last: null };
    const connections = streams.map((responses) => ({
      parser: new HttpResponseParser(memory),
      data: bytesOf(responses.map(({ text }) => text).join("")),
      expected: responses.map(({ event }) => event),
      events: [] as string[],
    }));
    for (let start = 0; connections.some(({ data }) => start < data.length); start += step) {
      for (const { parser, data, events } of connections) {
        const piece = data.slice(start, start + step);
        for (let offset = 0; offset < piece.length; offset = parser.offset) {
          if (parser.parse(piece, offset) !== RESPONSE) break;
          events.push(describe(parser));
        }
      }
    }
    for (const { events, expected } of connections) assertEquals(events, expected);
  }));
});
