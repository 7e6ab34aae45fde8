/** ClientHellos taken apart, changed field by field, and put together again, with lengths that lie. */
import fc from "fast-check";
import { concat } from "../../support/streams.ts";

/** An extension. */
export interface Extension {
  type: number;
  body: Uint8Array;
}

/** A ClientHello (RFC 8446, 4.1.2). */
export interface Hello {
  version: number;
  random: Uint8Array;
  session: Uint8Array;
  suites: Uint8Array;
  compression: Uint8Array;
  extensions: Extension[];
  /** By how much the lengths of the fields are off; `extension3` is that of the fourth one. */
  lies: Record<string, number>;
}

/** Types of extensions. */
export const SERVER_NAME = 0, ALPN = 16, PRE_SHARED_KEY = 41, EARLY_DATA = 42, KEY_SHARE = 51;
const TYPES = [0, 1, 5, 10, 11, 13, 16, 18, 21, 22, 23, 27, 35, 41, 42, 43, 44, 45, 47, 49, 50, 51];

/** Puts the lengths of both bytes in front. */
export function sized(body: Uint8Array, width: 1 | 2 | 3, lie = 0): Uint8Array {
  const length = Math.max(0, body.length + lie);
  const bytes = [length >> 16 & 255, length >> 8 & 255, length & 255].slice(3 - width);
  return concat([new Uint8Array(bytes), body]);
}

/** Two bytes. */
export function word(value: number): Uint8Array {
  return new Uint8Array([value >> 8 & 255, value & 255]);
}

/** Takes the message of a record apart; it must be a whole and correct one. */
export function parseHello(record: Uint8Array): Hello {
  let at = 5 + 4;
  const take = (count: number) => record.slice(at, at += count);
  const number = (width: number) => take(width).reduce((value, byte) => value << 8 | byte, 0);
  const version = number(2), random = take(32);
  const session = take(number(1)), suites = take(number(2)), compression = take(number(1));
  const end = number(2) + at;
  const extensions: Extension[] = [];
  while (at < end) extensions.push({ type: number(2), body: take(number(2)) });
  return { version, random, session, suites, compression, extensions, lies: {} };
}

/** The handshake message. */
export function encodeHello(hello: Hello): Uint8Array {
  const { version, random, session, suites, compression, extensions, lies } = hello;
  const all = extensions.map(({ type, body }, i) =>
    concat([word(type), sized(body, 2, lies[`extension${i}`])])
  );
  const body = concat([
    word(version),
    random,
    sized(session, 1, lies.session),
    sized(suites, 2, lies.suites),
    sized(compression, 1, lies.compression),
    sized(concat(all), 2, lies.extensions),
  ]);
  return concat([new Uint8Array([1]), sized(body, 3, lies.message)]);
}

/** The body of a server_name extension. */
export function serverNames(names: { kind: number; name: Uint8Array }[], lie = 0): Uint8Array {
  const entries = names.map(({ kind, name }) => concat([new Uint8Array([kind]), sized(name, 2)]));
  return sized(concat(entries), 2, lie);
}

/** A change of one field. */
export type Change = (hello: Hello) => void;

const lie = fc.oneof(
  fc.constantFrom(-1, 1, -2, 2, 4, -4, 255, -255, 65_535, -65_535),
  fc.integer({ min: -300, max: 300 }),
);
const bytes = (maxLength: number) => fc.uint8Array({ maxLength });

