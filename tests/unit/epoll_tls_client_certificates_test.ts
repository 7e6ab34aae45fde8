// Servers on the epoll backend that ask clients for a certificate.
import { assert, assertEquals } from "@std/assert";
import { CloseCode, type TlsInfo, type TlsOptions } from "@usockets/usockets";
import { type TestCertificates, testCertificates } from "../support/certificates.ts";
import { nativeTest } from "../support/native.ts";
import { assertAgreed, assertTlsFailure, exchange, TlsEnds } from "../support/tls_ends.ts";

const versions = ["TLSv1.2", "TLSv1.3"] as const;

function proofOf({ authorized, authorizationError, peerCertificate }: TlsInfo): unknown[] {
  return [authorized, authorizationError, peerCertificate?.subject ?? null];
}

/** What a client shows, what is wrong with it, and how a server that insists fails. */
interface Shown {
  what: string;
  client: (certificates: TestCertificates) => TlsOptions;
  proof: unknown[];
  serverCode: string;
  /** By version. */
  clientCodes: [string, string];
}

const unfit: Shown[] = [
  {
    what: "no certificate",
    client: () => ({}),
    proof: [false, null, null],
    serverCode: "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE",
    clientCodes: [
      "ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE",
      "ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED",
    ],
  },
  {
    what: "a certificate of another authority",
    client: ({ otherClient }) => otherClient,
    proof: [false, "UNABLE_TO_VERIFY_LEAF_SIGNATURE", "CN=other client"],
    serverCode: "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
    clientCodes: ["ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA"],
  },
  {
    what: "a certificate signed by itself",
    client: ({ selfSigned }) => selfSigned,
    proof: [false, "INVALID_PURPOSE", "CN=localhost"], // as it is for servers: the last that is wrong
    serverCode: "DEPTH_ZERO_SELF_SIGNED_CERT",
    clientCodes: ["ERR_SSL_TLSV1_ALERT_UNKNOWN_CA", "ERR_SSL_TLSV1_ALERT_UNKNOWN_CA"],
  },
];

for (const { what, client, proof, serverCode, clientCodes } of unfit) {
  for (const [i, maxVersion] of versions.entries()) {
    nativeTest(`requestCert refuses ${what}: ${maxVersion}`, async () => {
      const certificates = await testCertificates();
      const { server, ca } = certificates;
      const serverTls = { ...server, ca, requestCert: true };
      const outcome = await exchange(serverTls, { ca, ...client(certificates), maxVersion });
      assertTlsFailure(outcome.server, serverCode);
      assertTlsFailure(outcome.client, clientCodes[i]);
      assertEquals([outcome.server.info, outcome.server.received], [null, ""]);
      assertEquals(outcome.client.received, "");
    });

    nativeTest(`requestCert lets in and tells: ${what}: ${maxVersion}`, async () => {
      const certificates = await testCertificates();
      const { server, ca } = certificates;
      const serverTls = { ...server, ca, requestCert: true, rejectUnauthorized: false };
      const outcome = await exchange(serverTls, { ca, ...client(certificates), maxVersion });
      assertAgreed(outcome);
      assertEquals(proofOf(outcome.server.info!), proof);
    });
  }
}

nativeTest("requestCert refuses an expired certificate", async () => {
  const { server, ca, expired } = await testCertificates();
  const outcome = await exchange({ ...server, ca, requestCert: true }, { ca, ...expired });
  // It is for servers only beside: one of the two is said.
  const { code } = outcome.server.reason!;
  assert(["CERT_HAS_EXPIRED", "INVALID_PURPOSE"].includes(code!), code);
  assertEquals(outcome.server.code, CloseCode.Tls);
});

nativeTest("requestCert lets a client in whose certificate verifies", async () => {
  const { server, client, ca } = await testCertificates();
  for (const rejectUnauthorized of [true, false]) {
    for (const maxVersion of versions) {
      const serverTls = { ...server, ca, requestCert: true, rejectUnauthorized };
      const outcome = await exchange(serverTls, { ca, ...client, maxVersion });
      assertAgreed(outcome);
      assertEquals(proofOf(outcome.server.info!), [true, null, "CN=test client"]);
    }
  }
});

nativeTest("requestCert trusts all of several authorities", async () => {
  const { server, client, otherClient, ca, otherCa } = await testCertificates();
  const serverTls = { ...server, ca: ca + otherCa, requestCert: true };
  assertAgreed(await exchange(serverTls, { ca, ...client }));
  assertAgreed(await exchange(serverTls, { ca, ...otherClient }));
});

nativeTest("requestCert without ca trusts whom the system trusts", async () => {
  const { server, client, ca } = await testCertificates();
  const outcome = await exchange({ ...server, requestCert: true }, { ca, ...client });
  // The client sends the authority along, which is nobody's whom the system trusts.
  assertTlsFailure(outcome.server, "SELF_SIGNED_CERT_IN_CHAIN");
});

nativeTest("a certificate that nobody asks for is not shown", async () => {
  const { server, client, ca } = await testCertificates();
  const outcome = await exchange({ ...server, ca }, { ca, ...client });
  assertAgreed(outcome);
  assertEquals(proofOf(outcome.server.info!), [false, null, null]);
});

nativeTest("rejectUnauthorized: false alone asks for no certificate", async () => {
  const { server, client, ca } = await testCertificates();
  const outcome = await exchange({ ...server, rejectUnauthorized: false }, { ca, ...client });
  assertAgreed(outcome);
  assertEquals(proofOf(outcome.server.info!), [false, null, null]);
});

nativeTest("a resumed session still knows who the client is", async () => {
  const { server, client, otherClient, ca } = await testCertificates();
  for (const maxVersion of versions) {
    await using ends = new TlsEnds({ ...server, ca, requestCert: true, rejectUnauthorized: false });
    for (
      const [tls, proof] of [
        [client, [true, null, "CN=test client"]],
        [otherClient, [false, "UNABLE_TO_VERIFY_LEAF_SIGNATURE", "CN=other client"]],
      ] as [TlsOptions, unknown[]][]
    ) {
      const clients = ends.clients({ ca, ...tls, maxVersion });
      for (const resumed of [false, true]) {
        const { info } = (await ends.exchange(clients)).server;
        assertEquals([info!.resumed, proofOf(info!)], [resumed, proof]);
      }
    }
  }
});
