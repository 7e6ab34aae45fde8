/**
 * Deno's permissions, asked for before libc is: what Deno would refuse to do itself is not done
 * through libc either.
 * @module
 */
import { resolve } from "node:path/posix";
import { checkAddress } from "../src/options.ts";
import { bracket } from "./address.ts";

/** Throws unless `--allow-net` grants the host, as a name or an address, and the port. */
export function checkNet(host: string, port: number): void {
  require({ name: "net", host: `${bracket(host)}:${port}` }, `net access to "${host}:${port}"`);
}

/** Whether `--allow-net` grants it, without asking anybody. */
export function isNetGranted(host: string, port: number): boolean {
  const descriptor = { name: "net", host: `${bracket(host)}:${port}` } as const;
  return Deno.permissions.querySync(descriptor).state === "granted";
}

/** Throws if `--deny-net` refuses an address that a granted name led to. */
export function checkNotDenied(ip: string, port: number): void {
  const host = `${bracket(ip)}:${port}`;
  if (Deno.permissions.querySync({ name: "net", host }).state !== "denied") return;
  throw notCapable(`net access to "${host}"`, "net");
}

/**
 * Throws unless a unix path is granted, for the net and in the file system. Returns the path that was
 * asked for: grants are for the path without its `..`, which the system would walk by way of symbolic
 * links to somewhere else.
 */
export function checkUnixPath(what: string, path: string): string {
  if (path[0] === "\0") { // no grant can name an abstract name, so it takes them all
    require({ name: "net" }, `net access to "unix:${path}"`);
    return path;
  }
  const absolute = resolve(path);
  require({ name: "read", path: absolute }, `read access to "${absolute}"`);
  require({ name: "write", path: absolute }, `write access to "${absolute}"`);
  require({ name: "net", host: `unix:${absolute}` }, `net access to "unix:${absolute}"`);
  try {
    Deno.lstatSync(absolute); // refuses /proc and the like, of which grants know nothing
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) throw error;
  }
  checkAddress(what, { path: absolute }, 0); // its length once more
  return absolute;
}

/** Throws unless all of the net is granted: what a raw descriptor leads to, nobody knows. */
export function checkRawDescriptors(what: string): void {
  const { state, partial } = Deno.permissions.querySync({ name: "net" });
  if (state === "granted" && partial !== true) return;
  throw notCapable(`net access without limits for ${what}`, "net");
}

function require(descriptor: Deno.PermissionDescriptor, what: string): void {
  if (Deno.permissions.querySync(descriptor).state === "granted") return;
  // As Deno does: asks the user where there is one.
  if (Deno.permissions.requestSync(descriptor).state === "granted") return;
  throw notCapable(what, descriptor.name);
}

function notCapable(what: string, flag: string): Deno.errors.NotCapable {
  return new Deno.errors.NotCapable(
    `Requires ${what}, run again with the --allow-${flag} flag`,
  );
}