const ascii = (text: string) => new TextEncoder().encode(text);
const oneName = fc.oneof(
  fc.constantFrom(
    ...[
      "",
      "a.test",
      "other.test",
      "OTHER.TEST",
      "other.test.",
      "a\0b",
      "other.test\0.evil",
      "ü.test",
    ],
    ...[
      "127.0.0.1",
      "::1",
      " ",
      "../../etc/passwd",
      ".",
      "..",
      "*",
      "x".repeat(255),
      "x".repeat(256),
    ],
    ...["localhost", "a_b", "-", "%00", "\r\n"],
  ).map(ascii),
  fc.uint8Array({ maxLength: 300 }),
  fc.stringMatching(/^[a-z0-9.-]{1,40}$/).map(ascii),
);
const nameEntry = fc.record({
  kind: fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, {
    weight: 1,
    arbitrary: fc.integer({ min: 0, max: 255 }),
  }),
  name: oneName,
});
const nameBody = fc.tuple(
  fc.oneof(
    { weight: 6, arbitrary: fc.tuple(nameEntry) },
    { weight: 1, arbitrary: fc.array(nameEntry, { maxLength: 4 }) },
  ),
  fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: lie }),
).map(([names, lie]) => serverNames(names, lie));
const alpnBody = fc.tuple(fc.array(bytes(20), { maxLength: 5 }), fc.boolean()).map(
  ([names, isLying]) => sized(concat(names.map((name) => sized(name, 1))), 2, isLying ? 1 : 0),
);
const keyShareBody = fc.tuple(
  fc.array(fc.tuple(fc.constantFrom(0x1d, 0x17, 0x18, 0x11ec, 0x0a0a, 0), bytes(140)), {
    maxLength: 4,
  }),
  fc.boolean(),
).map(([shares, isLying]) =>
  sized(concat(shares.map(([group, key]) => concat([word(group), sized(key, 2)]))), 2, +isLying)
);

/** Puts an extension in the place of the one of its type, or in front of a pre-shared key. */
function replace(hello: Hello, type: number, body: Uint8Array): void {
  const found = hello.extensions.find((extension) => extension.type === type);
  if (found !== undefined) found.body = body;
  else insert(hello, 0, { type, body });
}

function insert(hello: Hello, at: number, extension: Extension): void {
  hello.extensions.splice(at % (hello.extensions.length + 1), 0, extension);
}

/** A change that leaves a name for servers to find, as often as not. */
export const nameChange: fc.Arbitrary<Change> = nameBody.map((body) => (hello) =>
  replace(hello, SERVER_NAME, body)
);

/** Any change. */
export const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 3, arbitrary: nameChange },
  alpnBody.map((body): Change => (hello) => replace(hello, ALPN, body)),
  keyShareBody.map((body): Change => (hello) => replace(hello, KEY_SHARE, body)),
  fc.constantFrom(0, 0x0200, 0x0300, 0x0301, 0x0302, 0x0303, 0x0304, 0x0305, 0x7f1c, 0xffff)
    .map((version): Change => (hello) => void (hello.version = version)),
  bytes(255).map((session): Change => (hello) => void (hello.session = session)),
  fc.oneof(bytes(8), fc.constantFrom(0, 2, 65_534, 40_001).map((length) => new Uint8Array(length)))
    .map((suites): Change => (hello) => void (hello.suites = suites)),
  bytes(255).map((compression): Change => (hello) => void (hello.compression = compression)),
  fc.tuple(fc.nat(), fc.nat(), bytes(40)).map(([at, type, body]): Change => (hello) =>
    insert(hello, at, { type: type % 65_536, body })
  ),
  fc.tuple(fc.nat(), fc.constantFrom(...TYPES), bytes(40)).map((
    [at, type, body],
  ): Change =>
  (hello) => insert(hello, at, { type, body })),
  fc.tuple(fc.nat(), fc.nat()).map(([from, to]): Change => (hello) => {
    const copied = hello.extensions[from % hello.extensions.length];
    if (copied !== undefined) insert(hello, to, copied); // twice
  }),
  fc.nat().map((at): Change => (hello) =>
    void hello.extensions.splice(at % (hello.extensions.length + 1), 1)
  ),
  fc.tuple(fc.nat(), fc.nat()).map(([at, length]): Change => (hello) => {
    const extension = hello.extensions[at % hello.extensions.length];
    if (extension === undefined) return;
    extension.body = extension.body.subarray(0, length % (extension.body.length + 1));
  }),
  fc.constant<Change>((hello) => void (hello.extensions = [])),
  fc.nat().map((at): Change => (hello) => {
    const start = at % (hello.extensions.length + 1);
    hello.extensions = [...hello.extensions.slice(start), ...hello.extensions.slice(0, start)];
  }),
  fc.constant<Change>((hello) => replace(hello, EARLY_DATA, new Uint8Array(0))),
  fc.tuple(
    fc.oneof(
      fc.constantFrom("session", "suites", "compression", "extensions", "message"),
      fc.nat(12).map((i) => `extension${i}`),
    ),
    lie,
  ).map(([field, by]): Change => (hello) => void (hello.lies[field] = by)),
);
