/**
 * Where the proxy's connections go, and with which certificates: one generation of it, which a
 * reload replaces as a whole.
 * @module
 */
import type { Loop, Socket, SocketContext, TlsOptions } from "@usockets/usockets";
import { UsageError } from "./errors.ts";
import type { ProxyOptions, Routes, UpstreamAddress } from "./proxy_options.ts";
import { encodeProxyHeader, ipAddresses } from "./proxy_protocol.ts";
import { type End, type Link, relay } from "./proxy_relay.ts";

/** An upstream that failed is the last choice for so long. */
const DOWN_MS = 10_000;

interface Upstream {
  readonly address: UpstreamAddress;
  /** On the clock of `performance.now()`. */
  downUntil: number;
}

/** Upstreams that take turns. */
export class Route {
  readonly #upstreams: readonly Upstream[];
  #next = 0;

  constructor(addresses: readonly UpstreamAddress[]) {
    this.#upstreams = addresses.map((address) => ({ address, downUntil: 0 }));
  }

  /** All of them, in the order in which a new connection is to try them. */
  candidates(): Upstream[] {
    const all = this.#upstreams, first = this.#next;
    this.#next = (first + 1) % all.length;
    if (all.length === 1) return [...all];
    const inTurn = [...all.slice(first), ...all.slice(0, first)];
    const now = performance.now();
    const isUp = ({ downUntil }: Upstream) => downUntil <= now;
    return [...inTurn.filter(isUp), ...inTurn.filter((upstream) => !isUp(upstream))];
  }
}

/** What a connection has on its way to an upstream. */
interface Attempt {
  readonly candidates: Upstream[];
  current: Upstream | null;
  lastError: unknown;
}

/** Routes, certificates and the contexts made of them. */
export class Generation {
  /** Of clients, with the certificates; null without TLS. */
  readonly clients: SocketContext<End> | null;
  readonly #options: ProxyOptions;
  readonly #loop: Loop;
  readonly #fallback: Route | null;
  readonly #attempts = new WeakMap<Link, Attempt>();
  /** Connections to upstreams, by how they begin. */
  readonly #plain: SocketContext<End>;
  readonly #secure: SocketContext<End> | null;
  readonly #greeting: SocketContext<End> | null;
  #links = 0;
  #isRetired = false;

