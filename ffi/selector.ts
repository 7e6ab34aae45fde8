/**
 * An epoll descriptor and what is registered with it.
 * @module
 */
import {
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
} from "./constants.ts";
import { check, EBADF, EINTR, lastErrno, systemError } from "./errno.ts";
import type { Ledger } from "./ledger.ts";
import type { Libc } from "./libc.ts";

/**
 * `struct epoll_event { uint32_t events; epoll_data_t data; }` in 32-bit words: packed on x86-64 (12
 * bytes, `data` at 4), aligned elsewhere (16 bytes, `data` at 8).
 */
export function eventLayout(arch: string): { words: number; dataWord: number } {
  return arch === "x86_64" ? { words: 3, dataWord: 1 } : { words: 4, dataWord: 2 };
}

const { words: EVENT_WORDS, dataWord: DATA_WORD } = eventLayout(Deno.build.arch);

/** How many events one wait may bring. */
const MAX_EVENTS = 1024;

/** The generation of what is none of the loop's events: see {@linkcode Selector.addInternal}. */
const INTERNAL = 0;

/** What is registered with a selector. */
export interface Watched {
  /** Tells registrations of one descriptor number apart; set by the selector. */
  generation: number;
  /** The descriptor is ready, with the bits `EPOLLIN`, `EPOLLOUT`, `EPOLLERR`, `EPOLLHUP`. */
  ready(events: number): void;
}

/** Waits for descriptors, level-triggered. */
export class Selector {
  readonly fd: number;
  readonly #libc: Libc;
  readonly #ledger: Ledger;
  /** By descriptor. The event's data holds the descriptor and, beside it, the generation. */
  readonly #watched: (Watched | null)[] = [];
  readonly #events = new Int32Array(new ArrayBuffer(MAX_EVENTS * EVENT_WORDS * 4));
  readonly #eventBytes = new Uint8Array(this.#events.buffer);
  /** What the other thread fills, room for one event: what it says is old news when it comes. */
  readonly #elsewhere = new Uint8Array(new ArrayBuffer(16));
  readonly #event = new Int32Array(new ArrayBuffer(16));
  readonly #eventByte = new Uint8Array(this.#event.buffer);
  #generation = INTERNAL;

  constructor(libc: Libc, ledger: Ledger) {
    this.#libc = libc;
    this.#ledger = ledger;
    this.fd = check(libc, "Cannot create an epoll descriptor", libc.epoll_create1(EPOLL_CLOEXEC));
    ledger.own(this.fd);
  }

  /** Registers a descriptor, or throws. */
  add(fd: number, watched: Watched, events: number): void {
    this.#generation = this.#generation + 1 | 0;
    if (this.#generation === INTERNAL) this.#generation++;
    watched.generation = this.#generation;
    if (this.#control(EPOLL_CTL_ADD, fd, events, watched.generation) < 0) {
      throw systemError(this.#libc, `Cannot watch descriptor ${fd}`, lastErrno(this.#libc));
    }
    this.#set(fd, watched);
  }

  /**
   * Registers what is the thread's and not the loop's: its events alone make no iteration.
   * Returns whether that worked.
   */
  addInternal(fd: number, watched: Watched, events: number): boolean {
    watched.generation = INTERNAL;
    if (this.#control(EPOLL_CTL_ADD, fd, events, INTERNAL) < 0) return false;
    this.#set(fd, watched);
    return true;
  }

  /** Changes what a registered descriptor is watched for, or throws. */
  modify(fd: number, watched: Watched, events: number): void {
    const isOurs = this.#watched[fd] === watched; // or closed and reused behind our back
    if (isOurs && this.#control(EPOLL_CTL_MOD, fd, events, watched.generation) >= 0) return;
    const errno = isOurs ? lastErrno(this.#libc) : EBADF;
    throw systemError(this.#libc, `Cannot watch descriptor ${fd}`, errno);
  }

  /**
   * Takes a descriptor out, before it is closed: a duplicate elsewhere would keep it registered,
   * where nobody could take it out any more.
   */
  remove(fd: number, watched: Watched): void {
    if (this.#watched[fd] !== watched) return;
    this.#watched[fd] = null;
    this.#control(EPOLL_CTL_DEL, fd, 0, 0);
  }

  /** What is registered under a descriptor. */
  find(fd: number): Watched | null {
    return this.#watched[fd] ?? null;
  }

  /**
   * Waits for events, for ever or (`timeoutMs` 0) not at all; returns how many there are. A finite
   * wait would make the kernel set a timer each time, which costs 5 µs.
   */
  wait(timeoutMs: -1 | 0): number {
    const count = this.#libc.epoll_wait(this.fd, this.#eventBytes, MAX_EVENTS, timeoutMs);
    if (count >= 0) return count;
    const errno = lastErrno(this.#libc);
    if (errno === EINTR) return 0;
    throw systemError(this.#libc, "Cannot wait for events", errno);
  }

  /** Waits in another thread until there is an event; which, a wait in this one tells. */
  async waitElsewhere(): Promise<void> {
    await this.#libc.epollWaitAsync(this.fd, this.#elsewhere, 1, -1);
  }

  /** Whether all of the events are internal ones. */
  isInternal(count: number): boolean {
    if (count > 2) return false; // there are but two: Deno's reactor and the thread's tick
    for (let i = 0; i < count; i++) {
      if (this.#events[i * EVENT_WORDS + DATA_WORD + 1] !== INTERNAL) return false;
    }
    return true;
  }

  /** Tells everything that is ready. What was removed since the wait, or replaced, is not told. */
  dispatch(count: number): void {
    const events = this.#events, watched = this.#watched;
    for (let i = 0; i < count; i++) {
      const at = i * EVENT_WORDS;
      const target = watched[events[at + DATA_WORD]];
      if (target !== null && target.generation === events[at + DATA_WORD + 1]) {
        target.ready(events[at]);
      }
    }
  }

  /** Closes the epoll descriptor. */
  close(): void {
    this.#ledger.close(this.#libc, this.fd);
  }

  #set(fd: number, watched: Watched): void {
    while (this.#watched.length <= fd) this.#watched.push(null); // without holes: fast elements
    this.#watched[fd] = watched;
  }

  #control(operation: number, fd: number, events: number, generation: number): number {
    this.#event[0] = events;
    this.#event[DATA_WORD] = fd;
    this.#event[DATA_WORD + 1] = generation;
    return this.#libc.epoll_ctl(this.fd, operation, fd, this.#eventByte);
  }
}

/** Readable, or beyond that: a read tells what it is. */
export const READ_EVENTS = EPOLLIN | EPOLLERR | EPOLLHUP;
