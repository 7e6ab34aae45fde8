/** The sending side of a Conn. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import {
  collect,
  connTest,
  encode,
  outcome,
  readText,
  socketClosed,
  turn,
} from "../support/conns.ts";
import { concat, pattern, sha256 } from "../support/streams.ts";

connTest("write() resolves when all is accepted, in the order of the calls", async (t) => {
  const { client, server } = t;
  const parts = [pattern(6 << 20, 1), encode("x"), new Uint8Array(0), pattern(6 << 20, 2)];
  const order: number[] = [];
  const writes = parts.map(async (part, index) => {
    assertEquals(await client.write(part), part.length);
    order.push(index);
  });
  const ended = client.closeWrite();
  await turn();
  assertEquals(order, [], "12 MiB fitted into the buffers of an idle reader");
  const received = await collect(server.readable);
  await Promise.all(writes);
  await ended;
  assertEquals(order, [0, 1, 2, 3]);
  assertEquals(sha256(received), sha256(concat(parts)));
});

connTest("write() of no bytes gives 0", async ({ client }) => {
  assertEquals(await client.write(new Uint8Array(0)), 0);
});

connTest("write() takes nothing but a Uint8Array", async ({ client, server }) => {
  // deno-lint-ignore no-explicit-any -- what a compiler refuses
  for (const wrong of ["text", [1], new ArrayBuffer(1), undefined] as any[]) {
    assertEquals(await outcome(client.write(wrong)), "TypeError");
  }
  await client.write(encode("unharmed"));
  assertEquals(await readText(server), "unharmed");
});

connTest("write() rejects when its buffer is transferred before it is sent", async (t) => {
  const { client, server } = t;
  const bytes = pattern(16 << 20);
  const written = outcome(client.write(bytes));
  const next = client.write(encode("next"));
  structuredClone(bytes, { transfer: [bytes.buffer] });
  const read = server.readable.pipeTo(new WritableStream());
  assertEquals(await written, "TypeError");
  assertEquals(await next, 4);
  await client.closeWrite();
  await read;
});

connTest("closeWrite() ends one direction only", async ({ client, server }) => {
  await client.write(encode("last"));
  await client.closeWrite();
  await client.closeWrite(); // as with Deno's own
  assertEquals([await readText(server), await readText(server)], ["last", null]);
  assertEquals(await outcome(client.write(encode("late"))), "BrokenPipe");
  await server.write(encode("goes on"));
  assertEquals(await readText(client), "goes on");
  await server.closeWrite();
  assertEquals(await readText(client), null);
  await socketClosed(client.socket);
  await socketClosed(server.socket);
});

connTest("closeWrite() twice behind waiting writes resolves when it is done", async (t) => {
  const writing = t.client.write(pattern(8 << 20));
  const ends = [t.client.closeWrite(), t.client.closeWrite()];
  let resolved = 0;
  for (const end of ends) end.then(() => resolved++);
  assertEquals(await outcome(t.client.write(encode("late"))), "BrokenPipe");
  await turn();
  assertEquals(resolved, 0);
  await collect(t.server.readable);
  await Promise.all([writing, ...ends]);
});

connTest("writable.close() sends the end, and readable goes on", async ({ client, server }) => {
  const writer = client.writable.getWriter();
  writer.write(encode("last"));
  await writer.close();
  assertEquals(await collect(server.readable), encode("last"));
  await server.write(encode("goes on"));
  await server.closeWrite();
  assertEquals(await collect(client.readable), encode("goes on"));
  await socketClosed(client.socket);
});

connTest("writable waits for a reader that is slow", async ({ client, server }) => {
  const bytes = pattern(1 << 20);
  const writer = client.writable.getWriter();
  let written = 0;
  const writing = (async () => {
    for (let i = 0; i < 16; i++) {
      await writer.ready;
      writer.write(bytes).then(() => written++);
    }
    await writer.close();
  })();
  // It comes to a stand: the stream has no room while the write under way waits.
  while (writer.desiredSize !== 0) await turn();
  assert(written < 16, "16 MiB fitted into the buffers of an idle reader");
  const received = await collect(server.readable);
  await writing;
  assertEquals(received.length, 16 << 20);
  assertEquals(sha256(received.subarray(15 << 20)), sha256(bytes));
});

connTest("pipeTo() from readable to writable echoes every byte", async ({ client, server }) => {
  const bytes = pattern(12 << 20);
  const echoed = server.readable.pipeTo(server.writable);
  const answer = collect(client.readable);
  await new Blob([bytes]).stream().pipeTo(client.writable);
  assertEquals(sha256(await answer), sha256(bytes));
  await echoed;
  await socketClosed(server.socket);
  await socketClosed(client.socket);
});

connTest("writable.abort() ends what waits, and closes the socket", async ({ client, server }) => {
  const writer = client.writable.getWriter();
  const writes = [pattern(16 << 20), encode("next")].map((bytes) => writer.write(bytes));
  const outcomes = Promise.all(writes.map(outcome));
  const read = outcome(client.read(new Uint8Array(1)));
  await turn(); // the stream begins to write in a turn of its own
  const direct = outcome(client.write(encode("direct")));
  await turn();
  class Enough extends Error {}
  await outcome(writer.abort(new Enough()));
  assert(client.socket.isClosed);
  assertEquals(await outcomes, ["Interrupted", "Enough"]);
  assertEquals([await read, await direct], ["Interrupted", "Interrupted"]);
  assertEquals(await outcome(writer.closed), "Enough");
  const error = await assertRejects(() => client.read(new Uint8Array(1)), Deno.errors.Interrupted);
  assert(error.cause instanceof Enough);
  await outcome(server.readable.pipeTo(new WritableStream()));
});

connTest("writable.abort() is no clean end to the peer", async ({ client, server }) => {
  await client.write(encode("half a mess"));
  assertEquals(await readText(server), "half a mess");
  const failing = new ReadableStream({ pull: () => Promise.reject(new Error("out of ink")) });
  await assertRejects(() => failing.pipeTo(client.writable), Error, "out of ink");
  assertEquals(await outcome(server.read(new Uint8Array(1))), "ConnectionReset");
}, ({ name }) => name === "epoll tcp" || name === "epoll tls");

connTest("writable that got a wrong chunk closes the socket", async ({ client }) => {
  const writer = client.writable.getWriter();
  // deno-lint-ignore no-explicit-any -- what a compiler refuses
  assertEquals(await outcome(writer.write("text" as any)), "TypeError");
  assertEquals(await outcome(writer.closed), "TypeError");
  assert(client.socket.isClosed);
  assertEquals(await outcome(client.read(new Uint8Array(1))), "Interrupted");
});

connTest("writable behind closeWrite() rejects, and reading goes on", async (t) => {
  await t.client.closeWrite();
  const writer = t.client.writable.getWriter();
  writer.closed.catch(() => {});
  assertEquals(await outcome(writer.write(encode("late"))), "BrokenPipe");
  await t.server.write(encode("goes on"));
  assertEquals(await readText(t.client), "goes on");
});