  /**
   * Reads the certificates.
   *
   * @param tls The certificate of clients that ask for no name, or for none that is known.
   * @param clientHandlers Of the context of clients that speak TLS.
   * @throws As `createContext()` and `addServerName()`.
   */
  constructor(
    loop: Loop,
    options: ProxyOptions,
    routes: Routes,
    tls: TlsOptions | undefined,
    clientHandlers: typeof relay & { socketExt: () => End },
  ) {
    if (routes.names.size > 0 && tls === undefined) {
      throw new UsageError(
        "routes by server name need --tls: the name comes with the TLS handshake",
      );
    }
    if (routes.names.size > 0 && loop.backendName === "deno") {
      throw new UsageError(
        "routes by server name need --backend epoll: the deno backend knows one certificate only",
      );
    }
    this.#loop = loop;
    this.#options = options;
    this.#fallback = routes.fallback.length === 0 ? null : new Route(routes.fallback);
    const isTls = ({ isTls }: UpstreamAddress) => isTls;
    const all = [...routes.fallback, ...[...routes.names.values()].flatMap((r) => r.upstreams)];
    const contexts: SocketContext<End>[] = [];
    const add = (context: SocketContext<End>) => (contexts.push(context), context);
    try {
      this.clients = tls === undefined ? null : add(loop.createContext({ ...clientHandlers, tls }));
      for (const [name, route] of routes.names) {
        this.clients!.addServerName(name, route.tls ?? tls!, new Route(route.upstreams));
      }
      this.#secure = all.some(isTls) ? add(this.#createSecure()) : null;
    } catch (error) {
      for (const context of contexts) context.free();
      throw error;
    }
    this.#plain = loop.createContext({ ...this.#connecting, onOpen: (s) => this.#opened(s) });
    this.#greeting = this.#secure === null || options.sendProxy === undefined
      ? null
      : loop.createContext({ ...this.#connecting, onOpen: (socket) => this.#startTls(socket) });
  }

  /** A link begins: this generation stays until it ends. */
  retain(): void {
    this.#links++;
  }

  release(): void {
    this.#links--;
    this.#freeIfUnused();
  }

  /** Another one takes its place. */
  retire(): void {
    this.#isRetired = true;
    this.#freeIfUnused();
  }

  /** Connects the link of a client that may speak now. */
  connect(link: Link): void {
    const client = link.client.socket!;
    client.pause(); // nothing comes before there is an upstream to send it to
    const route = (client.serverNameUserData as Route | undefined) ?? this.#fallback;
    if (route === null) {
      const name = client.tls?.serverName; // what the client says, so quoted
      return link.fail(
        "route",
        `no upstream for ${name ? JSON.stringify(name) : "no server name"}`,
      );
    }
    const attempt = { candidates: route.candidates(), current: null, lastError: undefined };
    this.#attempts.set(link, attempt);
    this.#tryNext(link, attempt);
  }

  /** The upstream that a link tries was not to be had: the next one gets its chance. */
  upstreamFailed(link: Link, error: unknown): void {
    const attempt = this.#attempts.get(link)!;
    const why = error instanceof Error ? error.message : "it closed the connection at once";
    attempt.lastError = error;
    attempt.current!.downUntil = performance.now() + DOWN_MS;
    if (attempt.candidates.length === 0) return link.fail("connect", why);
    link.owner.stats.error("connect", `${link.name}: ${why}; trying the next upstream`);
    this.#tryNext(link, attempt);
  }

  #tryNext(link: Link, attempt: Attempt): void {
    if (this.#loop.isShuttingDown) return link.abort();
    const upstream = attempt.candidates.shift()!;
    const { address } = upstream;
    attempt.current = upstream;
    link.upstreamName = address.text;
    const context = address.isTls ? this.#greeting ?? this.#secure! : this.#plain;
    try {
      link.upstream.socket = context.connect({
        ...address.target,
        timeoutSeconds: this.#options.connectSeconds,
        ext: link.upstream,
      });
    } catch (error) { // a missing permission
      this.upstreamFailed(link, error);
    }
  }

  // ---- upstreams ----

  readonly #connecting = {
    ...relay,
    socketExt: (): End => { // for the types: connect() is given each End
      throw new Error("an upstream without a link");
    },
    onConnectError: ({ ext: { link } }: Socket<End>, error: Error) => {
      link.upstream.socket = null;
      this.upstreamFailed(link, error);
    },
  };

  #createSecure(): SocketContext<End> {
    return this.#loop.createContext({
      ...this.#connecting,
      tls: {
        ...this.#options.upstreamTls,
        handshakeTimeoutSeconds: this.#options.connectSeconds,
      },
      onHandshake: ({ ext: { link } }) => link.begin(),
    });
  }

  #opened({ ext: { link } }: Socket<End>): void {
    this.#greet(link);
    link.begin();
  }

  /** The PROXY header comes before TLS. */
  #startTls(socket: Socket<End>): void {
    this.#greet(socket.ext.link);
    this.#secure!.adopt(socket, socket.ext).upgradeTls();
  }

  /** Tells the upstream who the client is. It fits: nothing was sent before. */
  #greet(link: Link): void {
    const { sendProxy } = this.#options;
    if (sendProxy === undefined) return;
    const { remoteAddress, remotePort, localAddress, localPort } = link.client.socket!;
    const addresses = link.addresses ??
      ipAddresses(remoteAddress, remotePort, localAddress, localPort);
    link.upstream.socket!.write(encodeProxyHeader(sendProxy, addresses));
  }

  #freeIfUnused(): void {
    if (!this.#isRetired || this.#links > 0) return;
    for (const context of [this.clients, this.#plain, this.#secure, this.#greeting]) {
      context?.free();
    }
  }
}
