/**
 * A load test for echo servers: every connection sends messages, and each byte that comes back must
 * be the one that was sent.
 *
 * deno run --allow-net --allow-read --allow-ffi examples/tcp_load_test.ts --help
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { parseNumber } from "./support/flags.ts";
import type { Receiver, Stream } from "./support/load_client.ts";
import { loadTest, runLoadTest } from "./support/load_test.ts";

/**
 * Connections send one long stream of messages without any order in its bytes, which repeats itself
 * after a prime number of them: a message that is lost, repeated or swapped shows, whatever its size.
 */
const PERIOD = 65_521;
/** At most so much is written at once. */
const CHUNK = 65_536;
/** Each connection begins so far behind the one before: a message on the wrong one shows. */
const STRIDE = 7919;

/** Compares what comes with what was sent. */
class EchoReceiver implements Receiver {
  readonly isLast = false;
  problem = "";
  readonly #expected: Buffer;
  readonly #period: number;
  readonly #messageBytes: number;
  #position: number;
  /** Bytes of the next message that are there. */
  #received = 0;

  constructor({ bytes, period, messageBytes }: Stream, start: number) {
    this.#expected = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#period = period;
    this.#messageBytes = messageBytes;
    this.#position = start;
  }

  receive(data: Uint8Array): number {
    for (let offset = 0; offset < data.length;) {
      const position = this.#position;
      const length = Math.min(data.length - offset, this.#expected.length - position);
      const end = offset + length;
      // Not by compare()'s own sourceStart and sourceEnd: Deno 2.9 checks those against the wrong ends.
      const expected = this.#expected.subarray(position, position + length);
      if (expected.compare(data, offset, end) !== 0) {
        this.problem = "not what was sent";
        return 0;
      }
      this.#position = (position + length) % this.#period;
      offset = end;
    }
    const received = this.#received + data.length;
    this.#received = received % this.#messageBytes;
    return Math.floor(received / this.#messageBytes);
  }

  end(): number {
    return 0;
  }
}

/** Bytes without any order, the same in every run. */
function scrambled(length: number): Uint8Array {
  let state = 1;
  return Uint8Array.from({ length }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state >>> 24;
  });
}

/** What {@linkcode runLoadTest} and its Workers run. */
export const program = loadTest({
  about: "A load test for echo servers, which checks every byte that comes back.",
  unit: "messages",
  flags: {
    size: { value: "BYTES", about: "size of a message", default: "1024" },
  },
  parse: ({ size }) => ({ size: parseNumber("--size", size, 1, 2 ** 30) }),
  stream({ more }) {
    const period = scrambled(PERIOD);
    const bytes = new Uint8Array(PERIOD + CHUNK);
    for (let at = 0; at < bytes.length; at += PERIOD) {
      bytes.set(period.subarray(0, bytes.length - at), at);
    }
    return { bytes, period: PERIOD, messageBytes: more.size };
  },
  startOf: (count) => count * STRIDE % PERIOD,
  createReceiver: (stream, start) => new EchoReceiver(stream, start),
});

if (import.meta.main) await runLoadTest(import.meta.url, program);
