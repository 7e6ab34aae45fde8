/**
 * The process that is soaked: one loop with everything at once, both ends of each connection on it.
 * `soak/main.ts` starts and watches it.
 * @module
 */
import { Loop, type TlsOptions } from "@usockets/usockets";
import { makeTrialCertificates } from "../examples/support/certificates.ts";
import { BACKENDS } from "../examples/support/flags.ts";
import { hammer, type HammerReport } from "../examples/support/hammer.ts";
import { createHistogram, Residents } from "./support/residents.ts";
import type { Account, Line, Pulse, SoakOptions } from "./support/samples.ts";

/** How often what comes and goes is looked after, in milliseconds. */
const TICK_MS = 50;
const VIOLATIONS_MAX = 20;

/** What a hammer does at a time and begins a second, by transport. */
const HAMMERS = {
  tcp: { connections: 100, ratePerSecond: 80 },
  unix: { connections: 100, ratePerSecond: 80 },
  tls: { connections: 60, ratePerSecond: 40 },
} as const;

/** Soaks a loop in this process, and tells how it goes. */
export async function soak(options: SoakOptions, tell: (line: Line) => void): Promise<void> {
  const { ca, server } = await makeTrialCertificates();
  const tls = { server: { ...server }, client: { ca, serverName: "localhost" } };
  await warmUp(options, tls.server);
  const descriptorsBefore = countDescriptors();
  const loop = new Loop({
    backend: BACKENDS[options.backend],
    timeoutGranularityMs: 50,
    onError: (error) => world.violate(`a handler threw ${error}`),
  });
  const world = new World(loop, options, tls, tell);
  if (options.isBlocking) loop.runBlocking();
  else await loop.run();
  const { open } = loop.stats();
  loop.free();
  const descriptorsAfter = await settledDescriptors(descriptorsBefore);
  tell({ ...world.line(), rest: { descriptorsBefore, descriptorsAfter, open } });
}

class World {
  readonly #loop: Loop;
  readonly #places: Residents[];
  readonly #hammers: HammerReport[];
  readonly #latencies = createHistogram();
  readonly #counts = new Map<string, number>();
  readonly #violations: string[] = [];

  constructor(
    loop: Loop,
    { minutes, seed, connections, sampleSeconds }: SoakOptions,
    tls: { server: TlsOptions; client: TlsOptions },
    tell: (line: Line) => void,
  ) {
    this.#loop = loop;
    const seconds = minutes * 60;
    const places = [
      { name: "tcp", path: () => undefined, tls: undefined },
      { name: "unix", path: unixPath, tls: undefined },
      { name: "tls", path: () => undefined, tls },
    ] as const;
    this.#places = places.map(({ name, path, tls }, index) => {
      const count = Math.ceil(connections / places.length);
      const violate = (what: string) => this.violate(what);
      const place = {
        name,
        path: path("residents"),
        tls,
        loop,
        count,
        seed: seed + index,
        violate,
      };
      return new Residents(place, this.#latencies, this.#counts);
    });
    this.#hammers = places.map(({ name, path, tls }, index) =>
      hammer(loop, {
        ...HAMMERS[name],
        seed: seed + index,
        seconds,
        path: path("hammer"),
        tls,
      })
    );
    this.#schedule(seconds, sampleSeconds, tell);
  }

  #schedule(seconds: number, sampleSeconds: number, tell: (line: Line) => void): void {
    const ticks = this.#loop.createTimer();
    const reports = this.#loop.createTimer();
    const stop = this.#loop.createTimer();
    ticks.set(() => this.#places.forEach((place) => place.fill()), TICK_MS, TICK_MS);
    reports.set(() => tell(this.line()), sampleSeconds * 1000, sampleSeconds * 1000);
    stop.set(() => {
      for (const timer of [ticks, reports, stop]) timer.close();
      for (const place of this.#places) place.stop();
    }, seconds * 1000);
  }

  violate(what: string): void {
    if (this.#violations.length < VIOLATIONS_MAX) this.#violations.push(what);
  }

  /** How it goes, and went since the last time. */
  line(): Line {
    const line = { pulse: this.#pulse(), account: this.#account() };
    this.#latencies.reset();
    return line;
  }

  #pulse(): Pulse {
    const residents = this.#places.reduce((total, { alive }) => total + alive, 0);
    const hammered = this.#hammers.reduce((total, { open }) => total + open, 0) / 2; // both ends
    const { accepted, bytesIn } = this.#loop.stats();
    const { heapUsed, external } = Deno.memoryUsage();
    const latencies = this.#latencies;
    return {
      open: residents + Math.ceil(hammered),
      connections: accepted,
      bytes: bytesIn,
      messages: latencies.totalCount,
      p50: latencies.getValueAtPercentile(50),
      p99: latencies.getValueAtPercentile(99),
      max: latencies.totalCount === 0 ? 0 : latencies.maxValue,
      heapBytes: heapUsed,
      externalBytes: external,
    };
  }

  #account(): Account {
    const counts = Object.fromEntries(this.#counts);
    for (const [what, count] of this.#hammers.flatMap((hammer) => [...hammer.counts])) {
      counts[`hammer: ${what}`] = (counts[`hammer: ${what}`] ?? 0) + count;
    }
    const hammered = this.#hammers.flatMap(({ violations }) => violations);
    return { counts, violations: [...this.#violations, ...hammered].slice(0, VIOLATIONS_MAX) };
  }
}

/**
 * The first loop, and the first use of TLS, open things for good, and so does Deno half a second behind
 * its start, whatever a program does.
 */
async function warmUp({ backend }: SoakOptions, server: TlsOptions): Promise<void> {
  const loop = new Loop({ backend: BACKENDS[backend] });
  loop.createContext({ tls: server }).listen({ host: "127.0.0.1", port: 0 }).close();
  loop.createTimer().set(() => {}, 1500);
  await loop.run();
  loop.free();
}

/** A name that leaves no file behind when the process is stopped. */
function unixPath(name: string): string {
  return `\0soak-${name}-${Deno.pid}`;
}

function countDescriptors(): number {
  return [...Deno.readDirSync("/proc/self/fd")].length - 1; // the directory's own
}

/** Deno closes some a while later, those of TLS 100 ms. */
async function settledDescriptors(before: number): Promise<number> {
  for (let turn = 0; turn < 200 && countDescriptors() > before; turn++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return countDescriptors();
}

if (import.meta.main) {
  const encoder = new TextEncoder();
  await soak(JSON.parse(Deno.args[0]), (line) => {
    const bytes = encoder.encode(JSON.stringify(line) + "\n");
    for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
  });
}
