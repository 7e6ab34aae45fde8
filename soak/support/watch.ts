/**
 * Starts the process that is soaked, and looks at it from outside.
 * @module
 */
import { describeMachine } from "../../bench/support/machine.ts";
import { Process } from "../../bench/support/processes.ts";
import type { Line, Sample, Soak, SoakOptions } from "./samples.ts";

/** So long it may be silent, behind when it should have told something: then it hangs. */
const PATIENCE_SECONDS = 90;

const world = new URL("../world.ts", import.meta.url).pathname;

/** Soaks a loop in a process of its own. */
export async function watch(
  options: SoakOptions,
  onSample: (sample: Sample, line: Line) => void,
): Promise<Soak> {
  const date = new Date().toISOString();
  const command = [Deno.execPath(), "run", "--allow-all", world, JSON.stringify(options)];
  await using process = new Process(command, `0-${navigator.hardwareConcurrency - 1}`);
  const samples: Sample[] = [];
  for (;;) {
    const text = await process.readLine(options.sampleSeconds + PATIENCE_SECONDS);
    const line: Line = JSON.parse(text);
    if (line.rest !== undefined) {
      const { cpu, cores, kernel, versions } = await describeMachine();
      const machine = `${cpu}, ${cores} cores, Linux ${kernel}, Deno ${versions.deno}`;
      return { options, date, machine, samples, account: line.account, rest: line.rest };
    }
    const sample: Sample = {
      ...line.pulse,
      seconds: (samples.length + 1) * options.sampleSeconds,
      memoryBytes: process.memoryBytes(),
      descriptors: [...Deno.readDirSync(`/proc/${process.pid}/fd`)].length,
      cpuSeconds: process.cpuNanoseconds() / 1e9,
    };
    samples.push(sample);
    onSample(sample, line);
  }
}
