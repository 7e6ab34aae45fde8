// Every stream is fed whole, byte by byte and cut in two at each place: where the reads end must
// never show. What a stream is to give is written as one line for each event, such as
// "GET / 1.1 keep-alive", "continue" before a body that is waited with, or the status of an error.
import { assert, assertEquals, assertStrictEquals } from "@std/assert";
import fc from "fast-check";
import {
  CONTINUE,
  DEFAULT_LIMITS,
  HttpRequestParser,
  NEED_MORE,
  REQUEST,
} from "../../examples/support/http_request.ts";

const ROOT = "GET / 1.1 keep-alive";
const OTHER = "OTHER * 1.1 keep-alive";
const START = "GET / HTTP/1.1\r\nHost: a\r\n";
const REST = " HTTP/1.1\r\nHost: a\r\n\r\n";

/** Bytes of text whose characters are all below 256. */
function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function describe(parser: HttpRequestParser, event: number): string {
  if (event === CONTINUE) return "continue";
  if (event !== REQUEST) return String(event);
  const { method, isRoot, minorVersion, keepAlive } = parser;
  return `${method} ${isRoot ? "/" : "*"} 1.${minorVersion} ${keepAlive ? "keep-alive" : "close"}`;
}

/** The events of a stream that is received in the given pieces. */
function eventsOf(pieces: Uint8Array[], limits = DEFAULT_LIMITS): string[] {
  const parser = new HttpRequestParser(limits);
  const events: string[] = [];
  for (const piece of pieces) {
    // What is around the piece, and is in its place afterwards, would be an error or end a line.
    const margin = bytesOf("\r\n\0");
    const data = new Uint8Array([...margin, ...piece, ...margin]);
    const end = margin.length + piece.length;
    let offset = margin.length;
    let event: number;
    while ((event = parser.parse(data, offset, end)) !== NEED_MORE) {
      events.push(describe(parser, event));
      if (event >= 400) return events;
      assert(parser.offset >= offset && parser.offset <= end);
      offset = parser.offset;
    }
    assertStrictEquals(parser.offset, end);
    data.fill(0);
  }
  return events;
}

/** The pieces of a stream cut at the given places, taken modulo its length. */
function cut(stream: Uint8Array, places: number[]): Uint8Array[] {
  const sorted = places.map((place) => place % (stream.length + 1)).sort((a, b) => a - b);
  return [...sorted, stream.length].map((end, index) =>
    stream.subarray(sorted[index - 1] ?? 0, end)
  );
}

function assertEvents(stream: string, expected: string[], limits = DEFAULT_LIMITS): void {
  const bytes = bytesOf(stream);
  const name = JSON.stringify(stream.slice(0, 200));
  assertEquals(eventsOf([bytes], limits), expected, `${name} whole`);
  assertEquals(eventsOf(cut(bytes, [...bytes.keys()]), limits), expected, `${name} byte by byte`);
  // In long streams only the first and last places are worth the time.
  for (let place = 1; place < bytes.length; place++) {
    if (place === 200) place = Math.max(place, bytes.length - 200);
    assertEquals(eventsOf(cut(bytes, [place]), limits), expected, `${name} cut at ${place}`);
  }
}

/** Asserts the events of a template with each of the alternatives, set apart by |, in place of @. */
function assertEach(template: string, alternatives: string, ...expected: string[]): void {
  for (const alternative of alternatives.split("|")) {
    assertEvents(template.replace("@", () => alternative), expected);
  }
}

/** Asserts the events of a request for / with each of the alternative fields besides Host. */
function assertFields(alternatives: string, ...expected: string[]): void {
  assertEach(`${START}@\r\n\r\n`, alternatives, ...expected);
}

/** Asserts the events of a request for / with each of the alternative chunked bodies. */
function assertChunked(alternatives: string, ...expected: string[]): void {
  assertEach(`${START}Transfer-Encoding: chunked\r\n\r\n@`, alternatives, ...expected);
}

Deno.test("HttpRequestParser reads the shortest request", () => {
  assertEvents("GET / HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n", [ROOT]);
});

