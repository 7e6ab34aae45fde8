/** A listener opened again and again, and loops that are freed in the middle of their traffic. */
import { assert, assertEquals, assertGreater } from "@std/assert";
import { CloseCode, Loop, type Socket } from "@usockets/usockets";
import type { Behaviours } from "../conformance/fixture.ts";
import { Bystander } from "../conformance/trials.ts";

export const listenersReopened: Behaviours = (behaviour) => {
  behaviour("a listener is closed and opened on the same address 1,000 times", async (t) => {
    const rounds = 1000;
    let served = 0;
    const server = t.server({
      onOpen: (socket) => void socket.write("hi"),
      onData: (socket) => socket.end(),
    });
    const client = t.client({ onData: (socket) => socket.end(), onClose: () => listener.close() });
    let listener = t.listen(server);
    const address = t.addressOf(listener);
    for (let round = 0; round < rounds; round++) {
      if (round > 0) listener = server.listen(address);
      // as many connections as a port has left behind it in TIME_WAIT make no difference
      if (round % 20 === 0) {
        client.connect(address);
        await t.run();
        served++;
      } else listener.close();
      await listener.closed;
    }
    await t.run();
    assertEquals([served, t.loop.stats().accepted], [50, 50]);
  });
};

export const loopsFreed: Behaviours = (behaviour) => {
  for (const who of ["the other loop", "this loop"]) {
    behaviour(`two loops in one thread, and ${who} is freed amid their traffic`, async (t) => {
      const count = 5;
      const { backend } = t.transport;
      const other = new Loop({ backend, onError: (error) => t.errors.push(error) });
      const codes: Record<"server" | "client", number[]> = { server: [], client: [] };
      let bytes = 0;
      const isOver = () => codes.client.length === count;
      const bystander = who === "the other loop" ? new Bystander(t, isOver) : null;
      const listener = other.createContext({
        tls: t.serverTls,
        onData: (socket, data) => void socket.write(data),
        onClose: (_socket, code) => void codes.server.push(code),
      }).listen(t.address());
      const chunk = new Uint8Array(10_000);
      const client = t.client({
        [t.transport.isTls ? "onHandshake" : "onOpen"]: (socket: Socket) => {
          socket.write(chunk);
        },
        onData(socket, data) {
          bytes += data.length;
          if (bytes > 1_000_000) (who === "this loop" ? t.loop : other).free();
          else socket.write(data);
        },
        onClose(_socket, code) {
          codes.client.push(code);
          if (who === "this loop") assertEquals(code, CloseCode.Freed);
        },
      });
      for (let i = 0; i < count; i++) t.connect(client, listener);
      // it goes on when its clients are gone: its listener is open
      const running = other.run();
      await t.run();
      if (who === "this loop") {
        while (codes.server.length < count) {
          // no event of this thread tells how far the other loop is
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
        assert(!other.isFreed);
        other.free();
      }
      await running;
      assertGreater(bytes, 1_000_000);
      assertEquals([codes.server.length, codes.client.length], [count, count]);
      const freed = who === "this loop" ? codes.client : codes.server;
      const others = who === "this loop" ? codes.server : codes.client;
      assertEquals(freed, Array(count).fill(CloseCode.Freed));
      const ends: number[] = [CloseCode.Clean, CloseCode.Reset, CloseCode.Truncated];
      assertEquals(others.filter((code) => !ends.includes(code)), []);
      if (bystander) assertEquals(bystander.isSound, true, "another connection was disturbed");
    });
  }
};
