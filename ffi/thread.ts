/**
 * What lets loops share a thread with Deno's own event loop, at full speed.
 *
 * Deno's runtime waits on an epoll descriptor of its own, the reactor. It is nested into the one
 * that we wait on, so that one blocking wait wakes up for our sockets and for Deno's I/O alike, and
 * a periodic timerfd, the tick, bounds how late Deno's timers can be. Microtasks run behind each
 * batch of events; Deno's own loop gets a turn when the reactor shows something, and at each tick.
 * When nothing happened between two ticks, the wait moves into another thread, and Deno's loop runs
 * as if we were not there, until there is an event.
 *
 * One loop is waited for on its own descriptor; several are nested into one more.
 * @module
 */
import { setImmediate } from "node:timers";
import type { EpollBackend } from "./backend.ts";
import { EPOLLIN } from "./constants.ts";
import type { Ledger } from "./ledger.ts";
import type { Libc } from "./libc.ts";
import { findReactor } from "./reactor.ts";
import { Selector, type Watched } from "./selector.ts";
import { createTimerfd, setTimerfd } from "./timers.ts";

/**
 * How many turns Deno's loop gets, one behind each batch, once its reactor showed something: a
 * fetch takes several, and not each of them shows there.
 */
const TURNS_BEHIND_IO = 24;

/**
 * How many links of a chain of promises go on behind a batch before the next one is waited for, such
 * as those of an async function that awaits another; the rest wait for the next batch, or the tick. A
 * stream that is piped needs four for each chunk: with one it had half the speed.
 */
const PROMISE_DEPTH = 4;

/**
 * How often a sleeping thread looks for events itself, in milliseconds, while all threads of Deno's
 * pool are busy and nobody waits for it.
 */
const GLANCE_MS = 50;

/** How often a loop that keeps nothing running is looked at, in milliseconds. */
const DORMANT_MS = 10;

/** Bounds of `sliceMs`. */
const SLICE_MS_MIN = 0.05, SLICE_MS_MAX = 60_000;

/** What reading a timerfd fills: how often it expired. */
const expirations = new Uint8Array(new ArrayBuffer(8));

/** What is waited on: the one loop of the thread, or several in one. */
interface Root {
  readonly selector: Selector;
  readonly isFreed: boolean;
  /** Whether there is something to do that is no event of a descriptor. */
  readonly isUrgent: boolean;
  /** Waits, or looks only; delivers what is there. Returns whether there was anything. */
  poll(waits: boolean): boolean;
}

