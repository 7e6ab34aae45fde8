/**
 * Checks every byte that a server answers.
 *
 * The same answer comes over and over. So the first is read with care and remembered, and what
 * follows is compared with it, at the speed of memcmp. A server that puts the date into its answers
 * differs once a second; that one is read with care again.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { HttpResponseParser, RESPONSE } from "../../examples/support/http_response.ts";

/** What is expected: connections to the same server share it. */
export interface Expectation {
  /** A whole answer, once it is known. */
  bytes: Buffer | null;
  /** Tells what is wrong with an answer: `""` when it is right, null when it is not complete yet. */
  readonly inspect: (answer: Buffer) => string | null;
}

/** Expects the message itself. */
export function expectEcho(message: Uint8Array): Expectation {
  return { bytes: Buffer.from(message), inspect: () => "an echo that differs" };
}

/** Expects status 200 and a body of so many `x`. */
export function expectHttp(bodyBytes: number): Expectation {
  return { bytes: null, inspect: (answer) => inspectResponse(answer, bodyBytes) };
}

const X = "x".charCodeAt(0);

function inspectResponse(answer: Buffer, bodyBytes: number): string | null {
  const parser = new HttpResponseParser();
  const event = parser.parse(answer);
  if (parser.problem !== "") return parser.problem;
  if (event !== RESPONSE) return null;
  if (parser.status !== 200) return `status ${parser.status}`;
  if (parser.offset < answer.length) return "more than one answer to a request";
  const body = answer.subarray(answer.indexOf("\r\n\r\n") + 4);
  if (body.length !== bodyBytes) return `a body of ${body.length} bytes, not ${bodyBytes}`;
  return body.every((byte) => byte === X) ? "" : "a body that differs";
}

/** Checks what comes on one connection, with one request in flight. */
export class AnswerCheck {
  /** What is wrong with what came, or `""`. */
  problem = "";
  readonly #expectation: Expectation;
  /** The answer that this one has been equal to so far. */
  #expected: Buffer | null = null;
  #position = 0;
  /** What has come of an answer that is none of the expected. */
  #other: Buffer | null = null;

  constructor(expectation: Expectation) {
    this.#expectation = expectation;
  }

  /** Takes bytes. Returns whether they complete the answer. */
  receive(data: Uint8Array): boolean {
    if (this.#other !== null) return this.#read(Buffer.concat([this.#other, data]));
    if (this.#position === 0) this.#expected = this.#expectation.bytes;
    const expected = this.#expected;
    if (expected === null) return this.#read(Buffer.from(data));
    const start = this.#position, end = start + data.length;
    const part = data.length === expected.length ? expected : expected.subarray(start, end);
    if (part.compare(data) !== 0) { // too long is unequal, too
      return this.#read(Buffer.concat([expected.subarray(0, start), data]));
    }
    if (end < expected.length) {
      this.#position = end;
      return false;
    }
    this.#position = 0;
    return true;
  }

  #read(answer: Buffer): boolean {
    const problem = this.#expectation.inspect(answer);
    this.#other = problem === null ? answer : null;
    if (problem === null) return false;
    this.problem = problem;
    if (problem === "") this.#expectation.bytes = answer;
    this.#position = 0;
    return problem === "";
  }
}

/** The stream of bulk transfers: the byte at position p is p & 255. */
export const BLOCK: Buffer = Buffer.from(Uint8Array.from({ length: 65_536 }, (_, i) => i & 255));

/** Whether `data` is what the stream has from `position` on. */
export function isOfStream(data: Uint8Array, position: number): boolean {
  // A read may be longer than a block: it is compared piece by piece.
  for (let offset = 0; offset < data.length;) {
    const start = (position + offset) & 255;
    const length = Math.min(data.length - offset, BLOCK.length - start);
    const isEqual = BLOCK.subarray(start, start + length)
      .compare(data.subarray(offset, offset += length)) === 0;
    if (!isEqual) return false;
  }
  return true;
}
