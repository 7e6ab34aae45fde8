// TLS options on the Deno backend: what is wrong is said when the context is made, in one line that
// names the thing; what is right works end to end.
import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { Loop, type TlsOptions } from "@usockets/usockets";
import { createPrivateKey } from "node:crypto";
import { setImmediate } from "node:timers";
import { testCertificates } from "../support/certificates.ts";
import { modUrl, runProgram } from "../support/subprocess.ts";
import { workFor } from "../support/work.ts";

const strict = { sanitizeOps: true, sanitizeResources: true };

type ErrorClass = new (message: string) => Error;

/** Expects no context, and an error of one clear line that names everything listed. */
function assertRefused(tls: TlsOptions, Class: ErrorClass, ...named: string[]): void {
  using loop = new Loop();
  const { message } = assertThrows(() => loop.createContext({ tls }), Class);
  assertMatch(message, /^Cannot /);
  assertFalse(message.includes("\n"), message);
  assertFalse(/PRIVATE KEY-----|undefined|\[object/.test(message), message);
  for (const name of named) assertStringIncludes(message, name);
  assertEquals(loop.contexts.size, 0, "the loop kept the context");
}

/** Sends a word from a client to a server and back. */
async function assertEchoes(serverTls: TlsOptions, clientTls: TlsOptions): Promise<void> {
  const loop = new Loop();
  const server = loop.createContext({
    tls: serverTls,
    onData: (socket, data) => void socket.write(data),
  });
  const listener = server.listen({ host: "127.0.0.1", port: 0 });
  let answer = "", reason: unknown;
  const client = loop.createContext({
    tls: clientTls,
    onHandshake: (socket) => void socket.write("hello"),
    onData(socket, data) {
      answer += new TextDecoder().decode(data);
      if (answer.length === 5) socket.end();
    },
    onClose(_socket, _code, why) {
      reason = why;
      listener.close();
    },
  });
  client.connect({ host: "127.0.0.1", port: listener.port });
  await loop.run();
  loop.free();
  assertEquals([answer, reason], ["hello", undefined]);
}

/** A directory with these files, for the time of a test. */
class Directory {
  readonly path = Deno.makeTempDirSync();

  write(name: string, text: string): string {
    Deno.writeTextFileSync(`${this.path}/${name}`, text);
    return `${this.path}/${name}`;
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

const garbage = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n";
const garbageKey = "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----\n";

Deno.test("createContext() names a missing file", strict, async () => {
  const { server: { cert, key } } = await testCertificates();
  const file = "/nonexistent/the.pem";
  const { NotFound } = Deno.errors;
  assertRefused({ certFile: file, key }, NotFound, "certificate", file);
  assertRefused({ cert, keyFile: file }, NotFound, "private key", file);
  assertRefused({ caFile: file }, NotFound, "CA", file);
});

Deno.test("createContext() refuses a certificate that is none", strict, async () => {
  const { server: { key, cert: good } } = await testCertificates();
  using directory = new Directory();
  for (const cert of ["", "nonsense", garbage, key, good + garbage]) {
    assertRefused({ cert, key }, Deno.errors.InvalidData, "certificate");
  }
  const certFile = directory.write("cert.pem", garbage);
  assertRefused({ certFile, key }, Deno.errors.InvalidData, "certificate", certFile);
});

Deno.test("createContext() refuses a key that is none", strict, async () => {
  const { server: { cert } } = await testCertificates();
  using directory = new Directory();
  for (const key of ["", "nonsense", garbageKey, cert]) {
    assertRefused({ cert, key }, Deno.errors.InvalidData, "private key");
  }
  const keyFile = directory.write("key.pem", garbageKey);
  assertRefused({ cert, keyFile }, Deno.errors.InvalidData, "private key", keyFile);
});

Deno.test("createContext() refuses authorities that are none", strict, async () => {
  const { server: { key }, ca } = await testCertificates();
  using directory = new Directory();
  for (const none of ["", "nonsense", garbage, key, ca + garbage]) {
    assertRefused({ ca: none }, Deno.errors.InvalidData, "CA");
  }
  const caFile = directory.write("ca.pem", "nonsense");
  assertRefused({ caFile }, Deno.errors.InvalidData, "CA", caFile);
});

Deno.test("createContext() asks for the passphrase of an encrypted key", strict, async () => {
  const { serverEncrypted: { cert, key } } = await testCertificates();
  using directory = new Directory();
  const keyFile = directory.write("key.pem", key);
  const { InvalidData } = Deno.errors;
  assertRefused({ cert, key }, InvalidData, "private key", "passphrase");
  assertRefused({ cert, keyFile }, InvalidData, keyFile, "passphrase");
  assertRefused({ cert, keyFile, passphrase: "wrong" }, InvalidData, keyFile, "wrong passphrase");
  assertRefused({ cert, key, passphrase: "" }, InvalidData, "private key", "passphrase");
});

Deno.test("createContext() refuses a key of another certificate", strict, async () => {
  const { mismatchedKey, client, server } = await testCertificates();
  const { InvalidData } = Deno.errors;
  assertRefused(mismatchedKey, InvalidData, "private key", "certificate");
  assertRefused({ cert: server.cert, key: client.key }, InvalidData, "private key", "certificate");
});

Deno.test("createContext() wants the certificate and the key together", strict, async () => {
  const { server: { cert, key } } = await testCertificates();
  assertRefused({ cert }, TypeError, "private key");
  assertRefused({ key }, TypeError, "certificate");
});

Deno.test("createContext() takes each thing from memory or from a file", strict, async () => {
  const { server: { cert, key }, ca } = await testCertificates();
  using directory = new Directory();
  const file = directory.write("x.pem", cert);
  assertRefused({ cert, certFile: file, key }, TypeError, '"cert"', '"certFile"');
  assertRefused({ cert, key, keyFile: file }, TypeError, '"key"', '"keyFile"');
  assertRefused({ ca, caFile: file }, TypeError, '"ca"', '"caFile"');
});

Deno.test("createContext() refuses ALPN protocols that cannot be sent", strict, () => {
  assertRefused({ alpnProtocols: [""] }, TypeError, "ALPN");
  assertRefused({ alpnProtocols: ["h2", "x".repeat(256)] }, TypeError, "ALPN");
  assertRefused({ alpnProtocols: [1 as unknown as string] }, TypeError, "ALPN");
  // what counts is bytes
  assertRefused({ alpnProtocols: ["µ".repeat(128)] }, TypeError, "ALPN");
});

Deno.test("createContext() refuses a negative handshake timeout", strict, () => {
  assertRefused({ handshakeTimeoutSeconds: -1 }, RangeError, "handshakeTimeoutSeconds");
});

Deno.test("an encrypted key serves with its passphrase", strict, async () => {
  const { serverEncrypted, server, ca } = await testCertificates();
  await assertEchoes(serverEncrypted, { ca });
  // the older format, which says so in a header
  const key = createPrivateKey(server.key).export({
    type: "sec1",
    format: "pem",
    cipher: "aes-256-cbc",
    passphrase: "secret",
  }).toString();
  assertStringIncludes(key, "Proc-Type: 4,ENCRYPTED");
  await assertEchoes({ cert: server.cert, key, passphrase: "secret" }, { ca });
});

Deno.test("a passphrase does no harm to a key that has none", strict, async () => {
  const { server, ca } = await testCertificates();
  await assertEchoes({ ...server, passphrase: "not needed" }, { ca });
});

Deno.test("certFile, keyFile and caFile serve", strict, async () => {
  const { serverEncrypted: { cert, key, passphrase }, ca } = await testCertificates();
  using directory = new Directory();
  const certFile = directory.write("cert.pem", cert);
  const keyFile = directory.write("key.pem", key);
  const caFile = directory.write("ca.pem", ca);
  await assertEchoes({ certFile, keyFile, passphrase }, { caFile });
});

Deno.test("several authorities in one text are all trusted", strict, async () => {
  const { server, selfSigned, ca } = await testCertificates();
  await assertEchoes(server, { ca: selfSigned.cert + ca });
  await assertEchoes(server, { ca: ca + selfSigned.cert });
});

Deno.test("createContext() without --allow-read throws NotCapable and opens nothing", async () => {
  using directory = new Directory();
  const caFile = directory.write("ca.pem", "secret");
  const { code, stdout, stderr } = await runProgram(
    `
    import { Loop } from "${modUrl}";
    using loop = new Loop();
    for (const name of ["caFile", "certFile", "keyFile"]) {
      try {
        loop.createContext({ tls: { [name]: Deno.args[0] } });
        console.log("no error");
      } catch (error) {
        const { message } = error;
        console.log(error instanceof Deno.errors.NotCapable, message.includes(Deno.args[0]),
          message.includes("\\n"));
      }
    }`,
    { flags: [], args: [caFile] },
  );
  assertEquals([code, stdout], [0, "true true false\n".repeat(3)], stderr);
});

Deno.test("listen() on a TLS context without a certificate throws TypeError", strict, async () => {
  const { ca } = await testCertificates();
  using loop = new Loop();
  const context = loop.createContext({ tls: { ca } });
  const listen = () => context.listen({ host: "127.0.0.1", port: 0 });
  const { message } = assertThrows(listen, TypeError, "certificate");
  assertFalse(message.includes("\n"));
  assert(!loop.isActive);
  await loop.run();
});

Deno.test("denoConn: a thread whose turns take long accepts several TLS clients in each", async () => {
  const { ca, server: { cert, key } } = await testCertificates();
  const count = 60;
  let turn = 0;
  const acceptedIn = new Set<number>();
  let agreed = 0;
  const loop = new Loop();
  const onHandshake = () => void (++agreed === 2 * count && loop.free());
  const listener = loop.createContext({
    tls: { cert, key },
    onOpen: () => void acceptedIn.add(turn),
    onHandshake,
  }).listen({ host: "127.0.0.1", port: 0 });
  const client = loop.createContext({ tls: { ca, serverName: "localhost" }, onHandshake });
  for (let i = 0; i < count; i++) client.connect({ host: "127.0.0.1", port: listener.port });
  const beBusy = () => {
    if (loop.isFreed) return;
    turn++;
    workFor(20);
    setImmediate(beBusy);
  };
  setImmediate(beBusy);
  await loop.run();
  assert(acceptedIn.size < count / 2, `${acceptedIn.size} turns`); // it was one in each
});
