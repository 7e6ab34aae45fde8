/** Runs the example proxy in the test's own process, between Deno's own clients and upstreams. */
import { type BackendFactory, denoConn, epoll, Loop } from "@usockets/usockets";
import { ProxyServer } from "../../examples/support/proxy_server.ts";
import type { ListenFlags } from "../../examples/support/server.ts";
import type { ProxyOptions } from "../../examples/support/proxy_options.ts";
import { assert } from "@std/assert";
import { openLibc } from "../../ffi/libc.ts";
import { settledDescriptors, steadyDescriptors } from "../support/descriptors.ts";
import { isLinux } from "../support/native.ts";

/** How long a test may take before it counts as hanging, in milliseconds. */
const HANG_MS = 30_000;

/** What the proxy of a test is told, beside where to. */
export interface Settings extends Partial<ProxyOptions> {
  readonly tls?: ListenFlags["tls"];
}

/** One test of one backend: everything it opens is closed behind it. */
export class ProxyTest {
  readonly backend: BackendFactory;
  /** What the proxies log of failures. */
  readonly lines: string[] = [];
  /** What they say beside that. */
  readonly said: string[] = [];
  readonly #cleanups: (() => unknown)[] = [];

  constructor(backend: BackendFactory) {
    this.backend = backend;
  }

  get isEpoll(): boolean {
    return this.backend === epoll;
  }

  /** Does this when the test is over. */
  defer(cleanup: () => unknown): void {
    this.#cleanups.push(cleanup);
  }

  /** Listens as an upstream. */
  upstream(): Deno.TcpListener {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    this.defer(() => listener.close());
    return listener;
  }

  /** Where nobody listens, nor will a proxy on a port that is free again. */
  deadAddress(): string {
    using listener = Deno.listen({ hostname: "127.0.0.2", port: 0 });
    return `127.0.0.2:${listener.addr.port}`;
  }

  /** Closes it behind the test. */
  own<T extends Deno.Conn>(conn: T): T {
    this.defer(() => conn.close());
    return conn;
  }

  /** Starts a proxy to these upstreams: ports of this machine, or addresses. */
  proxy(
    upstreams: (number | string)[],
    settings: Settings = {},
    onPost?: (proxy: ProxyServer) => void,
    backend = this.backend,
  ): ProxyServer {
    let proxy: ProxyServer | undefined;
    const loop = new Loop({
      backend,
      timeoutGranularityMs: 20,
      onPost: () => proxy && onPost?.(proxy),
    });
    const { tls, ...options } = settings;
    try {
      proxy = new ProxyServer(loop, {
        host: "127.0.0.1",
        port: 0,
        tls,
        reusePort: false,
        more: {
          upstreams: upstreams.map((at) => typeof at === "number" ? `127.0.0.1:${at}` : at),
          routes: [],
          config: undefined,
          sendProxy: undefined,
          acceptProxy: false,
          upstreamTls: {},
          connectSeconds: 20,
          idleSeconds: 0,
          maxConnections: undefined,
          isQuiet: false,
          ...options,
        },
      }, {
        log: (line) => this.said.push(line),
        error: (line) => this.lines.push(line.replaceAll(/127\.0\.0\.[12]:\d+/g, "HOST")),
      });
    } catch (error) {
      loop.free();
      throw error;
    }
    const running = loop.run();
    this.defer(async () => {
      await loop.shutdown({ graceSeconds: 0 });
      await running;
      loop.free();
    });
    return proxy;
  }

  /** A client of it. */
  async connect(proxy: ProxyServer): Promise<Deno.TcpConn> {
    return this.own(await Deno.connect({ hostname: "127.0.0.1", port: proxy.listener.port }));
  }

  /** A client, and its connection at the upstream. */
  async pair(
    proxy: ProxyServer,
    upstream: Deno.TcpListener,
  ): Promise<[Deno.TcpConn, Deno.TcpConn]> {
    const [client, server] = await Promise.all([this.connect(proxy), upstream.accept()]);
    return [client, this.own(server)];
  }

  /** A file that is removed behind the test. */
  file(text: string): string {
    const path = Deno.makeTempFileSync();
    this.defer(() => Deno.removeSync(path));
    Deno.writeTextFileSync(path, text);
    return path;
  }

  async cleanUp(): Promise<void> {
    for (const cleanup of this.#cleanups.reverse()) {
      try {
        await cleanup();
      } catch (error) {
        if (!(error instanceof Deno.errors.BadResource)) throw error; // the test closed it itself
      }
    }
  }
}

/** Registers a test on each backend, or on one; where there is no epoll, that one is skipped. */
export function proxyTest(
  name: string,
  test: (t: ProxyTest) => Promise<void>,
  only?: "deno" | "epoll",
): void {
  const run = (backend: BackendFactory) => async () => {
    const t = new ProxyTest(backend);
    const hanging = Promise.withResolvers<never>();
    const watchdog = setTimeout(
      () => hanging.reject(new Error(`hangs; the log: ${t.lines.join("\n")}`)),
      HANG_MS,
    );
    try {
      await Promise.race([test(t), hanging.promise]);
    } finally {
      clearTimeout(watchdog);
      await t.cleanUp();
    }
  };
  if (only !== "epoll") Deno.test(`proxy ${name} (deno)`, run(denoConn));
  if (only === "deno") return;
  if (!isLinux) {
    return Deno.test.ignore(`proxy ${name} (epoll) (the epoll backend needs Linux)`, () => {});
  }
  openLibc(); // stays open for the process's life: it must not open inside a test
  Deno.test(`proxy ${name} (epoll)`, async () => {
    const before = await steadyDescriptors();
    await run(epoll)();
    const left = await settledDescriptors(before) - before;
    assert(left <= 0, `${left} descriptors were left open`); // Deno closes its own ones late
  });
}

/** Resolves when the proxy has no connection left. */
export async function allClosed(proxy: ProxyServer): Promise<void> {
  // It is a server in this thread: each turn of Deno's loop brings it further.
  while (proxy.links.length > 0) await new Promise((resolve) => setTimeout(resolve)); // no event
}
