/**
 * How the example servers start, and what their flags are.
 * @module
 */
import type { ListenSocket, Loop, TlsOptions } from "@usockets/usockets";
import { UsageError } from "./errors.ts";
import {
  type Flags,
  type FlagValues,
  LOOP_FLAGS,
  type LoopFlags,
  parseFlags,
  parseLoopFlags,
  parseNumber,
  parseTlsFlags,
  TLS_FLAGS,
} from "./flags.ts";
import { type LoopProgram, runPrograms, type Started } from "./program.ts";

/** The flags of every server. */
const SERVER_FLAGS = {
  host: { value: "HOST", about: "address to listen on", default: "127.0.0.1" },
  port: { value: "PORT", about: "port to listen on, 0 for any", default: "3000" },
  ...LOOP_FLAGS,
  ...TLS_FLAGS,
  workers: {
    value: "N",
    about: "threads that share the port: more than 1 with epoll only",
    default: "1",
  },
} as const satisfies Flags;

/** Where and how a server listens; `more` is what it made of its own flags. */
export interface ListenFlags<M = unknown> {
  readonly host: string;
  readonly port: number;
  readonly tls: TlsOptions | undefined;
  /** Share the port with the other workers. */
  readonly reusePort: boolean;
  readonly more: M;
}

/** How a server was asked to run: plain data, which can be sent to Workers. */
export interface ServerFlags<M = unknown> extends ListenFlags<M>, LoopFlags {
  readonly workers: number;
}

/** A server that listens. */
export interface Listening extends Pick<Started, "onSignal" | "onEnd"> {
  readonly listener: ListenSocket;
  /** Tells the connections to finish. */
  readonly drain: () => void;
}

/** A server, as its module describes it. */
export interface ServerOptions<F extends Flags, M> extends Pick<LoopProgram, "loop" | "signals"> {
  /** One line for `--help`. */
  readonly about: string;
  /** Of the URL that it listens on; with TLS an `s` follows. */
  readonly scheme: string;
  /** Flags of its own. */
  readonly flags?: F;
  /** Reads them into plain data, which can be sent to Workers. */
  readonly parse?: (values: FlagValues<F>) => M;
  /** Listens on the given loop. */
  readonly listen: (loop: Loop, flags: ListenFlags<M>) => Listening;
}

/** A server, to be run by {@linkcode runServer}. Its module exports it as `program`, for Workers. */
export interface ServerProgram<F extends Flags = Flags, M = unknown>
  extends LoopProgram<ServerFlags<M>> {
  readonly options: ServerOptions<F, M>;
}

/** Makes a program of a server. */
export function serverProgram<F extends Flags = Flags, M = undefined>(
  options: ServerOptions<F, M>,
): ServerProgram<F, M> {
  return {
    options,
    loop: options.loop,
    signals: options.signals,
    start(loop, flags, stop) {
      const { listener, drain, onSignal, onEnd } = options.listen(loop, flags);
      return { port: listener.port, stop: () => (drain(), stop()), onSignal, onEnd };
    },
  };
}

/**
 * Runs a server as the command line says, until Ctrl-C or SIGTERM.
 *
 * @param module The URL of the module that exports `program`.
 */
export async function runServer<F extends Flags, M>(
  module: string,
  program: ServerProgram<F, M>,
): Promise<void> {
  await runPrograms(module, program, () => {
    const flags = parseServerFlags(Deno.args, program.options);
    return flags &&
      { flags, describe: (port) => `Listening on ${describe(program.options, flags, port)}` };
  });
}

/** Reads the flags. Returns null after `--help` was answered. */
export function parseServerFlags<F extends Flags, M>(
  args: string[],
  { about, flags, parse }: ServerOptions<F, M>,
): ServerFlags<M> | null {
  const given = parseFlags(args, { about, flags: { ...SERVER_FLAGS, ...flags } });
  if (given === null) return null;
  const { values } = given;
  const { backend, isBlocking } = parseLoopFlags(values);
  const more = parse?.(values as unknown as FlagValues<F>) as M;
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
    tls: parseTlsFlags(values),
    reusePort: workers > 1,
    backend,
    isBlocking,
    workers,
    more,
  };
}

/** Where a server listens, and how it runs. */
export function describe<F extends Flags, M>(
  { scheme }: ServerOptions<F, M>,
  flags: ServerFlags,
  port: number,
): string {
  const host = flags.host.includes(":") ? `[${flags.host}]` : flags.host;
  const details = [`backend: ${flags.backend}`];
  if (flags.isBlocking) details.push("blocking");
  if (flags.workers > 1) details.push(`${flags.workers} workers`);
  return `${scheme}${flags.tls ? "s" : ""}://${host}:${port} (${details.join(", ")})`;
}
