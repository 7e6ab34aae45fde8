// deno-lint-ignore-file camelcase -- the names are those of libc
/**
 * libc that fails: any call of the epoll backend, with any error that Linux has for it, in the way in
 * which Linux fails it. What a call that fails has done all the same is of the manual pages, which
 * each entry of {@linkcode FAULTS} names; what is left undone is left undone here.
 *
 * Whether a call fails is drawn from a sequence of its own for each function, so the same seed gives
 * each function the same faults, in whatever order the functions are called.
 */
import { epoll, Loop, type LoopOptions } from "@usockets/usockets";
import { type Random, randomOf } from "../../examples/support/hammer_plan.ts";
import { AI_NUMERICHOST, EPOLL_CTL_ADD, EPOLL_CTL_MOD } from "../../ffi/constants.ts";
import {
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAGAIN,
  ECONNABORTED,
  ECONNREFUSED,
  ECONNRESET,
  EINPROGRESS,
  EINTR,
  EMFILE,
  ENFILE,
  ENOBUFS,
  ENOMEM,
  ENOTCONN,
  EPERM,
  EPIPE,
  lastErrno,
  setErrno,
  systemError,
} from "../../ffi/errno.ts";
import { type Libc, openLibc, replaceLibc, SYMBOLS } from "../../ffi/libc.ts";
import { resetOnClose } from "../../ffi/sockets.ts";

export const EIO = 5, EACCES = 13, ENODEV = 19, ENOSPC = 28, EPROTO = 71;
export const ENETUNREACH = 101, ETIMEDOUT = 110, EHOSTUNREACH = 113;
const EAI_AGAIN = -3, EAI_FAIL = -4, EAI_MEMORY = -10, EAI_SYSTEM = -11;
const SHUT_RDWR = 2;

/**
 * How a fault touches a program: `passing` ones ask for another try, `short` ones do a part,
 * `refusing` ones deny a resource or an option, `breaking` ones end a connection for good.
 */
export type Kind = "passing" | "short" | "refusing" | "breaking";

/** How often a call fails, of 1, by kind. */
export type Rates = Partial<Record<Kind, number>>;

type Name = keyof Libc;
type Call = (...args: unknown[]) => unknown;

/** The errors that a function can have; absent kinds it has none of. */
interface Faults {
  readonly passing?: readonly number[];
  readonly refusing?: readonly number[];
  readonly breaking?: readonly number[];
  /** It may do less than it is asked for: which argument says how much. */
  readonly length?: number;
}

const NO_DESCRIPTOR = [EMFILE, ENFILE, ENOMEM] as const;
const NO_NAME = [EAI_AGAIN, EAI_FAIL, EAI_MEMORY, EAI_SYSTEM] as const;
const DEAD = [ECONNRESET, ETIMEDOUT] as const;
const SENDING = {
  passing: [EAGAIN, EINTR, ENOBUFS, ENOMEM],
  breaking: [...DEAD, EPIPE, EHOSTUNREACH],
} as const;

/**
 * What can happen to each function; null where nothing can. The table has an entry for each symbol, or
 * it does not compile: who adds one decides here.
 */
