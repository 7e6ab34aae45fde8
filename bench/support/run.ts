/**
 * Runs scenarios: starts who takes part, and has each measured once in every round, in random order.
 * @module
 */
import type { Contestant, ServerOptions } from "./contestants.ts";
import { type CertificateFiles, type Cores, Entrant } from "./entrant.ts";
import { countCalls, measure, measureMemory, prepare, type Sample, tidyUp } from "./measure.ts";
import type { ContestantResults, ScenarioResults } from "./results.ts";
import type { Scenario } from "./scenarios.ts";

/** How a run is made. */
export interface RunOptions {
  readonly contestants: readonly Contestant[];
  readonly scenarios: readonly Scenario[];
  readonly rounds: number;
  /** How long a sample takes. */
  readonly seconds: number;
  readonly files: CertificateFiles;
  readonly cores: Cores;
  /** Count system calls where a scenario asks for it. */
  readonly countsCalls: boolean;
  /** Told before each step; `share` of the work is done. */
  readonly onProgress: (what: string, share: number) => void;
  /** Told when a table is complete. */
  readonly onScenario: (results: ScenarioResults) => void;
}

/** Arithmetic of a request where loops are counted: some 50 µs. */
const SCALING_WORK = 50_000;
/** Rounds, at most, where each needs fresh processes. */
const FRESH_ROUNDS = 3;

/** What becomes of one contestant in one scenario. */
class Tally {
  readonly rounds: Readonly<Record<string, number>>[] = [];
  readonly errors: Record<string, number> = {};
  systemCalls: number | undefined;

  add({ metrics, errors }: Sample): void {
    this.rounds.push(metrics);
    this.addErrors(errors);
  }

  addErrors(errors: Readonly<Record<string, number>>): void {
    for (const [kind, count] of Object.entries(errors)) {
      this.errors[kind] = (this.errors[kind] ?? 0) + count;
    }
  }
}

/** Runs all. */
export async function run(options: RunOptions): Promise<ScenarioResults[]> {
  const runner = new Runner(options);
  const results: ScenarioResults[] = [];
  for (const group of groupsOf(options.scenarios)) results.push(...await runner.runGroup(group));
  return results;
}

/** Scenarios that the same servers can serve, next to each other. */
function groupsOf(scenarios: readonly Scenario[]): Scenario[][] {
  const groups = new Map<string, Scenario[]>();
  for (const scenario of scenarios) {
    const { service, bytes, isTls, kind } = scenario;
    const isApart = needsFresh(scenario) || kind === "lateness";
    const key = JSON.stringify([service, bytes, isTls, isApart && scenario.id]);
    groups.set(key, [...groups.get(key) ?? [], scenario]);
  }
  return [...groups.values()];
}

function needsFresh({ kind }: Scenario): boolean {
  return kind === "memory" || kind === "scaling";
}

class Runner {
  readonly #options: RunOptions;
  readonly #freshRounds: number;
  readonly #total: number;
  #done = 0;

