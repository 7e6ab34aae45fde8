/**
 * Programs in a Deno of their own: for what a process shows only as a whole, such as its
 * permissions, its exit code or how long it lives.
 */
import { fail } from "@std/assert";

/** How long a program may take before it counts as hanging, in milliseconds. */
const HANG_MS = 30_000;

/** The URL of `mod.ts`, for import statements of programs. */
export const modUrl: string = new URL("../../mod.ts", import.meta.url).href;

/** What a program is run with. */
export interface ProgramOptions {
  /** Flags of `deno run`. @default {["--allow-all"]} */
  flags?: string[];
  /** The limit of open descriptors. @default {the test's own} */
  descriptors?: number;
  /** The program's `Deno.args`. */
  args?: string[];
}

/** What became of a program. */
export interface ProgramResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a program, TypeScript as text or the URL of a file, to its end. */
export async function runProgram(
  source: string | URL,
  options: ProgramOptions = {},
): Promise<ProgramResult> {
  return await resultOf(spawn(source, options));
}

/** What a program comes to that ends by itself; fails where it does not. */
export async function resultOf(child: Deno.ChildProcess): Promise<ProgramResult> {
  const watchdog = setTimeout(() => child.kill("SIGKILL"), HANG_MS);
  const { code, signal, stdout, stderr } = await child.output();
  clearTimeout(watchdog);
  const decoder = new TextDecoder();
  const result = { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
  if (signal !== null) fail(`the program was ended by ${signal}: ${JSON.stringify(result)}`);
  return result;
}

/** A program that is talked to while it runs. */
export class Program {
  readonly #child: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #watchdog: ReturnType<typeof setTimeout>;
  #rest = "";
  #hasEnded = false;

  constructor(source: string | URL, options: ProgramOptions = {}) {
    this.#child = spawn(source, options, "inherit");
    this.#watchdog = setTimeout(() => this.#child.kill("SIGKILL"), HANG_MS);
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** The next line that it prints. */
  async line(): Promise<string> {
    while (!this.#rest.includes("\n")) {
      const { value, done } = await this.#lines.read();
      if (done) fail(`the program ended without printing a line more than ${this.#rest}`);
      this.#rest += value;
    }
    const end = this.#rest.indexOf("\n");
    const line = this.#rest.slice(0, end);
    this.#rest = this.#rest.slice(end + 1);
    return line;
  }

  /** Sends it a signal. */
  signal(name: Deno.Signal): void {
    this.#child.kill(name);
  }

  /** Waits until it ends by itself; its exit code. */
  async ended(): Promise<number> {
    const { code } = await this.#child.status;
    this.#hasEnded = true;
    clearTimeout(this.#watchdog);
    await this.#lines.cancel();
    return code;
  }

  /** Ends it, unless it has ended. */
  async kill(): Promise<void> {
    if (this.#hasEnded) return;
    clearTimeout(this.#watchdog);
    this.#child.kill("SIGKILL");
    await this.#lines.cancel();
    await this.#child.status;
  }
}

function spawn(
  source: string | URL,
  { flags = ["--allow-all"], descriptors, args = [] }: ProgramOptions,
  stderr: "piped" | "inherit" = "piped",
): Deno.ChildProcess {
  // data: URLs need no file, and importing one no permission. A file has its import map.
  const program = source instanceof URL
    ? [source.href]
    : ["--no-config", `data:application/typescript,${encodeURIComponent(source)}`];
  const command = [
    Deno.execPath(),
    "run",
    "--quiet",
    "--no-prompt",
    "--no-lock",
    "--no-check",
    ...flags,
    ...program,
    ...args,
  ];
  const limited = descriptors === undefined
    ? command
    : ["sh", "-c", `ulimit -n ${descriptors} && exec "$@"`, "sh", ...command];
  return new Deno.Command(limited[0], {
    args: limited.slice(1),
    stdin: "null",
    stdout: "piped",
    stderr,
    env: { NO_COLOR: "1" },
  }).spawn();
}
