/** The echo server example, in process. */
import { assertEquals } from "@std/assert";
import { echoServer } from "../../examples/echo_server.ts";
import { pattern, readAll, sha256, writeAll } from "../support/streams.ts";
import { receive, send, serverTest } from "./servers.ts";

serverTest("echo_server gives everything back to a slow reader", echoServer, async (server) => {
  const conn = await server.connect();
  const bytes = pattern(4 << 20);
  const sent = writeAll(conn, bytes).then(() => conn.closeWrite());
  const answer = await readAll(conn);
  await sent;
  conn.close();
  assertEquals(sha256(answer), sha256(bytes));
});

serverTest("echo_server ends its idle connections when it drains", echoServer, async (server) => {
  const conn = await server.connect();
  await send(conn, "hello");
  assertEquals(await receive(conn, 5), "hello");
  server.drain();
  const ended = server.loop.shutdown({ graceSeconds: 60 });
  assertEquals(await conn.read(new Uint8Array(1)), null);
  conn.close();
  await ended;
});
