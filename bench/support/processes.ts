/**
 * Processes of the benchmark: pinned to cores, with what they use read from `/proc`.
 * @module
 */
/** A process that was started, and is ended with `using`. */
export class Process implements AsyncDisposable {
  readonly pid: number;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #printed: Promise<void>;
  readonly #stderr: Promise<string>;
  #lines: string[] = [];
  #lineCame = () => {};

  /** Starts it on these cores, as `taskset` names them. */
  constructor(command: readonly string[], cores: string) {
    this.#child = new Deno.Command("taskset", {
      args: ["-c", cores, ...command],
      env: { NO_COLOR: "1" },
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.pid = this.#child.pid; // taskset becomes the command
    this.#input = this.#child.stdin.getWriter();
    this.#printed = this.#readLines();
    this.#stderr = new Response(this.#child.stderr).text();
  }

  async #readLines(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      this.#lines.push(...lines);
      this.#lineCame();
    }
  }

  /** The next line that it prints. Throws when it ends, or is silent for so many seconds. */
  async readLine(seconds: number): Promise<string> {
    if (this.#lines.length === 0) {
      const came = new Promise<void>((resolve) => this.#lineCame = resolve);
      const deadline = new Promise<void>((_, reject) => {
        const timer = setTimeout(
          () => reject(new Error(`silent for ${seconds} s`)),
          seconds * 1000,
        );
        came.then(() => clearTimeout(timer));
        this.#printed.then(() => clearTimeout(timer));
      });
      await Promise.race([came, this.#printed, deadline]);
    }
    const line = this.#lines.shift();
    if (line !== undefined) return line;
    const [first] = (await this.#stderr).trim().split("\n");
    throw new Error(`ended: ${first || `code ${(await this.#child.status).code}`}`);
  }

  /** The lines that it has printed and nobody has read. */
  takeLines(): string[] {
    return this.#lines.splice(0);
  }

  /** Writes a line to its standard input. */
  async writeLine(line: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(line + "\n"));
  }

  /** Moves all of its threads to these cores. */
  async pin(cores: string): Promise<void> {
    await output("taskset", ["-apc", cores, String(this.pid)]);
  }

  /** Nanoseconds of CPU that its threads, and those of its children, have used. */
  cpuNanoseconds(): number {
    return sum(this.#tree().map(schedstat));
  }

  /** The part of its CPU time that was spent in user space: ticks of 10 ms, of user and of all. */
  cpuTicks(): { user: number; all: number } {
    const ticks = this.#tree().map((pid) => {
      const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
      const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
      return { user: Number(fields[11]), all: Number(fields[11]) + Number(fields[12]) };
    });
    return { user: sum(ticks.map(({ user }) => user)), all: sum(ticks.map(({ all }) => all)) };
  }

  /** Bytes of memory, shared ones in proportion (PSS). */
  memoryBytes(): number {
    const text = Deno.readTextFileSync(`/proc/${this.pid}/smaps_rollup`);
    return Number(/^Pss:\s+(\d+)/m.exec(text)![1]) * 1024;
  }

  /** It and its children. */
  #tree(): number[] {
    const pids = [this.pid];
    for (const pid of pids) {
      for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
        const children = ifThere(() => Deno.readTextFileSync(`/proc/${pid}/task/${name}/children`));
        pids.push(...(children ?? "").split(" ").filter(Boolean).map(Number));
      }
    }
    return pids;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch { /* it has ended */ }
    this.#input.close().catch(() => {});
    await Promise.all([this.#child.status, this.#printed, this.#stderr]);
  }
}

function schedstat(pid: number): number {
  const tasks = ifThere(() => [...Deno.readDirSync(`/proc/${pid}/task`)]) ?? [];
  return sum(tasks.map(({ name }) => {
    const text = ifThere(() => Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`));
    return Number((text ?? "0").split(" ")[0]);
  }));
}

/** A thread may end between being listed and being read. */
function ifThere<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || isGone(error)) return undefined;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ESRCH";
}

/** What a command prints; null where it is not there, or fails. */
export async function output(command: string, args: readonly string[]): Promise<string | null> {
  try {
    const { success, stdout } = await new Deno.Command(command, {
      args: [...args],
      stderr: "null",
    }).output();
    return success ? new TextDecoder().decode(stdout) : null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
