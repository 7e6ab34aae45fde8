/**
 * What a conformance test stands on: a loop of the combination at hand, ways to listen and connect
 * on it, and checks that every test ends with: the loop ends by itself, each opened socket closes
 * exactly once, no event follows, and no descriptor is left.
 */
import { assert, fail } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import {
  epoll,
  type Handlers,
  type ListenSocket,
  Loop,
  type LoopOptions,
  type Socket,
  type SocketContext,
  type TlsOptions,
} from "@usockets/usockets";
import { openLibc } from "../../ffi/libc.ts";
import { testCertificates } from "../support/certificates.ts";
import { settledDescriptors, steadyDescriptors } from "../support/descriptors.ts";
import type { Transport } from "./transports.ts";

/** How long a test may take before it counts as hanging, in milliseconds. */
const HANG_MS = 20_000;

/** One test's world. */
export class Fixture {
  readonly transport: Transport;
  readonly loop: Loop;
  readonly serverTls: TlsOptions | undefined;
  readonly clientTls: TlsOptions | undefined;
  /** What handlers threw, in order; a test that expects none need not look. */
  readonly errors: unknown[] = [];
  /** Set by a test that expects entries in {@linkcode errors}. */
  expectsErrors = false;
  readonly #directory: string;
  #paths = 0;

  constructor(
    transport: Transport,
    directory: string,
    certificates: Awaited<ReturnType<typeof testCertificates>>,
    options: LoopOptions = {},
  ) {
    this.transport = transport;
    this.#directory = directory;
    const { ca, server } = certificates;
    this.serverTls = transport.isTls ? { cert: server.cert, key: server.key } : undefined;
    this.clientTls = transport.isTls ? { ca, serverName: "localhost" } : undefined;
    this.loop = new Loop({
      backend: transport.backend,
      timeoutGranularityMs: 5,
      onError: (error) => this.errors.push(error),
      ...options,
    });
  }

  /** A context for servers of this combination. */
  server<S = undefined>(handlers: Handlers<S> & { socketExt?: () => S } = {}): SocketContext<S> {
    return this.loop.createContext<S>(
      { ...audited(handlers), tls: this.serverTls } as Handlers<S, undefined> & {
        socketExt: () => S;
      },
    ) as unknown as SocketContext<S>;
  }

  /** A context for clients of this combination. */
  client<S = undefined>(handlers: Handlers<S> & { socketExt?: () => S } = {}): SocketContext<S> {
    return this.loop.createContext<S>(
      { ...audited(handlers), tls: this.clientTls } as Handlers<S, undefined> & {
        socketExt: () => S;
      },
    ) as unknown as SocketContext<S>;
  }

  /** Where to listen. */
  address(): { host: string; port: number } | { path: string } {
    return this.transport.isUnix
      ? { path: `${this.#directory}/${this.#paths++}.sock` }
      : { host: "127.0.0.1", port: 0 };
  }

  /** Listens on an address of its own. */
  // deno-lint-ignore no-explicit-any -- contexts of any user data
  listen(context: SocketContext<any, any>): ListenSocket {
    return context.listen(this.address());
  }

  /** Where a listener is, for connect(). */
  addressOf(listener: ListenSocket): { host: string; port: number } | { path: string } {
    return this.transport.isUnix
      ? { path: listener.host }
      : { host: "127.0.0.1", port: listener.port };
  }

  /** Connects to a listener. */
  connect<S, C>(context: SocketContext<S, C>, listener: ListenSocket): Socket<S, C> {
    return context.connect(this.addressOf(listener));
  }

