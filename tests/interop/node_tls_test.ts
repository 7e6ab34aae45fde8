/** node:tls, in Node and in Deno, as the peer. */
import { assertEquals, assertMatch } from "@std/assert";
import { CloseCode, type TlsOptions } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { pattern, sha256 } from "../support/streams.ts";
import { NodePeer, type NodePeerOptions, RUNTIMES } from "./support/node_peer.ts";
import { BACKENDS, type Talk, World } from "./support/world.ts";

const BYTES = 16 << 20;

/** A connection of ours with a peer of node:tls, both agreed. */
interface Pair {
  readonly peer: NodePeer;
  readonly talk: Talk;
}

/** What each side adds to the options that make the two get along. */
interface Extras {
  ours?: TlsOptions;
  theirs?: Record<string, unknown>;
  peer?: Partial<NodePeerOptions>;
}

/** Runs a test on a connection that node:tls makes to us, then on one that we make to it. */
function bothWays(
  title: string,
  test: (pair: Pair, role: "client" | "server") => Promise<void>,
  { ours, theirs, peer: peerOptions }: Extras = {},
): void {
  for (const [runtimeName, runtime] of Object.entries(RUNTIMES)) {
    for (const [name, backend] of Object.entries(BACKENDS)) {
      Deno.test(`${title}: ${runtimeName} as the client of ${name}`, async () => {
        const { server: tls, ca } = await testCertificates();
        await using world = new World(backend);
        const server = world.server({ ...tls, ...ours }, { staysOpen: true });
        await using peer = new NodePeer(runtime, {
          role: "client",
          port: server.port,
          tls: { ca, ...theirs },
          ...peerOptions,
        });
        const talk = await server.accept();
        await test({ peer, talk }, "client");
      });

      Deno.test(`${title}: ${runtimeName} as the server of ${name}`, async () => {
        const { server: tls, ca } = await testCertificates();
        await using world = new World(backend);
        const options: NodePeerOptions = {
          role: "server",
          tls: { ...tls, ...theirs },
          ...peerOptions,
        };
        await using peer = new NodePeer(runtime, options);
        const client = world.client({ ca, ...ours }, { staysOpen: true });
        await test({ peer, talk: client.connect(await peer.port()) }, "server");
      });
    }
  }
}

/** Waits until TLS is agreed on, and has a word each way. */
async function greet({ peer, talk }: Pair): Promise<void> {
  await talk.until("handshake");
  await peer.secured();
  await peer.tell("say hello");
  await talk.hear("hello\n");
  talk.say("hello yourself\n");
  await peer.until("data hello yourself\n");
}

for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
  bothWays(`${version} is spoken`, async ({ peer, talk }, role) => {
    const info = await peer.secured();
    await talk.until("handshake");
    assertEquals(info.protocol, version);
    if (role === "client") assertEquals([info.authorized, info.subject], [true, "localhost"]);
    await peer.tell("say hello");
    await talk.hear("hello\n");
    talk.say("hello yourself\n");
    await peer.until("data hello yourself\n");
    talk.socket!.end();
    await peer.until(/^end /m);
    await peer.until("close false\n");
    assertEquals(await talk.closed(), "close 0");
    await peer.quit();
    assertEquals(/^error/m.test(peer.output), false, peer.output);
  }, { theirs: { minVersion: version, maxVersion: version } });
}

bothWays("ALPN chooses", async ({ peer, talk }) => {
  assertEquals((await peer.secured()).alpn, "b");
  await talk.until("handshake");
  assertEquals(talk.info.alpnProtocol, "b");
  talk.socket!.end();
  await talk.closed();
  await peer.quit();
}, { ours: { alpnProtocols: ["b", "c"] }, theirs: { ALPNProtocols: ["a", "b"] } });

