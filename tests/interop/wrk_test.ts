/** wrk as the clients of the HTTP server example. */
import { WAYS, withHttpServer, withPlainHttpServer } from "./support/http_program.ts";
import { wrk } from "./support/wrk.ts";

for (const [name, way] of Object.entries(WAYS)) {
  Deno.test(`wrk meets no error of the HTTP server on ${name}`, async () => {
    await withPlainHttpServer(way, wrk);
  });

  Deno.test(`wrk meets no error of the HTTP server with TLS on ${name}`, async () => {
    await withHttpServer(way, wrk);
  });
}
