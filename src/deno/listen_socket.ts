/**
 * A listener on Deno.listen and Deno.listenTls.
 * @module
 */
import { setImmediate } from "node:timers";
import type { SocketContext } from "../context.ts";
import * as dispatch from "../dispatch.ts";
import { ListenSocket } from "../listen_socket.ts";
import { handshakesFor } from "../low_priority.ts";
import { describeAddress, type ListenOptions } from "../options.ts";
import type { DenoBackend } from "./backend.ts";
import type { Completion } from "./completions.ts";
import { explainAddress, isOfOneConnection, isOutOfResources } from "./errors.ts";
import { close, disableNagle, ipOf } from "./conn.ts";
import { DenoSocket } from "./socket.ts";
import { checkServer, type DenoTls, refuse } from "./tls.ts";
import { removeDeadSocket } from "./unix_path.ts";

/** A Listener of any transport. */
type AnyListener = Deno.Listener<Deno.Conn, Deno.Addr>;

/**
 * How long to wait before accepting again when descriptors ran out: first and longest, in
 * milliseconds.
 */
const BACK_OFF_MS = 10, BACK_OFF_MS_MAX = 1000;

/**
 * How many connections one turn takes on: those that are open want their turn too. Of TLS it is one,
 * for Deno runs a handshake as soon as it accepts, and more where turns take so long that it would
 * starve them.
 */
const ACCEPTS = 16, TLS_ACCEPTS = 1;

/** A listener of the Deno backend. */
export class DenoListenSocket extends ListenSocket implements Completion {
  override readonly port: number;
  override readonly host: string;
  readonly #backend: DenoBackend;
  readonly #listener: AnyListener;
  readonly #isTls: boolean;
  /** An accept is pending; Deno allows one at a time. */
  #isAccepting = false;
  #accepted: Deno.Conn | null = null;
  #failures = 0;
  /** How many more this turn may accept. */
  #acceptsLeft = 1;
  #backOff: ReturnType<typeof setTimeout> | undefined;

  constructor(backend: DenoBackend, context: SocketContext, options: ListenOptions<unknown>) {
    const listener = listenOn(context, options); // throws before anything is counted
    super(context, options);
    this.#backend = backend;
    this.#listener = listener;
    this.#isTls = context.secureContext !== null;
    const { addr } = listener;
    this.port = "port" in addr ? addr.port : 0;
    this.host = "hostname" in addr ? addr.hostname : (addr as Deno.UnixAddr).path;
    backend.listeners.add(this);
    this.accept();
  }

