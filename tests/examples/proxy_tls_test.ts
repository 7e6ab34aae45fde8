/** The example proxy: TLS on either side, server names, and certificates that are replaced. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { ProxyServer } from "../../examples/support/proxy_server.ts";
import { certificateFor, type CertifiedKey, testCertificates } from "../support/certificates.ts";
import { Relay } from "../support/peers.ts";
import { pattern, readAll, sha256, writeAll } from "../support/streams.ts";
import { allClosed, type ProxyTest, proxyTest } from "./proxies.ts";
import { receive, send } from "./servers.ts";

/** A TLS client of the proxy, which has to prove a name. */
async function connectTls(
  t: ProxyTest,
  { port }: { port: number },
  hostname = "localhost",
  caCerts?: string[],
): Promise<Deno.TlsConn> {
  caCerts ??= [(await testCertificates()).ca];
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const tls = t.own(await Deno.startTls(conn, { hostname, caCerts }));
  await tls.handshake();
  return tls;
}

/** A certificate in files, as the command line names them. */
function files(t: ProxyTest, { cert, key }: CertifiedKey): { certFile: string; keyFile: string } {
  return { certFile: t.file(cert), keyFile: t.file(key) };
}

/** Both ways, and to the end. */
async function assertEchoes(client: Deno.Conn, server: Deno.Conn, proxy: ProxyServer) {
  const up = pattern(4 << 20, 1), down = pattern(4 << 20, 2);
  const [, , atServer, atClient] = await Promise.all([
    writeAll(client, up).then(() => client.closeWrite()),
    writeAll(server, down).then(() => server.closeWrite()),
    readAll(server),
    readAll(client),
  ]);
  assertEquals([sha256(atServer), sha256(atClient)], [sha256(up), sha256(down)]);
  await allClosed(proxy);
}

proxyTest("speaks TLS with clients", async (t) => {
  const { server: certificate } = await testCertificates();
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port], { tls: certificate });
  const client = await connectTls(t, proxy.listener);
  await assertEchoes(client, t.own(await upstream.accept()), proxy);
  assertEquals(t.lines, []);
});

proxyTest("speaks TLS with upstreams, and with clients too", async (t) => {
  const { server: certificate, ca } = await testCertificates();
  const upstream = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...certificate });
  t.defer(() => upstream.close());
  const address = `tls://localhost:${upstream.addr.port}`;
  const plain = t.proxy([address], { upstreamTls: { ca } });
  const secure = t.proxy([address], { upstreamTls: { ca }, tls: certificate });
  await assertEchoes(await t.connect(plain), t.own(await upstream.accept()), plain);
  await assertEchoes(
    await connectTls(t, secure.listener),
    t.own(await upstream.accept()),
    secure,
  );
  assertEquals(t.lines, []);
});

proxyTest("does not trust an upstream with a certificate of somebody else", async (t) => {
  const { otherHost, ca } = await testCertificates();
  const upstream = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...otherHost });
  t.defer(() => upstream.close());
  const accepting = upstream.accept().then((conn) => t.own(conn).handshake()).catch(() => {});
  const address = `tls://localhost:${upstream.addr.port}`;
  const proxy = t.proxy([address], { upstreamTls: { ca } });
  await t.connect(proxy).then(readAll).catch(() => {});
  await accepting;
  await allClosed(proxy);
  assertEquals(t.lines.length, 1);
  assert(/^connect: HOST -> tls:\S+: .*(hostname|name)/i.test(t.lines[0]), t.lines[0]);
  const named = t.proxy([address], { upstreamTls: { ca, serverName: "other.test" } });
  const client = await t.connect(named);
  const server = t.own(await upstream.accept());
  await send(client, "hello");
  assertEquals(await receive(server, 5), "hello");
});

proxyTest("trusts any upstream when told to", async (t) => {
  const { selfSigned } = await testCertificates();
  const upstream = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...selfSigned });
  t.defer(() => upstream.close());
  const address = `tls://localhost:${upstream.addr.port}`;
  const proxy = t.proxy([address], { upstreamTls: { rejectUnauthorized: false } });
  const client = await t.connect(proxy);
  const server = t.own(await upstream.accept());
  await send(client, "hello");
  assertEquals(await receive(server, 5), "hello");
}, "epoll");

