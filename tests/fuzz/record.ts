/**
 * Records anew what real clients and this library's server say to each other, into `corpora/tls/`:
 *
 *     deno run --allow-all tests/fuzz/record.ts
 *
 * Needs Linux and what the interoperability tests need: openssl, curl, node and chromium.
 */
// deno-lint-ignore-file no-console -- this is a program
import { denoConn, epoll, Loop, type Socket, type TlsOptions } from "@usockets/usockets";
import { chromium } from "playwright-core";
import { certificateFiles } from "../interop/support/files.ts";
import { PeerProcess } from "../interop/support/peer_process.ts";
import { find } from "../interop/support/preflight.ts";
import { testCertificates } from "../support/certificates.ts";
import { concat, writeAll } from "../support/streams.ts";
import { type Flight, keep, type Recording } from "./support/recordings.ts";

const hostname = "127.0.0.1";
const NAME = "www.example.test";
const certificates = await testCertificates();

function answer(socket: Socket): void {
  socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  socket.end();
}

/** Runs a client against a server of ours, through a tap. */
async function record(
  recording: Omit<Recording, "flights">,
  tls: TlsOptions,
  run: (port: number) => Promise<unknown>,
  backend = epoll,
): Promise<void> {
  const loop = new Loop({ backend });
  const listener = loop.createContext({
    tls: { ...certificates.server, ...tls },
    onData: answer,
  }).listen({ host: hostname, port: 0 });
  const running = loop.run();
  const tap = Deno.listen({ hostname, port: 0 });
  const flights: Flight[] = [];
  const taken = tap.accept().then(async (front) => {
    tap.close(); // a client that comes again finds nobody
    const back = await Deno.connect({ hostname, port: listener.port });
    await Promise.all([pass(front, back, "client", flights), pass(back, front, "server", flights)]);
    front.close();
    back.close();
  });
  await run(tap.addr.port).catch(() => {}); // many do not like the certificate
  await taken;
  listener.close();
  await running;
  loop.free();
  keep({ ...recording, flights });
  console.log(recording.name, flights.map(({ from, bytes }) => `${from} ${bytes.length}`).join());
}

/** Passes on what comes, and notes it. */
async function pass(
  from: Deno.TcpConn,
  to: Deno.TcpConn,
  side: Flight["from"],
  flights: Flight[],
): Promise<void> {
  const buffer = new Uint8Array(65_536);
  try {
    for (let n = await from.read(buffer); n !== null; n = await from.read(buffer)) {
      const last = flights.at(-1), bytes = buffer.slice(0, n);
      if (last?.from !== side) flights.push({ from: side, bytes });
      else flights[flights.length - 1] = { from: side, bytes: concat([last.bytes, bytes]).slice() };
      await writeAll(to, bytes);
    }
    await to.closeWrite();
  } catch { // one of them is gone
  }
}

/** Runs a program that ends by itself. */
async function ended(program: string, ...args: string[]): Promise<void> {
  await using peer = new PeerProcess(program, args);
  await peer.send("GET / HTTP/1.0\n\nQ\n");
  await peer.ended();
}

