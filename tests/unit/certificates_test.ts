// The test certificates themselves under test: a TLS test that fails must never leave the question
// whether its certificates were right. Deno's TLS (rustls) is the judge, node:crypto the second.
import {
  assert,
  assertEquals,
  assertFalse,
  assertNotEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { createPrivateKey, X509Certificate } from "node:crypto";
import {
  certificateFor,
  type CertifiedKey,
  rsaCertificate,
  testCertificates,
} from "../support/certificates.ts";

const strict = { sanitizeOps: true, sanitizeResources: true };

Deno.test("testCertificates() makes its certificates once", strict, async () => {
  assertStrictEquals(await testCertificates(), await testCertificates());
});

Deno.test("testCertificates() ca is an authority, the others are not", strict, async () => {
  const { ca, server, client, expired, selfSigned, otherHost } = await testCertificates();
  const authority = new X509Certificate(ca);
  assert(authority.ca);
  assert(authority.verify(authority.publicKey));
  for (const { cert, key } of [server, client, expired, otherHost]) {
    const leaf = new X509Certificate(cert);
    assertFalse(leaf.ca, leaf.subject);
    assert(leaf.checkIssued(authority), leaf.subject);
    assert(leaf.verify(authority.publicKey), leaf.subject);
    assert(leaf.checkPrivateKey(createPrivateKey(key)), leaf.subject);
  }
  const alone = new X509Certificate(selfSigned.cert);
  assertFalse(alone.ca);
  assert(alone.verify(alone.publicKey));
  assertFalse(alone.verify(authority.publicKey));
});

Deno.test("testCertificates() names hosts", strict, async () => {
  const { server, otherHost } = await testCertificates();
  const leaf = new X509Certificate(server.cert);
  assertEquals(leaf.checkHost("localhost"), "localhost");
  assertEquals(leaf.checkHost("other.test"), undefined);
  assertEquals(leaf.checkIP("127.0.0.1"), "127.0.0.1");
  assertEquals(leaf.checkIP("::1"), "::1");
  assertEquals(new X509Certificate(otherHost.cert).checkHost("other.test"), "other.test");
});

Deno.test("testCertificates() mismatchedKey belongs to another certificate", strict, async () => {
  const { mismatchedKey } = await testCertificates();
  const leaf = new X509Certificate(mismatchedKey.cert);
  assertFalse(leaf.checkPrivateKey(createPrivateKey(mismatchedKey.key)));
  const listen = () => Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...mismatchedKey });
  assertThrows(listen, Error, "KeyMismatch");
});

Deno.test("testCertificates() serverEncrypted opens with its passphrase only", strict, async () => {
  const { ca, server, serverEncrypted: { cert, key, passphrase } } = await testCertificates();
  assertStringIncludes(key, "-----BEGIN ENCRYPTED PRIVATE KEY-----");
  assertThrows(() => createPrivateKey({ key, passphrase: "wrong" }));
  const plain = createPrivateKey({ key, passphrase }).export({ type: "pkcs8", format: "pem" });
  assertNotEquals(key, server.key);
  assertEquals(plain.toString().trim(), server.key.trim());
  assertEquals(await exchange({ cert, key: plain.toString() }, "localhost", [ca]), "ping");
});

for (const hostname of ["localhost", "127.0.0.1", "::1"]) {
  Deno.test(`testCertificates() server handshakes as ${hostname}`, strict, async () => {
    const { ca, server } = await testCertificates();
    assertEquals(await exchange(server, hostname, [ca]), "ping");
  });
}

Deno.test("testCertificates() otherHost handshakes as other.test", strict, async () => {
  const { ca, otherHost } = await testCertificates();
  assertEquals(await exchange(otherHost, "other.test", [ca]), "ping");
});

Deno.test("testCertificates() selfSigned handshakes where it is trusted", strict, async () => {
  const { selfSigned } = await testCertificates();
  assertEquals(await exchange(selfSigned, "localhost", [selfSigned.cert]), "ping");
});

