/**
 * The line that tells what runs and how long remains, below all that is printed.
 * @module
 */

/** Shows progress on standard error, where that is a terminal; elsewhere now and then a line. */
export class Progress {
  readonly #isTerminal = Deno.stderr.isTerminal();
  readonly #beganAt = performance.now();
  #toldAt = this.#beganAt;

  /** Shows what goes on; `share` of the work is done. */
  show(what: string, share: number): void {
    const now = performance.now();
    const percent = `${Math.floor(share * 100)}`.padStart(3);
    const line = `${percent} %  ${this.#remaining(share, now)}  ${what}`;
    if (this.#isTerminal) {
      const { columns } = Deno.consoleSize();
      write(Deno.stderr, `\r\x1b[K${line.slice(0, columns - 1)}`);
    } else if (now - this.#toldAt > 30_000) {
      this.#toldAt = now;
      write(Deno.stderr, `${line}\n`);
    }
  }

  #remaining(share: number, now: number): string {
    if (share < 0.01) return "        ";
    const seconds = Math.ceil((now - this.#beganAt) / 1000 * (1 / share - 1));
    const [minutes, rest] = [Math.floor(seconds / 60), seconds % 60];
    return `${minutes}:${String(rest).padStart(2, "0")} left`;
  }

  /** Prints to standard output. */
  print(text: string): void {
    this.clear();
    write(Deno.stdout, `${text}\n`);
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#isTerminal) write(Deno.stderr, "\r\x1b[K");
  }
}

function write(output: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += output.writeSync(bytes.subarray(at));
}
