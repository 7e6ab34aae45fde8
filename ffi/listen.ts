/**
 * Opening listeners: addresses, options, permissions, unix paths.
 * @module
 */
import { describeAddress, type ListenOptions } from "../src/options.ts";
import {
  anyIpv6Sockaddr,
  type Bytes,
  familyOf,
  ipv4Sockaddr,
  readAddress,
  unbracket,
  unixSockaddr,
} from "./address.ts";
import {
  AF_INET6,
  AF_UNIX,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  IPV6_V6ONLY,
  SO_ACCEPTCONN,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOL_SOCKET,
  TCP_NODELAY,
} from "./constants.ts";
import { check, EADDRINUSE, lastErrno, systemError } from "./errno.ts";
import type { Libc } from "./libc.ts";
import {
  checkNet,
  checkNotDenied,
  checkRawDescriptors,
  checkUnixPath,
  isNetGranted,
} from "./permissions.ts";
import { resolve } from "./resolve.ts";
import {
  checkStreamSocket,
  createSocket,
  getOption,
  localAddressOf,
  localPathOf,
  setNonblocking,
  setOption,
} from "./sockets.ts";
import { inodeOf, removeDeadSocket, unlinkOwn } from "./unix_path.ts";

/** A listening descriptor. */
export interface Listening {
  readonly fd: number;
  readonly port: number;
  readonly host: string;
  /** Closes it; a unix path that it made goes too. */
  close(): void;
}

const BACKLOG = 511;

/** Opens a listener, or throws an error that names the address. */
export function openListener(libc: Libc, options: ListenOptions<unknown>): Listening {
  if (options.fd !== undefined) return takeOver(libc, options, options.fd);
  if (options.path !== undefined) return listenUnix(libc, options, options.path);
  return listenTcp(libc, options, options.port!);
}

function describe(options: ListenOptions<unknown>): string {
  return `Cannot listen on ${describeAddress({ ...options, host: options.host ?? "*" })}`;
}

// ---- TCP ----

function listenTcp(libc: Libc, options: ListenOptions<unknown>, port: number): Listening {
  const what = describe(options);
  if (options.host === undefined) return listenOnAll(libc, options, port);
  const host = unbracket(options.host);
  checkNet(host, port);
  let failure: Error | null = null;
  for (const sockaddr of resolve(libc, host, port)) {
    checkNotDenied(readAddress(libc, sockaddr, sockaddr.length).ip, port);
    if (options.ipv6Only && familyOf(sockaddr) !== AF_INET6) {
      failure ??= new TypeError(`${what}: "ipv6Only" needs an IPv6 address`);
      continue;
    }
    try {
      return bindTcp(libc, what, options, sockaddr, options.ipv6Only === true);
    } catch (error) {
      failure ??= error as Error;
    }
  }
  throw failure;
}

/** All interfaces: IPv6, which takes IPv4 too, where there is any and it is granted. */
function listenOnAll(libc: Libc, options: ListenOptions<unknown>, port: number): Listening {
  const what = describe(options);
  if (options.ipv6Only) {
    checkNet("::", port);
    return bindTcp(libc, what, options, anyIpv6Sockaddr(port), true);
  }
  if (isNetGranted("::", port)) {
    checkNotDenied("0.0.0.0", port);
    try {
      return bindTcp(libc, what, options, anyIpv6Sockaddr(port), false);
    } catch (error) {
      const { code } = error as { code?: string };
      if (code !== "EAFNOSUPPORT" && code !== "EADDRNOTAVAIL") throw error;
    }
  }
  checkNet("0.0.0.0", port);
  return bindTcp(libc, what, options, ipv4Sockaddr("0.0.0.0", port)!, false);
}

function bindTcp(
  libc: Libc,
  what: string,
  options: ListenOptions<unknown>,
  sockaddr: Bytes,
  ipv6Only: boolean,
): Listening {
  const family = familyOf(sockaddr);
  const fd = createSocket(libc, what, family);
  try {
    // Past connections in TIME_WAIT do not keep the port. Linux shares a port between listeners only
    // where both ask for that: `exclusive` is what happens anyway.
    setOption(libc, fd, SOL_SOCKET, SO_REUSEADDR, 1, what);
    if (options.reusePort) setOption(libc, fd, SOL_SOCKET, SO_REUSEPORT, 1, what);
    if (family === AF_INET6) {
      setOption(libc, fd, IPPROTO_IPV6, IPV6_V6ONLY, ipv6Only ? 1 : 0, what);
    }
    setOption(libc, fd, IPPROTO_TCP, TCP_NODELAY, 1); // connections inherit it
    check(libc, what, libc.bind(fd, sockaddr, sockaddr.length));
    check(libc, what, libc.listen(fd, Math.min(options.backlog ?? BACKLOG, 2 ** 31 - 1)));
    const { ip, port } = localAddressOf(libc, fd, what); // whoever asked for port 0 has to know
    return { fd, port, host: ip, close: () => void libc.close(fd) };
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

// ---- unix ----

function listenUnix(libc: Libc, options: ListenOptions<unknown>, given: string): Listening {
  if (options.exclusive || options.reusePort || options.ipv6Only) {
    throw new TypeError(
      'Cannot listen: "exclusive", "reusePort" and "ipv6Only" are for ports, not for unix paths',
    );
  }
  const path = checkUnixPath("listen", given);
  const what = describe(options);
  const fd = createSocket(libc, what, AF_UNIX);
  const sockaddr = unixSockaddr(path);
  try {
    if (libc.bind(fd, sockaddr, sockaddr.length) < 0) {
      const errno = lastErrno(libc);
      const isFree = errno === EADDRINUSE && removeDeadSocket(libc, path, sockaddr);
      if (!isFree) throw systemError(libc, what, errno);
      check(libc, what, libc.bind(fd, sockaddr, sockaddr.length));
    }
    check(libc, what, libc.listen(fd, Math.min(options.backlog ?? BACKLOG, 2 ** 31 - 1)));
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  const inode = inodeOf(path);
  return {
    fd,
    port: 0,
    host: path,
    close: () => {
      // Still listened on while it is unlinked: whoever comes next cannot take it for a dead one.
      unlinkOwn(path, inode);
      libc.close(fd);
    },
  };
}

// ---- descriptors ----

function takeOver(libc: Libc, options: ListenOptions<unknown>, fd: number): Listening {
  const what = describe(options);
  for (const name of ["backlog", "exclusive", "reusePort", "ipv6Only"] as const) {
    if (options[name] === undefined) continue;
    throw new TypeError(`Cannot listen: "fd" excludes "${name}", it is listening already`);
  }
  checkRawDescriptors('the listen option "fd"');
  checkStreamSocket(libc, fd, what);
  if (getOption(libc, fd, SO_ACCEPTCONN, what) === 0) {
    throw new TypeError(`${what}: it is not listening`);
  }
  setNonblocking(libc, fd, what);
  const path = localPathOf(libc, fd);
  if (path !== null) return { fd, port: 0, host: path, close: () => void libc.close(fd) };
  setOption(libc, fd, IPPROTO_TCP, TCP_NODELAY, 1);
  const { ip, port } = localAddressOf(libc, fd, what);
  return { fd, port, host: ip, close: () => void libc.close(fd) };
}