Deno.test("testCertificates() chain handshakes by its intermediate", strict, async () => {
  const { ca, chain, intermediate, otherCa, otherClient } = await testCertificates();
  assertEquals(await exchange(chain, "localhost", [ca]), "ping");
  assert(chain.cert.endsWith(intermediate));
  await assertRefused({ ...chain, cert: chain.cert.replace(intermediate, "") }, [ca], "Unknown");
  assert(new X509Certificate(otherClient.cert).checkIssued(new X509Certificate(otherCa)));
});

Deno.test("certificateFor() makes a new one for the names with each call", strict, async () => {
  const { ca } = await testCertificates();
  const [first, second] = [
    await certificateFor("*.a.test", "b.test"),
    await certificateFor("*.a.test"),
  ];
  assertNotEquals(first.cert, second.cert);
  for (const name of ["www.a.test", "b.test"]) {
    assertEquals(await exchange(first, name, [ca]), "ping");
  }
  assertEquals(new X509Certificate(second.cert).checkHost("b.test"), undefined);
});

Deno.test("rsaCertificate() handshakes", strict, async () => {
  const { ca } = await testCertificates();
  const rsa = await rsaCertificate();
  assertEquals(createPrivateKey(rsa.key).asymmetricKeyType, "rsa");
  assertEquals(await exchange(rsa, "localhost", [ca]), "ping");
  assertStrictEquals(rsa, await rsaCertificate());
});

Deno.test("testCertificates() client is taken by connectTls", strict, async () => {
  const { ca, server, client } = await testCertificates();
  using listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...server });
  const { port } = listener.addr;
  const [accepted, connected] = await Promise.all([
    listener.accept(),
    Deno.connectTls({ hostname: "127.0.0.1", port, caCerts: [ca], ...client }),
  ]);
  using serverSide = accepted;
  using clientSide = connected;
  await Promise.all([serverSide.handshake(), clientSide.handshake()]);
});

for (
  const { name, reason } of [
    { name: "expired", reason: "certificate expired" },
    { name: "notYetValid", reason: "not valid yet" },
    { name: "selfSigned", reason: "UnknownIssuer" },
    { name: "otherHost", reason: "not valid for name" },
    { name: "client", reason: "allows client authentication" },
  ] as const
) {
  Deno.test(`testCertificates() ${name} is refused as ${reason}`, strict, async () => {
    const { ca, [name]: pair } = await testCertificates();
    await assertRefused(pair, [ca], reason);
  });
}

Deno.test("testCertificates() server is refused where ca is not trusted", strict, async () => {
  const { server } = await testCertificates();
  await assertRefused(server, [], "UnknownIssuer");
});

/** Sends "ping" from a client that trusts `caCerts` and expects `hostname`; returns what arrives. */
async function exchange(
  pair: CertifiedKey,
  hostname: string,
  caCerts: string[],
): Promise<string> {
  using ends = await connectPair(pair, hostname, caCerts);
  await Promise.all([ends.server.handshake(), ends.client.handshake()]);
  await ends.client.write(new TextEncoder().encode("ping"));
  const buffer = new Uint8Array(16);
  const length = await ends.server.read(buffer);
  return new TextDecoder().decode(buffer.subarray(0, length ?? 0));
}

async function assertRefused(pair: CertifiedKey, caCerts: string[], reason: string): Promise<void> {
  using ends = await connectPair(pair, "localhost", caCerts);
  const [server, error] = await Promise.all([
    ends.server.handshake().then(() => "accepted", () => "refused"),
    assertRejects(() => ends.client.handshake(), Error, reason),
  ]);
  assertEquals(server, "refused", error.message);
}

/** A TCP connection over loopback with TLS begun, but not yet shaken hands on, at both ends. */
async function connectPair(pair: CertifiedKey, hostname: string, caCerts: string[]) {
  using listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, ...pair });
  const [server, plain] = await Promise.all([
    listener.accept(),
    Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
  ]);
  // Nagle's algorithm would hold back the client's last message: 40 ms for each handshake.
  plain.setNoDelay(true);
  const client = await Deno.startTls(plain, { hostname, caCerts });
  return {
    server,
    client,
    [Symbol.dispose]() {
      client.close();
      server.close();
    },
  };
}
