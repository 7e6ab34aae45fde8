// What the system refuses, and errors that two calls could find: with functions of libc replaced.
import { assertEquals } from "@std/assert";
import { CloseCode, epoll, Loop, type Socket } from "@usockets/usockets";
import { EPOLL_CTL_ADD } from "../../ffi/constants.ts";
import { ENOMEM, setErrno } from "../../ffi/errno.ts";
import { type Libc, openLibc, replaceLibc } from "../../ffi/libc.ts";
import { modes, nativeTest, runLoop } from "../support/native.ts";

const host = "127.0.0.1";

/** A loop whose next `epoll_ctl(ADD)` fails with ENOMEM, as often as `failures.left` says. */
function loopThatCannotWatch(): { loop: Loop; failures: { left: number } } {
  const real = openLibc();
  const failures = { left: 0 };
  const control: Libc["epoll_ctl"] = (epfd, operation, fd, event) => {
    if (operation !== EPOLL_CTL_ADD || failures.left === 0) {
      return real.epoll_ctl(epfd, operation, fd, event);
    }
    failures.left--;
    setErrno(real, ENOMEM);
    return -1;
  };
  replaceLibc({ ...real, epoll_ctl: control });
  try {
    return { loop: new Loop({ backend: epoll }), failures };
  } finally {
    replaceLibc(real);
  }
}

for (const mode of modes) {
  nativeTest(
    `a write that takes the reset off its connection leaves no clean end (${mode})`,
    async () => {
      const loop = new Loop({ backend: epoll });
      const events: string[] = [];
      let peer: Socket | undefined, served: Socket | undefined;
      const listener = loop.createContext({
        onOpen(socket) {
          served = socket;
          socket.pause();
        },
        onData: (socket) => void events.push(`write ${socket.write("y")}`),
        onEnd: () => void events.push("end"),
        onClose: (_socket, code) => void events.push(`close ${code}`),
      }).listen({ host, port: 0 });
      loop.createContext({ onOpen: (socket) => void (peer = socket) })
        .connect({ host, port: listener.port });
      const look = loop.createTimer();
      look.set(
        () => {
          if (peer === undefined || served === undefined) return;
          look.close();
          listener.close();
          peer.write("bytes before the reset");
          peer.reset();
          served.resume(); // bytes, and the reset behind them, come as one event
        },
        1,
        1,
      );
      await runLoop(loop, mode);
      assertEquals(events, ["write 1", `close ${CloseCode.Reset}`]);
      loop.free();
    },
  );

  nativeTest(
    `a socket that cannot be watched closes with System, and no call throws (${mode})`,
    async () => {
      const { loop, failures } = loopThatCannotWatch();
      const events: string[] = [];
      const listener = loop.createContext({
        onOpen(socket) {
          listener.close();
          socket.pause();
          failures.left = 1;
          socket.resume();
        },
        onClose: (_socket, code, reason) => {
          events.push(`close ${code} ${(reason as { code?: string }).code}`);
        },
      }).listen({ host, port: 0 });
      loop.createContext().connect({ host, port: listener.port });
      await runLoop(loop, mode);
      assertEquals(events, [`close ${CloseCode.System} ENOMEM`]);
      loop.free();
    },
  );

  nativeTest(`a listener that cannot be watched again goes on later (${mode})`, async () => {
    const { loop, failures } = loopThatCannotWatch();
    let accepted = 0;
    const listener = loop.createContext({
      onOpen(socket) {
        if (++accepted === 2) {
          listener.close();
          return socket.close();
        }
        // Later, when the listener has stopped watching: it is full.
        loop.createTimer().set(() => {
          failures.left = 2;
          socket.close();
        }, 1);
      },
    }).listen({ host, port: 0, maxConnections: 1 });
    const client = loop.createContext();
    client.connect({ host, port: listener.port });
    client.connect({ host, port: listener.port });
    await runLoop(loop, mode);
    assertEquals(accepted, 2);
    loop.free();
  });
}
