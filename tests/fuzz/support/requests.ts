/** Requests as smugglers write them: nearly right, and framed in more than one way. */
import fc from "fast-check";

/** One of these as a rule, one of those at times. */
function mostly(usual: string[], unusual: string[]): fc.Arbitrary<string> {
  return fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom(...usual) },
    { weight: 1, arbitrary: fc.constantFrom(...unusual) },
  );
}

const method = mostly(["GET", "POST", "HEAD", "PUT", "OPTIONS"], [
  ...["get", "G@T", "GET\0", "", "GE T", "FOO", "CONNECT", "PRI", "GET\t", "\xc9", "DELETE"],
]);
const blank = mostly([" "], ["  ", "\t", "", "\0", "\r", "\x0b", "\xa0", " \r\n "]);
const target = mostly(["/", "/a?b=c", "http://a/", "/%00", "/;x"], [
  ...["*", "a:80", "//", "/#a", "/\x7f", "/ä", "http://", "http:///", "/\0", "?", "/a b", ""],
  ...["HTTP://a:1/?", "/\\", '/"', "/{|}", "ftp://a/"],
]);
const version = mostly(["HTTP/1.1"], [
  ...[
    "HTTP/1.0",
    "HTTP/1.2",
    "HTTP/1.10",
    "HTTP/2.0",
    "HTTP/01.1",
    "http/1.1",
    "HTTP/1,1",
    "HTTP/1.",
  ],
  ...["HTTP/1.1 ", " HTTP/1.1", "", "HTTP/0.9", "HTTPS/1.1", "HTTP/1.1\0"],
]);
const lineEnd = mostly(["\r\n"], [
  ...["\n", "\r", "\r\r\n", "\n\r", "\r\n ", "\r\n\t", "\0\r\n", " \r\n", "\r \n"],
]);

const host = mostly(["a", "a:80", "[::1]", "a.b"], [
  ...["", "a b", "a,b", "a/b", "a@b", "a\tb", "\xe4", "a\0"],
]);
const length = mostly(["5", "0", "05", "11"], [
  ...[
    "+5",
    "-5",
    "0x5",
    "5,5",
    "5, 5",
    "5 5",
    "5\0",
    "",
    "5.0",
    "5e0",
    "0_5",
    "\xb5",
    "5\x0b",
    "٥",
  ],
  ...[
    "9007199254740993",
    "18446744073709551616",
    "18446744073709551621",
    "4294967296",
    "00000000005",
  ],
]);
const coding = mostly(["chunked", "Chunked"], [
  ...["chunked, chunked", "gzip, chunked", "chunked, gzip", "identity", "", ",chunked", "chunked,"],
  ...["xchunked", "chunkedx", "chunked;q=1", '"chunked"', "\x0bchunked", "chunked\0", "chun ked"],
  ...["chunked\x0b", "chunked, identity", " , chunked", "\tchunked\t"],
]);
const connection = mostly(["close", "keep-alive"], [
  ...["Close", "close, keep-alive", "keep-alive, close", "upgrade", "transfer-encoding", ",", ""],
]);
const colon = mostly([": ", ":", ":\t"], [" :", "", " ", "::", ":\0", "\t:", ":\x0b"]);
const prefix = mostly([""], [" ", "\t", "\0", ":", "x", "\r", "\x0b", '"']);

/** A name in some case. */
function named(...names: string[]): fc.Arbitrary<string> {
  return fc.tuple(fc.constantFrom(...names), fc.nat(30)).map(([name, kind]) => {
    if (kind === 0) return name.toUpperCase();
    if (kind === 1) return name.toLowerCase();
    if (kind === 2) return name.replaceAll("-", "_");
    if (kind === 3) return `${name}-`;
    return name;
  });
}

function field(name: fc.Arbitrary<string>, value: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.tuple(prefix, name, colon, value, lineEnd).map((parts) => parts.join(""));
}

const anyText = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 12,
});
const fields = {
  host: field(named("Host"), host),
  length: field(named("Content-Length"), length),
  coding: field(named("Transfer-Encoding"), coding),
  connection: field(named("Connection"), connection),
  expect: field(named("Expect"), fc.constantFrom("100-continue", "100-Continue", "x")),
  other: fc.oneof(
    field(named("X-A", "Cookie", "Trailer", "TE", "Upgrade"), anyText),
    field(anyText, anyText),
  ),
};

const size = mostly(["5", "05", "b", "B", "1"], [
  ...[
    "",
    "0x5",
    "+5",
    "-5",
    " 5",
    "5 ",
    "5\t",
    "5;a",
    "5;a=b",
    '5;a="b"',
    "5 ;a",
    "5; a",
    "5;",
    "5;;",
  ],
  ...["5;\0", "5;a=\xe4", '5;a="\\""', '5;a="', "5;a b", "5,5", "g", "5\0", "5;=", "5;a=", '5;"a"'],
  ...[
    "ffffffffffffffff",
    "10000000000000005",
    "fffffffffffffffffffff",
    "80000000",
    "5;a\n",
    "0000000005",
  ],
]);
const CONTENT = "hello world";
const chunk = fc.tuple(size, lineEnd, lineEnd).map(([size, afterSize, afterContent]) => {
  const length = parseInt(size, 16);
  return `${size}${afterSize}${CONTENT.slice(0, length > 0 ? length : 5)}${afterContent}`;
});
const last = mostly(["0"], ["", "00", "0;a", "0 ", "0x0", "-0", "0\t"]);
const chunked = fc.tuple(
  fc.array(chunk, { maxLength: 3 }),
  last,
  lineEnd,
  fc.oneof({ weight: 4, arbitrary: fc.constant("") }, fields.other, fields.length),
  lineEnd,
).map(([chunks, ...rest]) => chunks.join("") + rest.join(""));

const head = fc.tuple(method, blank, target, blank, version, lineEnd).map((parts) =>
  parts.join("")
);

/** Fields in any order: which ones says `kinds`. */
function request(kinds: (keyof typeof fields)[], content: fc.Arbitrary<string>) {
  return fc.tuple(
    head,
    fc.tuple(...kinds.map((kind) => fields[kind])),
    fc.array(fc.oneof(...Object.values(fields)), { maxLength: 1 }),
    fc.nat(),
    lineEnd,
    content,
  ).map(([head, all, more, turn, end, content]) => {
    const lines = [...all, ...more];
    const from = turn % lines.length;
    return head + [...lines.slice(from), ...lines.slice(0, from)].join("") + end + content;
  });
}

const sized = fc.constantFrom("hello", "", CONTENT);

/** A request that is valid for somebody. */
export const nearlyRequest: fc.Arbitrary<string> = fc.oneof(
  request(["host"], fc.constant("")),
  request(["host", "connection", "other"], fc.constant("")),
  request(["host", "length"], sized),
  request(["host", "length", "expect"], sized),
  request(["host", "coding"], chunked),
  request(["host", "coding", "other"], chunked),
  { weight: 1, arbitrary: request(["host", "length", "coding"], fc.oneof(sized, chunked)) },
  { weight: 1, arbitrary: request(["host", "length", "length"], sized) },
  { weight: 1, arbitrary: request(["host", "coding", "coding"], chunked) },
);
