// The parser of the HTTP example beside llhttp, the one of Node: what both take ends at the same
// byte, so that nobody smuggles a request past either; and what only ours takes is known.
import { assert, assertEquals, assertGreater } from "@std/assert";
import fc from "fast-check";
import {
  DEFAULT_LIMITS,
  HttpRequestParser,
  NEED_MORE,
  REQUEST,
} from "../../examples/support/http_request.ts";
import { cut, runs } from "./support/fuzz.ts";
import { judge } from "./support/llhttp.ts";
import { nearlyRequest } from "./support/requests.ts";
import recorded from "./corpora/http_requests.json" with { type: "json" };
import smuggling from "./corpora/http_smuggling.json" with { type: "json" };

/** Bytes of text whose characters are all below 256. */
function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** What our parser makes of a stream that comes in pieces. */
interface Parsed {
  readonly requests: { readonly end: number; readonly keepAlive: boolean }[];
  /** The status that refuses the rest; 0 where more is waited for. */
  readonly status: number;
}

function parse(pieces: Uint8Array[], limits = DEFAULT_LIMITS): Parsed {
  const parser = new HttpRequestParser(limits);
  const requests: Parsed["requests"] = [];
  let at = 0, status = 0;
  for (const piece of pieces) {
    for (let event = parser.parse(piece); event !== NEED_MORE;) {
      if (event >= 400) {
        status = event;
        return { requests, status };
      }
      if (event === REQUEST) {
        requests.push({ end: at + parser.offset, keepAlive: parser.keepAlive });
        if (!parser.keepAlive) return { requests, status }; // nothing that follows is parsed
      }
      event = parser.parse(piece, parser.offset);
    }
    at += piece.length;
  }
  return { requests, status };
}

/** What llhttp refuses and we take, each for its reason: of one request, by llhttp's error. */
const KNOWN: Record<string, (request: string) => boolean> = {
  // Any token is a method (RFC 9110, 9.1); one that is not known is answered, not refused.
  HPE_INVALID_METHOD: () => true,
  // 1.2 is read as 1.1 (RFC 9110, 2.5); PRI is HTTP/2's, and llhttp's alone.
  HPE_INVALID_VERSION: (request) => /^(\r\n)*(PRI |[^\r]* HTTP\/1\.[2-9]\r\n)/.test(request),
  // The same length said twice may be taken (RFC 9112, 6.3), but not beside a coding.
  HPE_UNEXPECTED_CONTENT_LENGTH: (request) => {
    const lengths = [...headOf(request).matchAll(/\ncontent-length:[ \t]*(\d+)/gi)].map(([, n]) =>
      +n
    );
    return lengths.length > 1 && new Set(lengths).size === 1 &&
      !/\ntransfer-encoding:/i.test(request);
  },
  // Trailers are dropped, whatever they are (RFC 9110, 6.5.1): llhttp reads them as fields. And a tab
  // may follow a value (RFC 9112, 5.1).
  HPE_INVALID_CONTENT_LENGTH: (request) =>
    !/\ncontent-length:/i.test(headOf(request)) || /\ncontent-length:\s*\d+ *\t/i.test(request),
  // A list may have empty elements, and blanks behind them (RFC 9110, 5.6.1).
  HPE_INVALID_TRANSFER_ENCODING: (request) =>
    /\ntransfer-encoding:[ \t,]*chunked[ \t,]*\r\n/i.test(headOf(request)),
  // Extensions are skipped to the end of the line, and need not be well-formed.
  HPE_STRICT: hasExtension,
  HPE_INVALID_CHUNK_SIZE: hasExtension,
};

function headOf(request: string): string {
  return request.slice(0, request.indexOf("\r\n\r\n") + 2);
}

function hasExtension(request: string): boolean {
  return /\n[0-9a-f]+[ \t]*;[^\r\n\0]*\r\n/i.test(request);
}

