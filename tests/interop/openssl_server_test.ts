/** `openssl s_server` as a server of our clients. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { CloseCode, epoll, type TlsOptions } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { certificateFiles } from "./support/files.ts";
import { sServer } from "./support/openssl.ts";
import type { PeerProcess } from "./support/peer_process.ts";
import { BACKENDS, type Talk, World } from "./support/world.ts";

/** A word each way: what the server prints, and what its user types. */
async function exchange(talk: Talk, peer: PeerProcess, word = "hello"): Promise<void> {
  talk.say(`${word} from us\n`);
  await peer.until(`${word} from us\n`);
  await peer.send(`${word} from there\n`);
  await talk.hear(`${word} from there\n`);
}

/** Our polite end, which the server must take for one. */
async function bye(talk: Talk, peer: PeerProcess): Promise<void> {
  talk.socket!.end();
  await peer.until("DONE");
  assertEquals(await talk.closed(), "close 0");
}

/** The options of our client that trusts the tests' authority. */
async function trusting(): Promise<TlsOptions> {
  return { ca: (await testCertificates()).ca };
}

for (const [name, backend] of Object.entries(BACKENDS)) {
  for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
    const flag = version === "TLSv1.2" ? "-tls1_2" : "-tls1_3";

    Deno.test(`a client on ${name} speaks ${version} with s_server`, async () => {
      using files = await certificateFiles();
      await using server = await sServer(files.server, flag);
      await using world = new World(backend);
      const talk = world.client(await trusting()).connect(server.port);
      await talk.until("handshake");
      if (name === "epoll") {
        assertEquals([talk.info.protocol, talk.info.authorized], [version, true]);
        assertEquals(talk.info.peerCertificate?.subject, "CN=localhost");
      }
      await exchange(talk, server.peer);
      await bye(talk, server.peer);
    });

    Deno.test(`a client on ${name} upgrades a plain connection to s_server, ${version}`, async () => {
      using files = await certificateFiles();
      await using server = await sServer(files.server, flag);
      const tls: TlsOptions = { ...await trusting(), serverName: "localhost" };
      await using world = new World(backend);
      const handlers = {
        onOpen(socket: NonNullable<Talk["socket"]>) {
          socket.ext.socket = socket;
          socket.upgradeTls(tls);
        },
      };
      const talk = world.client(undefined, { handlers }).connect(server.port, {
        serverName: undefined,
      });
      await talk.until("handshake");
      await exchange(talk, server.peer);
      await bye(talk, server.peer);
    });

    Deno.test(`a client on ${name} tells how s_server closed, ${version}`, async () => {
      using files = await certificateFiles();
      await using world = new World(backend);
      const client = world.client(await trusting(), { staysOpen: true });
      {
        // It sends close_notify when it is told to CLOSE.
        await using server = await sServer(files.server, flag, "-rev");
        const talk = client.connect(server.port);
        await talk.until("handshake");
        talk.say("hello\n");
        await talk.hear("olleh\n");
        talk.say("CLOSE\n");
        await talk.until("end");
        assertEquals(talk.events.at(-1), "end");
        talk.socket!.shutdown();
        assertEquals(await talk.closed(), "close 0");
      }
      {
        // It closes its socket without a word when it is told to quit.
        await using server = await sServer(files.server, flag);
        const talk = client.connect(server.port);
        await talk.until("handshake");
        await exchange(talk, server.peer);
        await server.peer.send("Q\n");
        assertEquals(await talk.closed(), `close ${CloseCode.Truncated}`);
        assertEquals(talk.events.includes("end"), false);
        await server.peer.ended();
      }
      {
        // Whoever is killed says nothing either.
        await using server = await sServer(files.server, flag);
        const talk = client.connect(server.port);
        await talk.until("handshake");
        await exchange(talk, server.peer);
        server.peer.signal("SIGKILL");
        assertEquals(await talk.closed(), `close ${CloseCode.Truncated}`);
        assertEquals(talk.events.includes("end"), false);
      }
    });

    Deno.test(`a client on ${name} reads all of a page that s_server ends, ${version}`, async () => {
      using files = await certificateFiles();
      await using server = await sServer(files.server, flag, "-www");
      await using world = new World(backend);
      const client = world.client(await trusting());
      for (let i = 0; i < 3; i++) {
        const talk = client.connect(server.port);
        await talk.until("handshake");
        talk.say("GET / HTTP/1.0\r\n\r\n");
        await talk.until("end");
        assertMatch(talk.text, /^HTTP\/1.0 200 ok\r\n[^]*<\/pre><\/BODY><\/HTML>\r\n\r\n$/i);
        assertEquals(await talk.closed(), "close 0");
      }
    });
  }

  Deno.test(`a client on ${name} and s_server agree on a protocol`, async () => {
    using files = await certificateFiles();
    await using server = await sServer(files.server, "-alpn", "http/1.1,h2");
    await using world = new World(backend);
    for (
      const [alpnProtocols, chosen] of [
        [["h2", "http/1.1"], "http/1.1"], // the server's favourite
        [["h2"], "h2"],
        [undefined, null],
      ] as const
    ) {
      const tls = { ...await trusting(), alpnProtocols: alpnProtocols && [...alpnProtocols] };
      const talk = world.client(tls).connect(server.port);
      await talk.until("handshake");
      assertEquals(talk.info.alpnProtocol, chosen);
      await exchange(talk, server.peer);
      await bye(talk, server.peer);
    }
  });

  Deno.test(`a client on ${name} goes on behind key updates of s_server`, async () => {
    using files = await certificateFiles();
    await using server = await sServer(files.server, "-tls1_3", "-msg");
    const { peer } = server;
    await using world = new World(backend);
    const talk = world.client(await trusting()).connect(server.port);
    await talk.until("handshake");
    await exchange(talk, peer, "before");
    for (const [letter, word] of [["k", "own"], ["K", "both"], ["K", "again"]] as const) {
      await peer.send(`${letter}\n`);
      await exchange(talk, peer, word); // the letter is read before our word
    }
    await exchange(talk, peer, "after"); // our own update goes out with the next write
    await bye(talk, peer);
    const count = (direction: string) =>
      peer.output.match(new RegExp(`^${direction} TLS 1\\.3, Handshake .*KeyUpdate`, "gm"))?.length;
    assertEquals([count(">>>"), count("<<<")], [3, 2]);
  });

  Deno.test(`a client on ${name} takes no certificate of s_server's that does not verify`, async () => {
    using files = await certificateFiles();
    const { expired, otherHost } = await testCertificates();
    await using world = new World(backend);
    const stale = files.directory.certificate("expired", expired);
    const other = files.directory.certificate("other", otherHost);
    for (
      const [certificate, code] of [
        [await files.stranger(), "DEPTH_ZERO_SELF_SIGNED_CERT"],
        [stale, "CERT_HAS_EXPIRED"],
        [other, "HOSTNAME_MISMATCH"],
      ] as const
    ) {
      for (const flag of ["-tls1_2", "-tls1_3"]) {
        await using server = await sServer(certificate, flag);
        const talk = world.client(await trusting()).connect(server.port);
        assertEquals(await talk.closed(), `close ${CloseCode.Tls}`);
        assertEquals(talk.events.includes("handshake"), false);
        if (name === "epoll") assertEquals((talk.reason as { code: string }).code, code);
        await server.peer.until(
          /alert (unknown ca|certificate expired|certificate unknown|bad certificate)/,
        );
      }
    }
  });

  Deno.test(`a client on ${name} does not speak with an s_server that is too weak`, async () => {
    using files = await certificateFiles();
    await using world = new World(backend);
    for (
      const args of [
        ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
        ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0"],
      ]
    ) {
      await using server = await sServer(files.server, ...args);
      const talk = world.client(await trusting()).connect(server.port);
      assertEquals(await talk.closed(), `close ${CloseCode.Tls}`);
      await server.peer.until(/error:.*(protocol|version|cipher)/);
    }
  });

  Deno.test(`a client on ${name} lets s_server renegotiate nothing`, async () => {
    using files = await certificateFiles();
    await using server = await sServer(files.server, "-tls1_2");
    await using world = new World(backend);
    const talk = world.client(await trusting()).connect(server.port);
    await talk.until("handshake");
    await exchange(talk, server.peer);
    await server.peer.send("r\n");
    await server.peer.until(/no renegotiation|ERROR|error:/);
    assertMatch(await talk.closed(), /close -[23]/);
    assertEquals(talk.events.filter((event) => event === "handshake").length, 1);
  });

  for (const flag of ["-tls1_2", "-tls1_3"]) {
    Deno.test(`a client on ${name} shows s_server its certificate, ${flag}`, async () => {
      using files = await certificateFiles();
      const { client: certified } = await testCertificates();
      const verify = ["-Verify", "1", "-verify_return_error", "-CAfile", files.ca];
      await using server = await sServer(files.server, flag, ...verify);
      await using world = new World(backend);
      // The Deno backend shows one only where the host connected to is the name to be proven.
      const host = { host: "127.0.0.1", serverName: undefined };
      const talk = world.client({ ...await trusting(), ...certified }).connect(server.port, host);
      await talk.until("handshake");
      await exchange(talk, server.peer);
      await bye(talk, server.peer);
      assertStringIncludes(server.peer.output, "CN = test client");
    });

    Deno.test(`a client on ${name} without a certificate is refused by s_server, ${flag}`, async () => {
      using files = await certificateFiles();
      const verify = ["-Verify", "1", "-verify_return_error", "-CAfile", files.ca];
      await using server = await sServer(files.server, flag, ...verify);
      await using world = new World(backend);
      const talk = world.client(await trusting()).connect(server.port);
      assertEquals(await talk.closed(), `close ${CloseCode.Tls}`);
      await server.peer.until("peer did not return a certificate");
      // In TLS 1.3 a client learns of that behind its handshake.
      assertEquals(talk.events.includes("handshake"), flag === "-tls1_3");
    });
  }
}

