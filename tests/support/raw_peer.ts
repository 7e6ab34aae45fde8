/** A peer for loops that block their thread: a socket of libc's, which takes no loop of Deno's. */
import { type ListenSocket, READABLE, WRITABLE } from "@usockets/usockets";
import { ipv4Sockaddr, unixSockaddr } from "../../ffi/address.ts";
import {
  AF_INET,
  AF_UNIX,
  IPPROTO_TCP,
  MSG_NOSIGNAL,
  SHUT_WR,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  TCP_NODELAY,
} from "../../ffi/constants.ts";
import { check, EAGAIN, lastErrno } from "../../ffi/errno.ts";
import { type Libc, openLibc } from "../../ffi/libc.ts";
import { resetOnClose, setNonblocking, setOption } from "../../ffi/sockets.ts";
import {
  BIO_NOCLOSE,
  SSL_ERROR_WANT_READ,
  SSL_ERROR_WANT_WRITE,
  SSL_ERROR_ZERO_RETURN,
} from "../../ffi/tls/constants.ts";
import { takeReason } from "../../ffi/tls/errors.ts";
import { type Handle, openLibssl } from "../../ffi/tls/libssl.ts";
import type { Fixture } from "../conformance/fixture.ts";
import type { Peer, ResettingPeer } from "./peers.ts";
import type { Script } from "./scripts.ts";
import { concat } from "./streams.ts";

/** A peer in TCP, on a unix socket or in TLS, driven by polls of the loop under test. */
export class RawPeer implements Peer, ResettingPeer {
  readonly #t: Fixture;
  readonly #libc: Libc;
  readonly #fd: number;
  #tls: RawTls | null = null;