  /** Accepts the next connection, unless there is a reason not to. */
  accept(): void {
    if (!this.#backend.isStarted || this.isClosed || this.isFull) return;
    if (this.#isAccepting || this.#accepted !== null || this.#backOff !== undefined) return;
    if (this.#isTls && this.#backend.handshakes.isFull) return;
    this.#acceptNow();
  }

  /** Opens what was accepted. */
  complete(): void {
    const conn = this.#accepted;
    this.#accepted = null;
    if (conn === null) return;
    this.#open(conn);
    if (--this.#acceptsLeft > 0) this.accept();
    else this.#acceptNextTurn();
  }

  /** A connection that waits is accepted at once: without a pause it would be the same turn for ever. */
  #acceptNextTurn(): void {
    const now = performance.now();
    setImmediate(() => {
      this.#acceptsLeft = this.#isTls
        ? handshakesFor(performance.now() - now, TLS_ACCEPTS)
        : ACCEPTS;
      this.accept();
    });
  }

  protected override acceptMore(): void {
    this.accept();
  }

  protected override stop(): void {
    this.#backend.listeners.delete(this);
    clearTimeout(this.#backOff);
    this.#listener.close();
    // The port is free when the pending accept has let go of it.
    if (!this.#isAccepting) this.stopped();
  }

  #acceptNow(): void {
    this.#isAccepting = true;
    this.#listener.accept().then((conn) => {
      this.#isAccepting = false;
      this.#failures = 0;
      if (this.isClosed) {
        close(conn);
        return this.stopped();
      }
      this.#accepted = conn;
      this.#backend.completions.enqueue(this);
    }, (error) => {
      this.#isAccepting = false;
      if (this.isClosed) this.stopped();
      else this.#acceptFailed(error);
    });
  }

  #open(conn: Deno.Conn): void {
    const { context } = this;
    const ip = ipOf(conn.remoteAddr);
    if (this.isClosed) return close(conn); // as if it were still in the backlog
    const { closings } = context;
    try {
      if (!dispatch.preOpen(context, conn, ip)) return;
    } catch (error) {
      close(conn);
      return dispatch.reportError(context.loop, error);
    }
    if (context.closings !== closings || context.loop.isShuttingDown) return close(conn);
    disableNagle(conn);
    const socket = new DenoSocket(
      this.#backend,
      context,
      0,
      undefined,
      conn,
      ip,
    );
    if (this.#isTls) socket.useTls(null, "");
    socket.acceptedBy = this;
    this.connections++;
    socket.open();
  }

  /**
   * No failure to accept one connection ends the listener. Peers that are gone already are nothing,
   * however many, but for a turn each, so that a flood of them starves nobody; running out of
   * descriptors, or whatever else fails again and again, is waited out.
   */
  #acceptFailed(error: unknown): void {
    if (isOfOneConnection(error)) return void setImmediate(() => this.accept());
    this.#failures++;
    if (!isOutOfResources(error) && this.#failures < 10) return this.accept();
    const ms = Math.min(BACK_OFF_MS * 2 ** Math.min(this.#failures - 1, 10), BACK_OFF_MS_MAX);
    this.#backOff = setTimeout(() => {
      this.#backOff = undefined;
      this.accept();
    }, ms);
  }
}

/** Opens the native listener, or throws an error that names the address. */
function listenOn(context: SocketContext, options: ListenOptions<unknown>): AnyListener {
  if (options.fd !== undefined) refuse('the listen option "fd"');
  if (options.ipv6Only !== undefined) refuse('the listen option "ipv6Only"');
  // Without --unstable-net Deno ends the process for it; listenDatagram is there only with that
  // flag.
  if (options.reusePort && !("listenDatagram" in Deno)) {
    refuse('the listen option "reusePort" without --unstable-net');
  }
  try {
    return options.path === undefined ? listenTcp(context, options) : listenUnix(context, options);
  } catch (error) {
    if (error instanceof Deno.errors.NotSupported || error instanceof TypeError) throw error;
    const where = describeAddress({ ...options, host: options.host ?? "*" });
    throw explainAddress(`Cannot listen on ${where}`, options.host, error);
  }
}

function listenTcp(context: SocketContext, options: ListenOptions<unknown>): AnyListener {
  const tls = context.secureContext as DenoTls | null;
  const common = { port: options.port!, reusePort: options.reusePort, tcpBacklog: options.backlog };
  const open = (hostname: string): AnyListener => {
    if (tls === null) return Deno.listen({ ...common, hostname });
    if (tls.cert === undefined || tls.key === undefined) {
      throw new TypeError(
        'Cannot listen with TLS: the context has no certificate ("cert" and "key")',
      );
    }
    checkServer(tls);
    return Deno.listenTls({
      ...common,
      hostname,
      cert: tls.cert,
      key: tls.key,
      alpnProtocols: tls.alpnProtocols,
    });
  };
  if (options.host !== undefined) return open(options.host);
  try {
    return open("::"); // IPv4 too
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse || error instanceof TypeError) throw error;
    return open("0.0.0.0"); // a machine, or a permission, without IPv6
  }
}

function listenUnix(context: SocketContext, options: ListenOptions<unknown>): AnyListener {
  if (context.secureContext !== null) refuse("TLS on unix sockets");
  if (options.backlog !== undefined) refuse('the listen option "backlog" on unix sockets');
  if (options.exclusive || options.reusePort) {
    throw new TypeError(
      'Cannot listen: "exclusive" and "reusePort" are for ports, not for unix paths',
    );
  }
  const open = () => Deno.listen({ transport: "unix", path: options.path! });
  try {
    return open();
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse && removeDeadSocket(options.path!)) return open();
    throw error;
  }
}
