/**
 * What a load test counts: of one loop, and of all of them together.
 * @module
 */
import {
  build,
  decodeFromCompressedBase64,
  encodeIntoCompressedBase64,
  type Histogram,
} from "hdr-histogram-js";

/** Results as plain data, which can be sent between threads. */
export interface PlainResults {
  readonly answers: number;
  readonly refusals: number;
  readonly bytesIn: number;
  readonly seconds: number;
  readonly errors: ReadonlyMap<string, number>;
  readonly latencies: string;
}

const PERCENTILES = [50, 90, 99, 99.9, 100];

/** Counts answers, their latencies, and errors by kind. */
export class LoadResults {
  /** Answers that came, refusals among them. */
  answers = 0;
  /** Answers by which the server refused. */
  refusals = 0;
  bytesIn = 0;
  /** How long the load lasted. */
  seconds = 0;
  readonly errors: Map<string, number> = new Map();
  // Nanoseconds, to three digits. One record takes 50 ns, a hundredth of what a request costs here.
  readonly #latencies: Histogram = build({
    bitBucketSize: 32,
    highestTrackableValue: 60e9,
    numberOfSignificantValueDigits: 3,
    autoResize: true,
  });

  /** Records the latency of one answer, in milliseconds. */
  recordLatency(ms: number): void {
    this.#latencies.recordValue(Math.round(ms * 1e6));
  }

  /** Counts an answer by which the server refused. */
  refused(kind: string): void {
    this.refusals++;
    this.failed(kind);
  }

  /** Counts an error. */
  failed(kind: string): void {
    this.errors.set(kind, (this.errors.get(kind) ?? 0) + 1);
  }

  /** The latency that so many percent of all answers kept to, in milliseconds. */
  latencyAt(percentile: number): number {
    if (percentile === 100) return this.#latencies.maxValue / 1e6;
    return this.#latencies.getValueAtPercentile(percentile) / 1e6;
  }

  /** How many latencies were recorded: as many as answers came. */
  get latencyCount(): number {
    return this.#latencies.totalCount;
  }

  /** Everything, to be sent to another thread. */
  toPlain(): PlainResults {
    const { answers, refusals, bytesIn, seconds, errors } = this;
    const latencies = encodeIntoCompressedBase64(this.#latencies);
    return { answers, refusals, bytesIn, seconds, errors, latencies };
  }

  /** Adds what another loop counted at the same time. */
  add(other: PlainResults): void {
    this.answers += other.answers;
    this.refusals += other.refusals;
    this.bytesIn += other.bytesIn;
    this.seconds = Math.max(this.seconds, other.seconds);
    for (const [kind, count] of other.errors) {
      this.errors.set(kind, (this.errors.get(kind) ?? 0) + count);
    }
    if (other.answers > 0) this.#latencies.add(decodeFromCompressedBase64(other.latencies));
  }

  /** Tells it all, in lines. `unit` is what was sent, in the plural. */
  describe(unit: string): string {
    const { answers, bytesIn, seconds, errors } = this;
    const rate = seconds > 0 ? answers / seconds : 0;
    const megabytes = seconds > 0 ? bytesIn / seconds / 1e6 : 0;
    const lines = [
      `${whole(answers)} ${unit} in ${seconds.toFixed(2)} s: ` +
      `${whole(rate)} per second, ${megabytes.toFixed(2)} MB/s received`,
    ];
    if (this.latencyCount > 0) {
      const latencies = PERCENTILES.map((percentile) =>
        `${percentile === 100 ? "max" : `p${percentile}`} ${duration(this.latencyAt(percentile))}`
      );
      lines.push(`Latency: ${latencies.join(", ")}`);
    }
    const byCount = [...errors].sort(([, left], [, right]) => right - left);
    if (byCount.length > 0) lines.push("Errors:");
    for (const [kind, count] of byCount) lines.push(`  ${whole(count)} × ${kind}`);
    return lines.join("\n");
  }
}

/** A whole number, as 1,234,567. */
export function whole(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function duration(ms: number): string {
  if (ms < 1) return `${(ms * 1000).toPrecision(3)} µs`;
  return ms < 1000 ? `${ms.toPrecision(3)} ms` : `${(ms / 1000).toFixed(2)} s`;
}
