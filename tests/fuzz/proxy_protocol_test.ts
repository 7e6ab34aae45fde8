// PROXY headers put together from the specification's parts, right and wrong: whether one is taken is
// told by a model that knows those parts, and no other parser.
import { assertEquals, assertGreater, assertInstanceOf } from "@std/assert";
import fc from "fast-check";
import { isIPv4, isIPv6 } from "node:net";
import {
  HEADER_BYTES_MAX,
  type Parsed,
  parseProxyHeader,
  type ProxyAddresses,
  ProxyHeaderReader,
  ProxyProtocolError,
} from "../../examples/support/proxy_protocol.ts";
import { concat } from "../support/streams.ts";
import corpus from "./corpora/proxy_headers.json" with { type: "json" };
import { cut, runs } from "./support/fuzz.ts";
import { sized } from "./support/hello.ts";

const SIGNATURE = "\r\n\r\n\0\r\nQUIT\n";

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** What a header says: its length, and whom; an error is told as `"error"`. */
function told(parsed: Parsed): unknown {
  return parsed instanceof ProxyProtocolError ? "error" : parsed;
}

/** The same in pieces, with as much of the client's own bytes behind. */
function assertSameInPieces(bytes: Uint8Array, places: number[]): void {
  const whole = parseProxyHeader(bytes);
  const reader = new ProxyHeaderReader();
  let end = 0;
  for (const piece of cut(bytes, places)) {
    const parsed = reader.push(piece);
    if (parsed !== null) {
      assertEquals(told(parsed), told(whole));
      if ("length" in parsed) assertEquals(end + reader.offsetBehind(parsed), parsed.length);
      return;
    }
    end += piece.length;
  }
  if (bytes.length > 0) assertEquals(whole, null);
}

Deno.test("recorded PROXY headers say what they said, wherever they are split", () => {
  for (const { what, hex, addresses } of corpus) {
    const bytes = Uint8Array.fromHex(hex), behind = latin1("GET / HTTP/1.1\r\n");
    const expected = addresses === "error" ? "error" : { length: bytes.length, addresses };
    assertEquals(told(parseProxyHeader(concat([bytes, behind]))), expected, what);
    for (let at = 0; at < bytes.length; at++) {
      if (expected !== "error") assertEquals(parseProxyHeader(bytes.subarray(0, at)), null, what);
      assertSameInPieces(concat([bytes, behind]), [at]);
    }
  }
});

// ---------------------------------------------------------------- version 1

const ipv4Text = fc.oneof(
  { weight: 4, arbitrary: fc.ipV4() },
  fc.constantFrom(
    "1.2.3",
    "01.2.3.4",
    "1.2.3.256",
    "0x1.2.3.4",
    "1.2.3.4.5",
    "1.2.3.4 ",
    "",
    "::1",
  ),
  fc.stringMatching(/^[0-9.]{1,15}$/),
);
const ipv6Text = fc.oneof(
  { weight: 4, arbitrary: fc.ipV6() },
  fc.constantFrom(
    "::",
    "::1",
    "::FFFF:1.2.3.4",
    "1::2::3",
    "::1%1",
    "[::1]",
    "1:2:3:4:5:6:7",
    ":::",
  ),
  fc.constantFrom(
    "00001::",
    "1:2:3:4:5:6:7:8:9",
    "::g",
    "::1.2.3",
    "::01.2.3.4",
    "1.2.3.4",
    "",
    ":",
  ),
  fc.constantFrom("::ffff:1.2.3.256", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1:2:3:4:5:6:1.2.3.4"),
  fc.stringMatching(/^[0-9a-fA-F:.]{1,24}$/),
);
const portText = fc.oneof(
  { weight: 4, arbitrary: fc.nat(70_000).map(String) },
  fc.constantFrom("", "00", "01", "+1", "-1", "0x10", "1e3", "65535", "65536", "99999999999", "1 "),
);
const line = fc.tuple(
  fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom("TCP4", "TCP6") },
    fc.constantFrom("UNKNOWN", "UDP4", "tcp4", "UNIX", "", "UNKNOWN2"),
  ),
  fc.array(
    fc.oneof({ weight: 1, arbitrary: ipv4Text }, { weight: 1, arbitrary: ipv6Text }),
    { minLength: 2, maxLength: 2 },
  ),
  fc.tuple(portText, portText),
  fc.oneof({ weight: 6, arbitrary: fc.constant([]) }, fc.array(fc.constantFrom("1", "", "\t"))),
).map(([protocol, addresses, ports, more]) => [protocol, ...addresses, ...ports, ...more]);

/** As URLs write it. */
function canonical(ip: string): string {
  return isIPv4(ip) ? ip : new URL(`http://[${ip}]`).hostname.slice(1, -1);
}

/** Whom a line of version 1 tells of, by its fields. */
function modelOfLine(fields: string[]): ProxyAddresses | null | "error" {
  const [protocol, source, destination, ...ports] = fields;
  if (protocol === "UNKNOWN") return null;
  const family = { TCP4: "IPv4", TCP6: "IPv6" }[protocol] as "IPv4" | "IPv6" | undefined;
  const isIp = family === "IPv4" ? isIPv4 : isIPv6;
  if (family === undefined || !isIp(source) || !isIp(destination)) return "error";
  if (source.includes("%") || destination.includes("%")) return "error";
  const [sourcePort, destinationPort] = ports.map(Number);
  if (ports.length !== 2 || ports.some((text) => String(Number(text)) !== text)) return "error";
  if ([sourcePort, destinationPort].some((port) => !(port >= 0 && port <= 65_535))) return "error";
  return {
    family,
    source: canonical(source),
    sourcePort,
    destination: canonical(destination),
    destinationPort,
  };
}

