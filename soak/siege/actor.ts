/**
 * A process of the siege: visitors or attackers. It is a program on this library, on epoll,
 * blocking, and takes orders from its standard input.
 * @module
 */
// deno-lint-ignore-file no-console -- this is a program
import { epoll, Loop, READABLE } from "@usockets/usockets";
import type { Expectation } from "../../bench/load/answers.ts";
import { HttpResponseParser, RESPONSE } from "../../examples/support/http_response.ts";
import { Flood } from "./flood.ts";
import type { Mission, Order } from "./orders.ts";
import { captureClientHello, Slowloris } from "./slowloris.ts";
import { Visitors } from "./visitors.ts";

const { role, target: { port, isTls } }: Mission = JSON.parse(Deno.args[0]);

// A handshake in whole for each connection, and nothing verified: it is the server that is measured.
const tls = isTls ? { rejectUnauthorized: false, sessionTickets: false } : undefined;

const loop = new Loop({
  backend: epoll,
  onError(error) {
    console.error(error); // a mistake in here: no figure may come of it
    Deno.exit(1);
  },
});

/** Does what an order asks for. */
type Obey = (seconds: number, done: (reply: unknown) => void) => void;

function prepare(ready: (obey: Obey) => void): void {
  switch (role.is) {
    case "visitors": {
      const visitors = new Visitors(loop, { ...role, port, tls, expectation: expectStatus200() });
      return ready((seconds, done) => visitors.visit(seconds, done));
    }
    case "slowloris": {
      const begin = (clientHello: Uint8Array | null) => {
        const slowloris = new Slowloris(loop, { ...role, port, tls }, clientHello);
        ready((seconds, done) => slowloris.attack(seconds, done));
      };
      return tls === undefined ? begin(null) : captureClientHello(loop, tls, begin);
    }
    case "flood": {
      const flood = new Flood(loop, port, role.perSecond);
      return ready((seconds, done) => flood.attack(seconds, done));
    }
  }
}

/** Expects the same answer each time; the first must be a 200. */
function expectStatus200(): Expectation {
  return {
    bytes: null,
    inspect(answer) {
      const parser = new HttpResponseParser();
      if (parser.parse(answer) !== RESPONSE) return parser.problem || null;
      return parser.status === 200 ? "" : `status ${parser.status}`;
    },
  };
}

function answer(reply: unknown): void {
  Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(reply) + "\n"));
}

prepare((obey) => {
  // One order at a time, each in one line and so in one read.
  const line = new Uint8Array(4096);
  const orders = loop.createPoll(0, {
    onReady() {
      const length = Deno.stdin.readSync(line);
      if (length === null) Deno.exit(0); // whoever orders is gone
      const { seconds }: Order = JSON.parse(new TextDecoder().decode(line.subarray(0, length)));
      obey(seconds, answer);
    },
  });
  orders.start(READABLE);
  answer("ready");
});
loop.runBlocking();
