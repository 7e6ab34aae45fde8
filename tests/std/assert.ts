/**
 * The part of `@std/assert` that the tests here use, with the same signatures, over Deno's built-in
 * `node:assert/strict`. JSR is not reachable everywhere this project is built, so deno.json maps
 * `@std/assert` to this file; `CONTRIBUTING.md` tells how to map it to `jsr:@std/assert` instead.
 */
import { deepStrictEqual, notDeepStrictEqual } from "node:assert/strict";

// deno-lint-ignore no-explicit-any -- a constructor's parameters do not matter here
type AnyConstructor<T = unknown> = abstract new (...args: any[]) => T;

/** The values that count as false in a condition. */
export type Falsy = false | 0 | 0n | "" | null | undefined;

/** Thrown by every assertion of this module. */
export class AssertionError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

/** Fails unless `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/** Fails unless `expr` is falsy. */
export function assertFalse(expr: unknown, msg = ""): asserts expr is Falsy {
  if (expr) throw new AssertionError(msg);
}

/** Fails unless both values are deeply equal. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  if (isBytes(actual) && isBytes(expected)) return assertEqualBytes(actual, expected, msg);
  try {
    deepStrictEqual(actual, expected);
  } catch (error) {
    throw new AssertionError(`Values are not equal${suffix(msg)}\n${messageOf(error)}`);
  }
}

/** Fails if both values are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  try {
    notDeepStrictEqual(actual, expected);
  } catch {
    throw new AssertionError(
      `Expected actual: ${show(actual)} not to be: ${show(expected)}${suffix(msg)}`,
    );
  }
}

/** Fails unless both are the same value, as `Object.is` sees it. */
export function assertStrictEquals<T>(
  actual: unknown,
  expected: T,
  msg?: string,
): asserts actual is T {
  if (Object.is(actual, expected)) return;
  throw new AssertionError(
    `Values are not strictly equal${suffix(msg)}\n  actual: ${show(actual)}\nexpected: ${
      show(expected)
    }`,
  );
}

/** Fails if both are the same value, as `Object.is` sees it. */
export function assertNotStrictEquals<T>(actual: T, expected: T, msg?: string): void {
  if (!Object.is(actual, expected)) return;
  throw new AssertionError(
    `Expected "actual" to not be strictly equal to: ${show(actual)}${suffix(msg)}`,
  );
}

/** Fails unless the numbers differ by no more than `tolerance` (a ten-millionth of `expected`). */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance: number = Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7,
  msg?: string,
): void {
  if (Object.is(actual, expected)) return;
  const delta = Math.abs(expected - actual);
  if (delta <= tolerance) return;
  throw new AssertionError(
    `Expected actual: "${actual}" to be close to "${expected}": ` +
      `delta "${delta}" is greater than "${tolerance}"${suffix(msg)}`,
  );
}

/** Fails if `actual` is null or undefined. */
export function assertExists<T>(actual: T, msg?: string): asserts actual is NonNullable<T> {
  if (actual !== undefined && actual !== null) return;
  throw new AssertionError(
    `Expected actual: "${actual}" to not be null or undefined${suffix(msg)}`,
  );
}

/** Fails unless `actual` is an instance of `expectedType`. */
export function assertInstanceOf<T extends AnyConstructor>(
  actual: unknown,
  expectedType: T,
  msg = "",
): asserts actual is InstanceType<T> {
  if (actual instanceof expectedType) return;
  throw new AssertionError(
    `Expected object to be an instance of "${expectedType.name || "anonymous class"}" ` +
      `but was ${kindOf(actual)}${suffix(msg)}`,
  );
}

/** Fails unless `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (actual.includes(expected)) return;
  throw new AssertionError(
    `Expected actual: ${show(actual)} to contain: ${show(expected)}${suffix(msg)}`,
  );
}

/** Fails unless `actual` matches the pattern. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  // A global or sticky pattern remembers where it stopped; search() ignores that and leaves it be.
  if (actual.search(expected) !== -1) return;
  throw new AssertionError(
    `Expected actual: ${show(actual)} to match: ${show(expected)}${suffix(msg)}`,
  );
}

/** Fails unless `actual > expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (actual > expected) return;
  throw new AssertionError(`Expect ${show(actual)} > ${show(expected)}${suffix(msg)}`);
}

/** Fails unless `actual >= expected`. */
export function assertGreaterOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (actual >= expected) return;
  throw new AssertionError(`Expect ${show(actual)} >= ${show(expected)}${suffix(msg)}`);
}

/** Fails unless `actual < expected`. */
export function assertLess<T>(actual: T, expected: T, msg?: string): void {
  if (actual < expected) return;
  throw new AssertionError(`Expect ${show(actual)} < ${show(expected)}${suffix(msg)}`);
}

