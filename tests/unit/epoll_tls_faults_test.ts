// TLS while libc fails now and then, and sends and receives in small pieces: what arrives is still a
// prefix of what was accepted, whole behind a clean end, every socket closes once and the loop ends.
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";
import {
  CloseCode,
  epoll,
  type Handlers,
  Loop,
  type Socket,
  type TlsOptions,
} from "@usockets/usockets";
import { EPOLL_CTL_DEL } from "../../ffi/constants.ts";
import {
  EAGAIN,
  ECONNRESET,
  EINTR,
  ENOBUFS,
  ENOMEM,
  ENOTCONN,
  EPIPE,
  setErrno,
} from "../../ffi/errno.ts";
import { type Libc, openLibc, replaceLibc } from "../../ffi/libc.ts";
import { openLibssl, replaceLibssl } from "../../ffi/tls/libssl.ts";
import { testCertificates } from "../support/certificates.ts";
import { CountedLibssl } from "../support/counted_libssl.ts";
import { modes, nativeTest, runLoop } from "../support/native.ts";
import { pattern } from "../support/streams.ts";

const host = "127.0.0.1";
const SHUT_RDWR = 2;
const { ca, server: cert } = await testCertificates();
/** What each side sends, as far as it comes. */
const streams = { client: pattern(400_000, 7), server: pattern(400_000, 8) };

/** How often something fails, of 1. */
interface Rates {
  /** What passes by itself: EAGAIN, EINTR, no memory for the moment. */
  passing?: number;
  /** A send or recv that is cut short. */
  short?: number;
  /** All of them are: to one byte. */
  isBytewise?: boolean;
  /** The connection breaks. */
  breaking?: number;
  /** epoll_ctl(), but for taking out. */
  watching?: number;
  /** SSL_new(). */
  memory?: number;
}

/** Numbers from 0 to 1, the same for the same seed. */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed * 2_654_435_761 >>> 0 || 1;
  }

  next(): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) / 2 ** 32;
  }

  /** A whole number below a limit. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)];
  }
}

/** Functions of libc that fail. */
class FaultyLibc {
  readonly libc: Libc;
  readonly #real: Libc;
  readonly #random: Random;
  readonly #rates: Rates;
  /** Descriptors whose connection is broken: it stays so. */
  readonly #broken = new Set<number>();
  /** Nothing fails before. */
  isOn = false;

