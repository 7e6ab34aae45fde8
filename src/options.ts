/**
 * The options of loops, listeners and connections, and their validation.
 * @module
 */
import type { BackendFactory } from "./backend.ts";
import type { Loop } from "./loop.ts";
import type { Socket } from "./socket.ts";

/** Options of a loop. */
export interface LoopOptions<L = unknown> {
  /** What moves the bytes. @default {denoConn} */
  backend?: BackendFactory;
  /** User data of the loop: `loop.ext`. */
  ext?: L;
  /** Runs in the loop's thread after `wakeup()`; several wakeups may make one call. */
  onWakeup?: (loop: Loop<L>) => void;
  /** Runs at the start of every iteration, before its events. */
  onPre?: (loop: Loop<L>) => void;
  /** Runs at the end of every iteration, after its events. */
  onPost?: (loop: Loop<L>) => void;
  /**
   * Gets what a handler threw, with the socket it was called for (absent for loop, timer and poll
   * callbacks). Without it the error goes to `reportError()`, which ends the process unless an
   * `error` event listener prevents it.
   */
  onError?: (error: unknown, socket?: Socket) => void;
  /**
   * How late a timeout may be, in milliseconds; they are looked at twice as often. @default {4000}
   */
  timeoutGranularityMs?: number;
  /** Size of the one receive buffer of an epoll loop, in bytes. @default {524288} */
  recvBufferBytes?: number;
  /**
   * How many bytes a socket of the Deno backend accepts beyond what the kernel took. @default
   * {65536}
   */
  sendBufferBytes?: number;
  /**
   * How long an integrated epoll loop runs before Deno's own loop gets a turn, in milliseconds.
   * @default {2}
   */
  sliceMs?: number;
}

/** Where and how to listen: a TCP `port` or a unix `path`. */
export interface ListenOptions<S = never> {
  /** A name or address of this machine. Absent: all interfaces, IPv6 and IPv4. */
  host?: string;
  /** 0 to 65535; 0 lets the system choose one, which `ListenSocket.port` tells. */
  port?: number;
  /**
   * Path of a unix socket; a leading `\0` makes it an abstract name. Excludes `host` and `port`.
   */
  path?: string;
  /** How many connections may wait to be accepted. @default {511} */
  backlog?: number;
  /** Refuse to share the port, whatever other listeners ask for. */
  exclusive?: boolean;
  /**
   * Share the port with other listeners that ask for it too; the kernel spreads the connections.
   */
  reusePort?: boolean;
  /** Listen on IPv6 only. */
  ipv6Only?: boolean;
  /**
   * Accept no more while so many of this listener's connections are open, or closed with bytes still
   * to send; the rest wait in the backlog.
   */
  maxConnections?: number;
  /** A listening descriptor to take over, as of systemd's socket activation. */
  fd?: number;
  /** Makes the user data of each socket that is accepted here, in place of the context's. */
  socketExt?: () => S;
}

/** Where and how to connect: a TCP `host` and `port`, or a unix `path`. */
export interface ConnectOptions<S = never> {
  /** A name or an address. @default {"127.0.0.1"} */
  host?: string;
  /** 1 to 65535. */
  port?: number;
  /** Path of a unix socket; a leading `\0` means an abstract name. Excludes `host` and `port`. */
  path?: string;
  /** The local address to connect from. */
  sourceHost?: string;
  /**
   * Give up after so many seconds, name lookup included, with `Deno.errors.TimedOut`. Absent or 0:
   * the system's limit. Like every timeout it may be late by the loop's `timeoutGranularityMs`.
   */
  timeoutSeconds?: number;
  /** The name a TLS server must prove; overrides the context's. @default {host} */
  serverName?: string;
  /** User data of this socket in place of what `socketExt()` gives. */
  ext?: S;
}

/** Timings of TCP keep-alive. */
export interface KeepAliveTimings {
  /** Idle time before the first probe, in seconds. */
  idleSeconds?: number;
  /** Time between probes, in seconds. */
  intervalSeconds?: number;
  /** Unanswered probes before the connection counts as reset. */
  probes?: number;
}

