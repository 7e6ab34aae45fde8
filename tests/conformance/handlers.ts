/** Semantics 4, 7 and 10: what handlers may do inside of themselves, which is everything. */
import { assertEquals } from "@std/assert";
import { CloseCode, type Socket } from "@usockets/usockets";
import { openPairs } from "../support/pairs.ts";
import type { Behaviours } from "./fixture.ts";
import { handlersOfNobody } from "./handlers_of_nobody.ts";
import { throwing } from "./throwing.ts";
import { type Action, actions, Bystander, type Place, Trial } from "./trials.ts";

const places: readonly Place[] = [
  "onOpen",
  "onHandshake",
  "onData",
  "onWritable",
  "onEnd",
  "onTimeout",
  "onLongTimeout",
  "onClose",
];

export const handlers: Behaviours = (behaviour) => {
  throwing(behaviour);
  handlersOfNobody(behaviour);

  for (const place of places) {
    const reports: [error: unknown, socket: Socket | undefined][] = [];
    behaviour(`every action inside ${place} leaves the loop sound`, async (t) => {
      reports.length = 0;
      const trials: Trial[] = [];
      const bystander = new Bystander(t, () => trials.every((trial) => trial.isOver));
      for (const action of Object.keys(actions) as Action[]) {
        for (const side of ["server", "client"] as const) {
          trials.push(new Trial(t, place, action, side));
        }
      }
      await t.run().catch((hang) => {
        if (reports.length > 0) throw reports[0][0];
        const names = trials.filter(({ isOver }) => !isOver).map(({ name }) => name);
        throw new Error(`not over: ${names}`, { cause: hang });
      });
      for (const [error, socket] of reports) {
        const thrower = trials.find(({ thrown }) => thrown === error);
        if (thrower === undefined) throw error; // an assertion, as a rule
        assertEquals(socket === thrower.subject, true, "reported with another socket");
        thrower.reports++;
      }
      for (const trial of trials) trial.check();
      assertEquals(bystander.isSound, true, "another connection of the loop was disturbed");
      assertEquals(t.loop.stats().open, 0);
    }, { onError: (error, socket) => reports.push([error, socket]) });
  }

  behaviour("a socket closed inside onOpen has no event but onClose", async (t) => {
    const events: string[] = [];
    const note = (name: string) => () => void events.push(name);
    const listener = t.listen(t.server({
      onOpen: (socket) => socket.close(3),
      onHandshake: note("handshake"),
      onData: note("data"),
      onWritable: note("writable"),
      onEnd: note("end"),
      onTimeout: note("timeout"),
      onClose(socket, code) {
        events.push(`close ${code}`);
        socket.timeout(0.001);
        listener.close();
      },
    }));
    const client = t.client({ onOpen: (socket) => void socket.write("hello") });
    t.connect(client, listener);
    await t.run();
    assertEquals(events, ["close 3"]);
  });

  for (const place of ["onData", "onEnd", "onTimeout"] as const) {
    behaviour(`closing all sockets inside ${place} silences the rest of them`, async (t) => {
      const count = 12;
      let calls = 0, closes = 0;
      openPairs(t, count, {
        server: {
          [place](socket: Socket) {
            calls++;
            socket.context.close();
            assertEquals(closes, count);
          },
          onClose(_socket, code) {
            assertEquals(code, CloseCode.Clean);
            closes++;
          },
        },
      }, ({ servers, clients }) => {
        // All in one turn, so that an iteration or a sweep has several of them to deliver.
        for (const socket of servers) if (place === "onTimeout") socket.timeout(0.01);
        for (const socket of clients) {
          if (place === "onData") socket.write("x");
          else if (place === "onEnd") socket.shutdown();
        }
      });
      await t.run();
      assertEquals([calls, closes], [1, count]);
    });
  }
};
