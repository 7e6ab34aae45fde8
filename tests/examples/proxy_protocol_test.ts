/** The PROXY protocol: what the specification's own examples say, and properties of any bytes. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  encodeProxyHeader,
  HEADER_BYTES_MAX,
  ipAddresses,
  type Parsed,
  parseProxyHeader,
  type ProxyAddresses,
  ProxyHeaderReader,
  ProxyProtocolError,
} from "../../examples/support/proxy_protocol.ts";

const SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";

function bytes(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** A header of version 2. */
function v2(command: number, kind: number, body: string, length = body.length): Uint8Array {
  return bytes(
    SIGNATURE + String.fromCharCode(command, kind, length >> 8, length & 255) + body,
  );
}

function describe(parsed: Parsed): unknown {
  if (parsed === null) return "more";
  return parsed instanceof ProxyProtocolError ? parsed.message : parsed;
}

const V4: ProxyAddresses = {
  family: "IPv4",
  source: "192.168.0.1",
  sourcePort: 56324,
  destination: "192.168.0.11",
  destinationPort: 443,
};
const V4_BODY = "\xc0\xa8\x00\x01\xc0\xa8\x00\x0b\xdc\x04\x01\xbb";

for (
  const [name, header, expected] of [
    ["v1 TCP4", "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", V4],
    [
      "v1 TCP6",
      "PROXY TCP6 2001:DB8::1 ::1 1 65535\r\n",
      {
        ...V4,
        family: "IPv6",
        source: "2001:db8::1",
        sourcePort: 1,
        destination: "::1",
        destinationPort: 65535,
      },
    ],
    ["v1 UNKNOWN", "PROXY UNKNOWN\r\n", null],
    ["v1 UNKNOWN with the longest line", `PROXY UNKNOWN ${"f".repeat(91)}\r\n`, null],
    ["v2 IPv4", v2(0x21, 0x11, V4_BODY), V4],
    ["v2 IPv4 over UDP", v2(0x21, 0x12, V4_BODY), V4],
    ["v2 IPv4 with TLVs", v2(0x21, 0x11, `${V4_BODY}\x04\x00\x03abc`), V4],
    ["v2 LOCAL", v2(0x20, 0x00, ""), null],
    ["v2 LOCAL with addresses", v2(0x20, 0x11, V4_BODY), null],
    ["v2 UNSPEC with a body", v2(0x21, 0x00, "whatever"), null],
    [
      "v2 unix",
      v2(0x21, 0x31, "/run/a".padEnd(108, "\0") + "\0abstract".padEnd(108, "\0")),
      { family: "unix", source: "/run/a", destination: "\0abstract" },
    ],
  ] as const
) {
  Deno.test(`parseProxyHeader() reads ${name}`, () => {
    const data = typeof header === "string" ? bytes(header) : header;
    assertEquals(describe(parseProxyHeader(data)), { length: data.length, addresses: expected });
    for (let i = 0; i < data.length; i++) {
      assertEquals(parseProxyHeader(data.subarray(0, i)), null, `the first ${i} bytes`);
    }
  });
}

for (
  const [name, header, expected] of [
    ["an HTTP request", "GET / HTTP/1.1\r\n", "there is no PROXY header"],
    ["a lone wrong byte", "\x16", "there is no PROXY header"],
    ["small letters", "proxy TCP4", "there is no PROXY header"],
    [
      "a line that does not end",
      `PROXY UNKNOWN${"x".repeat(94)}`,
      "the header is longer than 107 bytes",
    ],
    [
      "an unknown protocol",
      "PROXY UDP4 1.2.3.4 1.2.3.4 1 2\r\n",
      "the header is no line of version 1",
    ],
    ["a field too few", "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "the header is no line of version 1"],
    ["two blanks", "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n", "the header is no line of version 1"],
    [
      "an address of the other family",
      "PROXY TCP4 ::1 ::1 1 2\r\n",
      "the header has an address that is not IPv4",
    ],
    [
      "a short address",
      "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n",
      "the header has an address that is not IPv4",
    ],
    [
      "an octal address",
      "PROXY TCP4 01.2.3.4 1.2.3.4 1 2\r\n",
      "the header has an address that is not IPv4",
    ],
    ["a zone", "PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n", "the header has an address that is not IPv6"],
    [
      "a port too high",
      "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n",
      "the header has a port that is none",
    ],
    [
      "a port with a sign",
      "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n",
      "the header has a port that is none",
    ],
    ["version 3", v2(0x31, 0x11, V4_BODY), "the header has an unknown version or command, 0x31"],
    [
      "an unknown command",
      v2(0x22, 0x11, V4_BODY),
      "the header has an unknown version or command, 0x22",
    ],
    ["an unknown family", v2(0x21, 0x41, V4_BODY), "the header has an unknown family, 0x41"],
    ["an unknown transport", v2(0x21, 0x13, V4_BODY), "the header has an unknown family, 0x13"],
    [
      "no room for its addresses",
      v2(0x21, 0x11, V4_BODY.slice(1)),
      "the header is too short for its addresses",
    ],
    [
      "a huge length",
      v2(0x21, 0x11, "", HEADER_BYTES_MAX - 15),
      `the header is longer than ${HEADER_BYTES_MAX} bytes`,
    ],
  ] as const
) {
  Deno.test(`parseProxyHeader() refuses ${name}`, () => {
    const data = typeof header === "string" ? bytes(header) : header;
    assertEquals(describe(parseProxyHeader(data)), expected);
  });
}

const port = fc.integer({ min: 0, max: 65535 });
const path = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((byte) => String.fromCharCode(byte)),
  maxLength: 108,
})
  .map((text) => text.replace(/\0+$/, ""));
