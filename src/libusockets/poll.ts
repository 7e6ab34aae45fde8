/**
 * Polls: `us_poll_*`. On backends with descriptors; the default one has none.
 * @module
 */
// deno-lint-ignore-file camelcase -- the header's names
import type { Poll } from "../../mod.ts";
import { makeExt, resizedExt } from "./ext.ts";
import { POLL_TYPE_CALLBACK, type us_ext_size, type us_loop_t } from "./types.ts";

/** `struct us_poll_t`: a {@linkcode Poll} that learns its descriptor later, as in C. */
export class us_poll_t {
  /** @internal */
  readonly loop: us_loop_t;
  /** @internal */
  readonly isFallthrough: boolean;
  /** @internal */
  ext: unknown;
  /** There since `us_poll_init`. @internal */
  poll: Poll | null = null;

  /** Programs call {@linkcode us_create_poll}. @internal */
  constructor(loop: us_loop_t, isFallthrough: boolean, ext: unknown) {
    this.loop = loop;
    this.isFallthrough = isFallthrough;
    this.ext = ext;
  }
}

function initialized(p: us_poll_t, what: string): Poll {
  if (p.poll !== null) return p.poll;
  throw new Deno.errors.BadResource(`Cannot ${what} a poll: us_poll_init() has not been called`);
}

/**
 * Makes a poll, to be given its descriptor by `us_poll_init`.
 *
 * ```c
 * struct us_poll_t *us_create_poll(struct us_loop_t *loop, int fallthrough,
 *     unsigned int ext_size);
 * ```
 *
 * @param fallthrough Not 0: it does not keep the loop running.
 */
export function us_create_poll(
  loop: us_loop_t,
  fallthrough: number,
  ext_size: us_ext_size,
): us_poll_t {
  return new us_poll_t(loop, Boolean(fallthrough), makeExt(ext_size));
}

/**
 * Stops a poll for good. Its descriptor stays open.
 *
 * ```c
 * void us_poll_free(struct us_poll_t *p, struct us_loop_t *loop);
 * ```
 */
export function us_poll_free(p: us_poll_t, _loop: us_loop_t): void {
  p.poll?.free();
  p.poll = null;
}

/**
 * Gives a poll its descriptor, and what is called when it is ready: the header leaves to the library
 * what a poll calls, so that one parameter more than in C is needed here.
 *
 * ```c
 * void us_poll_init(struct us_poll_t *p, LIBUS_SOCKET_DESCRIPTOR fd, int poll_type);
 * ```
 *
 * @param poll_type `POLL_TYPE_CALLBACK`; the other kinds belong to sockets.
 * @param cb Gets `LIBUS_SOCKET_READABLE`, `LIBUS_SOCKET_WRITABLE` or both; 0 for a hang-up or an error
 * alone.
 * @throws {Deno.errors.NotSupported} On a backend without descriptors.
 *
 * @example Watching the descriptor of a socket that something else made
 * ```ts
 * import { epoll } from "@usockets/usockets";
 * import {
 *   LIBUS_SOCKET_WRITABLE,
 *   POLL_TYPE_CALLBACK,
 *   us_create_loop,
 *   us_create_poll,
 *   us_loop_free,
 *   us_loop_run,
 *   us_poll_free,
 *   us_poll_init,
 *   us_poll_start,
 * } from "@usockets/usockets/libusockets";
 *
 * if (Deno.build.os === "linux") {
 *   const loop = us_create_loop(epoll, null, null, null, 0);
 *   const poll = us_create_poll(loop, 0, 0);
 *   const stdout = 1;
 *   let isReady = false;
 *   try {
 *     us_poll_init(poll, stdout, POLL_TYPE_CALLBACK, (p, events) => {
 *       isReady = (events & LIBUS_SOCKET_WRITABLE) !== 0;
 *       us_poll_free(p, loop);
 *     });
 *     us_poll_start(poll, loop, LIBUS_SOCKET_WRITABLE);
 *     await us_loop_run(loop);
 *     console.assert(isReady);
 *   } catch { // a file: epoll watches none
 *     us_poll_free(poll, loop);
 *   }
 *   us_loop_free(loop);
 * }
 * ```
 */
export function us_poll_init(
  p: us_poll_t,
  fd: number,
  poll_type: number,
  cb: (p: us_poll_t, events: number) => void,
): void {
  if (poll_type !== POLL_TYPE_CALLBACK) {
    throw new TypeError(
      `Cannot make a poll: "poll_type" must be POLL_TYPE_CALLBACK (3), not ${poll_type}`,
    );
  }
  const onReady = (_poll: Poll, events: number) => cb(p, events);
  const poll = p.loop.createPoll(fd, { fallthrough: p.isFallthrough, onReady }) as Poll;
  p.poll?.free();
  p.poll = poll;
}

/**
 * Starts polling.
 *
 * ```c
 * void us_poll_start(struct us_poll_t *p, struct us_loop_t *loop, int events);
 * ```
 *
 * @throws {RangeError} For what are no events.
 */
export function us_poll_start(p: us_poll_t, _loop: us_loop_t, events: number): void {
  initialized(p, "start").start(events);
}

/**
 * Polls for other events from here on.
 *
 * ```c
 * void us_poll_change(struct us_poll_t *p, struct us_loop_t *loop, int events);
 * ```
 *
 * @throws {RangeError} For what are no events.
 */
export function us_poll_change(p: us_poll_t, _loop: us_loop_t, events: number): void {
  initialized(p, "change").change(events);
}

/**
 * Stops polling; `us_poll_start` goes on.
 *
 * ```c
 * void us_poll_stop(struct us_poll_t *p, struct us_loop_t *loop);
 * ```
 */
export function us_poll_stop(p: us_poll_t, _loop: us_loop_t): void {
  p.poll?.stop();
}

/**
 * The events that are polled for; 0 when stopped.
 *
 * ```c
 * int us_poll_events(struct us_poll_t *p);
 * ```
 */
export function us_poll_events(p: us_poll_t): number {
  return p.poll?.events ?? 0;
}

/**
 * The poll's user data.
 *
 * ```c
 * void *us_poll_ext(struct us_poll_t *p);
 * ```
 */
export function us_poll_ext<T = Uint8Array>(p: us_poll_t): T {
  return p.ext as T;
}

/**
 * The poll's descriptor.
 *
 * ```c
 * LIBUS_SOCKET_DESCRIPTOR us_poll_fd(struct us_poll_t *p);
 * ```
 */
export function us_poll_fd(p: us_poll_t): number {
  return initialized(p, "ask").fd;
}

/**
 * Gives a poll user data of another size, which begins with what was there. The poll itself stays the
 * same object and goes on polling.
 *
 * ```c
 * struct us_poll_t *us_poll_resize(struct us_poll_t *p, struct us_loop_t *loop,
 *     unsigned int ext_size);
 * ```
 */
export function us_poll_resize(p: us_poll_t, _loop: us_loop_t, ext_size: us_ext_size): us_poll_t {
  p.ext = resizedExt(p.ext, ext_size);
  return p;
}
