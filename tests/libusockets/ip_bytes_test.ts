// Addresses as C has them: against literal bytes, and against what a URL makes of the same address.
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { ipBytes } from "../../src/libusockets/ip_bytes.ts";

const zeros = (count: number) => Array(count).fill(0);

const literals: [string, number[]][] = [
  ["", []],
  ["127.0.0.1", [127, 0, 0, 1]],
  ["255.255.255.255", [255, 255, 255, 255]],
  ["0.0.0.0", [0, 0, 0, 0]],
  ["::", zeros(16)],
  ["::1", [...zeros(15), 1]],
  ["1::", [0, 1, ...zeros(14)]],
  ["1::2", [0, 1, ...zeros(13), 2]],
  ["fe80::1%eth0", [0xfe, 0x80, ...zeros(13), 1]],
  ["fe80::1%eth0.100", [0xfe, 0x80, ...zeros(13), 1]], // a VLAN
  ["fe80::1%1", [0xfe, 0x80, ...zeros(13), 1]],
  ["::ffff:1.2.3.4", [...zeros(10), 255, 255, 1, 2, 3, 4]],
  ["64:ff9b::1.2.3.4", [0, 0x64, 0xff, 0x9b, ...zeros(8), 1, 2, 3, 4]],
  ["1:2:3:4:5:6:1.2.3.4", [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 1, 2, 3, 4]],
  ["2001:0DB8:0000:0000:0000:ff00:0042:8329", [
    0x20,
    1,
    0xd,
    0xb8,
    ...zeros(6),
    0xff,
    0,
    0,
    0x42,
    0x83,
    0x29,
  ]],
  ["1:2:3:4:5:6:7::", [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 0]],
  ["::2:3:4:5:6:7:8", [0, 0, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8]],
];

for (const [ip, bytes] of literals) {
  Deno.test(`ipBytes() of "${ip}"`, () => {
    assertEquals([...ipBytes(ip)], bytes);
  });
}

/** All eight groups, nothing left out. */
function fullForm(bytes: Uint8Array): string {
  return Array.from(
    { length: 8 },
    (_, i) => (bytes[2 * i] << 8 | bytes[2 * i + 1]).toString(16).padStart(4, "0"),
  ).join(":");
}

/** Bytes of which many are 0, so that there is something to leave out. */
const sparse = fc.array(fc.oneof(fc.constant(0), fc.constant(0), fc.nat(255)), {
  minLength: 16,
  maxLength: 16,
}).map((bytes) => Uint8Array.from(bytes));

Deno.test("ipBytes() reads every IPv6 address, in full and as a URL shortens it", () => {
  fc.assert(fc.property(sparse, (bytes) => {
    const full = fullForm(bytes);
    const short = new URL(`http://[${full}]/`).hostname.slice(1, -1);
    assertEquals(ipBytes(full), bytes);
    assertEquals(ipBytes(full.toUpperCase()), bytes);
    assertEquals(ipBytes(short), bytes);
  }));
});

Deno.test("ipBytes() reads every IPv4 address, also at the end of an IPv6 one", () => {
  fc.assert(fc.property(fc.uint8Array({ minLength: 4, maxLength: 4 }), (bytes) => {
    const ip = bytes.join(".");
    assertEquals(ipBytes(ip), bytes);
    assertEquals([...ipBytes(`::ffff:${ip}`)], [...zeros(10), 255, 255, ...bytes]);
  }));
});
