/** The receiving side of a Conn. */
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";
import { CloseCode } from "@usockets/usockets";
import { ENDING, PAUSED } from "../../src/socket_state.ts";
import { HIGH_WATER_BYTES } from "../../src/streams/receiver.ts";
import {
  collect,
  connTest,
  dial,
  encode,
  outcome,
  readText,
  socketClosed,
  turn,
} from "../support/conns.ts";
import { concat, pattern, sha256 } from "../support/streams.ts";

const RECV_BUFFER_BYTES = 524_288;

connTest("read() gives concurrent reads the bytes in their order", async ({ client, server }) => {
  const reads = [readText(server, 3), readText(server, 2), readText(server, 5)];
  await client.write(encode("abcdefghij"));
  assertEquals(await Promise.all(reads), ["abc", "de", "fghij"]);
});

connTest("read() takes what one event brought in as many pieces as it likes", async (t) => {
  await t.client.write(encode("abcde"));
  await t.client.closeWrite();
  const pieces = [];
  for (let text = await readText(t.server, 2); text !== null; text = await readText(t.server, 2)) {
    pieces.push(text);
  }
  assertEquals(pieces, ["ab", "cd", "e"]);
});

connTest("read() gives null at the end, again and again", async ({ client, server }) => {
  const pending = [readText(server), readText(server)];
  await client.closeWrite();
  assertEquals(await Promise.all(pending), [null, null]);
  assertEquals([await readText(server), await readText(server)], [null, null]);
});

connTest("read() into no bytes gives 0, whatever the state", async ({ client, server }) => {
  const none = new Uint8Array(0);
  assertEquals(await server.read(none), 0);
  await client.closeWrite();
  assertEquals(await readText(server), null);
  assertEquals(await server.read(none), 0);
  server.close();
  assertEquals(await server.read(none), 0);
});

connTest("read() passes over a buffer that was transferred meanwhile", async (t) => {
  const gone = new Uint8Array(4);
  const first = t.server.read(gone), second = readText(t.server);
  structuredClone(gone, { transfer: [gone.buffer] });
  await t.client.write(encode("abcd"));
  assertEquals([await first, await second], [0, "abcd"]);
});

connTest("read() takes turns with readable", async ({ client, server }) => {
  const reader = server.readable.getReader();
  await client.write(encode("one"));
  assertEquals((await reader.read()).value, encode("one"));
  const second = readText(server);
  await client.write(encode("two"));
  assertEquals(await second, "two");
  await client.write(encode("three"));
  assertEquals((await reader.read()).value, encode("three"));
});

connTest("what nobody reads is bounded, and slows the peer down", async (t) => {
  const bytes = pattern(16 << 20);
  const before = t.loop.stats().bytesIn;
  const written = t.client.write(bytes).then(() => t.client.closeWrite());
  let isWritten = false;
  written.then(() => isWritten = true);
  while ((t.server.socket.flags & PAUSED) === 0) await turn();
  assertLess(t.loop.stats().bytesIn - before, HIGH_WATER_BYTES + RECV_BUFFER_BYTES + 1);
  assert(!isWritten, "16 MiB fitted into the buffers of an idle reader");
  assertEquals(sha256(await collect(t.server.readable)), sha256(bytes));
  await written;
});

connTest("readable that was read once is bounded as well", async (t) => {
  const written = t.client.write(pattern(16 << 20));
  const reader = t.server.readable.getReader();
  let received = (await reader.read()).value!.length;
  while ((t.server.socket.flags & PAUSED) === 0) await turn();
  for (; received < 16 << 20;) received += (await reader.read()).value!.length;
  await written;
});

connTest("a reader that keeps pace never pauses the socket", async ({ client, server }) => {
  let pauses = 0;
  const { socket } = server;
  const pause = socket.pause.bind(socket);
  socket.pause = () => (pauses++, pause());
  const reader = server.readable.getReader();
  const chunk = pattern(60_000);
  for (let i = 0; i < 20; i++) {
    await client.write(chunk);
    for (let left = chunk.length; left > 0;) left -= (await reader.read()).value!.length;
  }
  assertEquals(pauses, 0);
});

connTest("readable fills the buffers that its readers bring", async ({ client, server }) => {
  const reader = server.readable.getReader({ mode: "byob" });
  const early = reader.read(new Uint8Array(4), { min: 4 }); // waits for all of its bytes
  await client.write(encode("ab"));
  await client.write(encode("cdefghi"));
  assertEquals((await early).value, encode("abcd"));
  assertEquals((await reader.read(new Uint8Array(3), { min: 3 })).value, encode("efg"));
  await client.closeWrite();
  assertEquals((await reader.read(new Uint8Array(9), { min: 9 })).value, encode("hi"));
  const { done, value } = await reader.read(new Uint8Array(9));
  assertEquals([done, value!.byteLength], [true, 0]);
});

