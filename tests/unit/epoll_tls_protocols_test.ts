// Versions, ciphers, keys and ALPN on the epoll backend: what both sides allow is what they get.
import { assert, assertEquals } from "@std/assert";
import type { TlsOptions, TlsVersion } from "@usockets/usockets";
import { createPrivateKey } from "node:crypto";
import { rsaCertificate, testCertificates } from "../support/certificates.ts";
import { nativeTest } from "../support/native.ts";
import { assertAgreed, assertTlsFailure, type Exchange, exchange } from "../support/tls_ends.ts";

/** An exchange that both sides agreed on, on this version and this cipher. */
function assertChose(outcome: Exchange, protocol: string, cipher: string | RegExp): void {
  assertAgreed(outcome);
  for (const { info } of [outcome.client, outcome.server]) {
    assertEquals(info!.protocol, protocol);
    if (typeof cipher === "string") assertEquals(info!.cipher, cipher);
    else assert(cipher.test(info!.cipher!), info!.cipher);
  }
}

const tls12: TlsOptions = { maxVersion: "TLSv1.2" };
const tls13: TlsOptions = { minVersion: "TLSv1.3" };

// ---------------------------------------------------------------- versions

nativeTest("TLS 1.3 is agreed on, and 1.2 where one side has no more", async () => {
  const { server, ca } = await testCertificates();
  assertChose(await exchange(server, { ca }), "TLSv1.3", /^TLS_AES_/);
  assertChose(await exchange({ ...server, ...tls12 }, { ca }), "TLSv1.2", /^ECDHE-ECDSA-/);
  assertChose(await exchange(server, { ca, ...tls12 }), "TLSv1.2", /^ECDHE-ECDSA-/);
  assertChose(await exchange({ ...server, ...tls13 }, { ca, ...tls13 }), "TLSv1.3", /^TLS_AES_/);
});

