/**
 * Unix paths: whose they are, and whether the server that made one is dead.
 * @module
 */
import type { Bytes } from "./address.ts";
import { AF_UNIX } from "./constants.ts";
import { ECONNREFUSED, lastErrno } from "./errno.ts";
import type { Libc } from "./libc.ts";
import { createSocket } from "./sockets.ts";

/** What tells one file from another that took its path. */
export interface Inode {
  readonly dev: number;
  readonly ino: number | null;
}

/** The socket at a path; null for none, and for anything else. */
export function inodeOf(path: string): Inode | null {
  if (path[0] === "\0") return null;
  try {
    const { dev, ino, isSocket } = Deno.lstatSync(path);
    return isSocket ? { dev, ino } : null;
  } catch {
    return null;
  }
}

/** Unlinks a path if it still is that socket. */
export function unlinkOwn(path: string, inode: Inode | null): boolean {
  const now = inodeOf(path);
  if (inode === null || now === null || now.dev !== inode.dev || now.ino !== inode.ino) {
    return false;
  }
  try {
    Deno.removeSync(path);
    return true;
  } catch {
    return false;
  }
}

/**
 * Removes the path if it is a socket that nobody listens on: what a server that crashed leaves
 * behind. Anything else stays: a live socket, a file, a path that cannot be looked at. Returns
 * whether the path is free now.
 */
export function removeDeadSocket(libc: Libc, path: string, sockaddr: Bytes): boolean {
  const inode = inodeOf(path);
  return inode !== null && isRefused(libc, sockaddr) && unlinkOwn(path, inode);
}

/** A live server whose backlog is full answers EAGAIN. */
function isRefused(libc: Libc, sockaddr: Bytes): boolean {
  const fd = createSocket(libc, "Cannot probe a unix path", AF_UNIX);
  const result = libc.connect(fd, sockaddr, sockaddr.length);
  const isRefused = result < 0 && lastErrno(libc) === ECONNREFUSED;
  libc.close(fd);
  return isRefused;
}
