// deno-lint-ignore-file no-console -- it listens to what the program says
/** The mutual TLS example: its self-test, and the server from start to Ctrl-C. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { ExtendedKeyUsage } from "@peculiar/x509";
import type { TlsOptions } from "@usockets/usockets";
import {
  makeLeaf,
  makeTrialCertificates,
  type TrialCertificates,
} from "../../examples/support/certificates.ts";
import { startHere } from "../../examples/support/program.ts";
import { program as peerVerify } from "../../examples/peer_verify.ts";
import { testCertificates } from "../support/certificates.ts";
import { nativeTest } from "../support/native.ts";
import { readAll } from "../support/streams.ts";
import { Program, type ProgramResult, runProgram } from "../support/subprocess.ts";
import { epollProgramTest, PERMISSIONS } from "./programs.ts";

const PEER_VERIFY = new URL("../../examples/peer_verify.ts", import.meta.url);
const MODES = [[], ["--mode", "blocking"]];

function run(...args: string[]): Promise<ProgramResult> {
  return runProgram(PEER_VERIFY, { flags: PERMISSIONS, args });
}

// ---------------------------------------------------------------- the self-test

/** What both sides see of the three clients: handshake, code, reason or what was heard. */
const TABLES = {
  "TLSv1.3": [
    "trusted client TLSv1.3 0 hello, CN=trusted client",
    "server TLSv1.3 0 CN=trusted client",
    "untrusted client TLSv1.3 -3 ERR_SSL_TLSV1_ALERT_UNKNOWN_CA",
    "server - -3 UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
    "absent client TLSv1.3 -3 ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED",
    "server - -3 ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE",
  ],
  "TLSv1.2": [
    "trusted client TLSv1.2 0 hello, CN=trusted client",
    "server TLSv1.2 0 CN=trusted client",
    "untrusted client - -3 ERR_SSL_TLSV1_ALERT_UNKNOWN_CA",
    "server - -3 UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
    "absent client - -3 ERR_SSL_SSLV3_ALERT_HANDSHAKE_FAILURE",
    "server - -3 ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE",
  ],
};

for (const [version, table] of Object.entries(TABLES)) {
  for (const mode of MODES) {
    const args = ["--max-version", version, ...mode];
    epollProgramTest(`peer_verify ${args.join(" ")} sees what it must see`, async () => {
      const { code, stdout, stderr } = await run(...args);
      const lines = stdout.split("\n").map((line) => line.trim().replace(/ +/g, " "));
      assertEquals(lines.slice(1, 7), table);
      assertEquals(stdout.includes("In TLS 1.3 a client is done before"), version === "TLSv1.3");
      assertStringIncludes(stdout, "\nAll is as it must be.\n");
      assertEquals([code, stderr], [0, ""]);
    });
  }
}

/** Runs the self-test in this process with other certificates; what it says, and its exit code. */
async function tryWith(
  change: (certificates: TrialCertificates) => Partial<TrialCertificates>,
  tls: TlsOptions = {},
): Promise<[string, number]> {
  const made = await makeTrialCertificates();
  const certificates = { ...made, ...change(made) };
  const verdict = new SharedArrayBuffer(4);
  new Int32Array(verdict)[0] = 1;
  const lines: string[] = [];
  const { log } = console;
  console.log = (line: string) => void lines.push(line);
  try {
    await startHere(peerVerify, {
      backend: "epoll",
      isBlocking: false,
      host: "127.0.0.1",
      port: 0,
      tls: { ...certificates.server, ca: made.ca, ...tls },
      trial: { certificates, verdict },
      workers: 1,
    }).run();
  } finally {
    console.log = log;
  }
  return [lines.at(-1)!, new Int32Array(verdict)[0]];
}

nativeTest("peer_verify: an untrusted client that is let in is not as it must be", async () => {
  const [said, code] = await tryWith(({ trusted }) => ({ untrusted: trusted }));
  assertEquals([said, code], ["\nNot as it must be: the untrusted client.", 1]);
});

nativeTest("peer_verify: a trusted client that is refused is not as it must be", async () => {
  const [said, code] = await tryWith(({ untrusted }) => ({ trusted: untrusted }));
  assertEquals([said, code], ["\nNot as it must be: the trusted client.", 1]);
});

nativeTest("peer_verify: a client refused for another reason is not as it must be", async () => {
  const selfSigned = await makeLeaf({ commonName: "x", usage: ExtendedKeyUsage.clientAuth });
  const [said, code] = await tryWith(() => ({ untrusted: selfSigned }));
  assertEquals([said, code], ["\nNot as it must be: the untrusted client.", 1]);
});

nativeTest("peer_verify: a server that lets in everybody is not as it must be", async () => {
  const everybody = { rejectUnauthorized: false };
  assertEquals(await tryWith(() => ({}), everybody), [
    "\nNot as it must be: the untrusted and the absent client.",
    1,
  ]);
  const { trusted } = await makeTrialCertificates(); // has the name, and another authority
  assertEquals(await tryWith(() => ({ trusted }), everybody), [
    "\nNot as it must be: the trusted and the untrusted and the absent client.",
    1,
  ]);
});

nativeTest(
  "peer_verify: clients that do not trust the server are not as they must be",
  async () => {
    const { ca } = await makeTrialCertificates();
    const [said, code] = await tryWith(() => ({ ca }));
    const all = "trusted and the untrusted and the absent";
    assertEquals([said, code], [`\nNot as it must be: the ${all} client.`, 1]);
  },
);

nativeTest("peer_verify: an unchanged trial in process is as it must be", async () => {
  assertEquals(await tryWith(() => ({})), ["\nAll is as it must be.", 0]);
});