/** As they are written canonically. */
const addresses: fc.Arbitrary<ProxyAddresses | null> = fc.oneof(
  fc.constant(null),
  fc.tuple(fc.ipV4(), port, fc.ipV4(), port).map((parts) => ipAddresses(...parts)),
  fc.tuple(fc.ipV6(), port, fc.ipV6(), port).map((parts) => ipAddresses(...parts)),
  fc.record(
    { family: fc.constant("unix" as const), source: path, destination: path },
    { noNullPrototype: true },
  ),
);
const header = fc.tuple(fc.constantFrom(1 as const, 2 as const), addresses);

/** Something like a header: one with a few bytes changed, or any bytes behind a beginning. */
const nearly = fc.oneof(
  fc.uint8Array({ maxLength: 300 }),
  fc.tuple(
    fc.constantFrom(SIGNATURE, `${SIGNATURE}\x21\x11`, "PROXY ", "PROXY TCP4 ", "PROXY TCP6 ::1 "),
    fc.uint8Array({ maxLength: 300 }),
  )
    .map(([beginning, rest]) => Uint8Array.of(...bytes(beginning), ...rest)),
  fc.tuple(
    header,
    fc.array(fc.tuple(fc.nat(60), fc.integer({ min: 0, max: 255 })), { maxLength: 3 }),
    fc.uint8Array({ maxLength: 9 }),
  )
    .map(([[version, about], changes, behind]) => {
      const data = Uint8Array.of(...encodeProxyHeader(version, about), ...behind);
      for (const [at, byte] of changes) if (at < data.length) data[at] = byte;
      return data;
    }),
);

Deno.test("encodeProxyHeader() makes what parseProxyHeader() reads", () => {
  fc.assert(fc.property(header, fc.uint8Array({ maxLength: 50 }), ([version, about], behind) => {
    const encoded = encodeProxyHeader(version, about);
    const parsed = parseProxyHeader(Uint8Array.of(...encoded, ...behind));
    const isTold = about !== null && (version === 2 || about.family !== "unix");
    assertEquals(describe(parsed), { length: encoded.length, addresses: isTold ? about : null });
  }));
});

Deno.test("ProxyHeaderReader gives the same for any split of any bytes, and never throws", () => {
  const kinds = new Set<string>(); // all of them must occur
  fc.assert(
    fc.property(nearly, fc.infiniteStream(fc.integer({ min: 1, max: 40 })), (data, sizes) => {
      const whole = parseProxyHeader(data);
      kinds.add(whole === null ? "more" : whole instanceof ProxyProtocolError ? "error" : "header");
      const reader = new ProxyHeaderReader();
      let parsed: Parsed = null, offset = 0, end = 0;
      while (parsed === null && end < data.length) {
        offset = end;
        end = Math.min(data.length, offset + sizes.next().value!);
        parsed = reader.push(data.subarray(offset, end));
      }
      assertEquals(describe(parsed), describe(data.length === 0 ? null : whole));
      if (parsed === null || parsed instanceof ProxyProtocolError) return;
      assertEquals(offset + reader.offsetBehind(parsed), parsed.length);
    }),
    { numRuns: 2000 },
  );
  assertEquals([...kinds].sort(), ["error", "header", "more"]);
});

Deno.test("ipAddresses() tells nothing of unix sockets, and leaves out zones", () => {
  assertEquals(ipAddresses("", 0, "", 0), null);
  assertEquals(ipAddresses("fe80::1%eth0", 1, "fe80::2%eth0", 2)?.source, "fe80::1");
  assertEquals(ipAddresses("127.0.0.1", 1, "::1", 2), null);
  assert(ipAddresses("127.0.0.1", 1, "127.0.0.2", 2)?.family === "IPv4");
});

Deno.test("an IPv4 address at the end of an IPv6 one makes no other of it", () => {
  const header = (ip: string) => parseProxyHeader(bytes(`PROXY TCP6 ${ip} ::1 1 2\r\n`));
  const sourceOf = (ip: string) => (header(ip) as { addresses: ProxyAddresses }).addresses.source;
  for (const [ip, expected] of [["::1.2.3.4", "::102:304"], ["::ffff:1.2.3.4", "::ffff:102:304"]]) {
    assertEquals(sourceOf(ip), expected);
    assertEquals(ipAddresses(ip, 1, "::1", 2)?.source, expected);
  }
  for (const ip of ["::01.2.3.4", "::ffff:010.2.3.4", "::ffff:0x10.2.3.4"]) {
    assertEquals(describe(header(ip)), "the header has an address that is not IPv6");
  }
});
