/** Our side: loops with servers and clients whose sockets tell what happened to them. */
import { assertEquals } from "@std/assert";
import {
  type BackendFactory,
  type ConnectOptions,
  denoConn,
  epoll,
  type Handlers,
  Loop,
  type Socket,
  type SocketContext,
  type TlsInfo,
  type TlsOptions,
} from "@usockets/usockets";
import { Digest, Sender } from "../../support/streams.ts";
import { Changes } from "./changes.ts";

/** The backends under test, by name. */
export const BACKENDS: Record<string, BackendFactory> = { epoll, deno: denoConn };

/** So much of what came is kept as text. */
const TEXT_BYTES = 65_536;

/** How a side behaves. */
export interface Manners {
  /** Sends back what comes: never so much that it finds no room. */
  echoes?: boolean;
  /** Does not end its direction when the peer has. */
  staysOpen?: boolean;
  /** More handlers, in place of its own. */
  handlers?: Handlers<Talk>;
}

/** One of our sockets and what happened to it. */
export class Talk {
  /** `"open"`, `"handshake"`, `"end"`, `"close 0"`, in order. */
  readonly events: string[] = [];
  /** Of everything received. */
  readonly received = new Digest();
  /** The beginning of it. */
  text = "";
  /** Why it closed. */
  reason: unknown = undefined;
  socket: Socket<Talk> | null = null;
  /** What a large transfer has left. */
  #sender: Sender | null = null;
  #onSent = () => {};
  readonly #changes: Changes;
  #seen = 0;

  constructor(changes: Changes) {
    this.#changes = changes;
  }

  /** What TLS agreed on. */
  get info(): TlsInfo {
    return this.socket!.tls!;
  }

  /** Adds an event. */
  note(event: string): void {
    this.events.push(event);
    this.#changes.notify();
  }

  /** Takes what came. */
  take(data: Uint8Array): void {
    this.received.add(data);
    if (this.text.length < TEXT_BYTES) this.text += new TextDecoder().decode(data);
    this.#changes.notify();
  }

  /** Writes a little, at once. */
  say(text: string): void {
    assertEquals(this.socket!.write(text), text.length);
  }

  /** Sends much, as there is room, then calls back. */
  sendAll(bytes: Uint8Array, onSent = () => {}): void {
    this.#sender = new Sender(bytes);
    this.#onSent = onSent;
    this.pump();
  }

  /** There is room. */
  pump(): void {
    if (this.#sender === null || !this.#sender.pump(this.socket as Socket)) return;
    this.#sender = null;
    this.#onSent();
  }

  /** Waits for an event, such as `"end"`. */
  async until(event: string): Promise<void> {
    await this.#until(() => this.events.includes(event), event);
  }

  /** Waits for text, behind what was heard before. */
  async hear(text: string): Promise<void> {
    let at = -1;
    await this.#until(() => (at = this.text.indexOf(text, this.#seen)) !== -1, text);
    this.#seen = at + text.length;
  }

  /** Waits for so many bytes in all. */
  async count(bytes: number): Promise<void> {
    await this.#until(() => this.received.length >= bytes, `${bytes} bytes`);
  }

  /** Waits until it is closed; the last event, with the code. */
  async closed(): Promise<string> {
    await this.#until(() => /^close/.test(this.events.at(-1) ?? ""), "close");
    return this.events.at(-1)!;
  }

  async #until(holds: () => boolean, what: string): Promise<void> {
    const tell = () =>
      `${this.events.join()} ${this.reason ?? ""} ${this.received.length} bytes: ${this.text}`;
    await this.#changes.until(() => {
      if (holds()) return true;
      if (/^close/.test(this.events.at(-1) ?? "")) throw new Error(`no ${what}: ${tell()}`);
      return false;
    }, () => `no ${what}: ${tell()}`);
  }
}

/** A server of ours. */
export class OurServer {
  readonly port: number;
  readonly context: SocketContext<Talk>;
  readonly #talks: Talk[];
  readonly #changes: Changes;
  #taken = 0;

  constructor(context: SocketContext<Talk>, talks: Talk[], changes: Changes, path?: string) {
    this.context = context;
    this.#talks = talks;
    this.#changes = changes;
    this.port = context.listen(path === undefined ? { host: "127.0.0.1", port: 0 } : { path }).port;
  }

  /** Waits for the next connection. */
  async accept(): Promise<Talk> {
    const at = this.#taken++;
    await this.#changes.until(() => this.#talks.length > at, () => "nobody connects");
    return this.#talks[at];
  }
}

/** A loop that runs until the end of its scope. */
export class World implements AsyncDisposable {
  readonly loop: Loop;
  readonly #errors: unknown[] = [];
  readonly #running: Promise<void>;

  constructor(backend: BackendFactory) {
    this.loop = new Loop({ backend, onError: (error) => this.#errors.push(error) });
    this.loop.createTimer().set(() => {}, 1, 1000); // keeps it running between two connections
    this.#running = this.loop.run();
  }

  /** Listens on a port, or at a path. */
  server(tls: TlsOptions | undefined, manners: Manners = {}, path?: string): OurServer {
    const changes = new Changes(), talks: Talk[] = [];
    const make = () => new Talk(changes);
    const context = this.loop.createContext<Talk, undefined>({
      ...handlersFor(manners, (talk) => talks.push(talk)),
      socketExt: make,
      tls,
    });
    return new OurServer(context as SocketContext<Talk>, talks, changes, path);
  }

  /** A context of clients: those of one share its sessions. */
  client(tls: TlsOptions | undefined, manners: Manners = {}): OurClient {
    return new OurClient(this.loop, tls, manners);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.loop.shutdown({ graceSeconds: 0 });
    await this.#running;
    this.loop.free();
    if (this.#errors.length > 0) throw this.#errors[0];
  }
}

/** A context of clients. */
export class OurClient {
  readonly #context: SocketContext<Talk>;
  readonly #hasTls: boolean;

  constructor(loop: Loop, tls: TlsOptions | undefined, manners: Manners) {
    this.#hasTls = tls !== undefined;
    this.#context = loop.createContext<Talk, undefined>({
      ...handlersFor(manners, () => {}),
      onConnectError: (socket, error) => {
        socket.ext.reason = error;
        socket.ext.note("close connect");
      },
      socketExt: () => new Talk(new Changes()),
      tls,
    }) as SocketContext<Talk>;
  }

  /** Connects to a port, or to a path; what follows is the socket's own to tell. */
  connect(at: number | string, options: Partial<ConnectOptions<Talk>> = {}): Talk {
    const where = typeof at === "number" ? { host: "127.0.0.1", port: at } : { path: at };
    const name = this.#hasTls ? { serverName: "localhost" } : {};
    const target = { ...name, ...options, ...where };
    return this.#context.connect(target as ConnectOptions<Talk>).ext;
  }
}

function handlersFor(manners: Manners, onTalk: (talk: Talk) => void): Handlers<Talk> {
  return {
    onOpen(socket) {
      socket.ext.socket = socket;
      onTalk(socket.ext);
      socket.ext.note("open");
    },
    onHandshake: (socket) => socket.ext.note("handshake"),
    onData(socket, data) {
      socket.ext.take(data);
      if (manners.echoes) assertEquals(socket.write(data), data.length);
    },
    onWritable: (socket) => socket.ext.pump(),
    onEnd(socket) {
      socket.ext.note("end");
      if (!manners.staysOpen) socket.end();
    },
    onClose(socket, code, reason) {
      socket.ext.reason = reason;
      socket.ext.note(`close ${code}`);
    },
    ...manners.handlers,
  };
}