/** Options of `Loop.shutdown()`. */
export interface ShutdownOptions {
  /**
   * How long open sockets may go on before they are closed with `CloseCode.Freed`. @default {10}
   */
  graceSeconds?: number;
}

/** Counters of a loop since it was created. */
export interface LoopStats {
  /** Sockets open now, connecting ones not among them. */
  open: number;
  /** Connections accepted or adopted from handles. */
  accepted: number;
  /** Connections that were established by `connect()`. */
  connected: number;
  /** Payload bytes received, those dropped after `shutdownRead()` and `end()` among them. */
  bytesIn: number;
  /** Payload bytes accepted by writes. */
  bytesOut: number;
  /** Iterations run. */
  iterations: number;
}

/**
 * Whether the options name a unix path; throws for anything that is neither that nor a port.
 * @internal
 */
export function checkAddress(
  what: string,
  options: { host?: string; port?: number; path?: string },
  lowestPort: 0 | 1,
): boolean {
  const { host, port, path } = options;
  if (path !== undefined) {
    if (host !== undefined || port !== undefined) {
      throw new TypeError(`Cannot ${what}: "path" excludes "host" and "port"`);
    }
    if (typeof path !== "string" || path === "" || path === "\0") {
      throw new TypeError(
        `Cannot ${what}: "path" must be a path or an abstract name, not ${quote(path)}`,
      );
    }
    if (path.indexOf("\0", 1) !== -1) {
      throw new TypeError(`Cannot ${what}: "path" has a NUL inside: ${quote(path)}`);
    }
    // sun_path holds 108 bytes, a path's final NUL among them.
    if (new TextEncoder().encode(path).length > (path[0] === "\0" ? 108 : 107)) {
      throw new RangeError(
        `Cannot ${what}: "path" is longer than a unix address can be: ${quote(path)}`,
      );
    }
    return true;
  }
  if (host !== undefined && (typeof host !== "string" || host === "" || host.includes("\0"))) {
    throw new TypeError(`Cannot ${what}: "host" must be a name or an address, not ${quote(host)}`);
  }
  if (port === undefined) throw new TypeError(`Cannot ${what}: give a "port" or a "path"`);
  if (!Number.isInteger(port) || port < lowestPort || port > 65535) {
    throw new RangeError(
      `Cannot ${what}: "port" must be a whole number from ${lowestPort} to 65535, not ${
        quote(port)
      }`,
    );
  }
  return false;
}

/**
 * Throws for what is no options object, and for names that none of them has: a misspelled option
 * must not be ignored, and at run time no compiler looks. With a prefix, only names that
 * begin so, or that look like one of these, are refused.
 *
 * @internal
 */
export function checkNames(
  what: string,
  options: object,
  names: readonly string[],
  prefix = "",
): void {
  if (typeof options !== "object" || options === null) {
    throw new TypeError(`Cannot ${what}: the options must be an object, not ${quote(options)}`);
  }
  for (const name in options) {
    if (names.includes(name)) continue;
    const likely = LIKELY[name] ?? name;
    const meant = names.find((known) => known.toLowerCase() === likely.toLowerCase());
    if (meant === undefined && !name.startsWith(prefix)) continue;
    const hint = meant === undefined ? "" : ` (did you mean "${meant}"?)`;
    throw new TypeError(`Cannot ${what}: there is no option "${name}"${hint}`);
  }
}

/** Names of the same things elsewhere. */
const LIKELY: Record<string, string> = {
  hostname: "host",
  timeout: "timeoutSeconds",
  grace: "graceSeconds",
  certificate: "cert",
  alpn: "alpnProtocols",
  caCerts: "ca",
  servername: "serverName",
  onMessage: "onData",
  onDrain: "onWritable",
  onError: "onConnectError",
  ssl: "tls",
  cert: "tls",
  certFile: "tls",
  keyFile: "tls",
};

const LISTEN_NAMES =
  "host port path backlog exclusive reusePort ipv6Only maxConnections fd socketExt".split(" ");
