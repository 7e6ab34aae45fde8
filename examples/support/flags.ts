/**
 * The flags of the example programs: a table that is parsed and shown by `--help`, and the flags
 * that most of them share.
 * @module
 */
// deno-lint-ignore-file no-console -- these are programs
import { parseArgs, type ParseArgsConfig } from "node:util";
import {
  autoBackend,
  type BackendFactory,
  denoConn,
  epoll,
  Loop,
  type TlsOptions,
} from "@usockets/usockets";
import { UsageError } from "./errors.ts";

/** A flag: one that takes a value names it, and may have a default; others are on or off. */
export interface Flag {
  /** What stands for the value in `--help`, such as `PORT`. */
  readonly value?: string;
  readonly default?: string;
  /** May be given several times. */
  readonly multiple?: true;
  readonly about: string;
}

/** Flags by name, in the order of `--help`. */
export type Flags = Readonly<Record<string, Flag>>;

/** What was given for each flag. */
export type FlagValues<F extends Flags> = {
  readonly [K in keyof F]: F[K] extends { value: string } ? (
      F[K] extends { multiple: true } ? string[]
        : F[K] extends { default: string } ? string
        : string | undefined
    )
    : boolean;
};

/** What a program takes on its command line. */
export interface CommandLine<F extends Flags> {
  /** What the program does, for `--help`. */
  readonly about: string;
  readonly flags: F;
  /** Names of what stands without a flag, in order; optional ones in brackets, as `[PIPELINE]`. */
  readonly positionals?: readonly string[];
}

/** What was given. */
export interface Arguments<F extends Flags> {
  readonly values: FlagValues<F>;
  readonly positionals: string[];
}

/** Reads the command line. Returns null after `--help` was answered. */
export function parseFlags<F extends Flags>(
  args: string[],
  commandLine: CommandLine<F>,
): Arguments<F> | null {
  const names = commandLine.positionals ?? [];
  const { values, positionals } = parse(args, commandLine.flags, names.length > 0);
  if (values.help) {
    console.log(help(commandLine));
    return null;
  }
  const needed = names.filter((name) => !/[[\]]/.test(name)).length;
  if (positionals.length < needed || positionals.length > names.length) {
    throw new UsageError(`give ${names.join(" ")}; see --help`);
  }
  return { values: values as FlagValues<F>, positionals };
}

function parse(args: string[], flags: Flags, allowPositionals: boolean) {
  const options: ParseArgsConfig["options"] = Object.fromEntries(
    Object.entries(flags).map(([name, { value, multiple, default: otherwise }]) => {
      if (value === undefined) return [name, { type: "boolean" as const, default: false }];
      if (multiple) return [name, { type: "string" as const, multiple, default: [] }];
      return [name, {
        type: "string" as const,
        ...(otherwise === undefined ? {} : { default: otherwise }),
      }];
    }),
  );
  try {
    return parseArgs({
      args,
      allowPositionals,
      options: { ...options, help: { type: "boolean", default: false } },
    });
  } catch (error) {
    // Node's own message goes on about positional arguments after its first sentence.
    throw new UsageError(`${(error as Error).message.split(/\. |\n/)[0]}; see --help`);
  }
}

function help({ about, flags, positionals = [] }: CommandLine<Flags>): string {
  const all: Flags = { ...flags, help: { about: "show this" } };
  const rows = Object.entries(all).map(([name, flag]) => {
    const left = flag.value === undefined ? `--${name}` : `--${name} ${flag.value}`;
    const otherwise = flag.default === undefined ? "" : ` (${flag.default})`;
    return [left, flag.about + otherwise];
  });
  const width = Math.max(...rows.map(([left]) => left.length));
  return [
    about,
    ...(positionals.length === 0 ? [] : ["", `  ${positionals.join(" ")}`]),
    "",
    ...rows.map(([left, text]) => `  ${left.padEnd(width)}  ${text}`),
    ...("backend" in flags ? ["", "The epoll backend needs Linux and --allow-ffi."] : []),
  ].join("\n");
}

/** The backends by name. */
export const BACKENDS = { deno: denoConn, epoll, auto: autoBackend } as const satisfies Record<
  string,
  BackendFactory
>;

/** Flags that say how a loop runs. */
export const LOOP_FLAGS = {
  backend: {
    value: "NAME",
    about: "deno, epoll, or auto for the fastest that works here",
    default: "deno",
  },
  mode: {
    value: "MODE",
    about: "run beside the rest of Deno, or blocking: faster, epoll only",
    default: "run",
  },
} as const satisfies Flags;

/** How a loop is to run: plain data, which can be sent to Workers. */
export interface LoopFlags {
  /** What `auto` comes to here is known already. */
  readonly backend: "deno" | "epoll";
  /** The loop has its thread for itself. */
  readonly isBlocking: boolean;
}

/** Reads {@linkcode LOOP_FLAGS}. */
export function parseLoopFlags(values: FlagValues<typeof LOOP_FLAGS>): LoopFlags {
  const backend = parseBackend(values.backend);
  const { mode } = values;
  if (mode !== "run" && mode !== "blocking") {
    throw new UsageError(`--mode must be run or blocking, not ${mode}`);
  }
  if (mode === "blocking" && backend === "deno") {
    throw new UsageError("--mode blocking needs --backend epoll: the deno backend cannot block");
  }
  return { backend, isBlocking: mode === "blocking" };
}

/** What a backend's name comes to here; throws where it does not work. */
function parseBackend(name: string): "deno" | "epoll" {
  if (!Object.hasOwn(BACKENDS, name)) {
    throw new UsageError(`--backend must be deno, epoll or auto, not ${name}`);
  }
  using loop = new Loop({ backend: BACKENDS[name as keyof typeof BACKENDS] });
  return loop.backendName as "deno" | "epoll";
}

/** Flags of a server's TLS. */
export const TLS_FLAGS = {
  tls: { about: "speak TLS, with --cert and --key" },
  cert: { value: "FILE", about: "certificate chain, PEM" },
  key: { value: "FILE", about: "private key, PEM" },
  passphrase: { value: "TEXT", about: "decrypts the private key" },
} as const satisfies Flags;

/** Reads {@linkcode TLS_FLAGS}. */
export function parseTlsFlags(values: FlagValues<typeof TLS_FLAGS>): TlsOptions | undefined {
  const { tls, cert, key, passphrase } = values;
  if (tls && (cert === undefined || key === undefined)) {
    throw new UsageError("--tls needs --cert and --key");
  }
  if (!tls && (cert ?? key ?? passphrase) !== undefined) {
    throw new UsageError("--cert, --key and --passphrase need --tls");
  }
  return tls ? { certFile: cert, keyFile: key, passphrase } : undefined;
}

/** Reads a whole number. */
export function parseNumber(flag: string, text: string, lowest: number, highest: number): number {
  const value = /^\d+$/.test(text) ? Number(text) : NaN;
  if (!(value >= lowest && value <= highest)) {
    throw new UsageError(
      `${flag} must be a whole number from ${lowest} to ${highest}, not ${JSON.stringify(text)}`,
    );
  }
  return value;
}
