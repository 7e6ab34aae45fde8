// How the epoll backend accepts when very many come at once.
import { assert, assertEquals } from "@std/assert";
import { epoll, Loop } from "@usockets/usockets";
import { modes, nativeTest, runLoop } from "../support/native.ts";

const host = "127.0.0.1";
const COUNT = 200;

for (const mode of modes) {
  nativeTest(`a flood of connections leaves room for those that are open: ${mode}`, async () => {
    let accepted = 0;
    const acceptedBy: number[] = []; // the end of each iteration
    const loop = new Loop({ backend: epoll, onPost: () => void acceptedBy.push(accepted) });
    const server = loop.createContext({
      onOpen: () => {
        if (++accepted === COUNT) loop.createTimer().set(() => loop.free(), 0.01);
      },
    });
    const { port } = server.listen({ host, port: 0 });
    // On loopback a connection is in the backlog when connect() returns.
    const clients = loop.createContext();
    for (let i = 0; i < COUNT; i++) clients.connect({ host, port });
    await runLoop(loop, mode);
    assertEquals(accepted, COUNT);
    const most = Math.max(...acceptedBy.map((count, i) => count - (acceptedBy[i - 1] ?? 0)));
    assert(most <= 16, `${most} in one iteration`);
  });
}
