/**
 * The command line of the load tests.
 * @module
 */
import type { TlsOptions } from "@usockets/usockets";
import { UsageError } from "./errors.ts";
import {
  type Flags,
  type FlagValues,
  LOOP_FLAGS,
  type LoopFlags,
  parseFlags,
  parseLoopFlags,
  parseNumber,
} from "./flags.ts";

/** The flags of every load test. */
const LOAD_FLAGS = {
  ...LOOP_FLAGS,
  workers: { value: "N", about: "threads, each with its share of the connections", default: "1" },
  seconds: { value: "N", about: "how long, 0 until Ctrl-C (10, or 0 with --requests)" },
  requests: { value: "N", about: "end after so many answers" },
  timeout: { value: "SECONDS", about: "a server silent for so long has failed", default: "10" },
  unix: { value: "PATH", about: "a unix socket in place of HOST PORT, @NAME for an abstract one" },
  tls: { about: "speak TLS" },
  ca: { value: "FILE", about: "certificates to trust, PEM" },
  insecure: { about: "trust any certificate: epoll only" },
  "server-name": { value: "NAME", about: "name that the server must prove, in place of HOST" },
} as const satisfies Flags;

const POSITIONALS = ["CONNECTIONS", "[HOST", "PORT]", "[PIPELINE]"];

/** How a load test was asked to run: plain data, which can be sent to Workers. */
export interface LoadFlags<M = unknown> extends LoopFlags {
  readonly workers: number;
  readonly connections: number;
  readonly target: { readonly host: string; readonly port: number } | { readonly path: string };
  /** Messages in flight on each connection. */
  readonly pipeline: number;
  /** 0 for no limit. */
  readonly seconds: number;
  /** Answers to end after; Infinity for no limit. */
  readonly requests: number;
  readonly timeoutSeconds: number;
  readonly tls: TlsOptions | undefined;
  readonly serverName: string | undefined;
  /** What the program made of its own flags. */
  readonly more: M;
}

/** What a load test takes beyond what all take. */
export interface LoadCommandLine<F extends Flags, M> {
  /** What it does, for `--help`. */
  readonly about: string;
  readonly flags: F;
  /** Reads them into plain data, which can be sent to Workers. */
  readonly parse: (values: FlagValues<F>) => M;
}

/** Reads the command line. Returns null after `--help` was answered. */
export function parseLoadFlags<F extends Flags, M>(
  args: string[],
  { about, flags, parse }: LoadCommandLine<F, M>,
): LoadFlags<M> | null {
  const allFlags = { ...flags, ...LOAD_FLAGS };
  const given = parseFlags(args, { about, flags: allFlags, positionals: POSITIONALS });
  if (given === null) return null;
  const values = given.values as unknown as FlagValues<typeof LOAD_FLAGS>;
  const where = parsePositionals(given.positionals, values.unix);
  const { connections } = where;
  const workers = parseNumber("--workers", values.workers, 1, 1024);
  if (workers > connections) {
    throw new UsageError(`--workers ${workers} needs as many connections, not ${connections}`);
  }
  const loopFlags = parseLoopFlags(values);
  const { requests, seconds = requests === undefined ? "10" : "0" } = values;
  const timeoutSeconds = parseNumber("--timeout", values.timeout, 1, 3600);
  return {
    ...loopFlags,
    ...where,
    workers,
    seconds: parseNumber("--seconds", seconds, 0, 1e6),
    requests: requests === undefined ? Infinity : parseNumber("--requests", requests, 1, 1e15),
    timeoutSeconds,
    tls: parseTls(values, loopFlags, timeoutSeconds),
    serverName: values["server-name"],
    more: parse(given.values as unknown as FlagValues<F>),
  };
}

function parsePositionals(positionals: string[], unix: string | undefined) {
  const isComplete = unix === undefined ? positionals.length >= 3 : positionals.length <= 2;
  if (!isComplete) {
    const names = unix === undefined
      ? "CONNECTIONS HOST PORT [PIPELINE]"
      : "CONNECTIONS [PIPELINE]";
    throw new UsageError(`give ${names}; see --help`);
  }
  const [connections, ...rest] = positionals;
  const [host, port] = unix === undefined ? rest.splice(0, 2) : [];
  return {
    connections: parseNumber("CONNECTIONS", connections, 1, 1e6),
    target: unix === undefined
      ? { host, port: parseNumber("PORT", port, 1, 65535) }
      : { path: unix.replace(/^@/, "\0") },
    pipeline: parseNumber("PIPELINE", rest[0] ?? "1", 1, 65536),
  };
}

function parseTls(
  values: FlagValues<typeof LOAD_FLAGS>,
  { backend }: LoopFlags,
  handshakeTimeoutSeconds: number,
): TlsOptions | undefined {
  const { tls, ca, insecure, "server-name": serverName } = values;
  if (tls && insecure && backend === "deno") {
    throw new UsageError("--insecure needs --backend epoll: the deno backend always verifies");
  }
  if (tls) {
    // The deno backend refuses what it cannot do, even when that is the default.
    const verification = insecure ? { rejectUnauthorized: false } : {};
    return { caFile: ca, handshakeTimeoutSeconds, ...verification };
  }
  if (insecure || (ca ?? serverName) !== undefined) {
    throw new UsageError("--ca, --insecure and --server-name need --tls");
  }
  return undefined;
}

/** What of it one of several workers does. */
export function shareOf<M>(flags: LoadFlags<M>, worker: number): LoadFlags<M> {
  const { workers, connections, requests } = flags;
  const share = (total: number) => Math.floor((total + worker) / workers);
  return { ...flags, connections: share(connections), requests: share(requests) };
}
