// The echo server that comes with µSockets, line by line, with a client that reads slowly.
// deno-lint-ignore-file camelcase -- the header's names
import { assert, assertEquals, assertLess } from "@std/assert";
import { denoConn } from "@usockets/usockets";
import {
  us_create_loop,
  us_create_socket_context,
  us_listen_socket_close,
  type us_listen_socket_t,
  us_loop_free,
  type us_loop_t,
  us_socket_close,
  us_socket_context_connect,
  us_socket_context_listen,
  us_socket_context_on_close,
  us_socket_context_on_data,
  us_socket_context_on_end,
  us_socket_context_on_open,
  us_socket_context_on_timeout,
  us_socket_context_on_writable,
  us_socket_ext,
  us_socket_local_port,
  us_socket_shutdown,
  type us_socket_t,
  us_socket_timeout,
  us_socket_write,
} from "@usockets/usockets/libusockets";
import { pattern, sha256 } from "../support/streams.ts";
import { onEach, type World } from "./world.ts";

/** Our socket extension. */
interface echo_socket {
  backpressure: Uint8Array;
  length: number;
}

/** Everything of the program's `main()` but running the loop. */
function echo_server(w: World, loop: us_loop_t): us_listen_socket_t {
  const SSL = w.ssl;

  function on_echo_socket_writable(s: us_socket_t) {
    const es = us_socket_ext<echo_socket>(SSL, s);
    // Continue writing out our backpressure
    const written = us_socket_write(SSL, s, es.backpressure, es.length, 0);
    es.backpressure = es.backpressure.subarray(written);
    es.length -= written;
    if (es.length > 0) short_writes++;
    // Client is not boring
    us_socket_timeout(SSL, s, 30);
    return s;
  }

  function on_echo_socket_close(s: us_socket_t, _code: number, _reason: unknown) {
    const es = us_socket_ext<echo_socket>(SSL, s);
    assertEquals(es.length, 0);
    us_listen_socket_close(SSL, listen_socket!); // this one serves only once
    return s;
  }

  function on_echo_socket_end(s: us_socket_t) {
    us_socket_shutdown(SSL, s);
    return us_socket_close(SSL, s, 0, null);
  }

  function on_echo_socket_data(s: us_socket_t, data: Uint8Array, length: number) {
    const es = us_socket_ext<echo_socket>(SSL, s);
    // Send it back or buffer it up
    const written = es.length > 0 ? 0 : us_socket_write(SSL, s, data, length, 0);
    if (written !== length) {
      short_writes++;
      const new_length = es.length + length - written;
      if (new_length > es.backpressure.length) {
        const new_buffer = new Uint8Array(2 * new_length);
        new_buffer.set(es.backpressure.subarray(0, es.length));
        es.backpressure = new_buffer;
      }
      es.backpressure.set(data.subarray(written), es.length);
      es.length = new_length;
    }
    us_socket_timeout(SSL, s, 30);
    return s;
  }

  function on_echo_socket_open(
    s: us_socket_t,
    is_client: number,
    _ip: Uint8Array,
    ip_length: number,
  ) {
    assertEquals([is_client, ip_length], [0, 4]);
    // Start a timeout to close the socket if boring
    us_socket_timeout(SSL, s, 30);
    return s;
  }

  function on_echo_socket_timeout(s: us_socket_t) {
    return us_socket_close(SSL, s, 0, null);
  }

  const echo_context = us_create_socket_context(SSL, loop, 0, w.serverOptions);
  assert(echo_context !== null, "Could not load SSL cert/key");

  us_socket_context_on_open(SSL, echo_context, on_echo_socket_open);
  us_socket_context_on_data(SSL, echo_context, on_echo_socket_data);
  us_socket_context_on_writable(SSL, echo_context, on_echo_socket_writable);
  us_socket_context_on_close(SSL, echo_context, on_echo_socket_close);
  us_socket_context_on_timeout(SSL, echo_context, on_echo_socket_timeout);
  us_socket_context_on_end(SSL, echo_context, on_echo_socket_end);

  const sizeof_echo_socket = (): echo_socket => ({ backpressure: new Uint8Array(0), length: 0 });
  const listen_socket = us_socket_context_listen(
    SSL,
    echo_context,
    "127.0.0.1",
    0,
    0,
    sizeof_echo_socket,
  );
  assert(listen_socket !== null, "Failed to listen!");
  return listen_socket;
}

let short_writes = 0;

onEach("the echo server of µSockets loses nothing to a slow reader", async (w) => {
  const SSL = w.ssl;
  const { backend } = w.transport;
  const on_wakeup = () => {}, on_pre = () => {}, on_post = () => {};
  const loop = us_create_loop(backend === denoConn ? null : backend, on_wakeup, on_pre, on_post, 0);
  short_writes = 0;
  const listen_socket = echo_server(w, loop);

  const sent = pattern(16 << 20);
  let rest = sent, pauses = 0, received = 0;
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  const pump = (s: us_socket_t) => {
    rest = rest.subarray(us_socket_write(SSL, s, rest, rest.length, 0));
    return s;
  };
  const client_context = us_create_socket_context(SSL, loop, 0, w.clientOptions)!;
  us_socket_context_on_open(SSL, client_context, (s) => {
    s.pause(); // until all is sent
    return pump(s);
  });
  us_socket_context_on_writable(SSL, client_context, (s) => {
    pump(s);
    if (rest.length === 0) s.resume();
    return s;
  });
  us_socket_context_on_data(SSL, client_context, (s, data, length) => {
    chunks.push(data.slice());
    received += length;
    if (++pauses % 4 === 0) {
      s.pause();
      setImmediate(s);
    }
    if (received === sent.length) us_socket_shutdown(SSL, s);
    return s;
  });
  const setImmediate = (s: us_socket_t) =>
    loop.createTimer().set((timer) => {
      timer.close();
      s.resume();
    }, 1);
  const port = us_socket_local_port(SSL, listen_socket);
  us_socket_context_connect(SSL, client_context, "127.0.0.1", port, 0, 0);

  await w.run(loop);
  us_loop_free(loop);
  assertEquals(sha256(new Uint8Array(await new Blob(chunks).arrayBuffer())), sha256(sent));
  assertLess(0, short_writes);
}, { ports: true });