Deno.test("a line of version 1 is taken where each of its fields is right", () => {
  let taken = 0;
  fc.assert(
    fc.property(line, fc.array(fc.nat(), { maxLength: 5 }), (fields, places) => {
      const text = `PROXY ${fields.join(" ")}\r\n`;
      // Blanks in a field make more fields of it.
      const addresses = text.length > 107 ? "error" : modelOfLine(text.slice(6, -2).split(" "));
      const bytes = latin1(`${text}GET /`);
      const expected = addresses === "error" ? "error" : { length: text.length, addresses };
      assertEquals(told(parseProxyHeader(bytes)), expected, text);
      assertSameInPieces(bytes, places);
      if (addresses !== "error" && addresses !== null) taken++;
    }),
    runs(2500),
  );
  assertGreater(taken, 20);
});

Deno.test("a line of version 1 ends within 107 bytes, or is refused there", () => {
  const filling = fc.oneof(
    fc.string({
      unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
      maxLength: 200,
    }),
    fc.integer({ min: 80, max: 100 }).map((length) => "x".repeat(length)),
  );
  fc.assert(
    fc.property(filling, (filling) => {
      const text = `PROXY UNKNOWN ${filling}\r\n`, end = text.indexOf("\r\n") + 2;
      const expected = end > 107 ? "error" : { length: end, addresses: null };
      assertEquals(told(parseProxyHeader(latin1(text))), expected);
      const unended = latin1(text.slice(0, end - 1));
      assertEquals(told(parseProxyHeader(unended)), unended.length >= 107 ? "error" : null);
    }),
    runs(500),
  );
});

// ---------------------------------------------------------------- version 2

const ADDRESS_BYTES = [0, 12, 36, 216];
const tlv = fc.tuple(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 60 }))
  .map(([type, value]) => concat([new Uint8Array([type]), sized(value, 2)]));

const binary = fc.record({
  command: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(0x20, 0x21) },
    fc.integer({ min: 0, max: 255 }),
  ),
  kind: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32) },
    fc.integer({ min: 0, max: 255 }),
  ),
  addresses: fc.uint8Array({ minLength: 216, maxLength: 216 }),
  tlvs: fc.array(tlv, { maxLength: 4 }),
  lie: fc.oneof(
    { weight: 6, arbitrary: fc.constant(0) },
    fc.constantFrom(-1, -10, -40, 1, 10, 4096, 65_535),
  ),
});

Deno.test("a header of version 2 is taken where its parts fit", () => {
  let taken = 0, awaited = 0;
  fc.assert(
    fc.property(binary, fc.array(fc.nat(), { maxLength: 5 }), (parts, places) => {
      const { command, kind, tlvs, lie } = parts;
      const family = kind >> 4;
      const addresses = parts.addresses.subarray(0, ADDRESS_BYTES[family] ?? 0);
      const body = concat([addresses, ...tlvs]);
      const length = Math.min(65_535, Math.max(0, body.length + lie));
      const bytes = concat([
        latin1(SIGNATURE),
        new Uint8Array([command, kind, length >> 8, length & 255]),
        body,
      ]);
      const parsed = parseProxyHeader(bytes);
      assertSameInPieces(bytes, places);
      const needed = command === 0x20 ? 0 : ADDRESS_BYTES[family];
      const isWrong = (command & 0xfe) !== 0x20 || family > 3 || (kind & 15) > 2 ||
        16 + length > HEADER_BYTES_MAX || length < needed;
      if (isWrong) return void assertInstanceOf(parsed, ProxyProtocolError);
      if (16 + length > bytes.length) {
        awaited++;
        return assertEquals(parsed, null);
      }
      assertEquals((parsed as { length: number }).length, 16 + length);
      taken++;
      const about = (parsed as { addresses: ProxyAddresses | null }).addresses;
      if (needed === 0) return assertEquals(about, null);
      assertEquals(about?.family, [undefined, "IPv4", "IPv6", "unix"][family] as "unix");
      if (about === null || about.family === "unix") return;
      const at = addresses.length - 4;
      assertEquals(about.sourcePort, addresses[at] << 8 | addresses[at + 1]);
      assertEquals(about.destinationPort, addresses[at + 2] << 8 | addresses[at + 3]);
      assertEquals(canonical(about.source), about.source);
      assertEquals(bytesOfIp(about.source), [...addresses.subarray(0, at / 2)]);
      assertEquals(bytesOfIp(about.destination), [...addresses.subarray(at / 2, at)]);
    }),
    runs(2000),
  );
  assertGreater(taken, 200);
  assertGreater(awaited, 10);
});

/** Of a canonical address. */
function bytesOfIp(ip: string): number[] {
  if (!ip.includes(":")) return ip.split(".").map(Number);
  const [front, back] = ip.split("::").map((part) =>
    part.split(":").filter((group) => group !== "")
  );
  const zeros = new Array<string>(8 - front.length - (back?.length ?? 0)).fill("0");
  return [...front, ...zeros, ...(back ?? [])].flatMap((group) => {
    const value = parseInt(group, 16);
    return [value >> 8, value & 255];
  });
}
