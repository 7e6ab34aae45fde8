/**
 * A contestant that runs: its server on one core, and a load generator of its own on another.
 * @module
 */
import type { Order, Reply, Target } from "../load/orders.ts";
import type { Contestant, ServerOptions } from "./contestants.ts";
import { Process } from "./processes.ts";

/** The cores, as `taskset` names them. */
export interface Cores {
  readonly server: string;
  readonly generator: string;
  readonly all: string;
  readonly count: number;
}

/** Parts the cores between server and generator. */
export function partCores(count: number): Cores {
  return {
    server: "0",
    generator: String(Math.min(1, count - 1)),
    all: `0-${count - 1}`,
    count,
  };
}

/** Where certificates are, for servers that speak TLS. */
export interface CertificateFiles {
  readonly cert: string;
  readonly key: string;
}

const generator = new URL("../load/generator.ts", import.meta.url).pathname;
/** How long a server may take to start, and an answer be awaited beyond what was ordered. */
const PATIENCE_SECONDS = 60;

/** A server and its generator, ended with `using`. */
export class Entrant implements AsyncDisposable {
  readonly contestant: Contestant;
  readonly server: Process;
  readonly port: number;
  readonly #generator: Process;

  private constructor(contestant: Contestant, server: Process, port: number, generator: Process) {
    this.contestant = contestant;
    this.server = server;
    this.port = port;
    this.#generator = generator;
  }

  /** Starts both. Throws what the server says where it cannot. */
  static async start(
    contestant: Contestant,
    options: ServerOptions,
    files: CertificateFiles,
    cores: Cores,
  ): Promise<Entrant> {
    const { service, bytes, isTls, isLateness, workers = 1, work = 0 } = options;
    const args = ["--service", service, "--size", String(bytes)];
    if (isTls) args.push("--cert", files.cert, "--key", files.key);
    if (isLateness) args.push("--lateness");
    if (workers > 1) args.push("--workers", String(workers));
    if (work > 0) args.push("--work", String(work));
    await using stack = new AsyncDisposableStack();
    const serverCores = workers > 1 || work > 0 ? cores.all : cores.server;
    const server = stack.use(new Process([...contestant.command(isTls), ...args], serverCores));
    const line = await server.readLine(PATIENCE_SECONDS);
    const port = Number(/^listening (\d+)$/.exec(line)?.[1]);
    if (!(port > 0)) throw new Error(`printed ${JSON.stringify(line)}, not its port`);
    const target: Target = { port, service, bytes, isTls };
    const command = [Deno.execPath(), "run", "-A", generator, JSON.stringify(target)];
    const entrant = new Entrant(
      contestant,
      server,
      port,
      stack.use(new Process(command, cores.generator)),
    );
    stack.move();
    return entrant;
  }

  /** Has the generator do something. */
  async order(order: Order): Promise<Reply> {
    await this.#generator.writeLine(JSON.stringify(order));
    return JSON.parse(await this.#generator.readLine(PATIENCE_SECONDS));
  }

  /** Moves the generator to these cores. */
  async pinGenerator(cores: string): Promise<void> {
    await this.#generator.pin(cores);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([
      this.server[Symbol.asyncDispose](),
      this.#generator[Symbol.asyncDispose](),
    ]);
  }
}
