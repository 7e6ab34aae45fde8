/** Programs that others wrote, as peers: what they print is awaited, what they read is sent. */
import { Changes } from "./changes.ts";
import { find } from "./preflight.ts";

/** A program that runs beside the loop; killed at the end of its scope, if it has not ended. */
export class PeerProcess implements AsyncDisposable {
  /** All that it printed, on either stream. */
  output = "";
  /** How it ended; null while it runs. */
  status: Deno.CommandStatus | null = null;
  readonly #name: string;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #changes = new Changes();
  readonly #finished: Promise<void>;
  /** How much of the output was awaited already. */
  #seen = 0;

  /** @throws {Error} That says how to install what is missing. */
  constructor(program: string, args: string[], env: Record<string, string> = {}) {
    this.#name = `${program} ${args.join(" ")}`;
    this.#child = new Deno.Command(find(program), {
      args,
      env,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    this.#finished = this.#follow();
  }

  async #follow(): Promise<void> {
    const { stdout, stderr, status } = this.#child;
    const [, , ended] = await Promise.all([this.#read(stdout), this.#read(stderr), status]);
    this.status = ended;
    this.#changes.notify();
  }

  async #read(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<void> {
    for await (const text of stream.pipeThrough(new TextDecoderStream())) {
      this.output += text;
      this.#changes.notify();
    }
  }

  /** Waits until it prints this, behind what was awaited before; returns the match. */
  async until(pattern: RegExp | string): Promise<RegExpExecArray> {
    const wanted = typeof pattern === "string" ? new RegExp(RegExp.escape(pattern)) : pattern;
    let match: RegExpExecArray | null = null;
    await this.#changes.until(() => {
      match = wanted.exec(this.output.slice(this.#seen));
      if (match === null && this.status !== null) {
        throw new Error(`${this.#name} ended without printing ${wanted}:\n${this.output}`);
      }
      return match !== null;
    }, () => `${this.#name} does not print ${wanted}:\n${this.output}`);
    this.#seen += match!.index + match![0].length;
    return match!;
  }

  /** Types something. A program that has ended does not mind. */
  async send(text: string): Promise<void> {
    await this.#input.write(new TextEncoder().encode(text)).catch(() => {});
  }

  /** Ends its input. */
  async endInput(): Promise<void> {
    await this.#input.close().catch(() => {});
  }

  /** Waits until it ends by itself; its exit code, and -1 for a signal. */
  async ended(): Promise<number> {
    await this.#changes.until(
      () => this.status !== null,
      () => `${this.#name} does not end:\n${this.output}`,
    );
    await this.endInput();
    return this.status!.signal === null ? this.status!.code : -1;
  }

  /** Sends it a signal. */
  signal(name: Deno.Signal): void {
    if (this.status === null) this.#child.kill(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.status === null) {
      try {
        this.#child.kill("SIGKILL");
      } catch { // it ended this moment
      }
    }
    await this.endInput();
    await this.#finished;
  }
}
