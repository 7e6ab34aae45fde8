// What was wrong with the epoll backend where the system, or OpenSSL, refused something: a test each.
import { assertEquals, assertThrows } from "@std/assert";
import { CloseCode, epoll, Loop, reclaim, type Socket } from "@usockets/usockets";
import { EINTR, EMFILE, ENOBUFS, EPIPE } from "../../ffi/errno.ts";
import { openLibc, replaceLibc } from "../../ffi/libc.ts";
import { openLibssl, replaceLibssl } from "../../ffi/tls/libssl.ts";
import { testCertificates } from "../support/certificates.ts";
import { CountedLibssl } from "../support/counted_libssl.ts";
import { faultyLoop } from "../support/faulty_libc.ts";
import { close, modes, nativeTest, runLoop, socketPair } from "../support/native.ts";

const host = "127.0.0.1";
const { server: cert } = await testCertificates();

for (const mode of modes) {
  nativeTest(`connect() that a signal interrupts goes on (${mode})`, async () => {
    const { loop, faulty } = faultyLoop();
    const events: string[] = [];
    const listener = loop.createContext().listen({ host, port: 0 });
    const client = loop.createContext({
      onOpen(socket) {
        events.push("open");
        listener.close();
        socket.close();
      },
      onConnectError(_socket, error) {
        events.push(error.message);
        listener.close();
      },
    });
    faulty.failNext("connect", EINTR);
    client.connect({ host, port: listener.port });
    await runLoop(loop, mode);
    assertEquals([events, faulty.due("connect")], [["open"], 0]);
    loop.free();
  });

  nativeTest(
    `a write without memory behind a hang-up is tried again, and finds out (${mode})`,
    async () => {
      const { loop, faulty } = faultyLoop();
      const events: string[] = [];
      const write = (socket: Socket) => void events.push(`write ${socket.write("x")}`);
      const [ours, theirs] = socketPair();
      loop.createContext({
        onEnd: (socket) => write(socket as Socket),
        onWritable: (socket) => write(socket as Socket),
        onClose: (_socket, code, reason) => {
          events.push(`close ${code} ${(reason as { code?: string }).code}`);
        },
      }).adoptHandle(ours);
      faulty.failNext("send", ENOBUFS, ENOBUFS);
      close(theirs);
      await runLoop(loop, mode);
      const ending = `close ${CloseCode.Reset} EPIPE`;
      assertEquals(events, ["write 0", "write 0", "write 1", ending]);
      loop.free();
    },
  );
}

for (const isTls of [false, true]) {
  nativeTest(
    `a write that fails in onEnd is told, though shutdown() follows (${isTls ? "TLS" : "plain"})`,
    async () => {
      const { loop, faulty } = faultyLoop();
      const events: string[] = [];
      const listener = loop.createContext({
        tls: isTls ? cert : undefined,
        onEnd(socket) {
          faulty.failNext("send", EPIPE);
          events.push(`write ${socket.write("farewell")}`);
          socket.shutdown();
        },
        onClose(_socket, code, reason) {
          events.push(`close ${code} ${(reason as { code?: string })?.code}`);
          listener.close();
        },
      }).listen({ host, port: 0 });
      const tls = isTls ? { rejectUnauthorized: false } : undefined;
      loop.createContext({
        tls,
        [isTls ? "onHandshake" : "onOpen"]: (socket: Socket) => socket.shutdown(),
      }).connect({ host, port: listener.port });
      await runLoop(loop);
      assertEquals(events, ["write 8", `close ${CloseCode.Reset} EPIPE`]);
      loop.free();
    },
  );
}

nativeTest("listen() that cannot find out its port throws, and no listener is left", () => {
  const { loop, faulty } = faultyLoop();
  faulty.failNext("getsockname", ENOBUFS);
  const context = loop.createContext();
  const error = assertThrows(() => context.listen({ host, port: 0 }), Error, "Cannot listen on");
  assertEquals((error as { code?: string }).code, "ENOBUFS");
  loop.free();
});

nativeTest("reclaim() out of descriptors closes nothing of a living thread", async () => {
  const { loop, faulty } = faultyLoop();
  loop.createContext().listen({ host, port: 0 });
  const run = loop.run();
  const real = openLibc();
  replaceLibc(faulty.libc);
  try {
    faulty.failNext("open", ...Array(100).fill(EMFILE));
    assertEquals(await reclaim(loop.wakeupHandle), 0);
  } finally {
    replaceLibc(real);
  }
  await run;
  assertEquals(loop.isFreed, true);
});

nativeTest("a certificate for which OpenSSL has no memory is not called invalid", () => {
  const real = openLibssl();
  const counted = new CountedLibssl(real);
  replaceLibssl(counted.libssl);
  try {
    const loop = new Loop({ backend: epoll });
    loop.createContext({ tls: cert });
    counted.refusals.BIO_new_mem_buf = 1;
    assertThrows(() => loop.createContext({ tls: cert }), Error, "OpenSSL has no memory");
    loop.free();
    assertEquals(counted.left, {});
  } finally {
    replaceLibssl(real);
  }
});