Deno.test("a client asks s_server for a name, and is shown that name's certificate", async () => {
  using files = await certificateFiles();
  const { otherHost } = await testCertificates();
  const { cert, key } = files.directory.certificate("other", otherHost);
  const second = ["-servername", "other.test", "-cert2", cert, "-key2", key];
  await using server = await sServer(files.server, ...second);
  await using world = new World(epoll);
  const client = world.client(await trusting());
  for (const serverName of ["localhost", "other.test"]) {
    const talk = client.connect(server.port, { serverName });
    await talk.until("handshake");
    assertEquals(talk.info.serverName, serverName);
    assertEquals(talk.info.peerCertificate?.subject, `CN=${serverName}`);
    await exchange(talk, server.peer);
    await bye(talk, server.peer);
  }
});

for (const flag of ["-tls1_2", "-tls1_3"]) {
  Deno.test(`a client resumes its session with s_server, ${flag}`, async () => {
    using files = await certificateFiles();
    await using server = await sServer(files.server, flag);
    await using world = new World(epoll);
    const client = world.client(await trusting());
    const stranger = world.client(await trusting());
    for (
      const [who, resumed] of [[client, false], [client, true], [client, true], [
        stranger,
        false,
      ]] as const
    ) {
      const talk = who.connect(server.port);
      await talk.until("handshake");
      assertEquals([talk.info.resumed, talk.info.authorized], [resumed, true]);
      assertEquals(talk.info.peerCertificate?.subject, "CN=localhost");
      await exchange(talk, server.peer);
      await bye(talk, server.peer);
    }
    assertEquals(server.peer.output.match(/^Reused session-id/gm)?.length, 2);
  });

  Deno.test(`a client of sessionTickets: false resumes nothing with s_server, ${flag}`, async () => {
    using files = await certificateFiles();
    await using server = await sServer(files.server, flag);
    await using world = new World(epoll);
    const client = world.client({ ...await trusting(), sessionTickets: false });
    for (let i = 0; i < 2; i++) {
      const talk = client.connect(server.port);
      await talk.until("handshake");
      assertEquals(talk.info.resumed, false);
      await exchange(talk, server.peer);
      await bye(talk, server.peer);
    }
  });

  Deno.test(`a client that resumes shows s_server who it is, ${flag}`, async () => {
    using files = await certificateFiles();
    const { client: certified } = await testCertificates();
    const verify = ["-Verify", "1", "-verify_return_error", "-CAfile", files.ca];
    await using server = await sServer(files.server, flag, ...verify);
    await using world = new World(epoll);
    const client = world.client({ ...await trusting(), ...certified });
    for (const resumed of [false, true]) {
      const talk = client.connect(server.port);
      await talk.until("handshake");
      assertEquals(talk.info.resumed, resumed);
      await exchange(talk, server.peer);
      await bye(talk, server.peer);
    }
  });
}
