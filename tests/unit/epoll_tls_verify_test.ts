// Clients on the epoll backend trust nobody without proof: what is wrong with a server's certificate
// ends the handshake, and its code says what it is.
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { CloseCode, type ConnectOptions, epoll, Loop, type TlsOptions } from "@usockets/usockets";
import {
  certificateFor,
  type CertifiedKey,
  type TestCertificates,
  testCertificates,
} from "../support/certificates.ts";
import { nativeTest } from "../support/native.ts";
import {
  assertAgreed,
  assertTlsFailure,
  exchange,
  meetPlain,
  TlsEnds,
} from "../support/tls_ends.ts";

/** A server that clients must refuse, with the code that says why. */
interface Untrusted {
  what: string;
  of: (certificates: TestCertificates) => CertifiedKey;
  client?: (certificates: TestCertificates) => TlsOptions;
  options?: ConnectOptions<unknown>;
  code: string;
  /** What the message says beside. */
  says?: string;
}

const untrusted: Untrusted[] = [
  {
    what: "signed by itself",
    of: ({ selfSigned }) => selfSigned,
    code: "DEPTH_ZERO_SELF_SIGNED_CERT",
  },
  {
    what: "of an authority that is not trusted",
    of: ({ server }) => server,
    client: ({ otherCa }) => ({ ca: otherCa }),
    code: "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  },
  {
    what: "of an authority that the system does not trust",
    of: ({ server }) => server,
    client: () => ({}),
    code: "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  },
  { what: "that is expired", of: ({ expired }) => expired, code: "CERT_HAS_EXPIRED" },
  { what: "not valid yet", of: ({ notYetValid }) => notYetValid, code: "CERT_NOT_YET_VALID" },
  {
    what: "of another host",
    of: ({ otherHost }) => otherHost,
    options: { host: "localhost" },
    code: "HOSTNAME_MISMATCH",
    says: "localhost",
  },
  {
    what: "of another host than serverName",
    of: ({ server }) => server,
    client: ({ ca }) => ({ ca, serverName: "other.test" }),
    code: "HOSTNAME_MISMATCH",
    says: "other.test",
  },
  {
    what: "of another host than connect()'s serverName",
    of: ({ server }) => server,
    client: ({ ca }) => ({ ca, serverName: "localhost" }),
    options: { serverName: "other.test" },
    code: "HOSTNAME_MISMATCH",
    says: "other.test",
  },
  {
    what: "without the address connected to",
    of: ({ otherHost }) => otherHost,
    code: "IP_ADDRESS_MISMATCH",
    says: "127.0.0.1",
  },
  {
    what: "of another address",
    of: ({ server }) => server,
    options: { serverName: "127.0.0.2" },
    code: "IP_ADDRESS_MISMATCH",
    says: "127.0.0.2",
  },
  {
    what: "that is for clients only",
    of: ({ client }) => client,
    options: { serverName: "test-client" },
    code: "INVALID_PURPOSE",
  },
  {
    what: "whose intermediate authority it does not send",
    of: ({ chain: { cert, key }, intermediate }) => ({ cert: cert.replace(intermediate, ""), key }),
    code: "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  },
];

const trusting = ({ ca }: TestCertificates): TlsOptions => ({ ca });

for (const { what, of, client = trusting, options, code, says = "" } of untrusted) {
  nativeTest(`a client refuses a server certificate ${what}`, async () => {
    const certificates = await testCertificates();
    const outcome = await exchange(of(certificates), client(certificates), options);
    assertTlsFailure(outcome.client, code);
    assertStringIncludes(outcome.client.reason!.message, says);
    assertEquals([outcome.client.info, outcome.client.received], [null, ""]);
    assertEquals([outcome.server.info, outcome.server.received], [null, ""]);
  });

  nativeTest(`rejectUnauthorized: false lets it in, and tells: ${what}`, async () => {
    const certificates = await testCertificates();
    const clientTls = { ...client(certificates), rejectUnauthorized: false };
    const outcome = await exchange(of(certificates), clientTls, options);
    assertAgreed(outcome);
    const { authorized, authorizationError, peerCertificate } = outcome.client.info!;
    assertEquals([authorized, authorizationError], [false, code]);
    assert(peerCertificate !== null);
  });
}

nativeTest("the server learns from the alert why it was refused", async () => {
  const { server, otherCa } = await testCertificates();
  const outcome = await exchange(server, { ca: otherCa });
  assertTlsFailure(outcome.server, "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA");
});

for (
  const { what, clientTls, options } of [
    { what: "the address connected to" },
    { what: "the name connected to", options: { host: "localhost" } },
    { what: "serverName", clientTls: { serverName: "localhost" } },
    { what: "a serverName in upper case", clientTls: { serverName: "LocalHost" } },
    { what: "a serverName with the root's dot", clientTls: { serverName: "localhost." } },
    { what: "a serverName that is an address", clientTls: { serverName: "127.0.0.1" } },
    { what: "an IPv6 address in brackets", options: { serverName: "[::1]" } },
    { what: "an IPv6 address", options: { serverName: "::1" } },
    {
      what: "connect()'s serverName rather than the context's",
      clientTls: { serverName: "other.test" },
      options: { serverName: "localhost" },
    },
  ] as { what: string; clientTls?: TlsOptions; options?: ConnectOptions<unknown> }[]
) {
  nativeTest(`a server that proves ${what} is trusted`, async () => {
    const { server, ca } = await testCertificates();
    const outcome = await exchange(server, { ca, ...clientTls }, options);
    assertAgreed(outcome);
    const { authorized, authorizationError } = outcome.client.info!;
    assertEquals([authorized, authorizationError], [true, null]);
  });
}

nativeTest("a wildcard in a certificate stands for exactly one label", async () => {
  const { ca } = await testCertificates();
  const wildcard = await certificateFor("*.example.test");
  for (const serverName of ["www.example.test", "WWW.Example.Test", "www.example.test."]) {
    assertAgreed(await exchange(wildcard, { ca, serverName }));
  }
  for (const serverName of ["example.test", "a.b.example.test", "www.other.test", "127.0.0.1"]) {
    const { client } = await exchange(wildcard, { ca, serverName });
    const isIp = serverName === "127.0.0.1";
    assertTlsFailure(client, isIp ? "IP_ADDRESS_MISMATCH" : "HOSTNAME_MISMATCH");
  }
});

nativeTest("a wildcard for a part of a label is none", async () => {
  const { ca } = await testCertificates();
  const partial = await certificateFor("w*.example.test");
  const { client } = await exchange(partial, { ca, serverName: "www.example.test" });
  assertTlsFailure(client, "HOSTNAME_MISMATCH");
});

nativeTest(
  "an intermediate authority that the server sends leads to one that is trusted",
  async () => {
    const { chain, ca } = await testCertificates();
    assertAgreed(await exchange(chain, { ca }));
  },
);

nativeTest("a certificate that a client trusts by itself is trusted", async () => {
  const { selfSigned } = await testCertificates();
  assertAgreed(await exchange(selfSigned, { ca: selfSigned.cert }));
});

nativeTest("several authorities in one text are all trusted", async () => {
  const { server, selfSigned, ca, otherCa } = await testCertificates();
  for (const text of [otherCa + ca, ca + otherCa, `a comment\n${selfSigned.cert}\n${ca}`]) {
    assertAgreed(await exchange(server, { ca: text }));
  }
});

/** Runs a test on a system that trusts these authorities: OpenSSL reads the variable. */
async function withSystemTrust(authorities: string, test: () => Promise<void>): Promise<void> {
  const name = "SSL_CERT_FILE", before = Deno.env.get(name);
  const file = Deno.makeTempFileSync({ suffix: ".pem" });
  Deno.writeTextFileSync(file, authorities);
  Deno.env.set(name, file);
  try {
    await test();
  } finally {
    if (before === undefined) Deno.env.delete(name);
    else Deno.env.set(name, before);
    Deno.removeSync(file);
  }
}

nativeTest("without ca both sides trust whom the system trusts, with ca nobody else", async () => {
  const { server, client, ca, otherCa, otherClient } = await testCertificates();
  await withSystemTrust(ca, async () => {
    assertAgreed(await exchange(server, {}));
    const strict = await exchange(server, { ca: otherCa });
    assertTlsFailure(strict.client, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY");
    const asking = { ...server, requestCert: true };
    assertAgreed(await exchange(asking, client));
    assertEquals((await exchange(asking, otherClient)).server.code, CloseCode.Tls);
    assertEquals((await exchange({ ...asking, ca: otherCa }, client)).server.code, CloseCode.Tls);
  });
});

nativeTest("upgradeTls() without options trusts whom the system trusts", async () => {
  const { server: tls, ca } = await testCertificates();
  const notes: unknown[] = [];
  await withSystemTrust(ca, () =>
    meetPlain({
      onOpen: (socket) => socket.upgradeTls(tls),
    }, {
      onOpen: (socket) => socket.upgradeTls(),
      onHandshake(socket, { authorized }) {
        notes.push(authorized);
        socket.end();
      },
      onClose: (_socket, code) => void notes.push(code),
    }));
  assertEquals(notes, [true, CloseCode.Clean]);
});

nativeTest("a server name that cannot be sent ends the handshake, and is named", async () => {
  const { server, ca } = await testCertificates();
  const serverName = `${"x".repeat(300)}.test`; // 255 bytes are the most
  const { client, server: accepted } = await exchange(server, { ca, serverName });
  assertTlsFailure(client, "ERR_SSL_SSL3_EXT_INVALID_SERVERNAME");
  assertStringIncludes(client.reason!.message, serverName);
  assertEquals(accepted.code, CloseCode.Tls);
});

nativeTest("a server name beyond ASCII is looked for as certificates have it", async () => {
  const { ca } = await testCertificates();
  await using ends = new TlsEnds(await certificateFor("xn--bcher-kva.test"));
  const outcome = await ends.exchange({ ca }, { serverName: "bücher.test" });
  assertAgreed(outcome);
  assertEquals(outcome.server.info!.serverName, "xn--bcher-kva.test");
});

nativeTest("a server name that begins with a dot is refused", () => {
  using loop = new Loop({ backend: epoll });
  const context = loop.createContext({ tls: {} });
  assertThrows(() => context.connect({ port: 1, serverName: ".test" }), TypeError, "serverName");
  assertThrows(() => loop.createContext({ tls: { serverName: ".test" } }), TypeError, "serverName");
});