export const FAULTS: Record<Name, Faults | null> = {
  // They read memory of this process and cannot fail.
  __errno_location: null,
  strerror: null,
  gai_strerror: null,
  inet_ntop: null,
  freeaddrinfo: null,
  gettid: null,
  gettidAsync: null,
  // close(2): with EINTR and EIO the descriptor is closed all the same; it must not be closed again.
  close: { refusing: [EINTR, EIO] },
  // fcntl(2): F_GETFL and F_SETFL fail only where a security module says so.
  fcntl: { refusing: [EACCES] },
  // open(2), of files in /proc.
  open: { refusing: [...NO_DESCRIPTOR, EACCES] },
  // readlink(2), of a link in /proc.
  readlink: { refusing: [EACCES, ENOMEM] },
  // read(2), of an eventfd or a timerfd that does not block: it has read nothing then.
  read: { passing: [EAGAIN] },
  // read(2), of a file in /proc: whoever may not trace the thread gets EPERM.
  readAsync: { refusing: [EPERM, ENOMEM] },
  // write(2) to an eventfd: blocks, or fails with EAGAIN, behind 2^64 - 2 signals only (eventfd(2)).
  write: null,
  // socket(2).
  socket: { refusing: [...NO_DESCRIPTOR, ENOBUFS] },
  // bind(2), and for unix paths ENOMEM.
  bind: { refusing: [EACCES, ENOMEM, EADDRNOTAVAIL] },
  // listen(2): "all port numbers in the ephemeral port range are currently in use".
  listen: { refusing: [EADDRINUSE] },
  // accept(2): it fails before it takes a connection, so that the connection waits on; but what was
  // aborted (ECONNABORTED), forbidden by the firewall (EPERM) or failed (EPROTO) is gone.
  accept4: {
    passing: [EAGAIN, EINTR],
    refusing: [...NO_DESCRIPTOR, ENOBUFS],
    breaking: [ECONNABORTED, EPERM, EPROTO],
  },
  // connect(2). "EINTR: the system call was interrupted by a signal"; by POSIX the connection is then
  // "established asynchronously", as behind EINPROGRESS.
  connect: {
    passing: [EINTR],
    breaking: [ENETUNREACH, EADDRNOTAVAIL, ECONNREFUSED, ETIMEDOUT, EPERM],
  },
  // shutdown(2): ENOTCONN, of a connection that is gone; see FaultyLibc.
  shutdown: null,
  // recv(2). ECONNRESET and ETIMEDOUT come once, then the end: tcp(7), and SO_ERROR in socket(7).
  recv: { passing: [EAGAIN, EINTR], breaking: [ENOMEM, ...DEAD], length: 2 },
  // send(2): ENOBUFS and ENOMEM have sent nothing. What broke the connection comes once, then EPIPE.
  send: { ...SENDING, length: 2 },
  sendmsg: { ...SENDING, length: 1 },
  // getsockopt(2) and setsockopt(2): no memory for what they take, or a security module.
  getsockopt: { refusing: [ENOBUFS, ENOMEM] },
  setsockopt: { refusing: [ENOBUFS, ENOMEM, EPERM] },
  // getsockname(2), getpeername(2): "insufficient resources were available in the system".
  getsockname: { refusing: [ENOBUFS] },
  getpeername: { refusing: [ENOBUFS] },
  // epoll_create(2).
  epoll_create1: { refusing: NO_DESCRIPTOR },
  // epoll_ctl(2): ADD and MOD may lack memory, ADD a place among /proc/sys/fs/epoll/max_user_watches.
  // EEXIST and ENOENT would be errors of the program, and DEL takes nothing that could be missing.
  epoll_ctl: { refusing: [ENOMEM, ENOSPC] },
  // epoll_wait(2): EINTR; no event is lost, all are level-triggered.
  epoll_wait: { passing: [EINTR] },
  epollWaitAsync: { passing: [EINTR] },
  // eventfd(2), timerfd_create(2).
  eventfd: { refusing: [...NO_DESCRIPTOR, ENODEV] },
  timerfd_create: { refusing: [...NO_DESCRIPTOR, ENODEV] },
  // timerfd_settime(2): fails for arguments that are wrong only.
  timerfd_settime: null,
  // getaddrinfo(3): a code of its own, and errno behind EAI_SYSTEM.
  getaddrinfo: { refusing: NO_NAME },
  getaddrinfoAsync: { refusing: NO_NAME },
};

/** What was injected. */
export interface Injected {
  readonly name: Name;
  readonly kind: Kind;
  /** 0 for what was cut short; negative for EAI_…. */
  readonly errno: number;
  /** The descriptor, where the call has one. */
  readonly fd: number;
}

