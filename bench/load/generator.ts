/**
 * The load generator of the benchmark: a process that takes orders from its standard input, and has
 * a core for itself. It is a program on this library, on epoll, blocking.
 *
 *     taskset -c 1 deno run -A bench/load/generator.ts '{"port":3000,"service":"http","bytes":64}'
 *
 * @module
 */
// deno-lint-ignore-file no-console -- this is a program
import { epoll, Loop, READABLE } from "@usockets/usockets";
import { BLOCK, expectEcho, expectHttp } from "./answers.ts";
import { download, upload } from "./bulk.ts";
import { churn } from "./churn.ts";
import type { Order, Reply, Target } from "./orders.ts";
import { type Exchange, Requests } from "./requests.ts";

const target: Target = JSON.parse(Deno.args[0]);

// A handshake in whole for each connection, and nothing verified: it is the server that is measured.
const tls = target.isTls ? { rejectUnauthorized: false, sessionTickets: false } : undefined;

const loop = new Loop({
  backend: epoll,
  onWakeup: () => requests.turn(),
  onError(error) {
    console.error(error); // a mistake in here: no figure may come of it
    Deno.exit(1);
  },
});
const exchange = exchangeOf(target);
const requests = new Requests(loop, exchange);

function exchangeOf({ port, service, bytes }: Target): Exchange {
  if (service === "http") {
    const request = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    return { port, tls, request, expectation: expectHttp(bytes) };
  }
  const request = BLOCK.subarray(0, bytes);
  return { port, tls, request, expectation: expectEcho(request) };
}

function obey(order: Order): void {
  switch (order.do) {
    case "open":
      return requests.open(order.connections, answer);
    case "each":
      return requests.each(answer);
    case "load":
      return requests.load(order.seconds, answer);
    case "pace":
      return requests.pace(order.seconds, order.rate, answer);
    case "close":
      return requests.close(answer);
    case "churn":
      return churn(loop, exchange, order, answer);
    case "download":
      return download(loop, exchange, order.seconds, answer);
    case "upload":
      return upload(loop, exchange, order.seconds, answer);
  }
}

function answer(reply: Reply): void {
  Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(reply) + "\n"));
}

// One order at a time, each in one line and so in one read.
const line = new Uint8Array(4096);
const orders = loop.createPoll(0, {
  onReady() {
    const length = Deno.stdin.readSync(line);
    if (length === null) Deno.exit(0); // whoever orders is gone
    obey(JSON.parse(new TextDecoder().decode(line.subarray(0, length))));
  },
});
orders.start(READABLE);
loop.runBlocking();
