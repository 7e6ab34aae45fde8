/**
 * Numbers of the Linux system call interface; those here are the same on x86-64 and aarch64.
 * @module
 */

export const AF_UNIX = 1, AF_INET = 2, AF_INET6 = 10;
export const SOCK_STREAM = 1, SOCK_NONBLOCK = 0o4000, SOCK_CLOEXEC = 0o2000000;
export const IPPROTO_IP = 0, IPPROTO_TCP = 6, IPPROTO_IPV6 = 41;
export const SHUT_WR = 1;

export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2,
  SO_TYPE = 3,
  SO_ERROR = 4,
  SO_KEEPALIVE = 9,
  SO_LINGER = 13,
  SO_REUSEPORT = 15,
  SO_ACCEPTCONN = 30;
export const TCP_NODELAY = 1, TCP_CORK = 3, TCP_KEEPIDLE = 4, TCP_KEEPINTVL = 5, TCP_KEEPCNT = 6;
export const IPV6_V6ONLY = 26;
export const IP_BIND_ADDRESS_NO_PORT = 24;

export const MSG_NOSIGNAL = 0x4000, MSG_MORE = 0x8000;

export const EPOLL_CTL_ADD = 1, EPOLL_CTL_DEL = 2, EPOLL_CTL_MOD = 3;
export const EPOLL_CLOEXEC = 0o2000000;
export const EPOLLIN = 0x001, EPOLLOUT = 0x004, EPOLLERR = 0x008, EPOLLHUP = 0x010;

export const EFD_NONBLOCK = 0o4000, EFD_CLOEXEC = 0o2000000;
export const TFD_NONBLOCK = 0o4000, TFD_CLOEXEC = 0o2000000;
export const CLOCK_MONOTONIC = 1;

export const F_GETFL = 3, F_SETFL = 4;
export const O_RDONLY = 0, O_NONBLOCK = 0o4000, O_CLOEXEC = 0o2000000;

export const AI_NUMERICHOST = 0x0004;
