/** A TLS server and clients of the epoll backend that say hello to each other, and what both learned. */
import { assert, assertEquals, assertInstanceOf } from "@std/assert";
import {
  CloseCode,
  type ConnectOptions,
  epoll,
  type Handlers,
  type ListenSocket,
  Loop,
  type LoopOptions,
  type Socket,
  type SocketContext,
  type TlsInfo,
  type TlsOptions,
} from "@usockets/usockets";
import { runLoop } from "./native.ts";

/** What an end came to know. */
export interface End {
  socket: Socket | null;
  info: TlsInfo | null;
  received: string;
  code: number | null;
  /** The error's `code`: of OpenSSL's, and of Node's. */
  reason: (Error & { code?: string }) | undefined;
}

/** What the two ends of a connection came to know. */
export interface Exchange {
  client: End;
  server: End;
}

/** Handlers beside those that are taken: `onOpen`, `onHandshake`, `onData` and `onClose`. */
export interface EndsOptions {
  server?: Handlers;
  client?: Handlers;
}

const host = "127.0.0.1";
const decoder = new TextDecoder();

/** A loop with a server of one set of options and clients of others. */
export class TlsEnds implements AsyncDisposable {
  readonly loop = new Loop({ backend: epoll, timeoutGranularityMs: 5 });
  readonly server: SocketContext<unknown>;
  readonly listener: ListenSocket;
  readonly #options: EndsOptions;
  readonly #running: Promise<void>;
  #exchange: Exchange = { client: freshEnd(), server: freshEnd() };
  #isOver: () => void = () => {};

  constructor(serverTls: TlsOptions, options: EndsOptions = {}) {
    this.#options = options;
    this.server = this.loop.createContext<unknown>({
      ...options.server,
      tls: serverTls,
      socketExt: () => undefined,
      onOpen: (socket) => void (this.#exchange.server.socket = socket),
      onHandshake: (_socket, info) => void (this.#exchange.server.info = info),
      onData: (socket, data) => {
        this.#exchange.server.received += decoder.decode(data);
        socket.write("hello, client");
      },
      onClose: (_socket, code, reason) => this.#closed(this.#exchange.server, code, reason),
    });
    this.listener = this.server.listen({ host, port: 0 });
    this.#running = runLoop(this.loop);
  }

  /** A context for clients, whose sessions stay with it. */
  clients(tls: TlsOptions): SocketContext<unknown> {
    return this.loop.createContext<unknown>({
      ...this.#options.client,
      tls,
      socketExt: () => undefined,
      onHandshake: (socket, info) => {
        this.#exchange.client.info = info;
        socket.write("hello, server");
      },
      onData: (socket, data) => {
        this.#exchange.client.received += decoder.decode(data);
        socket.end();
      },
      onClose: (_socket, code, reason) => this.#closed(this.#exchange.client, code, reason),
    });
  }

  /** One connection from its beginning to its end on both sides. */
  exchange(
    clients: SocketContext<unknown> | TlsOptions,
    options: ConnectOptions<unknown> = {},
  ): Promise<Exchange> {
    const exchange: Exchange = { client: freshEnd(), server: freshEnd() };
    this.#exchange = exchange;
    const context = "loop" in clients ? clients : this.clients(clients);
    exchange.client.socket = context.connect({ host, port: this.listener.port, ...options });
    return new Promise((resolve) => this.#isOver = () => resolve(exchange));
  }

  /** Ends the loop, and fails if something is left that keeps it running. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.listener.close();
    await this.#running;
    this.loop.free();
  }

  #closed(end: End, code: number, reason: unknown): void {
    end.code = code;
    end.reason = reason as Error | undefined;
    const { client, server } = this.#exchange;
    if (client.code !== null && server.code !== null) this.#isOver();
  }
}

/** One exchange between a server and a client with these options. */
export async function exchange(
  serverTls: TlsOptions,
  clientTls: TlsOptions,
  options: ConnectOptions<unknown> = {},
): Promise<Exchange> {
  await using ends = new TlsEnds(serverTls);
  return await ends.exchange(clientTls, options);
}

/** Both ends agreed, heard from each other, and ended in order. */
export function assertAgreed({ client, server }: Exchange): void {
  const told = ({ code, reason, received }: End) => [code, reason?.message, received];
  assertEquals(told(client), [0, undefined, "hello, client"]);
  assertEquals(told(server), [0, undefined, "hello, server"]);
}

/** The end closed because TLS failed, with an error that has this code. */
export function assertTlsFailure(end: End, code: string): void {
  const { reason } = end;
  assertInstanceOf(reason, Error);
  assertEquals([end.code, reason.code], [CloseCode.Tls, code], reason.message);
  assertInstanceOf(reason, Deno.errors.InvalidData);
  assert(/^Cannot .*: ./.test(reason.message), reason.message);
}

/** A loop with a plain server and a plain client, run to its end; the listener takes one. */
export async function meetPlain(
  server: Handlers<unknown>,
  client: Handlers<unknown>,
  options: LoopOptions = {},
): Promise<void> {
  const errors: unknown[] = [];
  const onError = (error: unknown) => void errors.push(error);
  const loop = new Loop({ backend: epoll, timeoutGranularityMs: 5, onError, ...options });
  const make = (handlers: Handlers<unknown>) =>
    loop.createContext<unknown>({ ...handlers, socketExt: () => undefined });
  const listener = make({
    ...server,
    onOpen(socket, isClient, ip) {
      listener.close();
      server.onOpen?.(socket, isClient, ip);
    },
  }).listen({ host, port: 0 });
  make(client).connect({ host, port: listener.port });
  await runLoop(loop);
  loop.free();
  if (errors.length > 0) throw errors[0];
}

/** Handlers that write down what they get. */
export function noted(
  notes: unknown[],
  next: (socket: Socket, words: string) => void,
): Handlers<unknown> {
  return {
    onData(socket, data) {
      const words = decoder.decode(data);
      notes.push(words);
      next(socket as Socket, words);
    },
    onHandshake: (_socket, { protocol }) => void notes.push(protocol),
    onEnd(socket) {
      notes.push("end");
      socket.close();
    },
    onClose: (_socket, code) => void notes.push(code),
  };
}

function freshEnd(): End {
  return { socket: null, info: null, received: "", code: null, reason: undefined };
}
