/**
 * Hostile peers: sockets of the epoll backend, which can send a RST at any moment, and in TLS as well.
 * They live on the loop under test where that is one of epoll's, or else on one of their own beside it.
 */
import {
  epoll,
  type Handlers,
  Loop,
  type SocketContext,
  type TlsOptions,
} from "@usockets/usockets";
import type { Fixture } from "../conformance/fixture.ts";

/** So long that it never fires within a test, in milliseconds. */
const NEVER_MS = 3_600_000;

/** What makes hostile peers for one test. */
export class Attackers {
  readonly loop: Loop;
  readonly #t: Fixture;

  constructor(t: Fixture) {
    this.#t = t;
    const { backend } = t.transport;
    this.loop = backend === epoll
      ? t.loop
      : new Loop({ backend: epoll, onError: (error) => t.errors.push(error) });
  }

  /** A context of theirs, which speaks TLS where it is given options. */
  context(handlers: Handlers, tls?: TlsOptions): SocketContext {
    return this.loop.createContext({ ...handlers, tls });
  }

  /** Calls back in so many milliseconds: the test goes on until then. */
  after(ms: number, callback: () => void): void {
    this.#t.loop.createTimer().set(callback, ms);
  }

  /** Runs the loop under test to its end; the attackers do not keep it going. */
  async run(): Promise<void> {
    if (this.loop === this.#t.loop) return await this.#t.run();
    const keeper = this.loop.createTimer();
    keeper.set(() => {}, NEVER_MS);
    const running = this.loop.run();
    try {
      await this.#t.run();
    } finally {
      this.loop.free();
      await running;
    }
  }
}

/** The first thing that a client says in TLS, as the epoll backend says it. */
export async function recordClientHello(tls: TlsOptions): Promise<Uint8Array<ArrayBuffer>> {
  using loop = new Loop({ backend: epoll });
  let hello = new Uint8Array(0);
  const listener = loop.createContext({
    onData(socket, data) {
      hello = data.slice();
      listener.close();
      socket.close();
    },
  }).listen({ host: "127.0.0.1", port: 0 });
  loop.createContext({ tls }).connect({ host: "127.0.0.1", port: listener.port });
  await loop.run();
  return hello;
}
