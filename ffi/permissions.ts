/**
 * Deno's permissions, asked for before libc is: what Deno would refuse to do itself is not done
 * through libc either.
 * @module
 */
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

/**
 * Throws if `--deny-net` refuses an address that a granted name led to. The unspecified address
 * connects to this machine.
 */
export function checkConnectable(ip: string, port: number): void {
  const others = ip === "0.0.0.0" ? ["127.0.0.1"] : ip === "::" ? ["::1", "127.0.0.1"] : [];
  for (const address of [ip, ...others]) checkNotDenied(address, port);
}

/** Throws if `--deny-net` refuses an address. */
export function checkNotDenied(ip: string, port: number): void {
  const host = `${bracket(ip)}:${port}`;
  if (Deno.permissions.querySync({ name: "net", host }).state !== "denied") return;
  throw notCapable(`net access to "${host}"`, "net");
}

/** Throws unless a unix path is granted, for the net and in the file system. */
export function checkUnixPath(path: string): void {
  const what = `net access to "unix:${path}"`;
  // No grant can name an abstract name, so it takes them all.
  if (path[0] === "\0") return require({ name: "net" }, what);
  require({ name: "read", path }, `read access to "${path}"`);
  require({ name: "write", path }, `write access to "${path}"`);
  // Nor one that is relative.
  const absolute = path[0] === "/" ? path : `${Deno.cwd()}/${path}`;
  require({ name: "net", host: `unix:${absolute}` }, what);
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
