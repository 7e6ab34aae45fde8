// That the functions which fail on purpose do so as Linux does, and that none is forgotten.
import { assert, assertEquals, assertGreater } from "@std/assert";
import { ipv4Sockaddr, portOf, unixSockaddr } from "../../ffi/address.ts";
import {
  AF_INET,
  AF_UNIX,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLIN,
  EPOLLOUT,
} from "../../ffi/constants.ts";
import {
  EAGAIN,
  ECONNABORTED,
  ECONNREFUSED,
  EINTR,
  EMFILE,
  ENOMEM,
  ENOTCONN,
  EPIPE,
  lastErrno,
} from "../../ffi/errno.ts";
import { Gathering } from "../../ffi/gathering.ts";
import { type Libc, openLibc, SYMBOLS } from "../../ffi/libc.ts";
import { accept, createSocket, pendingError } from "../../ffi/sockets.ts";
import { openLibssl, SYMBOLS as TLS_SYMBOLS } from "../../ffi/tls/libssl.ts";
import { EIO, EPROTO, ETIMEDOUT, FAULTS, FaultyLibc } from "../support/faulty_libc.ts";
import { FAILURES, FaultyLibssl } from "../support/faulty_libssl.ts";
import { close, isLinux, nativeTest, read, socketPair, write } from "../support/native.ts";
import { pattern } from "../support/streams.ts";

if (isLinux) openLibssl(); // stays open for the process's life

function faultyLibc(): { libc: Libc; faulty: FaultyLibc } {
  const faulty = new FaultyLibc(openLibc());
  faulty.isOn = true;
  return { libc: faulty.libc, faulty };
}

/** A listener on a port of its own, and the address to connect to. */
function listen(): [listener: number, address: Uint8Array<ArrayBuffer>] {
  const libc = openLibc();
  const fd = createSocket(libc, "A test cannot listen", AF_INET);
  const address = ipv4Sockaddr("127.0.0.1", 0)!;
  assertEquals([libc.bind(fd, address, address.length), libc.listen(fd, 8)], [0, 0]);
  const length = Uint8Array.of(address.length, 0, 0, 0);
  assertEquals(libc.getsockname(fd, address, length), 0);
  assertGreater(portOf(address), 0);
  return [fd, address];
}

Deno.test("for each function of libc and of OpenSSL it is decided how it fails", () => {
  // The compiler says so too; this holds where nobody asks it.
  assertEquals(Object.keys(FAULTS).sort(), Object.keys(SYMBOLS).sort());
  assertEquals(Object.keys(FAILURES).sort(), Object.keys(TLS_SYMBOLS).sort());
});

nativeTest("the same seed fails the same calls, whatever is called in between", () => {
  const play = (between: (libc: Libc) => void) => {
    const faulty = new FaultyLibc(openLibc(), 7, { refusing: 0.3 });
    faulty.isOn = true;
    const { libc } = faulty;
    return Array.from({ length: 100 }, () => {
      between(libc);
      return libc.fcntl(0, 1, 0) < 0;
    });
  };
  const alone = play(() => {});
  assert(alone.includes(true) && alone.includes(false));
  assertEquals(
    play((libc) => void libc.getsockname(-1, new Uint8Array(4), new Uint8Array(4))),
    alone,
  );
});

nativeTest("close() that fails has closed the descriptor", () => {
  const { libc, faulty } = faultyLibc();
  for (const errno of [EINTR, EIO]) {
    const [one, other] = socketPair();
    faulty.failNext("close", errno);
    assertEquals([libc.close(one), lastErrno(libc)], [-1, errno]);
    assertEquals(read(other).length, 0); // the end
    close(other);
  }
});

nativeTest("connect() that is interrupted goes on, and one that is refused does not begin", () => {
  const { libc, faulty } = faultyLibc();
  const [listener, address] = listen();
  const fd = createSocket(libc, "A test cannot connect", AF_INET);
  faulty.failNext("connect", ECONNREFUSED, EINTR);
  assertEquals([libc.connect(fd, address, address.length), lastErrno(libc)], [-1, ECONNREFUSED]);
  assertEquals([accept(libc, listener), lastErrno(libc)], [-1, EAGAIN]);
  assertEquals([libc.connect(fd, address, address.length), lastErrno(libc)], [-1, EINTR]);
  const accepted = accept(libc, listener);
  assertGreater(accepted, 0);
  close(fd, accepted, listener);
});

nativeTest("connect() to nobody fails as ever, though it is to be interrupted", () => {
  const { libc, faulty } = faultyLibc();
  const address = unixSockaddr("\0usockets-nobody");
  const fd = createSocket(libc, "A test cannot connect", AF_UNIX);
  faulty.failNext("connect", EINTR);
  assertEquals([libc.connect(fd, address, address.length), lastErrno(libc)], [-1, ECONNREFUSED]);
  assertEquals(faulty.injected, []);
  close(fd);
});