  /** Connects; TLS is agreed on when it returns. */
  static *connect(t: Fixture, listener: ListenSocket): Script<RawPeer> {
    const peer = RawPeer.dial(t, listener);
    if (t.transport.isTls) {
      const tls = new RawTls(peer.#fd);
      yield* peer.#tlsCall("shake hands", tls, () => tls.handshake());
      peer.#tls = tls;
    }
    return peer;
  }

  /** Connects and says nothing, in TLS neither: the kernel does it, before anybody accepts. */
  static dial(t: Fixture, listener: ListenSocket): RawPeer {
    return t.transport.isUnix
      ? RawPeer.dialPath(t, listener.host)
      : RawPeer.#dial(t, AF_INET, ipv4Sockaddr("127.0.0.1", listener.port)!);
  }

  /** The same, to whoever listens on a unix path. */
  static dialPath(t: Fixture, path: string): RawPeer {
    return RawPeer.#dial(t, AF_UNIX, unixSockaddr(path));
  }

  static #dial(t: Fixture, family: number, address: Uint8Array<ArrayBuffer>): RawPeer {
    const what = "Cannot connect a peer";
    const libc = openLibc();
    const fd = check(libc, what, libc.socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    check(libc, what, libc.connect(fd, address, address.length));
    setNonblocking(libc, fd, what);
    if (family === AF_INET) setOption(libc, fd, IPPROTO_TCP, TCP_NODELAY, 1, what);
    return new RawPeer(t, libc, fd);
  }

  private constructor(t: Fixture, libc: Libc, fd: number) {
    this.#t = t;
    this.#libc = libc;
    this.#fd = fd;
  }

  *send(bytes: Uint8Array): Script {
    const tls = this.#tls;
    for (let rest = bytes; rest.length > 0;) {
      if (tls !== null) {
        rest = rest.subarray(yield* this.#tlsCall("send", tls, () => tls.write(rest)));
        continue;
      }
      const send = () => this.#libc.send(this.#fd, rest, rest.length, MSG_NOSIGNAL);
      rest = rest.subarray(yield* this.#call("send", WRITABLE, send));
    }
  }

  *readAll(): Script<Uint8Array> {
    const chunks: Uint8Array[] = [];
    const buffer = new Uint8Array(65_536);
    for (let n = yield* this.#read(buffer); n > 0; n = yield* this.#read(buffer)) {
      chunks.push(buffer.slice(0, n));
    }
    return concat(chunks);
  }

  *end(): Script {
    const tls = this.#tls;
    if (tls !== null) yield* this.#tlsCall("end", tls, () => tls.end());
    yield* this.#call("end", WRITABLE, () => this.#libc.shutdown(this.#fd, SHUT_WR));
  }

  close(): void {
    this.#tls?.end();
    this.#release();
  }

  /** Is gone at once: with a RST, but on unix sockets. */
  vanish(): void {
    if (!this.#t.transport.isUnix) resetOnClose(this.#libc, this.#fd);
    this.#release();
  }

  #release(): void {
    this.#tls?.free();
    this.#libc.close(this.#fd);
  }

  *reset(): Script {
    if (this.#t.transport.isUnix) yield* this.#read(new Uint8Array(1));
    else resetOnClose(this.#libc, this.#fd);
    this.#release();
  }

  #read(buffer: Uint8Array): Script<number> {
    const tls = this.#tls;
    if (tls !== null) return this.#tlsCall("read", tls, () => tls.read(buffer));
    return this.#call("read", READABLE, () => {
      return this.#libc.recv(this.#fd, buffer, buffer.length, 0);
    });
  }

  /** Makes a call until there was something to do; waits for these events meanwhile. */
  *#call(what: string, events: number, call: () => number): Script<number> {
    for (;;) {
      const result = call();
      if (result >= 0 || lastErrno(this.#libc) !== EAGAIN) {
        return check(this.#libc, `The peer cannot ${what}`, result);
      }
      yield (go) => this.#whenReady(events, go);
    }
  }

  *#tlsCall(what: string, tls: RawTls, call: () => number): Script<number> {
    for (;;) {
      const result = call();
      if (result > 0 || tls.isEnded) return result;
      const events = tls.wanted(result);
      if (events === 0) throw new Error(`The peer cannot ${what}: ${takeReason(tls.libssl)}`);
      yield (go) => this.#whenReady(events, go);
    }
  }

  #whenReady(events: number, go: () => void): void {
    const onReady = () => {
      poll.free();
      go();
    };
    const poll = this.#t.loop.createPoll(this.#fd, { onReady });
    poll.start(events);
  }
}

/** OpenSSL on a descriptor, a client that trusts everybody. */
class RawTls {
  readonly libssl = openLibssl();
  /** The other's close_notify came. */
  isEnded = false;
  readonly #context: Handle;
  readonly #ssl: Handle;

  constructor(fd: number) {
    const { libssl } = this;
    this.#context = libssl.SSL_CTX_new(libssl.TLS_method())!;
    this.#ssl = libssl.SSL_new(this.#context)!;
    const bio = libssl.BIO_new_socket(fd, BIO_NOCLOSE);
    libssl.SSL_set_bio(this.#ssl, bio, bio);
    libssl.SSL_set_connect_state(this.#ssl);
  }

  handshake(): number {
    return this.libssl.SSL_do_handshake(this.#ssl);
  }

  write(bytes: Uint8Array): number {
    // One record at a time: what is tried again must be as long as it was.
    return this.libssl.SSL_write(this.#ssl, bytes, Math.min(bytes.length, 16_384));
  }

  read(buffer: Uint8Array): number {
    const count = this.libssl.SSL_read(this.#ssl, buffer, buffer.length);
    this.isEnded = count <= 0 &&
      this.libssl.SSL_get_error(this.#ssl, count) === SSL_ERROR_ZERO_RETURN;
    return count;
  }

  end(): number {
    return this.libssl.SSL_shutdown(this.#ssl) < 0 ? -1 : 1;
  }

  /** What to wait for; 0 for an error. */
  wanted(result: number): number {
    const reason = this.libssl.SSL_get_error(this.#ssl, result);
    if (reason === SSL_ERROR_WANT_READ) return READABLE;
    return reason === SSL_ERROR_WANT_WRITE ? WRITABLE : 0;
  }

  free(): void {
    this.libssl.ERR_clear_error();
    this.libssl.SSL_free(this.#ssl);
    this.libssl.SSL_CTX_free(this.#context);
  }
}