  constructor(options: RunOptions) {
    this.#options = options;
    const { contestants, scenarios, rounds } = options;
    this.#freshRounds = Math.min(rounds, FRESH_ROUNDS);
    this.#total = sum(
      scenarios.map((scenario) =>
        contestants.filter((one) => !one.cannot?.(serverOptions(scenario))).length *
        this.#weight(scenario)
      ),
    );
  }

  /** Seconds that a contestant takes in a scenario, to tell how long remains. */
  #weight(scenario: Scenario): number {
    const { seconds, rounds } = this.#options;
    const opening = scenario.connections * (scenario.isTls ? 8e-4 : 8e-5);
    if (scenario.kind === "memory") return this.#freshRounds * (2.5 + opening);
    if (scenario.kind === "scaling") return this.#freshRounds * (2 * seconds + 1.5);
    const sample = scenario.isWrk ? (scenario.isTls ? 2.1 : 1.1) : secondsOf(scenario, seconds);
    return 0.6 + opening + rounds * (sample + 0.02) + (scenario.areCallsCounted ? 0.8 : 0);
  }

  /** Runs scenarios with the same servers. */
  async runGroup(group: readonly Scenario[]): Promise<ScenarioResults[]> {
    const [first] = group;
    const contestants = this.#options.contestants
      .filter((one) => !one.cannot?.(serverOptions(first)));
    if (needsFresh(first)) return [await this.#runFresh(first, contestants)];
    await using stack = new AsyncDisposableStack();
    const entrants = new Map<Contestant, Entrant | string>();
    await Promise.all(contestants.map(async (contestant) => {
      entrants.set(contestant, await this.#start(contestant, first, stack));
    }));
    const results = [];
    for (const scenario of group) {
      results.push(await this.#runScenario(scenario, contestants, entrants));
    }
    return results;
  }

  /** Starts a contestant; tells why where it cannot. */
  async #start(
    contestant: Contestant,
    scenario: Scenario,
    stack: AsyncDisposableStack,
    more: Partial<ServerOptions> = {},
  ): Promise<Entrant | string> {
    const { files, cores } = this.#options;
    const options = { ...serverOptions(scenario), ...more };
    try {
      return stack.use(await Entrant.start(contestant, options, files, cores));
    } catch (error) {
      return `cannot start: ${(error as Error).message}`;
    }
  }

  async #runScenario(
    scenario: Scenario,
    contestants: readonly Contestant[],
    entrants: Map<Contestant, Entrant | string>,
  ): Promise<ScenarioResults> {
    const { rounds, cores, countsCalls } = this.#options;
    const seconds = secondsOf(scenario, this.#options.seconds);
    const records = new Map(contestants.map((one) => [one, new Tally()]));
    const step = this.#weight(scenario) / (rounds + 1);

    /** What fails ends this contestant's part in all scenarios of the group. */
    const attempt = async (one: Contestant, round: string, act: (e: Entrant) => Promise<void>) => {
      const entrant = entrants.get(one)!;
      this.#tell(scenario, one, round, step);
      if (typeof entrant === "string") return;
      try {
        await act(entrant);
      } catch (error) {
        await entrant[Symbol.asyncDispose]();
        entrants.set(one, (error as Error).message);
      }
    };

    for (const one of contestants) {
      await attempt(one, "opens", async (entrant) => {
        records.get(one)!.addErrors(await prepare(entrant, scenario, cores));
      });
    }
    for (let round = 1; round <= rounds; round++) {
      for (const one of shuffled(contestants)) {
        await attempt(one, `round ${round} of ${rounds}`, async (entrant) => {
          records.get(one)!.add(await measure(entrant, scenario, seconds, cores));
        });
        fill(records.get(one)!.rounds, round);
      }
    }
    for (const one of contestants) {
      const entrant = entrants.get(one)!;
      const record = records.get(one)!;
      if (typeof entrant === "string") record.errors[entrant] = 1;
      else {
        if (countsCalls && scenario.areCallsCounted) record.systemCalls = await countCalls(entrant);
        await tidyUp(entrant, scenario, cores);
      }
    }
    return this.#finish(scenario, records);
  }

  /** Each round has processes of its own. */
  async #runFresh(
    scenario: Scenario,
    contestants: readonly Contestant[],
  ): Promise<ScenarioResults> {
    const records = new Map(contestants.map((one) => [one, new Tally()]));
    for (let round = 1; round <= this.#freshRounds; round++) {
      for (const one of shuffled(contestants)) {
        const record = records.get(one)!;
        const step = this.#weight(scenario) / this.#freshRounds;
        this.#tell(scenario, one, `round ${round} of ${this.#freshRounds}`, step);
        try {
          record.add(
            scenario.kind === "memory"
              ? await this.#measureMemory(scenario, one)
              : await this.#measureScaling(scenario, one),
          );
        } catch (error) {
          record.errors[(error as Error).message] = 1;
        }
        fill(record.rounds, round);
      }
    }
    return this.#finish(scenario, records);
  }

  async #measureMemory(scenario: Scenario, contestant: Contestant): Promise<Sample> {
    await using stack = new AsyncDisposableStack();
    const entrant = await this.#start(contestant, scenario, stack);
    if (typeof entrant === "string") throw new Error(entrant);
    return await measureMemory(entrant, scenario.connections);
  }

  async #measureScaling(scenario: Scenario, contestant: Contestant): Promise<Sample> {
    const { cores, seconds } = this.#options;
    const rateOf = async (workers: number) => {
      await using stack = new AsyncDisposableStack();
      const more = { workers, work: SCALING_WORK };
      const entrant = await this.#start(contestant, scenario, stack, more);
      if (typeof entrant === "string") throw new Error(entrant);
      await entrant.pinGenerator(cores.all);
      const errors = await prepare(entrant, scenario, cores);
      const sample = await measure(entrant, scenario, seconds, cores);
      return { rate: sample.metrics.rate, errors: { ...errors, ...sample.errors } };
    };
    const one = await rateOf(1), all = await rateOf(cores.count);
    return {
      metrics: { rate1: one.rate, rateN: all.rate, speedup: all.rate / one.rate },
      errors: { ...one.errors, ...all.errors },
    };
  }

  #tell({ title }: Scenario, { name }: Contestant, round: string, step: number): void {
    this.#options.onProgress(`${title}: ${name}, ${round}`, this.#done / this.#total);
    this.#done += step;
  }

  #finish(scenario: Scenario, records: ReadonlyMap<Contestant, Tally>): ScenarioResults {
    const { id, title, kind, note, isTls, connections, bytes } = scenario;
    const contestants = [...records].map(([one, record]): ContestantResults => {
      const { rounds, errors, systemCalls } = record;
      const name = isTls ? one.tlsName ?? one.name : one.name;
      return { id: one.id, name, rounds, errors, systemCalls };
    });
    const results = { id, title, kind, note, isTls, connections, bytes, contestants };
    this.#options.onScenario(results);
    return results;
  }
}

function serverOptions({ service, bytes, isTls, kind }: Scenario): ServerOptions {
  const isLateness = kind === "lateness";
  return { service, bytes, isTls, isLateness, workers: kind === "scaling" ? 2 : 1 };
}

/** Rare things need longer to be seen. */
function secondsOf({ kind, connections }: Scenario, seconds: number): number {
  if (kind === "latency" || kind === "lateness") return 1;
  return kind === "bulk" || connections > 1000 ? 2 * seconds : seconds;
}

/** A round that was missed has its place all the same. */
function fill(rounds: Readonly<Record<string, number>>[], count: number): void {
  if (rounds.length < count) rounds.push({});
}

function shuffled<T>(values: readonly T[]): T[] {
  const all = [...values];
  for (let i = all.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [all[i], all[j]] = [all[j], all[i]];
  }
  return all;
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
