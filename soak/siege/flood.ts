/**
 * Connections that come and go, faster than anybody could want them.
 * @module
 */
import type { Loop, SocketContext } from "@usockets/usockets";
import { type FloodReply, hostOf } from "./orders.ts";

/** How many may be open or on their way at once: a server that accepts none is not asked for more. */
const MAX_OPEN = 1000;
const TURN_MS = 5;
/** Neither HTTP nor TLS. */
const GARBAGE = new Uint8Array(64).fill(0xff);

/** A flood from one loop: of three connections one is reset at once, one closed, one sends garbage. */
export class Flood {
  readonly #loop: Loop;
  readonly #port: number;
  readonly #perSecond: number;
  readonly #context: SocketContext<number>;
  #begun = 0;
  #open = 0;
  #connects = 0;
  #failed = 0;

  constructor(loop: Loop, port: number, perSecond: number) {
    this.#loop = loop;
    this.#port = port;
    this.#perSecond = perSecond;
    this.#context = loop.createContext({
      socketExt: () => this.#begun,
      onOpen: (socket) => {
        this.#connects++;
        if (socket.ext % 3 === 0) socket.reset();
        else if (socket.ext % 3 === 1) socket.close();
        else socket.write(GARBAGE);
      },
      onData: (socket) => socket.reset(), // has been told
      onConnectError: () => {
        this.#failed++;
        this.#open--;
      },
      onClose: () => void this.#open--,
    });
  }

  /** Floods for so long. */
  attack(seconds: number, done: (reply: FloodReply) => void): void {
    const beganAt = performance.now();
    this.#connects = this.#failed = this.#open = 0;
    let owed = 0;
    this.#loop.createTimer().set(
      (timer) => {
        const elapsed = (performance.now() - beganAt) / 1000;
        if (elapsed >= seconds) {
          timer.close();
          this.#context.close();
          return done({ connects: this.#connects, failed: this.#failed, seconds: elapsed });
        }
        // What a turn that came late missed is not made up for: that would be bursts.
        owed += this.#perSecond * TURN_MS / 1000;
        for (; owed >= 1; owed--) this.#connect();
      },
      TURN_MS,
      TURN_MS,
    );
  }

  #connect(): void {
    if (this.#open >= MAX_OPEN) return;
    this.#open++;
    this.#context.connect({ host: hostOf(this.#begun++), port: this.#port });
  }
}