Deno.test("HttpRequestParser needs more for a head without its end", () => {
  assertEvents("", []);
  assertEvents("GET / HTTP/1.1\r\nHost: a\r\n\r", []);
});

Deno.test("HttpRequestParser distinguishes GET, HEAD and other methods by case", () => {
  assertEach(`@${REST}`, "GET /", ROOT);
  assertEach(`@${REST}`, "HEAD /", "HEAD / 1.1 keep-alive");
  assertEach(`@ /${REST}`, "POST|get|Head|GE|GETS|HEADS|PUT", "OTHER / 1.1 keep-alive");
  assertEvents(`!#$%&'*+-.^_\`|~0aZ /${REST}`, ["OTHER / 1.1 keep-alive"]);
});

Deno.test("HttpRequestParser knows the targets of the path /", () => {
  assertEach(
    `GET @${REST}`,
    "/|/?|/?a=b/c?|http://a|http://a/|HTTP://a:80/?b|https://[::1]?b",
    ROOT,
  );
  const others = '//|/a|/%2f|/*|/a?/|http://a//|http://a/b|/{}"^`\\';
  assertEach(`GET @${REST}`, others, "GET * 1.1 keep-alive");
});

Deno.test("HttpRequestParser knows * of OPTIONS and the authority of CONNECT", () => {
  assertEach(`@${REST}`, "OPTIONS *|CONNECT a.b:443", OTHER);
  assertEach(`@${REST}`, "GET *|OPTIONS **|CONNECT /|CONNECT a/b|CONNECT |PUT a:443", "400");
});

Deno.test("HttpRequestParser answers 400 for a bad target", () => {
  assertEach(`GET @${REST}`, "a|?|#|/#a|/\x7f|/\xe9|/\t|\\|http:/a|http:|https:/a|a:80", "400");
  assertEach(
    `GET @${REST}`,
    "http://|http:///|http://:80/|http://a@b/|ftps://abc/|ahttp://a/",
    "400",
  );
});

Deno.test("HttpRequestParser answers 400 for a bad request line", () => {
  assertEach(
    `@ HTTP/1.1\r\nHost: a\r\n\r\n`,
    "| GET /| /|GET  /|GET / |GET\t/|G(T /|G/T /|GET",
    "400",
  );
  assertEach(`@ HTTP/1.1\r\nHost: a\r\n\r\n`, "GET|GET |GET /\t|GET / a|\xc9 /|:|\t", "400");
  assertEach(
    `@\r\nHost: a\r\n\r\n`,
    "GET|GET |GET /|GET / |:|\x16\x03\x01|\0| |{}|GET /#HTTP/1.1",
    "400",
  );
});

Deno.test("HttpRequestParser answers 400 for a bad version", () => {
  const versions = "http/1.1|HTTP/1|HTTP/1.|HTTP/1.10|HTTP/11.1|HTTP/1,1|HTTP1.1|HTTP/a.1|HTTP/1.a";
  assertEach("GET / @\r\nHost: a\r\n\r\n", versions, "400");
  assertEach("GET / @\r\nHost: a\r\n\r\n", "HTTP/ 1.1|HTTP/1.1a|HTTP/1.1 |HTTPS/1.1", "400");
});

Deno.test("HttpRequestParser answers 505 for another major version", () => {
  assertEach("@\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM|GET / HTTP/0.9|GET a HTTP/3.1", "505");
});

Deno.test("HttpRequestParser reads minor versions above 1 as 1", () => {
  assertEach("GET / HTTP/@\r\nHost: a\r\n\r\n", "1.2|1.9", ROOT);
});

Deno.test("HttpRequestParser reads pipelined requests in order", () => {
  const post = `POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nGET `;
  const stream = `${START}\r\n${post}HEAD / HTTP/1.0\r\n\r\n${START}\r\nGE`;
  assertEvents(stream, [ROOT, OTHER, "HEAD / 1.0 close", ROOT]);
});

