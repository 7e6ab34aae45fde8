/**
 * What a load test prints while it runs: the reports of its loops, put together.
 * @module
 */
import type { LoadReport } from "./load_client.ts";
import type { LoadFlags } from "./load_flags.ts";
import { LoadResults, whole } from "./load_results.ts";

/** A line for so many connections, where lines cannot be rewritten. */
const LINE_STEP = 1000;

/** What is printed to: {@linkcode Deno.stdout}. */
export interface Output {
  isTerminal(): boolean;
  writeSync(bytes: Uint8Array): number;
}

/** Shows the reports of all workers as those of one. */
export class LoadDisplay {
  /** Of all workers that have told theirs. */
  readonly results = new LoadResults();
  readonly #total: number;
  readonly #unit: string;
  readonly #output: Output;
  readonly #startedAt = performance.now();
  readonly #connecting = new Map<number, { connected: number; failed: number }>();
  #shown = 0;
  readonly #rates = new Map<number, number>();
  #running: number;

  constructor(
    flags: LoadFlags,
    unit: string,
    output: Output = Deno.stdout,
  ) {
    this.#total = flags.connections;
    this.#running = flags.workers;
    this.#unit = unit;
    this.#output = output;
  }

  /** Takes a report. */
  show(report: LoadReport, worker: number): void {
    switch (report.kind) {
      case "connecting":
        this.#connecting.set(worker, report);
        this.#showConnecting();
        break;
      case "rate":
        this.#rates.set(worker, report.rate);
        this.#showRate();
        break;
      case "results":
        this.results.add(report.results);
        this.#rates.delete(worker);
        this.#running--;
        this.#showRate(); // the others may have waited for this one
    }
  }

  #showConnecting(): void {
    const reports = [...this.#connecting.values()];
    const connected = sum(reports.map((report) => report.connected));
    const settled = connected + sum(reports.map((report) => report.failed));
    const total = whole(this.#total);
    if (settled === this.#total) {
      const seconds = ((performance.now() - this.#startedAt) / 1000).toFixed(2);
      const of = connected === this.#total ? "" : ` of ${total}`;
      this.#print(`${whole(connected)}${of} connected in ${seconds} s`, "\n");
    } else if (this.#output.isTerminal()) {
      this.#print(`${whole(connected)} / ${total} connected`, "");
    } else if (settled - this.#shown >= LINE_STEP) {
      this.#shown = settled - settled % LINE_STEP;
      this.#print(`${whole(connected)} / ${total} connected`, "\n");
    }
  }

  /** Prints, in place of a line that is not ended yet. */
  #print(text: string, end: string): void {
    const line = this.#output.isTerminal() ? `\r\x1b[K${text}${end}` : text + end;
    this.#output.writeSync(new TextEncoder().encode(line));
  }

  #showRate(): void {
    if (this.#running === 0 || this.#rates.size < this.#running) return;
    this.#print(`${whole(sum([...this.#rates.values()]))} ${this.#unit} per second`, "\n");
    this.#rates.clear();
  }
}

/** What is about to be done, in one line. */
export function describeTarget(flags: LoadFlags, unit: string): string {
  const { target, connections, pipeline, backend } = flags;
  const details = [`backend: ${backend}`];
  if (flags.isBlocking) details.push("blocking");
  if (flags.workers > 1) details.push(`${flags.workers} workers`);
  if (flags.tls !== undefined) details.push("TLS");
  const where = "path" in target
    ? target.path.replace("\0", "@")
    : `${target.host.includes(":") ? `[${target.host}]` : target.host}:${target.port}`;
  return `${counted(connections, "connections")} to ${where}, ` +
    `${counted(pipeline, unit)} in flight on each (${details.join(", ")})`;
}

function counted(count: number, plural: string): string {
  return `${whole(count)} ${count === 1 ? plural.slice(0, -1) : plural}`;
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
