/**
 * The HTTP server of http_server.ts on several cores: a loop in each of several Workers, all on one
 * port, and how much each of them does. The system spreads the connections over the Workers by their
 * addresses (reusePort), which is uneven where there are few. With `--hand-over` one loop accepts for
 * all, and gives each connection to the Worker that has the fewest.
 *
 * deno run --allow-net --allow-read --allow-ffi examples/cluster.ts --help
 *
 * @module
 */
// deno-lint-ignore-file no-console -- this is a program
import { httpContext, httpServer } from "./http_server.ts";
import { runMain, UsageError } from "./support/errors.ts";
import { type Flags, LOOP_FLAGS, parseNumber } from "./support/flags.ts";
import { Acceptor, adoptFrom, Inbox } from "./support/hand_over.ts";
import { type LoopProgram, type Running, runUntilSignal } from "./support/program.ts";
import {
  describe,
  parseServerFlags,
  type ServerFlags,
  type ServerOptions,
} from "./support/server.ts";
import { describeCounts, SharedCounts, sumOf } from "./support/shared_counts.ts";
import { type RunningWorkers, startWorkers } from "./support/workers.ts";

/** How often a Worker tells what it has done, in milliseconds. */
const PUBLISH_MS = 250;

const FLAGS = {
  backend: { ...LOOP_FLAGS.backend, default: "epoll" },
  workers: { value: "N", about: "threads, each with a loop", default: "2" },
  "hand-over": {
    about: "one loop accepts for all, and gives to the one with the fewest connections",
  },
  stats: {
    value: "SECONDS",
    about: "how often to tell what each worker has done; 0 for only at the end",
    default: "2",
  },
} as const satisfies Flags;

interface ClusterFlags {
  readonly handOver: boolean;
  readonly statsSeconds: number;
}

/** What the main thread and the Workers share. */
interface Shared {
  readonly counts: SharedArrayBuffer;
  /** With `--hand-over`: one for each Worker. */
  readonly inboxes: SharedArrayBuffer[] | null;
}

const options: ServerOptions<typeof FLAGS, ClusterFlags> = {
  about: "A small HTTP/1.1 server on several cores: GET / says hello.",
  scheme: "http",
  flags: FLAGS,
  parse(values) {
    if (values["hand-over"] && values.backend === "deno") {
      throw new UsageError(
        "--hand-over needs --backend epoll: the deno backend has no descriptors to hand over",
      );
    }
    return {
      handOver: values["hand-over"],
      statsSeconds: parseNumber("--stats", values.stats, 0, 86_400),
    };
  },
  listen: httpServer,
};

/** What a Worker is told. */
interface WorkerFlags extends ServerFlags<Shared> {
  /** Which one it is, from 0. */
  readonly worker: number;
}

/** What each Worker runs. */
export const program: LoopProgram<WorkerFlags> = {
  start(loop, flags, shutdown) {
    const { worker, more: { counts: shared, inboxes } } = flags;
    const counts = new SharedCounts(shared);
    const publish = () => counts.publish(worker, loop.stats());
    // A loop without a listener would end at once: there the timer keeps it running, until shutdown.
    loop.createTimer({ fallthrough: inboxes === null }).set(publish, PUBLISH_MS, PUBLISH_MS);
    if (inboxes === null) {
      const { listener, drain } = httpServer(loop, flags);
      return { port: listener.port, stop: () => (drain(), shutdown()), onEnd: publish };
    }
    const { context, drain } = httpContext(loop, flags.tls);
    const stop = () => (drain(), shutdown());
    const onWakeup = adoptFrom(new Inbox(inboxes[worker]), context, stop);
    return { stop, onWakeup, onEnd: publish };
  },
};

async function main(): Promise<void> {
  const flags = parseServerFlags(Deno.args, options);
  if (flags === null) return;
  if (flags.backend !== "epoll") {
    throw new UsageError(
      "a cluster needs --backend epoll: the deno backend shares no port, nor descriptors",
    );
  }
  const { workers, more: { handOver, statsSeconds } } = flags;
  const counts = new SharedCounts(workers);
  const running = handOver
    ? await startHandingOver(flags, counts)
    : await startAll(flags, { counts: counts.shared, inboxes: null });
  const report = new Report(counts);
  if (statsSeconds > 0) report.every(statsSeconds);
  const how = handOver ? "; one accepts for all" : "";
  await runUntilSignal(
    { ...running, stop: () => (report.goOn(), running.stop()) },
    `Listening on ${describe(options, flags, running.port!)}${how}`,
  );
  report.end();
}

/** Starts the Workers. */
function startAll(flags: ServerFlags, more: Shared): Promise<RunningWorkers> {
  const flagsOf = (worker: number): WorkerFlags => ({ ...flags, more, worker });
  return startWorkers(import.meta.url, { ...flagsOf(0), workers: flags.workers }, { flagsOf });
}

/** Has this thread accept, and the Workers do all else. */
async function startHandingOver(
  flags: ServerFlags<ClusterFlags>,
  counts: SharedCounts,
): Promise<Running> {
  const { state, partial } = Deno.permissions.querySync({ name: "net" });
  if (state !== "granted" || partial) {
    throw new UsageError("--hand-over needs --allow-net without a host: a descriptor names none");
  }
  const { host, port, workers } = flags;
  const acceptor = new Acceptor(
    { host, port },
    Array.from({ length: workers }, () => new Inbox()),
  );
  const inboxes = acceptor.inboxes.map(({ shared }) => shared);
  const { handles, signal, run } = await startAll(flags, { counts: counts.shared, inboxes });
  return {
    port: acceptor.port,
    signal,
    stop: () => acceptor.stop(),
    run: async () => {
      await Promise.all([acceptor.run(handles), run()]);
      acceptor.free();
      if (acceptor.refused > 0) console.log(`${acceptor.refused} refused: no worker had room`);
    },
  };
}

/** Tells what each Worker has done: on a terminal in a line that is written again and again. */
class Report {
  readonly #counts: SharedCounts;
  #timer: ReturnType<typeof setInterval> | undefined;
  #isRewritten = false;

  constructor(counts: SharedCounts) {
    this.#counts = counts;
  }

  every(seconds: number): void {
    this.#timer = setInterval(() => this.#line(), seconds * 1000);
  }

  /** Something else was written: leaves it where it is. */
  goOn(): void {
    this.#isRewritten = false;
  }

  /** The last word, with a line for each Worker. */
  end(): void {
    clearInterval(this.#timer);
    const rows = this.#counts.read();
    rows.forEach((row, i) => console.log(`worker ${i + 1}: ${describeCounts(row)}`));
    console.log(`together: ${describeCounts(sumOf(rows))}`);
  }

  #line(): void {
    const rows = this.#counts.read();
    const text = rows.map((row, i) => `${i + 1}: ${describeCounts(row)}`).join(" | ");
    if (!Deno.stdout.isTerminal()) return console.log(text);
    const { columns } = Deno.consoleSize();
    const clear = this.#isRewritten ? "\x1b[1A\x1b[2K" : ""; // up one line, and empty it
    console.log(clear + text.slice(0, columns - 1));
    this.#isRewritten = true;
  }
}

if (import.meta.main) await runMain(main);
