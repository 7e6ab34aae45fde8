/**
 * A peer that never reads: what is written to it is bounded and says so, a timeout ends it, the others
 * go on.
 */
import { assert, assertEquals, assertLess, fail } from "@std/assert";
import { CloseCode, type Socket } from "@usockets/usockets";
import type { Behaviours, Fixture } from "../conformance/fixture.ts";
import { Bystander } from "../conformance/trials.ts";
import { Attackers } from "../support/attackers.ts";
import { Flood } from "../support/flood.ts";

/** Has the server fill every buffer to a peer that never reads; then calls `stuck`. */
function neverRead(
  t: Fixture,
  attackers: Attackers,
  { stuck, onClose, onTimeout }: {
    stuck: (socket: Socket, flood: Flood) => void;
    onClose: (code: number) => void;
    onTimeout?: (socket: Socket) => void;
  },
): Socket {
  const flood = new Flood();
  let isStuck = false;
  const landing = t.transport.isTls ? "onHandshake" : "onOpen";
  const listener = t.listen(t.server<unknown>({
    [landing](socket: Socket) {
      listener.close();
      flood.pump(socket);
      flood.whenStuck(t, () => {
        isStuck = true;
        stuck(socket, flood);
      });
    },
    onWritable(socket) {
      if (isStuck) fail("onWritable without room");
      flood.pump(socket);
    },
    onTimeout: onTimeout as (socket: Socket<unknown>) => void,
    onClose: (_socket, code) => onClose(code),
  }));
  return attackers.context({ [landing]: (socket: Socket) => socket.pause() }, t.clientTls)
    .connect(t.addressOf(listener));
}

export const peersThatNeverRead: Behaviours = (behaviour) => {
  behaviour("a peer that never reads costs bounded memory, and a timeout ends it", async (t) => {
    const attackers = new Attackers(t);
    const codes: number[] = [];
    const bystander = new Bystander(t, () => codes.length === 1);
    const attacker = neverRead(t, attackers, {
      stuck(socket) {
        const chunk = new Uint8Array(65_536);
        const before = Deno.memoryUsage().external;
        let more = 0;
        for (let i = 0; i < 2000; i++) more += socket.write(chunk);
        assertLess(more, 1 << 20);
        assertLess(Deno.memoryUsage().external - before, 32 << 20, "what is refused is kept");
        socket.timeout(0.02);
      },
      onTimeout(socket) {
        socket.close();
        attackers.after(20, () => attacker.reset()); // or close() would wait for it
      },
      onClose: (code) => void codes.push(code),
    });
    await attackers.run();
    assertEquals(codes, [CloseCode.Clean]);
    assertEquals(bystander.isSound, true, "another connection of the loop was disturbed");
  });

  behaviour("free() gives up at once what a peer that never reads was still owed", async (t) => {
    const attackers = new Attackers(t);
    let code: number | undefined;
    neverRead(t, attackers, {
      stuck(socket) {
        socket.close();
        attackers.after(10, () => t.loop.free());
      },
      onClose: (given) => void (code = given),
    });
    await attackers.run();
    assertEquals(code, CloseCode.Clean);
  });
};

/** What close() does in the background: not where the kernel does it. */
export const closingForNobody: Behaviours = (behaviour) => {
  behaviour("close() gives a peer that never reads 30 s, and not more", async (t) => {
    const attackers = new Attackers(t);
    let isClosed = false;
    let accepted = 0;
    using clock = new Clock();
    const attacker = neverRead(t, attackers, {
      stuck(socket, flood) {
        ({ accepted } = flood);
        attackers.after(100, () => {
          clock.jump(29_000);
          attackers.after(30, () => {
            assertEquals([isClosed, attacker.isClosed], [true, false]);
            clock.jump(2000);
            attackers.after(30, () => attacker.resume());
          });
        });
        socket.close();
      },
      onClose: () => void (isClosed = true),
    });
    let received = 0;
    attacker.context.onData = (_socket, data) => void (received += data.length);
    await attackers.run(); // hangs unless it ends by itself
    assertLess(received, accepted);
    assert(isClosed);
  });
};

/** Lets seconds pass at once, for Deno's timers of so many seconds and for performance.now(). */
class Clock {
  readonly #setTimeout = globalThis.setTimeout;
  readonly #clearTimeout = globalThis.clearTimeout;
  readonly #now = performance.now;
  readonly #waiting = new Map<number, { due: number; fire: () => void }>();
  #jumped = 0;

  constructor() {
    const now = () => this.#now.call(performance) + this.#jumped;
    performance.now = now;
    globalThis.setTimeout = ((callback: () => void, ms?: number) => {
      if (ms !== 30_000) return this.#setTimeout(callback, ms);
      const timer = this.#setTimeout(callback, ms);
      this.#waiting.set(timer as unknown as number, { due: now() + ms, fire: callback });
      return timer;
    }) as typeof setTimeout;
    globalThis.clearTimeout = (timer) => {
      this.#waiting.delete(timer as number);
      this.#clearTimeout(timer);
    };
  }

  jump(ms: number): void {
    this.#jumped += ms;
    for (const [timer, { due, fire }] of this.#waiting) {
      if (due > performance.now()) continue;
      clearTimeout(timer);
      fire();
    }
  }

  [Symbol.dispose](): void {
    performance.now = this.#now;
    globalThis.setTimeout = this.#setTimeout;
    globalThis.clearTimeout = this.#clearTimeout;
  }
}
