/**
 * The proxy on one loop: its clients, and what signals do to it.
 * @module
 */
import type { ListenSocket, Loop, Socket, SocketContext } from "@usockets/usockets";
import { UsageError } from "./errors.ts";
import { type ProxyOptions, readRoutes } from "./proxy_options.ts";
import { ProxyHeaderReader, ProxyProtocolError } from "./proxy_protocol.ts";
import { type End, Link, type LinkOwner, relay } from "./proxy_relay.ts";
import { Generation } from "./proxy_routes.ts";
import { ProxyStats, TO_UPSTREAM } from "./proxy_stats.ts";
import type { ListenFlags } from "./server.ts";

/** A PROXY header that takes longer is none. */
const HEADER_SECONDS = 10;
/** After Ctrl-C a connection that is silent for so long has nothing left to say. */
const DRAIN_SECONDS = 1;

/** Where lines go: the console, as a rule. */
export type Output = Pick<Console, "log" | "error">;

/** A proxy that listens. */
export class ProxyServer implements LinkOwner {
  readonly stats: ProxyStats;
  readonly canReset: boolean;
  idleSeconds: number;
  listener: ListenSocket;
  readonly #loop: Loop;
  readonly #flags: ListenFlags<ProxyOptions>;
  readonly #output: Output;
  /** With the generation that each began in. */
  readonly #links = new Map<Link, Generation>();
  #generation: Generation;
  /** The backend can start TLS on a connection that it accepted. */
  readonly #canUpgrade: boolean;
  #isReopening = false;

  /** @param output Gets a line for each connection that fails, and for each reload. */
  constructor(loop: Loop, flags: ListenFlags<ProxyOptions>, output: Output) {
    const { more: options, tls } = flags;
    this.#loop = loop;
    this.#flags = flags;
    this.#output = output;
    this.stats = new ProxyStats(options.isQuiet ? null : (line) => output.error(line));
    this.canReset = this.#canUpgrade = loop.backendName !== "deno";
    this.idleSeconds = options.idleSeconds;
    if (!this.#canUpgrade && tls !== undefined && options.acceptProxy) {
      throw new UsageError(
        "--accept-proxy with --tls needs --backend epoll: " +
          "the deno backend cannot start TLS behind a PROXY header",
      );
    }
    this.#generation = this.#createGeneration();
    this.#plain = loop.createContext(this.#clientHandlers(() => this.#generation));
    this.listener = this.#listen(flags.port);
  }

  /** The clients that are connected. */
  get links(): Link[] {
    return [...this.#links.keys()];
  }

  // ---- clients ----

  /** Of clients; a context with certificates belongs to one generation for good. */
  #clientHandlers(generation: () => Generation) {
    return {
      ...relay,
      socketExt: () => new Link(this).client,
      onOpen: (socket: Socket<End>) => {
        this.#begin(socket, generation());
        this.#secure(socket);
      },
      onHandshake: (socket: Socket<End>) => this.#admitted(socket),
    };
  }

  /** Clients that speak no TLS, or not yet. */
  readonly #plain: SocketContext<End>;

  /**
   * With TLS the listener is plain all the same, where it can be: so certificates can be replaced
   * without closing it, and a PROXY header read before TLS begins.
   */
  #listen(port: number): ListenSocket {
    const { host, reusePort, more: { acceptProxy, maxConnections } } = this.#flags;
    const { clients } = this.#generation;
    let context = this.#plain;
    if (clients !== null && !this.#canUpgrade) context = clients;
    else if (acceptProxy) {
      context = this.#loop.createContext(this.#headerHandlers);
    }
    return context.listen({ host, port, reusePort, maxConnections });
  }

