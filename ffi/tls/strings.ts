/**
 * Text to and from C.
 * @module
 */

const encoder = new TextEncoder();

/** With the NUL at the end, in memory that V8 does not move. A NUL inside would cut it short. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  if (text.includes("\0")) throw new TypeError("Cannot pass text with a NUL to C");
  const bytes = encoder.encode(text);
  const terminated = new Uint8Array(new ArrayBuffer(bytes.length + 1));
  terminated.set(bytes);
  return terminated;
}

/** The text at a pointer, `""` at none. */
export function readCString(pointer: Deno.PointerValue): string {
  return pointer === null ? "" : Deno.UnsafePointerView.getCString(pointer);
}
