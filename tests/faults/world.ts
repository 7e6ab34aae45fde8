/**
 * The world of the property test: a loop on functions that fail, with connections that do one thing or
 * another, and at the end what must hold whatever failed.
 */
import {
  epoll,
  type Handlers,
  type ListenSocket,
  Loop,
  type SocketContext,
  type TlsOptions,
} from "@usockets/usockets";
import { type Random, randomOf } from "../../examples/support/hammer_plan.ts";
import { openLibc, replaceLibc } from "../../ffi/libc.ts";
import { openLibssl, replaceLibssl } from "../../ffi/tls/libssl.ts";
import { CountedLibssl } from "../support/counted_libssl.ts";
import { FaultyLibssl } from "../support/faulty_libssl.ts";
import { FaultyLibc } from "../support/faulty_libc.ts";
import { runLoop } from "../support/native.ts";
import { Connections } from "./connections.ts";
import { judge } from "./judge.ts";
import type { Setting } from "./setting.ts";
import { Side, type Surroundings } from "./side.ts";
import { Trickle } from "./trickle.ts";

/** How long nothing may happen. */
const HANG_MS = 10_000;
/** One run. */
export class World implements Surroundings {
  readonly random: Random;
  readonly hasResets = true;
  readonly bytesMax = 200_000;
  readonly #setting: Setting;
  readonly #libc = openLibc();
  readonly #libssl = openLibssl();
  readonly #faulty: FaultyLibc;
  readonly #counted: CountedLibssl;
  readonly #memory: FaultyLibssl;
  readonly #ends: Connections;
  readonly #violations: string[] = [];
  readonly #thrown: Error[] = [];
  readonly #connections: number;
  #loop!: Loop;
  #serverContexts!: SocketContext[];
  #clientContexts!: SocketContext[];
  #listener: ListenSocket | null = null;
  #port = 0;
  #isRecovering = false;
  #hasRelistened = false;
  #wakeups = 0;
  #woken = 0;
  #trickle!: Trickle;
  #progress = 0;
  #progressedAt = performance.now();

  constructor(setting: Setting) {
    this.#setting = setting;
    this.random = randomOf(setting.seed, -1);
    this.#connections = 2 + this.random(5);
    this.#faulty = new FaultyLibc(this.#libc, setting.seed, setting.rates);
    // Outside, as what is refused is not given.
    this.#counted = new CountedLibssl(this.#libssl);
    this.#memory = new FaultyLibssl(this.#counted.libssl, setting.seed, setting.rates.memory ?? 0);
    this.#ends = new Connections(this, setting, this.#faulty, this.#connections);
  }

