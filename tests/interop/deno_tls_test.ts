/** Deno's own TLS, Deno.connectTls() and Deno.listenTls(), as the peer. */
import { assertEquals, assertRejects } from "@std/assert";
import { CloseCode, epoll } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { Digest, pattern, readAll, sha256, writeAll } from "../support/streams.ts";
import { BACKENDS, type Talk, World } from "./support/world.ts";

const BYTES = 16 << 20;

/** An accepted connection of Deno's. */
async function acceptOne(listener: Deno.TlsListener): Promise<Deno.TlsConn> {
  const conn = await listener.accept();
  await conn.handshake();
  return conn;
}

/** Sends the bytes and ends, and reads to the end meanwhile; the hash of what came. */
async function transfer(conn: Deno.TlsConn, bytes: Uint8Array): Promise<string> {
  const sent = writeAll(conn, bytes).then(() => conn.closeWrite());
  const received = new Digest();
  const buffer = new Uint8Array(65_536);
  for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) {
    received.add(buffer.subarray(0, n));
  }
  await sent;
  conn.close();
  return received.hex();
}

/** The same on our side. */
async function transferOurs(talk: Talk, bytes: Uint8Array): Promise<string> {
  talk.sendAll(bytes, () => talk.socket!.shutdown());
  assertEquals(await talk.closed(), "close 0");
  assertEquals(talk.events.includes("end"), true);
  return talk.received.hex();
}

for (const [name, backend] of Object.entries(BACKENDS)) {
  Deno.test(`Deno.connectTls() and a server on ${name}: 16 MiB each way, half closed`, async () => {
    const { server: tls, ca } = await testCertificates();
    await using world = new World(backend);
    const server = world.server({ ...tls, alpnProtocols: ["a", "b"] }, { staysOpen: true });
    const conn = await Deno.connectTls({
      hostname: "127.0.0.1",
      port: server.port,
      caCerts: [ca],
      alpnProtocols: ["b", "a"],
    });
    const talk = await server.accept();
    assertEquals((await conn.handshake()).alpnProtocol, "a");
    await talk.until("handshake");
    assertEquals(talk.info.alpnProtocol, "a");
    const there = pattern(BYTES, 1), back = pattern(BYTES, 2);
    const hashes = await Promise.all([transfer(conn, there), transferOurs(talk, back)]);
    assertEquals(hashes, [sha256(back), sha256(there)]);
  });

  Deno.test(`Deno.listenTls() and a client on ${name}: 16 MiB each way, half closed`, async () => {
    const { server: { cert, key }, ca } = await testCertificates();
    using listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert, key });
    await using world = new World(backend);
    const client = world.client({ ca }, { staysOpen: true });
    const talk = client.connect(listener.addr.port);
    const conn = await acceptOne(listener);
    await talk.until("handshake");
    const there = pattern(BYTES, 3), back = pattern(BYTES, 4);
    const hashes = await Promise.all([transfer(conn, there), transferOurs(talk, back)]);
    assertEquals(hashes, [sha256(back), sha256(there)]);
  });

  Deno.test(`a side that has ended still hears Deno, on ${name}`, async () => {
    const { server: tls, ca } = await testCertificates();
    await using world = new World(backend);
    const server = world.server(tls, { staysOpen: true });
    const options = { hostname: "127.0.0.1", port: server.port, caCerts: [ca] };
    {
      // We end first.
      using conn = await Deno.connectTls(options);
      const talk = await server.accept();
      await talk.until("handshake");
      talk.say("ours");
      talk.socket!.shutdown();
      assertEquals(new TextDecoder().decode(await readAll(conn)), "ours");
      await writeAll(conn, pattern(BYTES));
      await conn.closeWrite();
      assertEquals(await talk.closed(), "close 0");
      assertEquals(talk.received.hex(), sha256(pattern(BYTES)));
    }
    {
      // They end first.
      using conn = await Deno.connectTls(options);
      const talk = await server.accept();
      await writeAll(conn, new TextEncoder().encode("theirs"));
      await conn.closeWrite();
      await talk.until("end");
      assertEquals([talk.text, talk.events.at(-1)], ["theirs", "end"]);
      const reading = readAll(conn);
      assertEquals(await transferOurs(talk, pattern(BYTES)), sha256(bytesOf("theirs")));
      assertEquals(sha256(await reading), sha256(pattern(BYTES)));
    }
  });

  Deno.test(`Deno.connectTls() does not trust a server on ${name} by itself`, async () => {
    const { server: tls } = await testCertificates();
    await using world = new World(backend);
    const server = world.server(tls);
    using conn = await Deno.connectTls({ hostname: "127.0.0.1", port: server.port });
    await assertRejects(() => conn.handshake(), Deno.errors.InvalidData);
    assertEquals(await (await server.accept()).closed(), `close ${CloseCode.Tls}`);
  });

  Deno.test(`many connections of Deno.connectTls() at once, on ${name}`, async () => {
    const { server: tls, ca } = await testCertificates();
    await using world = new World(backend);
    const server = world.server(tls, { echoes: true });
    const ask = async (i: number) => {
      using conn = await Deno.connectTls({
        hostname: "127.0.0.1",
        port: server.port,
        caCerts: [ca],
      });
      await writeAll(conn, bytesOf(`number ${i}`));
      await conn.closeWrite();
      assertEquals(new TextDecoder().decode(await readAll(conn)), `number ${i}`);
    };
    await Promise.all(Array.from({ length: 50 }, (_, i) => ask(i)));
  });
}

Deno.test("Deno.connectTls() shows its certificate", async () => {
  const { server: tls, client: { cert, key }, ca } = await testCertificates();
  await using world = new World(epoll);
  const server = world.server({ ...tls, ca, requestCert: true }, { echoes: true });
  const options = { hostname: "127.0.0.1", port: server.port, caCerts: [ca] };
  {
    using conn = await Deno.connectTls({ ...options, cert, key });
    const talk = await server.accept();
    await talk.until("handshake");
    assertEquals([talk.info.authorized, talk.info.peerCertificate?.subject], [
      true,
      "CN=test client",
    ]);
    await writeAll(conn, bytesOf("hello"));
    await talk.hear("hello");
    await conn.closeWrite();
    assertEquals(new TextDecoder().decode(await readAll(conn)), "hello");
  }
  using conn = await Deno.connectTls(options);
  const talk = await server.accept();
  assertEquals(await talk.closed(), `close ${CloseCode.Tls}`);
  await assertRejects(() => readAll(conn));
});

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
