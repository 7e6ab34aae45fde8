/**
 * What a call of libc costs, through the library's own table of symbols: the floor of everything the
 * epoll backend does.
 * @module
 */
import { EAGAIN, lastErrno } from "../../ffi/errno.ts";
import { openLibc } from "../../ffi/libc.ts";
import { setNonblocking } from "../../ffi/sockets.ts";
import { isLinux, socketPair } from "../../tests/support/native.ts";
import { bench } from "./support/measure.ts";

const group = "FFI";

/** Kept, so that no call is left out as useless. */
const result = new Int32Array(1);

if (isLinux) {
  const libc = openLibc();
  const [fd] = socketPair();
  setNonblocking(libc, fd, "Cannot prepare a benchmark");
  const buffer = new Uint8Array(65_536);

  bench({
    group,
    name: "reading errno",
    times: 10_000,
    run(times) {
      let sum = 0;
      for (let i = 0; i < times; i++) sum += lastErrno(libc);
      result[0] = sum;
    },
  });

  bench({
    group,
    name: "a call that does nothing: __errno_location()",
    times: 10_000,
    run(times) {
      let sum = 0;
      for (let i = 0; i < times; i++) if (libc.__errno_location() !== null) sum++;
      result[0] = sum;
    },
  });

  bench({
    group,
    name: "the cheapest system call: gettid()",
    times: 1000,
    run(times) {
      let sum = 0;
      for (let i = 0; i < times; i++) sum += libc.gettid();
      result[0] = sum;
    },
  });

  bench({
    group,
    name: "recv() with nothing there, and its errno",
    times: 1000,
    run(times) {
      let sum = 0;
      for (let i = 0; i < times; i++) {
        sum += libc.recv(fd, buffer, buffer.length, 0);
        if (lastErrno(libc) !== EAGAIN) throw new Error(`errno ${lastErrno(libc)}`);
      }
      result[0] = sum;
    },
  });
}
