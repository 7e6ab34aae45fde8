/** What our servers refuse by default: old versions, and cipher suites that are broken or nearly so. */
import { assertEquals, fail } from "@std/assert";
import { CloseCode, epoll, type TlsOptions } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import {
  HANDSHAKE_FAILURE,
  offer,
  PROTOCOL_VERSION,
  SSL_3,
  TLS_1_0,
  TLS_1_1,
  TLS_1_2,
} from "./support/client_hello.ts";
import { quit, rsaCertificate, sClient } from "./support/openssl.ts";
import { BACKENDS, type OurServer, World } from "./support/world.ts";

/** Cipher suites by their registered numbers. */
const GOOD = {
  RSA: 0xc02f, // TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
  ECDSA: 0xc02b, // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
};
const WEAK: Record<string, number[]> = {
  "no encryption": [0x0001, 0x0002, 0x003b, 0xc006, 0xc010],
  "no authentication": [0x0018, 0x001b, 0x0034, 0x006c, 0x00a6, 0xc016, 0xc018],
  "export strength": [0x0003, 0x0006, 0x0008, 0x0014],
  RC4: [0x0004, 0x0005, 0xc007, 0xc011],
  DES: [0x0009, 0x0015],
  "triple DES": [0x000a, 0x0016, 0xc008, 0xc012],
  "AES-CBC": [0x0033, 0x0039, 0x0067, 0xc009, 0xc00a, 0xc013, 0xc014, 0xc023, 0xc024, 0xc027],
  "RSA key exchange": [0x002f, 0x0035, 0x003c, 0x003d, 0x009c, 0x009d, 0xc09c, 0xc0a0],
};

/** Servers with a key of either kind: a suite must not be refused for want of a fitting one. */
async function certifiedKeys(): Promise<Record<keyof typeof GOOD, TlsOptions>> {
  return { RSA: await rsaCertificate(), ECDSA: (await testCertificates()).server };
}

/** Waits until the server has let the client go, which it must do with an error of TLS. */
async function assertClosedForTls(server: OurServer): Promise<void> {
  const talk = await server.accept();
  assertEquals(await talk.closed(), `close ${CloseCode.Tls}`);
  assertEquals(talk.events.includes("handshake"), false);
}

for (const [name, backend] of Object.entries(BACKENDS)) {
  Deno.test(`a server on ${name} refuses weak cipher suites, and takes a good one`, async () => {
    await using world = new World(backend);
    for (const [kind, tls] of Object.entries(await certifiedKeys())) {
      const server = world.server(tls);
      const good = GOOD[kind as keyof typeof GOOD];
      for (const [family, suites] of Object.entries(WEAK)) {
        const answer = await offer(server.port, TLS_1_2, suites);
        assertEquals(answer, { alert: HANDSHAKE_FAILURE }, `${family}, ${kind}`);
        await assertClosedForTls(server);
      }
      assertEquals(await offer(server.port, TLS_1_2, [...WEAK.RC4, good]), { suite: good });
      await assertClosedForTls(server); // which the client left in the middle of
    }
  });

  Deno.test(`a server on ${name} refuses SSL 3 and TLS 1.0 and 1.1`, async () => {
    await using world = new World(backend);
    for (const [kind, tls] of Object.entries(await certifiedKeys())) {
      const server = world.server(tls);
      const suites = [GOOD[kind as keyof typeof GOOD], ...WEAK["AES-CBC"], ...WEAK.RC4];
      for (const version of [SSL_3, TLS_1_0, TLS_1_1]) {
        const answer = await offer(server.port, version, suites);
        if (!("alert" in answer)) fail(`${kind}, version ${version}: ${answer.suite}`);
        if (name === "epoll" && version !== SSL_3) assertEquals(answer.alert, PROTOCOL_VERSION);
        await assertClosedForTls(server);
      }
    }
  });
}

/** What the library lets TLS 1.2 use, and so what is left out of the offers below. */
const ALL_BUT_GOOD = "ALL:COMPLEMENTOFALL:!AESGCM:!CHACHA20:@SECLEVEL=0";
const GCM_WITHOUT_FORWARD_SECRECY = "kRSA+AESGCM:@SECLEVEL=0";
const SHA_1 = ["-sigalgs", "RSA+SHA1:ECDSA+SHA1", "-cipher", "ALL:@SECLEVEL=0"];

for (
  const [what, args, alert] of [
    ["TLS 1.0", ["-tls1", "-cipher", "ALL:@SECLEVEL=0"], "protocol version"],
    ["TLS 1.1", ["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "protocol version"],
    ["all but GCM and ChaCha20", ["-tls1_2", "-cipher", ALL_BUT_GOOD], "handshake failure"],
    [
      "GCM without forward secrecy",
      ["-tls1_2", "-cipher", GCM_WITHOUT_FORWARD_SECRECY],
      "handshake failure",
    ],
    ["SHA-1 signatures", ["-tls1_2", ...SHA_1], "handshake failure"],
  ] as const
) {
  Deno.test(`s_client is refused with ${what}, unless that is asked for`, async () => {
    await using world = new World(epoll);
    for (const [kind, tls] of Object.entries(await certifiedKeys())) {
      if (kind === "ECDSA" && what.startsWith("GCM")) continue; // the keys of that are RSA
      const server = world.server(tls);
      await using peer = sClient(server.port, ...args);
      await peer.until(`alert ${alert}`);
      assertEquals(await peer.ended(), 1, kind);
      await assertClosedForTls(server);
      // The offer is one that works: the refusal was ours.
      const lax = world.server({ ...tls, minVersion: "TLSv1", ciphers: "ALL:@SECLEVEL=0" });
      await using welcome = sClient(lax.port, ...args);
      const talk = await lax.accept();
      await talk.until("handshake");
      await welcome.until("Verify return code");
      await quit(welcome);
      assertEquals(await talk.closed(), "close 0");
    }
  });
}

for (
  const [options, good, bad] of [
    [{ minVersion: "TLSv1.3" }, ["-tls1_3"], ["-tls1_2"]],
    [{ maxVersion: "TLSv1.2" }, ["-tls1_2"], ["-tls1_3"]],
    [
      { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES256-GCM-SHA384" },
      ["-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"],
      ["-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"],
    ],
    [
      { minVersion: "TLSv1.3", ciphersuites: "TLS_AES_128_GCM_SHA256" },
      ["-ciphersuites", "TLS_AES_128_GCM_SHA256"],
      ["-ciphersuites", "TLS_AES_256_GCM_SHA384"],
    ],
  ] as [TlsOptions, string[], string[]][]
) {
  Deno.test(`a server of ${JSON.stringify(options)} lets s_client in with no more`, async () => {
    const { server: tls } = await testCertificates();
    await using world = new World(epoll);
    const server = world.server({ ...tls, ...options });
    {
      await using peer = sClient(server.port, ...good);
      const talk = await server.accept();
      await talk.until("handshake");
      await peer.until("Verify return code");
      await quit(peer);
      assertEquals(await talk.closed(), "close 0");
    }
    await using peer = sClient(server.port, ...bad);
    await peer.until(/alert (protocol version|handshake failure)/);
    assertEquals(await peer.ended(), 1);
    await assertClosedForTls(server);
  });
}