function versionOf(program: string, ...args: string[]): string {
  const { stdout } = new Deno.Command(find(program), { args }).outputSync();
  return new TextDecoder().decode(stdout).split(/\s*\n| Library/)[0].replace(/[ (]+$/, "");
}

using files = await certificateFiles();

const openssl = versionOf("openssl", "version");
const sClient = (...args: string[]) => (port: number) =>
  ended("openssl", "s_client", "-connect", `${hostname}:${port}`, "-quiet", "-no_ign_eof", ...args);
const clientCert = ["-cert", files.client.cert, "-key", files.client.key];
for (const version of ["tls1_2", "tls1_3"]) {
  const kind = version.replace("_", "");
  const named = { client: openssl, serverName: NAME };
  await record(
    { name: `openssl_${kind}`, client: openssl, serverName: "" },
    {},
    (port) => sClient(`-${version}`, "-noservername")(port),
  );
  await record(
    { name: `openssl_${kind}_client_certificate`, ...named },
    { requestCert: true, ca: certificates.ca, alpnProtocols: ["http/1.1"] },
    sClient(`-${version}`, "-servername", NAME, "-alpn", "h2,http/1.1", ...clientCert),
  );
}
// The client's guess is a group that rustls does not have: it answers with a HelloRetryRequest.
await record(
  { name: "openssl_tls13_retry", client: openssl, serverName: NAME },
  {},
  sClient("-tls1_3", "-servername", NAME, "-curves", "P-521:P-256"),
  denoConn,
);

/** Two connections, of which the second resumes the first one's session. */
const session = files.directory.at("session.pem");
for (const version of ["tls1_2", "tls1_3"]) {
  // The keys of tickets live in a context, so the second finds none: it is what it offers that counts.
  await record(
    { name: `openssl_${version.replace("_", "")}_ticket`, client: openssl, serverName: NAME },
    {},
    async (port) => {
      const args = [`-${version}`, "-servername", NAME];
      const loop = new Loop({ backend: epoll });
      const first = loop.createContext({
        tls: certificates.server,
        onData: answer,
      }).listen({ host: hostname, port: 0 });
      const running = loop.run();
      await sClient(...args, "-sess_out", session)(first.port);
      first.close();
      await running;
      loop.free();
      await sClient(...args, "-sess_in", session)(port);
    },
  );
}

const curl = versionOf("curl", "--version").split(" ").slice(0, 2).join(" ");
for (const [kind, version] of [["tls12", "1.2"], ["tls13", "1.3"]]) {
  await record(
    { name: `curl_${kind}`, client: curl, serverName: NAME },
    { alpnProtocols: ["http/1.1"] },
    (port) =>
      ended(
        ...["curl", "--insecure", "--max-time", "5", "--resolve", `${NAME}:${port}:${hostname}`],
        ...[`--tlsv${version}`, "--tls-max", version, `https://${NAME}:${port}/`],
      ),
  );
}

const node = `node ${versionOf("node", "--version")}`;
for (const version of ["TLSv1.2", "TLSv1.3"]) {
  const name = `node_${version.toLowerCase().replace(/[v.]/g, "")}`;
  await record(
    { name, client: node, serverName: NAME },
    { alpnProtocols: ["http/1.1"] },
    (port) => {
      const options = JSON.stringify({
        host: hostname,
        port,
        servername: NAME,
        rejectUnauthorized: false,
        ALPNProtocols: ["http/1.1"],
        minVersion: version,
        maxVersion: version,
      });
      const program = `require("tls").connect(${options}).on("data", () => {}).end("hello")`;
      return ended("node", "--eval", program);
    },
  );
}

await record(
  { name: "deno_rustls", client: `Deno ${Deno.version.deno}`, serverName: "localhost" },
  { alpnProtocols: ["http/1.1"] },
  async (port) => {
    const conn = await Deno.startTls(await Deno.connect({ hostname, port }), {
      hostname: "localhost",
      caCerts: [certificates.ca],
      alpnProtocols: ["h2", "http/1.1"],
    });
    await writeAll(conn, new TextEncoder().encode("hello"));
    await conn.read(new Uint8Array(100));
    conn.close();
  },
);

const browser = await chromium.launch({
  executablePath: find("chromium"),
  args: ["--no-sandbox", "--disable-quic", `--host-resolver-rules=MAP * ${hostname}`],
});
await record(
  { name: "chromium", client: `Chromium ${browser.version()}`, serverName: NAME },
  { alpnProtocols: ["http/1.1"] },
  async (port) => {
    const page = await browser.newPage({ ignoreHTTPSErrors: true });
    await page.goto(`https://${NAME}:${port}/`, { timeout: 5000 }).finally(() => page.close());
  },
);
await browser.close();
