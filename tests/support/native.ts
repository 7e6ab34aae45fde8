/** What tests of the epoll backend stand on: descriptors made by libc, and checks that none is left. */
import { assertEquals } from "@std/assert";
import type { Loop } from "@usockets/usockets";
import { AF_UNIX, SOCK_STREAM } from "../../ffi/constants.ts";
import { openLibc } from "../../ffi/libc.ts";
import { settledDescriptors, steadyDescriptors } from "./descriptors.ts";

/** Why tests of the epoll backend are skipped elsewhere. */
export const isLinux: boolean = Deno.build.os === "linux";

/** The two ways of running a loop that are awaited. */
export const modes = ["run", "runBlocking"] as const;

/** How long a loop may run before it counts as hanging, in milliseconds. */
const HANG_MS = 20_000;

/** What the library itself does not call. */
const more = isLinux
  ? Deno.dlopen("libc.so.6", {
    // int socketpair(int domain, int type, int protocol, int sv[2])
    socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
    // int pipe(int fds[2])
    pipe: { parameters: ["buffer"], result: "i32" },
  }).symbols
  : undefined;

/**
 * Registers a test that is skipped where there is no epoll, and that fails if it leaves a
 * descriptor open.
 */
export function nativeTest(name: string, test: () => void | Promise<void>): void {
  if (!isLinux) return Deno.test.ignore(`${name} (the epoll backend needs Linux)`, () => {});
  openLibc(); // stays open for the process's life: it must not open inside a test
  Deno.test(name, async () => {
    const before = await steadyDescriptors();
    await test();
    assertEquals(await settledDescriptors(before) - before, 0, "descriptors were left open");
  });
}

/** Runs a loop to its end in one of the two ways; fails where that takes for ever. */
export async function runLoop(loop: Loop, mode: typeof modes[number] = "run"): Promise<void> {
  let hangs = false;
  const watchdog = loop.createTimer({ fallthrough: true });
  watchdog.set(() => {
    hangs = true;
    loop.free();
  }, HANG_MS);
  await loop[mode]();
  if (!loop.isFreed) watchdog.close();
  if (hangs) throw new Error(`the loop did not end in ${HANG_MS} ms`);
}

/** Two connected unix sockets. */
export function socketPair(type = SOCK_STREAM): [number, number] {
  const fds = new Int32Array(new ArrayBuffer(8));
  assertEquals(more!.socketpair(AF_UNIX, type, 0, new Uint8Array(fds.buffer)), 0);
  return [fds[0], fds[1]];
}

/** The end of a pipe to read from, and the one to write to. */
export function pipe(): [number, number] {
  const fds = new Int32Array(new ArrayBuffer(8));
  assertEquals(more!.pipe(new Uint8Array(fds.buffer)), 0);
  return [fds[0], fds[1]];
}

/** Closes descriptors. */
export function close(...fds: number[]): void {
  for (const fd of fds) assertEquals(openLibc().close(fd), 0, `descriptor ${fd} is closed already`);
}

/** Reads what is there. */
export function read(fd: number, length = 65_536): Uint8Array<ArrayBuffer> {
  const buffer = new Uint8Array(new ArrayBuffer(length));
  return buffer.subarray(0, Math.max(0, openLibc().read(fd, buffer, length)));
}

/** Writes bytes; returns how many were taken. */
export function write(fd: number, bytes: Uint8Array<ArrayBuffer>): number {
  return openLibc().write(fd, bytes, bytes.length);
}

/** A socket option that is an int. */
export function optionOf(fd: unknown, level: number, name: number): number {
  const value = new Int32Array(new ArrayBuffer(4)), length = new Int32Array(new ArrayBuffer(4));
  length[0] = 4;
  const bytes = new Uint8Array(value.buffer);
  const result = openLibc()
    .getsockopt(fd as number, level, name, bytes, new Uint8Array(length.buffer));
  assertEquals(result, 0);
  return value[0];
}
