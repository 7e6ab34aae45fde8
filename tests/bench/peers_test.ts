/** The contestants of the benchmark: that each does its work right, on the runtimes that are here. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { ipv4Sockaddr } from "../../ffi/address.ts";
import { AF_INET, SOCK_STREAM } from "../../ffi/constants.ts";
import { openLibc } from "../../ffi/libc.ts";
import { resetOnClose } from "../../ffi/sockets.ts";
import { makeTrialCertificates } from "../../examples/support/certificates.ts";
import { isLinux } from "../support/native.ts";
import { pattern, readAll, writeAll } from "../support/streams.ts";

const PEERS = new URL("../../bench/peers/", import.meta.url);
const DENO = [Deno.execPath(), "run", "--quiet", "--no-prompt", "--no-check", "--allow-net"];
const MEGABYTE = pattern(1 << 20);
const SOURCE_MEGABYTE = MEGABYTE.map((_, i) => i & 255);
/** How long a server may take before it counts as hanging, in milliseconds. */
const HANG_MS = 30_000;

// ---------------------------------------------------------------- the contestants

const SERVICES = ["http", "echo", "sink", "source"] as const;
type Service = typeof SERVICES[number];

interface Contestant {
  readonly name: string;
  /** How it is started; "cc" stands for the program that is compiled from c_epoll.c. */
  readonly command: readonly string[];
  readonly services?: readonly Service[];
  readonly hasWorkers?: boolean;
  readonly hasLateness?: boolean;
  /** A peer's end is lost in TLS where the connection was paused: a bug of its runtime. */
  readonly losesEnds?: boolean;
  /** Why it cannot be started here. */
  readonly missing?: string | null;
}

const deno = (file: string, ...args: string[]) => [
  ...DENO,
  "--allow-read",
  "--unstable-net",
  ...(file === "usockets.ts" && args[1] !== "deno" ? ["--allow-ffi"] : []),
  pathOf(file),
  ...args,
];
const needsLinux = isLinux ? null : "the epoll backend needs Linux";

const CONTESTANTS: readonly Contestant[] = [
  { name: "usockets deno", command: deno("usockets.ts", "--backend", "deno") },
  {
    name: "usockets epoll",
    command: deno("usockets.ts", "--backend", "epoll"),
    missing: needsLinux,
  },
  {
    name: "usockets blocking",
    command: deno("usockets.ts", "--backend", "blocking"),
    hasLateness: false,
    missing: needsLinux,
  },
  { name: "deno_listen", command: deno("deno_listen.ts") },
  { name: "deno_serve", command: deno("deno_serve.ts"), services: ["http"], hasWorkers: false },
  {
    name: "node_net on Node",
    command: ["node", pathOf("node_net.mjs")],
    missing: await missing("node", "--version"),
  },
  {
    name: "node_net on Deno",
    command: [...DENO, "--allow-read", pathOf("node_net.mjs")],
    hasWorkers: false,
    losesEnds: true,
  },
  {
    name: "bun_listen",
    command: ["bun", pathOf("bun_listen.mjs")],
    missing: await missing("bun", "--version"),
  },
  {
    name: "c_epoll",
    command: ["cc"],
    hasLateness: false,
    missing: needsLinux ?? await missing("cc", "--version") ??
      await missing("cc", "-E", "-include", "openssl/ssl.h", "-xc", "/dev/null"),
  },
];

function pathOf(file: string): string {
  return new URL(file, PEERS).pathname;
}

/** What is wrong with a command that should just work; null for nothing. */
async function missing(command: string, ...args: string[]): Promise<string | null> {
  try {
    const options = { args, stdout: "null", stderr: "null" } as const;
    const { success } = await new Deno.Command(command, options).output();
    return success ? null : "the headers of OpenSSL are missing";
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return `there is no ${command}`;
  }
}

// ---------------------------------------------------------------- servers and connections

/** A contestant that runs. */
class Server {
  port = 0;
  readonly #child: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #watchdog: ReturnType<typeof setTimeout>;
  #rest = "";

