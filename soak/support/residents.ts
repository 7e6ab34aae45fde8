/**
 * Connections that stay: thousands of them that talk now and then, move between contexts, read slowly
 * or fall silent until a timeout ends them. When one is done, another takes its place.
 *
 * Both ends are here, so that each byte, each close code and each latency is checked. What a server
 * sends and what a client sends are the same stream: a server echoes.
 * @module
 */
import type { Loop, Socket, SocketContext, TlsOptions } from "@usockets/usockets";
import { build, type Histogram } from "hdr-histogram-js";
import { type Random, randomOf } from "../../examples/support/hammer_plan.ts";
import { isPattern, pattern } from "../../examples/support/pattern.ts";

/** What a resident does; its first byte tells the server which. */
export const KINDS = ["talker", "wanderer", "slow reader", "silent"] as const;

/** One of {@linkcode KINDS}. */
export type Kind = typeof KINDS[number];

/** Of a hundred residents so many are of each kind. */
const SHARES: Readonly<Record<Kind, number>> = {
  talker: 70,
  wanderer: 15,
  "slow reader": 10,
  silent: 5,
};

/** Messages of a talker, one a second or so. */
const MESSAGES = 60;
/** What a slow reader gets, and how much it takes between two rests. */
const FEAST_BYTES = 1 << 20, BITE_BYTES = 1 << 16;
/** A server waits so long for one who is silent. */
const SILENCE_SECONDS = 20;
/** On their way in at a time. */
const ARRIVING_MAX = 64;
/** Messages of residents: most are small. */
const SIZES = [64, 512, 4096, 4096, 16_384, 131_072];

/** Where residents live. */
export interface Place {
  readonly name: string;
  readonly loop: Loop;
  /** How many live there at a time. */
  readonly count: number;
  readonly seed: number;
  /** The path of a unix socket; absent: TCP. */
  readonly path?: string;
  readonly tls?: { readonly server: TlsOptions; readonly client: TlsOptions };
  /** Must not be. */
  readonly violate: (what: string) => void;
}

/** User data of a client. */
interface Resident {
  readonly stream: number;
  readonly kind: Kind;
  readonly random: Random;
  messagesLeft: number;
  /** Bytes of messages that were begun, that were accepted, and that came back. */
  begun: number;
  sent: number;
  received: number;
  /** When the message under way began. */
  askedAt: number;
  /** Slow readers: bytes until the next rest. */
  bite: number;
  isOut: boolean;
}

/** User data of a server's socket. */
interface Host {
  kind: Kind | null;
  /** Which stream a slow reader gets, and how much of it was accepted. */
  stream: number;
  fed: number;
  /** What the peer has not taken yet. */
  rest: Uint8Array;
}

type ClientContext = SocketContext<Resident>;
type HostContext = SocketContext<Host>;

/** The residents of one place. */
export class Residents {
  readonly #place: Place;
  readonly #latencies: Histogram;
  readonly #counts: Map<string, number>;
  readonly #inside: ClientContext;
  readonly #outside: ClientContext;
  readonly #host: HostContext;
  readonly #otherHost: HostContext;
  readonly #address: { path: string } | { host: string; port: number };
  readonly #stopListening: () => void;
  /** Who says nothing, and would not learn that it is time to go. */
  readonly #silent = new Set<Socket<Resident>>();
  #born = 0;
  #alive = 0;
  #arriving = 0;
  #isStopping = false;

