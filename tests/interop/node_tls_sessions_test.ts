/** node:tls as the peer: who it is, who we are, and what both remember of that. */
import { assertEquals, assertMatch } from "@std/assert";
import { CloseCode, epoll } from "@usockets/usockets";
import { type CertifiedKey, testCertificates } from "../support/certificates.ts";
import { NodePeer, RUNTIMES } from "./support/node_peer.ts";
import { BACKENDS, World } from "./support/world.ts";

const { node } = RUNTIMES;

for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
  const versions = { minVersion: version, maxVersion: version };

  Deno.test(`node shows us its certificate, ${version}`, async () => {
    const { server: tls, client: certified, selfSigned, ca } = await testCertificates();
    await using world = new World(epoll);
    const server = world.server({ ...tls, ca, requestCert: true }, { echoes: true });
    const connect = (more: Partial<CertifiedKey>) =>
      new NodePeer(node, {
        role: "client",
        port: server.port,
        tls: { ca, ...versions, ...more },
      });
    {
      await using peer = connect(certified);
      const talk = await server.accept();
      await talk.until("handshake");
      assertEquals(talk.info.authorized, true);
      assertEquals(talk.info.peerCertificate?.subject, "CN=test client");
      await peer.tell("say hello");
      await peer.until("data hello");
    }
    for (
      const [more, alert] of [[{}, /REQUIRED|HANDSHAKE/], [selfSigned, /UNKNOWN_CA|ALERT/]] as const
    ) {
      await using peer = connect(more);
      const talk = await server.accept();
      assertEquals(await talk.closed(), `close ${CloseCode.Tls}`);
      const [, code] = await peer.until(/^error (.*)\n/m);
      assertMatch(code, alert);
      await peer.until(/^close /m);
    }
  });

  for (const [name, backend] of Object.entries(BACKENDS)) {
    Deno.test(`a client on ${name} shows node its certificate, ${version}`, async () => {
      const { server: tls, client: certified, ca } = await testCertificates();
      await using world = new World(backend);
      const options = { ...tls, ...versions, ca, requestCert: true, rejectUnauthorized: true };
      await using peer = new NodePeer(node, { role: "server", tls: options });
      const port = await peer.port();
      // The Deno backend shows one only where the host connected to is the name to be proven.
      const host = { serverName: undefined };
      const talk = world.client({ ca, ...certified }).connect(port, host);
      await talk.until("handshake");
      const { authorized, subject } = await peer.secured();
      assertEquals([authorized, subject], [true, "test client"]);
      await peer.tell("say hello");
      await talk.hear("hello");
      talk.socket!.end();
      assertEquals(await talk.closed(), "close 0");
      await peer.until("close false\n");

      const stranger = world.client({ ca }).connect(port, host);
      // Node closes with something unread: its RST may overtake the alert.
      assertMatch(await stranger.closed(), /^close -[13]$/);
      await peer.until(/^tlsClientError .*\n/m);
    });
  }

  Deno.test(`node resumes its session with us, ${version}`, async () => {
    const { server: tls, ca } = await testCertificates();
    await using world = new World(epoll);
    const server = world.server(tls, { echoes: true });
    await using peer = new NodePeer(node, {
      role: "client",
      port: server.port,
      tls: { ca, ...versions },
    });
    for (const resumed of [false, true, true]) {
      const talk = await server.accept();
      await talk.until("handshake");
      const info = await peer.secured();
      assertEquals([info.resumed, talk.info.resumed], [resumed, resumed]);
      assertEquals([info.authorized, talk.info.protocol], [true, version]);
      await peer.tell("say hello");
      await peer.until("data hello");
      await peer.tell("end");
      await peer.until("close false\n");
      assertEquals(await talk.closed(), "close 0");
      await peer.tell("connect");
    }
  });

  Deno.test(`we resume our session with node until it forgets, ${version}`, async () => {
    const { server: tls, ca } = await testCertificates();
    await using world = new World(epoll);
    await using peer = new NodePeer(node, { role: "server", tls: { ...tls, ...versions } });
    const port = await peer.port();
    const client = world.client({ ca });
    for (const [i, resumed] of [false, true, true, false, true].entries()) {
      const talk = client.connect(port);
      await talk.until("handshake");
      const info = await peer.secured();
      assertEquals([info.resumed, talk.info.resumed], [resumed, resumed]);
      assertEquals(talk.info.peerCertificate?.subject, "CN=localhost");
      await peer.tell("say hello");
      await talk.hear("hello");
      talk.socket!.end();
      assertEquals(await talk.closed(), "close 0");
      await peer.until("close false\n");
      if (i === 2) await peer.tell("forget");
    }
  });

  Deno.test(`a session cut short is resumed all the same, ${version}`, async () => {
    const { server: tls, ca } = await testCertificates();
    await using world = new World(epoll);
    await using peer = new NodePeer(node, { role: "server", tls: { ...tls, ...versions } });
    const port = await peer.port();
    const client = world.client({ ca });
    for (const resumed of [false, true]) {
      const talk = client.connect(port);
      await talk.until("handshake");
      assertEquals((await peer.secured()).resumed, resumed);
      await peer.tell("say hello");
      await talk.hear("hello");
      await peer.tell("destroy");
      assertMatch(await talk.closed(), /^close -[12]$/);
      await peer.until("close false\n");
    }
  });

  Deno.test(`node gets the certificate of the name that it asks for, ${version}`, async () => {
    const { server: tls, otherHost, ca } = await testCertificates();
    await using world = new World(epoll);
    const server = world.server(tls, { echoes: true });
    server.context.addServerName("other.test", otherHost);
    for (const servername of ["localhost", "other.test"]) {
      await using peer = new NodePeer(node, {
        role: "client",
        port: server.port,
        tls: { ca, servername, ...versions },
      });
      const { authorized, subject } = await peer.secured();
      assertEquals([authorized, subject], [true, servername]);
      await (await server.accept()).until("handshake");
    }
  });
}

