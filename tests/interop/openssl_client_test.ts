/** `openssl s_client` as a client of our servers. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { CloseCode, epoll, type TlsOptions } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { certificateFiles } from "./support/files.ts";
import { quit, sClient } from "./support/openssl.ts";
import type { PeerProcess } from "./support/peer_process.ts";
import { BACKENDS, type OurServer, type Talk, World } from "./support/world.ts";

/** Says a word, and waits until it comes back. */
async function echo(peer: PeerProcess, word: string): Promise<void> {
  await peer.send(`${word}\n`);
  await peer.until(`${word}\n`);
}

/** A client that gets in: what it printed, and our end. */
async function visit(
  server: OurServer,
  ...args: string[]
): Promise<{ output: string; talk: Talk }> {
  await using peer = sClient(server.port, ...args);
  const talk = await server.accept();
  await talk.until("handshake");
  await peer.until("Verify return code");
  await echo(peer, "hello");
  await quit(peer);
  assertEquals([await talk.closed(), talk.text], ["close 0", "hello\n"]);
  return { output: peer.output, talk };
}

/** A client that does not get in: what it printed, and how our end closed. */
async function refused(
  server: OurServer,
  ...args: string[]
): Promise<{ output: string; talk: Talk }> {
  await using peer = sClient(server.port, ...args);
  const talk = await server.accept();
  assertEquals(await talk.closed(), `close ${CloseCode.Tls}`);
  assertEquals([await peer.ended(), talk.events.includes("handshake")], [1, false]);
  return { output: peer.output, talk };
}

for (const [name, backend] of Object.entries(BACKENDS)) {
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    const flag = version === "TLSv1.2" ? "-tls1_2" : "-tls1_3";

    Deno.test(`s_client speaks ${version} with a server on ${name}`, async () => {
      using files = await certificateFiles();
      const { server: tls } = await testCertificates();
      await using world = new World(backend);
      const server = world.server(tls, { echoes: true });
      const { output, talk } = await visit(server, flag, "-CAfile", files.ca);
      assertMatch(output, new RegExp(`^New, ${version}, Cipher is `, "m"));
      assertStringIncludes(output, "Verify return code: 0 (ok)");
      assertStringIncludes(output, "subject=CN = localhost");
      if (name === "epoll") assertEquals(talk.info.protocol, version);
    });
  }

  Deno.test(`s_client and a server on ${name} agree on the server's favourite protocol`, async () => {
    const { server: tls } = await testCertificates();
    await using world = new World(backend);
    const server = world.server({ ...tls, alpnProtocols: ["h2", "http/1.1"] }, { echoes: true });
    for (
      const [offered, chosen] of [["http/1.1,h2", "h2"], ["x,http/1.1", "http/1.1"]] as const
    ) {
      const { output, talk } = await visit(server, "-alpn", offered);
      assertStringIncludes(output, `ALPN protocol: ${chosen}\n`);
      assertEquals(talk.info.alpnProtocol, chosen);
    }
    const { output, talk } = await visit(server);
    assertStringIncludes(output, "No ALPN negotiated\n");
    assertEquals(talk.info.alpnProtocol, null);
    assertStringIncludes(
      (await refused(server, "-alpn", "x")).output,
      "alert no application protocol",
    );
  });

  Deno.test(`s_client and a server on ${name} go on behind key updates`, async () => {
    const { server: tls } = await testCertificates();
    await using world = new World(backend);
    const server = world.server(tls, { echoes: true });
    await using peer = sClient(server.port, "-tls1_3", "-msg");
    const talk = await server.accept();
    await talk.until("handshake");
    await echo(peer, "before");
    for (const [letter, word] of [["k", "own"], ["K", "both"], ["K", "again"]] as const) {
      await peer.send(`${letter}\n`);
      await peer.until("KEYUPDATE");
      await echo(peer, word);
    }
    await quit(peer);
    assertEquals([await talk.closed(), talk.text], ["close 0", "before\nown\nboth\nagain\n"]);
    // Asked twice for ours: it came. A server may answer both at once, but both were answered.
    const count = (direction: string) =>
      peer.output.match(new RegExp(`^${direction} TLS 1\\.3, Handshake .*KeyUpdate`, "gm"))?.length;
    assertEquals([count(">>>"), count("<<<")], [3, 2]);
  });

  Deno.test(`s_client gets no renegotiation from a server on ${name}, which lives on`, async () => {
    const { server: tls } = await testCertificates();
    await using world = new World(backend);
    const server = world.server(tls, { echoes: true });
    await using peer = sClient(server.port, "-tls1_2");
    const talk = await server.accept();
    await talk.until("handshake");
    await echo(peer, "hello");
    await using other = sClient(server.port, "-tls1_2");
    const bystander = await server.accept();
    await bystander.until("handshake");
    await peer.send("R\n");
    await peer.until("RENEGOTIATING");
    assertEquals(await peer.ended(), 1);
    await talk.closed();
    assertMatch(peer.output, /no renegotiation|handshake failure/);
    assertEquals(talk.events.filter((event) => event === "handshake").length, 1);
    await echo(other, "still there");
    await quit(other);
    assertEquals(await bystander.closed(), "close 0");
    await visit(server);
  });
}