nativeTest(
  "accept4() out of descriptors leaves the connection; one that is aborted is gone",
  () => {
    const { libc, faulty } = faultyLibc();
    const [listener, address] = listen();
    const fd = createSocket(libc, "A test cannot connect", AF_INET);
    libc.connect(fd, address, address.length);
    faulty.failNext("accept4", EMFILE, ECONNABORTED, EPROTO);
    assertEquals([accept(libc, listener), lastErrno(libc)], [-1, EMFILE]);
    assertEquals([accept(libc, listener), lastErrno(libc)], [-1, ECONNABORTED]);
    assertEquals([accept(libc, listener), lastErrno(libc)], [-1, EAGAIN]); // EPROTO of nobody
    assertGreater(pendingError(libc, fd), 0); // reset
    close(fd, listener);
  },
);

nativeTest("a connection that is broken says why once, then EPIPE, the end and ENOTCONN", () => {
  const { libc, faulty } = faultyLibc();
  const [one, other] = socketPair();
  const bytes = new Uint8Array(10);
  write(other, bytes);
  faulty.failNext("send", ETIMEDOUT);
  assertEquals([libc.send(one, bytes, 10, 0x4000), lastErrno(libc)], [-1, ETIMEDOUT]);
  assertEquals([libc.send(one, bytes, 10, 0x4000), lastErrno(libc)], [-1, EPIPE]);
  assertEquals(libc.recv(one, bytes, 10, 0), 10); // what came before
  assertEquals(libc.recv(one, bytes, 10, 0), 0);
  assertEquals([libc.shutdown(one, 1), lastErrno(libc)], [-1, ENOTCONN]);
  assertEquals(read(other).length, 0); // the peer learns of it
  libc.close(one);
  const [next, last] = socketPair(); // with the same number
  assertEquals(libc.shutdown(next, 1), 0);
  close(other, next, last);
});

nativeTest("what is cut short is sent in order, by sendmsg() too", () => {
  const faulty = new FaultyLibc(openLibc(), 3, { short: 1 });
  faulty.isOn = true;
  const gathering = new Gathering(faulty.libc);
  const [one, other] = socketPair();
  const bytes = pattern(60_000);
  let sent = 0;
  while (sent < bytes.length) {
    const rest = bytes.subarray(sent);
    const at = Math.min(rest.length - 1, 500);
    const count = at < 1
      ? faulty.libc.send(one, rest, rest.length, 0)
      : gathering.send(one, rest.slice(0, at), rest.slice(at));
    assertGreater(count, 0);
    assertEquals(read(other), bytes.slice(sent, sent + count));
    sent += count;
  }
  const { injected } = faulty;
  assert(
    injected.some(({ name }) => name === "sendmsg") && injected.some(({ name }) => name === "send"),
  );
  close(one, other);
});

nativeTest(
  "epoll_ctl() lacks memory for what it adds and changes, never for what it takes out",
  () => {
    const faulty = new FaultyLibc(openLibc(), 1, { refusing: 1 });
    const { libc } = faulty;
    const epoll = libc.epoll_create1(0);
    const [one, other] = socketPair();
    const event = new Uint8Array(16);
    const control = (operation: number, events: number) => {
      event[0] = events;
      return libc.epoll_ctl(epoll, operation, one, event);
    };
    assertEquals(control(EPOLL_CTL_ADD, EPOLLIN), 0);
    faulty.isOn = true;
    for (let i = 0; i < 5; i++) {
      control(EPOLL_CTL_ADD, EPOLLIN);
      if (control(EPOLL_CTL_MOD, EPOLLOUT) < 0) assertEquals(lastErrno(libc), ENOMEM);
    }
    assertGreater(faulty.injected.length, 5);
    assertEquals(control(EPOLL_CTL_DEL, 0), 0);
    close(one, other, epoll);
  },
);

nativeTest("OpenSSL without memory says so in the way of each function", () => {
  const faulty = new FaultyLibssl(openLibssl(), 1, 1);
  const { libssl } = faulty;
  const context = libssl.SSL_CTX_new(libssl.TLS_method());
  const ssl = libssl.SSL_new(context)!;
  faulty.isOn = true;
  const list = new Uint8Array(16);
  assertEquals([libssl.SSL_new(context), libssl.SSL_CTX_set_cipher_list(context, list)], [
    null,
    0,
  ]);
  assertEquals([libssl.SSL_do_handshake(ssl), libssl.SSL_get_error(ssl, -1)], [-1, 1]);
  assertEquals(faulty.injected, ["SSL_new", "SSL_CTX_set_cipher_list", "SSL_do_handshake"]);
  libssl.SSL_free(ssl);
  libssl.SSL_CTX_free(context);
});
