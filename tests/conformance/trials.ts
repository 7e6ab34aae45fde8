/** What the matrix of handlers.ts is made of: one connection for each handler, action and side. */
import { assert, assertEquals, assertInstanceOf, assertStrictEquals, fail } from "@std/assert";
import {
  CloseCode,
  type Handlers,
  type ListenSocket,
  type Socket,
  type SocketContext,
} from "@usockets/usockets";
import { after } from "../support/pairs.ts";
import { pattern } from "../support/streams.ts";
import type { Fixture } from "./fixture.ts";

/** A handler that does something drastic. */
export type Place =
  | "onOpen"
  | "onHandshake"
  | "onData"
  | "onWritable"
  | "onEnd"
  | "onTimeout"
  | "onLongTimeout"
  | "onClose";

/** What it does; `subject` is the socket it was called for. */
export const actions = {
  close: ({ subject }: Trial) => subject!.close(),
  closeWithReason: ({ subject }: Trial) => subject!.close(7, "why"),
  shutdown: ({ subject }: Trial) => subject!.shutdown(),
  end: ({ subject }: Trial) => subject!.end(),
  pause: (trial: Trial) => trial.pause(),
  adopt: (trial: Trial) => trial.adopt(),
  throw: (trial: Trial) => {
    throw trial.thrown = new Error(`thrown in ${trial.name}`);
  },
  closeOther: ({ other }: Trial) => other?.close(),
  closeContext: ({ subject }: Trial) => subject!.context.close(),
  freeContext: ({ subject }: Trial) => subject!.context.free(),
  closeListener: ({ listener }: Trial) => listener.close(),
} as const;

/** The name of an action. */
export type Action = keyof typeof actions;

/** Behind these the subject still works. */
const survivors: readonly Action[] = ["pause", "adopt", "closeListener"];

/** One connection, one handler of one of its ends, one action. */
export class Trial {
  readonly name: string;
  /** The end whose handler acts. */
  subject: Socket | undefined;
  /** The other end. */
  other: Socket | undefined;
  readonly listener: ListenSocket;
  /** What the handler threw. */
  thrown: Error | undefined;
  /** How often the loop's onError was told of it. */
  reports = 0;
  readonly #t: Fixture;
  readonly #place: Place;
  readonly #action: Action;
  readonly #isServer: boolean;
  readonly #adopter: SocketContext;
  readonly #closes: { code: number; reason: unknown; context: SocketContext }[] = [];
  #hasActed = false;
  #isPaused = false;
  #isFinished = false;
  /** The other end was open enough to answer when the handler acted. */
  #expectsMore = false;
  #expectsPong = false;
  /** The last bytes that each end got. */
  #tail = "";
  #otherTail = "";

  constructor(t: Fixture, place: Place, action: Action, side: "server" | "client") {
    this.name = `${place} of the ${side}: ${action}`;
    this.#t = t;
    this.#place = place;
    this.#action = action;
    this.#isServer = side === "server";
    const near = this.#near(), far = this.#far();
    const server = t.server<unknown>(this.#isServer ? near : far);
    const client = t.client<unknown>(this.#isServer ? far : near);
    this.#adopter = (this.#isServer ? server : client).createChild({
      onData: near.onData,
      onClose: near.onClose,
    }) as SocketContext;
    this.listener = t.listen(server);
    const socket = t.connect(client, this.listener);
    if (this.#isServer) this.other = socket;
    else this.subject = socket;
  }

  /** Whether both ends are closed. */
  get isOver(): boolean {
    return this.#hasActed && this.subject!.isClosed && (this.other?.isClosed ?? true);
  }

  /** Action: pauses the subject, and resumes it later. */
  pause(): void {
    if (this.subject!.isClosed) return this.subject!.pause();
    this.#isPaused = true;
    this.subject!.pause();
    after(this.#t, 10, () => {
      this.#isPaused = false;
      this.subject!.resume();
    });
  }