Deno.test("s_client is shown the certificate of the name it asks for", async () => {
  const { server: tls, otherHost, client: third } = await testCertificates();
  await using world = new World(epoll);
  const server = world.server(tls, {
    echoes: true,
    handlers: {
      onServerName: (context, name) => {
        if (name === "late.test") context.addServerName(name, third, "late");
      },
    },
  });
  server.context.addServerName("other.test", otherHost, "other");
  server.context.addServerName("*.wild.test", otherHost, "wild");
  for (
    const [asked, subject, userData] of [
      ["localhost", "localhost", undefined],
      ["other.test", "other.test", "other"],
      ["OTHER.test", "other.test", "other"],
      ["a.wild.test", "other.test", "wild"],
      ["a.b.wild.test", "localhost", undefined],
      ["late.test", "test client", "late"],
      ["nobody.test", "localhost", undefined],
    ] as const
  ) {
    for (const version of ["-tls1_2", "-tls1_3"]) {
      const { output, talk } = await visit(server, version, "-servername", asked);
      assertStringIncludes(output, `subject=CN = ${subject}\n`);
      assertEquals([talk.socket!.serverNameUserData, talk.info.serverName], [userData, asked]);
    }
  }
  const { output, talk } = await visit(server, "-noservername");
  assertStringIncludes(output, "subject=CN = localhost\n");
  assertEquals(talk.info.serverName, undefined);
});

for (const version of ["-tls1_2", "-tls1_3"]) {
  const name = version === "-tls1_2" ? "TLS 1.2" : "TLS 1.3";

  Deno.test(`s_client gets in with a client certificate, ${name}`, async () => {
    using files = await certificateFiles();
    const { server: tls, ca } = await testCertificates();
    await using world = new World(epoll);
    const server = world.server({ ...tls, ca, requestCert: true }, { echoes: true });
    const { cert, key } = files.client;
    const { output, talk } = await visit(server, version, "-cert", cert, "-key", key);
    assertStringIncludes(output, "Acceptable client certificate CA names");
    assertStringIncludes(output, "CN = uSockets test authority");
    const { authorized, authorizationError, peerCertificate } = talk.info;
    assertEquals([authorized, authorizationError], [true, null]);
    assertEquals(peerCertificate?.subject, "CN=test client");
  });

  Deno.test(`s_client without a good certificate is refused, and told why, ${name}`, async () => {
    using files = await certificateFiles();
    const { server: tls, ca } = await testCertificates();
    await using world = new World(epoll);
    const server = world.server({ ...tls, ca, requestCert: true }, { echoes: true });
    const none = await refused(server, version);
    assertMatch(none.output, /alert (certificate required|handshake failure)/);
    const { cert, key } = await files.stranger();
    const stranger = await refused(server, version, "-cert", cert, "-key", key);
    assertMatch(stranger.output, /alert (unknown ca|bad certificate)/);
    assertEquals(
      (stranger.talk.reason as { code: string }).code,
      "DEPTH_ZERO_SELF_SIGNED_CERT",
    );
  });

  Deno.test(`s_client gets in without a good certificate where that is allowed, ${name}`, async () => {
    using files = await certificateFiles();
    const { server: tls, ca } = await testCertificates();
    await using world = new World(epoll);
    const options: TlsOptions = { ...tls, ca, requestCert: true, rejectUnauthorized: false };
    const server = world.server(options, { echoes: true });
    const none = (await visit(server, version)).talk.info;
    assertEquals(
      [none.authorized, none.authorizationError, none.peerCertificate],
      [false, null, null],
    );
    const { cert, key } = await files.stranger();
    const { talk } = await visit(server, version, "-cert", cert, "-key", key);
    const { authorized, authorizationError } = talk.info;
    assertEquals([authorized, authorizationError], [false, "DEPTH_ZERO_SELF_SIGNED_CERT"]);
  });

  Deno.test(`s_client resumes its session, ${name}`, async () => {
    using files = await certificateFiles();
    const { server: tls } = await testCertificates();
    await using world = new World(epoll);
    const server = world.server(tls, { echoes: true });
    const session = files.directory.at("session.pem");
    const first = await visit(server, version, "-sess_out", session);
    assertMatch(first.output, /^New, TLSv/m);
    assertEquals(first.talk.info.resumed, false);
    for (let i = 0; i < 2; i++) {
      const next = await visit(server, version, "-sess_in", session, "-sess_out", session);
      assertMatch(next.output, /^Reused, TLSv/m);
      assertEquals(next.talk.info.resumed, true);
    }
  });

  Deno.test(`s_client shows its certificate again when it resumes, ${name}`, async () => {
    using files = await certificateFiles();
    const { server: tls, ca } = await testCertificates();
    await using world = new World(epoll);
    const server = world.server({ ...tls, ca, requestCert: true }, { echoes: true });
    const session = files.directory.at("session.pem");
    const { cert, key } = files.client;
    await visit(server, version, "-sess_out", session, "-cert", cert, "-key", key);
    const { output, talk } = await visit(server, version, "-sess_in", session);
    assertMatch(output, /^Reused, TLSv/m);
    const { resumed, authorized, peerCertificate } = talk.info;
    assertEquals([resumed, authorized], [true, true]);
    assertEquals(peerCertificate?.subject, "CN=test client");
  });

  Deno.test(`s_client cannot take a session from one name to another, ${name}`, async () => {
    using files = await certificateFiles();
    const { server: tls, otherHost, ca } = await testCertificates();
    await using world = new World(epoll);
    const server = world.server(tls, { echoes: true });
    server.context.addServerName("other.test", { ...otherHost, ca, requestCert: true });
    const session = files.directory.at("session.pem");
    await visit(server, version, "-servername", "localhost", "-sess_out", session);
    const at = (name: string) => [version, "-servername", name, "-sess_in", session];
    assertEquals((await visit(server, ...at("localhost"))).talk.info.resumed, true);
    const { output } = await refused(server, ...at("other.test"));
    assertMatch(output, /alert (certificate required|handshake failure)/);
    const { cert, key } = files.client;
    const { talk } = await visit(server, ...at("other.test"), "-cert", cert, "-key", key);
    assertEquals([talk.info.resumed, talk.info.authorized], [false, true]);
  });

  Deno.test(`s_client gets no session where tickets are off, ${name}`, async () => {
    using files = await certificateFiles();
    const { server: tls } = await testCertificates();
    await using world = new World(epoll);
    const server = world.server({ ...tls, sessionTickets: false }, { echoes: true });
    const session = files.directory.at("session.pem");
    await visit(server, version, "-sess_out", session);
    const isThere = await Deno.stat(session).then(() => true, () => false);
    const offered = isThere ? ["-sess_in", session] : [];
    const { output, talk } = await visit(server, version, ...offered);
    assertMatch(output, /^New, TLSv/m);
    assertEquals(talk.info.resumed, false);
  });
}

