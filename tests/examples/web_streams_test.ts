/** The gzip server example, in process. */
import { assertEquals, assertLess, assertRejects } from "@std/assert";
import { gunzipSync } from "node:zlib";
import { compressRemotely, gzipServer } from "../../examples/web_streams.ts";
import { pattern, readAll, sha256, writeAll } from "../support/streams.ts";
import { serverTest } from "./servers.ts";

/** Compressible, and far more than any buffer holds. */
function text(): Uint8Array<ArrayBuffer> {
  const piece = pattern(1000);
  const bytes = new Uint8Array(4 << 20);
  for (let at = 0; at < bytes.length; at += piece.length) {
    bytes.set(piece.subarray(0, bytes.length - at), at);
  }
  return bytes;
}

serverTest("web_streams compresses what Deno's own Conn sends", gzipServer, async (server) => {
  const conn = await server.connect();
  const bytes = text();
  const written = writeAll(conn, bytes).then(() => conn.closeWrite());
  const compressed = await readAll(conn);
  await written;
  conn.close();
  assertLess(compressed.length, bytes.length / 10);
  assertEquals(sha256(gunzipSync(compressed)), sha256(bytes));
});

serverTest("web_streams has a client of its own", gzipServer, async ({ loop, listener }) => {
  const server = { host: "127.0.0.1", port: listener.port };
  const bytes = text();
  const inputs = [new Blob([bytes]).stream(), new Blob([]).stream()];
  const outputs = await Promise.all(inputs.map((input) => compressRemotely(loop, server, input)));
  assertEquals(outputs.map((output) => sha256(gunzipSync(output))), [
    sha256(bytes),
    sha256(new Uint8Array(0)),
  ]);
});

serverTest("web_streams goes on when a client fails", gzipServer, async ({ loop, listener }) => {
  const server = { host: "127.0.0.1", port: listener.port };
  const failing = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(pattern(100_000)),
    pull: () => Promise.reject(new RangeError("out of tape")),
  });
  await assertRejects(() => compressRemotely(loop, server, failing));
  const output = await compressRemotely(loop, server, new Blob([pattern(10)]).stream());
  assertEquals(new Uint8Array(gunzipSync(output)), pattern(10));
});
