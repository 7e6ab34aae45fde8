/**
 * What an end of a connection of the hammer does: sends, takes the steps of its plan, ends.
 * @module
 */
import {
  us_create_timer,
  us_socket_close,
  us_socket_context_adopt_socket,
  us_socket_flush,
  us_socket_long_timeout,
  us_socket_shutdown,
  us_socket_shutdown_read,
  us_socket_timeout,
  us_socket_write,
  us_socket_write2,
  us_timer_close,
  us_timer_set,
  us_wakeup_loop,
} from "@usockets/usockets/libusockets";
import type { End } from "./hammer_end.ts";
import type { Operation, Step } from "./hammer_plan.ts";
import {
  type Contexts,
  EXT_ADOPTIONS,
  EXT_SIZE_ADOPTED,
  extOf,
  type HammerState,
} from "./hammer_state.ts";

/** Close codes of the test's own. */
export const CODE_CUT = 7;
const CODE_ANOTHER = 8, CODE_LAST = 9;

/** How long a long timeout takes: not so long that nobody lives to see it. */
const LONG_SECONDS = 1;

/** Has the ends of a hammer do what they planned. */
export class HammerActor {
  readonly #state: HammerState;
  readonly #servers: Contexts;
  readonly #clients: Contexts;

  constructor(state: HammerState, servers: Contexts, clients: Contexts) {
    this.#state = state;
    this.#servers = servers;
    this.#clients = clients;
  }

  /** Takes the steps that are due, sends what can be sent, and says farewell when all is. */
  goOn(end: End): void {
    const { plan } = end;
    for (let burst = 0; end.code === undefined && burst < 64; burst++) {
      const step = plan.steps[end.stepsTaken];
      if (step !== undefined && step.at <= end.sent + end.received) this.#take(end, step);
      else if (!this.#send(end)) break;
    }
    if (end.code !== undefined) return;
    if (end.canSend) this.#state.defer(() => this.goOn(end)); // others get their turn
    else if (end.sent === end.totalBytes) this.#farewell(end);
  }

  #send(end: End): boolean {
    if (!end.canSend) return false;
    const bytes = end.next(end.plan.writeBytes);
    const isMore = end.plan.writeBytes % 3 === 0 && bytes.length < end.totalBytes - end.sent;
    const written = us_socket_write(
      this.#state.ssl,
      end.socket,
      bytes,
      bytes.length,
      isMore ? 1 : 0,
    );
    this.#sent(end, written, bytes.length);
    return !end.owesWritable;
  }

  #sent(end: End, written: number, length: number): void {
    if (written < 0 || written > length) this.#state.violate(end.connection, `wrote ${written}`);
    end.sent += written;
    if (written < length) end.owesWritable = true;
  }

  #farewell(end: End): void {
    const { ending } = end.plan;
    if (end.hasShutDown || (ending === "behind the peer" && !end.hasEnded)) return;
    if (ending === "close" && !end.isCutShort) return this.#close(end, CODE_LAST);
    end.hasShutDown = true;
    us_socket_shutdown(this.#state.ssl, end.socket);
  }

  #take(end: End, step: Step): void {
    end.stepsTaken++;
    this.#state.count(step.operation);
    if (!step.isLater) return this.#perform(end, step.operation);
    this.#state.defer(() => {
      if (end.code !== undefined) return;
      this.#perform(end, step.operation);
      if (end.code === undefined) this.goOn(end);
    });
  }

  #perform(end: End, operation: Operation): void {
    const { ssl, loop, open, random } = this.#state;
    const s = end.socket;
    switch (operation) {
      case "write":
        this.#send(end);
        break;
      case "write2": {
        if (!end.canSend) break;
        const both = end.next(end.plan.writeBytes);
        const header = both.subarray(0, both.length >> 1), payload = both.subarray(header.length);
        const written = us_socket_write2(ssl, s, header, header.length, payload, payload.length);
        this.#sent(end, written, both.length);
        break;
      }
      case "flush":
        us_socket_flush(ssl, s);
        break;
      case "adopt":
        this.#adopt(end);
        break;
      case "pause":
        if (end.isPaused) break;
        this.#pause(end);
        this.#state.defer(() => {
          if (end.code === undefined && !end.isDozing) this.resume(end);
        });
        break;
      case "doze":
        this.#pause(end);
        end.isDozing = true;
        this.#arm(end, 1);
        break;
      case "timeout":
        if (!end.isDozing) this.#arm(end, end.plan.writeBytes % 3);
        break;
      case "long timeout":
        end.longTimeoutAt = performance.now() + LONG_SECONDS * 1000;
        us_socket_long_timeout(ssl, s, LONG_SECONDS / 60); // in minutes; few connections live one
        break;
      case "wakeup":
        us_wakeup_loop(loop);
        break;
      case "timer":
        this.#startTimer(end);
        break;
      case "shutdown":
        end.cutShort();
        break;
      case "shutdown read":
        end.isDeaf = true;
        us_socket_shutdown_read(ssl, s);
        break;
      case "close":
        this.#close(end, CODE_CUT);
        break;
      case "close another":
        this.#close(open[random(open.length)], CODE_ANOTHER);
        break;
    }
  }

  #adopt(end: End): void {
    const { http, adopted } = end.isClient ? this.#clients : this.#servers;
    end.isAdopted = !end.isAdopted;
    const context = end.isAdopted ? adopted : http;
    us_socket_context_adopt_socket(this.#state.ssl, context, end.socket, EXT_SIZE_ADOPTED);
    const ext = extOf(end.socket);
    end.adoptions++;
    ext.setUint32(EXT_ADOPTIONS, ext.getUint32(EXT_ADOPTIONS) + 1);
    if (ext.getUint32(EXT_ADOPTIONS) !== end.adoptions) {
      this.#state.violate(end.connection, "an adoption lost user data");
    }
    end.timeoutAt = end.longTimeoutAt = 0; // an adoption clears them
    if (end.isDozing) this.#arm(end, 1);
  }

  #arm(end: End, seconds: number): void {
    end.timeoutAt = seconds === 0 ? 0 : performance.now() + seconds * 1000;
    us_socket_timeout(this.#state.ssl, end.socket, seconds);
  }

  #pause(end: End): void {
    end.isPaused = true;
    end.socket.pause();
  }

  /** Reads again. */
  resume(end: End): void {
    end.isPaused = false;
    end.socket.resume();
  }

  #close(end: End, code: number): void {
    if (end.code !== undefined) return;
    end.closedWith = code;
    us_socket_close(this.#state.ssl, end.socket, code);
    if (end.code === undefined) this.#state.violate(end.connection, "on_close came late");
  }

  /** A timer of its own that acts on the end once, or finds it closed. */
  #startTimer(end: End): void {
    const timer = us_create_timer(this.#state.loop, 0, 4)!;
    us_timer_set(
      timer,
      (t) => {
        us_timer_close(t);
        if (end.code === undefined) this.goOn(end);
      },
      1 + this.#state.random(5),
      0,
    );
  }
}