/** Fails unless `actual <= expected`. */
export function assertLessOrEqual<T>(actual: T, expected: T, msg?: string): void {
  if (actual <= expected) return;
  throw new AssertionError(`Expect ${show(actual)} <= ${show(expected)}${suffix(msg)}`);
}

/** Fails unless `fn` throws; returns what it threw. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/** Fails unless `fn` throws an `ErrorClass` whose message contains `msgIncludes`; returns it. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: AnyConstructor<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows(
  fn: () => unknown,
  classOrMsg?: AnyConstructor<Error> | string,
  msgIncludes?: string,
  msg?: string,
): unknown {
  const [ErrorClass, note] = readErrorArguments(classOrMsg, msg);
  try {
    fn();
  } catch (error) {
    checkError(error, ErrorClass, msgIncludes, note);
    return error;
  }
  throw new AssertionError(`Expected function to throw${suffix(note)}`);
}

/** Fails unless the promise of `fn` rejects; resolves to what it rejected with. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/** Fails unless the promise of `fn` rejects with an `ErrorClass` whose message contains `msgIncludes`. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: AnyConstructor<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects(
  fn: () => PromiseLike<unknown>,
  classOrMsg?: AnyConstructor<Error> | string,
  msgIncludes?: string,
  msg?: string,
): Promise<unknown> {
  const [ErrorClass, note] = readErrorArguments(classOrMsg, msg);
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch (error) {
    // An API that promises to reject must not throw in the caller's face instead.
    throw new AssertionError(`Function throws when expected to reject${suffix(note)}`, {
      cause: error,
    });
  }
  try {
    await promise;
  } catch (error) {
    checkError(error, ErrorClass, msgIncludes, note);
    return error;
  }
  throw new AssertionError(`Expected function to reject${suffix(note)}`);
}

/** Fails always. */
export function fail(msg?: string): never {
  throw new AssertionError(`Failed assertion${suffix(msg) || "."}`);
}

/** Fails always: marks a place that must not be reached. */
export function unreachable(msg?: string): never {
  throw new AssertionError(`Unreachable${suffix(msg) || "."}`);
}

function checkError(
  error: unknown,
  ErrorClass: AnyConstructor<Error> | undefined,
  msgIncludes: string | undefined,
  note: string | undefined,
): void {
  if (ErrorClass === undefined) return;
  // The unexpected error goes along as the cause: its own stack is what tells what went wrong.
  if (!(error instanceof Error)) {
    throw new AssertionError(
      `A non-Error object was thrown or rejected: ${show(error)}${suffix(note)}`,
      { cause: error },
    );
  }
  if (!(error instanceof ErrorClass)) {
    throw new AssertionError(
      `Expected error to be instance of "${ErrorClass.name}", but was ${kindOf(error)}` +
        suffix(note),
      { cause: error },
    );
  }
  if (msgIncludes !== undefined && !error.message.includes(msgIncludes)) {
    throw new AssertionError(
      `Expected error message to include ${show(msgIncludes)}, but got ${show(error.message)}` +
        suffix(note),
      { cause: error },
    );
  }
}

function readErrorArguments(
  classOrMsg: AnyConstructor<Error> | string | undefined,
  msg: string | undefined,
): [AnyConstructor<Error> | undefined, string | undefined] {
  return typeof classOrMsg === "string" ? [undefined, classOrMsg] : [classOrMsg, msg];
}

/** Bytes apart: the general way takes 5 s to report 10,000 differing bytes, and minutes for 100,000. */
function assertEqualBytes(actual: Uint8Array, expected: Uint8Array, msg?: string): void {
  const shared = Math.min(actual.length, expected.length);
  let at = 0;
  while (at < shared && actual[at] === expected[at]) at++;
  if (at === shared && actual.length === expected.length) return;
  const from = Math.max(0, at - 8);
  throw new AssertionError(
    `Bytes are not equal${suffix(msg)}: ${actual.length} against ${expected.length} expected, ` +
      `first difference at ${at}\n  actual from ${from}: ${actual.subarray(from, at + 24)}` +
      `\nexpected from ${from}: ${expected.subarray(from, at + 24)}`,
  );
}

function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array && value.constructor === Uint8Array;
}

function kindOf(value: unknown): string {
  if (value === null) return `"null"`;
  if (typeof value !== "object") return `"${typeof value}"`;
  return `"${value.constructor?.name ?? "Object"}"`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function show(value: unknown): string {
  return Deno.inspect(value, { depth: 6, strAbbreviateSize: 400 });
}

function suffix(msg: string | undefined): string {
  return msg ? `: ${msg}` : "";
}
