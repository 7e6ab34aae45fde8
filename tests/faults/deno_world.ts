/**
 * The world of the Deno backend's property test: Conns that fail in the place of Deno's, and at the end
 * what must hold whatever failed.
 */
import {
  CloseCode,
  denoConn,
  type Handlers,
  type ListenSocket,
  Loop,
  type Socket,
  type SocketContext,
} from "@usockets/usockets";
import { type Random, randomOf } from "../../examples/support/hammer_plan.ts";
import {
  ConnFaults,
  type ConnRates,
  type FaultyConn,
  FaultyNetwork,
} from "../support/faulty_conn.ts";
import { runLoop } from "../support/native.ts";
import { Side, type Surroundings } from "./side.ts";

/** Ports stand for connections: so both ends know which they are of. */
const FIRST_PORT = 20_000;

/** One run. */
export class DenoWorld implements Surroundings {
  readonly random: Random;
  readonly hasResets = false;
  readonly bytesMax = 20_000;
  readonly #faults: ConnFaults;
  readonly #network: FaultyNetwork;
  readonly #sides = new Map<Socket, Side>();
  readonly #conns = new Map<Side, FaultyConn>();
  readonly #clients: Side[] = [];
  readonly #violations: string[] = [];
  readonly #thrown: Error[] = [];
  readonly #connections: number;
  readonly #loop: Loop;
  readonly #contexts: SocketContext[];
  #listener: ListenSocket | null = null;
  #isRecovering = false;