  constructor([command, ...args]: readonly string[]) {
    const options = { args, stdin: "null", stdout: "piped", stderr: "inherit" } as const;
    this.#child = new Deno.Command(command, options).spawn();
    this.#watchdog = setTimeout(() => this.#child.kill("SIGKILL"), HANG_MS);
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  static async start(command: readonly string[]): Promise<Server> {
    const server = new Server(command);
    const line = await server.line();
    assertMatch(line, /^listening \d+$/);
    server.port = Number(line.slice("listening ".length));
    return server;
  }

  async line(): Promise<string> {
    while (!this.#rest.includes("\n")) {
      const { value, done } = await this.#lines.read();
      assert(!done, "the server ended");
      this.#rest += value;
    }
    const [line] = this.#rest.split("\n", 1);
    this.#rest = this.#rest.slice(line.length + 1);
    return line;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#watchdog);
    this.#child.kill("SIGKILL");
    await Promise.all([this.#lines.cancel(), this.#child.status]);
  }
}

type Conn = Deno.TcpConn | Deno.TlsConn;

const certificates = await makeTrialCertificates();

function connect(port: number, isTls: boolean): Promise<Conn> {
  const options = { hostname: "127.0.0.1", port };
  return isTls
    ? Deno.connectTls({ ...options, caCerts: [certificates.ca] })
    : Deno.connect(options);
}

/** Reads exactly so many bytes. */
async function readExactly(conn: Conn, length: number): Promise<Uint8Array> {
  const all = new Uint8Array(length);
  for (let offset = 0; offset < length;) {
    const count = await conn.read(all.subarray(offset));
    assert(count !== null, `the end after ${offset} bytes`);
    offset += count;
  }
  return all;
}

/** Opens a connection and resets it. */
function reset(port: number): void {
  const libc = openLibc();
  const address = ipv4Sockaddr("127.0.0.1", port)!;
  const fd = libc.socket(AF_INET, SOCK_STREAM, 0);
  assertEquals(libc.connect(fd, address, address.length), 0);
  assertEquals(libc.send(fd, new Uint8Array([22]), 1, 0), 1); // a TLS record could begin so
  resetOnClose(libc, fd);
  libc.close(fd);
}

// ---------------------------------------------------------------- what each service does

const REQUEST = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");

/** Two requests on one connection, both answered to the last byte. */
async function http(conn: Conn, size: number): Promise<void> {
  for (let i = 0; i < 2; i++) {
    await writeAll(conn, REQUEST);
    let head = "";
    while (!head.endsWith("\r\n\r\n")) head += String.fromCharCode(...await readExactly(conn, 1));
    assertMatch(head, /^HTTP\/1\.1 200 OK\r\n/);
    assertMatch(head, /^content-type: text\/plain\r$/im);
    assertMatch(head, new RegExp(`^content-length: ${size}\r$`, "im"));
    assertEquals(await readExactly(conn, size), new Uint8Array(size).fill("x".charCodeAt(0)));
  }
}

const EXCHANGES: Record<Service, (conn: Conn, size: number, ends: boolean) => Promise<void>> = {
  http,

  async echo(conn, _size, ends) {
    const [received] = await Promise.all([
      readExactly(conn, MEGABYTE.length),
      writeAll(conn, MEGABYTE),
    ]);
    assertEquals(received, MEGABYTE);
    if (!ends) return;
    // The end comes while the server still has some of it to send.
    const writing = writeAll(conn, MEGABYTE).then(() => conn.closeWrite());
    assertEquals(await readAll(conn), MEGABYTE);
    await writing;
  },

  async sink(conn) {
    await writeAll(conn, MEGABYTE);
    await conn.closeWrite();
    assertEquals(new TextDecoder().decode(await readAll(conn)), `${MEGABYTE.length}\n`);
  },

  async source(conn) {
    assertEquals(await readExactly(conn, SOURCE_MEGABYTE.length), SOURCE_MEGABYTE);
  },
};

/** A connection that is opened, and does what the service is for. */
async function exchange(
  port: number,
  isTls: boolean,
  service: Service,
  size: number,
  ends: boolean,
) {
  using conn = await connect(port, isTls);
  await EXCHANGES[service](conn, size, ends);
}

// ---------------------------------------------------------------- the tests

for (const contestant of CONTESTANTS) {
  const { name, command, missing, services = SERVICES } = contestant;
  const { hasWorkers = true, hasLateness = true, losesEnds = false } = contestant;
  for (const isTls of [false, true]) {
    const title = `the contestant ${name}, ${isTls ? "TLS" : "TCP"}`;
    if (missing) {
      Deno.test.ignore(`${title} (${missing})`, () => {});
      continue;
    }
    Deno.test(title, async (t) => {
      const directory = await Deno.makeTempDir();
      const program = command[0] === "cc" ? [await compile(directory, isTls)] : command;
      const files = isTls ? await writeCertificate(directory) : [];
      const cases: { service: Service; size: number; more: string[] }[] = services.map(
        (service) => ({ service, size: 64, more: hasLateness ? ["--lateness"] : [] }),
      );
      cases.push({ service: "http", size: 65_536, more: [] });
      if (hasWorkers) cases.push({ service: "http", size: 64, more: ["--workers", "2"] });
      await using stack = new AsyncDisposableStack();
      stack.defer(() => Deno.remove(directory, { recursive: true }));
      const servers = await Promise.all(cases.map(async ({ service, size, more }) => {
        const args = ["--service", service, "--size", `${size}`, ...files, ...more];
        return stack.use(await Server.start([...program, ...args]));
      }));
      for (const [i, { service, size, more }] of cases.entries()) {
        const title = `${service}${service === "http" ? ` of ${size} bytes` : ""} ${
          more.join(" ")
        }`;
        await t.step(title.trimEnd(), async () => {
          const { port } = servers[i];
          const exchangeOnce = () => exchange(port, isTls, service, size, !(isTls && losesEnds));
          await exchangeOnce();
          if (isLinux) reset(port);
          // Enough of them that two workers both get some, but for one time in 2 ** 31.
          const count = more[0] === "--workers" ? 32 : 4;
          await Promise.all(Array.from({ length: count }, exchangeOnce));
          if (more[0] !== "--lateness") return;
          const { timer, promise } = JSON.parse(await servers[i].line());
          for (const ms of [...timer, ...promise]) assertEquals(typeof ms, "number");
          assert(timer.length > 0 && promise.length > 0);
        });
      }
    });
  }
}

async function compile(directory: string, isTls: boolean): Promise<string> {
  const program = `${directory}/c_epoll`;
  const args = ["-O2", "-o", program, pathOf("c_epoll.c")];
  if (isTls) args.push("-DTLS", "-lssl", "-lcrypto");
  const { success } = await new Deno.Command("cc", { args }).output();
  assert(success, "c_epoll.c does not compile");
  return program;
}

async function writeCertificate(directory: string): Promise<string[]> {
  const { cert, key } = certificates.server;
  await Deno.writeTextFile(`${directory}/cert.pem`, cert);
  await Deno.writeTextFile(`${directory}/key.pem`, key);
  return ["--cert", `${directory}/cert.pem`, "--key", `${directory}/key.pem`];
}
