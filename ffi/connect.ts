/**
 * Connecting: name look-up, then one address after another, each a little later than the one before
 * (RFC 8305), until one of them answers.
 * @module
 */
import type { SocketContext } from "../src/context.ts";
import { explain, toError } from "../src/errors.ts";
import { type ConnectOptions, describeAddress } from "../src/options.ts";
import { CLIENT } from "../src/socket_state.ts";
import {
  type Address,
  type Bytes,
  familyOf,
  readAddress,
  specifyLoopback,
  unbracket,
  unixSockaddr,
} from "./address.ts";
import type { EpollBackend } from "./backend.ts";
import {
  AF_INET6,
  AF_UNIX,
  EPOLLOUT,
  IP_BIND_ADDRESS_NO_PORT,
  IPPROTO_IP,
  IPPROTO_TCP,
  TCP_NODELAY,
} from "./constants.ts";
import {
  check,
  EAGAIN,
  ECONNREFUSED,
  EINPROGRESS,
  EINTR,
  lastErrno,
  systemError,
} from "./errno.ts";
import { checkNet, checkNotDenied, checkUnixPath } from "./permissions.ts";
import { resolve, resolveElsewhere, resolveLiteral } from "./resolve.ts";
import type { Watched } from "./selector.ts";
import { EpollSocket, type Opening } from "./socket.ts";
import { createSocket, localAddressOf, pendingError, setOption } from "./sockets.ts";
import type { SecureContext } from "./tls/secure_context.ts";
import { expectationsOf, secureClient } from "./tls/start.ts";

/** RFC 8305's Connection Attempt Delay, in milliseconds. */
const ATTEMPT_DELAY_MS = 250;

/** How soon a unix path whose backlog is full is tried again, in milliseconds. */
const FULL_BACKLOG_MS = 10;

/** Starts to connect; the socket opens or fails in a later iteration. */
export function connect<S, C>(
  backend: EpollBackend,
  context: SocketContext<S, C>,
  options: ConnectOptions<unknown>,
  ext: S,
): EpollSocket<S, C> {
  if (options.serverName !== undefined && context.secureContext === null) {
    throw new TypeError('Cannot connect: "serverName" needs a context with "tls"');
  }
  const secure = context.secureContext as SecureContext | null;
  const expectations = secure === null ? null : expectationsOf(secure, options); // may throw
  const socket = new EpollSocket<S, C>(context, CLIENT, ext);
  if (options.path === undefined) socket.host = unbracket(options.host ?? "127.0.0.1");
  if (secure !== null) secureClient(socket as EpollSocket, secure, expectations!);
  const connecting = new Connecting(backend, socket as EpollSocket, options);
  socket.awaitOpening(connecting);
  if (options.timeoutSeconds) socket.setLibraryTimeout(options.timeoutSeconds * 1000);
  connecting.begin();
  return socket;
}

/** One connect(), from the name to the first descriptor that is connected. */
class Connecting implements Opening {
  readonly backend: EpollBackend;
  readonly #socket: EpollSocket;
  readonly #options: ConnectOptions<unknown>;
  readonly #host: string;
  /** Addresses yet to be tried. */
  #addresses: Bytes[] = [];
  readonly #attempts = new Set<Attempt>();
  /** Of the first attempt that failed: the address that the system likes best. */
  #error: Error | null = null;
  #isOver = false;
  readonly #nextAttempt: { due: number; fire(): void };
  /** `nextAttempt` is in the queue of timers. */
  #isDelayed = false;