  /** Plays to the end; what is wrong then. */
  async play(): Promise<string[]> {
    replaceLibssl(this.#memory.libssl); // until the end, for upgradeTls()
    try {
      this.#setFaults(true);
      this.#begin();
      await this.#run();
    } finally {
      this.#setFaults(false);
      this.#loop.free();
      replaceLibssl(this.#libssl);
      this.#trickle.close();
    }
    // A loop that slept asks Deno's pool how far it is; see the conformance fixture.
    await this.#libc.gettidAsync();
    this.#judge();
    return this.#violations;
  }

  // ---- what sides do to their world ----

  otherContext(side: Side): SocketContext {
    const contexts = this.#ends.clients.includes(side)
      ? this.#clientContexts
      : this.#serverContexts;
    return contexts[this.random(2)];
  }

  wakeup(): void {
    this.#wakeups++;
    this.#loop.wakeup();
  }

  willThrow(error: Error): void {
    this.#thrown.push(error);
  }

  violated(what: string): void {
    if (this.#violations.length < 20) this.#violations.push(what);
  }

  // ---- beginning ----

  #begin(): void {
    replaceLibc(this.#faulty.libc);
    this.#loop = this.#retried("new Loop()", () =>
      new Loop({
        backend: epoll,
        timeoutGranularityMs: 4,
        recvBufferBytes: [100, 4096, 524_288][this.random(3)],
        sendBufferBytes: [10, 65_536][this.random(2)],
        onError: (error) => {
          if (!this.#thrown.includes(error as Error)) {
            this.violated(`onError: ${Deno.inspect(error)}`);
          }
        },
        onWakeup: () => void this.#woken++,
      }));
    replaceLibc(this.#libc);
    const { transport, certificates: { ca, server } } = this.#setting;
    const isTls = transport.endsWith(" tls");
    const options: TlsOptions = {
      maxVersion: this.random(2) === 0 ? "TLSv1.2" : "TLSv1.3",
      preferLowMemory: this.random(2) === 0,
      ktls: this.random(4) === 0,
      alpnProtocols: this.random(2) === 0 ? ["x"] : undefined,
    };
    const make = (handlers: Handlers<unknown>, tls: TlsOptions) => {
      const one = () =>
        this.#loop.createContext<unknown>(
          {
            ...handlers,
            tls: isTls ? { ...tls, ...options } : undefined,
            socketExt: () => undefined,
          },
        ) as unknown as SocketContext;
      return [0, 1].map(() => this.#retried("createContext()", one));
    };
    this.#serverContexts = make(this.#ends.handlers(true), { cert: server.cert, key: server.key });
    this.#clientContexts = make(this.#ends.handlers(false), { ca, serverName: "localhost" });
    if (isTls && this.random(2) === 0) {
      const { cert, key } = server;
      for (const context of this.#serverContexts) {
        this.#retried(
          "addServerName()",
          () => context.addServerName("*", { cert, key, ...options }),
        );
      }
    }
    this.#trickle = new Trickle(this.#loop);
    const timer = this.#loop.createTimer();
    timer.set(
      () => {
        if (this.#tick()) return;
        timer.close();
        this.#listener?.close();
        this.#trickle.stop();
      },
      1,
      2,
    );
  }

  /** What may fail, again and again until it works; its errors must say why. */
  #retried<T>(what: string, make: () => T): T {
    for (let tries = 0;; tries++) {
      if (tries === 20) this.#setFaults(false);
      try {
        const made = make();
        this.#setFaults(true);
        return made;
      } catch (error) {
        this.caught(what, error);
      }
    }
  }

  /** What a call threw because of a fault says so. */
  caught(what: string, error: unknown): void {
    const { code, message } = error as { code?: string; message: string };
    const isTold = code === undefined
      ? /^Cannot .*(OpenSSL|memory|resolve|valid PEM)/.test(message)
      : this.#faulty.names.has(code);
    if (!isTold) this.violated(`${what} threw ${Deno.inspect(error)}`);
  }

  async #run(): Promise<void> {
    for (;;) {
      try {
        return await runLoop(this.#loop, this.#setting.mode);
      } catch (error) {
        const { message } = error as Error;
        if (!/^Cannot (create|watch)/.test(message)) {
          throw new Error(`${message}: ${this.#state()}`);
        }
        this.caught("run()", error);
      }
    }
  }

  /** For messages. */
  #state(): string {
    const sides = [...this.#ends.clients, ...this.#ends.servers]
      .filter((side) => side.closes + side.connectErrors === 0)
      .map(({ socket, peer, reason: _, ...side }) => ({
        ...side,
        peer: peer?.name,
        flags: socket?.flags,
      }));
    return Deno.inspect({
      sides,
      stats: this.#loop.stats(),
      listens: this.#listener !== null,
      isRecovering: this.#isRecovering,
      wakeups: [this.#wakeups, this.#woken],
      connections: this.#connections,
      clients: this.#ends.clients.length,
    }, { breakLength: 200 });
  }

  #setFaults(areOn: boolean): void {
    this.#faulty.isOn = this.#memory.isOn = areOn;
  }

  // ---- what happens beside the connections ----

  /** Returns whether something is left to do. */
  #tick(): boolean {
    if (this.#hangs()) return false;
    try {
      this.#trickle.goOn(this.random);
    } catch (error) {
      this.caught("Poll.start()", error);
    }
    if (this.#listener === null && !this.#listen()) return true;
    const { length } = this.#ends.clients;
    const isOn = (side: Side) => side.closes + side.connectErrors === 0 && !side.isCancelled;
    if (!this.#isRecovering) {
      if (length < this.#connections) {
        if (this.random(2) === 0) this.#connect(false);
        return true;
      }
      const chance = this.random(60);
      if (chance === 0) this.#relisten();
      else if (chance === 1) this.#cancel();
      if (this.#ends.clients.some(isOn)) return true;
      this.#isRecovering = true;
      this.#setFaults(false);
      return true;
    }
    if (length === this.#connections) this.#connect(true);
    const isServing = this.#ends.servers.some((side) => side.closes === 0);
    return isServing || isOn(this.#ends.clients[this.#connections]) ||
      !this.#trickle.isDry || this.#woken === 0 && this.#wakeups > 0;
  }

  /** Nothing happened for long. */
  #hangs(): boolean {
    const sides = [...this.#ends.clients, ...this.#ends.servers];
    const now = performance.now();
    const progress = sides.reduce(
      (sum, side) => sum + side.accepted + side.received + side.opens + side.closes,
      sides.length,
    );
    if (progress !== this.#progress) this.#progressedAt = now;
    this.#progress = progress;
    if (now - this.#progressedAt < HANG_MS) return false;
    this.violated(`nothing happened in ${HANG_MS} ms: ${this.#state()}`);
    this.#loop.free();
    return true;
  }

  #listen(): boolean {
    const { transport, directory } = this.#setting;
    try {
      this.#listener = this.#serverContexts[0].listen(
        transport.startsWith("unix")
          ? { path: `${directory}/faults.sock` }
          : { host: "127.0.0.1", port: this.#port },
      );
    } catch (error) {
      this.caught("listen()", error);
      return false;
    }
    this.#port = this.#listener.port;
    return true;
  }

  /** Who waits in the backlog is reset. */
  #relisten(): void {
    this.#hasRelistened = true;
    this.#listener!.close();
    this.#listener = null;
  }

  #cancel(): void {
    const side = this.#ends.clients.find((side) => side.opens + side.connectErrors === 0);
    if (side === undefined || side.isCancelled) return;
    side.isCancelled = true;
    side.socket!.close();
  }

  #connect(isCalm: boolean): void {
    const index = this.#ends.clients.length;
    const side = new Side(true, this);
    side.identify(index, isCalm);
    this.#ends.clients.push(side);
    const { transport, directory } = this.#setting;
    const host = this.random(3) === 0 ? "localhost" : "127.0.0.1";
    try {
      side.socket = this.#clientContexts[0].connect({
        ...(transport.startsWith("unix")
          ? { path: `${directory}/faults.sock` }
          : { host, port: this.#port }),
        timeoutSeconds: this.random(4) === 0 ? 5 : undefined,
      });
    } catch (error) {
      side.connectErrors++;
      return this.caught("connect()", error);
    }
    this.#ends.add(side);
  }

  // ---- judging ----

  #judge(): void {
    const evidence = {
      setting: this.#setting,
      clients: this.#ends.clients,
      servers: this.#ends.servers,
      calm: this.#ends.clients[this.#connections],
      thrown: this.#thrown,
      injected: this.#faulty.names,
      hasRelistened: this.#hasRelistened,
    };
    for (const violation of judge(evidence)) this.violated(violation);
    if (!this.#trickle.isDry) this.violated("a poll lost events");
    if ((this.#wakeups > 0) !== (this.#woken > 0) || this.#woken > this.#wakeups) {
      this.violated(`${this.#woken} onWakeup of ${this.#wakeups}`);
    }
    const { open } = this.#loop.stats();
    if (open !== 0) this.violated(`${open} sockets are counted as open`);
    const { left } = this.#counted;
    if (Object.keys(left).length > 0) this.violated(`references are left: ${JSON.stringify(left)}`);
  }
}
