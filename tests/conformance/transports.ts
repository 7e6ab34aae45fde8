/**
 * The combinations that the conformance suite runs on: backend × TCP, unix or TLS × way of running.
 * A behaviour that a combination cannot show is skipped with its reason, which docs/parity.md
 * repeats.
 */
import { type BackendFactory, denoConn, epoll } from "@usockets/usockets";

/** One combination. */
export interface Transport {
  readonly name: string;
  readonly backend: BackendFactory;
  readonly isTls: boolean;
  readonly isUnix: boolean;
  /** `runBlocking()` in place of `run()`. */
  readonly isBlocking: boolean;
  readonly skips: readonly Skip[];
}

/** Behaviours that a combination cannot show. */
export interface Skip {
  readonly reason: string;
  /** The names of the tests, as given to `behaviour()`. */
  readonly tests: readonly string[];
}

const denoSkips: readonly Skip[] = [
  {
    reason: "Deno's Conn cannot send a RST at will",
    tests: ["reset() sends a RST and closes with code 0"],
  },
  {
    reason: "Deno unlinks the path of a unix listener that closes, whatever is there",
    tests: ["a listener leaves the socket of its successor alone"],
  },
];

const denoTlsSkips: readonly Skip[] = [
  {
    reason: "several iterations make one of Deno's turns, which deno_tls_test.ts counts",
    tests: ["a loop whose iterations take long still shakes hands with many"],
  },
];

const epollSkips: readonly Skip[] = [
  {
    reason: "of sockets with buffers of their own; here the kernel sends what close() left",
    tests: ["maxConnections counts a closed connection that still has bytes to send"],
  },
];

/** Behaviours that take Deno's own loop, which stands still while ours blocks the thread. */
const blockingSkips: readonly Skip[] = [
  {
    reason: "Deno's own loop stands still while ours blocks the thread",
    tests: [
      "the rest of Deno goes on beside a busy loop",
      "two loops on one thread run side by side",
      "a reconnect some promises behind the last onClose still keeps run() going",
      "writes outside of handlers go out too",
    ],
  },
];

/** Behaviours of TLS whose peers shake hands, or break TLS, by sockets of Deno's own. */
const foreignTlsTests = [
  "a server that speaks no TLS ends the handshake with onClose(Tls)",
  "a client that speaks no TLS ends its handshake and no other",
  "a TCP FIN without close_notify is Truncated, behind the bytes",
  "a TCP FIN without close_notify behind end() is a clean end",
  "a truncated stream of a paused socket waits for resume()",
  "what was accepted still reaches a peer whose own stream was cut short",
  "garbage in place of a ClientHello is onClose(Tls)",
  "a peer that ends in the middle of a handshake is onClose(Tls)",
  "a RST in the middle of a handshake is onClose(Reset)",
  "a server's handshakeTimeoutSeconds bounds a silent client",
  "a client's handshakeTimeoutSeconds bounds a silent server",
  "a failed handshake of a paused socket is reported without resume()",
  "end() in the middle of a handshake is polite once it is done",
];

/** And others that need one. */
const blockingTlsSkips: readonly Skip[] = [
  {
    reason: "its peer is one of Deno's own, which stand still while ours blocks the thread",
    tests: [
      ...foreignTlsTests,
      "run() goes on while one socket waits in end() for its peer",
      "run() ends when what was accepted before close() is on its way",
      "no callback comes before run()",
    ],
  },
];

/** Behaviours of unix paths: nothing to see with ports. */
const portSkips: readonly Skip[] = [
  {
    reason: "of unix paths",
    tests: [
      "listen() takes over the path of a dead server",
      "listen() touches nothing at a path that is no dead server's",
      "listen() on a path in a missing directory throws NotFound",
      "a closed listener takes its path away",
      "a listener leaves the socket of its successor alone",
      "an abstract name works and leaves no file",
      "connect() to a missing path ends in onConnectError with NotFound",
    ],
  },
];

/** Behaviours of addresses and ports. */
const unixSkips: readonly Skip[] = [
  {
    reason: "of addresses and ports",
    tests: [
      "listen() on an address of no interface throws AddrNotAvailable",
      "a listener without a host takes IPv4 and IPv6",
      "a name that does not resolve ends in onConnectError with NotFound",
      "connect() tries every address of a name",
      "connect() takes IPv6 addresses",
      "timeoutSeconds ends a connect that hangs with TimedOut",
      "timeout() and longTimeout() run while connecting",
      "close() in a later turn cancels a connect that hangs",
    ],
  },
];

/** Behaviours of TLS. */
const plainSkips: readonly Skip[] = [
  {
    reason: "of TLS",
    tests: [
      ...foreignTlsTests,
      "onHandshake follows onOpen, with what both sides agreed on",
      "without ALPN none is agreed on, and the host is what must be proved",
      "a server whose authority is not trusted is refused",
      "a server with another name is refused",
      "a server whose certificate expired is refused",
      "connect()'s serverName overrides the context's",
      "a client certificate that nobody asks for does no harm",
      "a handshake that is done in time is bounded no more",
      "every action inside onHandshake leaves the loop sound",
      "no onHandshake behind end()",
      "a loop whose iterations take long still shakes hands with many",
    ],
  },
];

/**
 * TLS over unix sockets is not among them: Deno has none (NotSupported, which deno_backend_test.ts
 * shows).
 */
export const transports: readonly Transport[] = [
  {
    name: "deno tcp",
    backend: denoConn,
    isTls: false,
    isUnix: false,
    isBlocking: false,
    skips: [...denoSkips, ...portSkips, ...plainSkips],
  },
  {
    name: "deno unix",
    backend: denoConn,
    isTls: false,
    isUnix: true,
    isBlocking: false,
    skips: [...denoSkips, ...unixSkips, ...plainSkips],
  },
  {
    name: "deno tls",
    backend: denoConn,
    isTls: true,
    isUnix: false,
    isBlocking: false,
    skips: [...denoSkips, ...denoTlsSkips, ...portSkips],
  },
  {
    name: "epoll tcp",
    backend: epoll,
    isTls: false,
    isUnix: false,
    isBlocking: false,
    skips: [...epollSkips, ...portSkips, ...plainSkips],
  },
  {
    name: "epoll unix",
    backend: epoll,
    isTls: false,
    isUnix: true,
    isBlocking: false,
    skips: [...epollSkips, ...unixSkips, ...plainSkips],
  },
  {
    name: "epoll tcp, blocking",
    backend: epoll,
    isTls: false,
    isUnix: false,
    isBlocking: true,
    skips: [...epollSkips, ...blockingSkips, ...portSkips, ...plainSkips],
  },
  {
    name: "epoll unix, blocking",
    backend: epoll,
    isTls: false,
    isUnix: true,
    isBlocking: true,
    skips: [...epollSkips, ...blockingSkips, ...unixSkips, ...plainSkips],
  },
  {
    name: "epoll tls",
    backend: epoll,
    isTls: true,
    isUnix: false,
    isBlocking: false,
    skips: [...portSkips],
  },
  {
    name: "epoll tls, blocking",
    backend: epoll,
    isTls: true,
    isUnix: false,
    isBlocking: true,
    skips: [...blockingSkips, ...blockingTlsSkips, ...portSkips],
  },
];
