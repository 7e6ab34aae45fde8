/** The example proxy: bytes, ends and failures of plain connections. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import net from "node:net";
import { HangingPort } from "../support/hanging_port.ts";
import { connectTcp, destroyed } from "../support/peers.ts";
import { pattern, readAll, sha256, writeAll } from "../support/streams.ts";
import type { ProxyServer } from "../../examples/support/proxy_server.ts";
import { allClosed, type ProxyTest, proxyTest } from "./proxies.ts";
import { receive, send } from "./servers.ts";

const MIB = 1 << 20;
/** No more comes at once, and no more is kept. The default of a loop. */
const RECV_BUFFER_BYTES = 524_288;

proxyTest("passes on every byte both ways at once", async (t) => {
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port]);
  const [client, server] = await t.pair(proxy, upstream);
  const up = pattern(16 * MIB, 1), down = pattern(16 * MIB, 2);
  const [, , atServer, atClient] = await Promise.all([
    writeAll(client, up).then(() => client.closeWrite()),
    writeAll(server, down).then(() => server.closeWrite()),
    readAll(server),
    readAll(client),
  ]);
  assertEquals([sha256(atServer), sha256(atClient)], [sha256(up), sha256(down)]);
  assertEquals([...proxy.stats.bytes], [up.length, down.length]);
  await allClosed(proxy);
  assertEquals([proxy.stats.connections, t.lines], [1, []]);
});

for (const direction of ["clients", "upstreams"] as const) {
  proxyTest(`keeps few bytes for slow ${direction}`, async (t) => {
    const upstream = t.upstream();
    const full = Promise.withResolvers<void>();
    let keptMax = 0;
    const proxy = t.proxy([upstream.addr.port], {}, ({ links }) => {
      for (const { client, upstream } of links) {
        const kept = (client.unsent?.length ?? 0) + (upstream.unsent?.length ?? 0);
        if (kept > 0) full.resolve();
        keptMax = Math.max(keptMax, kept);
      }
    });
    const [client, server] = await t.pair(proxy, upstream);
    const [from, to] = direction === "clients" ? [server, client] : [client, server];
    const bytes = pattern(64 * MIB);
    const sent = writeAll(from, bytes).then(() => from.closeWrite());
    await full.promise; // nothing was read yet
    assertEquals(sha256(await readAll(to)), sha256(bytes));
    await sent;
    assert(keptMax <= RECV_BUFFER_BYTES, `${keptMax} bytes were kept`);
    await to.closeWrite();
    await allClosed(proxy);
  });
}

proxyTest("passes on a client's end, and what still comes for it", async (t) => {
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port]);
  const [client, server] = await t.pair(proxy, upstream);
  await send(client, "question");
  await client.closeWrite();
  assertEquals(new TextDecoder().decode(await readAll(server)), "question");
  await send(server, "answer");
  assertEquals(await receive(client, 6), "answer");
  assertEquals(proxy.links.length, 1);
  await server.closeWrite();
  assertEquals(await client.read(new Uint8Array(1)), null);
  await allClosed(proxy);
  assertEquals(t.lines, []);
});

proxyTest("passes on an upstream's end, and what still comes for it", async (t) => {
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port]);
  const [client, server] = await t.pair(proxy, upstream);
  await send(server, "greeting");
  await server.closeWrite();
  assertEquals(new TextDecoder().decode(await readAll(client)), "greeting");
  await send(client, "farewell");
  await client.closeWrite();
  assertEquals(new TextDecoder().decode(await readAll(server)), "farewell");
  await allClosed(proxy);
  assertEquals(t.lines, []);
});

/** Reads to the end; whether that was a reset. The Deno backend cannot send one: there it is a FIN. */
async function assertReset(conn: Deno.Conn, isEpoll: boolean): Promise<void> {
  if (isEpoll) await assertRejects(() => readAll(conn), Deno.errors.ConnectionReset);
  else await readAll(conn);
}

proxyTest("resets the upstream of a client that resets", async (t) => {
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port]);
  const client = await connectTcp(proxy.listener.port);
  const server = t.own(await upstream.accept());
  client.write("x");
  assertEquals(await receive(server, 1), "x");
  await destroyed(client, () => client.resetAndDestroy());
  await assertReset(server, t.isEpoll);
  await allClosed(proxy);
  assertEquals(t.lines.length, 1);
  assert(t.lines[0].startsWith("reset: HOST -> HOST: client: "), t.lines[0]);
});

proxyTest("resets the client of an upstream that resets", async (t) => {
  const upstream = net.createServer();
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  t.defer(() => new Promise((resolve) => upstream.close(resolve)));
  const proxy = t.proxy([(upstream.address() as net.AddressInfo).port]);
  const accepted = new Promise<net.Socket>((resolve) => upstream.once("connection", resolve));
  const client = await t.connect(proxy);
  const server = await accepted;
  server.write("x");
  assertEquals(await receive(client, 1), "x");
  await destroyed(server, () => server.resetAndDestroy());
  await assertReset(client, t.isEpoll);
  await allClosed(proxy);
  assertEquals(t.lines.length, 1);
  assert(t.lines[0].startsWith("reset: HOST -> HOST: upstream: "), t.lines[0]);
});

