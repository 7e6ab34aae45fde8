/**
 * A TCP and TLS reverse proxy: passes connections on to upstreams, chosen by turns or by the server
 * name that the client asks for. On SIGHUP it reads its configuration and certificates again, on
 * SIGUSR2 it prints its counters.
 *
 * deno run --allow-net --allow-read --allow-ffi examples/proxy.ts --help
 *
 * @module
 */
// deno-lint-ignore-file no-console -- this is a program
import type { Loop } from "@usockets/usockets";
import { parseProxyFlags, PROXY_FLAGS, type ProxyOptions } from "./support/proxy_options.ts";
import { ProxyServer } from "./support/proxy_server.ts";
import { type ListenFlags, type Listening, runServer, serverProgram } from "./support/server.ts";

/** Listens with the proxy's contexts on the given loop. */
export function proxyServer(loop: Loop, flags: ListenFlags<ProxyOptions>): Listening {
  const proxy = new ProxyServer(loop, flags, console);
  const report = () => console.log(proxy.stats.toString(proxy.links.length));
  return {
    listener: proxy.listener,
    drain: () => proxy.drain(),
    onSignal: (name) => name === "SIGHUP" ? proxy.reload() : report(),
    onEnd: report,
  };
}

/** What {@linkcode runServer} and its Workers run. */
export const program = serverProgram({
  about: "A TCP and TLS reverse proxy. SIGHUP: read the configuration and the certificates\n" +
    "again, without dropping a connection. SIGUSR2: print the counters.",
  scheme: "tcp",
  flags: PROXY_FLAGS,
  parse: parseProxyFlags,
  loop: {
    timeoutGranularityMs: 1000, // --connect-timeout is a few seconds
    onError: (error) => console.error(error), // a bug that meets one connection spares the others
  },
  signals: ["SIGHUP", "SIGUSR2"], // at SIGUSR1 Deno opens its debugger
  listen: proxyServer,
});

if (import.meta.main) await runServer(import.meta.url, program);
