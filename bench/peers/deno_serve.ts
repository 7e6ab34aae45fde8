/**
 * The contestant that is Deno's own HTTP server, `Deno.serve`. It parses requests, and makes a
 * Response for each, as a program in Deno would have it.
 * @module
 */
import {
  backlog,
  body,
  cert,
  compute,
  host,
  isShared,
  isTls,
  key,
  ready,
  refuse,
  service,
} from "./common.mjs";

if (service !== "http") refuse("Deno.serve is an HTTP server");
if (isShared) refuse("Deno.serve has one loop");

const tls = isTls
  ? { cert: Deno.readTextFileSync(cert!), key: Deno.readTextFileSync(key!) }
  : undefined;
const init = { headers: [["content-type", "text/plain"]] } satisfies ResponseInit;

Deno.serve({
  hostname: host,
  port: 0,
  tcpBacklog: backlog,
  ...tls,
  onListen: ({ port }) => ready(port),
}, () => {
  compute();
  return new Response(body, init);
});