const CONNECT_NAMES = "host port path sourceHost timeoutSeconds serverName ext".split(" ");
const LOOP_NAMES =
  ("backend ext onWakeup onPre onPost onError timeoutGranularityMs recvBufferBytes " +
    "sendBufferBytes sliceMs").split(" ");
const RECV_BUFFER_BYTES_MAX = 2 ** 30;

/** Throws unless the value is a function or absent. @internal */
export function checkFunction(what: string, name: string, value: unknown): void {
  if (value !== undefined && typeof value !== "function") {
    throw new TypeError(`Cannot ${what}: "${name}" must be a function, not ${quote(value)}`);
  }
}

/** Throws for loop options that make no sense on any backend. @internal */
export function checkLoopOptions(options: LoopOptions): void {
  const what = "create a loop";
  checkNames(what, options, LOOP_NAMES);
  if (options.backend !== undefined && typeof options.backend !== "function") {
    throw new TypeError(
      `Cannot ${what}: "backend" must be a backend such as denoConn, not ${quote(options.backend)}`,
    );
  }
  for (const name of ["onWakeup", "onPre", "onPost", "onError"] as const) {
    checkFunction(what, name, options[name]);
  }
  checkNumber(what, "timeoutGranularityMs", options.timeoutGranularityMs, 1);
  checkNumber(what, "recvBufferBytes", options.recvBufferBytes, 1, true);
  if (options.recvBufferBytes! > RECV_BUFFER_BYTES_MAX) {
    throw new RangeError(
      `Cannot ${what}: "recvBufferBytes" must be at most ${RECV_BUFFER_BYTES_MAX}, not ${options.recvBufferBytes}`,
    );
  }
  checkNumber(what, "sendBufferBytes", options.sendBufferBytes, 1, true);
  checkNumber(what, "sliceMs", options.sliceMs, 0);
}

/** Throws unless the value is a number from `lowest` up. @internal */
export function checkNumber(
  what: string,
  name: string,
  value: number | undefined,
  lowest: number,
  whole = false,
): void {
  if (value === undefined) return;
  if (typeof value !== "number" || !(value >= lowest) || (whole && !Number.isSafeInteger(value))) {
    const kind = whole ? "a whole number" : "a number";
    throw new RangeError(
      `Cannot ${what}: "${name}" must be ${kind} of at least ${lowest}, not ${quote(value)}`,
    );
  }
}

/** Throws for options that make no sense on any backend. @internal */
export function checkListenOptions(options: ListenOptions<unknown>): void {
  checkNames("listen", options, LISTEN_NAMES);
  const { exclusive, reusePort, fd } = options;
  if (exclusive && reusePort) {
    throw new TypeError('Cannot listen: "exclusive" and "reusePort" exclude each other');
  }
  checkNumber("listen", "backlog", options.backlog, 1, true);
  checkNumber("listen", "maxConnections", options.maxConnections, 1, true);
  checkNumber("listen", "fd", fd, 0, true);
  checkFunction("listen", "socketExt", options.socketExt);
  if (fd === undefined) checkAddress("listen", options, 0);
  else if (options.host !== undefined || options.port !== undefined || options.path !== undefined) {
    throw new TypeError('Cannot listen: "fd" excludes "host", "port" and "path"');
  }
}

/** Throws for options that make no sense on any backend. @internal */
export function checkConnectOptions(options: ConnectOptions<unknown>): void {
  checkNames("connect", options, CONNECT_NAMES);
  checkAddress("connect", options, 1);
  checkNumber("connect", "timeoutSeconds", options.timeoutSeconds, 0);
}

/** `host:port` or the unix path, for messages. @internal */
export function describeAddress(
  options: { host?: string; port?: number; path?: string; fd?: number },
): string {
  if (options.path !== undefined) return options.path.replace("\0", "@");
  if (options.fd !== undefined) return `descriptor ${options.fd}`;
  const host = options.host ?? "";
  return `${host.includes(":") ? `[${host}]` : host}:${options.port}`;
}

/** A value, for messages. @internal */
export function quote(value: unknown): string {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
