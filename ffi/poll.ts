/**
 * Polls of any descriptor.
 * @module
 */
import { Poll, type PollOptions, READABLE, WRITABLE } from "../src/poll.ts";
import type { Loop } from "../src/loop.ts";
import { EPOLLIN, EPOLLOUT } from "./constants.ts";
import type { Selector, Watched } from "./selector.ts";

/** A poll of the epoll backend. */
export class EpollPoll<T = unknown> extends Poll<T> implements Watched {
  generation = 0;
  readonly #selector: Selector;

  constructor(loop: Loop, fd: number, options: PollOptions<T>, selector: Selector) {
    super(loop, fd, options);
    this.#selector = selector;
  }

  override ready(events: number): void {
    const ready = ((events & EPOLLIN) !== 0 ? READABLE : 0) |
      ((events & EPOLLOUT) !== 0 ? WRITABLE : 0);
    super.ready(ready & this.events);
  }

  protected override update(before: number, events: number): void {
    const native = ((events & READABLE) !== 0 ? EPOLLIN : 0) |
      ((events & WRITABLE) !== 0 ? EPOLLOUT : 0);
    if (events === 0) this.#selector.remove(this.fd, this);
    else if (before === 0) this.#start(native);
    else this.#selector.modify(this.fd, this, native);
  }

  #start(native: number): void {
    if (this.#selector.find(this.fd) !== null) {
      throw new Deno.errors.Busy(
        `Cannot start a poll: descriptor ${this.fd} is watched by this loop already`,
      );
    }
    this.#selector.add(this.fd, this, native);
  }
}
