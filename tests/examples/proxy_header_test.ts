/** The example proxy: PROXY headers, in and out. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { encodeProxyHeader, parseProxyHeader } from "../../examples/support/proxy_protocol.ts";
import { epoll } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { readAll, writeAll } from "../support/streams.ts";
import { allClosed, proxyTest } from "./proxies.ts";
import { receive, send } from "./servers.ts";

const ADDRESSES = {
  family: "IPv4",
  source: "192.0.2.7",
  sourcePort: 4711,
  destination: "192.0.2.8",
  destinationPort: 443,
} as const;

/** The header at the upstream: what it says, and the text behind it. */
async function headerOf(conn: Deno.Conn, textBytes: number): Promise<[unknown, string]> {
  let bytes = new Uint8Array(0);
  const buffer = new Uint8Array(1024);
  for (;;) {
    const parsed = parseProxyHeader(bytes);
    if (parsed instanceof Error) throw parsed;
    if (parsed !== null && bytes.length >= parsed.length + textBytes) {
      return [parsed.addresses, new TextDecoder().decode(bytes.subarray(parsed.length))];
    }
    const count = await conn.read(buffer);
    assert(count !== null, "the upstream's connection ended");
    bytes = Uint8Array.of(...bytes, ...buffer.subarray(0, count));
  }
}

for (const version of [1, 2] as const) {
  proxyTest(`tells upstreams the client by a header of version ${version}`, async (t) => {
    const upstream = t.upstream();
    const proxy = t.proxy([upstream.addr.port], { sendProxy: version });
    const [client, server] = await t.pair(proxy, upstream);
    await send(client, "hello");
    assertEquals(await headerOf(server, 5), [{
      family: "IPv4",
      source: "127.0.0.1",
      sourcePort: client.localAddr.port,
      destination: "127.0.0.1",
      destinationPort: proxy.listener.port,
    }, "hello"]);
  });

  proxyTest(`reads a header of version ${version}, and passes on what it says`, async (t) => {
    const upstream = t.upstream();
    const proxy = t.proxy([upstream.addr.port], { acceptProxy: true, sendProxy: 2 });
    const client = await t.connect(proxy);
    await writeAll(
      client,
      Uint8Array.of(...encodeProxyHeader(version, ADDRESSES), ...new TextEncoder().encode("hello")),
    );
    const server = t.own(await upstream.accept());
    assertEquals(await headerOf(server, 5), [ADDRESSES, "hello"]);
    await send(client, "more");
    assertEquals(await receive(server, 4), "more");
    assertEquals(proxy.stats.bytes[0], "hellomore".length);
  });
}

proxyTest("reads a header byte by byte", async (t) => {
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port], { acceptProxy: true });
  const client = await t.connect(proxy);
  for (const byte of encodeProxyHeader(2, ADDRESSES)) await writeAll(client, Uint8Array.of(byte));
  const server = t.own(await upstream.accept());
  await send(client, "hello");
  assertEquals(await receive(server, 5), "hello");
});

for (const sendProxy of [undefined, 1] as const) {
  const and = sendProxy === undefined ? "" : ", behind a header of its own";
  proxyTest(`keeps what came early for the upstream that takes it${and}`, async (t) => {
    const bad = t.upstream(), good = t.upstream();
    bad.accept().then((conn) => conn.close()); // in the middle of the handshake
    const upstreams = [`tls://127.0.0.1:${bad.addr.port}`, good.addr.port];
    const proxy = t.proxy(upstreams, { acceptProxy: true, sendProxy });
    const client = await t.connect(proxy);
    const header = encodeProxyHeader(2, ADDRESSES);
    await writeAll(client, Uint8Array.of(...header, ...new TextEncoder().encode("early ")));
    const server = t.own(await good.accept());
    await send(client, "late");
    if (sendProxy === undefined) assertEquals(await receive(server, 10), "early late");
    else assertEquals(await headerOf(server, 10), [ADDRESSES, "early late"]);
  });
}

proxyTest("connects only behind the header, and tells a LOCAL client by itself", async (t) => {
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port], { acceptProxy: true, sendProxy: 1 });
  const client = await t.connect(proxy);
  const header = encodeProxyHeader(2, null);
  header[12] = 0x20; // LOCAL
  await writeAll(client, header);
  const server = t.own(await upstream.accept());
  const [addresses] = await headerOf(server, 0);
  assertEquals((addresses as { sourcePort: number }).sourcePort, client.localAddr.port);
});

for (
  const [name, text, message] of [
    ["garbage in place of a header", "GET / HTTP/1.1\r\n\r\n", "there is no PROXY header"],
    ["a line without an end", "PROXY " + "x".repeat(200), "the header is longer than 107 bytes"],
  ]
) {
  proxyTest(`refuses ${name}`, async (t) => {
    const upstream = t.upstream();
    const proxy = t.proxy([upstream.addr.port], { acceptProxy: true });
    const client = await t.connect(proxy);
    await send(client, text);
    if (t.isEpoll) await assertRejects(() => readAll(client), Deno.errors.ConnectionReset);
    else await readAll(client).catch(() => {}); // a reset, if what it sent was not read to the end
    await allClosed(proxy);
    assertEquals(t.lines, [`header: HOST: ${message}`]);
  });
}

proxyTest("refuses a client that ends before its header", async (t) => {
  const proxy = t.proxy([t.upstream().addr.port], { acceptProxy: true });
  const client = await t.connect(proxy);
  await send(client, "PROXY");
  await client.closeWrite();
  await readAll(client).catch(() => {});
  await allClosed(proxy);
  assertEquals(t.lines, ["header: HOST: the client ended before it"]);
});

proxyTest("puts headers before TLS, and reads them there", async (t) => {
  const { server: certificate, ca } = await testCertificates();
  const upstream = t.upstream();
  const inner = t.proxy(
    [upstream.addr.port],
    { acceptProxy: true, sendProxy: 1, tls: certificate },
    undefined,
    epoll,
  );
  for (const sendProxy of [1, 2] as const) {
    const outer = t.proxy([`tls://127.0.0.1:${inner.listener.port}`], {
      sendProxy,
      upstreamTls: { ca, serverName: "localhost" },
    });
    const [client, server] = await t.pair(outer, upstream);
    await send(client, "hello");
    const [addresses, text] = await headerOf(server, 5);
    assertEquals((addresses as { sourcePort: number }).sourcePort, client.localAddr.port);
    assertEquals(text, "hello");
    await send(server, "answer");
    await server.closeWrite();
    assertEquals(new TextDecoder().decode(await readAll(client)), "answer");
    await client.closeWrite();
    await allClosed(outer);
  }
  assertEquals(t.lines, []);
});
