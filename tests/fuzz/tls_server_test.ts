// First flights of clients, recorded and changed: the server refuses each, tells why, and serves
// others.
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import { CloseCode } from "@usockets/usockets";
import fc from "fast-check";
import { concat, writeAll } from "../support/streams.ts";
import { cut, runs } from "./support/fuzz.ts";
import { change, encodeHello, parseHello } from "./support/hello.ts";
import { encodeRecords, HANDSHAKE, parseRecords, recordChange } from "./support/records.ts";
import { recordings } from "./support/recordings.ts";
import { BACKENDS, FuzzedServer, fuzzTest } from "./support/tls_server.ts";

/** All that each client said. */
const streams = recordings().map(({ flights }) =>
  concat(flights.filter(({ from }) => from === "client").map(({ bytes }) => bytes))
);

/** A ClientHello with other fields, and what else the client said, in other records. */
const mutated = fc.tuple(
  fc.constantFrom(...streams),
  fc.array(change, { maxLength: 3 }),
  fc.array(recordChange, { maxLength: 3 }),
).map(([stream, changes, recordChanges]) => {
  const [first, ...others] = parseRecords(stream).records;
  const hello = parseHello(encodeRecords([first]));
  for (const apply of changes) apply(hello);
  let records = [{ type: HANDSHAKE, version: 0x0301, body: encodeHello(hello) }, ...others];
  for (const { apply } of recordChanges) if (records.length > 0) records = apply(records);
  return encodeRecords(records);
});

const bytes = fc.oneof(
  { weight: 12, arbitrary: mutated },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 400 }) },
  {
    weight: 1,
    arbitrary: fc.uint8Array({ maxLength: 400 }).map((tail) =>
      concat([new Uint8Array([22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]), tail])
    ),
  },
);

for (const backend of Object.keys(BACKENDS) as (keyof typeof BACKENDS)[]) {
  fuzzTest(backend, "a changed first flight is refused, and others are served", async () => {
    await using server = await FuzzedServer.start(backend);
    await fc.assert(
      fc.asyncProperty(bytes, fc.array(fc.nat(), { maxLength: 4 }), async (bytes, places) => {
        const life = await server.send(cut(bytes, places));
        assertEquals(life.handshakes, 0); // it has the key of nobody
        assert(life.code === CloseCode.Tls || life.code === CloseCode.Reset, String(life.code));
      }),
      runs(100),
    );
  });

  // Deno keeps the transport of a handshake that has not ended, until the peer goes away.
  if (backend === "deno") continue;
  fuzzTest(
    backend,
    "a first flight that stops anywhere is waited for no longer than said",
    async () => {
      await using server = await FuzzedServer.start(backend, { handshakeTimeoutSeconds: 1 });
      const hellos = recordings().map(({ flights }) => flights[0].bytes);
      const lives = await Promise.all(hellos.map((hello, i) => {
        const length = Math.ceil(hello.length * (i + 1) / hellos.length);
        return server.meet((conn) => writeAll(conn, hello.subarray(0, length)));
      }));
      for (const { code, reason } of lives) {
        assertEquals(code, CloseCode.Tls);
        assertInstanceOf(reason, Deno.errors.TimedOut);
      }
    },
  );
}