/** Connects, and is cut off: perhaps before it knows that it is connected. */
async function assertCutOff(t: ProxyTest, proxy: ProxyServer): Promise<void> {
  const use = async () => void await readAll(await t.connect(proxy));
  if (t.isEpoll) await assertRejects(use, Deno.errors.ConnectionReset);
  else await use();
  await allClosed(proxy);
}

proxyTest("tells that an upstream refuses, and cuts the client off", async (t) => {
  const proxy = t.proxy([t.deadAddress()]);
  await assertCutOff(t, proxy);
  assertEquals(t.lines.length, 1);
  assert(/^connect: HOST -> HOST: Cannot connect .*refused/.test(t.lines[0]), t.lines[0]);
  assertEquals(proxy.stats.errors.get("connect"), 1);
});

proxyTest("goes on to the next upstream, and avoids the one that failed", async (t) => {
  const upstream = t.upstream();
  const proxy = t.proxy([t.deadAddress(), upstream.addr.port]);
  for (let i = 0; i < 4; i++) {
    const [client, server] = await t.pair(proxy, upstream);
    await send(client, `${i}`);
    assertEquals(await receive(server, 1), `${i}`);
  }
  assertEquals(t.lines.length, 1, t.lines.join("\n"));
  assert(t.lines[0].endsWith("; trying the next upstream"), t.lines[0]);
});

proxyTest("gives up an upstream that does not answer in time", async (t) => {
  const hanging = await HangingPort.open();
  t.defer(() => hanging[Symbol.dispose]());
  const upstream = t.upstream();
  const proxy = t.proxy([hanging.port, upstream.addr.port], { connectSeconds: 0.05 });
  await t.pair(proxy, upstream);
  assertEquals(t.lines.length, 1);
  assert(/^connect: .* timed out; trying the next upstream$/.test(t.lines[0]), t.lines[0]);
});

proxyTest("tries upstreams that failed when there are no others", async (t) => {
  const proxy = t.proxy([t.deadAddress(), t.deadAddress()]);
  for (let i = 1; i <= 2; i++) {
    await assertCutOff(t, proxy);
    assertEquals(t.lines.length, 2 * i);
  }
});

proxyTest("has upstreams take turns", async (t) => {
  const upstreams = [t.upstream(), t.upstream(), t.upstream()];
  const proxy = t.proxy(upstreams.map(({ addr }) => addr.port));
  for (let i = 0; i < 6; i++) await t.pair(proxy, upstreams[i % 3]);
  assertEquals([proxy.links.length, t.lines], [6, []]);
});

proxyTest("passes on to a unix socket", async (t) => {
  const directory = Deno.makeTempDirSync();
  t.defer(() => Deno.removeSync(directory, { recursive: true }));
  const path = `${directory}/upstream`;
  const upstream = Deno.listen({ transport: "unix", path });
  t.defer(() => upstream.close());
  const proxy = t.proxy([`unix:${path}`]);
  const [client, server] = await Promise.all([t.connect(proxy), upstream.accept()]);
  t.own(server);
  await send(client, "hello");
  assertEquals(await receive(server, 5), "hello");
});

proxyTest("ends connections on which nothing happens", async (t) => {
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port], { idleSeconds: 0.05 });
  const [client, server] = await t.pair(proxy, upstream);
  assertEquals(await client.read(new Uint8Array(1)), null);
  assertEquals(await server.read(new Uint8Array(1)), null);
  assertEquals(t.lines, ["idle: HOST -> HOST: 0.05 s without a byte"]);
});

proxyTest("cuts a reader off that stopped in the middle", async (t) => {
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port], { idleSeconds: 0.05 });
  const [client, server] = await t.pair(proxy, upstream);
  const flood = async () => {
    for (const bytes = pattern(MIB);;) await writeAll(server, bytes);
  };
  await assertRejects(flood); // nobody reads it
  await allClosed(proxy);
  await assertReset(client, t.isEpoll);
  assertEquals(t.lines.at(-1), "idle: HOST -> HOST: 0.05 s without a byte");
});

proxyTest("keeps time anew with each piece of either side", async (t) => {
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port], { idleSeconds: 3600 });
  const [client, server] = await t.pair(proxy, upstream);
  await send(client, "x");
  assertEquals(await receive(server, 1), "x");
  const times: number[] = [];
  proxy.links[0].client.socket!.timeout = (seconds) => void times.push(seconds);
  for (const [from, to] of [[client, server], [server, client]]) {
    await send(from, "x");
    assertEquals(await receive(to, 1), "x");
  }
  assertEquals(times, [3600, 3600]);
});

proxyTest("lets no more clients in than it may", async (t) => {
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port], { maxConnections: 1 });
  const [first, atFirst] = await t.pair(proxy, upstream);
  const second = await t.connect(proxy);
  await send(second, "second");
  await send(first, "first");
  assertEquals(await receive(atFirst, 5), "first");
  assertEquals(proxy.links.length, 1);
  first.close();
  atFirst.close();
  const atSecond = t.own(await upstream.accept());
  assertEquals(await receive(atSecond, 6), "second");
});
