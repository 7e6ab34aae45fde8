/**
 * What `socket.write()` costs. The peers read outside of what is measured. On epoll each write is a
 * system call on a unix socket pair, and the same calls without the library stand beside them; on
 * denoConn it is a copy into the buffer of accepted bytes, which goes out later.
 * @module
 */
import type { Socket } from "@usockets/usockets";
import * as x509 from "@peculiar/x509";
import { makeLeaf } from "../../examples/support/certificates.ts";
import { MSG_NOSIGNAL } from "../../ffi/constants.ts";
import { openLibc } from "../../ffi/libc.ts";
import { isLinux } from "../../tests/support/native.ts";
import { bench } from "./support/measure.ts";
import { connPair, epollPair } from "./support/pairs.ts";

const KIB = 1024;

/** As many of a size as fit into the buffers of a unix socket pair, with room to spare. */
const SIZES = [
  { size: "64 B", bytes: new Uint8Array(64), times: 100 },
  { size: "64 KiB", bytes: new Uint8Array(64 * KIB), times: 5 },
];

const TEXTS = [
  { size: "64 B", text: "x".repeat(64), times: 100 },
  { size: "64 KiB", text: "x".repeat(64 * KIB), times: 5 },
];

/** A write that is short measures something else. */
function checkAll(accepted: number, times: number, bytes: number): void {
  if (accepted !== times * bytes) {
    throw new Error(`only ${accepted} of ${times * bytes} bytes were accepted`);
  }
}

function writeAll(socket: Socket, data: Uint8Array | string, times: number): void {
  let accepted = 0;
  for (let i = 0; i < times; i++) accepted += socket.write(data);
  checkAll(accepted, times, data.length); // texts are ASCII
}

if (isLinux) {
  const group = "write, epoll";
  const libc = openLibc();
  const plain = await epollPair();
  const clear = plain.drain;
  for (const { size, bytes, times } of SIZES) {
    bench({
      group,
      name: `libc's send() alone, ${size}`,
      times,
      run(times) {
        let accepted = 0;
        for (let i = 0; i < times; i++) {
          accepted += libc.send(plain.fd, bytes, bytes.length, MSG_NOSIGNAL);
        }
        checkAll(accepted, times, bytes.length);
      },
      clear,
    });
    bench({
      group,
      name: `write() ${size}`,
      times,
      run: (times) => writeAll(plain.socket, bytes, times),
      clear,
    });
  }
  for (const { size, text, times } of TEXTS) {
    bench({
      group,
      name: `write() a string of ${size}`,
      times,
      run: (times) => writeAll(plain.socket, text, times),
      clear,
    });
  }
  const usage = x509.ExtendedKeyUsage.serverAuth;
  const secure = await epollPair(await makeLeaf({ commonName: "localhost", usage }));
  for (const { size, bytes, times } of SIZES) {
    bench({
      group: "write, epoll, TLS",
      name: `TLS write() ${size}`,
      times,
      run: (times) => writeAll(secure.socket, bytes, times),
      clear: secure.drain,
    });
  }
}

/**
 * A socket of denoConn accepts 64 KiB in one turn, and one write of so many is too short to be timed:
 * so there are several, written to in turn.
 */
const conns = await Promise.all(Array.from({ length: 8 }, connPair));
const sockets = conns.map(({ socket }) => socket);
const ACCEPTED_BYTES = 64 * KIB;

function connBench(name: string, data: Uint8Array | string): void {
  const each = Math.min(1000, ACCEPTED_BYTES / data.length);
  bench({
    group: "write, denoConn",
    name,
    times: each * sockets.length,
    runAsync: () => {
      for (const socket of sockets) writeAll(socket, data, each);
    },
    clear: async () => {
      await Promise.all(conns.map(({ drain }) => drain(each * data.length)));
    },
  });
}

for (const { size, bytes } of SIZES) connBench(`denoConn write() ${size}`, bytes);
for (const { size, text } of TEXTS) connBench(`denoConn write() a string of ${size}`, text);
