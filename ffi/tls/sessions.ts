/**
 * Sessions of a client context, for resumption: the latest of each server.
 * @module
 */
import type { Handle, Libssl } from "./libssl.ts";

/** So many servers are remembered. */
const MOST = 256;

/** What was agreed on with which server. */
export class Sessions {
  readonly #libssl: Libssl;
  readonly #isEnabled: boolean;
  /** The one used last is the last. */
  readonly #byServer = new Map<string, Handle>();

  constructor(libssl: Libssl, isEnabled: boolean) {
    this.#libssl = libssl;
    this.#isEnabled = isEnabled;
  }

  /** Offers the server what was agreed on last time. A ticket is used once (RFC 8446, C.4). */
  offer(server: string, ssl: Handle): void {
    const session = this.#byServer.get(server);
    if (session === undefined) return;
    this.#byServer.delete(server);
    this.#libssl.SSL_set_session(ssl, session);
    this.#libssl.SSL_SESSION_free(session);
  }

  /** Keeps what a connection has for the next one. */
  keep(server: string, ssl: Handle): void {
    if (!this.#isEnabled) return;
    const session = this.#libssl.SSL_get1_session(ssl);
    if (session === null) return;
    if (this.#libssl.SSL_SESSION_is_resumable(session) !== 1) {
      return this.#libssl.SSL_SESSION_free(session);
    }
    this.#forget(server);
    this.#byServer.set(server, session);
    if (this.#byServer.size > MOST) this.#forget(this.#byServer.keys().next().value!);
  }

  /** Forgets all. */
  free(): void {
    for (const server of [...this.#byServer.keys()]) this.#forget(server);
  }

  #forget(server: string): void {
    const session = this.#byServer.get(server);
    if (session === undefined) return;
    this.#byServer.delete(server);
    this.#libssl.SSL_SESSION_free(session);
  }
}
