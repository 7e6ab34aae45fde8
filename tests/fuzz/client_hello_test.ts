// ClientHellos of real clients, and what becomes of them when fields and records are changed: the
// server name that is read from them is the one that OpenSSL finds.
import { assert, assertEquals, assertGreater } from "@std/assert";
import fc from "fast-check";
import { readServerName } from "../../ffi/tls/client_hello.ts";
import { testCertificates } from "../support/certificates.ts";
import { nativeTest } from "../support/native.ts";
import { concat } from "../support/streams.ts";
import { cut, runs } from "./support/fuzz.ts";
import { change, encodeHello, nameChange, parseHello } from "./support/hello.ts";
import { HelloJudge } from "./support/hello_judge.ts";
import { encodeRecords, HANDSHAKE, recordChange, repackaging } from "./support/records.ts";
import { recordings } from "./support/recordings.ts";

const all = recordings();
const hellos = all.map(({ flights }) => flights[0].bytes);

/** What it looks up contexts by; other names match none, and ask for the default. */
const HOST_NAME = /^[A-Za-z0-9_.-]{1,255}$/;

/** A record that has the message. */
function recordOf(message: Uint8Array): Uint8Array {
  return encodeRecords([{ type: HANDSHAKE, version: 0x0301, body: message }]);
}

/** The result, with bytes arriving up to each place; fails where an earlier look says something else. */
function readInPieces(bytes: Uint8Array, places: number[]): string | number {
  let end = 0, needed = 0;
  for (const piece of cut(bytes, places)) {
    end += piece.length;
    const found = readServerName(bytes.subarray(0, end));
    if (typeof found === "string") return found;
    assert(found > end, `${found} bytes are asked for, of which ${end} are there`);
    assert(found >= needed, `${found} bytes are asked for, and before that ${needed}`);
    needed = found;
  }
  return needed;
}

/** Bytes like a ClientHello. */
const mutated = fc.tuple(
  fc.constantFrom(...hellos),
  fc.oneof(
    { weight: 2, arbitrary: nameChange.map((one) => [one]) },
    { weight: 3, arbitrary: fc.array(change, { maxLength: 4 }) },
  ),
  fc.oneof(
    { weight: 2, arbitrary: fc.constant([]) },
    { weight: 2, arbitrary: fc.array(repackaging, { minLength: 1, maxLength: 3 }) },
    { weight: 1, arbitrary: fc.array(recordChange, { minLength: 1, maxLength: 2 }) },
  ),
).map(([start, changes, recordChanges]) => {
  const hello = parseHello(start);
  for (const apply of changes) apply(hello);
  let records = [{ type: HANDSHAKE, version: 0x0301, body: encodeHello(hello) }];
  for (const { apply } of recordChanges) if (records.length > 0) records = apply(records);
  return encodeRecords(records);
});

Deno.test("each recorded ClientHello is taken apart and put together again as it was", () => {
  for (const { name, flights } of all) {
    const bytes = flights[0].bytes;
    assertEquals(recordOf(encodeHello(parseHello(bytes))).slice(5), bytes.slice(5), name);
  }
});

nativeTest(
  "the server name in each recorded ClientHello is the one that was asked for",
  async () => {
    using judge = new HelloJudge((await testCertificates()).server);
    for (const { name, serverName, flights } of all) {
      assertEquals(readServerName(flights[0].bytes), serverName, name);
      assertEquals(judge.serverNameIn(flights[0].bytes), serverName, name);
    }
  },
);

nativeTest("the server name in a changed ClientHello is the one that OpenSSL finds", async () => {
  using judge = new HelloJudge((await testCertificates()).server);
  let named = 0, refused = 0;
  fc.assert(
    fc.property(mutated, fc.array(fc.nat(), { maxLength: 5 }), (bytes, places) => {
      const expected = judge.serverNameIn(bytes);
      const found = readServerName(bytes);
      if (typeof found === "string") assertEquals(readInPieces(bytes, places), found);
      if (expected === null) return void refused++;
      assertEquals(found, HOST_NAME.test(expected) ? expected : "");
      if (found !== "") named++;
    }),
    runs(1000),
  );
  assertGreater(named, 100);
  assertGreater(refused, 100);
});

Deno.test("a ClientHello in pieces says what it says as a whole, changed or not", () => {
  fc.assert(
    fc.property(
      fc.oneof(mutated, fc.uint8Array({ maxLength: 100 })),
      fc.array(fc.nat(), { maxLength: 20 }),
      fc.uint8Array({ maxLength: 20 }),
      (bytes, places, behind) => {
        const found = readServerName(bytes);
        if (typeof found === "number") {
          assertGreater(found, bytes.length);
          assertEquals(readInPieces(bytes, places), bytes.length === 0 ? 0 : found);
          return;
        }
        assertEquals(readInPieces(bytes, places), found);
        assertEquals(readServerName(concat([bytes, behind])), found);
      },
    ),
    runs(1000),
  );
});
