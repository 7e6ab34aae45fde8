/**
 * What the loops of several Workers have done so far, in shared memory: a thread that blocks answers
 * no messages, but anybody can look.
 * @module
 */
import type { LoopStats } from "@usockets/usockets";

/** What is counted: some of {@linkcode LoopStats}. */
export type Counts = Pick<LoopStats, "open" | "accepted" | "bytesIn" | "bytesOut">;

/** The place of each in a Worker's row. */
const FIELDS = ["open", "accepted", "bytesIn", "bytesOut"] as const;

/** A row for each Worker, which alone writes it. */
export class SharedCounts {
  /** To be sent to the Workers. */
  readonly shared: SharedArrayBuffer;
  readonly #values: BigUint64Array;

  /** For so many Workers, or what another thread has shared. */
  constructor(of: number | SharedArrayBuffer) {
    this.shared = typeof of === "number"
      ? new SharedArrayBuffer(of * FIELDS.length * BigUint64Array.BYTES_PER_ELEMENT)
      : of;
    this.#values = new BigUint64Array(this.shared);
  }

  /** Writes a Worker's row. */
  publish(worker: number, stats: Counts): void {
    FIELDS.forEach((field, i) =>
      Atomics.store(this.#values, worker * FIELDS.length + i, BigInt(stats[field]))
    );
  }

  /** All rows, as they are now. */
  read(): Counts[] {
    const rows: Counts[] = [];
    for (let start = 0; start < this.#values.length; start += FIELDS.length) {
      const [open, accepted, bytesIn, bytesOut] = FIELDS.map((_, i) =>
        Number(Atomics.load(this.#values, start + i))
      );
      rows.push({ open, accepted, bytesIn, bytesOut });
    }
    return rows;
  }
}

/** All of them together. */
export function sumOf(rows: readonly Counts[]): Counts {
  const sum = { open: 0, accepted: 0, bytesIn: 0, bytesOut: 0 };
  for (const row of rows) for (const field of FIELDS) sum[field] += row[field];
  return sum;
}

/** A row in words. */
export function describeCounts({ open, accepted, bytesIn, bytesOut }: Counts): string {
  return `${open} open, ${accepted} accepted, ${size(bytesIn)} in, ${size(bytesOut)} out`;
}

function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const [unit, scale] = bytes < 1e6 ? ["kB", 1e3] : bytes < 1e9 ? ["MB", 1e6] : ["GB", 1e9];
  return `${(bytes / (scale as number)).toFixed(1)} ${unit}`;
}
