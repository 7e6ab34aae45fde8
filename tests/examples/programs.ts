/** What tests of the examples as programs have in common. */
import { isLinux } from "../support/native.ts";

/** The permissions that the README names. */
export const PERMISSIONS = ["--allow-net", "--allow-read", "--allow-ffi"];

/** Registers a test of a program; one that takes epoll by these arguments is skipped elsewhere. */
export function programTest(name: string, args: readonly string[], fn: () => Promise<void>): void {
  const needsLinux = args.includes("epoll") || args.includes("auto");
  if (isLinux || !needsLinux) Deno.test(name, fn);
  else Deno.test.ignore(`${name} (the epoll backend needs Linux)`, fn);
}

/** Registers a test of a program that works with epoll only. */
export function epollProgramTest(name: string, fn: () => Promise<void>): void {
  programTest(name, ["epoll"], fn);
}