/** Functions of libc that fail. */
export class FaultyLibc {
  readonly libc: Libc;
  readonly injected: Injected[] = [];
  /** Nothing fails before. */
  isOn = false;
  /** Hears of each fault. */
  onFault: (fault: Injected) => void = () => {};
  readonly #real: Libc;
  readonly #rates: Rates;
  /** Errors that the next calls of a function have, in order. */
  readonly #due = new Map<Name, number[]>();
  /** Descriptors whose connection is broken: it stays so. */
  readonly #broken = new Set<number>();

  constructor(real: Libc, seed = 0, rates: Rates = {}) {
    this.#real = real;
    this.#rates = rates;
    const calls: Record<string, Call> = { ...real } as never;
    Object.keys(SYMBOLS).forEach((key, index) => {
      const name = key as Name;
      const faults = FAULTS[name];
      if (faults === null) return;
      const random = randomOf(seed, index);
      const call = calls[name];
      calls[name] = (...args) => this.#call(name, faults, random, call, args);
    });
    calls.shutdown = (fd, how) =>
      this.#broken.has(fd as number)
        ? this.#fail(ENOTCONN)
        : real.shutdown(fd as number, how as number);
    this.libc = calls as unknown as Libc;
  }

  /** The next calls of a function fail with these, while faults are on. */
  failNext(name: Name, ...errnos: number[]): void {
    this.#due.set(name, [...this.#due.get(name) ?? [], ...errnos]);
  }

  /** How many of those have not happened yet. */
  due(name: Name): number {
    return this.#due.get(name)?.length ?? 0;
  }

  /** The names of all errors that were injected. */
  get names(): Set<string> {
    const real = this.#real;
    const errnos = new Set(this.injected.map(({ errno }) => errno).filter((errno) => errno > 0));
    return new Set([...errnos].map((errno) => systemError(real, "", errno).code));
  }

  #call(name: Name, faults: Faults, random: Random, call: Call, args: unknown[]): unknown {
    if (this.isOn) {
      const due = this.#due.get(name)?.[0];
      if (due !== undefined && this.#isPossible(name, due, args)) {
        this.#due.get(name)!.shift();
        return this.#inject(name, this.#kindOf(faults, due), due, call, args);
      }
      for (const kind of ["passing", "refusing", "breaking"] as const) {
        const errnos = faults[kind] ?? [];
        const isDrawn = random(1_000_000) < (this.#rates[kind] ?? 0) * 1_000_000;
        const errno = errnos[random(Math.max(errnos.length, 1))];
        if (isDrawn && errno !== undefined && this.#isPossible(name, errno, args)) {
          return this.#inject(name, kind, errno, call, args);
        }
      }
      if (faults.length !== undefined) return this.#cutShort(name, random, call, args);
    }
    if (name === "close") this.#broken.delete(args[0] as number); // the number may be another's next
    return call(...args);
  }

