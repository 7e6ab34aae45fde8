/**
 * Accepts connections on one loop and hands their descriptors over to loops of other threads.
 *
 * A descriptor is a number, and belongs to the whole process. So all that goes from thread to thread
 * is that number, through a ring in shared memory that needs no lock, since one thread puts and one
 * takes; a wakeup tells the other loop to look, also when it blocks its thread. Somebody owns each
 * descriptor at any time: the accepting loop until `onPreOpen` returns false, then the ring, and from
 * `adoptHandle()` on the other loop.
 * @module
 */
import {
  epoll,
  type ListenOptions,
  type ListenSocket,
  Loop,
  type SocketContext,
  wakeup,
  type WakeupHandle,
} from "@usockets/usockets";

/** So many connections may wait for one Worker: as many as Linux's own backlog has by default. */
const CAPACITY = 4096;

/**
 * Words of the shared memory: how many were ever put and how many taken, which wrap around; how many
 * of them are still open; whether no more will come. A cache line each, so that the two threads do
 * not slow each other down. The slots follow.
 */
const PUT = 0, TAKEN = 16, OPEN = 32, CLOSED = 48, SLOTS = 64;

/** Descriptors on their way to one Worker. */
export class Inbox {
  /** To be sent to the Worker. */
  readonly shared: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #capacity: number;

  /** With room for so many, a power of two, or what another thread has shared. */
  constructor(of: number | SharedArrayBuffer = CAPACITY) {
    this.shared = typeof of === "number" ? new SharedArrayBuffer((SLOTS + of) * 4) : of;
    this.#words = new Int32Array(this.shared);
    this.#capacity = this.#words.length - SLOTS;
    if ((this.#capacity & this.#capacity - 1) !== 0) {
      throw new RangeError(`the capacity must be a power of two, not ${this.#capacity}`);
    }
  }

  // ---- the thread that puts ----

  /** Whether there is no room. */
  get isFull(): boolean {
    return (this.#words[PUT] - Atomics.load(this.#words, TAKEN) | 0) === this.#capacity;
  }

  /** Connections that were put and have not closed since, taken or not. */
  get open(): number {
    return Atomics.load(this.#words, OPEN);
  }

  /** Gives a descriptor away. There must be room. */
  put(fd: number): void {
    const put = this.#words[PUT];
    this.#words[SLOTS + (put & this.#capacity - 1)] = fd;
    Atomics.add(this.#words, OPEN, 1);
    Atomics.store(this.#words, PUT, put + 1 | 0); // from here on the other thread sees it
  }

  /** Says that no more will be put. */
  close(): void {
    Atomics.store(this.#words, CLOSED, 1);
  }

  // ---- the thread that takes ----

  /** Whether no more will be put: what is in there by now is the last. */
  get isClosed(): boolean {
    return Atomics.load(this.#words, CLOSED) === 1;
  }

  /** Takes the oldest; -1 when there is none. */
  take(): number {
    const taken = this.#words[TAKEN];
    if (Atomics.load(this.#words, PUT) === taken) return -1;
    const fd = this.#words[SLOTS + (taken & this.#capacity - 1)];
    Atomics.store(this.#words, TAKEN, taken + 1 | 0); // from here on the slot may be put to
    return fd;
  }

  /** Tells that a connection that was taken has closed. */
  noteClosed(): void {
    Atomics.sub(this.#words, OPEN, 1);
  }
}

/**
 * The Worker's side: makes sockets of the context of all that is in the inbox, and keeps count of
 * them. Returns what its loop does at each wakeup.
 *
 * @param onLast Called when no more will come, and every connection that came is open.
 */
export function adoptFrom(
  inbox: Inbox,
  context: SocketContext<unknown>,
  onLast: () => void,
): () => void {
  const { onClose } = context;
  context.onClose = (socket, code, reason) => {
    inbox.noteClosed();
    onClose?.call(context, socket, code, reason);
  };
  const adopt = (fd: number) => {
    try {
      context.adoptHandle(fd);
    } catch (error) { // a descriptor that something else closed; the others are none the worse
      inbox.noteClosed();
      reportError(error);
    }
  };
  return () => {
    const isLast = inbox.isClosed; // asked first: what was put before that is seen below
    let count = 0;
    for (let fd = inbox.take(); fd !== -1; fd = inbox.take(), count++) adopt(fd);
    if (!isLast) return;
    // What was adopted opens in the next iteration, before it sees this wakeup.
    if (count > 0) context.loop.wakeup();
    else onLast();
  };
}

/** The accepting side: gives each connection to the Worker that has the fewest. */
export class Acceptor {
  readonly inboxes: readonly Inbox[];
  readonly #loop: Loop;
  readonly #context: SocketContext;
  readonly #listener: ListenSocket;
  #handles: readonly WakeupHandle[] = [];
  #turn = 0;
  #refused = 0;

  /** Listens; nothing is accepted before {@linkcode run}. */
  constructor(options: ListenOptions, inboxes: readonly Inbox[]) {
    this.inboxes = inboxes;
    this.#loop = new Loop({ backend: epoll });
    this.#context = this.#loop.createContext({
      onPreOpen: (handle) => !this.#give(handle as number),
      // Nobody has room: better a clear no, which tells the client to try elsewhere or later, than a
      // connection that hangs.
      onOpen: (socket) => {
        this.#refused++;
        socket.reset();
      },
    });
    this.#listener = this.#context.listen(options);
  }

  /** The port that it listens on. */
  get port(): number {
    return this.#listener.port;
  }

  /** How many connections were turned away because no Worker had room. */
  get refused(): number {
    return this.#refused;
  }

  /** Accepts until {@linkcode stop}, for the loops that these handles name. */
  async run(handles: readonly WakeupHandle[]): Promise<void> {
    this.#handles = handles;
    await this.#loop.run();
  }

  /** Accepts no more, and tells the Workers so. */
  stop(): void {
    this.#listener.close();
    this.inboxes.forEach((inbox, i) => {
      inbox.close();
      wakeup(this.#handles[i]);
    });
  }

  /**
   * Frees the loop, and closes what was put and never taken. To be called when the Workers have
   * ended: only then may another thread take. Returns how many that were.
   */
  free(): number {
    let count = 0;
    for (const inbox of this.inboxes) {
      for (let fd = inbox.take(); fd !== -1; fd = inbox.take(), count++) {
        this.#context.adoptHandle(fd).reset();
      }
    }
    this.#loop.free();
    return count;
  }

  /** Whether a Worker takes it; if not it is still the accepting loop's. */
  #give(fd: number): boolean {
    const { length } = this.inboxes;
    const first = this.#turn++ % length; // of several that have as few, each in turn
    let fewest = -1;
    for (let i = 0; i < length; i++) {
      const at = (first + i) % length;
      if (this.inboxes[at].isFull) continue;
      if (fewest === -1 || this.inboxes[at].open < this.inboxes[fewest].open) fewest = at;
    }
    if (fewest === -1) return false;
    this.inboxes[fewest].put(fd);
    wakeup(this.#handles[fewest]);
    return true;
  }
}
