/**
 * Where the benchmark runs, and on what.
 * @module
 */
import type { Machine } from "./results.ts";
import { output } from "./processes.ts";

/** Reads it from the system, and asks each runtime for its version. */
export async function describeMachine(): Promise<Machine> {
  const cpuInfo = Deno.readTextFileSync("/proc/cpuinfo");
  const commands: Record<string, [command: string, flag: string]> = {
    node: ["node", "--version"],
    bun: ["bun", "--version"],
    cc: ["cc", "--version"],
    openssl: ["openssl", "version"],
  };
  const versions: Record<string, string> = { deno: Deno.version.deno, usockets: ownVersion() };
  for (const [name, [command, flag]] of Object.entries(commands)) {
    const text = await output(command, [flag]);
    const version = /\d+\.\d+[\w.]*/.exec(text?.split("\n")[0].replace(/\(.*?\)/, "") ?? "")?.[0];
    if (version !== undefined) versions[name] = version;
  }
  return {
    cpu: /^model name\s*:\s*(.+)$/m.exec(cpuInfo)?.[1] ?? Deno.build.arch,
    cores: navigator.hardwareConcurrency,
    memoryGiB: Math.round(Deno.systemMemoryInfo().total / 2 ** 30),
    kernel: Deno.osRelease(),
    versions,
  };
}

function ownVersion(): string {
  const file = new URL("../../deno.json", import.meta.url);
  return JSON.parse(Deno.readTextFileSync(file)).version;
}