/** The loops of this thread that share it with Deno's own. */
class Thread {
  #backends: EpollBackend[] = [];
  /** Integrated loops that nothing keeps running: they must not keep the process alive either. */
  readonly #dormant = new Map<EpollBackend, ReturnType<typeof setInterval>>();
  #hub: Hub | null = null;
  #libc: Libc | null = null;
  /** Of the loop that came first: accounts for the thread's own descriptors. */
  #ledger: Ledger | null = null;
  #tick = -1;
  #isDriving = false;
  /** The loops changed, so what is waited on must. */
  #hasChanged = false;
  /** Deno's loop is due for a turn. */
  #isTurnDue = false;
  /** Turns still owed behind I/O of Deno's. */
  #turns = 0;
  /** Something happened since the last tick. */
  #isBusy = false;
  #isQuiet = false;
  /** Those waited for in another thread; null while this one is awake. */
  #asleep: EpollBackend[] | null = null;
  /** That wait is to end. */
  #isInterrupted = false;
  /** What is to be closed when that wait is over. */
  #closings: (() => void)[] = [];
  /** Of this thread; -1 if it could not be found: then ticks alone give Deno its turns. */
  #reactor = -1;
  readonly #onReactor: Watched = {
    generation: 0,
    ready: () => {
      this.#isTurnDue = true;
      this.#turns = TURNS_BEHIND_IO;
    },
  };
  readonly #onTick: Watched = {
    generation: 0,
    ready: () => {
      this.#libc!.read(this.#tick, expirations, expirations.length); // or it would expire no more
      this.#isTurnDue = true;
      this.#isQuiet = !this.#isBusy;
      this.#isBusy = false;
    },
  };

  /**
   * Delivers the events of a loop from here on.
   *
   * @throws {Error} When a descriptor for that cannot be had.
   */
  add(backend: EpollBackend): void {
    const libc = this.#libc = backend.libc;
    const ledger = this.#ledger ??= backend.ledger;
    if (this.#tick === -1) this.#tick = createTimerfd(libc, ledger);
    if (this.#backends.length > 0) this.#hub ??= new Hub(libc, ledger);
    this.#backends.push(backend);
    this.#changed();
    if (this.#isDriving) return;
    this.#isDriving = true;
    this.#drive(libc).catch((error) => this.#failed(error));
  }

  /** Delivers no more; calls back when nothing waits on its descriptors any more. */
  remove(backend: EpollBackend, gone: () => void): void {
    clearInterval(this.#dormant.get(backend));
    this.#dormant.delete(backend);
    if (this.#asleep?.includes(backend)) {
      this.#closings.push(gone);
      this.#changed();
      this.#drop(backend);
    } else {
      this.#hub?.delete(backend);
      this.#drop(backend);
      this.#hasChanged = true;
      gone();
      // At once: who freed the last loop of a Worker may end it next.
      if (this.#backends.length === 0) this.#closeTick();
    }
  }

  /** There is something to do that is no event of a descriptor. */
  kick(): void {
    if (this.#asleep === null) return;
    this.#isInterrupted = true;
    this.#asleep[0].interruptWait();
  }

  /** A loop got its first, or lost its last, reason to keep running. */
  activityChanged(backend: EpollBackend, isActive: boolean): void {
    if (isActive && this.#dormant.has(backend)) {
      this.#awaken(backend);
    } else if (!isActive && this.#backends.includes(backend)) {
      this.#isTurnDue = true;
      this.kick();
    }
  }

  #awaken(backend: EpollBackend): void {
    const look = this.#dormant.get(backend);
    try {
      this.add(backend);
      clearInterval(look);
      this.#dormant.delete(backend);
    } catch { // out of descriptors: looks at it now and then, and tries again
      Deno.refTimer(look as unknown as number);
    }
  }

  #changed(): void {
    this.#hasChanged = true;
    this.kick();
  }

  #drop(backend: EpollBackend): void {
    this.#backends = this.#backends.filter((other) => other !== backend);
  }

  // ---- driving ----

  async #drive(libc: Libc): Promise<void> {
    if (this.#reactor === -1) this.#reactor = await findReactor(libc);
    await turn(); // no event comes inside of the call that started it
    this.#retire();
    while (this.#backends.length > 0) {
      const root = this.#root();
      if (root === null) break;
      await this.#serve(root, libc);
      await this.#sleep(root, libc);
      this.#retire();
    }
    this.#stop();
  }

  #stop(): void {
    this.#hub?.selector.close();
    this.#hub = null;
    this.#closeTick();
    this.#isDriving = false;
  }

  #closeTick(): void {
    if (this.#tick !== -1) this.#ledger!.close(this.#libc!, this.#tick);
    this.#ledger = null;
    this.#tick = -1;
  }

  /** Nothing of ours throws but for what the system refuses, such as memory for one more event. */
  #failed(error: unknown): void {
    const backends = this.#backends;
    this.#backends = [];
    this.#stop();
    for (const backend of backends) backend.fail(error);
  }

  #root(): Root | null {
    this.#hasChanged = false;
    if (this.#backends.length > 1) {
      // The system's limit of watched descriptors ends those that it hits, and no others.
      for (const [backend, error] of this.#hub!.fill(this.#backends)) {
        this.#drop(backend);
        backend.fail(error);
      }
      if (this.#backends.length > 1) return this.#hub;
    }
    this.#hub?.clear();
    return this.#backends[0] ?? null;
  }

  /** Waits in this thread, until it gets quiet. */
  async #serve(root: Root, libc: Libc): Promise<void> {
    const { selector } = root;
    if (!selector.addInternal(this.#tick, this.#onTick, EPOLLIN)) {
      // The system's limit of watched descriptors. Without ticks Deno would get no turn: one batch only.
      this.#isTurnDue = false;
      root.poll(false);
      return await turn();
    }
    if (this.#reactor !== -1 && !selector.addInternal(this.#reactor, this.#onReactor, EPOLLIN)) {
      this.#reactor = -1;
    }
    const slices = this.#backends.map((backend) => backend.sliceMs);
    const sliceMs = Math.max(SLICE_MS_MIN, Math.min(SLICE_MS_MAX, ...slices));
    setTimerfd(libc, this.#tick, sliceMs, sliceMs);
    this.#isBusy = true;
    this.#isQuiet = false;
    while (!this.#isQuiet && !this.#hasChanged) {
      this.#isTurnDue = false;
      do {
        if (root.poll(this.#turns === 0)) {
          this.#isBusy = true;
          for (let depth = 0; depth < PROMISE_DEPTH; depth++) await undefined;
        }
      } while (!this.#isTurnDue && this.#turns === 0 && !this.#hasChanged);
      if (this.#turns > 0) this.#turns--;
      await turn();
      this.#isTurnDue = false;
      this.#retire();
    }
    if (root.isFreed) return; // and with it the tick
    setTimerfd(libc, this.#tick, 0, 0);
    selector.remove(this.#tick, this.#onTick);
    if (this.#reactor !== -1) selector.remove(this.#reactor, this.#onReactor);
  }

  /** Waits in another thread, for one batch of events. */
  async #sleep(root: Root, libc: Libc): Promise<void> {
    if (this.#hasChanged || this.#isTurnDue || root.isUrgent) return;
    this.#asleep = this.#backends;
    this.#isInterrupted = false;
    const glances = this.#glance(root, libc);
    await root.selector.waitElsewhere();
    clearInterval(glances);
    this.#asleep = null;
    for (const close of this.#closings) close();
    this.#closings = [];
    if (!root.isFreed && !this.#hasChanged) root.poll(false);
  }

  /**
   * The pool takes its jobs in order: when one that was given behind the wait is done, the wait has
   * begun, and glances are at an end.
   */
  #glance(root: Root, libc: Libc): ReturnType<typeof setInterval> {
    let hasAsked = false;
    const glances = setInterval(() => {
      if (!hasAsked) libc.gettidAsync().then(() => clearInterval(glances));
      hasAsked = true;
      if (root.isFreed || this.#hasChanged) return;
      root.poll(false);
      // The glance may have read the word before the wait saw it, and left handshakes for later.
      if (this.#isInterrupted || root.isUrgent) this.kick();
    }, GLANCE_MS);
    Deno.unrefTimer(glances as unknown as number);
    return glances;
  }

  /** Takes the loops out that have nothing left to do. */
  #retire(): void {
    for (const backend of this.#backends) {
      if (backend.loop.isActive) continue;
      this.#hub?.delete(backend);
      this.#drop(backend);
      this.#hasChanged = true;
      if (!backend.finish()) this.#rest(backend);
    }
  }

  /** What falls through still comes, as long as something else keeps the process alive. */
  #rest(backend: EpollBackend): void {
    const look = setInterval(() => {
      if (backend.loop.isActive) this.#awaken(backend);
      backend.poll(false);
    }, DORMANT_MS);
    Deno.unrefTimer(look as unknown as number);
    this.#dormant.set(backend, look);
  }
}

/** Several loops in one: their epoll descriptors are nested. */
class Hub implements Root {
  readonly selector: Selector;
  readonly isFreed = false;
  readonly #members = new Map<EpollBackend, Watched>();

  constructor(libc: Libc, ledger: Ledger) {
    this.selector = new Selector(libc, ledger);
  }

  get isUrgent(): boolean {
    for (const backend of this.#members.keys()) if (backend.isUrgent) return true;
    return false;
  }

  /** Holds these loops and no others, but for those that it could not take and returns. */
  fill(backends: EpollBackend[]): [EpollBackend, unknown][] {
    const failed: [EpollBackend, unknown][] = [];
    for (const backend of this.#members.keys()) {
      if (!backends.includes(backend)) this.delete(backend);
    }
    for (const backend of [...backends].reverse()) { // the newest first: who ran before goes on rather
      if (this.#members.has(backend)) continue;
      const member: Watched = { generation: 0, ready: () => void backend.poll(false) };
      try {
        this.selector.add(backend.selector.fd, member, EPOLLIN);
        this.#members.set(backend, member);
      } catch (error) {
        failed.push([backend, error]);
      }
    }
    return failed;
  }

  clear(): void {
    this.fill([]);
  }

  delete(backend: EpollBackend): void {
    const member = this.#members.get(backend);
    if (member === undefined) return;
    this.#members.delete(backend);
    this.selector.remove(backend.selector.fd, member);
  }

  poll(waits: boolean): boolean {
    const count = this.selector.wait(waits && !this.isUrgent ? -1 : 0);
    this.selector.dispatch(count);
    let hasWorked = !this.selector.isInternal(count);
    for (const backend of [...this.#members.keys()]) {
      if (backend.isUrgent) hasWorked = backend.poll(false) || hasWorked;
    }
    return hasWorked;
  }
}

/** A whole turn of Deno's loop: 13 µs at the median beside a saturated one of ours. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** This thread's; every Worker has its own, as of every module. */
export const thread: Thread = new Thread();
