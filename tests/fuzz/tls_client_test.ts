// Servers whose flights are recorded ones of others, made up, or changed on their way: the client
// never takes them for whom they are not, and says what is wrong.
import { assert, assertEquals, assertGreater } from "@std/assert";
import { CloseCode } from "@usockets/usockets";
import fc from "fast-check";
import { testCertificates } from "../support/certificates.ts";
import { HandDriven } from "../support/hand_driven.ts";
import { isLinux } from "../support/native.ts";
import { concat } from "../support/streams.ts";
import { cut, deliver, runs } from "./support/fuzz.ts";
import { type Attack, attack, LivePeer } from "./support/live.ts";
import { encodeRecords, parseRecords, recordChange, repackaging } from "./support/records.ts";
import { recordings } from "./support/recordings.ts";
import { FuzzedClient } from "./support/tls_client.ts";
import { BACKENDS, fuzzTest } from "./support/tls_server.ts";

const WORDS = "some words of a client";
const ANSWER = "an answer of the server";
const VERSIONS = ["TLSv1.2", "TLSv1.3"] as const;
const { server: certificate } = await testCertificates();

/** All that a server said to another client, changed or not. */
const replayed = fc.tuple(
  fc.constantFrom(
    ...recordings().map(({ flights }) =>
      concat(flights.filter(({ from }) => from === "server").map(({ bytes }) => bytes))
    ),
  ),
  fc.array(recordChange, { maxLength: 3 }),
).map(([stream, changes]) => {
  let { records } = parseRecords(stream);
  for (const { apply } of changes) if (records.length > 0) records = apply(records);
  return encodeRecords(records);
});

const bytes = fc.oneof(
  { weight: 9, arbitrary: replayed },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 400 }) },
  {
    weight: 1,
    arbitrary: fc.uint8Array({ maxLength: 400 }).map((tail) =>
      concat([new Uint8Array([22, 3, 3, 0, 100, 2, 0, 0, 96, 3, 3]), tail])
    ),
  },
);

/** A server that is attacked; what it and the client came to know. */
async function meet(
  client: FuzzedClient,
  maxVersion: typeof VERSIONS[number],
  attack: Attack | null,
) {
  const server = new HandDriven("server", { ...certificate, maxVersion });
  try {
    let outcome!: LivePeer["outcome"];
    const life = await client.meet(async (conn) => {
      const peer = new LivePeer(server, "server", conn, attack);
      outcome = peer.outcome;
      await peer.talk((server) => server.write(ANSWER), WORDS.length);
    });
    return { life, outcome };
  } finally {
    server.free();
  }
}

for (const backend of Object.keys(BACKENDS) as (keyof typeof BACKENDS)[]) {
  fuzzTest(backend, "a client does not take a replayed server for one", async () => {
    await using client = await FuzzedClient.start(backend, WORDS);
    await fc.assert(
      fc.asyncProperty(bytes, fc.array(fc.nat(), { maxLength: 4 }), async (bytes, places) => {
        const life = await client.meet((conn) => deliver(conn, cut(bytes, places)));
        assertEquals(life.handshakes, 0);
        assert(life.code === CloseCode.Tls || life.code === CloseCode.Reset, String(life.code));
      }),
      runs(70),
    );
  });

  if (!isLinux) continue; // the servers are OpenSSL, called from here
  fuzzTest(backend, "nothing forged gets to a client", async () => {
    await using client = await FuzzedClient.start(backend, WORDS);
    let forged = 0;
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...VERSIONS), attack, async (maxVersion, attack) => {
        const { life, outcome } = await meet(client, maxVersion, attack);
        assert(ANSWER.startsWith(life.received), life.received);
        assert(WORDS.startsWith(outcome.received), outcome.received);
        // The client of TLS 1.3 speaks last, that of 1.2 hears last.
        const last = {
          client: maxVersion === "TLSv1.3" ? 0 : 1,
          server: +(maxVersion < "TLSv1.3"),
        };
        if (!outcome.isForged || attack.flight > last[attack.from]) return;
        forged++;
        assertEquals(life.handshakes, 0, JSON.stringify([life, attack]));
        assert(life.code === CloseCode.Tls || life.code === CloseCode.Reset, String(life.code));
      }),
      runs(60),
    );
    assertGreater(forged, 0);
  });

  fuzzTest(backend, "a server that speaks in other records and pieces is as good", async () => {
    await using client = await FuzzedClient.start(backend, WORDS);
    const attack = fc.record({
      from: fc.constant("server" as const),
      flight: fc.nat(2),
      changes: fc.tuple(repackaging),
      places: fc.array(fc.nat(), { maxLength: 6 }),
      isHarmless: fc.constant(true),
    });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...VERSIONS), attack, async (maxVersion, attack) => {
        // What is encrypted is bound to its record.
        const isPlain = attack.flight === 0 && maxVersion === "TLSv1.2";
        const changes = isPlain ? attack.changes : [];
        const { life, outcome } = await meet(client, maxVersion, { ...attack, changes });
        assertEquals([outcome.error, outcome.received], [null, WORDS]);
        assertEquals([life.handshakes, life.received], [1, ANSWER]);
      }),
      runs(backend === "epoll" ? 40 : 15),
    );
  });
}
