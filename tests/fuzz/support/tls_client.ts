/** A TLS client whose servers are not what they should be. */
import { assert, assertEquals } from "@std/assert";
import { Loop, type SocketContext, type TlsOptions } from "@usockets/usockets";
import { openLibssl, replaceLibssl } from "../../../ffi/tls/libssl.ts";
import { testCertificates } from "../../support/certificates.ts";
import { CountedLibssl } from "../../support/counted_libssl.ts";
import { readAll } from "../../support/streams.ts";
import { audited, Life } from "./audit.ts";
import { BACKENDS } from "./tls_server.ts";

const hostname = "127.0.0.1";

/** Clients of one context, which say something as soon as they may. */
export class FuzzedClient implements AsyncDisposable {
  readonly #backend: keyof typeof BACKENDS;
  readonly #loop: Loop;
  readonly #context: SocketContext<Life>;
  readonly #listener = Deno.listen({ hostname, port: 0 });
  readonly #errors: unknown[] = [];
  readonly #counted: CountedLibssl | null = null;
  readonly #running: Promise<void>;

  static async start(
    backend: keyof typeof BACKENDS,
    words: string,
    tls: TlsOptions = {},
  ): Promise<FuzzedClient> {
    const { ca } = await testCertificates();
    return new FuzzedClient(backend, words, { ca, serverName: "localhost", ...tls });
  }

  private constructor(backend: keyof typeof BACKENDS, words: string, tls: TlsOptions) {
    this.#backend = backend;
    // What it hands out is counted of the library alone: the peers have an OpenSSL of their own.
    const real = backend === "epoll" ? openLibssl() : null;
    if (real !== null) {
      this.#counted = new CountedLibssl(real);
      replaceLibssl(this.#counted.libssl);
    }
    try {
      this.#loop = new Loop({
        backend: BACKENDS[backend],
        timeoutGranularityMs: 5,
        onError: (error) => this.#errors.push(error),
      });
      this.#context = this.#loop.createContext<Life>({
        ...audited(() => {}, {
          onHandshake(socket, info) {
            assert(info.authorized === true);
            socket.write(words);
          },
        }),
        tls,
      }) as SocketContext<Life>;
    } finally {
      if (real !== null) replaceLibssl(real);
    }
    this.#loop.createTimer().set(() => {}, 1000, 1000); // keeps it running between two connections
    this.#running = this.#loop.run();
  }

  /** Connects to a server that talks like this, then ends; returns what the client saw of it. */
  async meet(talk: (conn: Deno.TcpConn) => Promise<unknown>): Promise<Life> {
    const accepted = this.#listener.accept();
    const { port } = this.#listener.addr;
    const life = this.#context.connect({ host: hostname, port }).ext;
    const conn = await accepted;
    try {
      conn.setNoDelay(true);
      await talk(conn);
      await conn.closeWrite();
      await readAll(conn);
    } catch (error) {
      const { ConnectionReset, BrokenPipe, NotConnected } = Deno.errors;
      const isGone = [ConnectionReset, BrokenPipe, NotConnected].some((Class) =>
        error instanceof Class
      );
      if (!isGone) throw error;
    } finally {
      conn.close();
    }
    await life.over();
    if (this.#errors.length > 0) throw this.#errors[0];
    assertEquals(life.connectError, undefined);
    life.check();
    if (this.#backend === "epoll") life.checkCode();
    return life;
  }

  /** Fails if anything is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    await this.#loop.shutdown({ graceSeconds: 0 });
    await this.#running;
    this.#loop.free();
    assertEquals(this.#errors, []);
    if (this.#counted !== null) assertEquals(this.#counted.left, {});
  }
}