connTest("readable serves many reads at once", async ({ client, server }) => {
  const reader = server.readable.getReader({ mode: "byob" });
  const reads = [2, 3, 4].map((size) => reader.read(new Uint8Array(size), { min: size }));
  await client.write(encode("aabbbcccc"));
  const texts = (await Promise.all(reads)).map(({ value }) => new TextDecoder().decode(value));
  assertEquals(texts, ["aa", "bbb", "cccc"]);
});

connTest("readable that ends within an element tells its reader alone", async (t) => {
  const { client, server } = t;
  const reader = server.readable.getReader({ mode: "byob" });
  const read = reader.read(new Uint16Array(4), { min: 4 });
  await client.write(encode("abc"));
  await client.closeWrite();
  assertEquals(await outcome(read), "TypeError");
  await server.write(encode("still writing"));
  assertEquals(await readText(client), "still writing");
});

connTest("readable keeps the bytes that came behind releaseLock()", async ({ client, server }) => {
  const { readable } = server;
  const first = readable.getReader();
  const read = outcome(first.read());
  await turn(); // the stream has asked for bytes by now
  first.releaseLock();
  assertEquals(await read, "TypeError");
  await client.write(encode("kept"));
  while (client.socket.context.loop.stats().bytesIn < 4) await turn();
  const broken = new Deno.errors.ConnectionReset("broken");
  server.socket.terminate(CloseCode.Reset, broken); // they are in the stream already
  const second = readable.getReader();
  assertEquals((await second.read()).value, encode("kept"));
  assertEquals(await second.read().catch((error) => error), broken);
});

connTest("readable ends at once for who asks for it behind the end", async ({ client, server }) => {
  await client.closeWrite();
  assertEquals(await readText(server), null);
  const reader = server.readable.getReader();
  await reader.closed;
  assertEquals((await reader.read()).done, true);
});

connTest("readable ends without being read, and writable goes on", async ({ client, server }) => {
  const reader = server.readable.getReader();
  await client.closeWrite();
  await reader.closed;
  const writer = server.writable.getWriter();
  await writer.write(encode("goes on"));
  await writer.close();
  assertEquals(await collect(client.readable), encode("goes on"));
  await socketClosed(server.socket);
});

connTest("readable can be split by tee()", async ({ client, server }) => {
  const bytes = pattern(300_000);
  const both = server.readable.tee().map(collect);
  await client.write(bytes);
  await client.closeWrite();
  for (const copy of await Promise.all(both)) assertEquals(sha256(copy), sha256(bytes));
});

connTest("cancel() drops what comes, and writing goes on", async ({ client, server }) => {
  const pending = readText(server);
  await server.readable.cancel("enough");
  assertEquals([await pending, await readText(server)], [null, null]);
  // Far more than the buffers hold: it is taken, and the peer is not held up.
  await client.write(pattern(16 << 20));
  await server.write(encode("goes on"));
  assertEquals(await readText(client), "goes on");
});

connTest("cancel() takes what was held back off the peer's hands", async (t) => {
  const written = t.client.write(pattern(16 << 20));
  while ((t.server.socket.flags & PAUSED) === 0) await turn();
  await t.server.readable.cancel();
  assertEquals(await written, 16 << 20);
  assertEquals(await readText(t.server), null);
});

connTest(
  "cancel() and closeWrite(), in any order, wait for the peer no longer than end()",
  async (t) => {
    await t.server.readable.cancel();
    await t.server.closeWrite();
    assertEquals(t.server.socket.flags & ENDING, ENDING);
    assertEquals(await readText(t.client), null);
    await t.client.closeWrite();
    const { client, server } = await dial(t);
    await server.closeWrite();
    assertEquals(server.socket.flags & ENDING, 0);
    await server.readable.cancel();
    assertEquals(server.socket.flags & ENDING, ENDING);
    await client.closeWrite();
    await socketClosed(server.socket);
    await socketClosed(t.server.socket);
  },
);

connTest("received bytes are the reader's own", async ({ client, server }) => {
  const reader = server.readable.getReader();
  const chunks: Uint8Array[] = [];
  for (const text of ["one", "two", "three"]) {
    const read = reader.read();
    await client.write(encode(text));
    chunks.push((await read).value!);
  }
  assertEquals(concat(chunks), encode("onetwothree"));
  assertGreater(chunks.length, 2);
});