  #begin(socket: Socket<End>, generation: Generation): void {
    const { link } = socket.ext;
    link.client.socket = socket;
    link.clientName = `${socket.remoteAddress}:${socket.remotePort}`;
    this.stats.connections++;
    generation.retain();
    this.#links.set(link, generation);
  }

  /** Has the client speak TLS, if it is to; `received` came already. */
  #secure(socket: Socket<End>, received?: Uint8Array): void {
    const { link } = socket.ext;
    const { clients } = this.#links.get(link)!;
    if (clients === null) {
      if (received !== undefined && received.length > 0) {
        link.upstream.unsent = received.slice();
        this.stats.bytes[TO_UPSTREAM] += received.length;
      }
      if (socket.context !== this.#plain) this.#plain.adopt(socket, socket.ext);
      this.#admitted(socket);
    } else if (this.#canUpgrade) {
      clients.adopt(socket, socket.ext).upgradeTls(undefined, received);
    }
  }

  #admitted({ ext: { link } }: Socket<End>): void {
    this.#links.get(link)!.connect(link);
  }

  // ---- PROXY headers ----

  /** Of clients that still owe their header. */
  readonly #headerHandlers = {
    socketExt: () => new Link(this).client,
    onClose: relay.onClose,
    onOpen: (socket: Socket<End>) => {
      this.#begin(socket, this.#generation);
      socket.ext.link.header = new ProxyHeaderReader();
      socket.timeout(HEADER_SECONDS);
    },
    onData: (socket: Socket<End>, data: Uint8Array) => this.#headerData(socket, data),
    onEnd: ({ ext: { link } }: Socket<End>) => link.fail("header", "the client ended before it"),
    onTimeout: ({ ext: { link } }: Socket<End>) =>
      link.fail("header", `it did not come in ${HEADER_SECONDS} s`),
  };

  #headerData(socket: Socket<End>, data: Uint8Array): void {
    const { link } = socket.ext;
    const reader = link.header!;
    const parsed = reader.push(data);
    if (parsed === null) return;
    if (parsed instanceof ProxyProtocolError) return link.fail("header", parsed.message);
    link.header = null;
    link.addresses = parsed.addresses;
    const { addresses } = parsed;
    if (addresses !== null && addresses.family !== "unix") {
      link.clientName = `${addresses.source}:${addresses.sourcePort} by ${link.clientName}`;
    }
    this.#secure(socket, data.subarray(reader.offsetBehind(parsed)));
  }

  // ---- links ----

  timedOut(link: Link): void {
    const isDraining = this.#loop.isShuttingDown;
    if (!isDraining || link.hasUnsent) {
      this.stats.error("idle", `${link.name}: ${this.idleSeconds} s without a byte`);
    }
    // With bytes on their way to a reader that takes none, this is no orderly end.
    if (link.hasUnsent) link.abort();
    else link.close();
  }

  upstreamFailed(link: Link, error: unknown): void {
    this.#links.get(link)!.upstreamFailed(link, error);
  }

  linkClosed(link: Link): void {
    const generation = this.#links.get(link);
    if (this.#links.delete(link)) generation!.release();
  }

  // ---- signals ----

  /** Connections with an upstream go on until they are silent; who is not that far ends at once. */
  drain(): void {
    this.idleSeconds = Math.min(this.idleSeconds || DRAIN_SECONDS, DRAIN_SECONDS);
    for (const link of this.#links.keys()) {
      if (link.upstream.socket === null) link.abort();
      else if (link.isReady) link.touch();
    }
  }

  /**
   * Reads the configuration and the certificates again. New connections get the new ones, open ones
   * go on as they are; what is wrong with them is logged, and nothing changes.
   */
  async reload(): Promise<void> {
    if (this.#loop.isShuttingDown) return;
    const before = this.#generation;
    try {
      this.#generation = this.#createGeneration();
    } catch (error) {
      this.#output.error(`Cannot reload, all stays as it was: ${(error as Error).message}`);
      return;
    }
    before.retire();
    if (before.clients !== null && !this.#canUpgrade) await this.#reopen();
    this.#output.log("Reloaded");
  }

  #createGeneration(): Generation {
    const { more: options, tls } = this.#flags;
    const generation: Generation = new Generation(
      this.#loop,
      options,
      readRoutes(options),
      tls,
      this.#clientHandlers(() => generation),
    );
    return generation;
  }

  /** The Deno backend binds a certificate to its listener. */
  async #reopen(): Promise<void> {
    if (this.#isReopening) return;
    this.#isReopening = true;
    const keepsRunning = this.#loop.createTimer();
    keepsRunning.set(() => {}, 1e6);
    const { port } = this.listener;
    try {
      this.listener.close();
      await this.listener.closed;
      this.#isReopening = false;
      if (!this.#loop.isShuttingDown && !this.#loop.isFreed) this.listener = this.#listen(port);
    } catch (error) {
      this.#output.error(`error: ${(error as Error).message}`);
      Deno.exitCode = 1;
    } finally {
      keepsRunning.close();
    }
  }
}