  /** A peer that is no socket of ours: Deno's own, with the same transport. */
  async dial(listener: ListenSocket): Promise<Deno.Conn> {
    if (this.transport.isUnix) {
      return await Deno.connect({ transport: "unix", path: listener.host });
    }
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: listener.port });
    if (!this.transport.isTls) return conn;
    return await Deno.startTls(conn, { hostname: "localhost", caCerts: [this.clientTls!.ca!] });
  }

  /** Runs the loop to its end in the combination's way; fails a test that hangs. */
  async run(): Promise<void> {
    if (this.transport.isBlocking) return this.#runBlocking();
    let watchdog: number | undefined;
    const hang = new Promise<never>((_, reject) => {
      watchdog = setTimeout(() => {
        const stats = JSON.stringify(this.loop.stats());
        this.loop.free();
        // An assertion that failed in a handler is often why.
        if (!this.expectsErrors && this.errors.length > 0) reject(this.errors[0]);
        reject(new Error(`the loop did not end in ${HANG_MS} ms: ${stats}`));
      }, HANG_MS) as unknown as number;
    });
    try {
      await Promise.race([this.loop.run(), hang]);
    } finally {
      clearTimeout(watchdog);
    }
  }

  /** No timer of Deno's fires meanwhile: the loop's own watches over it. */
  #runBlocking(): void {
    const stats = this.loop.stats();
    let hangs = false;
    const watchdog = this.loop.createTimer({ fallthrough: true });
    watchdog.set(() => {
      hangs = true;
      Object.assign(stats, this.loop.stats());
      this.loop.free();
    }, HANG_MS);
    this.loop.runBlocking();
    if (!this.loop.isFreed) watchdog.close();
    if (!hangs) return;
    if (!this.expectsErrors && this.errors.length > 0) throw this.errors[0];
    throw new Error(`the loop did not end in ${HANG_MS} ms: ${JSON.stringify(stats)}`);
  }
}

/** A test of one behaviour on one combination. */
export type Behaviour = (fixture: Fixture) => void | Promise<void>;

/** Registers tests; what a file of the suite gets. */
export type Behaviours = (
  behaviour: (name: string, test: Behaviour, options?: LoopOptions) => void,
) => void;

/** Registers a file's behaviours for one combination. */
export function conformance(transport: Transport, title: string, behaviours: Behaviours): void {
  describe(`${transport.name}: ${title}`, () => {
    behaviours((name, test, options) => {
      const skip = transport.skips.find(({ tests }) => tests.includes(name));
      if (skip !== undefined) {
        it.ignore(`${name} (${skip.reason})`, () => {});
        return;
      }
      it(name, async () => {
        const certificates = await testCertificates();
        const directory = Deno.makeTempDirSync();
        const before = await steadyDescriptors();
        let left = 0;
        const fixture = new Fixture(transport, directory, certificates, options);
        try {
          await test(fixture);
          if (!fixture.expectsErrors && fixture.errors.length > 0) throw fixture.errors[0];
        } finally {
          fixture.loop.free();
          Deno.removeSync(directory, { recursive: true });
          // A loop that slept asks Deno's pool how far it is; jobs end in order, so behind this one
          // the sanitizer finds none of them.
          if (transport.backend === epoll) await openLibc().gettidAsync();
          left = await settledDescriptors(before) - before;
        }
        assert(left <= 0, `${left} descriptors were left open`);
      });
    });
  });
}

/** Wraps handlers so that each socket opens once, closes once, and has no event before or after. */
function audited<S>(
  handlers: Handlers<S> & { socketExt?: () => S },
): Handlers<S> & { socketExt?: () => S } {
  const events = [
    "onData",
    "onWritable",
    "onEnd",
    "onHandshake",
    "onTimeout",
    "onLongTimeout",
  ] as const;
  const audited: Record<string, unknown> = { ...handlers };
  for (const event of events) {
    const handler = handlers[event] as ((...args: unknown[]) => void) | undefined;
    if (handler === undefined) continue;
    audited[event] = (socket: Socket<S>, ...rest: unknown[]) => {
      if (lives.get(socket) === "closed") fail(`${event} after onClose`);
      if (event === "onData" && (rest[0] as Uint8Array).length === 0) fail("onData without a byte");
      handler(socket, ...rest);
    };
  }
  audited.onOpen = (socket: Socket<S>, isClient: boolean, ip: string) => {
    if (lives.has(socket)) fail("onOpen twice, or after a failed connect");
    lives.set(socket, "open");
    handlers.onOpen?.(socket, isClient, ip);
  };
  audited.onClose = (socket: Socket<S>, code: number, reason: unknown) => {
    if (lives.get(socket) !== "open") {
      fail(`onClose of a socket that is ${lives.get(socket) ?? "not open"}`);
    }
    lives.set(socket, "closed");
    if (code < 0 && !(reason instanceof Error)) {
      fail(`close code ${code} without an Error as its reason`);
    }
    handlers.onClose?.(socket, code, reason);
  };
  audited.onConnectError = (socket: Socket<S>, error: Error) => {
    if (lives.has(socket)) fail("onConnectError after onOpen, or twice");
    lives.set(socket, "failed");
    handlers.onConnectError?.(socket, error);
  };
  return audited as Handlers<S> & { socketExt?: () => S };
}

// deno-lint-ignore no-explicit-any -- sockets of any user data
const lives = new WeakMap<Socket<any, any>, "open" | "closed" | "failed">();
