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
import type { Fixture } from "../conformance/fixture.ts";
import type { Peer, ResettingPeer } from "./peers.ts";
import type { Script } from "./scripts.ts";
import { concat } from "./streams.ts";

/** A peer in plain TCP or on a unix socket, driven by polls of the loop under test. */
export class RawPeer implements Peer, ResettingPeer {
  readonly #t: Fixture;
  readonly #libc: Libc;
  readonly #fd: number;

  /** Connects, which the kernel does by itself, before anybody accepts. */
  static connect(t: Fixture, listener: ListenSocket): RawPeer {
    const what = "Cannot connect a peer";
    const libc = openLibc();
    const { isUnix } = t.transport;
    const address = isUnix
      ? unixSockaddr(listener.host)
      : ipv4Sockaddr("127.0.0.1", listener.port)!;
    const family = isUnix ? AF_UNIX : AF_INET;
    const fd = check(libc, what, libc.socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    check(libc, what, libc.connect(fd, address, address.length));
    setNonblocking(libc, fd, what);
    if (!isUnix) setOption(libc, fd, IPPROTO_TCP, TCP_NODELAY, 1, what);
    return new RawPeer(t, libc, fd);
  }

  private constructor(t: Fixture, libc: Libc, fd: number) {
    this.#t = t;
    this.#libc = libc;
    this.#fd = fd;
  }

  *send(bytes: Uint8Array): Script {
    for (let rest = bytes; rest.length > 0;) {
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
    yield* this.#call("end", WRITABLE, () => this.#libc.shutdown(this.#fd, SHUT_WR));
  }

  close(): void {
    this.#libc.close(this.#fd);
  }

  *reset(): Script {
    if (this.#t.transport.isUnix) yield* this.#read(new Uint8Array(1));
    else resetOnClose(this.#libc, this.#fd);
    this.close();
  }

  #read(buffer: Uint8Array): Script<number> {
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

  #whenReady(events: number, go: () => void): void {
    const onReady = () => {
      poll.free();
      go();
    };
    const poll = this.#t.loop.createPoll(this.#fd, { onReady });
    poll.start(events);
  }
}
