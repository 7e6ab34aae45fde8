/** The example programs as servers, for clients that others wrote. */
import { assertEquals, assertMatch } from "@std/assert";
import { Program } from "../../support/subprocess.ts";
import { certificateFiles } from "./files.ts";

/** The page that the HTTP server serves. */
export const PAGE = "<html><body><h1>Why hello there!</h1></body></html>";

/** The ways to run a program in one thread. */
export const MODES: Record<string, string[]> = {
  "epoll": ["--backend", "epoll"],
  "epoll, blocking": ["--backend", "epoll", "--mode", "blocking"],
  "deno": ["--backend", "deno"],
};

/** The ways to run it. */
export const WAYS: Record<string, string[]> = {
  ...MODES,
  "epoll, 2 workers": ["--backend", "epoll", "--workers", "2"],
  "epoll, 2 blocking workers": ["--backend", "epoll", "--mode", "blocking", "--workers", "2"],
};

/**
 * Runs a program, has it visited, and ends it by Ctrl-C: it must end by itself, in order.
 *
 * @param path Below the root of the repository.
 * @param onReport Gets the line that it prints in the end.
 */
export async function withProgram(
  path: string,
  args: string[],
  visit: (port: number) => Promise<void>,
  onReport?: (line: string) => void,
): Promise<void> {
  const program = new Program(new URL(`../../../${path}`, import.meta.url), {
    args: ["--port", "0", ...args],
  });
  try {
    const line = await program.line();
    const listening = /^Listening on \w+:\/\/\S+:(-?\d+) /.exec(line);
    if (listening === null) throw new Error(`no port in: ${line}`);
    await visit(Number(listening[1]));
    program.signal("SIGINT");
    await program.line(); // that it shuts down
    onReport?.(await program.line());
    assertEquals(await program.ended(), 0, "the program's exit code");
  } finally {
    await program.kill();
  }
}

/** Runs the HTTP server, which speaks TLS. */
export async function withHttpServer(
  way: string[],
  visit: (url: string, ca: string) => Promise<void>,
): Promise<void> {
  using files = await certificateFiles();
  const { cert, key } = files.server;
  await withProgram(
    "examples/http_server.ts",
    [...way, "--tls", "--cert", cert, "--key", key],
    (port) => visit(`https://127.0.0.1:${port}`, files.ca),
  );
}

/** Runs the HTTP server without TLS. */
export async function withPlainHttpServer(
  way: string[],
  visit: (url: string) => Promise<void>,
): Promise<void> {
  await withProgram("examples/http_server.ts", way, (port) => visit(`http://127.0.0.1:${port}`));
}

/** Runs the HTTP server on a unix socket. */
export async function withUnixHttpServer(
  way: string[],
  path: string,
  visit: () => Promise<void>,
): Promise<void> {
  await withProgram(
    "tests/interop/support/unix_http_server.ts",
    [...way, "--host", path],
    () => visit(),
  );
}

/** Runs the proxy, which tells in the end of no errors but these. */
export async function withProxy(
  args: string[],
  visit: (port: number) => Promise<void>,
  errors: RegExp = /^none$/,
): Promise<void> {
  await withProgram("examples/proxy.ts", ["--quiet", ...args], visit, (line) => {
    const [, told] = /^[1-9]\d* connections, 0 open, .*; errors: (.*)$/.exec(line) ?? [];
    assertMatch(told ?? line, errors);
  });
}
