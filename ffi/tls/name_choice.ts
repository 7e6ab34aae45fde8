/**
 * Which options a server speaks TLS with, by the name that a client asks for.
 * @module
 */
import * as dispatch from "../../src/dispatch.ts";
import type { SocketContext } from "../../src/context.ts";
import type { Socket } from "../../src/socket.ts";
import type { EpollSocket } from "../socket.ts";
import { readServerName } from "./client_hello.ts";
import type { SecureContext } from "./secure_context.ts";

/** The choice for one connection. */
export class NameChoice {
  /** What the client asks for; null while that is not known. */
  serverName: string | null = null;
  /** What `addServerName()` was given for it. */
  userData: unknown = undefined;
  readonly #socket: EpollSocket;
  readonly #secure: SecureContext;
  /** Where TLS began: it is asked for names while the one that has the socket now does not care. */
  readonly #origin: SocketContext;
  /** That of the name; removing the name must not disturb a handshake. */
  #named: SecureContext | null = null;
  /** With fewer bytes it is not worth looking for the name. */
  #bytesNeeded = 0;

  /** @param secure What to use for clients that ask for no name, or for an unknown one. */
  constructor(socket: EpollSocket, secure: SecureContext) {
    this.#socket = socket;
    this.#secure = secure;
    this.#origin = socket.context as SocketContext;
  }

  /** Whether these first bytes of a client are enough. */
  isPossible(hello: Uint8Array): boolean {
    if (!this.#matters) return true;
    if (hello.length < this.#bytesNeeded) return false;
    const name = readServerName(hello);
    if (typeof name === "number") this.#bytesNeeded = name;
    return typeof name !== "number";
  }

  /** Chooses; `onServerName` may add the name now. */
  make(hello: Uint8Array): SecureContext {
    const secure = this.#secure;
    const name = readServerName(hello);
    if (typeof name !== "string") return secure; // it did not matter, and has not come yet
    this.serverName = name;
    if (name === "") return secure;
    let named = secure.names.find(name);
    if (named === undefined) {
      dispatch.serverNameAsked(this.#socket as Socket, this.#asked, name);
      named = secure.names.find(name);
    }
    if (named === undefined) return secure;
    this.userData = named.userData;
    return this.#named = named.secure.retain();
  }

  /** Gives it back. */
  free(): void {
    this.#named?.release();
    this.#named = null;
  }

  get #matters(): boolean {
    return this.#secure.names.size > 0 || this.#asked.onServerName !== undefined;
  }

  get #asked(): SocketContext {
    const context = this.#socket.context as SocketContext;
    return context.onServerName === undefined ? this.#origin : context;
  }
}