  constructor(real: Libc, random: Random, rates: Rates) {
    this.#real = real;
    this.#random = random;
    this.#rates = rates;
    this.libc = {
      ...real,
      send: (fd, bytes, length, flags) =>
        this.#transfer(
          fd,
          [EAGAIN, EINTR, ENOBUFS, ENOMEM],
          EPIPE,
          length,
          (length) => real.send(fd, bytes, length, flags),
        ),
      recv: (fd, bytes, length, flags) =>
        this.#transfer(
          fd,
          [EAGAIN, EINTR],
          ECONNRESET,
          length,
          (length) => real.recv(fd, bytes, length, flags),
        ),
      epoll_ctl: (epfd, operation, fd, event) =>
        operation !== EPOLL_CTL_DEL && this.#happens(rates.watching)
          ? this.#fail(ENOMEM)
          : real.epoll_ctl(epfd, operation, fd, event),
      epoll_wait: (epfd, events, most, timeout) =>
        this.#happens(rates.passing)
          ? this.#fail(EINTR)
          : real.epoll_wait(epfd, events, most, timeout),
      shutdown: (fd, how) => this.#broken.has(fd) ? this.#fail(ENOTCONN) : real.shutdown(fd, how),
      setsockopt: (fd, level, name, value, length) =>
        this.#happens(rates.passing)
          ? this.#fail(ENOBUFS)
          : real.setsockopt(fd, level, name, value, length),
      close: (fd) => {
        this.#broken.delete(fd); // the number may be another's next
        return real.close(fd);
      },
    };
  }

  #transfer(
    fd: number,
    passing: number[],
    fatal: number,
    length: number,
    call: (length: number) => number,
  ): number {
    const { isBytewise, short, breaking } = this.#rates;
    if (this.#broken.has(fd)) return this.#fail(fatal);
    if (this.#happens(this.#rates.passing)) return this.#fail(this.#random.of(passing));
    if (this.#happens(breaking)) {
      this.#broken.add(fd);
      this.#real.shutdown(fd, SHUT_RDWR); // so that the peer learns of it
      return this.#fail(fatal);
    }
    if (isBytewise) return call(Math.min(length, 1));
    return call(this.#happens(short) ? 1 + this.#random.below(length) : length);
  }

  #happens(rate = 0): boolean {
    return this.isOn && this.#random.next() < rate;
  }

  #fail(errno: number): -1 {
    setErrno(this.#real, errno);
    return -1;
  }
}

/** One end of a connection. */
class End {
  readonly name: "client" | "server";
  readonly handlers: Handlers;
  readonly #random: Random;
  readonly #bytesMax: number;
  peer!: End;
  accepted = 0;
  received = 0;
  opens = 0;
  closes = 0;
  handshakes = 0;
  hasEnded = false;
  /** Closed without waiting for the peer's end, or bytes of the peer dropped. */
  isHasty = false;
  code = 0;

  constructor(name: "client" | "server", random: Random, bytesMax: number) {
    this.name = name;
    this.#random = random;
    this.#bytesMax = bytesMax;
    this.handlers = {
      onOpen: (socket) => {
        this.opens++;
        if (random.below(2) === 0) this.#act(socket);
      },
      onHandshake: (socket) => {
        assertEquals([this.closes, ++this.handshakes], [0, 1]);
        this.#act(socket);
      },
      onData: (socket, data) => this.#received(socket, data),
      onWritable: (socket) => this.#act(socket),
      onTimeout: (socket) => {
        socket.resume();
        this.#act(socket);
      },
      onEnd: (socket) => {
        assertEquals([this.closes, this.hasEnded], [0, false]);
        this.hasEnded = true;
        if (!this.isHasty) {
          assertEquals(this.received, this.peer.accepted, "bytes before a clean end");
        }
        socket.end();
      },
      onClose: (_socket, code, reason) => {
        this.closes++;
        this.code = code;
        if (code < 0) assert(reason instanceof Error);
      },
    };
  }

  #received(socket: Socket, data: Uint8Array): void {
    assertEquals([this.closes, this.handshakes, this.hasEnded], [0, 1, false]);
    const expected = streams[this.peer.name];
    // The first difference tells more than two long arrays, and is found faster.
    const at = data.findIndex((byte, index) => byte !== expected[this.received + index]);
    assertEquals(at, -1, `wrong byte ${this.received + at}`);
    this.received += data.length;
    if (this.#random.below(4) === 0) this.#act(socket);
  }

  /** Does one thing or another, and sees to it that something follows. */
  #act(socket: Socket): void {
    socket.timeout(0.001 + this.#random.next() * 0.005);
    const isOver = this.accepted >= this.#bytesMax;
    const chance = this.#random.below(isOver ? 8 : 100);
    if (chance === 0) this.#leave(socket);
    else if (chance === 1) this.#end(socket);
    else if (chance === 2 || isOver) socket.shutdown();
    else if (chance < 15) socket.pause(); // until its timeout
    else if (chance < 30) this.#write2(socket);
    else this.#write(socket, chance < 45);
  }

  #write(socket: Socket, more: boolean): void {
    const bytes = this.#next();
    const accepted = socket.write(bytes, more);
    assertLessOrEqual(accepted, bytes.length);
    this.accepted += accepted;
    if (more) socket.flush();
  }

  #write2(socket: Socket): void {
    const bytes = this.#next();
    const at = this.#random.below(bytes.length + 1);
    this.accepted += socket.write2(bytes.subarray(0, at), bytes.subarray(at));
  }

  #next(): Uint8Array {
    const length = 1 + this.#random.below(this.#bytesMax / 2);
    return streams[this.name].subarray(this.accepted, this.accepted + length);
  }

  #end(socket: Socket): void {
    this.isHasty = true;
    socket.end(1);
  }

  #leave(socket: Socket): void {
    this.isHasty = true;
    if (this.#random.below(3) === 0) socket.reset();
    else socket.close(this.#random.below(5));
  }
}

