/**
 * What the example servers share: their flags, how they start, what Ctrl-C does, and how a user's
 * mistake is told.
 * @module
 */
// deno-lint-ignore-file no-console -- these are programs
import { parseArgs } from "node:util";
import {
  type BackendFactory,
  denoConn,
  type ListenSocket,
  Loop,
  type TlsOptions,
} from "@usockets/usockets";

/** A mistake of the person who started the program: told in one line. */
export class UsageError extends Error {}

/** How a server was asked to run. */
export interface ServerFlags {
  host: string;
  port: number;
  backend: BackendFactory;
  tls: TlsOptions | undefined;
}

const USAGE = `
  --host HOST        address to listen on (127.0.0.1)
  --port PORT        port to listen on, 0 for any (3000)
  --backend NAME     deno; epoll and auto are not there yet (deno)
  --mode MODE        run; blocking comes with the epoll backend (run)
  --tls              speak TLS, with --cert and --key
  --cert FILE        certificate chain, PEM
  --key FILE         private key, PEM
  --passphrase TEXT  decrypts the private key
  --workers N        threads that share the port: more than 1 comes with the epoll backend (1)
  --help             show this
`;

/** Reads the flags. Returns null after `--help` was answered. */
export function parseServerFlags(args: string[], about: string): ServerFlags | null {
  const { values } = parse(args);
  if (values.help) {
    console.log(`${about}\n${USAGE.trimEnd()}`);
    return null;
  }
  const backend = parseBackend(values.backend);
  if (values.mode !== "run") {
    if (values.mode !== "blocking") {
      throw new UsageError(`--mode must be run or blocking, not ${values.mode}`);
    }
    throw new UsageError(
      "--mode blocking is not there yet: the deno backend cannot block, epoll will",
    );
  }
  const workers = parseNumber("--workers", values.workers, 1, 1024);
  if (workers > 1) {
    throw new UsageError(
      `--workers ${workers} is not there yet: the deno backend cannot share a port, epoll will`,
    );
  }
  return {
    host: values.host,
    port: parseNumber("--port", values.port, 0, 65535),
    backend,
    tls: parseTls(values),
  };
}

/**
 * Starts a server and runs it until Ctrl-C or SIGTERM, then shuts it down: `drain` tells the
 * connections to finish. A second signal ends the process at once.
 */
export async function serve(
  flags: ServerFlags,
  scheme: string,
  setUp: (loop: Loop, flags: ServerFlags) => { listener: ListenSocket; drain: () => void },
): Promise<void> {
  const loop = new Loop({ backend: flags.backend });
  const { listener, drain } = setUp(loop, flags);
  const host = flags.host.includes(":") ? `[${flags.host}]` : flags.host;
  console.log(
    `Listening on ${scheme}${
      flags.tls ? "s" : ""
    }://${host}:${listener.port} (backend: ${loop.backendName})`,
  );
  let isStopping = false;
  const stop = () => {
    if (isStopping) Deno.exit(130);
    isStopping = true;
    console.log("Shutting down, in 5 s at the latest");
    drain();
    loop.shutdown({ graceSeconds: 5 });
  };
  for (const signal of SIGNALS) Deno.addSignalListener(signal, stop);
  await loop.run();
  for (const signal of SIGNALS) Deno.removeSignalListener(signal, stop);
  loop.free();
}

/**
 * Runs a program's main function. A user's mistake becomes one line and exit code 1; a bug keeps
 * its stack trace.
 */
export async function runMain(main: () => Promise<void>): Promise<void> {
  try {
    await main();
  } catch (error) {
    if (!isUsersMistake(error)) throw error;
    console.error(`error: ${(error as Error).message}`);
    Deno.exit(1);
  }
}

const SIGNALS = ["SIGINT", "SIGTERM"] as const;

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        host: { type: "string", default: "127.0.0.1" },
        port: { type: "string", default: "3000" },
        backend: { type: "string", default: "deno" },
        mode: { type: "string", default: "run" },
        tls: { type: "boolean", default: false },
        cert: { type: "string" },
        key: { type: "string" },
        passphrase: { type: "string" },
        workers: { type: "string", default: "1" },
        help: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    // Node's own message goes on about positional arguments after its first sentence.
    throw new UsageError(`${(error as Error).message.split(/\. |\n/)[0]}; see --help`);
  }
}

function parseBackend(name: string): BackendFactory {
  if (name === "deno") return denoConn;
  if (name === "epoll" || name === "auto") {
    throw new UsageError(`--backend ${name} is not there yet; deno is`);
  }
  throw new UsageError(`--backend must be deno, epoll or auto, not ${name}`);
}

function parseTls(
  values: { tls: boolean; cert?: string; key?: string; passphrase?: string },
): TlsOptions | undefined {
  const { tls, cert, key, passphrase } = values;
  if (tls && (cert === undefined || key === undefined)) {
    throw new UsageError("--tls needs --cert and --key");
  }
  if (!tls && (cert ?? key ?? passphrase) !== undefined) {
    throw new UsageError("--cert, --key and --passphrase need --tls");
  }
  return tls ? { certFile: cert, keyFile: key, passphrase } : undefined;
}

function parseNumber(flag: string, text: string, lowest: number, highest: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(value >= lowest && value <= highest)) {
    throw new UsageError(
      `${flag} must be a whole number from ${lowest} to ${highest}, not ${JSON.stringify(text)}`,
    );
  }
  return value;
}

function isUsersMistake(error: unknown): boolean {
  if (error instanceof UsageError) return true;
  const {
    AddrInUse,
    AddrNotAvailable,
    InvalidData,
    NotCapable,
    NotFound,
    NotSupported,
    PermissionDenied,
  } = Deno.errors;
  const known = [
    AddrInUse,
    AddrNotAvailable,
    InvalidData,
    NotCapable,
    NotFound,
    NotSupported,
    PermissionDenied,
  ];
  // What the system refuses for other reasons, such as a path that is a directory, still says what
  // could not be done.
  return known.some((Known) => error instanceof Known) ||
    (error instanceof Error && error.message.startsWith("Cannot "));
}
