/**
 * The hammer test of µSockets, on the C header: thousands of sockets that write, adopt, time out, shut
 * down and close at random, in and out of handlers, while every byte and every callback is checked.
 *
 * deno run --allow-net --allow-read --allow-write --allow-ffi examples/hammer_test.ts --help
 *
 * @module
 */
// deno-lint-ignore-file no-console -- this is a program
import { us_create_loop, us_loop_free, us_loop_run } from "@usockets/usockets/libusockets";
import { makeTrialCertificates } from "./support/certificates.ts";
import { runMain, UsageError } from "./support/errors.ts";
import {
  BACKENDS,
  type Flags,
  LOOP_FLAGS,
  type LoopFlags,
  parseFlags,
  parseLoopFlags,
  parseNumber,
} from "./support/flags.ts";
import { hammer, type HammerOptions, type HammerReport } from "./support/hammer.ts";
import { whole } from "./support/load_results.ts";

const FLAGS = {
  ...LOOP_FLAGS,
  tls: { about: "speak TLS, with certificates made on the spot" },
  unix: { about: "connect by a unix socket" },
  all: { about: "each backend, mode and transport in turn" },
  connections: { value: "N", about: "connections at a time", default: "1000" },
  seconds: { value: "S", about: "begin no connection after so long", default: "60" },
  seed: { value: "N", about: "decides what each connection does (random)" },
} as const satisfies Flags;

const ABOUT =
  "Hammers a loop: sockets that do everything at random, while every byte and callback is checked.";

/**
 * Deno 2.9 closes the descriptor of a TLS connection whose peer is gone 100 ms late, in a thread of its
 * pool: some 330 a second were seen to go, and more than that pile up until there are none left.
 */
const DENO_TLS_RATE = 300;

/** One combination of backend, mode and transport. */
interface Combination extends LoopFlags {
  readonly transport: "tcp" | "unix" | "tls";
}

async function main(): Promise<void> {
  const given = parseFlags(Deno.args, { about: ABOUT, flags: FLAGS });
  if (given === null) return;
  const { values } = given;
  if (values.tls && values.unix) throw new UsageError("--tls and --unix exclude each other");
  const options = {
    seed: parseNumber("--seed", values.seed ?? `${Date.now() % 1_000_000}`, 0, 2 ** 32 - 1),
    connections: parseNumber("--connections", values.connections, 1, 10_000),
    seconds: parseNumber("--seconds", values.seconds, 1, 86_400),
  };
  const transport = values.tls ? "tls" : values.unix ? "unix" : "tcp";
  const combinations = values.all
    ? allCombinations()
    : [{ ...parseLoopFlags(values), transport } as const];
  for (const combination of combinations) {
    if (!await hammerOne(combination, options)) Deno.exit(1);
  }
}

function allCombinations(): Combination[] {
  const modes: LoopFlags[] = [{ backend: "deno", isBlocking: false }];
  if (Deno.build.os === "linux") {
    modes.push({ backend: "epoll", isBlocking: false }, { backend: "epoll", isBlocking: true });
  }
  return modes.flatMap((mode) =>
    (["tcp", "unix", "tls"] as const).map((transport) => ({ ...mode, transport }))
  );
}

/** Hammers one combination; whether nothing was wrong. */
async function hammerOne(
  { backend, isBlocking, transport }: Combination,
  options: Pick<HammerOptions, "seed" | "connections" | "seconds">,
): Promise<boolean> {
  const name = `${backend} ${transport}${isBlocking ? ", blocking" : ""}`;
  console.log(`${name}: seed ${options.seed}, ${options.connections} connections at a time`);
  const loop = us_create_loop(BACKENDS[backend], null, null, null, 0);
  try {
    const report = hammer(loop, {
      ...options,
      ratePerSecond: transport === "tls" && backend === "deno" ? DENO_TLS_RATE : undefined,
      path: transport === "unix" ? unixPath() : undefined,
      tls: transport === "tls" ? await makeTls() : undefined,
      onProgress: (report) => progress(`${name}: ${summaryOf(report)}`),
    });
    if (isBlocking) await us_loop_run(loop);
    else await loop.run(); // us_loop_run() would block on epoll
    progress("");
    return tell(name, options.seed, report);
  } finally {
    us_loop_free(loop);
  }
}

/** On Linux a name that leaves no file behind when the program is stopped. */
function unixPath(): string {
  const name = `hammer-${Deno.pid}-${crypto.randomUUID()}`;
  return Deno.build.os === "linux" ? `\0${name}` : `/tmp/${name}`;
}

async function makeTls(): Promise<HammerOptions["tls"]> {
  const { ca, server } = await makeTrialCertificates();
  return { server: { ...server }, client: { ca, serverName: "localhost" } };
}

/** Says how it went, and in which way what is wrong can be seen again. */
function tell(name: string, seed: number, report: HammerReport): boolean {
  const isClean = report.violations.length === 0;
  console.log(`${name}: ${isClean ? "clean" : "BROKEN"}, ${summaryOf(report)}`);
  const counts = [...report.counts].sort(([a], [b]) => a < b ? -1 : 1);
  console.log(`  ${counts.map(([what, count]) => `${what} ${whole(count)}`).join(", ")}`);
  for (const violation of report.violations) console.error(`  ${violation}`);
  if (!isClean) console.error(`  the same plans again: --seed ${seed}`);
  return isClean;
}

function summaryOf({ connections, open, bytes }: HammerReport): string {
  return `${whole(connections)} connections done, ${whole(open)} ends open, ` +
    `${whole(bytes / 1e6)} MB`;
}

/** Rewrites one line of a terminal. */
function progress(line: string): void {
  if (!Deno.stdout.isTerminal()) return;
  Deno.stdout.writeSync(new TextEncoder().encode(`\r\x1b[K${line}`));
}

if (import.meta.main) await runMain(main);
