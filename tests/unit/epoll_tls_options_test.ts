// TLS options on the epoll backend that are wrong: said when the context is made, in one line that
// names the thing.
import { assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { assertThrows } from "@std/assert";
import { epoll, Loop, type TlsOptions } from "@usockets/usockets";
import { createPrivateKey } from "node:crypto";
import { rsaCertificate, testCertificates } from "../support/certificates.ts";
import { isLinux, nativeTest } from "../support/native.ts";
import { modUrl, runProgram } from "../support/subprocess.ts";
import { assertAgreed, exchange } from "../support/tls_ends.ts";

const { InvalidData, NotFound } = Deno.errors;

/** Expects no context, and an error of one clear line that names everything listed. */
function assertRefused(
  tls: TlsOptions,
  Class: new (message: string) => Error,
  ...named: string[]
): void {
  using loop = new Loop({ backend: epoll });
  const { message } = assertThrows(() => loop.createContext({ tls }), Class);
  assertMatch(message, /^Cannot /);
  assertFalse(/\n|PRIVATE KEY-----|undefined|\[object/.test(message), message);
  for (const name of named) assertStringIncludes(message, name);
}

/** A directory for the time of a test; writes texts into files of it. */
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

nativeTest("a file that is not there is named, and what it was for", async () => {
  const { server: { cert, key } } = await testCertificates();
  const file = "/nonexistent/the.pem";
  assertRefused({ certFile: file, key }, NotFound, "certificate", file);
  assertRefused({ cert, keyFile: file }, NotFound, "private key", file);
  assertRefused({ caFile: file }, NotFound, "CA", file);
  assertRefused({ cert, key, dhParamsFile: file }, NotFound, "Diffie-Hellman", file);
});

nativeTest("a certificate that is none is refused", async () => {
  const { server: { key, cert: good } } = await testCertificates();
  using directory = new Directory();
  const cut = good.slice(0, good.length >> 1);
  for (const cert of ["", "nonsense", garbage, key, good + garbage, cut, good + cut]) {
    assertRefused({ cert, key }, InvalidData, "certificate");
  }
  const certFile = directory.write("cert.pem", garbage);
  assertRefused({ certFile, key }, InvalidData, "certificate", certFile);
});

nativeTest("a key that is none is refused", async () => {
  const { server: { cert, key: good } } = await testCertificates();
  using directory = new Directory();
  for (const key of ["", "nonsense", garbageKey, cert, good.slice(0, good.length >> 1)]) {
    assertRefused({ cert, key }, InvalidData, "private key");
  }
  const keyFile = directory.write("key.pem", garbageKey);
  assertRefused({ cert, keyFile }, InvalidData, "private key", keyFile);
});

nativeTest("authorities that are none are refused", async () => {
  const { server: { key }, ca } = await testCertificates();
  using directory = new Directory();
  for (const none of ["", "nonsense", garbage, key, ca + garbage]) {
    assertRefused({ ca: none }, InvalidData, "CA");
  }
  for (const none of ["", "nonsense", garbage]) {
    const caFile = directory.write("ca.pem", none);
    assertRefused({ caFile }, InvalidData, "CA", caFile);
  }
});

nativeTest("Diffie-Hellman parameters that are none are refused", async () => {
  const { server } = await testCertificates();
  using directory = new Directory();
  const { cert } = server;
  for (const none of ["", "nonsense", cert, garbage.replaceAll("CERTIFICATE", "DH PARAMETERS")]) {
    const dhParamsFile = directory.write("dh.pem", none);
    assertRefused({ ...server, dhParamsFile }, InvalidData, "Diffie-Hellman", dhParamsFile);
  }
});

nativeTest("an encrypted key needs its passphrase", async () => {
  const { serverEncrypted: { cert, key }, server } = await testCertificates();
  using directory = new Directory();
  const keyFile = directory.write("key.pem", key);
  assertRefused({ cert, key }, InvalidData, "private key", "needs a passphrase");
  assertRefused({ cert, keyFile }, InvalidData, keyFile, "needs a passphrase");
  assertRefused({ cert, keyFile, passphrase: "wrong" }, InvalidData, keyFile, "wrong passphrase");
  assertRefused({ cert, key, passphrase: "" }, InvalidData, "private key", "passphrase");
  const old = sec1(server.key, "secret");
  assertRefused({ cert, key: old }, InvalidData, "private key", "needs a passphrase");
  assertRefused({ cert, key: old, passphrase: "wrong" }, InvalidData, "wrong passphrase");
});

/** The key in the older format, which says in a header that it is encrypted. */
function sec1(key: string, passphrase: string): string {
  const options = { type: "sec1", format: "pem", cipher: "aes-256-cbc", passphrase } as const;
  const text = createPrivateKey(key).export(options).toString();
  assertStringIncludes(text, "Proc-Type: 4,ENCRYPTED");
  return text;
}

Deno.test({
  name: "nobody is asked for a passphrase at the terminal",
  ignore: !isLinux,
  async fn() {
    const { serverEncrypted: { cert, key } } = await testCertificates();
    // A pseudo-terminal of its own would be what OpenSSL asks at; it must not even try to open one.
    const { code, stdout, stderr } = await runProgram(
      `
      import { epoll, Loop } from "${modUrl}";
      const [cert, key] = Deno.args;
      for (const passphrase of [undefined, "", "wrong"]) {
        try {
          new Loop({ backend: epoll }).createContext({ tls: { cert, key, passphrase } });
        } catch (error) {
          console.log(error.constructor.name);
        }
      }`,
      { flags: ["--allow-ffi"], args: [cert, key] },
    );
    assertEquals([code, stdout, stderr], [0, "InvalidData\n".repeat(3), ""]);
  },
});

nativeTest("a key of another certificate is refused", async () => {
  const { mismatchedKey, client, server } = await testCertificates();
  const rsa = await rsaCertificate();
  assertRefused(mismatchedKey, InvalidData, "private key", "certificate");
  assertRefused({ cert: server.cert, key: client.key }, InvalidData, "private key", "certificate");
  assertRefused({ cert: server.cert, key: rsa.key }, InvalidData, "private key");
  assertRefused({ cert: rsa.cert, key: server.key }, InvalidData, "private key");
});

nativeTest("the certificate and the key come together", async () => {
  const { server: { cert, key } } = await testCertificates();
  assertRefused({ cert }, TypeError, "private key");
  assertRefused({ key }, TypeError, "certificate");
});

nativeTest("each thing comes from memory or from a file", async () => {
  const { server: { cert, key }, ca } = await testCertificates();
  using directory = new Directory();
  const file = directory.write("x.pem", cert);
  assertRefused({ cert, certFile: file, key }, TypeError, '"cert"', '"certFile"');
  assertRefused({ cert, key, keyFile: file }, TypeError, '"key"', '"keyFile"');
  assertRefused({ ca, caFile: file }, TypeError, '"ca"', '"caFile"');
});

nativeTest("a chain of which one link did not issue the one before is refused", async () => {
  const { chain, intermediate, server, ca, otherCa } = await testCertificates();
  const { key } = chain;
  const leaf = chain.cert.replace(intermediate, "");
  for (const cert of [leaf + ca, leaf + intermediate + otherCa, leaf + ca + intermediate]) {
    assertRefused({ cert, key }, InvalidData, "certificate", "chain is broken");
  }
  assertRefused({ cert: server.cert + otherCa, key: server.key }, InvalidData, "number 2");
  // An authority in front has another key.
  assertRefused({ cert: intermediate + leaf, key }, InvalidData, "certificate");
});

nativeTest("ciphers and ciphersuites that do not exist are refused by name", () => {
  for (const none of ["NO-SUCH-CIPHER", "", ":"]) {
    assertRefused({ ciphers: none }, InvalidData, `"ciphers"`, none);
  }
  assertRefused({ ciphersuites: "TLS_NO_SUCH" }, InvalidData, `"ciphersuites"`, "TLS_NO_SUCH");
});

nativeTest("minVersion must not be higher than maxVersion", () => {
  const { name } = RangeError;
  assertEquals(name, "RangeError");
  assertRefused(
    { minVersion: "TLSv1.3", maxVersion: "TLSv1.2" },
    RangeError,
    "TLSv1.3",
    "TLSv1.2",
  );
  assertRefused({ maxVersion: "TLSv1.1" }, RangeError, "minVersion", "TLSv1.2"); // the default
  assertRefused({ minVersion: "SSLv3" as "TLSv1" }, TypeError, "minVersion", "SSLv3");
});

nativeTest("options of other names, kinds and ranges are refused", () => {
  const wrong: [Record<string, unknown>, string][] = [
    [{ certFle: "x" }, "certFle"],
    [{ CertFile: "x" }, `"certFile"`],
    [{ servername: "x" }, `"serverName"`],
    [{ caCerts: "x" }, `"ca"`],
    [{ alpn: ["h2"] }, `"alpnProtocols"`],
    [{ ciphers: 5 }, "ciphers"],
    [{ ciphers: "ALL\0" }, "ciphers"],
    [{ ciphersuites: "TLS_AES_128_GCM_SHA256\0x" }, "ciphersuites"],
    [{ passphrase: "secret\0more" }, "passphrase"],
    [{ serverName: "localhost\0.other.test" }, "serverName"],
    [{ certFile: "a\0b" }, "certFile"],
    [{ keyFile: "a\0b" }, "keyFile"],
    [{ caFile: "a\0b" }, "caFile"],
    [{ dhParamsFile: "a\0b" }, "dhParamsFile"],
    [{ alpnProtocols: "h2" }, "alpnProtocols"],
    [{ alpnProtocols: [""] }, "ALPN"],
    [{ alpnProtocols: ["µ".repeat(128)] }, "ALPN"],
  ];
  for (const [tls, named] of wrong) assertRefused(tls, TypeError, named);
  for (const handshakeTimeoutSeconds of [-1, NaN, "5"]) {
    const tls = { handshakeTimeoutSeconds } as TlsOptions;
    assertRefused(tls, RangeError, "handshakeTimeoutSeconds");
  }
});

nativeTest("a passphrase that is refused is not told to the log", () => {
  using loop = new Loop({ backend: epoll });
  const tls = { passphrase: "top secret\0" };
  const { message } = assertThrows(() => loop.createContext({ tls }), TypeError);
  assertFalse(message.includes("top secret"), message);
});

nativeTest("connect() refuses a serverName that is none", async () => {
  const { ca } = await testCertificates();
  using loop = new Loop({ backend: epoll });
  const context = loop.createContext({ tls: { ca } });
  for (const serverName of ["localhost\0.other.test", 5 as unknown as string]) {
    assertThrows(() => context.connect({ port: 1, serverName }), TypeError, "server name");
  }
  assertThrows(
    () => loop.createContext().connect({ port: 1, serverName: "localhost" }),
    TypeError,
    "tls",
  );
});

nativeTest("to listen a TLS context needs a certificate", async () => {
  const { ca } = await testCertificates();
  using loop = new Loop({ backend: epoll });
  const context = loop.createContext({ tls: { ca } });
  const listen = () => context.listen({ host: "127.0.0.1", port: 0 });
  assertThrows(listen, TypeError, "certificate");
  assertThrows(() => context.addServerName("other.test", { ca }), TypeError, "certificate");
});

nativeTest("certFile, keyFile and caFile serve, one file for two of them too", async () => {
  const { serverEncrypted: { cert, key, passphrase }, ca } = await testCertificates();
  using directory = new Directory();
  const certFile = directory.write("cert.pem", cert);
  const keyFile = directory.write("key.pem", key);
  const caFile = directory.write("ca.pem", ca);
  const both = directory.write("both.pem", key + cert);
  assertAgreed(await exchange({ certFile, keyFile, passphrase }, { caFile }));
  assertAgreed(await exchange({ certFile: both, keyFile: both, passphrase }, { caFile }));
});

nativeTest("keys serve in every format", async () => {
  const { server: { cert, key }, ca } = await testCertificates();
  const parameters =
    "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n";
  const plain = createPrivateKey(key).export({ type: "sec1", format: "pem" }).toString();
  assertAgreed(await exchange({ cert, key: parameters + plain }, { ca }));
  assertAgreed(
    await exchange({ cert, key: sec1(key, "µ secret"), passphrase: "µ secret" }, { ca }),
  );
  assertAgreed(await exchange({ cert, key, passphrase: "not needed" }, { ca }));
  const crlf = (text: string) => text.replaceAll("\n", "\r\n");
  assertAgreed(await exchange({ cert: crlf(cert), key: crlf(key) }, { ca: crlf(ca) }));
});

Deno.test({
  name: "files are read with Deno's permissions",
  ignore: !isLinux,
  async fn() {
    using directory = new Directory();
    const { server: { cert, key }, ca } = await testCertificates();
    const files = {
      certFile: directory.write("cert.pem", cert),
      keyFile: directory.write("key.pem", key),
      caFile: directory.write("ca.pem", ca),
      dhParamsFile: directory.write("dh.pem", "none"),
    };
    const program = `
      import { epoll, Loop } from "${modUrl}";
      const loop = new Loop({ backend: epoll });
      const files = JSON.parse(Deno.args[0]);
      for (const name in files) {
        try {
          loop.createContext({ tls: { [name]: files[name] } });
          console.log(name, "no error");
        } catch (error) {
          console.log(name, error.constructor.name, error.message.includes(files[name]));
        }
      }`;
    const outcome = async (flags: string[]) => {
      const args = [JSON.stringify(files)];
      const { stdout } = await runProgram(program, { flags: ["--allow-ffi", ...flags], args });
      return stdout.trimEnd().split("\n");
    };
    assertEquals(await outcome([]), Object.keys(files).map((name) => `${name} NotCapable true`));
    assertEquals(await outcome([`--allow-read=${files.caFile}`]), [
      "certFile NotCapable true",
      "keyFile NotCapable true",
      "caFile no error",
      "dhParamsFile NotCapable true",
    ]);
  },
});
