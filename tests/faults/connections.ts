/**
 * The connections of the property test: whose event it is, which two ends belong together, and what each
 * is told.
 */
import type { Handlers, Socket, TlsOptions } from "@usockets/usockets";
import { connectionOf, HEADER_BYTES, headerOf } from "../../examples/support/hammer_end.ts";
import type { FaultyLibc, Injected } from "../support/faulty_libc.ts";
import { NATURAL } from "./judge.ts";
import type { Setting } from "./setting.ts";
import { Side, type Surroundings } from "./side.ts";

/** Functions whose failure may end the connection that they are called for. */
const FATAL = ["recv", "send", "sendmsg", "epoll_ctl", "getsockopt"];

/** All connections of one run. */
export class Connections {
  readonly clients: Side[] = [];
  readonly servers: Side[] = [];
  readonly #world: Surroundings;
  readonly #setting: Setting;
  readonly #faulty: FaultyLibc;
  /** How many there are while calls fail. */
  readonly #count: number;
  readonly #sides = new WeakMap<Socket, Side>();
  /** Headers of which a part has come. */
  readonly #headers = new WeakMap<Socket, number[]>();
  readonly #byDescriptor = new Map<unknown, Side>();

  constructor(world: Surroundings, setting: Setting, faulty: FaultyLibc, count: number) {
    this.#world = world;
    this.#setting = setting;
    this.#faulty = faulty;
    this.#count = count;
    faulty.onFault = (fault) => this.#noteFault(fault);
  }

  /** A client that connects. */
  add(side: Side): void {
    this.#sides.set(side.socket!, side);
  }

  /** Those of the servers' contexts, or of the clients'. */
  handlers(isServer: boolean): Handlers<unknown> {
    const of = (socket: unknown) => this.#sides.get(socket as Socket)!;
    return {
      onOpen: (socket) => this.#opened(socket as Socket, isServer),
      onConnectError: (socket, error) => this.#connectFailed(of(socket), error),
      onHandshake: (socket) => {
        const side = of(socket);
        side.expect("onHandshake", ++side.handshakes === 1);
        side.act();
      },
      onData: (socket, data) => {
        const side = of(socket);
        if (isServer && !side.isReady) this.#greeted(side, socket as Socket, data);
        else side.data(data);
      },
      onWritable: (socket) => {
        const side = of(socket);
        side.writable();
        if (side.isReady || isServer) side.act();
        else this.#greet(side, socket as Socket);
      },
      onTimeout: (socket) => of(socket).timedOut(),
      onLongTimeout: (socket) => of(socket).expect("onLongTimeout"),
      onEnd: (socket) => {
        const side = of(socket);
        side.isReady ||= isServer; // never greeted: it has nothing to say
        if (side.peer === null && isServer) side.isHasty = true;
        side.ended();
        if (side.closes === 0 && side.peer === null && isServer) side.close(socket as Socket, 0);
      },
      onClose: (socket, code, reason) => of(socket).closed(code, reason),
    };
  }

  #opened(socket: Socket, isServer: boolean): void {
    let side = this.#sides.get(socket);
    if (side === undefined) {
      if (!isServer) return this.#world.violated("a client opened that nobody connected");
      side = new Side(false, this.#world);
      side.socket = socket;
      this.servers.push(side);
      this.#sides.set(socket, side);
      this.#headers.set(socket, []);
    }
    this.#byDescriptor.set(socket.nativeHandle, side);
    if (++side.opens > 1 || side.isCancelled) this.#world.violated(`${side.name}: onOpen`);
    side.act();
    if (!isServer) this.#greet(side, socket);
  }

  /** A client says which connection it is, and whether it starts TLS behind that. */
  #greet(side: Side, socket: Socket): void {
    const index = this.clients.indexOf(side);
    const upgrades = this.#setting.transport === "tcp starttls" && index % 2 === 0;
    const header = headerOf(index * 2 + (upgrades ? 1 : 0)).subarray(side.headerBytes);
    const sent = socket.write(header);
    side.headerBytes += sent;
    side.owesWritable = sent < header.length;
    if (side.owesWritable) return;
    const { ca } = this.#setting.certificates;
    if (upgrades) this.#upgrade(side, socket, { ca, serverName: "localhost" });
    side.isReady = true;
    side.act();
  }

  /** A server learns which connection it has. */
  #greeted(side: Side, socket: Socket, data: Uint8Array): void {
    side.expect("onData", !side.isPaused && !side.hasEnded);
    const bytes = [...this.#headers.get(socket)!, ...data.subarray(0, HEADER_BYTES)];
    const had = this.#headers.get(socket)!.length;
    this.#headers.set(socket, bytes.slice(0, HEADER_BYTES));
    if (bytes.length < HEADER_BYTES) return;
    const connection = connectionOf(Uint8Array.from(bytes.slice(0, HEADER_BYTES)));
    const index = connection >> 1;
    const client = this.clients[index];
    if (client === undefined || client.peer !== null) {
      return this.#world.violated(`the header of connection ${connection}`);
    }
    const rest = data.slice(HEADER_BYTES - had);
    side.identify(index, index === this.#count);
    side.peer = client;
    client.peer = side;
    if ((connection & 1) === 1) {
      const { cert, key } = this.#setting.certificates.server;
      this.#upgrade(side, socket, { cert, key }, rest);
    }
    side.isReady = true;
    if ((connection & 1) === 0 && rest.length > 0) side.data(rest);
    side.act();
  }

  #upgrade(side: Side, socket: Socket, tls: TlsOptions, received?: Uint8Array): void {
    try {
      socket.upgradeTls(tls, received);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotConnected)) this.#world.caught("upgradeTls()", error);
      side.close(socket, 3);
    }
  }

  #connectFailed(side: Side, error: Error): void {
    if (++side.connectErrors > 1 || side.opens > 0) {
      this.#world.violated(`${side.name}: onConnectError`);
    }
    if (side.isCancelled) {
      this.#world.violated(`${side.name}: onConnectError of what was cancelled`);
    }
    const { code, message } = error as { code?: string; message: string };
    const natural = ["ECONNREFUSED", "ENOENT", ...NATURAL];
    const isTold = code === undefined
      ? error instanceof Deno.errors.TimedOut || error instanceof Deno.errors.NotFound
      : natural.includes(code) || this.#faulty.names.has(code);
    if (!isTold || !message.startsWith("Cannot ")) {
      this.#world.violated(`${side.name}: onConnectError with ${Deno.inspect(error)}`);
    }
  }

  /** Whose connection it may end. */
  #noteFault({ name, kind, errno, fd }: Injected): void {
    if (kind === "passing" || kind === "short" || !FATAL.includes(name)) return;
    const side = this.#byDescriptor.get(fd);
    if (side === undefined) return;
    side.hits.push(errno);
    if (kind === "breaking" && !side.isClosed) side.isBroken = true;
  }
}
