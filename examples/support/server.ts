/**
 * How the example servers start, run in this thread or in Workers, and what Ctrl-C does.
 * @module
 */
// deno-lint-ignore-file no-console -- these are programs
import { type ListenSocket, Loop } from "@usockets/usockets";
import { runMain } from "./errors.ts";
import { BACKENDS, type ListenFlags, parseServerFlags, type ServerFlags } from "./flags.ts";
import { startWorkers } from "./workers.ts";

/** A server, to be run by {@linkcode runServer}. Its module exports it as `program`, for Workers. */
export interface ServerProgram {
  /** One line for `--help`. */
  readonly about: string;
  /** Of the URL that it listens on; with TLS an `s` follows. */
  readonly scheme: string;
  /** Listens on the given loop. `drain` tells the connections to finish. */
  readonly listen: (
    loop: Loop,
    flags: ListenFlags,
  ) => { listener: ListenSocket; drain: () => void };
}

/** A server that listens, in this thread or in Workers. */
export interface ListeningServer {
  readonly port: number;
  /** Shuts it down gracefully. */
  readonly stop: () => void;
  /** Runs it until it is shut down. */
  readonly run: () => Promise<unknown>;
}

/** So long connections may take to finish after Ctrl-C. */
const GRACE_SECONDS = 5;

/**
 * Runs a server as the command line says, until Ctrl-C or SIGTERM.
 *
 * @param module The URL of the module that exports `program`.
 */
export async function runServer(module: string, program: ServerProgram): Promise<void> {
  await runMain(async () => {
    const flags = parseServerFlags(Deno.args, program.about);
    if (flags === null) return;
    // A loop that blocks its thread would hold up the signals too: it gets a Worker.
    const server = flags.isBlocking || flags.workers > 1
      ? await startWorkers(module, flags)
      : listenHere(program, flags);
    onFirstSignal(() => {
      console.log(`Shutting down, in ${GRACE_SECONDS} s at the latest`);
      server.stop();
    });
    console.log(`Listening on ${describe(program, flags, server.port)}`);
    await server.run();
  });
}

/** Makes a loop in this thread and listens on it. Any thread can stop it by a wakeup. */
export function listenHere(
  program: ServerProgram,
  flags: ServerFlags,
): ListeningServer & { loop: Loop } {
  const loop = new Loop({ backend: BACKENDS[flags.backend], onWakeup: () => stop() });
  const { listener, drain } = program.listen(loop, flags);
  const stop = () => {
    drain();
    loop.shutdown({ graceSeconds: GRACE_SECONDS });
  };
  const run = async () => {
    if (flags.isBlocking) loop.runBlocking();
    else await loop.run();
    loop.free();
  };
  return { loop, port: listener.port, stop, run };
}

function describe(program: ServerProgram, flags: ServerFlags, port: number): string {
  const host = flags.host.includes(":") ? `[${flags.host}]` : flags.host;
  const details = [`backend: ${flags.backend}`];
  if (flags.isBlocking) details.push("blocking");
  if (flags.workers > 1) details.push(`${flags.workers} workers`);
  return `${program.scheme}${flags.tls ? "s" : ""}://${host}:${port} (${details.join(", ")})`;
}

/** Calls back at the first signal. The second ends the process, as signals do. */
function onFirstSignal(callback: () => void): void {
  const listener = () => {
    for (const signal of SIGNALS) Deno.removeSignalListener(signal, listener);
    callback();
  };
  for (const signal of SIGNALS) Deno.addSignalListener(signal, listener);
}

const SIGNALS: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
