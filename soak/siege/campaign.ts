/**
 * The siege of one form of the server: calm and attacks in turn.
 * @module
 */
import { type Cores, partCores } from "../../bench/support/entrant.ts";
import { output, Process } from "../../bench/support/processes.ts";
import type { CalmRound, FormRounds, SiegeRound } from "./figures.ts";
import type { FloodReply, Role, SlowlorisReply, Target, VisitorsReply } from "./orders.ts";

/** A form of the server. */
export interface Form {
  readonly name: string;
  readonly flags: readonly string[];
  readonly isTls: boolean;
}

/** The forms, without those of TLS and with them. */
export const FORMS: readonly Form[] = [false, true].flatMap((isTls) =>
  [
    { name: "deno", flags: ["--backend", "deno"] },
    { name: "epoll, run()", flags: ["--backend", "epoll"] },
    { name: "epoll, blocking", flags: ["--backend", "epoll", "--mode", "blocking"] },
  ].map(({ name, flags }) => ({ name: `${isTls ? "HTTPS" : "HTTP"}, ${name}`, flags, isTls }))
);

/** How much of everything. */
export interface Effort {
  readonly rounds: number;
  readonly calmSeconds: number;
  readonly siegeSeconds: number;
  /** An attack that is not measured: the server's code is being compiled. */
  readonly warmUpSeconds: number;
  /** Behind an attack: what it left is done with. */
  readonly settleSeconds: number;
  readonly slow: number;
  readonly floodPerSecond: number;
  readonly visitors: number;
  readonly requestsPerSecond: number;
}

/** Files of a certificate. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

/** The defences, as somebody would set them who expects this. */
const DEFENCES = [
  ...["--idle-timeout", "60", "--request-timeout", "3"],
  ...["--handshake-timeout", "3", "--max-connections", "8000"],
];

/** How long a process may take to start, and an answer be awaited beyond what was ordered. */
const PATIENCE_SECONDS = 60;

const SERVER = new URL("../../examples/http_server.ts", import.meta.url).pathname;
const ACTOR = new URL("./actor.ts", import.meta.url).pathname;

/** Runs all rounds of a form. */
export async function besiege(
  form: Form,
  effort: Effort,
  files: CertificateFiles,
  onProgress: (what: string) => void = () => {},
): Promise<FormRounds> {
  const cores = partCores(navigator.hardwareConcurrency);
  await using stack = new AsyncDisposableStack();
  const { server, port } = await startServer(form, files, cores);
  stack.use(server);
  const target = { port, isTls: form.isTls };
  const cast = (role: Role) => stack.use(new Actor(role, target, cores.generator));
  const { visitors: connections, requestsPerSecond, slow, floodPerSecond } = effort;
  const visitors = cast({ is: "visitors", connections, perSecond: requestsPerSecond });
  const slowloris = cast({ is: "slowloris", connections: slow });
  const flood = cast({ is: "flood", perSecond: floodPerSecond });
  for (const actor of [visitors, slowloris, flood]) await actor.ready();
  for (const attacker of [slowloris, flood]) await attacker.demote();

  const rest = async (seconds: number): Promise<CalmRound> => {
    const pids = [server.pid, visitors.pid];
    const beganAt = performance.now();
    const before = pids.map(waitedNanoseconds);
    const reply = await visitors.order(seconds) as VisitorsReply;
    const elapsed = (performance.now() - beganAt) * 1e6;
    const [ofServer, ofVisitors] = pids.map((pid, i) =>
      (waitedNanoseconds(pid) - before[i]) / elapsed
    );
    return {
      visitors: reply,
      waited: { server: ofServer, visitors: ofVisitors },
    };
  };
  const attack = async (seconds: number): Promise<SiegeRound> => {
    const [seen, slow, floods] = await Promise.all([
      rest(seconds),
      slowloris.order(seconds) as Promise<SlowlorisReply>,
      flood.order(seconds) as Promise<FloodReply>,
    ]);
    return { ...seen, slowloris: slow, flood: floods };
  };

  const settle = () => new Promise((resolve) => setTimeout(resolve, effort.settleSeconds * 1000));

  onProgress("warming up");
  await rest(effort.calmSeconds);
  await attack(effort.warmUpSeconds);
  const calm: CalmRound[] = [], siege: SiegeRound[] = [];
  for (let round = 1; round <= effort.rounds; round++) {
    onProgress(`round ${round} of ${effort.rounds}`);
    await settle();
    calm.push(await rest(effort.calmSeconds));
    siege.push(await attack(effort.siegeSeconds));
  }
  await settle();
  calm.push(await rest(effort.calmSeconds));
  return { form: form.name, calm, siege };
}

/** How long the threads of a process could have run, and waited for a core. */
function waitedNanoseconds(pid: number): number {
  let sum = 0;
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    try {
      sum += Number(Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`).split(" ")[1]);
    } catch { /* it has ended since it was listed */ }
  }
  return sum;
}

async function startServer({ flags, isTls }: Form, files: CertificateFiles, cores: Cores) {
  const command = [Deno.execPath(), "run", "--allow-net", "--allow-read", "--allow-ffi"];
  const tls = isTls ? ["--tls", "--cert", files.cert, "--key", files.key] : [];
  const where = ["--host", "0.0.0.0", "--port", "0"];
  const server = new Process(
    [...command, SERVER, ...where, ...flags, ...tls, ...DEFENCES],
    cores.server,
  );
  const line = await server.readLine(PATIENCE_SECONDS);
  const port = Number(/^Listening on \w+:\/\/[\d.]+:(\d+) /.exec(line)?.[1]);
  if (!(port > 0)) throw new Error(`printed ${JSON.stringify(line)}, not its port`);
  return { server, port };
}

/** A process of the siege, in a session of its own. It ends with its standard input. */
class Actor implements AsyncDisposable {
  readonly #process: Process;

  constructor(role: Role, target: Target, cores: string) {
    const command = [Deno.execPath(), "run", "-A", ACTOR, JSON.stringify({ role, target })];
    this.#process = new Process(["setsid", ...command], cores);
  }

  /** It waits for orders. */
  async ready(): Promise<void> {
    await this.#process.readLine(PATIENCE_SECONDS);
  }

  /**
   * Makes an attacker the last to run: it shares a core with the visitors, whose own waiting for it
   * would be taken for the server's. Where the kernel groups processes by session, `nice` counts
   * inside of a session only, and the session has one of its own.
   */
  async demote(): Promise<void> {
    await output("renice", ["-n", "19", "-g", String(this.pid)]);
    try {
      Deno.writeTextFileSync(`/proc/${this.pid}/autogroup`, "19");
    } catch { /* no such grouping */ }
  }

  get pid(): number {
    return this.#process.pid;
  }

  async order(seconds: number): Promise<unknown> {
    await this.#process.writeLine(JSON.stringify({ seconds }));
    return JSON.parse(await this.#process.readLine(seconds + PATIENCE_SECONDS));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process[Symbol.asyncDispose]();
  }
}
