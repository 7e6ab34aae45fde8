/**
 * What the proxy counts and logs.
 * @module
 */

/** Indices of the byte counters. */
export const TO_UPSTREAM = 0, TO_CLIENT = 1;

/** So many lines a second are logged; how many more there were is told behind them. */
const LINES_PER_SECOND = 10;

/** Counters of one loop, and its log of failed connections. */
export class ProxyStats {
  /** A typed array: counting beyond 2^31 allocates nothing. */
  readonly bytes = new Float64Array(2);
  connections = 0;
  readonly errors = new Map<string, number>();
  readonly #log: ((line: string) => void) | null;
  #second = 0;
  #lines = 0;

  /** @param log Gets the lines; null for none. */
  constructor(log: ((line: string) => void) | null) {
    this.#log = log;
  }

  /** Something went wrong with a connection, or with one of its upstreams. */
  error(kind: string, line: string): void {
    this.errors.set(kind, (this.errors.get(kind) ?? 0) + 1);
    if (this.#log === null) return;
    const second = Math.floor(performance.now() / 1000);
    if (second !== this.#second) {
      const left = this.#lines - LINES_PER_SECOND;
      if (left > 0) this.#log(`(and ${left} more)`);
      this.#second = second;
      this.#lines = 0;
    }
    if (this.#lines++ < LINES_PER_SECOND) this.#log(`${kind}: ${line}`);
  }

  /** One line. */
  toString(open: number): string {
    const [up, down] = this.bytes;
    const errors = [...this.errors].map(([kind, count]) => `${kind} ${count}`).join(", ");
    return `${this.connections} connections, ${open} open, ${up} bytes to upstreams, ` +
      `${down} to clients; errors: ${errors || "none"}`;
  }
}
