/** `openssl` as the peer: each cipher suite and group, and records of unusual sizes. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { epoll } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { pattern, sha256 } from "../support/streams.ts";
import { HANG_MS } from "./support/changes.ts";
import { certificateFiles } from "./support/files.ts";
import { quit, rsaCertificate, sClient, sServer } from "./support/openssl.ts";
import { find } from "./support/preflight.ts";
import { BACKENDS, type Manners, World } from "./support/world.ts";

const TLS_12_SUITES = [
  "AES128-GCM-SHA256",
  "AES256-GCM-SHA384",
  "CHACHA20-POLY1305",
];
const TLS_13_SUITES = [
  "TLS_AES_128_GCM_SHA256",
  "TLS_AES_256_GCM_SHA384",
  "TLS_CHACHA20_POLY1305_SHA256",
];

for (const [name, backend] of Object.entries(BACKENDS)) {
  Deno.test(`s_client and a server on ${name} speak each modern cipher suite`, async () => {
    await using world = new World(backend);
    const certified = { RSA: await rsaCertificate(), ECDSA: (await testCertificates()).server };
    for (const [kind, tls] of Object.entries(certified)) {
      const server = world.server(tls, { echoes: true });
      const suites = [
        ...TLS_12_SUITES.map((suite) => ["-tls1_2", "-cipher", `ECDHE-${kind}-${suite}`]),
        ...TLS_13_SUITES.map((suite) => ["-tls1_3", "-ciphersuites", suite]),
      ];
      for (const args of suites) {
        await using peer = sClient(server.port, ...args);
        const talk = await server.accept();
        await talk.until("handshake");
        await peer.until("Verify return code");
        await peer.send("hello\n");
        await peer.until("hello\n");
        await quit(peer);
        assertStringIncludes(peer.output, `Cipher is ${args[2]}\n`);
        if (name === "epoll") assertEquals(talk.info.cipher, args[2]);
      }
    }
  });
}

Deno.test("s_client and a server with Diffie-Hellman parameters speak DHE", async () => {
  using files = await certificateFiles();
  const made = await run(["dhparam", "-dsaparam", "2048"], new Uint8Array(0));
  const dhParamsFile = files.directory.write("dh.pem", new TextDecoder().decode(made));
  await using world = new World(epoll);
  const server = world.server({ ...await rsaCertificate(), dhParamsFile }, { echoes: true });
  for (const cipher of ["DHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-GCM-SHA384"]) {
    await using peer = sClient(server.port, "-tls1_2", "-cipher", cipher);
    const talk = await server.accept();
    await talk.until("handshake");
    await peer.until("Verify return code");
    await quit(peer);
    assertEquals(talk.info.cipher, cipher);
    assertStringIncludes(peer.output, "Server Temp Key: DH, 2048 bits");
  }
});

for (const group of ["X25519", "P-256", "P-384", "P-521", "X448"]) {
  Deno.test(`s_client and s_server agree with us on ${group}`, async () => {
    using files = await certificateFiles();
    // An RSA key: in TLS 1.2 the group of another one must be among those offered.
    const rsa = await rsaCertificate();
    await using world = new World(epoll);
    const server = world.server(rsa, { echoes: true });
    for (const version of ["-tls1_2", "-tls1_3"]) {
      await using peer = sClient(server.port, version, "-groups", group);
      const talk = await server.accept();
      await talk.until("handshake");
      await peer.until("Verify return code");
      await quit(peer);
      assertEquals(await talk.closed(), "close 0");

      // Our client proposes another one first, so that TLS 1.3 takes a round more.
      await using there = await sServer(
        files.directory.certificate("rsa", rsa),
        version,
        "-groups",
        group,
        "-rev",
      );
      const ours = world.client({ ca: rsa.cert }).connect(there.port);
      await ours.until("handshake");
      ours.say("hello\n");
      await ours.hear("olleh\n");
    }
  });
}

/** Runs `openssl` to its end: what it printed. */
async function run(args: string[], input: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const options = { args, stdin: "piped", stdout: "piped", stderr: "null" } as const;
  const child = new Deno.Command(find("openssl"), options).spawn();
  const watchdog = setTimeout(() => child.kill("SIGKILL"), HANG_MS);
  const fed = new Blob([input]).stream().pipeTo(child.stdin).catch(() => {});
  const { stdout } = await child.output();
  clearTimeout(watchdog);
  await fed;
  return stdout;
}

/** `openssl s_client` as a pipe: no letters of its input mean anything. */
function pipe(port: number, args: string[], input: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  return run(["s_client", "-quiet", "-connect", `127.0.0.1:${port}`, ...args], input);
}

const BYTES = 4 << 20;

for (const [name, backend] of Object.entries(BACKENDS)) {
  for (const version of ["-tls1_2", "-tls1_3"]) {
    Deno.test(`s_client sends records of all sizes to ${name}, ${version}`, async () => {
      const { server: tls } = await testCertificates();
      const bytes = pattern(BYTES, 9);
      await using world = new World(backend);
      // The server ends when it has all: s_client closes then.
      const manners: Manners = {
        handlers: {
          onData(socket, data) {
            socket.ext.take(data);
            if (socket.ext.received.length === BYTES) socket.end();
          },
        },
      };
      const server = world.server(tls, manners);
      for (const args of [[], ["-max_send_frag", "512"], ["-max_send_frag", "1500"]]) {
        const [output, talk] = await Promise.all([
          pipe(server.port, [version, ...args], bytes),
          server.accept(),
        ]);
        assertEquals([output.length, talk.received.hex()], [0, sha256(bytes)]);
      }
    });

    Deno.test(`s_client reads records of all sizes from ${name}, ${version}`, async () => {
      const { server: tls } = await testCertificates();
      const bytes = pattern(BYTES, 10);
      await using world = new World(backend);
      const server = world.server(tls, { staysOpen: true });
      for (const args of [[], ["-maxfraglen", "512"], ["-maxfraglen", "4096"]]) {
        const output = pipe(server.port, [version, ...args], new Uint8Array(0));
        const talk = await server.accept();
        await talk.until("handshake");
        talk.sendAll(bytes, () => talk.socket!.end());
        assertEquals(sha256(await output), sha256(bytes));
        assertEquals(await talk.closed(), "close 0");
      }
    });
  }
}
