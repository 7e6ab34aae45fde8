// The C header: the names of its first generation, and the steps of its manual.
// deno-lint-ignore-file camelcase -- the header's names
import { assertEquals, assertInstanceOf, assertStrictEquals, assertThrows } from "@std/assert";
import { CloseCode, denoConn } from "@usockets/usockets";
import {
  us_context_connect,
  us_create_loop,
  us_create_socket_context,
  us_create_ssl_socket_context,
  us_get_socket_context,
  us_last_error,
  us_listen_socket_close,
  us_loop_ext,
  us_loop_free,
  type us_loop_t,
  us_socket_close,
  us_socket_context_ext,
  us_socket_context_link,
  us_socket_context_listen,
  us_socket_context_on_close,
  us_socket_context_on_data,
  us_socket_context_on_open,
  us_socket_ext,
  us_socket_get_context,
  us_socket_is_closed,
  us_socket_local_port,
  us_socket_shutdown,
  type us_socket_t,
  us_socket_write,
  us_ssl_socket_context_listen,
  us_ssl_socket_context_on_close,
  us_ssl_socket_context_on_data,
  us_ssl_socket_context_on_open,
  us_ssl_socket_context_on_timeout,
  us_ssl_socket_context_on_writable,
  us_ssl_socket_timeout,
  us_ssl_socket_write,
} from "@usockets/usockets/libusockets";
import { onEach, type World } from "./world.ts";

/** A loop that is the thread's last. */
function create_loop(w: World, ext_size = 0): us_loop_t {
  const { backend } = w.transport;
  return us_create_loop(backend === denoConn ? null : backend, null, null, null, ext_size);
}

onEach("the manual's steps: user data, a context, callbacks, sending", async (w) => {
  const loop = create_loop(w, 4);
  us_loop_ext(loop)[0] = 1;
  const context = us_create_socket_context(0, loop, 2, {})!;
  us_socket_context_ext(0, context)[1] = 2;
  const read: string[] = [];
  us_socket_context_on_open(0, context, (s) => {
    us_socket_ext(0, s)[2] = 3;
    assertStrictEquals(us_get_socket_context(s), context);
    assertStrictEquals(us_socket_get_context(s), context);
  });
  us_socket_context_on_data(0, context, (s, data, length) => {
    read.push(new TextDecoder().decode(data));
    assertEquals(us_socket_write(0, s, data, length, 0), length);
    assertEquals(us_socket_ext(0, s), Uint8Array.of(0, 0, 3));
  });
  us_socket_context_on_close(0, context, () => us_listen_socket_close(0, listen_socket));
  const listen_socket = us_socket_context_listen(0, context, "127.0.0.1", 0, 0, 3)!;
  const client = us_create_socket_context(0, loop, 0, {})!;
  us_socket_context_on_data(0, client, (s, data) => {
    read.push(`echo of ${new TextDecoder().decode(data)}`);
    us_socket_close(0, s);
  });
  us_context_connect("127.0.0.1", us_socket_local_port(0, listen_socket), 0, 0, (s) => {
    us_socket_context_link(client, s!);
    us_socket_write(0, s!, "Hello", 5, 0);
  }, null);
  await w.run(loop);
  assertEquals(read, ["Hello", "echo of Hello"]);
  assertEquals([us_loop_ext(loop)[0], us_socket_context_ext(0, context)[1]], [1, 2]);
  us_loop_free(loop);
}, { plainTcp: true });

onEach("us_ssl_socket_write() and us_ssl_socket_context_on_*() are those of TLS", async (w) => {
  const notes: string[] = [];
  const context = us_create_ssl_socket_context(w.loop, 3, w.serverOptions)!;
  assertEquals(us_socket_context_ext(1, context), new Uint8Array(3));
  const big = new Uint8Array(8 << 20);
  let rest = big;
  const pump = (s: us_socket_t) => {
    rest = rest.subarray(us_ssl_socket_write(s, rest, rest.length));
  };
  us_ssl_socket_context_on_open(context, (s) => {
    notes.push("open");
    us_socket_ext(1, s)[0] = 1;
  });
  us_ssl_socket_context_on_data(context, (s, data, length) => {
    notes.push(`data ${new TextDecoder().decode(data)} ${length}`);
    us_ssl_socket_timeout(s, 3600);
    pump(s);
    assertEquals(rest.length > 0, true);
  });
  us_ssl_socket_context_on_writable(context, (s) => {
    pump(s);
    if (rest.length > 0) return;
    notes.push("all is written");
    us_ssl_socket_timeout(s, 0.01);
  });
  us_ssl_socket_context_on_timeout(context, (s) => {
    notes.push("timeout");
    us_socket_shutdown(1, s);
  });
  us_ssl_socket_context_on_close(context, (s) => {
    notes.push(`close ${us_socket_ext(1, s)[0]}`);
    us_listen_socket_close(1, ls);
  });
  const ls = us_ssl_socket_context_listen(context, "127.0.0.1", 0, 0, 1)!;
  const client = us_create_ssl_socket_context(w.loop, 0, w.clientOptions)!;
  let received = 0;
  us_ssl_socket_context_on_open(client, (s) => us_ssl_socket_write(s, "Hello, world", 5));
  us_ssl_socket_context_on_data(client, (_s, _data, length) => void (received += length));
  w.connect(client, ls);
  await w.run();
  assertEquals(received, big.length);
  const all = notes.filter((note, i) => note !== notes[i - 1]);
  assertEquals(all, ["open", "data Hello 5", "all is written", "timeout", "close 1"]);
}, { tls: true });

