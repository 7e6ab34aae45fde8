// What was wrong with the epoll backend where the system, or OpenSSL, refused something: a test each.
import { assertEquals } from "@std/assert";
import { EINTR } from "../../ffi/errno.ts";
import { faultyLoop } from "../support/faulty_libc.ts";
import { close, modes, nativeTest, runLoop } from "../support/native.ts";

const host = "127.0.0.1";

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
}
