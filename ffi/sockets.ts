/**
 * Calls on the descriptors of sockets, with their arguments in memory.
 * @module
 */
import {
  type Address,
  type Bytes,
  familyOf,
  readAddress,
  readUnixPath,
  SOCKADDR_BYTES,
} from "./address.ts";
import {
  AF_UNIX,
  F_GETFL,
  F_SETFL,
  O_NONBLOCK,
  SO_ERROR,
  SO_LINGER,
  SO_TYPE,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from "./constants.ts";
import { check, ENOTCONN, lastErrno, systemError } from "./errno.ts";
import type { Libc } from "./libc.ts";

// Arguments that a call reads or fills before it returns: every loop of this thread may share them.
const value = new Int32Array(new ArrayBuffer(8));
const valueBytes = new Uint8Array(value.buffer);
const length = new Int32Array(new ArrayBuffer(4));
const lengthBytes = new Uint8Array(length.buffer);
const sockaddr = new Uint8Array(new ArrayBuffer(SOCKADDR_BYTES + 2));

/** Creates a socket that does not block. */
export function createSocket(libc: Libc, what: string, family: number): number {
  const type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  return check(libc, what, libc.socket(family, type, 0));
}

/** Sets an option that is an int; failures are passed over unless `what` is given. */
export function setOption(
  libc: Libc,
  fd: number,
  level: number,
  option: number,
  to: number,
  what?: string,
): void {
  value[0] = to;
  const result = libc.setsockopt(fd, level, option, valueBytes, 4);
  if (what !== undefined) check(libc, what, result);
}

/** Reads an option of SOL_SOCKET that is an int. */
export function getOption(libc: Libc, fd: number, option: number, what: string): number {
  length[0] = 4;
  check(libc, what, libc.getsockopt(fd, SOL_SOCKET, option, valueBytes, lengthBytes));
  return value[0];
}

/** Takes the error that waits on a socket; 0 for none. */
export function pendingError(libc: Libc, fd: number): number {
  length[0] = 4;
  const result = libc.getsockopt(fd, SOL_SOCKET, SO_ERROR, valueBytes, lengthBytes);
  return result < 0 ? lastErrno(libc) : value[0];
}

/** Makes close() send a RST: `struct linger { int l_onoff = 1, l_linger = 0; }`. */
export function resetOnClose(libc: Libc, fd: number): void {
  value[0] = 1;
  value[1] = 0;
  libc.setsockopt(fd, SOL_SOCKET, SO_LINGER, valueBytes, 8);
}

/** What a descriptor that somebody else opened must be; its family. */
export function checkStreamSocket(libc: Libc, fd: number, what: string): void {
  length[0] = 4;
  const result = libc.getsockopt(fd, SOL_SOCKET, SO_TYPE, valueBytes, lengthBytes);
  if (result < 0) {
    const cause = systemError(libc, what, lastErrno(libc));
    if (cause instanceof Deno.errors.BadResource) throw cause;
    throw new TypeError(`${what}: descriptor ${fd} is not a socket`, { cause });
  }
  if (value[0] !== SOCK_STREAM) {
    throw new TypeError(`${what}: descriptor ${fd} is not a stream socket`);
  }
}

/** Makes a descriptor that somebody else opened not block. */
export function setNonblocking(libc: Libc, fd: number, what: string): void {
  const flags = check(libc, what, libc.fcntl(fd, F_GETFL, 0));
  if ((flags & O_NONBLOCK) === 0) {
    check(libc, what, libc.fcntl(fd, F_SETFL, flags | O_NONBLOCK));
  }
}

/** Where a socket is bound; failures are passed over unless `what` is given. */
export function localAddressOf(libc: Libc, fd: number, what?: string): Address {
  length[0] = SOCKADDR_BYTES;
  const result = libc.getsockname(fd, sockaddr, lengthBytes);
  if (what !== undefined) check(libc, what, result);
  return readAddress(libc, sockaddr, result < 0 ? 0 : length[0]);
}

/** The path that a unix socket is bound to; null for other sockets. */
export function localPathOf(libc: Libc, fd: number): string | null {
  length[0] = SOCKADDR_BYTES;
  check(libc, `Cannot use descriptor ${fd}`, libc.getsockname(fd, sockaddr, lengthBytes));
  return familyOf(sockaddr) === AF_UNIX ? readUnixPath(sockaddr, length[0]) : null;
}

/** Where a socket's peer is; nowhere for one that is gone already. */
export function remoteAddressOf(libc: Libc, fd: number): Address {
  length[0] = SOCKADDR_BYTES;
  const result = libc.getpeername(fd, sockaddr, lengthBytes);
  if (result < 0 && lastErrno(libc) !== ENOTCONN) check(libc, "Cannot find the peer", result);
  return readAddress(libc, sockaddr, result < 0 ? 0 : length[0]);
}

/** Accepts a connection; its peer's address is in {@linkcode acceptedFrom}. Negative: errno tells. */
export function accept(libc: Libc, fd: number): number {
  length[0] = SOCKADDR_BYTES;
  return libc.accept4(fd, sockaddr, lengthBytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/** Where the last connection that was accepted came from. */
export function acceptedFrom(): Bytes {
  if (length[0] < 2) sockaddr[0] = sockaddr[1] = 0; // a unix peer without a name
  return sockaddr;
}
