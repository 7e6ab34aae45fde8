/** A TLS server that is sent anything, and serves others meanwhile and afterwards. */
import { assert, assertEquals } from "@std/assert";
import {
  type BackendFactory,
  denoConn,
  epoll,
  type ListenSocket,
  Loop,
  type TlsOptions,
} from "@usockets/usockets";
import { openLibssl, replaceLibssl } from "../../../ffi/tls/libssl.ts";
import { certificateFor, testCertificates } from "../../support/certificates.ts";
import { CountedLibssl } from "../../support/counted_libssl.ts";
import { settledDescriptors, steadyDescriptors } from "../../support/descriptors.ts";
import { isLinux, nativeTest } from "../../support/native.ts";
import { readAll, writeAll } from "../../support/streams.ts";
import { audited, Life } from "./audit.ts";
import { deliver } from "./fuzz.ts";

const hostname = "127.0.0.1";

/** The backends by name. */
export const BACKENDS = { epoll, deno: denoConn } as const satisfies Record<string, BackendFactory>;

/** Each so many connections a client that means well comes along. */
const HEALTHY_EVERY = 16;

/** Registers a test of a backend; where descriptors can be counted, none may be left. */
export function fuzzTest(
  backend: keyof typeof BACKENDS,
  name: string,
  test: () => Promise<void>,
): void {
  const title = `${backend}: ${name}`;
  if (backend === "epoll") return nativeTest(title, test);
  Deno.test(title, async () => {
    if (!isLinux) return await test();
    const before = await steadyDescriptors();
    await test();
    const left = await settledDescriptors(before) - before;
    assert(left <= 0, `${left} descriptors were left open`); // Deno closes some late
  });
}

/** A server that echoes. */
export class FuzzedServer implements AsyncDisposable {
  readonly port: number;
  readonly #backend: keyof typeof BACKENDS;
  readonly #loop: Loop;
  readonly #listener: ListenSocket;
  readonly #running: Promise<void>;
  readonly #errors: unknown[];
  readonly #counted: CountedLibssl | null;
  /** By the port of the peer; whoever waits for one that is not there yet is called. */
  readonly #lives = new Map<number, Life>();
  readonly #awaited = new Map<number, (life: Life) => void>();
  #met = 0;

  static async start(
    backend: keyof typeof BACKENDS,
    tls: TlsOptions = {},
  ): Promise<FuzzedServer> {
    const { server } = await testCertificates();
    const other = await certificateFor("other.test");
    // What it hands out is counted of the library alone: the peers have an OpenSSL of their own.
    const real = backend === "epoll" ? openLibssl() : null;
    const counted = real && new CountedLibssl(real);
    if (counted) replaceLibssl(counted.libssl);
    try {
      const options = { alpnProtocols: ["h2", "http/1.1"], ...server, ...tls };
      return new FuzzedServer(backend, options, counted, other);
    } finally {
      if (real) replaceLibssl(real);
    }
  }

  private constructor(
    backend: keyof typeof BACKENDS,
    tls: TlsOptions,
    counted: CountedLibssl | null,
    other: TlsOptions,
  ) {
    this.#backend = backend;
    this.#counted = counted;
    const errors: unknown[] = this.#errors = [];
    this.#loop = new Loop({
      backend: BACKENDS[backend],
      timeoutGranularityMs: 5,
      onError: (error) => errors.push(error),
    });
    const onOpen = (life: Life) => {
      this.#lives.set(life.port, life);
      this.#awaited.get(life.port)?.(life);
    };
    const context = this.#loop.createContext<Life>({
      ...audited(onOpen, { onData: (socket, data) => void socket.write(data) }),
      tls,
    });
    if (backend === "epoll") context.addServerName("other.test", other);
    this.#listener = context.listen({ host: hostname, port: 0 }) as ListenSocket;
    this.port = this.#listener.port;
    this.#running = this.#loop.run();
  }

  /** Has a peer talk to the server, and end; returns what the server saw of it. */
  async meet(talk: (conn: Deno.TcpConn) => Promise<unknown>): Promise<Life> {
    const isEscorted = this.#met++ % HEALTHY_EVERY === 0;
    const [life] = await Promise.all([this.#meet(talk), isEscorted && this.serveHealthy()]);
    life.check();
    if (this.#backend === "epoll") life.checkCode();
    if (this.#errors.length > 0) throw this.#errors[0];
    return life;
  }

  /** Sends pieces and ends; what comes is read until the server ends too. */
  async send(pieces: Uint8Array[]): Promise<Life> {
    return await this.meet(async (conn) => {
      await deliver(conn, pieces);
      await conn.closeWrite();
    });
  }

  async #meet(talk: (conn: Deno.TcpConn) => Promise<unknown>): Promise<Life> {
    const conn = await Deno.connect({ hostname, port: this.port });
    const { port } = conn.localAddr;
    const accepted = new Promise<Life>((resolve) => this.#awaited.set(port, resolve));
    const known = this.#lives.get(port);
    try {
      conn.setNoDelay(true);
      await talk(conn);
      await readAll(conn);
    } catch (error) {
      // a RST where it reads no more
      if (!(error instanceof Deno.errors.ConnectionReset || isBroken(error))) throw error;
    } finally {
      conn.close();
    }
    const life = known ?? await accepted;
    await life.over();
    this.#awaited.delete(port);
    this.#lives.delete(port);
    return life;
  }

  /** A client that nothing is wrong with. */
  async serveHealthy(): Promise<void> {
    const { ca, client } = await testCertificates();
    const tls = await Deno.connectTls({ hostname, port: this.port, caCerts: [ca], ...client });
    const { port } = tls.localAddr;
    await writeAll(tls, new TextEncoder().encode("still there?"));
    const buffer = new Uint8Array(100);
    let answer = "";
    while (answer.length < 12) {
      const count = await tls.read(buffer);
      assert(count !== null, "the server ended");
      answer += new TextDecoder().decode(buffer.subarray(0, count));
    }
    assertEquals(answer, "still there?");
    tls.close();
    const life = this.#lives.get(port)!;
    await life.over();
    this.#lives.delete(port);
    assertEquals([life.opens, life.handshakes, life.closes], [1, 1, 1]);
  }

  /** Fails if anything is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.serveHealthy();
    this.#listener.close();
    await this.#running;
    this.#loop.free();
    assertEquals(this.#errors, []);
    if (this.#counted !== null) assertEquals(this.#counted.left, {});
  }
}

function isBroken(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.NotConnected;
}