proxyTest("cuts an upstream off whose client's TLS was cut off", async (t) => {
  const { server: certificate } = await testCertificates();
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port], { tls: certificate });
  const relay = await Relay.start(proxy.listener.port);
  const client = await connectTls(t, relay);
  const server = t.own(await upstream.accept());
  await send(client, "half of it");
  assertEquals(await receive(server, 10), "half of it");
  await client.closeWrite(); // its close_notify does not get through the relay
  // The Deno backend has no RST: there it is a FIN, and only the log tells.
  if (t.isEpoll) await assertRejects(() => readAll(server), Deno.errors.ConnectionReset);
  else await readAll(server);
  await allClosed(proxy);
  assert(t.lines[0].startsWith("truncated: HOST -> HOST: client: "), t.lines[0]);
  client.close();
  await relay.finished;
});

proxyTest("cuts a client off whose upstream's TLS was cut off", async (t) => {
  const { server: certificate, ca } = await testCertificates();
  const upstream = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...certificate });
  t.defer(() => upstream.close());
  const relay = await Relay.start(upstream.addr.port);
  const proxy = t.proxy([`tls://127.0.0.1:${relay.port}`], { upstreamTls: { ca } });
  const client = await t.connect(proxy);
  const server = await upstream.accept();
  await send(server, "half of it");
  assertEquals(await receive(client, 10), "half of it");
  await server.closeWrite(); // its close_notify does not get through the relay
  if (t.isEpoll) await assertRejects(() => readAll(client), Deno.errors.ConnectionReset);
  else await readAll(client);
  await allClosed(proxy);
  assert(t.lines[0].startsWith("truncated: HOST -> tls://HOST: upstream: "), t.lines[0]);
  server.close();
  await relay.finished;
});

proxyTest("tells a handshake that fails, and goes on", async (t) => {
  const { server: certificate } = await testCertificates();
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port], { tls: certificate });
  const garbage = await t.connect(proxy);
  await send(garbage, "GET / HTTP/1.1\r\n\r\n");
  await readAll(garbage).catch(() => {});
  await allClosed(proxy);
  assert(t.lines[0].startsWith("tls: HOST: client: "), t.lines[0]);
  const client = await connectTls(t, proxy.listener);
  const server = t.own(await upstream.accept());
  await send(client, "hello");
  assertEquals(await receive(server, 5), "hello");
});

proxyTest("chooses certificate and upstream by the server name", async (t) => {
  const { server: certificate } = await testCertificates();
  const [fallback, exact, wild] = [t.upstream(), t.upstream(), t.upstream()];
  const { certFile, keyFile } = files(t, await certificateFor("a.test"));
  const config = t.file(JSON.stringify({
    upstreams: [`127.0.0.1:${fallback.addr.port}`],
    routes: {
      "a.test": { upstreams: `127.0.0.1:${exact.addr.port}`, cert: certFile, key: keyFile },
      "*.wild.test": {
        upstreams: [`127.0.0.1:${wild.addr.port}`],
        ...await certificateFor("x.wild.test").then((pair) => {
          const { certFile: cert, keyFile: key } = files(t, pair);
          return { cert, key };
        }),
      },
    },
  }));
  const proxy = t.proxy([], { tls: certificate, config });
  for (
    const [name, upstream] of [["a.test", exact], ["x.wild.test", wild], [
      "localhost",
      fallback,
    ]] as const
  ) {
    const client = await connectTls(t, proxy.listener, name);
    const server = t.own(await upstream.accept());
    await send(client, name);
    assertEquals(await receive(server, name.length), name);
  }
  assertEquals(t.lines, []);
}, "epoll");

proxyTest("turns clients away whose name has no upstream", async (t) => {
  const { server: certificate } = await testCertificates();
  const proxy = t.proxy([], { tls: certificate, routes: [["a.test", "127.0.0.1:1"]] });
  const client = await connectTls(t, proxy.listener);
  await assertRejects(() => readAll(client));
  await allClosed(proxy);
  assertEquals(t.lines, ['route: HOST: no upstream for "localhost"']);
}, "epoll");

