/**
 * Finding the epoll descriptor that Deno's runtime waits on in this thread.
 *
 * Every thread has one of its own, and nothing names it. But while a thread waits, the system tells
 * which call it is in and with which arguments. So another thread of Deno's pool reads that, while
 * this one waits for its answer. Deno itself reads nothing of /proc without all permissions, so
 * libc does.
 * @module
 */
import { O_CLOEXEC, O_RDONLY } from "./constants.ts";
import type { Libc } from "./libc.ts";

/** Numbers of epoll_wait, epoll_pwait and epoll_pwait2. */
const WAITS = Deno.build.arch === "x86_64" ? [232, 281, 441] : [22, 441];

/** This thread may not be waiting yet when it is looked at; mostly the first or second look does. */
const TRIES = 30;

/** The descriptor of this thread's reactor, or -1. */
export async function findReactor(libc: Libc): Promise<number> {
  const path = cString(`/proc/self/task/${libc.gettid()}/syscall`);
  for (let i = 0; i < TRIES; i++) {
    // The other thread falls asleep meanwhile: awake it would be quicker than this one begins to wait.
    await new Promise((resolve) => setTimeout(resolve, 1));
    const file = libc.open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -1;
    const buffer = new Uint8Array(new ArrayBuffer(256));
    const count = await libc.readAsync(file, buffer, buffer.length);
    libc.close(file);
    // "232 0x4 0x7f… …": the call's number and its arguments; "running" while in none.
    const [call, argument] = text(buffer, count).split(" ");
    const fd = Number(argument);
    if (WAITS.includes(Number(call)) && isEpoll(libc, fd)) return fd;
  }
  return -1;
}

function isEpoll(libc: Libc, fd: number): boolean {
  const buffer = new Uint8Array(new ArrayBuffer(256));
  const count = libc.readlink(cString(`/proc/self/fd/${fd}`), buffer, buffer.length);
  return text(buffer, count) === "anon_inode:[eventpoll]";
}

function cString(value: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${value}\0`);
}

function text(buffer: Uint8Array, count: number): string {
  return new TextDecoder().decode(buffer.subarray(0, Math.max(0, count)));
}