bothWays("16 MiB go each way at once", async ({ peer, talk }) => {
  await talk.until("handshake");
  await peer.secured();
  const there = pattern(BYTES, 5), back = pattern(BYTES, 6);
  talk.sendAll(there, () => talk.socket!.shutdown());
  await peer.tell(`send ${BYTES} 6`);
  assertEquals(await peer.heard(), sha256(there));
  assertEquals(await talk.closed(), "close 0");
  assertEquals(talk.received.hex(), sha256(back));
  await peer.until("close false\n");
  await peer.quit();
  assertEquals(/^error/m.test(peer.output), false, peer.output);
}, { theirs: { allowHalfOpen: true } });

bothWays("what we have ended stays open in the other direction", async (pair) => {
  const { peer, talk } = pair;
  await greet(pair);
  talk.socket!.shutdown();
  await peer.until(/^end /m);
  await peer.tell("say and another thing");
  await talk.hear("and another thing\n");
  await peer.tell(`send ${BYTES} 7`);
  assertEquals(await talk.closed(), "close 0");
  assertEquals(talk.received.length, "hello\nand another thing\n".length + BYTES);
  await peer.until("close false\n");
  await peer.quit();
}, { theirs: { allowHalfOpen: true } });

bothWays("what node has ended stays open in the other direction", async (pair) => {
  const { peer, talk } = pair;
  await greet(pair);
  await peer.tell("end");
  await talk.until("end");
  assertEquals(talk.events.at(-1), "end");
  talk.say("and another thing\n");
  await peer.until("data and another thing\n");
  const bytes = pattern(BYTES, 8);
  talk.sendAll(bytes, () => talk.socket!.shutdown());
  assertEquals(await talk.closed(), "close 0");
  const [, length] = await peer.until(/^end (\d+)/m);
  assertEquals(Number(length), "hello yourself\nand another thing\n".length + BYTES);
  await peer.until("close false\n");
  await peer.quit();
}, { theirs: { allowHalfOpen: true } });

bothWays("destroy() without close_notify is no clean end", async (pair) => {
  const { peer, talk } = pair;
  await greet(pair);
  await peer.tell("destroy");
  assertMatch(await talk.closed(), /^close -[12]$/); // Reset or Truncated
  assertEquals(talk.events.includes("end"), false);
  await peer.until("close false\n");
  await peer.quit();
});

bothWays("destroy() in the middle of a flood is no clean end", async ({ peer, talk }) => {
  await talk.until("handshake");
  await peer.secured();
  // It reads nothing, and in Node all buffers on the way fill up.
  talk.sendAll(pattern(BYTES));
  await peer.tell("say hello");
  await talk.hear("hello\n");
  await peer.tell("destroy");
  assertMatch(await talk.closed(), /^close -[12]$/); // Reset or Truncated
  assertEquals(talk.events.includes("end"), false);
  await peer.until(/^close /m);
  await peer.quit();
}, { peer: { staysSilent: true } });

bothWays("a FIN below TLS is Truncated", async (pair) => {
  const { peer, talk } = pair;
  await greet(pair);
  await peer.tell("fin");
  assertEquals(await talk.closed(), `close ${CloseCode.Truncated}`);
  assertEquals(talk.events.includes("end"), false);
  await peer.until(/^end /m); // our close_notify, which comes all the same
  await peer.quit();
}, { peer: { isRaw: true } });

bothWays("a RST is Reset", async (pair) => {
  const { peer, talk } = pair;
  await greet(pair);
  await peer.tell("reset");
  assertEquals(await talk.closed(), `close ${CloseCode.Reset}`);
  assertEquals(talk.events.includes("end"), false);
  await peer.until("close");
  await peer.quit();
}, { peer: { isRaw: true } });

bothWays("a process that is killed is no clean end", async (pair) => {
  const { peer, talk } = pair;
  await greet(pair);
  peer.signal("SIGKILL");
  assertMatch(await talk.closed(), /^close -[12]$/);
  assertEquals(talk.events.includes("end"), false);
});

bothWays("close() is an end without an error", async (pair) => {
  const { peer, talk } = pair;
  await greet(pair);
  talk.socket!.close();
  assertEquals(await talk.closed(), "close 0");
  await peer.until(/^end /m);
  await peer.until("close false\n");
  await peer.quit();
  assertEquals(/^error/m.test(peer.output), false, peer.output);
});