proxyTest("replaces certificates while connections live on", async (t) => {
  const { server: certificate } = await testCertificates();
  const upstream = t.upstream();
  const tls = files(t, certificate);
  const proxy = t.proxy([upstream.addr.port], { tls });
  const old = await connectTls(t, proxy.listener);
  const atOld = t.own(await upstream.accept());
  const replace = async (pair: CertifiedKey) => {
    Deno.writeTextFileSync(tls.certFile, pair.cert);
    Deno.writeTextFileSync(tls.keyFile, pair.key);
    await proxy.reload();
  };

  await replace({ cert: certificate.cert, key: "no key" }); // the old one stays
  const same = await connectTls(t, proxy.listener);
  t.own(await upstream.accept());
  await replace(await certificateFor("new.test"));
  await assertRejects(() => connectTls(t, proxy.listener)); // it proves another name now
  const renewed = await connectTls(t, proxy.listener, "new.test");
  const atNew = t.own(await upstream.accept());

  for (const [client, server] of [[old, atOld], [renewed, atNew]] as const) {
    await send(client, "hello");
    assertEquals(await receive(server, 5), "hello");
    await send(server, "answer");
    assertEquals(await receive(client, 6), "answer");
  }
  same.close();
  assert(/^Cannot reload, all stays as it was: .*private key/.test(t.lines[0]), t.lines[0]);
  assertEquals(t.said, ["Reloaded"]);
});

proxyTest("goes on with a handshake that a reload meets half way", async (t) => {
  const { server: certificate, ca } = await testCertificates();
  const upstream = t.upstream();
  const tls = files(t, certificate);
  const proxy = t.proxy([upstream.addr.port], { tls });
  const accepted = Promise.withResolvers<void>();
  const { context } = proxy.listener;
  const { onOpen } = context;
  context.onOpen = (...event) => {
    onOpen!.call(context, ...event);
    accepted.resolve();
  };
  const conn = await t.connect(proxy);
  await accepted.promise;
  const renewed = await certificateFor("new.test");
  Deno.writeTextFileSync(tls.certFile, renewed.cert);
  Deno.writeTextFileSync(tls.keyFile, renewed.key);
  await proxy.reload();
  const client = t.own(await Deno.startTls(conn, { hostname: "localhost", caCerts: [ca] }));
  await send(client, "hello");
  const server = t.own(await upstream.accept());
  assertEquals(await receive(server, 5), "hello");
});

proxyTest("frees what it made for certificates that nobody uses any more", async (t) => {
  const { server: certificate } = await testCertificates();
  const upstream = t.upstream();
  const proxy = t.proxy([upstream.addr.port], { tls: files(t, certificate) });
  const { contexts } = proxy.listener.context.loop;
  const before = contexts.size;
  const client = await connectTls(t, proxy.listener);
  const server = t.own(await upstream.accept());
  for (let i = 0; i < 3; i++) await proxy.reload();
  assert(contexts.size > before, "the old generation serves an open connection");
  client.close();
  await readAll(server);
  server.close();
  await allClosed(proxy);
  assertEquals(contexts.size, before);
});

proxyTest("frees what it made of a reload that fails", async (t) => {
  const { server: certificate, ca } = await testCertificates();
  const caFile = t.file(ca);
  const proxy = t.proxy(["tls://localhost:1"], { tls: certificate, upstreamTls: { caFile } });
  const { contexts } = proxy.listener.context.loop;
  const before = contexts.size;
  Deno.writeTextFileSync(caFile, "no CA");
  await proxy.reload();
  assert(t.lines[0].startsWith("Cannot reload, all stays as it was: "), t.lines[0]);
  assertEquals(contexts.size, before);
});

proxyTest("sends new connections elsewhere after a reload", async (t) => {
  const [first, second] = [t.upstream(), t.upstream()];
  const config = t.file(JSON.stringify({ upstreams: [`127.0.0.1:${first.addr.port}`] }));
  const proxy = t.proxy([], { config });
  const [client, server] = await t.pair(proxy, first);
  Deno.writeTextFileSync(config, "{");
  await proxy.reload(); // all stays as it was
  await t.pair(proxy, first);
  Deno.writeTextFileSync(config, JSON.stringify({ upstreams: `127.0.0.1:${second.addr.port}` }));
  await proxy.reload();
  await t.pair(proxy, second);
  await send(client, "hello");
  assertEquals(await receive(server, 5), "hello");
});

proxyTest("says what only the epoll backend can do", async (t) => {
  const { server: tls } = await testCertificates();
  assertThrows(() => t.proxy(["h:1"], { tls, acceptProxy: true }), Error, "needs --backend epoll");
  assertThrows(() => t.proxy([], { tls, routes: [["a", "h:1"]] }), Error, "need --backend epoll");
}, "deno");