Deno.test("s_client -reconnect resumes five times", async () => {
  const { server: tls } = await testCertificates();
  await using world = new World(epoll);
  const server = world.server(tls, { echoes: true });
  await using peer = sClient(server.port, "-tls1_2", "-reconnect");
  const resumed: unknown[] = [];
  for (let i = 0; i < 6; i++) {
    const talk = await server.accept();
    await talk.until("handshake");
    resumed.push(talk.info.resumed);
  }
  for (let i = 0; i < 5; i++) await peer.until(/^Reused, TLSv1.2/m);
  await echo(peer, "hello");
  await quit(peer);
  assertEquals(resumed, [false, true, true, true, true, true]);
});

Deno.test("s_client upgrades a plain connection by STARTTLS", async () => {
  using files = await certificateFiles();
  const { server: tls } = await testCertificates();
  await using world = new World(epoll);
  const server = world.server(undefined, {
    handlers: {
      onOpen(socket) {
        socket.ext.socket = socket;
        socket.write("220 localhost ESMTP\r\n");
      },
      onData(socket, data) {
        const line = new TextDecoder().decode(data);
        if (socket.tls !== null) return void socket.write(data);
        if (line.startsWith("EHLO")) socket.write("250-localhost\r\n250 STARTTLS\r\n");
        else if (line === "STARTTLS\r\n") {
          socket.write("220 go ahead\r\n");
          socket.upgradeTls(tls);
        }
      },
      onHandshake: () => handshaken.resolve(),
      onClose: (_socket, code) => closed.resolve(code),
    },
  });
  const handshaken = Promise.withResolvers<void>(), closed = Promise.withResolvers<number>();
  await using peer = sClient(server.port, "-starttls", "smtp", "-CAfile", files.ca);
  await handshaken.promise;
  await peer.until("Verify return code: 0 (ok)");
  await echo(peer, "hello");
  await quit(peer);
  assertEquals(await closed.promise, 0);
});
