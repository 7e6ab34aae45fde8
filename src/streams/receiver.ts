/**
 * The receiving side of a Conn: what came and nobody has taken yet, and who waits for more.
 * @module
 */
import type { Socket } from "../socket.ts";

/** So much may wait to be read, and what one event brought on top; then the peer is slowed down. */
export const HIGH_WATER_BYTES = 262_144;
/** At so little the peer may go on: half, so that one who keeps pace never pauses. */
const LOW_WATER_BYTES = HIGH_WATER_BYTES >> 1;

/** How far receiving has come. What was received may still wait to be read in each of them. */
const OPEN = 0, ENDED = 1, CANCELLED = 2, FAILED = 3;

/** A read that waits for bytes. */
interface Read {
  readonly buffer: Uint8Array;
  readonly resolve: (bytes: number | null) => void;
  readonly reject: (error: unknown) => void;
}

/** Serves `read()` and `readable` of one Conn, which take turns: each byte goes to one of them. */
export class Receiver {
  readonly #socket: Socket;
  readonly #onCancel: () => void;
  #state: typeof OPEN | typeof ENDED | typeof CANCELLED | typeof FAILED = OPEN;
  #error: unknown = undefined;
  /** Copies of what came while nobody waited. */
  readonly #chunks: Uint8Array<ArrayBuffer>[] = [];
  #bytes = 0;
  /** The socket is paused until some of it is taken. */
  #isPaused = false;
  /** Only while nothing is there to be read. */
  readonly #reads: Read[] = [];

  /** Made when it is asked for. */
  #stream: ReadableStream<Uint8Array<ArrayBuffer>> | null = null;
  #controller: ReadableByteStreamController | null = null;
  /** The stream waits for bytes. */
  #isPulled = false;
  /** The stream was told the end, or the error. */
  #isStreamOver = false;

  /** @param onCancel Called when nobody wants to read any more. */
  constructor(socket: Socket, onCancel: () => void) {
    this.#socket = socket;
    this.#onCancel = onCancel;
  }

  /** Whether nobody reads any more. */
  get isCancelled(): boolean {
    return this.#state === CANCELLED;
  }

  // ---- what the program asks for ----