  /**
   * @param latencies Gets microseconds from the first byte of a message to the last of its echo.
   * @param counts Gets how many of each kind were done, and how often each thing happened.
   */
  constructor(place: Place, latencies: Histogram, counts: Map<string, number>) {
    this.#place = place;
    this.#latencies = latencies;
    this.#counts = counts;
    this.#inside = this.#createClients();
    this.#outside = this.#createClients();
    this.#host = this.#createHosts();
    this.#otherHost = this.#createHosts();
    const { path } = place;
    const listener = this.#host.listen(
      path === undefined ? { host: "127.0.0.1", port: 0 } : { path },
    );
    this.#address = path === undefined
      ? { host: "127.0.0.1", port: listener.port }
      : { path: listener.host };
    this.#stopListening = () => listener.close();
  }

  /** How many there are. */
  get alive(): number {
    return this.#alive;
  }

  /** Lets in as many as there is room for; to be called now and then. */
  fill(): void {
    while (
      !this.#isStopping && this.#alive < this.#place.count && this.#arriving < ARRIVING_MAX
    ) this.#invite();
  }

  /** Nobody comes any more, and who is there leaves soon. */
  stop(): void {
    this.#isStopping = true;
    for (const socket of this.#silent) socket.end();
    if (this.#alive === 0) this.#leave();
  }

  #leave(): void {
    this.#stopListening();
  }

  #invite(): void {
    this.#alive++;
    this.#arriving++;
    this.#inside.connect(this.#address);
  }

  #createResident(): Resident {
    const stream = this.#born++;
    const random = randomOf(this.#place.seed, stream);
    return {
      stream,
      kind: drawKind(random),
      random,
      messagesLeft: 1 + random(2 * MESSAGES),
      begun: 0,
      sent: 0,
      received: 0,
      askedAt: 0,
      bite: BITE_BYTES,
      isOut: false,
    };
  }

  // ---------------------------------------------------------------- clients

  #createClients(): ClientContext {
    return this.#place.loop.createContext<Resident>({
      tls: this.#place.tls?.client,
      socketExt: () => this.#createResident(),
      onOpen: (socket) => {
        this.#arriving--;
        socket.write(greeting(socket.ext));
        if (isTalking(socket.ext)) this.#talk(socket);
        if (socket.ext.kind === "silent") this.#beSilent(socket);
      },
      onData: (socket, data) => this.#onAnswer(socket, data),
      onWritable: (socket) => this.#goOn(socket),
      onTimeout: (socket) => isTalking(socket.ext) ? this.#talk(socket) : socket.resume(),
      onEnd: (socket) => socket.end(),
      onConnectError: (socket, error) => {
        this.#arriving--;
        this.#alive--;
        this.#violate(socket.ext, `could not connect: ${error}`);
      },
      onClose: (socket, code, reason) => this.#onGone(socket, code, reason),
    });
  }

  /** Begins a message. */
  #talk(socket: Socket<Resident>): void {
    const { ext } = socket;
    ext.begun += 1 + ext.random(SIZES[ext.random(SIZES.length)]);
    ext.askedAt = performance.now();
    this.#goOn(socket);
  }

  #goOn(socket: Socket<Resident>): void {
    const { ext } = socket;
    while (ext.sent < ext.begun) {
      const piece = pattern(ext.stream, ext.sent, ext.begun - ext.sent);
      const sent = socket.write(piece);
      ext.sent += sent;
      if (sent < piece.length) return; // onWritable follows
    }
  }

  #onAnswer(socket: Socket<Resident>, data: Uint8Array): void {
    const { ext } = socket;
    if (!isPattern(ext.stream, ext.received, data)) {
      this.#violate(ext, `got wrong bytes behind ${ext.received}`);
    }
    ext.received += data.length;
    if (ext.kind === "slow reader") return this.#chew(socket, data.length);
    if (ext.received > ext.sent) this.#violate(ext, "more came back than was sent");
    if (ext.received < ext.begun) return;
    this.#latencies.recordValue(Math.round((performance.now() - ext.askedAt) * 1000));
    this.#count("messages");
    if (--ext.messagesLeft <= 0 || this.#isStopping) return socket.end();
    if (ext.kind === "wanderer" && ext.random(2) === 0) this.#wander(socket);
    socket.timeout(0.5 + ext.random(1000) / 1000);
  }

  #wander(socket: Socket<Resident>): void {
    const { ext } = socket;
    ext.isOut = !ext.isOut;
    (ext.isOut ? this.#outside : this.#inside).adopt(socket, ext);
    this.#count("adoptions");
  }

  #chew(socket: Socket<Resident>, length: number): void {
    const { ext } = socket;
    ext.bite -= length;
    if (ext.bite > 0) return;
    ext.bite = BITE_BYTES;
    this.#count("rests");
    socket.pause();
    socket.timeout(this.#isStopping ? 0.001 : 2);
  }

  #beSilent(socket: Socket<Resident>): void {
    if (this.#isStopping) socket.end();
    else this.#silent.add(socket);
  }

  #onGone(socket: Socket<Resident>, code: number, reason: unknown): void {
    const { ext } = socket;
    this.#silent.delete(socket);
    this.#alive--;
    const isComplete = ext.kind === "silent" ||
      ext.received === (ext.kind === "slow reader" ? FEAST_BYTES : ext.begun);
    if (code !== 0) this.#violate(ext, `closed with ${code}: ${reason}`);
    else if (!isComplete) this.#violate(ext, `ended with ${ext.received} bytes of ${ext.begun}`);
    this.#count(`${ext.kind}s done`);
    if (this.#isStopping && this.#alive === 0) this.#leave();
  }

  // ---------------------------------------------------------------- servers

  #createHosts(): HostContext {
    return this.#place.loop.createContext<Host>({
      tls: this.#place.tls?.server,
      socketExt: () => ({ kind: null, stream: 0, fed: 0, rest: NOTHING }),
      onOpen: (socket) => socket.timeout(60), // who never says what it wants
      onData: (socket, data) => this.#onRequest(socket, data),
      onWritable: (socket) => this.#serve(socket),
      onTimeout: (socket) => {
        if (socket.ext.kind !== "silent") this.#place.violate("a server's timeout came");
        this.#count("silences ended");
        socket.end();
      },
      onEnd: (socket) => socket.end(),
      onClose: (_socket, code, reason) => {
        if (code !== 0) this.#place.violate(`a server closed with ${code}: ${reason}`);
      },
    });
  }

  #onRequest(socket: Socket<Host>, data: Uint8Array): void {
    const { ext } = socket;
    if (ext.kind !== null) return this.#echo(socket, data);
    const { kind, stream } = readGreeting(data); // 4 bytes come in one piece, or not at all
    ext.kind = kind;
    ext.stream = stream;
    socket.timeout(kind === "silent" ? SILENCE_SECONDS : 0);
    if (kind === "slow reader") return this.#serve(socket);
    if (data.length > GREETING_BYTES) this.#echo(socket, data.subarray(GREETING_BYTES));
  }

  #echo(socket: Socket<Host>, data: Uint8Array): void {
    const { ext } = socket;
    const written = socket.write(data);
    if (written < data.length) {
      ext.rest = data.slice(written);
      this.#count("short writes");
      socket.pause();
    } else if (ext.kind === "wanderer" && data[0] < 32) {
      const { context } = socket;
      (context === this.#host ? this.#otherHost : this.#host).adopt(socket, ext);
      this.#count("adoptions");
    }
  }

  #serve(socket: Socket<Host>): void {
    const { ext } = socket;
    if (ext.kind === "slow reader") return this.#feed(socket);
    ext.rest = ext.rest.subarray(socket.write(ext.rest));
    if (ext.rest.length > 0) return;
    ext.rest = NOTHING;
    socket.resume();
  }

  #feed(socket: Socket<Host>): void {
    const { ext } = socket;
    while (ext.fed < FEAST_BYTES) {
      const piece = pattern(ext.stream, ext.fed, FEAST_BYTES - ext.fed);
      const sent = socket.write(piece);
      ext.fed += sent;
      if (sent < piece.length) return this.#count("short writes");
    }
    socket.end(600); // the reader takes its time
  }

  #violate({ kind, stream }: Resident, what: string): void {
    this.#place.violate(`${kind} ${stream} of ${this.#place.name} ${what}`);
  }

  #count(what: string): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + 1);
  }
}

/** Latencies in microseconds. */
export function createHistogram(): Histogram {
  return build({
    bitBucketSize: 32,
    highestTrackableValue: 60e6,
    numberOfSignificantValueDigits: 3,
  });
}

const NOTHING = new Uint8Array(0);
const GREETING_BYTES = 4;

function isTalking({ kind }: Resident): boolean {
  return kind === "talker" || kind === "wanderer";
}

function drawKind(random: Random): Kind {
  let draw = random(100);
  for (const kind of KINDS) {
    if ((draw -= SHARES[kind]) < 0) return kind;
  }
  throw new Error("the shares are no hundred");
}

/** The kind and the number of the stream, of which there may be many. */
function greeting({ kind, stream }: Resident): Uint8Array {
  const view = new DataView(new ArrayBuffer(GREETING_BYTES));
  view.setUint32(0, KINDS.indexOf(kind) << 28 | stream & 0x0fff_ffff);
  return new Uint8Array(view.buffer);
}

function readGreeting(data: Uint8Array): { kind: Kind; stream: number } {
  const word = new DataView(data.buffer, data.byteOffset, GREETING_BYTES).getUint32(0);
  return { kind: KINDS[word >>> 28], stream: word & 0x0fff_ffff };
}