  constructor(backend: EpollBackend, socket: EpollSocket, options: ConnectOptions<unknown>) {
    this.backend = backend;
    this.#socket = socket;
    this.#options = options;
    this.#host = unbracket(options.host ?? "127.0.0.1");
    this.#nextAttempt = {
      due: 0,
      fire: () => {
        this.#isDelayed = false;
        this.#tryNext();
      },
    };
  }

  get peerName(): string {
    const { path, port } = this.#options;
    return describeAddress(path === undefined ? { host: this.#host, port } : { path });
  }

  /** What becomes of it is told in a later iteration. */
  begin(): void {
    try {
      const { path, port } = this.#options;
      if (path !== undefined) return this.#connectUnix(checkUnixPath("connect", path));
      checkNet(this.#host, port!);
      const literal = resolveLiteral(this.backend.libc, this.#host, port!);
      if (literal !== null) this.#tryAll([literal]);
      else this.#later(() => this.#lookUp()); // in which way the loop runs is known by then
    } catch (error) {
      this.#fail(toError(error));
    }
  }

  cancel(): void {
    this.#isOver = true;
    this.#stopDelay();
    for (const attempt of this.#attempts) attempt.close();
    this.#attempts.clear();
  }

  // ---- addresses ----

  #connectUnix(path: string): void {
    if (this.#options.sourceHost !== undefined) {
      throw new TypeError('Cannot connect: "sourceHost" is for ports, not for unix paths');
    }
    this.#tryAll([unixSockaddr(path)]);
  }

  #lookUp(): void {
    const { libc, isBlocking } = this.backend;
    const port = this.#options.port!;
    if (isBlocking) { // no word of another thread would get through
      try {
        return this.#tryAll(resolve(libc, this.#host, port));
      } catch (error) {
        return this.#fail(toError(error));
      }
    }
    resolveElsewhere(libc, this.#host, port, () => !this.#isOver).then(
      (addresses) => this.#later(() => this.#tryAll(addresses)),
      (error) => this.#fail(error),
    );
  }

  /** Goes on in an iteration. */
  #later(go: () => void): void {
    if (this.#isOver) return;
    this.backend.defer({
      deliver: () => {
        if (!this.#isOver) go();
      },
    });
  }

  #tryAll(addresses: Bytes[]): void {
    try {
      if (this.#options.path === undefined) this.#checkAddresses(addresses);
    } catch (error) {
      return this.#fail(toError(error));
    }
    this.#addresses = interleave(addresses);
    this.#tryNext();
  }

  #checkAddresses(addresses: Bytes[]): void {
    for (const address of addresses) {
      specifyLoopback(address);
      const { ip } = readAddress(this.backend.libc, address, address.length);
      if (ip !== this.#host) checkNotDenied(ip, this.#options.port!); // else it was granted by begin()
    }
  }

  // ---- attempts ----

  #tryNext(): void {
    this.#stopDelay();
    for (;;) {
      const address = this.#addresses.shift();
      if (address === undefined) {
        if (this.#attempts.size === 0) this.#fail(this.#error!);
        return;
      }
      try {
        if (this.#attempt(address)) return;
      } catch (error) {
        this.#error ??= toError(error);
      }
    }
  }

  /** Returns whether something is under way now. */
  #attempt(address: Bytes): boolean {
    const { libc } = this.backend;
    const what = this.#what();
    const family = familyOf(address);
    const fd = createSocket(libc, what, family);
    try {
      if (family !== AF_UNIX) setOption(libc, fd, IPPROTO_TCP, TCP_NODELAY, 1);
      this.#bindSource(fd, family);
      const errno = libc.connect(fd, address, address.length) === 0 ? 0 : lastErrno(libc);
      if (errno === EAGAIN && family === AF_UNIX) { // its backlog is full
        libc.close(fd);
        this.#addresses.unshift(address);
        this.#delay(FULL_BACKLOG_MS);
        return true;
      }
      // Interrupted, the system goes on connecting, as it does behind EINPROGRESS.
      const isUnderWay = errno === 0 || errno === EINPROGRESS || errno === EINTR;
      if (!isUnderWay) throw systemError(libc, what, errno);
      this.#attempts.add(new Attempt(this, fd, address)); // the selector tells, in any case
    } catch (error) {
      libc.close(fd);
      throw error;
    }
    if (this.#addresses.length > 0) this.#delay(ATTEMPT_DELAY_MS);
    return true;
  }

  #bindSource(fd: number, family: number): void {
    const { sourceHost } = this.#options;
    if (sourceHost === undefined) return;
    const { libc } = this.backend;
    const source = resolveLiteral(libc, sourceHost, 0);
    if (source === null) {
      throw new TypeError(`Cannot connect: "sourceHost" must be an address, not "${sourceHost}"`);
    }
    if (familyOf(source) !== family) {
      const kind = family === AF_INET6 ? "IPv6" : "IPv4";
      throw new TypeError(
        `${this.#what()}: "sourceHost" ${sourceHost} cannot reach an ${kind} address`,
      );
    }
    // The port is chosen by connect(), which knows the destination: more of them are free.
    setOption(libc, fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    check(libc, `Cannot connect from ${sourceHost}`, libc.bind(fd, source, source.length));
  }

  /** For attempts: it is decided. */
  attemptDone(attempt: Attempt, fd: number, address: Bytes, errno: number): void {
    this.#attempts.delete(attempt);
    if (errno === 0) return this.#connected(fd, address);
    const { libc, ledger } = this.backend;
    ledger.close(libc, fd);
    this.#error ??= systemError(libc, this.#what(), errno);
    this.#tryNext();
  }

  #connected(fd: number, address: Bytes): void {
    const { libc, ledger } = this.backend;
    const { ip, port } = readAddress(libc, address, address.length);
    if (ip !== "" && isSame(localAddressOf(libc, fd), ip, port)) {
      // A port of this machine where nobody listens, and the system chose that very one for us: the
      // socket is connected to itself.
      ledger.close(libc, fd);
      this.#error ??= systemError(libc, this.#what(), ECONNREFUSED);
      return this.#tryNext();
    }
    const socket = this.#socket;
    this.cancel();
    socket.attach(fd, ip, port);
    socket.open();
  }

  #fail(error: Error): void {
    this.#later(() => this.#failed(error));
  }

  #failed(error: Error): void {
    this.cancel();
    const isTold = error instanceof Deno.errors.NotFound && error.message.includes("resolve");
    const isNamed = isTold || error.message.startsWith("Cannot connect");
    this.#socket.connectFailed(isNamed ? error : explain(this.#what(), error));
  }

  #delay(ms: number): void {
    this.#isDelayed = true;
    this.#nextAttempt.due = performance.now() + ms;
    this.backend.timers.insert(this.#nextAttempt);
  }

  #stopDelay(): void {
    if (this.#isDelayed) this.backend.timers.delete(this.#nextAttempt);
    this.#isDelayed = false;
  }

  #what(): string {
    return `Cannot connect to ${this.peerName}`;
  }
}

