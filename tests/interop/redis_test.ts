/** redis-benchmark and redis-cli as clients of the proxy example, redis-server behind it. */
import { assertEquals, assertMatch } from "@std/assert";
import { pattern, sha256 } from "../support/streams.ts";
import { certificateFiles, type Directory } from "./support/files.ts";
import { MODES, withProxy } from "./support/http_program.ts";
import { freePort } from "./support/nginx.ts";
import { PeerProcess } from "./support/peer_process.ts";
import { find } from "./support/preflight.ts";

/** redis-server with nothing on disk, on a port and on a unix socket. */
async function withRedis(
  directory: Directory,
  visit: (at: { tcp: string; path: string }) => Promise<void>,
): Promise<void> {
  const port = freePort(), path = directory.at("redis");
  const options = [`--port ${port}`, "--bind 127.0.0.1", `--unixsocket ${path}`, "--appendonly no"];
  const args = [...options.join(" ").split(" "), "--save", "", "--dir", directory.path];
  await using redis = new PeerProcess("redis-server", args);
  await redis.until(/[Rr]eady to accept connections/);
  await visit({ tcp: `127.0.0.1:${port}`, path });
  redis.signal("SIGTERM");
  assertEquals(await redis.ended(), 0, redis.output);
}

/** What a command says, to `input`; it must not fail. */
async function cli(args: string[], input?: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const child = new Deno.Command(find("redis-cli"), {
    args: input === undefined ? args : ["-x", ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  if (input !== undefined) await writer.write(input);
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
  return stdout;
}

/** Runs the benchmark at so many commands at once and so many bytes a value; no reply is an error. */
async function benchmark(at: string[], pipelined: number, bytes: number): Promise<void> {
  const counts = ["-n", "10000", "-c", "20", "-P", String(pipelined), "-d", String(bytes)];
  const args = [...at, ...counts, "-t", "set,get", "--csv"];
  await using peer = new PeerProcess("redis-benchmark", args);
  assertEquals(await peer.ended(), 0, peer.output);
  assertMatch(peer.output, /^"SET","[\d.]+"/m);
  assertMatch(peer.output, /^"GET","[\d.]+"/m);
  assertEquals(/error/i.test(peer.output), false, peer.output);
}

/** Benchmarks through the proxy, and has what comes through it be what is there. */
async function visit(through: string[], path: string): Promise<void> {
  const direct = ["-s", path];
  for (const pipelined of [1, 16]) {
    for (const bytes of [3, 1024]) {
      await cli([...direct, "flushall"]);
      await benchmark(through, pipelined, bytes);
      const key = "key:__rand_int__"; // what it calls the key that it sets
      const [there, here] = [
        await cli([...direct, "get", key]),
        await cli([...through, "get", key]),
      ];
      assertEquals([here.length, sha256(here)], [bytes + 1, sha256(there)]); // a newline follows
    }
  }
  // the limit of a value is 512 MB
  const value = pattern(24 << 20);
  assertEquals(new TextDecoder().decode(await cli([...through, "set", "big"], value)), "OK\n");
  for (const at of [direct, through]) {
    const got = await cli([...at, "get", "big"]);
    assertEquals(sha256(got.subarray(0, -1)), sha256(value));
  }
}

for (const [name, mode] of Object.entries(MODES)) {
  Deno.test(`redis-benchmark meets no error of redis behind a proxy on ${name}`, async () => {
    using files = await certificateFiles();
    await withRedis(files.directory, async ({ tcp, path }) => {
      await withProxy([...mode, "--upstream", tcp], async (port) => {
        await visit(["-h", "127.0.0.1", "-p", String(port)], path);
      });
    });
  });

  Deno.test(`redis-benchmark meets no error of redis behind a proxy with TLS on ${name}`, async () => {
    using files = await certificateFiles();
    const { ca, server: { cert, key } } = files;
    await withRedis(files.directory, async ({ path }) => {
      const args = ["--upstream", `unix:${path}`, "--tls", "--cert", cert, "--key", key];
      await withProxy([...mode, ...args], async (port) => {
        const at = ["-h", "127.0.0.1", "-p", String(port), "--tls", "--cacert", ca];
        await visit(at, path);
      }, /^truncated \d+$/); // neither of these clients says close_notify
    });
  });
}