onEach("us_create_ssl_socket_context() is null for a missing certificate", (w) => {
  const options = { cert_file_name: w.file("missing"), key_file_name: w.file("server.key") };
  assertEquals(us_create_ssl_socket_context(w.loop, 0, options), null);
  assertInstanceOf(us_last_error(w.loop), Deno.errors.NotFound);
}, { tls: true, blocking: false });

onEach("us_ssl_socket_context_listen() refuses contexts without TLS", (w) => {
  const context = w.server();
  const calls = [
    () => us_ssl_socket_context_listen(context, "127.0.0.1", 0, 0, 0),
    () => us_ssl_socket_context_on_open(context, () => {}),
    () => us_ssl_socket_context_on_close(context, () => {}),
    () => us_ssl_socket_context_on_data(context, () => {}),
    () => us_ssl_socket_context_on_writable(context, () => {}),
    () => us_ssl_socket_context_on_timeout(context, () => {}),
  ];
  for (const call of calls) assertThrows(call, TypeError, `"ssl" is 1`);
}, { plainTcp: true, blocking: false });

onEach("us_context_connect() gives the socket to cb, with its user data", async (w) => {
  const loop = create_loop(w);
  const server = us_create_socket_context(0, loop, 0, {})!;
  const client = us_create_socket_context(0, loop, 0, {})!;
  const notes: unknown[] = [];
  const ls = us_socket_context_listen(0, server, "127.0.0.1", 0, 0, 0)!;
  const user_data = { of: "mine" };
  us_context_connect(
    "127.0.0.1",
    us_socket_local_port(0, ls),
    0,
    3,
    (s, data) => {
      notes.push(data === user_data, [...us_socket_ext(0, s!)]);
      us_socket_ext(0, s!)[0] = 1;
      us_socket_context_link(client, s!);
      notes.push(us_socket_get_context(s!) === client, [...us_socket_ext(0, s!)]);
      us_socket_write(0, s!, "x", 1, 0);
    },
    user_data,
  );
  us_socket_context_on_data(0, server, (s) => us_socket_close(0, s));
  us_socket_context_on_close(0, client, (_s, code) => {
    notes.push(`closed ${code}`);
    us_listen_socket_close(0, ls);
  });
  await w.run(loop);
  assertEquals(notes, [true, [0, 0, 0], true, [1, 0, 0], "closed 0"]);
  assertEquals(loop.contexts.size, 2); // its own is gone
  us_loop_free(loop);
}, { plainTcp: true });

onEach("us_context_connect() closes with the peer where cb links to nothing", async (w) => {
  const loop = create_loop(w);
  const server = us_create_socket_context(0, loop, 0, {})!;
  const ls = us_socket_context_listen(0, server, "127.0.0.1", 0, 0, 0)!;
  us_socket_context_on_open(0, server, (s) => {
    us_listen_socket_close(0, ls);
    us_socket_shutdown(0, s);
  });
  const port = us_socket_local_port(0, ls);
  let socket: us_socket_t | null = null;
  us_context_connect(null, port, 0, 0, (s) => void (socket = s), null);
  await w.run(loop);
  assertEquals(us_socket_is_closed(0, socket!), 1);
  assertEquals(loop.contexts.size, 1);
  us_loop_free(loop);
}, { plainTcp: true });

onEach("us_context_connect() gives cb null where nobody listens", async (w) => {
  const loop = create_loop(w);
  const server = us_create_socket_context(0, loop, 0, {})!;
  const ls = us_socket_context_listen(0, server, "127.0.0.1", 0, 0, 0)!;
  us_listen_socket_close(0, ls);
  const calls: unknown[] = [];
  const port = us_socket_local_port(0, ls);
  us_context_connect("127.0.0.1", port, 0, 0, (...call) => calls.push(call), "user data");
  await w.run(loop);
  assertEquals(calls, [[null, "user data"]]);
  assertEquals(loop.contexts.size, 1);
  us_loop_free(loop);
}, { plainTcp: true });

onEach("us_context_connect() throws for mistakes, and leaves nothing behind", (w) => {
  const loop = create_loop(w);
  const connect = (port: number, options: number, ext_size = 0) => () =>
    us_context_connect("127.0.0.1", port, options, ext_size, () => {}, null);
  assertThrows(connect(1, 1), RangeError, `"options" must be 0`);
  assertThrows(connect(1, 0, -1), RangeError, "ext_size");
  assertThrows(connect(0, 0), RangeError, "port");
  assertEquals(loop.contexts.size, 0);
  us_loop_free(loop);
  assertThrows(connect(1, 0), Deno.errors.BadResource, "a loop");
}, { plainTcp: true, blocking: false });

onEach("us_context_connect() whose cb throws closes the socket", async (w) => {
  const context = w.server();
  const codes: number[] = [];
  // The loop of the test has an onError; this function wants the thread's last.
  const loop = create_loop(w);
  const errors: unknown[] = [];
  (loop as { onError: unknown }).onError = (error: unknown) => errors.push(error);
  const server = us_create_socket_context(0, loop, 0, {})!;
  us_socket_context_on_close(0, server, (_s, code) => {
    codes.push(code);
    us_listen_socket_close(0, ls);
  });
  const ls = us_socket_context_listen(0, server, "127.0.0.1", 0, 0, 0)!;
  const thrown = new Error("thrown on purpose");
  let socket: us_socket_t | null = null;
  us_context_connect(
    "127.0.0.1",
    us_socket_local_port(0, ls),
    0,
    0,
    (s) => {
      socket = s;
      throw thrown;
    },
    null,
  );
  await w.run(loop);
  assertEquals(us_socket_is_closed(0, socket!), 1);
  assertEquals(errors, [thrown]);
  assertEquals([codes.length, loop.contexts.size], [1, 1]);
  assertEquals(CloseCode.Handler < 0, true);
  us_loop_free(loop);
  assertEquals(context.isFreed, false);
}, { plainTcp: true });
