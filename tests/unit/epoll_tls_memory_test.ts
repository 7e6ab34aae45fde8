// What OpenSSL gives it gets back, whatever became of the connection.
import { assertEquals, assertGreater, assertThrows } from "@std/assert";
import { epoll, Loop, type Socket, type TlsOptions } from "@usockets/usockets";
import { type Libssl, openLibssl, replaceLibssl } from "../../ffi/tls/libssl.ts";
import { testCertificates } from "../support/certificates.ts";
import { nativeTest, runLoop } from "../support/native.ts";
import { meetPlain, TlsEnds } from "../support/tls_ends.ts";

/** What makes a thing, and what gives it back. */
const PAIRS: [string, (keyof Libssl)[], keyof Libssl][] = [
  ["SSL_CTX", ["SSL_CTX_new"], "SSL_CTX_free"],
  ["SSL", ["SSL_new"], "SSL_free"],
  ["SSL_SESSION", ["SSL_get1_session"], "SSL_SESSION_free"],
  ["EVP_PKEY", ["PEM_read_bio_PrivateKey"], "EVP_PKEY_free"],
  [
    "X509",
    ["PEM_read_bio_X509", "SSL_get1_peer_certificate", "SSL_get_peer_certificate"],
    "X509_free",
  ],
  ["DH", ["PEM_read_bio_DHparams"], "DH_free"],
];

/** Runs a test with an OpenSSL that counts; fails where something is left, or too much given back. */
async function balanced(test: () => Promise<void>): Promise<Record<string, number>> {
  const real = openLibssl();
  const counted = { ...real } as Record<string, unknown>;
  const made: Record<string, number> = {}, left: Record<string, number> = {};
  for (const [what, makers, freer] of PAIRS) {
    made[what] = left[what] = 0;
    for (const maker of makers) {
      const make = real[maker] as ((...args: unknown[]) => unknown) | null;
      if (make === null) continue; // of another version of OpenSSL
      counted[maker] = (...args: unknown[]) => {
        const thing = make(...args);
        if (thing !== null) made[what]++, left[what]++;
        return thing;
      };
    }
    const free = real[freer] as (thing: unknown) => unknown;
    counted[freer] = (thing: unknown) => {
      left[what]--;
      return free(thing);
    };
  }
  replaceLibssl(counted as Libssl);
  try {
    await test();
  } finally {
    replaceLibssl(real);
  }
  assertEquals(left, Object.fromEntries(PAIRS.map(([what]) => [what, 0])));
  return made;
}

nativeTest("connections, names and sessions leave nothing behind", async () => {
  const { server, client, otherClient, otherHost, ca } = await testCertificates();
  const made = await balanced(async () => {
    await using ends = new TlsEnds({ ...server, ca, requestCert: true });
    for (let i = 0; i < 3; i++) ends.server.addServerName("other.test", { ...otherHost, ca });
    ends.server.addServerName("*.other.test", otherHost);
    ends.server.removeServerName("*.other.test");
    const clients = ends.clients({ ca, ...client });
    for (const serverName of ["localhost", "localhost", "other.test", "wrong.test"]) {
      await ends.exchange(clients, { serverName });
    }
    await ends.exchange({ ca }); // refused by the server
    await ends.exchange({ ca, ...otherClient, rejectUnauthorized: false });
    await ends.exchange({ ...client, maxVersion: "TLSv1.2" }); // refuses the server
  });
  for (const what of ["SSL_CTX", "SSL", "SSL_SESSION", "EVP_PKEY", "X509"]) {
    assertGreater(made[what], 3, what);
  }
});

nativeTest("contexts that cannot be made leave nothing behind", async () => {
  const { server, mismatchedKey, serverEncrypted, chain, otherCa } = await testCertificates();
  const garbage = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n";
  const wrong: TlsOptions[] = [
    mismatchedKey,
    { ...serverEncrypted, passphrase: "wrong" },
    { ...server, cert: server.cert + garbage },
    { ...chain, cert: chain.cert + otherCa },
    { ...server, ca: otherCa + garbage },
    { ...server, ciphers: "NONE-SUCH" },
    { ...server, ciphersuites: "NONE-SUCH" },
    { ...server, dhParamsFile: "/nonexistent" },
    { minVersion: "TLSv1.3", maxVersion: "TLSv1.2" },
  ];
  await balanced(() => {
    const loop = new Loop({ backend: epoll });
    const context = loop.createContext({ tls: server });
    for (const tls of wrong) {
      assertThrows(() => loop.createContext({ tls }));
      assertThrows(() => context.addServerName("other.test", tls));
    }
    loop.free();
    return Promise.resolve();
  });
});

nativeTest("upgrades, those that fail too, leave nothing behind", async () => {
  const { server, ca, otherCa } = await testCertificates();
  await balanced(async () => {
    for (const clientTls of [{ ca }, { ca: otherCa }]) {
      await meetPlain({
        onOpen: (socket) => socket.upgradeTls(server),
        onHandshake: (socket) => socket.end(),
      }, { onOpen: (socket) => socket.upgradeTls(clientTls) });
    }
    await meetPlain({
      onOpen(socket) {
        assertThrows(() => socket.upgradeTls({ ca }), TypeError);
        assertThrows(() => socket.upgradeTls({ ...server, ciphers: "NONE-SUCH" }));
        socket.end();
      },
    }, {});
  });
});

for (const moment of ["onOpen", "onHandshake", "onData"] as const) {
  for (const how of ["close", "reset", "free the context", "free the loop"] as const) {
    nativeTest(`${how} in ${moment} leaves nothing behind`, async () => {
      const { server, ca } = await testCertificates();
      await balanced(async () => {
        const loop = new Loop({ backend: epoll });
        const act = (socket: Socket) => {
          listener.close();
          if (how === "free the loop") loop.free();
          else if (how === "free the context") socket.context.free();
          else socket[how]();
        };
        const listener = loop.createContext<unknown>({
          tls: server,
          socketExt: () => undefined,
          [moment]: act,
        }).listen({ host: "127.0.0.1", port: 0 });
        loop.createContext({
          tls: { ca },
          onOpen: (socket) => void socket.write("hello"),
        }).connect({ host: "127.0.0.1", port: listener.port });
        await runLoop(loop);
        loop.free();
      });
    });
  }
}
