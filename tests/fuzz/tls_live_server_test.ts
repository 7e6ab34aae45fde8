// Somebody in the middle of a live handshake with our server changes a flight of either side:
// forgeries never get through, and what arrives is the beginning of what was said.
import { assert, assertEquals, assertGreater } from "@std/assert";
import { CloseCode, type TlsOptions } from "@usockets/usockets";
import fc from "fast-check";
import { testCertificates } from "../support/certificates.ts";
import { HandDriven, hasTicketsAtWill } from "../support/hand_driven.ts";
import { isLinux } from "../support/native.ts";
import { runs } from "./support/fuzz.ts";
import { type Attack, attack, LivePeer } from "./support/live.ts";
import { repackaging } from "./support/records.ts";
import { BACKENDS, FuzzedServer, fuzzTest } from "./support/tls_server.ts";

if (isLinux) hasTicketsAtWill(); // opens a library for good

const WORDS = "some words of a client";
const VERSIONS = ["TLSv1.2", "TLSv1.3"] as const;

/** A client that is attacked; what it and the server came to know. */
async function meet(server: FuzzedServer, options: TlsOptions, attack: Attack | null) {
  const client = new HandDriven("client", options, "other.test");
  try {
    let outcome!: LivePeer["outcome"];
    const life = await server.meet(async (conn) => {
      const peer = new LivePeer(client, "client", conn, attack);
      outcome = peer.outcome;
      await peer.talk((client) => {
        client.write(WORDS);
        if (options.maxVersion === "TLSv1.3") client.requestKeyUpdate();
        client.write(WORDS);
      }, 2 * WORDS.length);
    });
    return { life, outcome };
  } finally {
    client.free();
  }
}

for (const backend of Object.keys(BACKENDS) as (keyof typeof BACKENDS)[]) {
  const { client, ca } = await testCertificates();
  const servers: [string, TlsOptions][] = [["", {}]];
  if (backend === "epoll") {
    servers.push([" that asks for a certificate", { requestCert: true, ca }], [" with kTLS", {
      ktls: true,
    }]);
  }
  for (const [which, tls] of servers) {
    fuzzTest(backend, `nothing forged gets to a server${which}`, async () => {
      await using server = await FuzzedServer.start(backend, tls);
      let forged = 0;
      await fc.assert(
        fc.asyncProperty(fc.constantFrom(...VERSIONS), attack, async (maxVersion, attack) => {
          const options = { maxVersion, minVersion: maxVersion, ...client };
          const { life, outcome } = await meet(server, options, attack);
          assert((WORDS + WORDS).startsWith(life.received), life.received);
          assert(life.received.startsWith(outcome.received), outcome.received);
          // What the server says behind that of its own comes when it has heard all it waits for.
          if (!outcome.isForged || attack.flight > (attack.from === "client" ? 1 : 0)) return;
          forged++;
          assertEquals(life.handshakes, 0, JSON.stringify(attack));
          assert(life.code === CloseCode.Tls || life.code === CloseCode.Reset, String(life.code));
        }),
        runs(backend === "epoll" ? 60 : 40),
      );
      assertGreater(forged, 0);
    });
  }

  fuzzTest(backend, "a handshake in other records and pieces is as good as any", async () => {
    await using server = await FuzzedServer.start(backend);
    const attack = fc.record({
      from: fc.constant("client" as const),
      flight: fc.nat(2),
      changes: fc.tuple(repackaging),
      places: fc.array(fc.nat(), { maxLength: 6 }),
      isHarmless: fc.constant(true),
      // What is encrypted is bound to its record.
    }).map((attack) => attack.flight === 0 ? attack : { ...attack, changes: [] });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...VERSIONS), attack, async (maxVersion, attack) => {
        const { life, outcome } = await meet(server, { maxVersion }, attack);
        assertEquals(outcome.error, null);
        assertEquals([life.handshakes, life.received], [1, WORDS + WORDS]);
      }),
      runs(backend === "epoll" ? 40 : 15),
    );
  });
}
