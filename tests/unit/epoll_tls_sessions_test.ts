// Sessions on the epoll backend: who comes back to a server need not prove everything again, and
// nobody gets in by it who would not otherwise.
import { assertEquals, assertFalse } from "@std/assert";
import type { SocketContext, TlsOptions } from "@usockets/usockets";
import { X509Certificate } from "node:crypto";
import { certificateFor, testCertificates } from "../support/certificates.ts";
import { nativeTest } from "../support/native.ts";
import { assertAgreed, assertTlsFailure, type Exchange, TlsEnds } from "../support/tls_ends.ts";

const versions = ["TLSv1.2", "TLSv1.3"] as const;

/** Whether each of so many connections was resumed, as both sides have it. */
async function resumptions(
  ends: TlsEnds,
  clients: SocketContext<unknown>,
  count: number,
  options = {},
): Promise<boolean[]> {
  const resumed: boolean[] = [];
  for (let i = 0; i < count; i++) {
    const outcome = await ends.exchange(clients, options);
    assertAgreed(outcome);
    assertEquals(outcome.server.info!.resumed, outcome.client.info!.resumed);
    resumed.push(outcome.client.info!.resumed!);
  }
  return resumed;
}

for (const maxVersion of versions) {
  nativeTest(`a client that comes back resumes its session: ${maxVersion}`, async () => {
    const { server, ca } = await testCertificates();
    await using ends = new TlsEnds(server);
    const clients = ends.clients({ ca, maxVersion });
    assertEquals(await resumptions(ends, clients, 4), [false, true, true, true]);
  });

  nativeTest(`a session that is resumed stands for the same: ${maxVersion}`, async () => {
    const { server, ca } = await testCertificates();
    await using ends = new TlsEnds({ ...server, alpnProtocols: ["h2"] });
    const clients = ends.clients({ ca, maxVersion, alpnProtocols: ["h2"] });
    const outcomes: Exchange[] = [];
    for (let i = 0; i < 2; i++) {
      outcomes.push(await ends.exchange(clients, { serverName: "localhost" }));
    }
    for (const end of ["client", "server"] as const) {
      const infos = outcomes.map((outcome) => outcome[end].info!);
      const [first, second] = infos.map((info) => ({
        alpnProtocol: info.alpnProtocol,
        serverName: info.serverName,
        protocol: info.protocol,
        cipher: info.cipher,
        authorized: info.authorized,
        authorizationError: info.authorizationError,
        fingerprint: info.peerCertificate?.fingerprint256,
      }));
      assertEquals(infos.map(({ resumed }) => resumed), [false, true]);
      assertEquals(second, first, end);
      assertEquals([first.alpnProtocol, first.serverName], ["h2", "localhost"]);
      const { fingerprint256 } = new X509Certificate(server.cert);
      assertEquals(first.fingerprint, end === "client" ? fingerprint256 : undefined);
    }
  });

  for (const side of ["server", "client"]) {
    nativeTest(`sessionTickets: false of the ${side} resumes nothing: ${maxVersion}`, async () => {
      const { server, ca } = await testCertificates();
      const off = { sessionTickets: false };
      await using ends = new TlsEnds({ ...server, ...(side === "server" ? off : {}) });
      const clients = ends.clients({ ca, maxVersion, ...(side === "client" ? off : {}) });
      assertEquals(await resumptions(ends, clients, 3), [false, false, false]);
    });
  }

  nativeTest(`sessions stay with their context: ${maxVersion}`, async () => {
    const { server, ca, otherCa } = await testCertificates();
    await using ends = new TlsEnds(server);
    const trusting = ends.clients({ ca, maxVersion });
    const lax = ends.clients({ ca: otherCa, maxVersion, rejectUnauthorized: false });
    assertEquals(await resumptions(ends, trusting, 2), [false, true]);
    assertEquals(await resumptions(ends, lax, 2), [false, true]);
    assertFalse((await ends.exchange(lax)).client.info!.authorized);
    const strict = await ends.exchange({ ca: otherCa, maxVersion });
    assertTlsFailure(strict.client, "UNABLE_TO_GET_ISSUER_CERT_LOCALLY");
  });

  nativeTest(`a session of one name is none of another: ${maxVersion}`, async () => {
    const { ca } = await testCertificates();
    const both = await certificateFor("localhost", "also.test");
    await using ends = new TlsEnds(both);
    const clients = ends.clients({ ca, maxVersion });
    const of = (serverName: string) => resumptions(ends, clients, 1, { serverName });
    assertEquals([...await of("localhost"), ...await of("also.test")], [false, false]);
    assertEquals([...await of("localhost"), ...await of("also.test")], [true, true]);
    // The name is still to be proved.
    const wrong = await ends.exchange(clients, { serverName: "other.test" });
    assertTlsFailure(wrong.client, "HOSTNAME_MISMATCH");
  });

  nativeTest(`a renewed certificate ends the sessions of the old one: ${maxVersion}`, async () => {
    const { server, ca } = await testCertificates();
    await using ends = new TlsEnds(server);
    const clients = ends.clients({ ca, maxVersion });
    const options = { serverName: "www.example.test" };
    ends.server.addServerName("www.example.test", await certificateFor("www.example.test"));
    assertEquals(await resumptions(ends, clients, 2, options), [false, true]);
    ends.server.addServerName("www.example.test", await certificateFor("www.example.test"));
    assertEquals(await resumptions(ends, clients, 2, options), [false, true]);
  });

  nativeTest(`a server that was started anew does no harm: ${maxVersion}`, async () => {
    const { server, ca } = await testCertificates();
    await using ends = new TlsEnds(server);
    const clients = ends.clients({ ca, maxVersion });
    assertEquals(await resumptions(ends, clients, 2), [false, true]);
    // Another context at the same address: its tickets are sealed with another key.
    ends.listener.close();
    const { port } = ends.listener;
    const heard: unknown[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const listener = ends.loop.createContext({
      tls: server as TlsOptions,
      onHandshake: (_socket, { resumed }) => void heard.push(resumed),
      onData: (socket) => void socket.write("hello"),
      onClose(_socket, code) {
        heard.push(code);
        listener.close();
        resolve();
      },
    }).listen({ host: "127.0.0.1", port });
    clients.connect({ host: "127.0.0.1", port });
    await promise;
    assertEquals(heard, [false, 0]);
  });
}

nativeTest(
  "a server that asks for certificates lets nobody in by a session without one",
  async () => {
    const { server, client, ca } = await testCertificates();
    for (const maxVersion of versions) {
      await using ends = new TlsEnds({ ...server, ca, requestCert: true });
      const clients = ends.clients({ ca, ...client, maxVersion });
      assertEquals(await resumptions(ends, clients, 2), [false, true]);
      const stranger = await ends.exchange({ ca, maxVersion });
      assertTlsFailure(stranger.server, "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE");
    }
  },
);