Deno.test("HttpRequestParser forgets the request before", () => {
  const fields = "Connection: close\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab";
  const close = "GET / 1.1 close";
  assertEvents(`${START}${fields}${START}\r\n`, ["continue", close, ROOT]);
  assertEvents(`${START}${fields}GET / HTTP/1.1\r\n\r\n`, ["continue", close, "400"]);
  const chunked = `${START}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`;
  assertEvents(`${chunked}${START}\r\n${chunked}`, [ROOT, ROOT, ROOT]);
  // Limits are those of one request.
  assertEvents(chunked.repeat(9), Array(9).fill(ROOT), { maxHeadBytes: 60, maxBodyBytes: 3 });
});

Deno.test("HttpRequestParser lets empty lines before a request pass", () => {
  assertEvents(`\r\n\r\n${START}\r\n\r\n${START}\r\n`, [ROOT, ROOT]);
  assertEach(`@${START}\r\n`, "\n|\r\r\n|\r|\r\n\n", "400");
});

Deno.test("HttpRequestParser answers 431 for empty lines without end", () => {
  assertEvents("\r\n".repeat(8191), []);
  assertEvents("\r\n".repeat(8192), ["431"]);
  assertEvents("\r\n".repeat(8192) + START, ["431"]);
});

Deno.test("HttpRequestParser answers 400 for a bare LF", () => {
  assertEach("GET / HTTP/1.1@", "\nHost: a\r\n\r\n|\r\nHost: a\n\r\n|\r\nHost: a\r\n\n", "400");
  assertFields("a: b\nc: d|\na: b|a\n: b", "400");
});

Deno.test("HttpRequestParser answers 400 for a bare CR", () => {
  assertEach("GET / HTTP/1.1@", "\rHost: a\r\n\r\n|\r\nHost: a\r\r\n\r\n", "400");
  assertFields("a: b\rc|a: b\r|\ra: b|a\r: b", "400");
});

