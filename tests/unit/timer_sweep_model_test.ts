/** The sweep of timeouts against a simple model of it, on a clock of the test's own. */
import { assert, assertLessOrEqual } from "@std/assert";
import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import type { SocketContext } from "../../src/context.ts";
import type { Handlers } from "../../src/handlers.ts";
import type { Socket } from "../../src/socket.ts";
import { clock, LATE_MS, restartClock, stopClock, World } from "../support/fake_loop.ts";

describe("TimerSweep", () => {
  beforeEach(stopClock);
  afterEach(restartClock);

  it("agrees with a simple model over random operations", () => {
    let seed = 1;
    const random = (below: number) => (seed = seed * 48_271 % 2_147_483_647) % below;
    const due = new Map<Socket, number>();
    const sockets: Socket[] = [];
    let fires = 0;
    const meddle = () => {
      const socket = sockets[random(sockets.length)];
      const seconds = 1 + random(30);
      switch (random(6)) {
        case 0:
          socket.timeout(0);
          due.delete(socket);
          break;
        case 1:
          contexts[random(2)].adopt(socket);
          due.delete(socket);
          break;
        case 2:
          if (sockets.length > 20) {
            socket.close();
            due.delete(socket);
            sockets.splice(sockets.indexOf(socket), 1);
          } else {
            sockets.push(world.open("", contexts[random(2)]));
          }
          break;
        default:
          socket.timeout(seconds);
          due.set(socket, clock.now + seconds * 1000);
      }
    };
    const handlers: Handlers = {
      onTimeout(socket) {
        const at = due.get(socket);
        assert(at !== undefined && at <= clock.now, `early, or not due at all: ${at}`);
        assertLessOrEqual(clock.now - at, LATE_MS);
        due.delete(socket);
        fires++;
        for (let i = random(3); i > 0; i--) meddle();
      },
      onClose() {},
    };
    const world = new World(handlers);
    const contexts = [
      world.context,
      world.loop.createContext(
        handlers as Handlers<undefined, undefined>,
      ) as unknown as SocketContext,
    ];
    for (let i = 0; i < 20; i++) sockets.push(world.open("", contexts[i % 2]));
    for (let round = 0; round < 2000; round++) {
      meddle();
      world.pass(random(5000));
      for (const at of due.values()) assertLessOrEqual(clock.now - at, LATE_MS, "never fired");
    }
    assert(fires > 200);
  });
});
