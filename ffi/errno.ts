/**
 * What a failed call of libc says, as close codes and as errors of Deno's classes.
 * @module
 */
import { CloseCode } from "../src/errors.ts";
import type { Libc } from "./libc.ts";

export const EPERM = 1,
  ENOENT = 2,
  EINTR = 4,
  EBADF = 9,
  EAGAIN = 11,
  ENOMEM = 12,
  EFAULT = 14,
  EEXIST = 17,
  ENFILE = 23,
  EMFILE = 24,
  EPIPE = 32,
  EADDRINUSE = 98,
  EADDRNOTAVAIL = 99,
  EAFNOSUPPORT = 97,
  ECONNABORTED = 103,
  ECONNRESET = 104,
  ENOBUFS = 105,
  ENOTCONN = 107,
  ECONNREFUSED = 111,
  EINPROGRESS = 115;

const { errors } = Deno;

/** Names, and the class that Deno's own networking has for them. */
const KNOWN: Record<number, readonly [name: string, Class?: new (message: string) => Error]> = {
  [EPERM]: ["EPERM", errors.PermissionDenied],
  [ENOENT]: ["ENOENT", errors.NotFound],
  [EINTR]: ["EINTR", errors.Interrupted],
  5: ["EIO"],
  [EBADF]: ["EBADF", errors.BadResource],
  [EAGAIN]: ["EAGAIN", errors.WouldBlock],
  [ENOMEM]: ["ENOMEM"],
  13: ["EACCES", errors.PermissionDenied],
  [EFAULT]: ["EFAULT"],
  16: ["EBUSY", errors.Busy],
  [EEXIST]: ["EEXIST", errors.AlreadyExists],
  19: ["ENODEV"],
  20: ["ENOTDIR", errors.NotADirectory],
  21: ["EISDIR", errors.IsADirectory],
  22: ["EINVAL"],
  [ENFILE]: ["ENFILE"],
  [EMFILE]: ["EMFILE"],
  28: ["ENOSPC"],
  30: ["EROFS"],
  [EPIPE]: ["EPIPE", errors.BrokenPipe],
  36: ["ENAMETOOLONG"],
  38: ["ENOSYS", errors.NotSupported],
  40: ["ELOOP", errors.FilesystemLoop],
  71: ["EPROTO"],
  88: ["ENOTSOCK"],
  90: ["EMSGSIZE"],
  92: ["ENOPROTOOPT"],
  93: ["EPROTONOSUPPORT", errors.NotSupported],
  95: ["EOPNOTSUPP", errors.NotSupported],
  [EAFNOSUPPORT]: ["EAFNOSUPPORT", errors.NotSupported],
  [EADDRINUSE]: ["EADDRINUSE", errors.AddrInUse],
  [EADDRNOTAVAIL]: ["EADDRNOTAVAIL", errors.AddrNotAvailable],
  100: ["ENETDOWN"],
  101: ["ENETUNREACH", errors.NetworkUnreachable],
  [ECONNABORTED]: ["ECONNABORTED", errors.ConnectionAborted],
  [ECONNRESET]: ["ECONNRESET", errors.ConnectionReset],
  [ENOBUFS]: ["ENOBUFS"],
  106: ["EISCONN"],
  [ENOTCONN]: ["ENOTCONN", errors.NotConnected],
  110: ["ETIMEDOUT", errors.TimedOut],
  [ECONNREFUSED]: ["ECONNREFUSED", errors.ConnectionRefused],
  112: ["EHOSTDOWN"],
  113: ["EHOSTUNREACH", errors.NetworkUnreachable],
  114: ["EALREADY"],
  [EINPROGRESS]: ["EINPROGRESS"],
};

/** The errno of this thread, as memory of libc's: reading it costs 1 ns. */
let memory: Int32Array | undefined;

/** Why the call of libc just made has failed. Any other call in between would overwrite it. */
export function lastErrno(libc: Libc): number {
  memory ??= new Int32Array(Deno.UnsafePointerView.getArrayBuffer(libc.__errno_location()!, 4));
  return memory[0];
}

/** Sets errno: for functions that tests put in the place of libc's. */
export function setErrno(libc: Libc, errno: number): void {
  lastErrno(libc);
  memory![0] = errno;
}

/**
 * An error that says what could not be done: of the class that Deno has for it, with the errno's
 * name as `code`.
 */
export function systemError(libc: Libc, what: string, errno: number): Error & { code: string } {
  const text = Deno.UnsafePointerView.getCString(libc.strerror(errno)!);
  const [code, Class = Error] = KNOWN[errno] ?? [`E${errno}`];
  return Object.assign(new Class(`${what}: ${text} (os error ${errno})`), { code });
}

/** The result of a call, or the error that it failed with. */
export function check(libc: Libc, what: string, result: number): number {
  if (result >= 0) return result;
  throw systemError(libc, what, lastErrno(libc));
}

/** The close code of a connection whose call failed so. */
export function closeCodeOf(errno: number): CloseCode {
  return errno === ECONNRESET || errno === EPIPE || errno === ECONNABORTED || errno === ENOTCONN
    ? CloseCode.Reset
    : CloseCode.System;
}

/** What accept() says of one connection, reset or unreachable by now, and not of the listener. */
const OF_ONE_CONNECTION = [EPERM, EINTR, ECONNABORTED, 64, 71, 92, 100, 101, 110, 112, 113];

/** Whether accept() failed for one connection only: the next may be fine. */
export function isOfOneConnection(errno: number): boolean {
  return OF_ONE_CONNECTION.includes(errno);
}

/** Whether descriptors or memory ran out: waiting helps, trying again at once does not. */
export function isOutOfResources(errno: number): boolean {
  return errno === EMFILE || errno === ENFILE || errno === ENOBUFS || errno === ENOMEM;
}