Deno.test("HttpRequestParser answers 400 for control bytes in a field", () => {
  for (let code = 0; code < 256; code++) {
    const byte = String.fromCharCode(code);
    const isValue = code >= 32 && code !== 127 || byte === "\t";
    const isName = /[\w!#$%&'*+.^`|~:-]/.test(byte);
    const eventsOfField = (field: string) => eventsOf([bytesOf(`${START}${field}\r\n\r\n`)]);
    assertEquals(eventsOfField(`a: b${byte}c`), [isValue ? ROOT : "400"], `${code} in a value`);
    assertEquals(eventsOfField(`a${byte}c: b`), [isName ? ROOT : "400"], `${code} in a name`);
  }
});

Deno.test("HttpRequestParser answers 400 for a bad field line", () => {
  assertFields("a : b|a\t: b| a: b|\ta: b|: b|a|a b: c| |\xe9: b|a: \0", "400");
});

Deno.test("HttpRequestParser answers 400 for a folded line", () => {
  assertFields("a: b\r\n c|a: b\r\n\tc|a: b\r\n ", "400");
});

Deno.test("HttpRequestParser passes other fields by", () => {
  for (const name of ["Hosts", "Hos", "Xonnection", "Content_Length", "Expec_", "-".repeat(36)]) {
    assertFields(`${name}: close, chunked, 5 @`, ROOT);
  }
  assertFields("a:\r\nb: \t \r\nc:d\r\ne: \xff ", ROOT);
});

Deno.test("HttpRequestParser answers 400 for a missing Host in HTTP/1.1 only", () => {
  assertEach("GET @\r\n\r\n", "/ HTTP/1.1|http://a/ HTTP/1.1\r\nHosts: a", "400");
  assertEvents("GET / HTTP/1.0\r\n\r\n", ["GET / 1.0 close"]);
});

Deno.test("HttpRequestParser answers 400 for a repeated Host", () => {
  assertFields("Host: a|hOST: b", "400");
  assertEvents("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", ["400"]);
});

Deno.test("HttpRequestParser answers 400 for a bad Host", () => {
  const template = "GET / HTTP/1.1\r\nHOST:@\r\n\r\n";
  assertEach(template, 'a b|a/b|a@b|a?|a\\b|\xe9|"a"|a\tb', "400");
  assertEach(template, "| \t|[::1]:80|a-b_c.d~%41|\ta \t", ROOT);
});

Deno.test("HttpRequestParser keeps an HTTP/1.1 connection unless it is to be closed", () => {
  const template = `${START}Connection: @\r\n\r\n`;
  const closing = "close|CLOSE|a, close|close,a| ,\t,Close\t,|keep-alive, close|close, keep-alive";
  assertEach(template, closing, "GET / 1.1 close");
  assertEach(template, "|keep-alive|closed|clos|a close|x-close", ROOT);
  assertFields("connection: close\r\nCONNECTION: keep-alive", "GET / 1.1 close");
});

Deno.test("HttpRequestParser keeps an HTTP/1.0 connection only if asked to", () => {
  const template = "GET / HTTP/1.0\r\nConnection: @\r\n\r\n";
  assertEach(template, "Keep-Alive|a,keep-alive|keep-alive ,b", "GET / 1.0 keep-alive");
  assertEach(template, "|close|keep-alive, close|keep-alives|keep-aliv", "GET / 1.0 close");
});

Deno.test("HttpRequestParser skips a body by its Content-Length", () => {
  const template = `${START}Content-Length: @${START}\r\n`;
  assertEach(template, "5\r\n\r\n\0\r\n\r\n|0\r\n\r\n|\t003 \r\n\r\nabc", ROOT, ROOT);
  assertEach(`${START}Content-Length: @`, "5\r\n\r\n|5\r\n\r\nabcd");
  const head = "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na";
  assertEvents(head.repeat(2), Array(2).fill("HEAD / 1.1 keep-alive"));
});

Deno.test("HttpRequestParser answers 400 for a bad Content-Length", () => {
  const lengths = "| |-1|+1|1a|0x1|1 1|1,1|1.0|1e1|\xb2|:|/";
  assertEach(`${START}Content-Length: @\r\n\r\n`, lengths, "400");
});

Deno.test("HttpRequestParser answers 400 for a Content-Length from 2^53 on", () => {
  for (const length of [2n ** 53n, 2n ** 53n + 1n, 2n ** 64n, 2n ** 64n + 1n, 10n ** 400n]) {
    assertFields(`Content-Length: ${length}`, "400");
  }
  assertFields(`Content-Length: ${2n ** 53n - 1n}`, "413");
});

Deno.test("HttpRequestParser answers 413 for a body above maxBodyBytes", () => {
  const limits = { maxHeadBytes: 16384, maxBodyBytes: 9 };
  assertEvents(`${START}Content-Length: 9\r\n\r\n123456789`, [ROOT], limits);
  assertEvents(`${START}Content-Length: 10\r\n\r\n`, ["413"], limits);
  const chunked = `${START}Transfer-Encoding: chunked\r\n\r\n`;
  assertEvents(`${chunked}3\r\nabc\r\n0\r\n\r\n`, [ROOT], limits);
  assertEvents(`${chunked}4\r\nabcd\r\n0\r\n\r\n`, ["413"], limits);
  assertEvents(`${chunked}7\r\n`, ["413"], limits);
  assertEvents(`${chunked}${"f".repeat(300)}\r\n`, ["413"], limits);
});

Deno.test("HttpRequestParser takes a repeated Content-Length only if it is the same", () => {
  assertEvents(`${START}Content-Length: 2\r\ncontent-length: 02\r\n\r\nab`, [ROOT]);
  assertEach(
    `${START}Content-Length: @\r\n\r\n`,
    "2\r\nContent-Length: 3|0\r\nContent-Length: 1",
    "400",
  );
});

Deno.test("HttpRequestParser skips a chunked body", () => {
  assertChunked("0\r\n\r\n|A\r\n0123456789\r\nf\r\n0123456789abcde\r\n0\r\n\r\n", ROOT);
  assertChunked(`3\r\nabc\r\n0a\r\n0\r\n\r\nGET /\r\n00\r\n\r\n${START}\r\n`, ROOT, ROOT);
  assertChunked("3\r\nabc\r\n|3\r\nabc\r\n0\r\n|0\r\na: b\r\n");
});

Deno.test("HttpRequestParser skips chunk extensions and trailers", () => {
  assertChunked('1;a\r\nb\r\n1 ; c="d;e\t\xff"\r\nf\r\n0;g=h\r\n\r\n', ROOT);
  const trailers = "Host: b\r\nContent-Length: 9\r\nTransfer-Encoding: c\r\n";
  assertChunked(`0\r\n${trailers}\r\n${START}\r\n`, ROOT, ROOT);
});

Deno.test("HttpRequestParser answers 400 for bad chunks", () => {
  assertChunked(
    "\r\n|g\r\n|-1\r\n|0x1\r\n| 1\r\n|1 \r\n|1\n|1\r1|1 a\r\n|;a\r\n|1;a\n|1;\0\r\n",
    "400",
  );
  assertChunked("1\r\nab\r\n|1\r\na\n|1\r\na\rb|1\r\na0\r\n", "400");
});

Deno.test("HttpRequestParser answers 400 for bad trailers", () => {
  const trailers = "a : b\r\n|a: b\n|\n| a: b\r\n|\rb|a: \0\r\n|a\r\n";
  assertEach(`${START}Transfer-Encoding: chunked\r\n\r\n0\r\n@`, trailers, "400");
  assertEach(`${START}Transfer-Encoding: chunked\r\n\r\n0\r\na: b\r\n@`, trailers, "400");
});

Deno.test("HttpRequestParser bounds chunk size lines and trailers", () => {
  assertChunked(`1;${"a".repeat(16380)}\r\nb\r\n0\r\n\r\n`, ROOT);
  assertChunked(`1;${"a".repeat(16381)}\r\nb\r\n0\r\n\r\n|${"0".repeat(16384)}`, "431");
  const trailers = "a: b\r\n".repeat(2729);
  assertChunked(`0\r\n${trailers}a: ccc\r\n\r\n`, ROOT);
  assertChunked(`0\r\n${trailers}a: cccc\r\n\r\n`, "431");
});

Deno.test("HttpRequestParser reads transfer codings over lists, lines and case", () => {
  const template = `${START}transfer-ENCODING: @\r\n\r\n1\r\na\r\n0\r\n\r\n`;
  assertEach(
    template,
    "chunked|CHUNKED| ,\tchunked ,|,, chunked|\r\nTransfer-Encoding:chunked",
    ROOT,
  );
});

Deno.test("HttpRequestParser answers 400 unless chunked is last", () => {
  const template = `${START}Transfer-Encoding: @\r\n\r\n`;
  assertEach(
    template,
    "|,|gzip|identity|chunked, gzip|chunked, chunked|chunked, a, chunked",
    "400",
  );
  assertEach(template, 'chunke|chunked;a|xchunked|chunked chunked|"chunked"|\x0bchunked', "400");
  assertEach(template, "chunked\r\nTransfer-Encoding: gzip", "400");
});

Deno.test("HttpRequestParser answers 501 for another transfer coding", () => {
  const template = `${START}Transfer-Encoding: @\r\n\r\n`;
  assertEach(template, "gzip, chunked|a\r\nTransfer-Encoding: chunked", "501");
});

Deno.test("HttpRequestParser answers 400 for Transfer-Encoding with Content-Length", () => {
  assertFields("Transfer-Encoding: chunked\r\nContent-Length: 5", "400");
  assertFields("Content-Length: 0\r\nTransfer-Encoding: chunked", "400");
});

Deno.test("HttpRequestParser answers 400 for Transfer-Encoding in HTTP/1.0", () => {
  assertEvents("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", ["400"]);
});

Deno.test("HttpRequestParser tells of an awaited 100 Continue before the body", () => {
  const template = `${START}Expect: a, 100-Continue\r\n@`;
  const heads = "Content-Length: 1\r\n\r\n|Transfer-Encoding: chunked\r\n\r\n";
  assertEach(template, heads, "continue");
  const [withLength, chunked] = heads.split("|");
  assertEach(template, `${withLength}a|${chunked}0\r\n\r\n`, "continue", ROOT);
});

Deno.test("HttpRequestParser has the request described at 100 Continue", () => {
  const parser = new HttpRequestParser();
  const fields = "Expect: 100-continue\r\nContent-Length: 1\r\nConnection: close\r\n";
  const event = parser.parse(bytesOf(`HEAD / HTTP/1.1\r\nHost: a\r\n${fields}\r\n`));
  assertEquals(event, CONTINUE);
  assertEquals(describe(parser, REQUEST), "HEAD / 1.1 close");
});

Deno.test("HttpRequestParser knows no 100 Continue without a body or in HTTP/1.0", () => {
  assertFields("Expect: 100-continue|Expect: 100-continue\r\nContent-Length: 0", ROOT);
  assertFields("Expect: 100-continues\r\nContent-Length: 1");
  const fields = "Expect: 100-continue\r\nContent-Length: 1\r\n";
  assertEvents(`GET / HTTP/1.0\r\n${fields}\r\na`, ["GET / 1.0 close"]);
});

Deno.test("HttpRequestParser answers 431 for a head above maxHeadBytes", () => {
  const limits = { maxHeadBytes: 100, maxBodyBytes: 0 };
  const padded = (length: number, end: string) =>
    `${START}a: `.padEnd(length - end.length, "b") + end;
  assertEvents(padded(100, "\r\n\r\n").repeat(2), [ROOT, ROOT], limits);
  assertEvents(padded(101, "\r\n\r\n"), ["431"], limits);
  assertEvents(padded(99, ""), [], limits);
  assertEvents(padded(100, ""), ["431"], limits);
  assertEvents(`\r\n${padded(99, "\r\n\r\n")}`, ["431"], limits);
  assertEvents(`GET /${"a".repeat(95)} HTTP/1.1\r\n`, ["431"], limits);
  // What comes after the limit is not looked at.
  assertEvents(`${padded(100, "")}\0`, ["431"], limits);
  assertEvents(padded(99, "\0"), ["400"], limits);
});

Deno.test("HttpRequestParser takes heads of 16384 bytes unless told otherwise", () => {
  const head = `${START}a: `.padEnd(16380, "b");
  assertEvents(`${head}\r\n\r\n`, [ROOT]);
  assertEvents(`${head}b\r\n\r\n`, ["431"]);
});

Deno.test("HttpRequestParser stays in error", () => {
  const parser = new HttpRequestParser();
  assertEquals(parser.parse(bytesOf("GET / HTTP/3.0\r\n")), 505);
  assertEquals(parser.parse(bytesOf(`${START}\r\n`)), 505);
  assertEquals(parser.parse(new Uint8Array()), 505);
});

/** Text in some case, as field names and most words may be. */
const anyCase = (word: string) =>
  fc.array(fc.boolean(), { minLength: word.length, maxLength: word.length }).map((upper) =>
    Array.from(word, (letter, index) => upper[index] ? letter.toUpperCase() : letter).join("")
  );

const blank = fc.constantFrom("", " ", "\t", "  ");
const valueCharacter = fc.integer({ min: 0x20, max: 0xfe })
  .map((code) => String.fromCharCode(code < 0x7f ? code : code + 1));
const value = fc.string({ unit: valueCharacter, maxLength: 20 });
const token = fc.stringMatching(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{0,9}$/);
const otherField = fc.tuple(token, value).map(([name, value]) => `X-${name}:${value}\r\n`);

/** A chunk, of one character at least, which may have extensions. */
const chunk = fc.tuple(valueCharacter, value, blank, value).map(([first, rest, space, extension]) =>
  `${(1 + rest.length).toString(16)}${extension && `${space};${extension}`}\r\n${first}${rest}\r\n`
);

/** The field that frames a body, and the body. */
const body = fc.oneof(
  fc.constant({ framing: "", content: "" }),
  fc.record({ name: anyCase("content-length"), space: blank, content: value }).map(
    ({ name, space, content }) => ({
      framing: `${name}:${space}${content.length}${space}\r\n`,
      content,
    }),
  ),
  fc.record({
    name: anyCase("transfer-encoding"),
    coding: anyCase("chunked"),
    chunks: fc.array(chunk),
    trailers: fc.array(otherField),
  }).map(({ name, coding, chunks, trailers }) => ({
    framing: `${name}: ${coding}\r\n`,
    content: `${chunks.join("")}0\r\n${trailers.join("")}\r\n`,
  })),
);

/** A valid request with the events it is to give. */
const request = fc.record({
  emptyLines: fc.integer({ min: 0, max: 2 }),
  method: fc.constantFrom("GET", "HEAD", "POST", "GETHEAD"),
  target: fc.constantFrom("/", "/?a", "/a", "http://a/", "http://a/b"),
  connection: fc.constantFrom("", "close", "keep-alive", "a, Close"),
  isExpecting: fc.boolean(),
  host: anyCase("host"),
  fields: fc.array(otherField, { maxLength: 4 }),
  body,
}).map(({ emptyLines, method, target, connection, isExpecting, host, fields, body }) => {
  const lines = [
    `${method} ${target} HTTP/1.1\r\n`,
    ...fields,
    `${host}: a\r\n`,
    connection && `Connection: ${connection}\r\n`,
    isExpecting ? "Expect: 100-continue\r\n" : "",
    body.framing,
    "\r\n",
  ];
  const kind = method === "GET" || method === "HEAD" ? method : "OTHER";
  const path = target.endsWith("b") || target === "/a" ? "*" : "/";
  const persistence = /close/i.test(connection) ? "close" : "keep-alive";
  const events = [`${kind} ${path} 1.1 ${persistence}`];
  if (isExpecting && body.content !== "") events.unshift("continue");
  return { text: "\r\n".repeat(emptyLines) + lines.join("") + body.content, events };
});

const places = fc.array(fc.nat(), { maxLength: 20 });

Deno.test("HttpRequestParser gives the requests of a valid stream wherever it is cut", () => {
  fc.assert(
    fc.property(fc.array(request, { maxLength: 5 }), places, (requests, places) => {
      const stream = bytesOf(requests.map(({ text }) => text).join(""));
      const expected = requests.flatMap(({ events }) => events);
      assertEquals(eventsOf([stream]), expected);
      assertEquals(eventsOf(cut(stream, places)), expected);
    }),
    { numRuns: 500 },
  );
});

/** Bytes at random, and damaged requests, of which more is read before the error is found. */
const anyBytes = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.tuple(
    fc.array(request, { minLength: 1, maxLength: 3 }),
    fc.array(
      fc.record({
        place: fc.nat(),
        removed: fc.nat({ max: 4 }),
        added: fc.oneof(fc.constantFrom("\r", "\n", "\r\n", " ", ":", "0", "\0"), value),
      }),
      { maxLength: 3 },
    ),
  ).map(([requests, damages]) => {
    let text = requests.map(({ text }) => text).join("");
    for (const { place, removed, added } of damages) {
      const start = place % text.length;
      text = text.slice(0, start) + added + text.slice(start + removed) + "\r\n";
    }
    return bytesOf(text);
  }),
);

Deno.test("HttpRequestParser never throws, and judges any bytes the same wherever they are cut", () => {
  const statuses = /^(400|413|431|501|505|continue|(GET|HEAD|OTHER) .*)$/;
  const limits = { maxHeadBytes: 200, maxBodyBytes: 60 };
  fc.assert(
    fc.property(anyBytes, places, (stream, places) => {
      const expected = eventsOf([stream], limits);
      for (const event of expected) assert(statuses.test(event), event);
      assertEquals(eventsOf(cut(stream, places), limits), expected);
    }),
    { numRuns: 2000 },
  );
});
