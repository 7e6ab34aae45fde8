/** testssl.sh, which looks for what is weak, on servers with the default options. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { type BackendFactory, Loop, type TlsOptions } from "@usockets/usockets";
import { httpContext } from "../../examples/http_server.ts";
import { type CertifiedKey, rsaCertificate, testCertificates } from "../support/certificates.ts";
import { certificateFiles } from "./support/files.ts";
import { quit, sClient } from "./support/openssl.ts";
import { find } from "./support/preflight.ts";
import { BACKENDS, World } from "./support/world.ts";

/** A scan takes less than a minute: one that takes so long hangs, and is ended. */
const HANG_MS = 300_000;

/** One of the things that testssl.sh looked at. */
interface Finding {
  readonly id: string;
  readonly severity: string;
  readonly finding: string;
}

/** Protocols, categories of ciphers, forward secrecy, preferences, defaults, vulnerabilities, bugs. */
const CHECKS = ["-p", "-s", "-f", "-P", "-S", "-U", "--grease"];

/** What there must be, by id: in its versions testssl.sh names some of it in different ways. */
const EXPECTED: [id: RegExp, finding: RegExp][] = [
  [/^SSLv[23]$/, /^not offered$/],
  [/^TLS1(_1)?$/, /^not offered$/],
  [/^TLS1_2$/, /^offered$/],
  [/^TLS1_3$/, /^offered with final$/],
  [/^cipherlist_(NULL|aNULL|EXPORT|LOW|3DES_IDEA|AVERAGE|OBSOLETED)$/, /^not offered$/],
  [/^cipherlist_STRONG(_FS)?$/, /^offered$/],
  [/^P?FS$/, /^offered$/],
  [/^secure_renego$/, /^supported$/],
  [/^secure_client_renego$/, /^not vulnerable/],
  [/^CRIME_TLS$/, /^not vulnerable/],
  [/^LOGJAM-common_primes$/, /^no DH key/],
  [/^TLS_timestamp$/, /^random/],
  [/^scanTime$/, /^\d+$/], // it came to its end
];

/** What must be found all right. */
const ALL_RIGHT = "SSLv2 SSLv3 TLS1_2 TLS1_3 GREASE cipherlist_NULL cipherlist_aNULL " +
  "cipherlist_EXPORT cipherlist_LOW protocol_negotiated cipher_negotiated heartbleed CCS " +
  "ticketbleed ROBOT secure_renego secure_client_renego CRIME_TLS BREACH POODLE_SSL " +
  "fallback_SCSV SWEET32 FREAK DROWN LOGJAM BEAST LUCKY13 RC4";

/** How the backends differ. */
const OWN: Record<string, [id: RegExp, finding: RegExp][]> = {
  epoll: [
    [/^cipher_order$/, /^server/],
    [/^TLS_session_ticket$/, /^valid for 7200 seconds/],
    [/^sessionresumption_ID$/, /^not supported$/],
  ],
  deno: [
    [/^cipher_order$/, /^NOT a cipher order/],
    [/^TLS_session_ticket$/, /^(no|valid for \d+ seconds only \(<daily\))/],
  ],
};

/** What is bad but known: about the certificates of the tests. */
const ACCEPTED = ["cert_expirationStatus", "cert_notAfter", "cert_revocation"];

/** The scanner closes its connection before a ticket of TLS 1.3 has come, at times. */
const MISSED = "sessionresumption_ticket";

/** Has a server with this certificate scanned. */
async function scan(backend: BackendFactory, certificate: CertifiedKey): Promise<Finding[]> {
  using files = await certificateFiles();
  using loop = new Loop({ backend });
  const { context } = httpContext(loop, certificate as TlsOptions);
  const { port } = context.listen({ host: "127.0.0.1", port: 0 });
  const running = loop.run();
  const findings = files.directory.at("findings.json");
  const options = "--quiet --color 0 --warnings batch --ip 127.0.0.1 --nodns none " +
    "--connect-timeout 10 --openssl-timeout 10";
  const { stdout } = await new Deno.Command(find("testssl"), {
    args: [
      ...options.split(" "),
      ...["--add-ca", files.ca, "--jsonfile", findings],
      ...CHECKS,
      `localhost:${port}`,
    ],
    stdin: "null",
    stderr: "null",
    signal: AbortSignal.timeout(HANG_MS),
  }).output();
  await loop.shutdown({ graceSeconds: 0 });
  await running;
  const text = Deno.readTextFileSync(findings);
  assert(text.includes('"scanTime"'), new TextDecoder().decode(stdout));
  return JSON.parse(text);
}

/** The findings are those of a safe server. */
function assertSafe(name: string, findings: Finding[], accepted: string[]): void {
  const bad = findings.filter(({ id, severity }) =>
    !["OK", "INFO"].includes(severity) && !accepted.includes(id) &&
    !(id === MISSED && severity === "WARN")
  );
  assertEquals(bad, []);
  for (const [pattern, expected] of [...EXPECTED, ...OWN[name]]) {
    const some = findings.filter(({ id }) => pattern.test(id));
    assert(some.length > 0, `testssl.sh says nothing of ${pattern}`);
    for (const { id, finding } of some) assertMatch(finding, expected, id);
  }
  const right = findings.filter(({ severity }) => severity === "OK").map(({ id }) => id);
  assertEquals(ALL_RIGHT.split(" ").filter((id) => !right.includes(id)), []);
}

for (const [name, backend] of Object.entries(BACKENDS)) {
  Deno.test(`testssl.sh finds nothing weak in a server on ${name}`, async () => {
    // rustls chooses among what it has, all of it strong, in the client's order.
    const accepted = name === "deno" ? [...ACCEPTED, "cipher_order"] : ACCEPTED;
    const { server } = await testCertificates();
    const scans = await Promise.all([scan(backend, server), scan(backend, await rsaCertificate())]);
    for (const findings of scans) assertSafe(name, findings, accepted);
  });

  Deno.test(`a server on ${name} takes no early data`, async () => {
    const { server: tls } = await testCertificates();
    await using world = new World(backend);
    const server = world.server(tls, { echoes: true });
    await using peer = sClient(server.port, "-tls1_3");
    await peer.send("hello\n");
    await peer.until(/^hello\n/m); // behind the tickets, which say how much they allow
    await quit(peer);
    const allowed = [...peer.output.matchAll(/Max Early Data: (\d+)/g)].map(([, bytes]) => bytes);
    assertEquals([allowed.length > 0, new Set(allowed)], [true, new Set(["0"])]);
  });
}