nativeTest("without a version in common both sides fail, each with its error", async () => {
  const { server, ca } = await testCertificates();
  for (
    const [serverTls, clientTls] of [[tls13, tls12], [tls12, tls13]] as [TlsOptions, TlsOptions][]
  ) {
    const outcome = await exchange({ ...server, ...serverTls }, { ca, ...clientTls });
    assertTlsFailure(outcome.server, "ERR_SSL_UNSUPPORTED_PROTOCOL");
    assertTlsFailure(outcome.client, "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
    assertEquals([outcome.client.info, outcome.server.info], [null, null]);
  }
});

for (const version of ["TLSv1", "TLSv1.1"] as TlsVersion[]) {
  nativeTest(`${version} works where both sides ask for it, and only there`, async () => {
    const { server, ca } = await testCertificates();
    const old: TlsOptions = { minVersion: version, maxVersion: version };
    const outcome = await exchange({ ...server, minVersion: version }, { ca, ...old });
    assertChose(outcome, version, /^ECDHE-ECDSA-/);
    const refused = await exchange(server, { ca, ...old });
    assertTlsFailure(refused.server, "ERR_SSL_UNSUPPORTED_PROTOCOL");
    assertTlsFailure(refused.client, "ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION");
    // Who allows an old one still gets the newest.
    assertChose(await exchange({ ...server, minVersion: version }, { ca }), "TLSv1.3", /^TLS_/);
  });
}

// ---------------------------------------------------------------- ciphers

nativeTest("ciphers are those of TLS 1.2, ciphersuites those of TLS 1.3", async () => {
  const { server, ca } = await testCertificates();
  const ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384";
  const ciphersuites = "TLS_CHACHA20_POLY1305_SHA256";
  const chosen = { ciphers, ciphersuites };
  for (const [serverTls, clientTls] of [[chosen, {}], [{}, chosen]] as [TlsOptions, TlsOptions][]) {
    const ends = [{ ...server, ...serverTls }, { ca, ...clientTls }] as const;
    assertChose(await exchange(ends[0], ends[1]), "TLSv1.3", ciphersuites);
    assertChose(await exchange(ends[0], { ...ends[1], ...tls12 }), "TLSv1.2", ciphers);
  }
});

nativeTest("the server's order of ciphers counts", async () => {
  const { server, ca } = await testCertificates();
  const list = ["ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"];
  for (const order of [list, [...list].reverse()]) {
    const ciphers = order.join(":");
    const clientTls = { ca, ciphers: [...order].reverse().join(":"), ...tls12 };
    assertChose(await exchange({ ...server, ciphers }, clientTls), "TLSv1.2", order[0]);
  }
  const suites = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"];
  for (const order of [suites, [...suites].reverse()]) {
    const ciphersuites = order.join(":");
    const clientTls = { ca, ciphersuites: [...order].reverse().join(":") };
    assertChose(await exchange({ ...server, ciphersuites }, clientTls), "TLSv1.3", order[0]);
  }
});

nativeTest("a client that likes ChaCha20 best gets it", async () => {
  const { server, ca } = await testCertificates();
  const clientTls = { ca, ciphersuites: "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384" };
  assertChose(await exchange(server, clientTls), "TLSv1.3", "TLS_CHACHA20_POLY1305_SHA256");
});

nativeTest("without a cipher in common both sides fail, each with its error", async () => {
  const { server, ca } = await testCertificates();
  const suites = await exchange(
    { ...server, ciphersuites: "TLS_AES_128_GCM_SHA256", ...tls13 },
    { ca, ciphersuites: "TLS_AES_256_GCM_SHA384" },
  );
  const ciphers = await exchange(
    { ...server, ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" },
    { ca, ciphers: "ECDHE-ECDSA-AES256-GCM-SHA384", ...tls12 },
  );
  for (const { client, server } of [suites, ciphers]) {
    assertTlsFailure(server, "ERR_SSL_NO_SHARED_CIPHER");
    assertTlsFailure(client, "ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE");
  }
});

nativeTest("ciphers without forward secrecy are refused unless they are asked for", async () => {
  const { ca } = await testCertificates();
  const rsa = await rsaCertificate();
  const weak = { ca, ciphers: "AES128-SHA", ...tls12 };
  assertTlsFailure((await exchange(rsa, weak)).server, "ERR_SSL_NO_SHARED_CIPHER");
});

nativeTest("RSA keys serve", async () => {
  const { ca } = await testCertificates();
  const rsa = await rsaCertificate();
  assertChose(await exchange(rsa, { ca }), "TLSv1.3", /^TLS_AES_/);
  assertChose(await exchange(rsa, { ca, ...tls12 }), "TLSv1.2", /^ECDHE-RSA-/);
  const pkcs1 = createPrivateKey(rsa.key).export({ type: "pkcs1", format: "pem" }).toString();
  assertAgreed(await exchange({ cert: rsa.cert, key: pkcs1 }, { ca }));
});

/** RFC 7919, A.1: the group ffdhe2048, as `openssl dhparam` writes it. */
const ffdhe2048 = `-----BEGIN DH PARAMETERS-----
MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz
+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a
87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7
YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi
7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD
ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==
-----END DH PARAMETERS-----
`;

nativeTest("dhParamsFile makes the DHE ciphers work", async () => {
  const { ca } = await testCertificates();
  const rsa = await rsaCertificate();
  const dhParamsFile = Deno.makeTempFileSync({ suffix: ".pem" });
  try {
    Deno.writeTextFileSync(dhParamsFile, ffdhe2048);
    const cipher = "DHE-RSA-AES128-GCM-SHA256";
    const clientTls = { ca, ciphers: cipher, ...tls12 };
    assertChose(await exchange({ ...rsa, dhParamsFile }, clientTls), "TLSv1.2", cipher);
    assertTlsFailure((await exchange(rsa, clientTls)).server, "ERR_SSL_NO_SHARED_CIPHER");
    // Who knows better than that gets better.
    const { server } = await exchange({ ...rsa, dhParamsFile }, { ca, ...tls12 });
    assert(server.info!.cipher!.startsWith("ECDHE-RSA-"));
  } finally {
    Deno.removeSync(dhParamsFile);
  }
});

// ---------------------------------------------------------------- ALPN

nativeTest("the server's favourite among the protocols of both is agreed on", async () => {
  const { server, ca } = await testCertificates();
  const cases: [string[], string[], string][] = [
    [["h2", "http/1.1"], ["http/1.1", "h2"], "h2"],
    [["http/1.1", "h2"], ["h2", "http/1.1"], "http/1.1"],
    [["h2", "http/1.1"], ["unheard/1", "http/1.1"], "http/1.1"],
    [["x"], ["xx", "x"], "x"],
    [["µ/1"], ["µ", "µ/1"], "µ/1"],
    [["y".repeat(255)], ["y".repeat(254), "y".repeat(255)], "y".repeat(255)],
  ];
  for (const [offered, wanted, agreed] of cases) {
    for (const version of [tls12, tls13]) {
      const outcome = await exchange(
        { ...server, alpnProtocols: offered },
        { ca, alpnProtocols: wanted, ...version },
      );
      assertAgreed(outcome);
      assertEquals(outcome.client.info!.alpnProtocol, agreed);
      assertEquals(outcome.server.info!.alpnProtocol, agreed);
    }
  }
});

nativeTest("without a protocol in common both sides fail, each with its error", async () => {
  const { server, ca } = await testCertificates();
  const serverTls = { ...server, alpnProtocols: ["h2"] };
  for (const version of [tls12, tls13]) {
    const outcome = await exchange(serverTls, { ca, alpnProtocols: ["h", "h23"], ...version });
    assertTlsFailure(outcome.server, "ERR_SSL_NO_APPLICATION_PROTOCOL");
    assertTlsFailure(outcome.client, "ERR_SSL_TLSV1_ALERT_NO_APPLICATION_PROTOCOL");
  }
});

nativeTest("who offers no protocol is let in, and none is agreed on", async () => {
  const { server, ca } = await testCertificates();
  const some = { alpnProtocols: ["h2"] };
  for (
    const [serverTls, clientTls] of [
      [some, {}],
      [{}, some],
      [some, { alpnProtocols: [] }],
      [{ alpnProtocols: [] }, some],
    ] as [TlsOptions, TlsOptions][]
  ) {
    const outcome = await exchange({ ...server, ...serverTls }, { ca, ...clientTls });
    assertAgreed(outcome);
    assertEquals(outcome.client.info!.alpnProtocol, null);
    assertEquals(outcome.server.info!.alpnProtocol, null);
  }
});

// ---------------------------------------------------------------- other options

for (const tls of [{ preferLowMemory: true }, { ktls: true }] as TlsOptions[]) {
  const [name] = Object.keys(tls);
  nativeTest(`${name} changes nothing that a program sees`, async () => {
    const { server, ca } = await testCertificates();
    for (const version of [tls12, tls13]) {
      assertAgreed(await exchange({ ...server, ...tls }, { ca, ...tls, ...version }));
    }
  });
}

/** Whether the kernel has its `tls` module loaded; `ktls` then is real, and tested elsewhere. */
function hasKernelTls(): boolean {
  try {
    return Deno.readTextFileSync("/proc/sys/net/ipv4/tcp_available_ulp").includes("tls");
  } catch {
    return false;
  }
}

Deno.test({
  name: "socket.tls.ktls is false where the kernel has no TLS, or nobody asked for it",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const { server, ca } = await testCertificates();
    const plain = await exchange(server, { ca });
    assertEquals([plain.client.info!.ktls, plain.server.info!.ktls], [false, false]);
    const asked = await exchange({ ...server, ktls: true }, { ca, ktls: true });
    assertAgreed(asked);
    if (hasKernelTls()) return;
    assertEquals([asked.client.info!.ktls, asked.server.info!.ktls], [false, false]);
  },
});
