/**
 * The programs that these tests need: as a program of its own it tells which are missing, and fails.
 */
// deno-lint-ignore-file no-console -- this is a program
import { existsSync } from "node:fs";

/** The packages of Debian that have them. */
const PACKAGES = {
  chromium: "chromium",
  curl: "curl",
  hexdump: "bsdextrautils", // which testssl.sh calls
  nginx: "nginx",
  node: "nodejs", // 20 or later
  openssl: "openssl",
  "redis-benchmark": "redis-tools",
  "redis-cli": "redis-tools",
  "redis-server": "redis-server",
  socat: "socat",
  testssl: "testssl.sh",
  wrk: "wrk",
};

/** Where a distribution may have put the module of nginx that passes on TCP. */
const NGINX_STREAM = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules"]
  .map((directory) => `${directory}/ngx_stream_module.so`);

/** Where nobody looks who is not root, but nginx is. */
const SYSTEM = ["/usr/sbin", "/usr/local/sbin"];

/**
 * Where a program is. Deno puts a directory into the path of who lacks `node`, where it stands in for
 * that itself: no peer, but the one under test once more.
 *
 * @throws {Error} That says how to install what is missing.
 */
export function find(program: string): string {
  if (program.startsWith("/")) return program;
  const found = [...(Deno.env.get("PATH") ?? "").split(":"), ...SYSTEM]
    .filter((directory) => directory !== "" && !directory.endsWith("/node_compat_bin"))
    .map((directory) => `${directory}/${program}`)
    .find((path) => existsSync(path));
  if (found !== undefined) return found;
  const name = PACKAGES[program as keyof typeof PACKAGES] ?? program;
  throw new Error(`Cannot find the program ${program}: apt-get install ${name}`);
}

/**
 * Where nginx's stream module is.
 *
 * @throws {Error} That says how to install it.
 */
export function findNginxStream(): string {
  const found = NGINX_STREAM.find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new Error("Cannot find nginx's stream module: apt-get install libnginx-mod-stream");
}

/** What is missing, a line each with how to install it. */
function missing(): string[] {
  const needs = Object.keys(PACKAGES).map((program) => () => find(program));
  return [...needs, findNginxStream].flatMap((need) => {
    try {
      need();
      return [];
    } catch (error) {
      return [(error as Error).message];
    }
  });
}

if (import.meta.main) {
  const lines = missing();
  if (Deno.build.os !== "linux") lines.unshift("These tests need Linux");
  for (const line of lines) console.error(line);
  const packages = new Set(lines.flatMap((line) => /apt-get install (\S+)/.exec(line)?.[1] ?? []));
  if (packages.size > 0) console.error(`\nOn Debian: apt-get install ${[...packages].join(" ")}`);
  if (lines.length > 0) Deno.exit(1);
}