// ---------------------------------------------------------------- the server

/** Starts a server with files of its own. */
async function withServer(
  args: string[],
  test: (program: Program, port: number) => Promise<void>,
): Promise<void> {
  const { ca, server } = await testCertificates();
  const directory = await Deno.makeTempDir();
  const file = async (name: string, text: string) => {
    await Deno.writeTextFile(`${directory}/${name}`, text);
    return [`--${name}`, `${directory}/${name}`];
  };
  const files = [
    ...await file("ca", ca),
    ...await file("cert", server.cert),
    ...await file("key", server.key),
  ];
  const program = new Program(PEER_VERIFY, { flags: PERMISSIONS, args: [...files, ...args] });
  try {
    const line = await program.line();
    const port = Number(/^Listening on tls:\/\/127\.0\.0\.1:(\d+)$/.exec(line)![1]);
    await test(program, port);
    program.signal("SIGINT");
    assertEquals(await program.line(), "Shutting down, in 5 s at the latest");
    assertEquals(await program.ended(), 0);
  } finally {
    await program.kill();
    await Deno.remove(directory, { recursive: true });
  }
}

/** Connects as a client, and reads until the server ends; "" when it refuses. */
async function visit(port: number, pair: { cert?: string; key?: string } = {}): Promise<string> {
  const { ca } = await testCertificates();
  const caCerts = [ca];
  const { cert, key } = pair;
  const options = cert && key ? { caCerts, cert, key } : { caCerts };
  const conn = await Deno.connectTls({ hostname: "localhost", port, ...options });
  try {
    return new TextDecoder().decode(await readAll(conn));
  } catch {
    return "";
  } finally {
    conn.close();
  }
}

/** What it says of a client, but for the port that this has. */
async function told(program: Program): Promise<string> {
  const line = await program.line();
  assert(/ 127\.0\.0\.1:\d+[,:]/.test(line), line);
  return line.replace(/ 127\.0\.0\.1:\d+/, "");
}

for (const mode of MODES) {
  const name = ["peer_verify --ca --cert --key", ...mode].join(" ");
  epollProgramTest(`${name} tells who connected, and why others were refused`, async () => {
    const { client, otherClient } = await testCertificates();
    const { fingerprint256 } = new X509Certificate(client.cert);
    await withServer(mode, async (program, port) => {
      assertEquals(await visit(port, client), "hello, CN=test client\n");
      assertEquals(
        await told(program),
        `accepted, TLSv1.3: CN=test client (SHA-256 ${fingerprint256})`,
      );
      assertEquals(await visit(port, otherClient), "");
      assertEquals(await told(program), "refused: UNABLE_TO_GET_ISSUER_CERT_LOCALLY");
      assertEquals(await visit(port), "");
      assertEquals(await told(program), "refused: ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE");
      (await Deno.connect({ hostname: "127.0.0.1", port })).close(); // says nothing, and goes
      assert((await told(program)).startsWith("lost: Cannot "));
    });
  });
}

epollProgramTest(
  "peer_verify --let-in lets all in, and tells what is wrong with them",
  async () => {
    const { client, otherClient } = await testCertificates();
    const fingerprint = (pem: string) => `(SHA-256 ${new X509Certificate(pem).fingerprint256})`;
    await withServer(["--let-in", "--max-version", "TLSv1.2"], async (program, port) => {
      assertEquals(await visit(port, client), "hello, CN=test client\n");
      assertEquals(
        await told(program),
        `accepted, TLSv1.2: CN=test client ${fingerprint(client.cert)}`,
      );
      assertEquals(await visit(port, otherClient), "hello, CN=other client\n");
      assertEquals(
        await told(program),
        `let in, TLSv1.2: CN=other client ${fingerprint(otherClient.cert)}: ` +
          "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
      );
      assertEquals(await visit(port), "hello, stranger without a certificate\n");
      assertEquals(await told(program), "let in, TLSv1.2: stranger without a certificate");
    });
  },
);

// ---------------------------------------------------------------- a user's mistakes

for (
  const [name, args, message] of [
    [
      "the Deno backend",
      ["--backend", "deno"],
      'Cannot use the TLS option "requestCert": ' +
      "the deno backend does not support it (the epoll backend does)",
    ],
    ["files that are not complete", ["--ca", "x"], "--ca, --cert and --key need each other"],
    [
      "--let-in without files",
      ["--let-in"],
      "--let-in and --passphrase need --ca, --cert and --key",
    ],
    [
      "a version that is none",
      ["--max-version", "3"],
      "--max-version must be TLSv1.2 or TLSv1.3, not 3",
    ],
    [
      "a missing file",
      ["--ca", "/no/ca.pem", "--cert", "/no/cert.pem", "--key", "/no/key.pem"],
      "Cannot read the ",
    ],
  ] as const
) {
  epollProgramTest(`peer_verify tells ${name} in one line`, async () => {
    const { code, stdout, stderr } = await run(...args);
    const beginning = `error: ${message}`;
    assertEquals([stderr.slice(0, beginning.length), code, stdout], [beginning, 1, ""]);
    assertEquals(stderr.split("\n").length, 2, stderr);
  });
}

epollProgramTest("peer_verify shows its flags with --help", async () => {
  const { code, stdout } = await run("--help");
  assertEquals(code, 0);
  const flags = stdout.matchAll(/^ {2}(--[a-z-]+) /gm).map(([, flag]) => flag);
  assertEquals(
    [...flags].join(" "),
    "--ca --cert --key --passphrase --let-in --max-version --host --port --backend --mode --help",
  );
});