  /** As `Deno.Conn.read()`. */
  read(buffer: Uint8Array): Promise<number | null> {
    if (buffer.length === 0) return Promise.resolve(0);
    if (this.#bytes > 0) {
      const count = this.#take(buffer);
      this.#taken();
      return Promise.resolve(count);
    }
    if (this.#state === FAILED) return Promise.reject(this.#error);
    if (this.#state !== OPEN) return Promise.resolve(null);
    return new Promise((resolve, reject) => this.#reads.push({ buffer, resolve, reject }));
  }

  /** The same bytes as a stream. */
  get stream(): ReadableStream<Uint8Array<ArrayBuffer>> {
    // A stream of bytes takes nothing before it is asked for, so that read() finds some beside it.
    return this.#stream ??= new ReadableStream({
      type: "bytes",
      start: (controller) => {
        this.#controller = controller;
        this.#finish();
      },
      pull: () => this.#pull(),
      cancel: () => this.#cancel(),
    });
  }

  // ---- what the socket tells ----

  /** Bytes came, in a view that is valid during the call. */
  received(bytes: Uint8Array): void {
    if (this.#state !== OPEN) return;
    let rest = bytes;
    while (rest.length > 0 && this.#reads.length > 0) {
      const { buffer, resolve } = this.#reads.shift()!;
      // The program may have transferred its buffer meanwhile: then it has no room.
      const count = Math.min(rest.length, buffer.length);
      if (count > 0) buffer.set(count === rest.length ? rest : rest.subarray(0, count));
      rest = rest.subarray(count);
      resolve(count);
    }
    while (rest.length > 0 && this.#isPulled) rest = this.#feed(rest);
    if (rest.length === 0) return;
    this.#chunks.push(rest.slice() as Uint8Array<ArrayBuffer>);
    this.#bytes += rest.length;
    if (this.#bytes < HIGH_WATER_BYTES || this.#isPaused) return;
    this.#isPaused = true;
    this.#socket.pause();
  }

  /** The peer's direction ended in order. */
  ended(): void {
    if (this.#state !== OPEN) return;
    this.#state = ENDED;
    this.#finish();
  }

  /** Nothing can come any more; what did come is still there to be read. */
  failed(error: unknown): void {
    if (this.#state !== OPEN) return;
    this.#state = FAILED;
    this.#error = error;
    this.#finish();
  }

  /** The program closed it: what came is dropped. Later reads are told another error. */
  closed(pending: unknown, later: unknown): void {
    this.#drop();
    for (const { reject } of this.#reads.splice(0)) reject(pending);
    this.#state = FAILED;
    this.#error = later;
    this.#finish();
  }

  /** Somebody else has the socket now: it goes on if it was paused from here. */
  detached(error: unknown): void {
    this.#resume();
    this.failed(error);
  }

  // ---- the stream ----

  #pull(): void {
    this.#isPulled = true;
    if (this.#bytes === 0) return this.#finish();
    this.#isPulled = false;
    const request = this.#controller!.byobRequest;
    if (request === null) {
      const chunk = this.#chunks.shift()!;
      this.#bytes -= chunk.length;
      this.#controller!.enqueue(chunk);
    } else {
      request.respond(this.#take(request.view as Uint8Array));
    }
    this.#taken();
  }

  /** Gives bytes to the stream that waits for some; returns those it had no room for. */
  #feed(bytes: Uint8Array): Uint8Array {
    this.#isPulled = false; // before the stream hears of it, for it may pull again at once
    const request = this.#controller!.byobRequest;
    if (request === null) {
      this.#controller!.enqueue(bytes.slice() as Uint8Array<ArrayBuffer>);
      return bytes.subarray(bytes.length);
    }
    const view = request.view as Uint8Array;
    const count = Math.min(bytes.length, view.length);
    view.set(bytes.subarray(0, count));
    request.respond(count);
    return bytes.subarray(count);
  }

  #cancel(): void {
    this.#isStreamOver = true;
    this.#drop();
    if (this.#state === FAILED) return;
    this.#state = CANCELLED;
    this.#finish();
    this.#resume(); // what still comes is dropped, and does not hold up the peer
    this.#onCancel();
  }

  // ---- what waits to be read ----

  /** Moves bytes that wait into a buffer; returns how many. */
  #take(buffer: Uint8Array): number {
    let filled = 0;
    while (filled < buffer.length && this.#chunks.length > 0) {
      const chunk = this.#chunks[0];
      const count = Math.min(buffer.length - filled, chunk.length);
      buffer.set(count === chunk.length ? chunk : chunk.subarray(0, count), filled);
      if (count === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(count);
      filled += count;
    }
    this.#bytes -= filled;
    return filled;
  }

  #taken(): void {
    if (this.#isPaused && this.#bytes <= LOW_WATER_BYTES) this.#resume();
    this.#finish();
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#socket.resume();
  }

  #drop(): void {
    this.#chunks.length = 0;
    this.#bytes = 0;
  }

  /** When nothing is left and nothing will come, tells who waits. */
  #finish(): void {
    if (this.#state === OPEN || this.#bytes > 0) return;
    for (const { resolve, reject } of this.#reads.splice(0)) {
      if (this.#state === FAILED) reject(this.#error);
      else resolve(null);
    }
    const controller = this.#controller;
    if (controller === null || this.#isStreamOver) return;
    if (this.#state === FAILED) {
      // Bytes for a reader that let go wait in the stream, and an error would drop them: the next
      // pull comes behind them.
      if (controller.desiredSize! < 0) return;
      this.#isStreamOver = true;
      controller.error(this.#error);
    } else {
      this.#isStreamOver = true;
      endStream(controller);
    }
  }
}

function endStream(controller: ReadableByteStreamController): void {
  try {
    controller.close();
    controller.byobRequest?.respond(0); // a reader with a buffer of its own gets it back
  } catch {
    // The bytes end within an element of that buffer: the reader has been told by a TypeError.
  }
}