/** Fails where the two would see different requests. */
function compare(text: string): { taken: number; refused: number } {
  const stream = bytesOf(text);
  const ours = parse([stream]), theirs = judge(stream);
  let start = 0;
  for (const [i, request] of ours.requests.entries()) {
    // CONNECT and Upgrade: llhttp leaves what follows to others; here both are like any other.
    if (theirs.isUpgrade && i >= theirs.requests.length - 1) return { taken: i, refused: 0 };
    const slice = text.slice(start, request.end), other = theirs.requests[i];
    if (other === undefined) {
      const isKnown = KNOWN[theirs.error ?? ""]?.(slice) ?? false;
      assert(isKnown, `only ours takes ${JSON.stringify(slice)}: ${theirs.error}`);
      return { taken: i, refused: 0 };
    }
    assertEquals(request.end, other.end, JSON.stringify(slice));
    if (request.keepAlive !== other.keepAlive) {
      // llhttp knows no tab behind a field's value (RFC 9112, 5.1).
      assert(/\nconnection:[^\r]*\t/i.test(slice), JSON.stringify(slice));
      return { taken: i, refused: 0 };
    }
    start = request.end;
  }
  const taken = ours.requests.length;
  if (ours.status !== 0) return { taken, refused: 1 };
  const isOver = theirs.isUpgrade || ours.requests.at(-1)?.keepAlive === false;
  if (!isOver) assertEquals(theirs.requests.length, taken, "we wait for more");
  return { taken, refused: 0 };
}

Deno.test("what real clients send is taken, whole and byte by byte", () => {
  for (const { client, request } of recorded) {
    const bytes = bytesOf(request);
    const { requests, status } = parse([bytes]);
    assertEquals([requests.length, requests[0]?.end, status], [1, bytes.length, 0], client);
    assertEquals(parse(cut(bytes, [...bytes.keys()])), { requests, status }, client);
    assertEquals(compare(request).taken, 1, client);
  }
});

Deno.test("no request is smuggled in", () => {
  for (const { what, request, status } of smuggling) {
    const bytes = bytesOf(request), parsed = parse([bytes]);
    assertEquals(parsed.status, status, what);
    assertEquals(parsed.requests.length, status === 0 ? 2 : 0, what);
    assertEquals(parse(cut(bytes, [...bytes.keys()])), parsed, what);
    compare(request);
  }
});

Deno.test("one byte more, fewer or changed is seen by both parsers, or by none", () => {
  const bytes = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code));
  const chunked =
    "PUT / HTTP/1.1\r\nHost:a\r\nTransfer-Encoding: chunked\r\n\r\n1;a\r\nb\r\n0\r\n\r\n";
  const sized = "PUT / HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nb";
  for (const text of [chunked, sized]) {
    for (let at = 0; at < text.length; at++) {
      const before = text.slice(0, at), behind = text.slice(at + 1) + text;
      compare(before + behind);
      for (const byte of bytes) {
        compare(before + byte + behind);
        if (byte < "\x80") compare(before + byte + text[at] + behind);
      }
    }
  }
});

const stream = fc.array(nearlyRequest, { minLength: 1, maxLength: 3 }).map((all) => all.join(""));

Deno.test("requests end where llhttp has them end", () => {
  let taken = 0, refused = 0;
  fc.assert(
    fc.property(stream, (text) => {
      const result = compare(text);
      taken += result.taken;
      refused += result.refused;
    }),
    runs(4000),
  );
  assertGreater(taken, 300);
  assertGreater(refused, 1000);
});

Deno.test("requests are judged the same however they are split", () => {
  fc.assert(
    fc.property(stream, fc.array(fc.nat(), { maxLength: 12 }), (text, places) => {
      const bytes = bytesOf(text);
      assertEquals(parse(cut(bytes, places)), parse([bytes]));
    }),
    runs(2000),
  );
});

Deno.test("nothing that has no end is read for ever", () => {
  const limits = { maxHeadBytes: 200, maxBodyBytes: 100 };
  // Of a head, a body and its trailers, and of the line ends behind chunks.
  const bound = 2 * limits.maxHeadBytes + 2 * limits.maxBodyBytes;
  const starts = [
    "",
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    "PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;",
  ];
  const units = ["\r\n", "a", "0", "f", "1\r\na\r\n", "a: b\r\n", " ", "\t", "1;a\r\nb\r\n", ";"];
  const unit = fc.oneof(fc.constantFrom(...units), nearlyRequest);
  fc.assert(
    fc.property(fc.constantFrom(...starts), unit, fc.nat(6), (start, unit, pieceBytes) => {
      const bytes = bytesOf((start + unit.repeat(1000)).slice(0, 3 * bound));
      const places = Array.from(bytes.keys()).filter((at) => at % (pieceBytes + 1) === 0);
      const { requests, status } = parse(cut(bytes, places), limits);
      const ends = [0, ...requests.map(({ end }) => end)];
      ends.forEach((end, i) => assert(end - (ends[i - 1] ?? 0) <= bound));
      const isOver = status !== 0 || requests.at(-1)?.keepAlive === false;
      assert(isOver || bytes.length - ends.at(-1)! <= bound, "it waits for ever");
    }),
    runs(300),
  );
});