  constructor(seed: number, rates: ConnRates) {
    this.random = randomOf(seed, -1);
    this.#connections = 2 + this.random(5);
    this.#faults = new ConnFaults(randomOf(seed, -2), rates);
    this.#network = new FaultyNetwork(this.#faults);
    this.#loop = new Loop({
      backend: denoConn,
      timeoutGranularityMs: 4,
      sendBufferBytes: [100, 5000, 65_536][this.random(3)],
      onError: (error) => {
        if (!this.#thrown.includes(error as Error)) {
          this.violated(`onError: ${Deno.inspect(error)}`);
        }
      },
    });
    const one = () =>
      this.#loop.createContext<unknown>(
        { ...this.#handlers(), socketExt: () => undefined },
      ) as unknown as SocketContext;
    this.#contexts = [one(), one()];
  }

  /** Plays to the end; what is wrong then. */
  async play(): Promise<string[]> {
    const { connect, listen } = Deno;
    Deno.connect = ((options: { port: number }) => this.#network.connect(options)) as never;
    Deno.listen = (() => this.#network.listen()) as never;
    try {
      this.#faults.isOn = true;
      const timer = this.#loop.createTimer();
      timer.set(
        () => {
          if (this.#tick()) return;
          timer.close();
          this.#listener?.close();
        },
        1,
        1,
      );
      await runLoop(this.#loop);
      this.#loop.free();
    } finally {
      Deno.connect = connect;
      Deno.listen = listen;
    }
    this.#judge();
    return this.#violations;
  }

  otherContext(): SocketContext {
    return this.#contexts[this.random(2)];
  }

  wakeup(): void {
    this.#loop.wakeup();
  }

  willThrow(error: Error): void {
    this.#thrown.push(error);
  }

  violated(what: string): void {
    if (this.#violations.length < 20) this.#violations.push(what);
  }

  /** What a call threw because of a fault is that, or has it as its cause. */
  caught(what: string, error: unknown): void {
    if (!this.#isInjected(error)) this.violated(`${what} threw ${Deno.inspect(error)}`);
  }

  #isInjected(error: unknown): boolean {
    const { injected } = this.#faults;
    return injected.includes(error as Error) || injected.includes((error as Error).cause as Error);
  }

  /** Returns whether something is left to do. */
  #tick(): boolean {
    if (this.#listener === null) return this.#listen();
    if (!this.#isRecovering) {
      if (this.#clients.length < this.#connections) {
        this.#connect(false);
        return true;
      }
      if (this.random(30) === 0) this.#cancel();
      if (this.#clients.some(isOn)) return true;
      this.#isRecovering = true;
      this.#faults.isOn = false;
      this.#connect(true);
      return true;
    }
    return this.#clients.some(isOn) ||
      [...this.#sides.values()].some((side) => side.opens > side.closes);
  }

  #listen(): true {
    try {
      this.#listener = this.#contexts[0].listen({ host: "127.0.0.1", port: 0 });
    } catch (error) {
      this.caught("listen()", error);
    }
    return true;
  }

  #cancel(): void {
    const side = this.#clients.find((side) => isOn(side) && side.opens === 0);
    if (side === undefined) return;
    side.isCancelled = true;
    side.socket!.close();
  }

  #connect(isCalm: boolean): void {
    const side = new Side(true, this);
    const index = this.#clients.push(side) - 1;
    side.identify(index, isCalm);
    side.isReady = true;
    side.socket = this.#contexts[0].connect({ host: "127.0.0.1", port: FIRST_PORT + index });
    this.#sides.set(side.socket, side);
  }

  #handlers(): Handlers<unknown> {
    const of = (socket: unknown) => this.#sides.get(socket as Socket)!;
    return {
      onOpen: (socket, isClient) => {
        const side = isClient ? of(socket) : this.#served(socket as Socket);
        this.#conns.set(side, socket.nativeHandle as FaultyConn);
        if (++side.opens > 1 || side.isCancelled) this.violated(`${side.name}: onOpen`);
        side.act();
      },
      onConnectError: (socket, error) => {
        const side = of(socket);
        if (++side.connectErrors > 1 || side.opens > 0 || side.isCancelled) {
          this.violated(`${side.name}: onConnectError`);
        }
        this.caught("connect()", error);
      },
      onData: (socket, data) => of(socket).data(data),
      onWritable: (socket) => {
        of(socket).writable();
        of(socket).act();
      },
      onTimeout: (socket) => of(socket).timedOut(),
      onLongTimeout: (socket) => of(socket).expect("onLongTimeout"),
      onEnd: (socket) => of(socket).ended(),
      onClose: (socket, code, reason) => of(socket).closed(code, reason),
    };
  }

  #served(socket: Socket): Side {
    const index = socket.remotePort - FIRST_PORT;
    const client = this.#clients[index];
    const side = new Side(false, this);
    side.identify(index, index === this.#connections);
    side.isReady = true;
    side.socket = socket;
    side.peer = client;
    client.peer = side;
    this.#sides.set(socket, side);
    return side;
  }

  // ---- judging ----

  #judge(): void {
    for (const side of this.#sides.values()) this.#judgeSide(side);
    for (const client of this.#clients) this.#judgePair(client);
    const left = this.#network.conns.filter((conn) => !conn.isClosed).length;
    if (left > 0) this.violated(`${left} Conns were left open`);
    const { open } = this.#loop.stats();
    if (open !== 0) this.violated(`${open} sockets are counted as open`);
  }

  #judgeSide(side: Side): void {
    const { name, opens, closes, connectErrors, isCancelled, code, peer } = side;
    if (opens !== closes || (!isCancelled && opens + connectErrors !== 1)) {
      this.violated(`${name}: ${opens} onOpen, ${closes} onClose, ${connectErrors} onConnectError`);
    }
    if (peer !== null && side.received > peer.accepted) {
      this.violated(`${name}: ${side.received} bytes of ${peer.accepted}`);
    }
    if (code !== null && !this.#isToldWell(side, code)) {
      this.violated(`${name}: onClose(${code}, ${Deno.inspect(side.reason)})`);
    }
  }

  #isToldWell(side: Side, code: number): boolean {
    const { reason } = side;
    if (side.closedWith !== null) return code === side.closedWith;
    if (code === CloseCode.Clean) return reason === undefined;
    if (code === CloseCode.Handler) return this.#thrown.includes(reason as Error);
    const { failures } = this.#conns.get(side)!;
    if (!failures.includes(reason as Error)) return false;
    const { ConnectionReset, ConnectionAborted, BrokenPipe, NotConnected } = Deno.errors;
    const isReset = [ConnectionReset, ConnectionAborted, BrokenPipe, NotConnected]
      .some((Class) => reason instanceof Class);
    return code === (isReset ? CloseCode.Reset : CloseCode.System);
  }

  /** Where nothing went wrong on a connection, everything arrived. */
  #judgePair(client: Side): void {
    const { peer: server } = client;
    if (client.isCancelled) return;
    if (server === null) {
      const isCalm = client === this.#clients[this.#connections];
      const isExcused = client.isHasty || this.#faults.injected.length > 0;
      if (isCalm || !isExcused) this.violated(`${client.name}: nobody served it`);
      return;
    }
    const sides = [client, server];
    if (sides.some((side) => side.isHasty || this.#conns.get(side)!.failures.length > 0)) return;
    for (const { name, code, received, peer, hasEnded } of sides) {
      if (code === 0 && received === peer!.accepted && hasEnded) continue;
      this.violated(`${name}: onClose(${code}) with ${received} bytes of ${peer!.accepted}`);
    }
  }
}

function isOn(side: Side): boolean {
  return side.closes + side.connectErrors === 0 && !side.isCancelled;
}
