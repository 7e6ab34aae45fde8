/** node:net in Node as the peer, over TCP and unix sockets. */
import { assertEquals, assertMatch } from "@std/assert";
import { CloseCode } from "@usockets/usockets";
import { pattern, sha256 } from "../support/streams.ts";
import { Directory } from "./support/files.ts";
import { NodePeer, RUNTIMES } from "./support/node_peer.ts";
import { BACKENDS, type Talk, World } from "./support/world.ts";

const BYTES = 32 << 20;

/** Runs a test on a connection that node makes to us, then on one that we make to it. */
function bothWays(
  title: string,
  test: (peer: NodePeer, talk: Talk) => Promise<void>,
  net: Record<string, unknown> = { allowHalfOpen: true },
  kinds: readonly ("TCP" | "unix")[] = ["TCP", "unix"],
): void {
  for (const kind of kinds) {
    for (const [name, backend] of Object.entries(BACKENDS)) {
      Deno.test(`${title}: node as the client of ${name} over ${kind}`, async () => {
        using directory = new Directory();
        const path = kind === "unix" ? directory.at("socket") : undefined;
        await using world = new World(backend);
        const server = world.server(undefined, { staysOpen: true }, path);
        await using peer = new NodePeer(RUNTIMES.node, {
          role: "client",
          port: server.port,
          path,
          net,
        });
        await peer.until("connected\n");
        await test(peer, await server.accept());
      });

      Deno.test(`${title}: node as the server of ${name} over ${kind}`, async () => {
        using directory = new Directory();
        const path = kind === "unix" ? directory.at("socket") : undefined;
        await using world = new World(backend);
        await using peer = new NodePeer(RUNTIMES.node, { role: "server", path, net });
        const port = await peer.port();
        const talk = world.client(undefined, { staysOpen: true }).connect(path ?? port);
        await talk.until("open");
        await peer.until("connected\n");
        await test(peer, talk);
      });
    }
  }
}

/** Has a word each way. */
async function greet(peer: NodePeer, talk: Talk): Promise<void> {
  await peer.tell("say hello");
  await talk.hear("hello\n");
  talk.say("hello yourself\n");
  await peer.until("data hello yourself\n");
}

/** The connection ended in order on both sides. */
async function assertClosed(peer: NodePeer, talk: Talk): Promise<void> {
  assertEquals(await talk.closed(), "close 0", String(talk.reason));
  await peer.until("close false\n");
  await peer.quit();
  assertEquals(/^error/m.test(peer.output), false, peer.output);
}

bothWays("32 MiB go each way at once", async (peer, talk) => {
  const there = pattern(BYTES, 31), back = pattern(BYTES, 32);
  talk.sendAll(there, () => talk.socket!.shutdown());
  await peer.tell(`send ${BYTES} 32`);
  assertEquals(await peer.heard(), sha256(there));
  await assertClosed(peer, talk);
  assertEquals(talk.received.hex(), sha256(back));
});

bothWays("what we have ended stays open in the other direction", async (peer, talk) => {
  await greet(peer, talk);
  talk.socket!.shutdown();
  await peer.heard();
  await peer.tell("say and another thing");
  await talk.hear("and another thing\n");
  await peer.tell(`send ${BYTES} 33`);
  await assertClosed(peer, talk);
  assertEquals(talk.received.length, "hello\nand another thing\n".length + BYTES);
});

bothWays("what node has ended stays open in the other direction", async (peer, talk) => {
  await greet(peer, talk);
  await peer.tell("end");
  await talk.until("end");
  assertEquals(talk.events.at(-1), "end");
  talk.say("and another thing\n");
  await peer.until("data and another thing\n");
  talk.sendAll(pattern(BYTES, 34), () => talk.socket!.shutdown());
  const [, length] = await peer.until(/^end (\d+)/m);
  assertEquals(Number(length), "hello yourself\nand another thing\n".length + BYTES);
  await assertClosed(peer, talk);
});

bothWays("node ends when we do, without allowHalfOpen", async (peer, talk) => {
  await greet(peer, talk);
  talk.socket!.shutdown();
  await peer.heard();
  await talk.until("end");
  await assertClosed(peer, talk);
}, {});

bothWays("what node does not read makes us wait, and then comes", async (peer, talk) => {
  await peer.tell("pause");
  await peer.until("paused\n");
  const there = pattern(BYTES, 35);
  talk.sendAll(there, () => talk.note("sent"));
  assertEquals(talk.events.includes("sent"), false); // more than all buffers on the way hold
  await peer.tell("say hello");
  await talk.hear("hello\n");
  assertEquals(talk.events.includes("sent"), false);
  await peer.tell("resume");
  await talk.until("sent");
  talk.socket!.shutdown();
  assertEquals(await peer.heard(), sha256(there));
  await peer.tell("end");
  await assertClosed(peer, talk);
});

bothWays("what we do not read makes node wait, and then comes", async (peer, talk) => {
  talk.socket!.pause();
  await peer.tell(`send ${BYTES} 36`);
  talk.say("hello\n");
  await peer.until("data hello\n"); // the other direction goes on
  assertEquals(talk.received.length, 0);
  talk.socket!.resume();
  await talk.until("end");
  assertEquals(talk.received.hex(), sha256(pattern(BYTES, 36)));
  talk.socket!.shutdown();
  await assertClosed(peer, talk);
});

bothWays("destroy() without anything unread is an end", async (peer, talk) => {
  await greet(peer, talk);
  await peer.tell("destroy");
  await talk.until("end");
  talk.socket!.end();
  assertMatch(await talk.closed(), /^close (0|-1)$/); // a TCP that hears of our FIN may reset
  await peer.until("close false\n");
  await peer.quit();
});

// Node resets no unix sockets.
bothWays(
  "resetAndDestroy() is Reset",
  async (peer, talk) => {
    await greet(peer, talk);
    await peer.tell("reset");
    assertEquals(await talk.closed(), `close ${CloseCode.Reset}`);
    assertEquals(talk.events.includes("end"), false);
    await peer.until(/^close /m);
    await peer.quit();
  },
  { allowHalfOpen: true },
  ["TCP"],
);

bothWays("close() with nothing unread is an end", async (peer, talk) => {
  await greet(peer, talk);
  talk.socket!.close();
  assertEquals(await talk.closed(), "close 0");
  await peer.heard();
  await peer.tell("end");
  await peer.until("close false\n");
  await peer.quit();
});
