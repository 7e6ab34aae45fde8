/**
 * How the micro benchmarks are written down: a body that does one thing so many times, for what takes
 * nanoseconds cannot be told from the reading of the clock.
 *
 * Deno times a body that takes less than 10 µs in a batch of ten thousand and ignores `start()` and
 * `end()` there, so a body has to take longer than that: `times` is chosen so.
 * @module
 */

interface Named {
  readonly group: string;
  /** What is done; told apart by it, so there is only one of a name. */
  readonly name: string;
  /** How often the body does it. */
  readonly times: number;
  /** Left out of the measurement: what must be there before. */
  prepare?(): void;
}

/** Something that is done so many times before it returns. */
export interface Benchmark extends Named {
  run(times: number): void;
  /** Left out of the measurement: what has to be cleared away. */
  clear?(): void;
}

/** Something that is done so many times before its promise resolves. */
export interface AsyncBenchmark extends Named {
  runAsync(times: number): Promise<void> | void;
  /** Left out of the measurement: what has to be cleared away. */
  clear?(): Promise<void>;
}

/** Registers a benchmark. Its name tells `bench/micro.ts` what to divide by. */
export function bench(benchmark: Benchmark | AsyncBenchmark): void {
  const { group, times } = benchmark;
  const name = times === 1 ? benchmark.name : `${benchmark.name} ×${times}`;
  Deno.bench({ group, name, fn: bodyOf(benchmark) });
}

/** An async function costs a turn of promises: what needs none must not have it measured. */
function bodyOf(benchmark: Benchmark | AsyncBenchmark): Deno.BenchDefinition["fn"] {
  const { times } = benchmark;
  if ("runAsync" in benchmark) {
    return async (b) => {
      benchmark.prepare?.();
      b.start();
      const done = benchmark.runAsync(times);
      if (done !== undefined) await done;
      b.end();
      await benchmark.clear?.();
    };
  }
  return (b) => {
    benchmark.prepare?.();
    b.start();
    benchmark.run(times);
    b.end();
    benchmark.clear?.();
  };
}
