/**
 * Connecting by Deno.connect and Deno.connectTls.
 * @module
 */
import type { SocketContext } from "../context.ts";
import { type ConnectOptions, describeAddress } from "../options.ts";
import { CLIENT } from "../socket_state.ts";
import type { DenoBackend } from "./backend.ts";
import { disableNagle } from "./conn.ts";
import { explainAddress } from "./errors.ts";
import { DenoSocket } from "./socket.ts";
import { type DenoTls, refuse } from "./tls.ts";

/** How soon a unix path whose backlog is full is tried again, in milliseconds. */
const FULL_BACKLOG_MS = 10;

/** Starts to connect; the socket opens or fails in a later iteration. */
export function connect<S, C>(
  backend: DenoBackend,
  context: SocketContext<S, C>,
  options: ConnectOptions<unknown>,
  ext: S,
): DenoSocket<S, C> {
  if (options.sourceHost !== undefined) refuse('the connect option "sourceHost"');
  const host = options.host ?? "127.0.0.1";
  const tls = tlsFor(context, options);
  if (tls !== null && options.path !== undefined) refuse("TLS on unix sockets");
  const hasClientCertificate = tls?.cert !== undefined;
  if (hasClientCertificate && (tls.serverName ?? host) !== host) {
    refuse('a "serverName" other than "host" together with a client certificate');
  }
  const name = describeAddress(options.path === undefined ? { ...options, host } : options);
  const socket = new DenoSocket(
    backend,
    context,
    CLIENT,
    ext,
    null,
    name,
  );
  socket.useHost(host);
  if (tls !== null) socket.useTls(tls, host);
  if (options.timeoutSeconds) socket.setLibraryTimeout(options.timeoutSeconds * 1000);
  const dialed = hasClientCertificate
    ? dialTls(host, options.port!, tls)
    : options.path === undefined
    ? dialTcp(socket, host, options.port!)
    : dialUnix(socket, options.path);
  dialed.then(
    (conn) => socket.connected(conn),
    (error) => socket.connectFailed(explainAddress(`Cannot connect to ${name}`, host, error)),
  );
  return socket;
}

function tlsFor(context: SocketContext, options: ConnectOptions<unknown>): DenoTls | null {
  const tls = context.secureContext as DenoTls | null;
  if (options.serverName === undefined) return tls;
  if (tls === null) throw new TypeError('Cannot connect: "serverName" needs a context with "tls"');
  return { ...tls, serverName: options.serverName };
}

/** Looks the name up and tries all its addresses: Deno has RFC 8305 built in. */
async function dialTcp(
  socket: DenoSocket<unknown, unknown>,
  hostname: string,
  port: number,
): Promise<Deno.Conn> {
  const abort = new AbortController();
  socket.onCancel(() => abort.abort());
  // Where the connection is made but not delivered yet, Deno would ask the signal once more, reject,
  // and leave the connection open for good. Without that it arrives, and is closed.
  Object.defineProperty(abort.signal, "throwIfAborted", { value: () => {} });
  const conn = await Deno.connect({ hostname, port, signal: abort.signal });
  disableNagle(conn);
  return conn;
}

/** Where the server's backlog is full, the system says so at once, and a port would let it wait. */
async function dialUnix(
  socket: DenoSocket<unknown, unknown>,
  path: string,
): Promise<Deno.Conn> {
  for (;;) {
    try {
      return await Deno.connect({ transport: "unix", path });
    } catch (error) {
      if (!(error instanceof Deno.errors.WouldBlock) || socket.isClosed) throw error;
    }
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, FULL_BACKLOG_MS);
      socket.onCancel(() => {
        clearTimeout(timer);
        resolve();
      });
    });
    if (socket.isClosed) throw new Deno.errors.Interrupted("cancelled");
  }
}

/**
 * startTls() takes no client certificate, connectTls() does; it cannot be cancelled, nor its TCP
 * part be tuned.
 */
function dialTls(hostname: string, port: number, tls: DenoTls): Promise<Deno.Conn> {
  return Deno.connectTls({
    hostname,
    port,
    cert: tls.cert,
    key: tls.key,
    caCerts: tls.caCerts,
    alpnProtocols: tls.alpnProtocols,
  });
}