Deno.test("node gets no renegotiation from us", async () => {
  const { server: tls, ca } = await testCertificates();
  await using world = new World(epoll);
  const server = world.server(tls, { echoes: true });
  await using peer = new NodePeer(node, {
    role: "client",
    port: server.port,
    tls: { ca, maxVersion: "TLSv1.2" },
  });
  const talk = await server.accept();
  await peer.secured();
  await peer.tell("renegotiate");
  await peer.until(/^error .*RENEGOTIATION/m);
  await talk.closed();
  assertEquals(talk.events.filter((event) => event === "handshake").length, 1);
});

for (const [name, backend] of Object.entries(BACKENDS)) {
  Deno.test(`every byte before a cut is delivered, on ${name}`, async () => {
    const { server: tls, ca } = await testCertificates();
    await using world = new World(backend);
    const server = world.server(tls, { staysOpen: true });
    await using peer = new NodePeer(node, {
      role: "client",
      port: server.port,
      tls: { ca },
      isRaw: true,
    });
    const talk = await server.accept();
    await peer.secured();
    for (let i = 0; i < 100; i++) await peer.tell(`say line ${i}`);
    await peer.tell("fin");
    assertEquals(await talk.closed(), `close ${CloseCode.Truncated}`);
    assertEquals(
      talk.text,
      Array.from({ length: 100 }, (_, i) => `line ${i}\n`).join("") + "last\n",
    );
  });

  Deno.test(`a client on ${name} finds node's certificate wanting`, async () => {
    const { otherHost, expired, selfSigned, ca } = await testCertificates();
    await using world = new World(backend);
    for (const certificate of [otherHost, expired, selfSigned]) {
      await using peer = new NodePeer(node, { role: "server", tls: { ...certificate } });
      const talk = world.client({ ca }).connect(await peer.port());
      assertEquals(await talk.closed(), `close ${CloseCode.Tls}`);
      assertEquals(talk.events.includes("handshake"), false);
      await peer.until(/^tlsClientError /m);
    }
  });
}

Deno.test("a client names no address to node, and proves it all the same", async () => {
  const { server: tls, otherHost, ca } = await testCertificates();
  await using world = new World(epoll);
  const client = world.client({ ca });
  for (const [certificate, isRight] of [[tls, true], [otherHost, false]] as const) {
    await using peer = new NodePeer(node, { role: "server", tls: { ...certificate } });
    const talk = client.connect(await peer.port(), { serverName: undefined });
    if (isRight) {
      await talk.until("handshake");
      assertEquals([talk.info.authorized, talk.info.serverName], [true, undefined]);
      assertEquals((await peer.secured()).serverName, null);
    } else {
      assertEquals(await talk.closed(), `close ${CloseCode.Tls}`);
      assertEquals((talk.reason as { code: string }).code, "IP_ADDRESS_MISMATCH");
    }
  }
});
