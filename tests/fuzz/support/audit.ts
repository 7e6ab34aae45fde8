/** What happened to each socket of a context, held against what is promised of every one. */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertNotEquals } from "@std/assert";
import { CloseCode, type Handlers, type Socket } from "@usockets/usockets";

/** How long anything may take before it counts as hanging, in milliseconds. */
const HANG_MS = 20_000;

const CODES = new Set<number>([
  CloseCode.Clean,
  CloseCode.Reset,
  CloseCode.Truncated,
  CloseCode.Tls,
]);

/** The life of one socket. */
export class Life {
  /** Of the peer; 0 until it is known. */
  port = 0;
  opens = 0;
  handshakes = 0;
  received = "";
  closes = 0;
  code = NaN;
  reason: (Error & { code?: string }) | undefined;
  /** Why it never was a connection. */
  connectError: unknown;
  readonly #closed = Promise.withResolvers<void>();
  #isOver = false;

  /** Something happened. */
  note(what: string): void {
    assert(!this.#isOver, `${what} after the end`);
  }

  end(): void {
    this.#isOver = true;
    this.#closed.resolve();
  }

  /** Resolves when it is over. */
  async over(): Promise<void> {
    let watchdog;
    const hang = new Promise<never>((_, reject) => {
      watchdog = setTimeout(() => reject(new Error("the socket does not close")), HANG_MS);
    });
    try {
      await Promise.race([this.#closed.promise, hang]);
    } finally {
      clearTimeout(watchdog);
    }
  }

  /** One close, with a code that fits and an error that tells why. */
  check(): void {
    assertEquals([this.opens, this.closes], [1, 1]);
    assert(CODES.has(this.code), `closed with ${this.code}: ${this.reason}`);
    if (this.code === CloseCode.Clean) return assertEquals(this.reason, undefined);
    assertInstanceOf(this.reason, Error);
    assertNotEquals(this.reason.message, "");
    if (this.handshakes === 0) assertEquals(this.received, "");
    const Class = {
      [CloseCode.Truncated]: Deno.errors.UnexpectedEof,
      [CloseCode.Reset]: Deno.errors.ConnectionReset,
    }[this.code];
    if (Class !== undefined) assertInstanceOf(this.reason, Class);
  }

  /** Of the epoll backend: which error it was can be told without its text. */
  checkCode(): void {
    const { reason } = this;
    if (this.code !== CloseCode.Tls) return;
    assertMatch(reason!.message, /^Cannot .*: ./);
    const { UnexpectedEof, TimedOut } = Deno.errors;
    if (reason instanceof UnexpectedEof || reason instanceof TimedOut) return;
    assertInstanceOf(this.reason, Deno.errors.InvalidData);
    assertMatch(
      this.reason.code ?? this.reason.message,
      /^[A-Z][A-Z0-9_]+$/,
    );
  }
}

/** Handlers that write down the life in a socket's `ext`; more may be done with what comes. */
export function audited(
  onOpen: (life: Life) => void,
  { onHandshake, onData }: Pick<Handlers<Life>, "onHandshake" | "onData"> = {},
): Handlers<Life> & { socketExt: () => Life } {
  const decoder = new TextDecoder("latin1");
  return {
    socketExt: () => new Life(),
    onOpen(socket: Socket<Life>) {
      const life = socket.ext;
      life.note("onOpen");
      life.opens++;
      life.port = socket.remotePort;
      onOpen(life);
    },
    onHandshake(socket, info) {
      socket.ext.note("onHandshake");
      socket.ext.handshakes++;
      onHandshake?.(socket, info);
    },
    onData(socket, data) {
      socket.ext.note("onData");
      socket.ext.received += decoder.decode(data);
      onData?.(socket, data);
    },
    onWritable: (socket) => socket.ext.note("onWritable"),
    onConnectError(socket, error) {
      socket.ext.note("onConnectError");
      socket.ext.connectError = error;
      socket.ext.end();
    },
    onClose(socket, code, reason) {
      const life = socket.ext;
      life.note("onClose");
      life.closes++;
      life.code = code;
      life.reason = reason as Error | undefined;
      life.end();
    },
  };
}
