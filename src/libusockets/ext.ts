/**
 * User data as C has it: memory of a given size.
 * @module
 */
// deno-lint-ignore-file camelcase -- the header's names
import type { us_ext_size } from "./types.ts";

/** User data of a new structure. @internal */
export function makeExt(ext_size: us_ext_size): unknown {
  if (typeof ext_size === "function") return ext_size();
  checkSize(ext_size);
  return ext_size === 0 ? undefined : new Uint8Array(ext_size);
}

/** What `socketExt` is for user data of that size. @internal */
export function extMaker(ext_size: us_ext_size): (() => unknown) | undefined {
  if (typeof ext_size === "function") return ext_size;
  checkSize(ext_size);
  return ext_size === 0 ? undefined : () => new Uint8Array(ext_size);
}

/**
 * User data of a structure that is resized: what it held is still there, as far as it fits.
 * @internal
 */
export function resizedExt(ext: unknown, ext_size: us_ext_size): unknown {
  if (typeof ext_size === "function") return ext_size();
  checkSize(ext_size);
  if (!(ext instanceof Uint8Array)) return ext ?? makeExt(ext_size);
  if (ext.length === ext_size) return ext;
  if (ext_size === 0) return undefined; // as makeExt() has it
  const resized = new Uint8Array(ext_size);
  resized.set(ext.subarray(0, ext_size));
  return resized;
}

function checkSize(ext_size: number): void {
  if (Number.isSafeInteger(ext_size) && ext_size >= 0) return;
  throw new RangeError(
    `Cannot make user data: "ext_size" must be a number of bytes or a function, not ${ext_size}`,
  );
}
