/**
 * Where TLS of a socket begins: with its connection, or later by `upgradeTls()`.
 * @module
 */
import { getBuiltinModule } from "node:process";
import type { ConnectOptions } from "../../src/options.ts";
import { CLIENT } from "../../src/socket_state.ts";
import { checkTlsOptions, type TlsOptions } from "../../src/tls_options.ts";
import { unbracket } from "../address.ts";
import type { EpollSocket } from "../socket.ts";
import type { Expectations } from "./channel.ts";
import type { SecureContext } from "./secure_context.ts";
import { SocketTls } from "./socket_tls.ts";

/** The socket was accepted or adopted. */
export function secureServer(socket: EpollSocket, secure: SecureContext): void {
  socket.useTls(new SocketTls(socket, secure, null));
}

/** Throws where this context cannot serve. */
export function checkServer(what: string, secure: SecureContext): void {
  if (secure.hasCertificate) return;
  throw new TypeError(`${what}: the context has no certificate ("cert" and "key")`);
}

/** What a client expects of the server it connects to. */
export function expectationsOf(
  secure: SecureContext,
  options: ConnectOptions<unknown>,
): Expectations {
  const { path, host = "127.0.0.1", port } = options;
  const target = path ?? `${host}:${port}`;
  const name = options.serverName ?? secure.serverName ?? (path === undefined ? host : "");
  return expectations("Cannot connect with TLS", secure, name, target);
}

/** The socket connects. */
export function secureClient(
  socket: EpollSocket,
  secure: SecureContext,
  expectations: Expectations,
): void {
  socket.useTls(new SocketTls(socket, secure, expectations));
}

/** Starts TLS on an open socket. */
export function upgrade(
  socket: EpollSocket,
  options: TlsOptions | undefined,
  received: Uint8Array | undefined,
): void {
  const what = "Cannot start TLS";
  if (options !== undefined) checkTlsOptions(options);
  if (received !== undefined && !(received instanceof Uint8Array)) {
    throw new TypeError(`${what}: "received" must be a Uint8Array, not ${received}`);
  }
  const shared = socket.context.secureContext as SecureContext | null;
  const secure = options === undefined && shared !== null
    ? shared.retain()
    : socket.backend.createSecureContext(options ?? {});
  try {
    if ((socket.flags & CLIENT) === 0) {
      checkServer(what, secure);
      secureServer(socket, secure);
    } else {
      const { host, remotePort } = socket;
      const name = secure.serverName ?? host;
      secureClient(socket, secure, expectations(what, secure, name, `${host}:${remotePort}`));
    }
  } finally {
    secure.release();
  }
  socket.limitHandshake(options?.handshakeTimeoutSeconds);
  socket.beginTls(received);
}

function expectations(
  what: string,
  secure: SecureContext,
  name: string,
  target: string,
): Expectations {
  const serverName = toAscii(unbracket(name));
  if (serverName === "" && secure.clientVerifyMode !== 0) {
    throw new TypeError(`${what}: on a unix path "serverName" must say who the server has to be`);
  }
  return { serverName, sessionKey: `${serverName} ${target}` };
}

/** As certificates have names beyond ASCII: `xn--…`. */
function toAscii(name: string): string {
  return /[^ -~]/.test(name) ? getBuiltinModule("node:url").domainToASCII(name) : name;
}
