// The epoll backend's memory layouts: what libc is given, and what is read from it.
import { assert, assertEquals, assertInstanceOf, assertStrictEquals } from "@std/assert";
import { CloseCode } from "@usockets/usockets";
import {
  anyIpv6Sockaddr,
  bracket,
  familyOf,
  ipv4Sockaddr,
  portOf,
  readAddress,
  readIp,
  readUnixPath,
  setPort,
  SOCKADDR_BYTES,
  unbracket,
  unixSockaddr,
} from "../../ffi/address.ts";
import { AF_INET, AF_INET6, AF_UNIX } from "../../ffi/constants.ts";
import { check, closeCodeOf, isOutOfResources, setErrno, systemError } from "../../ffi/errno.ts";
import { type Libc, openLibc } from "../../ffi/libc.ts";
import { ReceiveBuffer } from "../../ffi/receive_buffer.ts";
import { resolveLiteral } from "../../ffi/resolve.ts";
import { eventLayout } from "../../ffi/selector.ts";
import { setTimerfd } from "../../ffi/timers.ts";
import { nativeTest } from "../support/native.ts";

// ---------------------------------------------------------------- addresses

Deno.test("ipv4Sockaddr() lays out sockaddr_in, and refuses what is no dotted address", () => {
  const sockaddr = ipv4Sockaddr("127.0.0.1", 0x1234)!;
  assertEquals([...sockaddr], [2, 0, 0x12, 0x34, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
  assertEquals([familyOf(sockaddr), portOf(sockaddr)], [AF_INET, 0x1234]);
  for (
    const text of [
      "",
      "1.2.3",
      "1.2.3.4.5",
      "256.0.0.1",
      "01.2.3.4", // libc takes it as octal
      "1.2.3.4 ",
      "1.2.3.-4",
      "1.2.3.4\n",
      "localhost",
      "::1",
      "127.1",
      "0x7f.0.0.1",
    ]
  ) assertStrictEquals(ipv4Sockaddr(text, 1), null, text);
  assert(ipv4Sockaddr("0.0.0.0", 0) !== null);
  assert(ipv4Sockaddr("255.255.255.255", 65_535) !== null);
});

Deno.test("ports go and come in network order, for both families alone", () => {
  for (const sockaddr of [ipv4Sockaddr("1.2.3.4", 0)!, anyIpv6Sockaddr(0)]) {
    for (const port of [0, 1, 255, 256, 443, 32_768, 65_535]) {
      setPort(sockaddr, port);
      assertEquals(portOf(sockaddr), port);
      assertEquals([sockaddr[2], sockaddr[3]], [port >> 8, port & 255]);
    }
  }
  assertEquals(portOf(unixSockaddr("/ab")), 0);
});

nativeTest("addresses come back as they went, IPv6 in its short form", () => {
  const libc = openLibc();
  for (
    const [text, read] of [
      ["1.2.3.4"],
      ["0.0.0.0"],
      ["255.255.255.255"],
      ["::"],
      ["::1"],
      ["fe80::1"],
      ["2001:db8::ff00:42:8329"],
      ["2001:0db8:0000:0000:0000:ff00:0042:8329", "2001:db8::ff00:42:8329"],
      ["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
      ["::ffff:1.2.3.4", "1.2.3.4"],
      ["::ffff:0:0", "0.0.0.0"],
      ["::fffe:1.2.3.4", "::fffe:102:304"],
      ["::1:ffff:1.2.3.4", "::1:ffff:102:304"],
      ["::1.2.3.4"],
      ["fe80::1%1", "fe80::1"],
    ]
  ) {
    const sockaddr = resolveLiteral(libc, text, 4321)!;
    assertEquals(familyOf(sockaddr), text.includes(":") ? AF_INET6 : AF_INET);
    assertEquals(readAddress(libc, sockaddr, sockaddr.length), { ip: read ?? text, port: 4321 });
    assertEquals(readIp(libc, sockaddr), read ?? text);
  }
  for (const text of ["localhost", "127.1", ":::", "1::2::3", "::g", "[::1]", "::1 "]) {
    assertStrictEquals(resolveLiteral(libc, text, 1), null, text);
  }
  const nowhere = { ip: "", port: 0 };
  assertEquals(readAddress(libc, new Uint8Array(16), 0), nowhere);
  assertEquals(readAddress(libc, unixSockaddr("/a"), 5), nowhere);
});

Deno.test("anyIpv6Sockaddr() is `::` of 28 bytes", () => {
  const sockaddr = anyIpv6Sockaddr(0x1234);
  assertEquals(sockaddr.length, 28);
  assertEquals([...sockaddr.subarray(0, 4)], [AF_INET6, 0, 0x12, 0x34]);
  assert(sockaddr.subarray(4).every((byte) => byte === 0));
});

Deno.test("unix paths end with a NUL, abstract names have all their bytes", () => {
  assertEquals([...unixSockaddr("/a")], [AF_UNIX, 0, 47, 97, 0]);
  assertEquals([...unixSockaddr("\0a")], [AF_UNIX, 0, 0, 97]);
  for (const path of ["/tmp/x.sock", "\0name", "/tmp/ä/µ", "\0ä", "\0", "x".repeat(107)]) {
    const sockaddr = unixSockaddr(path);
    assertEquals(familyOf(sockaddr), AF_UNIX);
    assertEquals(readUnixPath(sockaddr, sockaddr.length), path);
    assert(sockaddr.length <= SOCKADDR_BYTES);
  }
  const longest = unixSockaddr("\0" + "x".repeat(107));
  assertEquals(longest.length, SOCKADDR_BYTES);
  // The kernel may leave the final NUL out, or put more behind it.
  assertEquals(readUnixPath(unixSockaddr("/ab"), 5), "/ab");
  assertEquals(readUnixPath(new Uint8Array([1, 0, 47, 97, 0, 98]), 6), "/a");
  assertEquals(readUnixPath(new Uint8Array([1, 0]), 2), "");
});

Deno.test("IPv6 addresses wear brackets in URLs", () => {
  for (const ip of ["::1", "fe80::1"]) {
    assertEquals([bracket(ip), unbracket(`[${ip}]`), unbracket(ip)], [`[${ip}]`, ip, ip]);
  }
  assertEquals([bracket("1.2.3.4"), unbracket("host"), unbracket("[host")], [
    "1.2.3.4",
    "host",
    "[host",
  ]);
});

// ---------------------------------------------------------------- struct epoll_event

Deno.test("struct epoll_event is packed on x86-64 and aligned elsewhere", () => {
  assertEquals(eventLayout("x86_64"), { words: 3, dataWord: 1 });
  assertEquals(eventLayout("aarch64"), { words: 4, dataWord: 2 });
});

// ---------------------------------------------------------------- errno

const { errors } = Deno;

const classes: [errno: number, code: string, Class: new (message: string) => Error][] = [
  [1, "EPERM", errors.PermissionDenied],
  [2, "ENOENT", errors.NotFound],
  [4, "EINTR", errors.Interrupted],
  [5, "EIO", Error],
  [9, "EBADF", errors.BadResource],
  [11, "EAGAIN", errors.WouldBlock],
  [12, "ENOMEM", Error],
  [13, "EACCES", errors.PermissionDenied],
  [14, "EFAULT", Error],
  [16, "EBUSY", errors.Busy],
  [17, "EEXIST", errors.AlreadyExists],
  [19, "ENODEV", Error],
  [20, "ENOTDIR", errors.NotADirectory],
  [21, "EISDIR", errors.IsADirectory],
  [22, "EINVAL", Error],
  [23, "ENFILE", Error],
  [24, "EMFILE", Error],
  [28, "ENOSPC", Error],
  [30, "EROFS", Error],
  [32, "EPIPE", errors.BrokenPipe],
  [36, "ENAMETOOLONG", Error],
  [38, "ENOSYS", errors.NotSupported],
  [40, "ELOOP", errors.FilesystemLoop],
  [71, "EPROTO", Error],
  [88, "ENOTSOCK", Error],
  [90, "EMSGSIZE", Error],
  [92, "ENOPROTOOPT", Error],
  [93, "EPROTONOSUPPORT", errors.NotSupported],
  [95, "EOPNOTSUPP", errors.NotSupported],
  [97, "EAFNOSUPPORT", errors.NotSupported],
  [98, "EADDRINUSE", errors.AddrInUse],
  [99, "EADDRNOTAVAIL", errors.AddrNotAvailable],
  [100, "ENETDOWN", Error],
  [101, "ENETUNREACH", errors.NetworkUnreachable],
  [103, "ECONNABORTED", errors.ConnectionAborted],
  [104, "ECONNRESET", errors.ConnectionReset],
  [105, "ENOBUFS", Error],
  [106, "EISCONN", Error],
  [107, "ENOTCONN", errors.NotConnected],
  [110, "ETIMEDOUT", errors.TimedOut],
  [111, "ECONNREFUSED", errors.ConnectionRefused],
  [112, "EHOSTDOWN", Error],
  [113, "EHOSTUNREACH", errors.NetworkUnreachable],
  [114, "EALREADY", Error],
  [115, "EINPROGRESS", Error],
  [131, "E131", Error], // known to libc alone
  [4095, "E4095", Error], // to nobody
];

nativeTest("an errno becomes an error of Deno's class, with its name as the code", () => {
  const libc = openLibc();
  for (const [errno, code, Class] of classes) {
    const error = systemError(libc, "Cannot try", errno);
    assertStrictEquals<unknown>(error.constructor, Class, code);
    assertEquals(error.code, code);
    assert(new RegExp(`^Cannot try: .+ \\(os error ${errno}\\)$`).test(error.message));
  }
});

nativeTest("check() gives back what succeeded, and throws what errno says", () => {
  const libc = openLibc();
  assertEquals([check(libc, "Cannot try", 0), check(libc, "Cannot try", 7)], [0, 7]);
  setErrno(libc, 98);
  try {
    check(libc, "Cannot try", -1);
    assert(false);
  } catch (error) {
    assertInstanceOf(error, errors.AddrInUse);
    assertEquals(error.message, "Cannot try: Address already in use (os error 98)");
  }
});

Deno.test("close codes tell resets from other errors, and exhaustion is known", () => {
  const resets = [32, 103, 104, 107];
  for (const [errno] of classes) {
    const code = resets.includes(errno) ? CloseCode.Reset : CloseCode.System;
    assertEquals(closeCodeOf(errno), code, String(errno));
    assertEquals(isOutOfResources(errno), [12, 23, 24, 105].includes(errno), String(errno));
  }
});

// ---------------------------------------------------------------- struct itimerspec

/** What a call of timerfd_settime is given: seconds and nanoseconds, of the interval and the time. */
function timerspec(ms: number, repeatMs: number): bigint[] {
  let words: bigint[] = [];
  const libc = {
    timerfd_settime(fd: number, flags: number, spec: Uint8Array, old: null) {
      assertEquals([fd, flags, spec.length, old], [7, 0, 32, null]);
      words = [...new BigInt64Array(spec.slice().buffer)];
      return 0;
    },
  } as unknown as Libc;
  setTimerfd(libc, 7, ms, repeatMs);
  return words;
}

Deno.test("a time becomes an itimerspec that is never early, and never 0", () => {
  const cases: [ms: number, seconds: bigint, nanoseconds: bigint][] = [
    [0, 0n, 0n], // disarms
    [1, 0n, 1_000_000n],
    [1.5, 0n, 1_500_000n],
    [1e-6, 0n, 1n],
    [1e-9, 0n, 1n], // would disarm if it were rounded down
    [0.0000015, 0n, 2n],
    [999.9999995, 1n, 0n], // carried
    [1000, 1n, 0n],
    [1999.75, 1n, 999_750_000n],
    [86_400_000, 86_400n, 0n],
    [2 ** 31 * 1000, 2n ** 31n, 0n],
    [2 ** 32 * 1000, 2n ** 32n - 1n, 0n], // 136 years are for ever
    [1e15, 2n ** 32n - 1n, 0n],
  ];
  for (const [ms, seconds, nanoseconds] of cases) {
    assertEquals(timerspec(ms, 0), [0n, 0n, seconds, nanoseconds], String(ms));
    assertEquals(timerspec(0, ms), [seconds, nanoseconds, 0n, 0n], String(ms));
  }
  for (let ms = 0.0001; ms < 1e7; ms *= 1.37) {
    const [, , seconds, nanoseconds] = timerspec(ms, 0);
    assert(nanoseconds >= 0n && nanoseconds < 1_000_000_000n, String(ms));
    const set = Number(seconds) * 1000 + Number(nanoseconds) / 1e6;
    assert(set >= ms * (1 - 1e-12) && set < ms + 0.000_01, `${ms} became ${set}`);
  }
});

Deno.test("what is no finite time is still a valid itimerspec", () => {
  for (const ms of [Infinity, Number.MAX_VALUE, 2 ** 53]) {
    const [, , seconds, nanoseconds] = timerspec(ms, 0);
    assert(seconds > 2n ** 31n, `${ms}: ${seconds} s`);
    assert(nanoseconds < 1_000_000_000n, `${ms}: ${nanoseconds} ns`);
  }
});

// ---------------------------------------------------------------- the receive buffer

Deno.test("ReceiveBuffer gives views of its first bytes, and keeps the small ones", () => {
  const buffer = new ReceiveBuffer(4096);
  for (const count of [1, 2, 1023, 1024, 1025, 4096]) {
    const view = buffer.view(count);
    assertEquals([view.length, view.byteOffset], [count, 0]);
    assertStrictEquals(view.buffer, buffer.bytes.buffer);
    assertEquals(buffer.view(count) === view, count < 1024);
  }
  assertEquals(buffer.isRestored(), false);
});

Deno.test("ReceiveBuffer is made anew when it was transferred away", () => {
  const buffer = new ReceiveBuffer(2000);
  const [small, large] = [buffer.view(5), buffer.view(1500)];
  structuredClone(null, { transfer: [small.buffer as ArrayBuffer] });
  assertEquals([small.length, large.length, buffer.bytes.length], [0, 0, 0]);
  assertEquals([buffer.isRestored(), buffer.isRestored()], [true, false]);
  assertEquals(buffer.bytes.length, 2000);
  assertEquals([buffer.view(5).length, buffer.view(1500).length], [5, 1500]);
  assert(buffer.view(5) !== small);
});