  /** Action: moves the subject to another context. */
  adopt(): void {
    const before = this.subject!.context;
    const wasClosed = this.subject!.isClosed;
    assertStrictEquals<unknown>(this.#adopter.adopt(this.subject!), this.subject);
    assert(this.subject!.context === (wasClosed ? before : this.#adopter));
  }

  /** Asserts that it went as it must; call it when the loop has ended. */
  check(): void {
    assert(this.#hasActed, `${this.name}: never acted`);
    assertEquals(this.#closes.length, 1, `${this.name}: onClose came ${this.#closes.length} times`);
    const [{ code, reason, context }] = this.#closes;
    assert(this.#codes().includes(code), `${this.name}: close code ${code} (${reason})`);
    if (this.#place !== "onClose") {
      if (this.#action === "closeWithReason") assertEquals(reason, "why");
      if (this.#action === "throw") assertStrictEquals(reason, this.thrown);
      if (this.#action === "freeContext") assertInstanceOf(reason, Error);
      assertEquals(context === this.#adopter, this.#action === "adopt", this.name);
    }
    assertEquals(this.reports, this.#action === "throw" ? 1 : 0, `${this.name}: reports`);
    if (this.#expectsMore) assert(this.#tail.endsWith("more"), `${this.name}: got ${this.#tail}`);
    if (this.#expectsPong) {
      assert(this.#otherTail.endsWith("pong"), `${this.name}: sent ${this.#otherTail}`);
    }
  }

  #codes(): number[] {
    const { Clean, Reset, Handler, Freed, Tls, Truncated } = CloseCode;
    if (this.#place === "onClose") return [Clean]; // it was closed before the action
    switch (this.#action) {
      case "closeWithReason":
        return [7];
      case "throw":
        return [Handler];
      case "freeContext":
        return [Freed];
      case "closeOther":
        // It closed with input unread, or in the middle of its handshake.
        return this.#t.transport.isTls ? [Clean, Reset, Tls, Truncated] : [Clean, Reset];
      case "closeListener":
        // A client that nobody had accepted yet is reset.
        return this.#expectsPong ? [Clean] : [Clean, Reset, Tls];
      default:
        return [Clean];
    }
  }

  #near(): Handlers {
    const place = this.#place;
    const near: Handlers = {
      onOpen: (socket) => {
        this.subject = socket;
        if (place === "onOpen") return this.#act();
        if (place === "onTimeout") socket.timeout(0.005);
        if (place === "onLongTimeout") socket.longTimeout(0.0001);
        if (place === "onWritable") { while (socket.write(flood) === flood.length); }
      },
      onData: (_socket, data) => {
        if (this.#isPaused) fail(`${this.name}: onData while paused`);
        this.#tail = (this.#tail + decoder.decode(data)).slice(-4);
        if (place === "onData" && !this.#hasActed) this.#act();
        else if (this.#expectsMore && this.#tail === "more") this.#finish();
      },
      onClose: (socket, code, reason) => {
        this.#closes.push({ code, reason, context: socket.context });
        if (this.#isServer) this.listener.close();
        if (place === "onClose") this.#act();
      },
    };
    if (place !== "onOpen" && place !== "onData" && place !== "onClose") {
      near[place] = () => this.#act();
    }
    return near;
  }

  #far(): Handlers {
    return {
      onOpen: (socket) => {
        this.other = socket;
        if (this.#place === "onData") socket.write("x");
        if (this.#place === "onEnd" || this.#place === "onClose") socket.shutdown();
      },
      onData: (_socket, data) => {
        this.#otherTail = (this.#otherTail + decoder.decode(data.subarray(-4))).slice(-4);
      },
      onClose: () => {
        if (!this.#isServer) this.listener.close();
      },
    };
  }

  /** Called by the handler: acts, the first time. */
  #act(): void {
    if (this.#hasActed) return;
    this.#hasActed = true;
    const survives = survivors.includes(this.#action) && !this.subject!.isClosed;
    after(this.#t, 15, () => this.#acted(survives));
    actions[this.#action](this);
    if (this.#closes.length !== (this.subject!.isClosed ? 1 : 0)) {
      fail(`${this.name}: onClose came not inside of what closed`);
    }
  }

  /** A while later: whoever is still there must still work. */
  #acted(survives: boolean): void {
    // A server that nobody could connect to any more.
    if (this.other === undefined && this.subject!.isClosed) this.listener.close();
    if (this.subject!.isClosed) return;
    // Half-open, with a peer that is gone without a word: nobody else would end it.
    if (this.#place === "onEnd" && this.#action === "closeOther") return this.subject!.shutdown();
    if (!survives) return;
    this.#expectsMore = this.other?.write("more") === 4;
    if (!this.#expectsMore) this.#finish();
  }

  /** Says the last word and ends. */
  #finish(): void {
    if (this.#isFinished) return;
    this.#isFinished = true;
    this.#expectsPong = this.other !== undefined;
    assertEquals(this.subject!.write("pong"), 4, this.name);
    this.subject!.end();
  }
}

const decoder = new TextDecoder();
/** More than all buffers hold while nobody reads. */
const flood = pattern(8 << 20);

/** A connection that has nothing to do with any of it, and is to work on to the end. */
export class Bystander {
  /** Whether its last round trip came after everything else was over, and it closed in order. */
  isSound = false;

  constructor(t: Fixture, isOver: () => boolean) {
    let isLast = false;
    const listener = t.listen(t.server({
      onData: (socket, data) => void socket.write(data),
      onClose: () => listener.close(),
    }));
    const client = t.client({
      onOpen: (socket) => void socket.write("ping"),
      onData(socket) {
        if (isLast) return socket.end();
        after(t, 3, () => {
          isLast = isOver();
          assertEquals(socket.write("ping"), 4);
        });
      },
      onClose: (_socket, code) => void (this.isSound = isLast && code === 0),
    });
    t.connect(client, listener);
  }
}