/** Plays some connections to their ends. */
async function play(seed: number, rates: Rates, mode: typeof modes[number]): Promise<void> {
  const random = new Random(seed);
  const libc = openLibc(), libssl = openLibssl();
  const counted = new CountedLibssl(libssl);
  const faulty = new FaultyLibc(libc, random, rates);
  replaceLibc(faulty.libc);
  replaceLibssl(counted.libssl);
  const ends: End[] = [];
  const errors: unknown[] = [];
  try {
    const loop = new Loop({
      backend: epoll,
      timeoutGranularityMs: 4,
      recvBufferBytes: random.of([100, 4096, 524_288]),
      sendBufferBytes: random.of([10, 65_536]),
      onError: (error) => errors.push(error),
    });
    if (random.next() < (rates.memory ?? 0)) counted.refusals.SSL_new = 1;
    for (let i = 0; i < 4; i++) ends.push(...connect(loop, random, rates));
    faulty.isOn = true;
    await runLoop(loop, mode);
    assertEquals(loop.stats().open, 0);
    loop.free();
  } finally {
    replaceLibc(libc);
    replaceLibssl(libssl);
  }
  if (errors.length > 0) throw errors[0];
  assertEquals(counted.left, {});
  for (const end of ends) check(end, rates);
}

function connect(loop: Loop, random: Random, { isBytewise }: Rates): [End, End] {
  const bytesMax = isBytewise ? 300 : 1 + random.below(150_000);
  const client = new End("client", random, bytesMax);
  const server = new End("server", random, bytesMax);
  client.peer = server;
  server.peer = client;
  const options: TlsOptions = {
    maxVersion: random.of(["TLSv1.2", "TLSv1.3"]),
    preferLowMemory: random.below(2) === 0,
  };
  const servers = loop.createContext<unknown>(
    { ...server.handlers, tls: { ...cert, ...options } } as never,
  );
  if (random.below(2) === 0) servers.addServerName("localhost", { ...cert, ...options });
  const listener = servers.listen({ host, port: 0 });
  const clients = loop.createContext<unknown>({
    ...client.handlers,
    onConnectError: () => listener.close(),
    onClose(socket: Socket, code: number, reason: unknown) {
      client.handlers.onClose!(socket, code, reason);
      if (server.opens === server.closes) listener.close();
    },
    tls: { ca, ...options },
  } as never);
  const close = servers.onClose!;
  servers.onClose = (socket, code, reason) => {
    close(socket, code, reason);
    listener.close();
  };
  clients.connect({ host, port: listener.port, serverName: "localhost" });
  return [client, server];
}

function check(end: End, { breaking, watching, memory }: Rates): void {
  const { name, peer, code } = end;
  assertEquals(end.opens, end.closes, `${name}: onClose for each onOpen`);
  assertLessOrEqual(end.received, peer.accepted);
  const { Reset, Truncated, Tls, System } = CloseCode;
  assert(code >= 0 || [Reset, Truncated, Tls, System].includes(code as -1), `${name}: ${code}`);
  if (breaking || watching || memory || end.isHasty || peer.isHasty) return;
  assertEquals([code, end.received], [0, peer.accepted], `${name}: nothing was wrong`);
}

const cases: Record<string, [seeds: number, rates: Rates]> = {
  "nothing fails": [5, {}],
  "calls are to be tried again": [6, { passing: 0.1 }],
  "sends and receives are cut short": [6, { short: 0.5, passing: 0.05 }],
  "every byte comes and goes alone": [3, { isBytewise: true, passing: 0.02 }],
  "connections break": [8, { breaking: 0.02, short: 0.3, passing: 0.05 }],
  "sockets cannot be watched": [8, { watching: 0.1, short: 0.2 }],
  "OpenSSL has no memory": [5, { memory: 1, passing: 0.05 }],
};

for (const [what, [seeds, rates]] of Object.entries(cases)) {
  for (const mode of modes) {
    nativeTest(`TLS loses and invents nothing where ${what} (${mode})`, async () => {
      for (let seed = 1; seed <= seeds; seed++) {
        try {
          await play(seed, rates, mode);
        } catch (cause) {
          throw new Error(`with seed ${seed}: ${(cause as Error).message}`, { cause });
        }
      }
    });
  }
}
