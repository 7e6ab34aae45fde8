/** Streams that come one byte at a time, both ways, TLS handshakes among them. */
import { assertEquals, assertGreater } from "@std/assert";
import { epoll, type Socket } from "@usockets/usockets";
import type { Behaviours } from "../conformance/fixture.ts";
import { Attackers } from "../support/attackers.ts";
import { pattern, sha256 } from "../support/streams.ts";

/** Passes on what came from one end, a byte whenever it is asked. */
class Drip {
  readonly #waiting: number[] = [];
  #hasEnded = false;
  #to: Socket | undefined;

  from = (data: Uint8Array) => void this.#waiting.push(...data);
  end = () => void (this.#hasEnded = true);
  to = (socket: Socket) => void (this.#to = socket);

  drip(): void {
    if (this.#to === undefined) return;
    const next = this.#waiting.shift();
    if (next !== undefined) this.#to.write(new Uint8Array([next]));
    else if (this.#hasEnded) this.#to.shutdown();
  }
}

export const bytewise: Behaviours = (behaviour) => {
  behaviour("what comes one byte at a time both ways is whole in the end", async (t) => {
    const attackers = new Attackers(t);
    const upload = pattern(300, 1), download = pattern(300, 2);
    const got = { server: [] as number[], client: [] as number[] };
    const codes: number[] = [];
    let calls = 0;
    const server = t.server({
      onData(socket, data) {
        calls++;
        got.server.push(...data);
        if (got.server.length === upload.length) assertEquals(socket.write(download), 300);
      },
      onEnd: (socket) => socket.shutdown(),
      onClose(_socket, code) {
        codes.push(code);
        listener.close();
      },
    });
    const listener = t.listen(server);

    const up = new Drip(), down = new Drip();
    const front = attackers.context({
      onOpen(socket) {
        relay.close();
        down.to(socket);
        attackers.context({
          onOpen: up.to,
          onData: (_socket, data) => down.from(data),
          onEnd: down.end,
        }).connect(t.addressOf(listener));
      },
      onData: (_socket, data) => up.from(data),
      onEnd: up.end,
    });
    const relay = front.listen(t.address());
    // an iteration for each byte of each direction, so that nobody gets two at once
    const beat = attackers.loop.createTimer({ fallthrough: true });
    const drip = () => {
      up.drip();
      down.drip();
      if (codes.length < 2) beat.set(drip, 0.2);
    };
    beat.set(drip, 0.2);

    const landing = t.transport.isTls ? "onHandshake" : "onOpen";
    t.connect(
      t.client({
        [landing]: (socket: Socket) => void assertEquals(socket.write(upload), 300),
        onData(socket, data) {
          got.client.push(...data);
          if (got.client.length === download.length) socket.shutdown();
        },
        onClose: (_socket, code) => void codes.push(code),
      }),
      relay,
    );
    await attackers.run();
    assertEquals(sha256(new Uint8Array(got.server)), sha256(upload));
    assertEquals(sha256(new Uint8Array(got.client)), sha256(download));
    assertEquals(codes, [0, 0]);
    // a loop that was late has sent two of them in one iteration
    if (t.transport.backend === epoll && !t.transport.isTls) assertGreater(calls, 150);
  });
};