  #kindOf(faults: Faults, errno: number): Kind {
    const kinds = ["passing", "refusing", "breaking"] as const;
    return kinds.find((kind) => faults[kind]?.includes(errno)) ?? "breaking";
  }

  /** What depends on the arguments. */
  #isPossible(name: Name, errno: number, args: unknown[]): boolean {
    if (name === "epoll_ctl") {
      return args[1] === EPOLL_CTL_ADD || (args[1] === EPOLL_CTL_MOD && errno === ENOMEM);
    }
    if (name === "getaddrinfo") { // a look-up of what is an address asks nobody
      const flags = new Int32Array((args[2] as Uint8Array<ArrayBuffer>).buffer)[0];
      return (flags & AI_NUMERICHOST) === 0 || errno === EAI_MEMORY;
    }
    return true;
  }

  #inject(name: Name, kind: Kind, errno: number, call: Call, args: unknown[]): unknown {
    const fd = typeof args[0] === "number" ? args[name === "epoll_ctl" ? 2 : 0] as number : -1;
    const fault = { name, kind, errno, fd };
    const isAsync = SYMBOLS[name].result === "i32" && "nonblocking" in SYMBOLS[name];
    switch (name) {
      case "close":
        this.#broken.delete(fd);
        call(...args);
        break;
      case "connect": {
        if (errno !== EINTR) break;
        const result = call(...args) as number;
        if (result < 0 && lastErrno(this.#real) !== EINPROGRESS) return result;
        break;
      }
      case "accept4":
        if (kind === "breaking" && !this.#abort(call, args)) return -1;
        break;
      case "recv":
      case "send":
      case "sendmsg": // the connection knows nothing of what the system lacks
        if (kind === "breaking" && errno !== ENOMEM) this.#break(fd);
        break;
    }
    this.injected.push(fault);
    this.onFault(fault);
    if (name === "getaddrinfo" || name === "getaddrinfoAsync") {
      if (errno === EAI_SYSTEM) setErrno(this.#real, ENOMEM);
      return isAsync ? Promise.resolve(errno) : errno;
    }
    return isAsync ? Promise.resolve(-1) : this.#fail(errno);
  }

  /** Takes a connection off the backlog and breaks it; false where there is none. */
  #abort(call: Call, args: unknown[]): boolean {
    const fd = call(...args) as number;
    if (fd < 0) return false;
    resetOnClose(this.#real, fd);
    this.#real.close(fd);
    return true;
  }

  /** From here on the system itself says EPIPE and the end; the peer sees the end. */
  #break(fd: number): void {
    this.#broken.add(fd);
    this.#real.shutdown(fd, SHUT_RDWR);
  }

  #cutShort(name: Name, random: Random, call: Call, args: unknown[]): unknown {
    const isShort = random(1_000_000) < (this.#rates.short ?? 0) * 1_000_000;
    const isByte = random(4) === 0;
    const draw = random(1 << 20) / (1 << 20);
    if (!isShort) return call(...args);
    if (name === "sendmsg") return this.#sendPart(isByte, draw, args);
    const length = args[FAULTS[name]!.length!] as number;
    const cut = isByte ? Math.min(length, 1) : Math.ceil(length * draw);
    this.#cut(name, args);
    return call(...args.with(FAULTS[name]!.length!, Math.max(cut, Math.min(length, 1))));
  }

  /** Of two vectors, at `msg_iov` (16), each an address and a length; sends a part of both. */
  #sendPart(isByte: boolean, draw: number, args: unknown[]): unknown {
    const message = new BigUint64Array((args[1] as Uint8Array<ArrayBuffer>).slice().buffer);
    const view = new Deno.UnsafePointerView(Deno.UnsafePointer.create(message[2])!);
    const vectors = BigUint64Array.from([0, 8, 16, 24], (at) => view.getBigUint64(at));
    const total = Number(vectors[1] + vectors[3]);
    const cut = BigInt(isByte ? 1 : Math.max(1, Math.ceil(total * draw)));
    vectors[1] = cut < vectors[1] ? cut : vectors[1];
    vectors[3] = cut - vectors[1];
    const pinned = new BigUint64Array(new ArrayBuffer(128)); // V8 does not move what is this long
    pinned.set(vectors);
    message[2] = Deno.UnsafePointer.value(Deno.UnsafePointer.of(pinned));
    this.#cut("sendmsg", args);
    return this.#real.sendmsg(args[0] as number, new Uint8Array(message.buffer), args[2] as number);
  }

  #cut(name: Name, args: unknown[]): void {
    const fault = { name, kind: "short", errno: 0, fd: args[0] as number } as const;
    this.injected.push(fault);
    this.onFault(fault);
  }

  #fail(errno: number): -1 {
    setErrno(this.#real, errno);
    return -1;
  }
}

/** A loop of the epoll backend on such functions, which fail from here on as they are told to. */
export function faultyLoop(options: LoopOptions = {}): { loop: Loop; faulty: FaultyLibc } {
  const real = openLibc();
  const faulty = new FaultyLibc(real);
  replaceLibc(faulty.libc);
  try {
    const loop = new Loop({ backend: epoll, timeoutGranularityMs: 5, ...options });
    faulty.isOn = true;
    return { loop, faulty };
  } finally {
    replaceLibc(real);
  }
}
