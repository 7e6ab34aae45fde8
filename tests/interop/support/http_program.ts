/** The HTTP server example as a program that speaks TLS, for clients that others wrote. */
import { Program } from "../../support/subprocess.ts";
import { certificateFiles } from "./files.ts";

const HTTP_SERVER = new URL("../../../examples/http_server.ts", import.meta.url);

/** The page that it serves. */
export const PAGE = "<html><body><h1>Why hello there!</h1></body></html>";

/** The ways to run it. */
export const WAYS: Record<string, string[]> = {
  "epoll": ["--backend", "epoll"],
  "epoll, blocking": ["--backend", "epoll", "--mode", "blocking"],
  "epoll, 2 workers": ["--backend", "epoll", "--workers", "2"],
  "epoll, 2 blocking workers": ["--backend", "epoll", "--mode", "blocking", "--workers", "2"],
  "deno": ["--backend", "deno"],
};

/** Runs it, has it visited, and ends it by Ctrl-C: it must end by itself, in order. */
export async function withHttpServer(
  way: string[],
  visit: (url: string, ca: string) => Promise<void>,
): Promise<void> {
  using files = await certificateFiles();
  const { cert, key } = files.server;
  const args = [...way, "--port", "0", "--tls", "--cert", cert, "--key", key];
  const server = new Program(HTTP_SERVER, { args });
  try {
    const line = await server.line();
    const port = /https:\/\/127\.0\.0\.1:(\d+)/.exec(line)?.[1];
    if (port === undefined) throw new Error(`no port in: ${line}`);
    await visit(`https://127.0.0.1:${port}`, files.ca);
    server.signal("SIGINT");
    await server.line(); // that it shuts down
    const code = await server.ended();
    if (code !== 0) throw new Error(`the server ended with ${code}`);
  } finally {
    await server.kill();
  }
}
