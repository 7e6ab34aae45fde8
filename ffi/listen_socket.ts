/**
 * A listener on a descriptor.
 * @module
 */
import type { SocketContext } from "../src/context.ts";
import * as dispatch from "../src/dispatch.ts";
import { ListenSocket } from "../src/listen_socket.ts";
import type { ListenOptions } from "../src/options.ts";
import { type Bytes, familyOf, portOf, readIp } from "./address.ts";
import type { EpollBackend } from "./backend.ts";
import { AF_INET, EPOLLIN } from "./constants.ts";
import { EAGAIN, isOfOneConnection, isOutOfResources, lastErrno } from "./errno.ts";
import { type Listening, openListener } from "./listen.ts";
import { ReserveDescriptor } from "./reserve.ts";
import type { Watched } from "./selector.ts";
import { EpollSocket } from "./socket.ts";
import { accept, acceptedFrom, resetOnClose } from "./sockets.ts";
import type { SecureContext } from "./tls/secure_context.ts";
import { checkServer, secureServer } from "./tls/start.ts";

/**
 * How many connections one iteration takes on: those that are open want their turn too. One takes 10
 * to 20 µs.
 */
const ACCEPTS = 16;

/** How long to wait before accepting again when descriptors ran out, in milliseconds. */
const BACK_OFF_MS = 10, BACK_OFF_MS_MAX = 1000;

/** So long clients wait in the backlog for a descriptor; then they are told that there is none. */
const PATIENCE_MS = 5000;

/** A listener of the epoll backend. */
export class EpollListenSocket extends ListenSocket implements Watched {
  generation = 0;
  override readonly port: number;
  override readonly host: string;
  readonly #backend: EpollBackend;
  readonly #listening: Listening;
  readonly #reserve: ReserveDescriptor;
  #isWatching = false;
  readonly #backOff: { due: number; fire(): void };
  #isBackingOff = false;
  /** When descriptors ran out; 0 while there are some. */
  #exhaustedAt = 0;
  #backOffMs = BACK_OFF_MS;
  // Many connections come from few addresses: one string for all that follow one another.
  #lastIpv4 = 0;
  #lastIp = "0.0.0.0";

  constructor(backend: EpollBackend, context: SocketContext, options: ListenOptions<unknown>) {
    const { libc } = backend;
    const secure = context.secureContext as SecureContext | null;
    if (secure !== null) checkServer("Cannot listen with TLS", secure);
    if (options.fd !== undefined) backend.ledger.checkFree(options.fd, "Cannot listen");
    const listening = openListener(libc, options); // throws before anything is counted
    super(context, options);
    this.#backend = backend;
    this.#listening = listening;
    backend.ledger.own(listening.fd);
    this.#reserve = new ReserveDescriptor(libc, backend.ledger);
    this.port = listening.port;
    this.host = listening.host;
    this.#backOff = { due: 0, fire: () => this.#acceptAgain() };
    try {
      this.#watch(true);
    } catch (error) { // the system's limit of watched descriptors
      this.close();
      throw error;
    }
  }

  ready(): void {
    const { libc } = this.#backend;
    for (let i = 0; i < ACCEPTS && !this.isFull; i++) {
      const fd = accept(libc, this.#listening.fd);
      if (fd < 0) {
        const errno = lastErrno(libc);
        if (errno === EAGAIN) return;
        if (isOfOneConnection(errno)) continue;
        return this.#failed(isOutOfResources(errno));
      }
      this.#exhaustedAt = 0;
      this.#backOffMs = BACK_OFF_MS;
      this.#open(fd);
      if (this.isClosed) return;
    }
    if (this.isFull) this.#watch(false);
  }

  protected override acceptMore(): void {
    if (!this.#isBackingOff) this.#watchAgain();
  }

  protected override stop(): void {
    this.#watch(false);
    if (this.#isBackingOff) this.#backend.timers.delete(this.#backOff);
    this.#reserve.close();
    this.#backend.ledger.disown(this.#listening.fd);
    this.#listening.close();
    this.stopped();
  }

  #open(fd: number): void {
    const { context } = this;
    const { loop } = context;
    const from = acceptedFrom();
    const port = portOf(from);
    const ip = this.#ipOf(from);
    const { closings } = context;
    try {
      if (!dispatch.preOpen(context, fd, ip)) return;
    } catch (error) {
      this.#backend.libc.close(fd);
      return dispatch.reportError(loop, error);
    }
    if (context.closings !== closings || loop.isShuttingDown) {
      this.#backend.libc.close(fd);
      return;
    }
    const socket = new EpollSocket(context, 0, undefined);
    socket.acceptedBy = this;
    this.connections++;
    const secure = context.secureContext as SecureContext | null;
    if (secure !== null) secureServer(socket, secure);
    socket.attach(fd, ip, port);
    socket.open();
  }

  #ipOf(sockaddr: Bytes): string {
    if (familyOf(sockaddr) !== AF_INET) return readIp(this.#backend.libc, sockaddr);
    const ipv4 = sockaddr[4] | sockaddr[5] << 8 | sockaddr[6] << 16 | sockaddr[7] << 24;
    if (ipv4 !== this.#lastIpv4) {
      this.#lastIpv4 = ipv4;
      this.#lastIp = readIp(this.#backend.libc, sockaddr);
    }
    return this.#lastIp;
  }

  /**
   * Waiting in the backlog is better than a closed connection, while there is hope. Level-triggered
   * the listener would be told for ever, so it leaves the selector meanwhile; so does one that
   * somebody else shut down.
   */
  #failed(isExhausted: boolean): void {
    const now = performance.now();
    if (this.#exhaustedAt === 0) this.#exhaustedAt = now;
    if (isExhausted && now - this.#exhaustedAt >= PATIENCE_MS) this.#turnAway();
    this.#watch(false);
    this.#tryLater(now);
  }

  #tryLater(now: number): void {
    this.#isBackingOff = true;
    this.#backOff.due = now + this.#backOffMs;
    this.#backOffMs = Math.min(this.#backOffMs * 2, BACK_OFF_MS_MAX);
    this.#backend.timers.insert(this.#backOff);
  }

  #acceptAgain(): void {
    this.#isBackingOff = false;
    if (!this.isFull) this.#watchAgain();
  }

  #watchAgain(): void {
    try {
      this.#watch(true);
    } catch { // the system's limit of watched descriptors
      this.#tryLater(performance.now());
    }
  }

  /** Resets those who wait: they can go elsewhere, where otherwise they would hang. */
  #turnAway(): void {
    const { libc } = this.#backend;
    this.#reserve.lend(() => {
      const fd = accept(libc, this.#listening.fd);
      if (fd < 0) return false;
      resetOnClose(libc, fd);
      libc.close(fd);
      return true;
    });
  }

  #watch(watch: boolean): void {
    if (watch === this.#isWatching) return;
    const { selector } = this.#backend;
    if (watch) selector.add(this.#listening.fd, this, EPOLLIN);
    else selector.remove(this.#listening.fd, this);
    this.#isWatching = watch;
  }
}
