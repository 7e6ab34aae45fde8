/** socat, which passes on between a file and a socket, as the peer over TCP, unix sockets and TLS. */
import { assertEquals } from "@std/assert";
import { type BackendFactory, CloseCode } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { pattern, sha256 } from "../support/streams.ts";
import { certificateFiles } from "./support/files.ts";
import { MODES, withProgram } from "./support/http_program.ts";
import { PeerProcess } from "./support/peer_process.ts";
import { BACKENDS, type Talk, World } from "./support/world.ts";

const BYTES = 24 << 20;

/** How long it goes on in the other direction when one has ended, in seconds: longer than a test. */
const LINGER = ["-t", "60"];

const KINDS = ["TCP", "UNIX", "TLS"] as const;
type Kind = typeof KINDS[number];

/** Files for socat, and a context of ours for sockets of each kind. */
async function fixture(backend: BackendFactory, kind: Kind) {
  const files = await certificateFiles();
  const { ca, server } = await testCertificates();
  const world = new World(backend);
  return {
    files,
    world,
    path: kind === "UNIX" ? files.directory.at("socket") : undefined,
    serverTls: kind === "TLS" ? server : undefined,
    clientTls: kind === "TLS" ? { ca } : undefined,
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]();
      files[Symbol.dispose]();
    },
  };
}

/** Runs a test on a connection that socat makes to us, then on one that we make to it. */
function bothWays(
  title: string,
  test: (talk: Talk, peer: PeerProcess, at: (name: string) => string) => Promise<void>,
  /** The other address of socat, and options of the one that is the socket. */
  other: (at: (name: string) => string) => string,
  options = "",
  kinds: readonly Kind[] = KINDS,
): void {
  for (const kind of kinds) {
    for (const [name, backend] of Object.entries(BACKENDS)) {
      Deno.test(`${title}: socat as a client of ${name} over ${kind}`, async () => {
        await using f = await fixture(backend, kind);
        const at = (file: string) => f.files.directory.at(file);
        const server = f.world.server(f.serverTls, { staysOpen: true }, f.path);
        const tls = `OPENSSL:127.0.0.1:${server.port},verify=1,cafile=${f.files.ca}`;
        const socket = kind === "TLS"
          ? `${tls},commonname=localhost`
          : kind === "UNIX"
          ? `UNIX-CONNECT:${f.path}`
          : `TCP:127.0.0.1:${server.port}`;
        prepare(at);
        await using peer = new PeerProcess("socat", [...LINGER, socket + options, other(at)]);
        await test(await server.accept(), peer, at);
      });

      Deno.test(`${title}: socat as a server of ${name} over ${kind}`, async () => {
        await using f = await fixture(backend, kind);
        const at = (file: string) => f.files.directory.at(file);
        const { cert, key } = f.files.server;
        const listen = kind === "TLS"
          ? `OPENSSL-LISTEN:0,bind=127.0.0.1,cert=${cert},key=${key},verify=0`
          : kind === "UNIX"
          ? `UNIX-LISTEN:${f.path}`
          : "TCP-LISTEN:0,bind=127.0.0.1";
        prepare(at);
        const args = ["-d", "-d", ...LINGER, listen + options, other(at)];
        await using peer = new PeerProcess("socat", args);
        const [, port] = await peer.until(/listening on (?:AF=2 \S+:(\d+)|AF=1 )/);
        const client = f.world.client(f.clientTls, { staysOpen: true });
        await test(client.connect(f.path ?? Number(port)), peer, at);
      });
    }
  }
}

const toSend = pattern(BYTES, 21), toReceive = pattern(BYTES, 22);

function prepare(at: (name: string) => string): void {
  Deno.writeFileSync(at("in"), toSend);
}

/** What it has from a file, and what it writes into one. */
const between = (at: (name: string) => string) => `OPEN:${at("in")},rdonly!!CREATE:${at("out")}`;

bothWays("24 MiB go each way at once, and each ends by itself", async (talk, peer, at) => {
  await talk.until("open");
  talk.sendAll(toReceive, () => talk.socket!.shutdown());
  assertEquals(await talk.closed(), "close 0", String(talk.reason));
  assertEquals(talk.received.hex(), sha256(toSend));
  assertEquals(await peer.ended(), 0, peer.output);
  assertEquals(sha256(Deno.readFileSync(at("out"))), sha256(toReceive));
}, between);

bothWays("what socat has ended stays open in the other direction", async (talk, peer, at) => {
  await talk.until("end");
  assertEquals([talk.received.hex(), talk.events.at(-1)], [sha256(toSend), "end"]);
  talk.sendAll(toReceive, () => talk.socket!.shutdown());
  assertEquals(await talk.closed(), "close 0", String(talk.reason));
  assertEquals(await peer.ended(), 0, peer.output);
  assertEquals(sha256(Deno.readFileSync(at("out"))), sha256(toReceive));
}, between);

bothWays(
  "a FIN below TLS is Truncated, behind all that came",
  async (talk) => {
    assertEquals(await talk.closed(), `close ${CloseCode.Truncated}`);
    assertEquals([talk.received.hex(), talk.events.includes("end")], [sha256(toSend), false]);
  },
  between,
  ",shut-down",
  ["TLS"],
);

bothWays("what we have ended stays open in the other direction", async (talk, peer) => {
  await talk.until("open");
  await peer.send("hello\n");
  await talk.hear("hello\n");
  talk.say("hello yourself\n");
  await peer.until("hello yourself\n");
  talk.socket!.shutdown();
  await peer.send("and another thing\n");
  await talk.hear("and another thing\n");
  await peer.endInput();
  assertEquals(await talk.closed(), "close 0", String(talk.reason));
  assertEquals(await peer.ended(), 0, peer.output);
}, () => "STDIO");

bothWays("an end that socat ignores is none", async (talk, peer) => {
  await talk.until("open");
  await peer.send("hello\n");
  await peer.endInput();
  await talk.hear("hello\n");
  talk.say("hello yourself\n");
  await peer.until("hello yourself\n");
  assertEquals(talk.events.includes("end"), false);
  talk.socket!.end();
  await talk.closed();
}, () => "STDIO,ignoreeof");

for (const [name, mode] of Object.entries(MODES)) {
  for (const kind of ["TCP", "TLS"] as const) {
    Deno.test(`socat gets 24 MiB back from an echo server on ${name} over ${kind}`, async () => {
      using files = await certificateFiles();
      const { ca, directory, server: { cert, key } } = files;
      prepare((file) => directory.at(file));
      const tls = kind === "TLS" ? ["--tls", "--cert", cert, "--key", key] : [];
      await withProgram("examples/echo_server.ts", [...mode, ...tls], async (port) => {
        const socket = kind === "TLS"
          ? `OPENSSL:127.0.0.1:${port},verify=1,cafile=${ca},commonname=localhost`
          : `TCP:127.0.0.1:${port}`;
        const args = [...LINGER, socket, between((file) => directory.at(file))];
        await using peer = new PeerProcess("socat", args);
        assertEquals(await peer.ended(), 0, peer.output);
        assertEquals(sha256(Deno.readFileSync(directory.at("out"))), sha256(toSend));
      });
    });
  }
}
