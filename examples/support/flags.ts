/**
 * The flags that the example servers share.
 * @module
 */
// deno-lint-ignore-file no-console -- these are programs
import { parseArgs } from "node:util";
import {
  autoBackend,
  type BackendFactory,
  denoConn,
  epoll,
  Loop,
  type TlsOptions,
} from "@usockets/usockets";
import { UsageError } from "./errors.ts";

/** The backends by name. */
export const BACKENDS = { deno: denoConn, epoll, auto: autoBackend } as const satisfies Record<
  string,
  BackendFactory
>;

/** Where and how a server listens. */
export interface ListenFlags {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsOptions | undefined;
  /** Share the port with the other workers. */
  readonly reusePort: boolean;
}

/** How a server was asked to run: plain data, which can be sent to Workers. */
export interface ServerFlags extends ListenFlags {
  /** What `auto` comes to here is known already. */
  readonly backend: "deno" | "epoll";
  /** The loop has its thread for itself. */
  readonly isBlocking: boolean;
  readonly workers: number;
}

const USAGE = `
  --host HOST        address to listen on (127.0.0.1)
  --port PORT        port to listen on, 0 for any (3000)
  --backend NAME     deno, epoll, or auto for the fastest that works here (deno)
  --mode MODE        run beside the rest of Deno, or blocking: faster, epoll only (run)
  --tls              speak TLS, with --cert and --key
  --cert FILE        certificate chain, PEM
  --key FILE         private key, PEM
  --passphrase TEXT  decrypts the private key
  --workers N        threads that share the port: more than 1 with epoll only (1)
  --help             show this

The epoll backend needs Linux and --allow-ffi.
`;

/** Reads the flags. Returns null after `--help` was answered. */
export function parseServerFlags(args: string[], about: string): ServerFlags | null {
  const { values } = parse(args);
  if (values.help) {
    console.log(`${about}\n${USAGE.trimEnd()}`);
    return null;
  }
  const backend = parseBackend(values.backend);
  const { mode } = values;
  if (mode !== "run" && mode !== "blocking") {
    throw new UsageError(`--mode must be run or blocking, not ${mode}`);
  }
  if (mode === "blocking" && backend === "deno") {
    throw new UsageError("--mode blocking needs --backend epoll: the deno backend cannot block");
  }
  const workers = parseNumber("--workers", values.workers, 1, 1024);
  if (workers > 1 && backend === "deno") {
    throw new UsageError(
      `--workers ${workers} needs --backend epoll: ` +
        "the deno backend cannot share a port without --unstable-net",
    );
  }
  return {
    host: values.host,
    port: parseNumber("--port", values.port, 0, 65535),
    tls: parseTls(values),
    reusePort: workers > 1,
    backend,
    isBlocking: mode === "blocking",
    workers,
  };
}

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

/** What a backend's name comes to here; throws where it does not work. */
function parseBackend(name: string): "deno" | "epoll" {
  if (!Object.hasOwn(BACKENDS, name)) {
    throw new UsageError(`--backend must be deno, epoll or auto, not ${name}`);
  }
  using loop = new Loop({ backend: BACKENDS[name as keyof typeof BACKENDS] });
  return loop.backendName as "deno" | "epoll";
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
