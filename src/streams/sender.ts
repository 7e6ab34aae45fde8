/**
 * The sending side of a Conn: writes that wait for room, in their order, and the end behind them.
 * @module
 */
import type { Socket } from "../socket.ts";
import { CONNECTING } from "../socket_state.ts";

/** A write that waits for room. */
interface Write {
  /** What is not accepted yet; null for the end. */
  rest: Uint8Array | null;
  /** Its length, to notice a program that transfers its buffer. */
  left: number;
  readonly length: number;
  readonly resolve: (bytes: number) => void;
  readonly reject: (error: unknown) => void;
}

/** Serves `write()`, `closeWrite()` and `writable` of one Conn. */
export class Sender {
  readonly #socket: Socket;
  readonly #onFinish: () => void;
  readonly #onAbort: (reason: unknown) => void;
  readonly #writes: Write[] = [];
  /** The end was asked for: nothing can be written behind it. */
  #isEnding = false;
  /** What `closeWrite()` returned while writes, or the connection, were waiting. */
  #ended: Promise<void> | null = null;
  #error: unknown = undefined;
  #hasFailed = false;

  /** Made when it is asked for. */
  #stream: WritableStream<Uint8Array> | null = null;
  #controller: WritableStreamDefaultController | null = null;

  /**
   * @param onFinish Called when our direction has ended.
   * @param onAbort Called when it cannot be ended in order.
   */
  constructor(socket: Socket, onFinish: () => void, onAbort: (reason: unknown) => void) {
    this.#socket = socket;
    this.#onFinish = onFinish;
    this.#onAbort = onAbort;
  }

  /** Whether our direction has ended. */
  get isFinished(): boolean {
    return this.#writes.length === 0 && (this.#isEnding || this.#socket.isShutDown);
  }

  // ---- what the program asks for ----

  /** As `Deno.Conn.write()`, but all of it. */
  write(bytes: Uint8Array): Promise<number> {
    if (!(bytes instanceof Uint8Array)) return Promise.reject(notBytes(bytes));
    if (this.#hasFailed) return Promise.reject(this.#error);
    if (this.#isEnding || this.#socket.isShutDown) {
      const why = "Cannot write: the writing side is closed";
      return Promise.reject(new Deno.errors.BrokenPipe(why));
    }
    const { length } = bytes;
    let rest = bytes;
    if (this.#writes.length === 0) {
      const accepted = this.#socket.write(bytes);
      if (accepted === length) return Promise.resolve(length);
      rest = bytes.subarray(accepted);
    }
    return new Promise((resolve, reject) => {
      this.#writes.push({ rest, left: rest.length, length, resolve, reject });
    });
  }

  /** As `Deno.Conn.closeWrite()`: behind all writes. */
  closeWrite(): Promise<void> {
    if (this.#hasFailed) return Promise.reject(this.#error);
    if (this.#isEnding) return this.#ended ?? Promise.resolve();
    this.#isEnding = true;
    if (this.#writes.length === 0 && (this.#socket.flags & CONNECTING) === 0) {
      this.#finish();
      return Promise.resolve();
    }
    return this.#ended = new Promise((resolve, reject) => {
      this.#writes.push({ rest: null, left: 0, length: 0, resolve: () => resolve(), reject });
    });
  }

  /** The same as a stream. */
  get stream(): WritableStream<Uint8Array> {
    return this.#stream ??= new WritableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
        if (this.#hasFailed) controller.error(this.#error);
        // A sink's abort() would wait for the write under way, which may be what cannot go on.
        const { signal } = controller;
        signal.addEventListener("abort", () => {
          this.#controller = null; // it has its error
          this.#onAbort(signal.reason);
        });
      },
      write: (chunk) => this.#writeChunk(chunk),
      close: () => this.closeWrite(),
    });
  }

  #writeChunk(chunk: Uint8Array): Promise<void> {
    if (chunk instanceof Uint8Array) return this.write(chunk) as Promise<unknown> as Promise<void>;
    // The stream fails, and nothing can be written any more.
    const error = notBytes(chunk);
    this.closed(error, error);
    this.#onAbort(error);
    throw error;
  }

  // ---- what the socket tells ----

  /** There is room. */
  pump(): void {
    for (let write = this.#writes[0]; write !== undefined; write = this.#writes[0]) {
      const { rest } = write;
      if (rest !== null) {
        const accepted = this.#socket.write(rest);
        if (accepted < rest.length) {
          write.rest = rest.subarray(accepted);
          write.left -= accepted;
          return;
        }
      }
      this.#writes.shift();
      if (rest === null) this.#finish();
      else if (rest.length !== write.left) write.reject(transferred());
      write.resolve(write.length);
    }
  }

  /** Nothing can be sent any more. */
  failed(error: unknown): void {
    if (this.#hasFailed || this.isFinished) return;
    this.closed(error, error);
  }

  /** The program closed it. Later writes are told another error. */
  closed(pending: unknown, later: unknown): void {
    this.#hasFailed = true;
    this.#error = later;
    for (const { reject } of this.#writes.splice(0)) reject(pending);
    this.#controller?.error(later); // does nothing to a stream that is closed
  }

  #finish(): void {
    this.#socket.shutdown();
    this.#onFinish();
  }
}

function transferred(): TypeError {
  return new TypeError("Cannot write: the buffer was transferred before all of it was sent");
}

function notBytes(value: unknown): TypeError {
  const kind = (value as object | null)?.constructor?.name ?? String(value);
  return new TypeError(`Cannot write: a Conn takes a Uint8Array, not ${kind}`);
}