/** One address being connected to. */
class Attempt implements Watched {
  generation = 0;
  readonly #connecting: Connecting;
  readonly #fd: number;
  readonly #address: Bytes;

  constructor(connecting: Connecting, fd: number, address: Bytes) {
    this.#connecting = connecting;
    this.#fd = fd;
    this.#address = address;
    connecting.backend.selector.add(fd, this, EPOLLOUT);
    connecting.backend.ledger.own(fd);
  }

  ready(): void {
    const { selector, libc } = this.#connecting.backend;
    selector.remove(this.#fd, this);
    const errno = pendingError(libc, this.#fd);
    this.#connecting.attemptDone(this, this.#fd, this.#address, errno);
  }

  close(): void {
    const { selector, libc, ledger } = this.#connecting.backend;
    selector.remove(this.#fd, this);
    ledger.close(libc, this.#fd);
  }
}

/** RFC 8305: the families take turns, beginning with the one that the system prefers. */
function interleave(addresses: Bytes[]): Bytes[] {
  const [first] = addresses;
  if (first === undefined) return addresses;
  const preferred = addresses.filter((address) => familyOf(address) === familyOf(first));
  const others = addresses.filter((address) => familyOf(address) !== familyOf(first));
  const result: Bytes[] = [];
  for (let i = 0; i < Math.max(preferred.length, others.length); i++) {
    if (i < preferred.length) result.push(preferred[i]);
    if (i < others.length) result.push(others[i]);
  }
  return result;
}

function isSame(local: Address, ip: string, port: number): boolean {
  return local.port === port && local.ip === ip;
}
