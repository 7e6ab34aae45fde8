/** Programs in a network of their own: what takes a link that is cut, or a name server that is silent. */
import { type ProgramResult, resultOf } from "./subprocess.ts";

/** What a program has for itself: processes too, of which the first takes all others along. */
const OWN = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"];

/** Why no program can have its own; undefined where one can. */
export const whyNoNamespaces: string | undefined = Deno.build.os !== "linux"
  ? "needs Linux"
  : succeeds("mount --version && nsenter --version && ip -V")
  ? succeeds(`unshare ${OWN.join(" ")} ip link add us0 type veth peer name us1`)
    ? undefined
    : "needs root"
  : "needs iproute2 and util-linux";

function succeeds(script: string): boolean {
  try {
    return new Deno.Command("sh", { args: ["-c", script], stdout: "null", stderr: "null" })
      .outputSync().success;
  } catch {
    return false; // no shell
  }
}

/** What Deno is called with to run a program that is given as text, for scripts of the shell. */
export function denoRun(source: string, deno: string = Deno.execPath()): string {
  const url = `data:application/typescript,${encodeURIComponent(source)}`;
  const flags = "--quiet --no-prompt --no-lock --no-check --no-config --unstable-net --allow-all";
  return `"${deno}" run ${flags} '${url.replaceAll("'", "%27")}'`;
}

/** Runs a script in a network and with mounts of its own; everything that it started ends with it. */
export async function runInNamespace(script: string): Promise<ProgramResult> {
  const child = new Deno.Command("unshare", {
    args: [...OWN, "sh", "-ec", script],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
  return await resultOf(child);
}
