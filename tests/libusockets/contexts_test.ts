// The C header: contexts, from us_create_socket_context() to us_socket_context_free().
// deno-lint-ignore-file camelcase -- the header's names
import {
  assert,
  assertEquals,
  assertGreater,
  assertInstanceOf,
  assertNotStrictEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { CloseCode } from "@usockets/usockets";
import {
  LIBUS_LISTEN_DEFAULT,
  us_adopt_accepted_socket,
  us_create_child_socket_context,
  us_create_loop,
  us_create_poll,
  us_create_socket_context,
  us_create_timer,
  us_last_error,
  us_poll_resize,
  us_socket_context_add_server_name,
  us_socket_context_adopt_socket,
  us_socket_context_close,
  us_socket_context_connect,
  us_socket_context_connect_unix,
  us_socket_context_ext,
  us_socket_context_find_server_name_userdata,
  us_socket_context_free,
  us_socket_context_get_native_handle,
  us_socket_context_listen,
  us_socket_context_listen_unix,
  us_socket_context_loop,
  us_socket_context_on_close,
  us_socket_context_on_connect_error,
  us_socket_context_on_data,
  us_socket_context_on_end,
  us_socket_context_on_long_timeout,
  us_socket_context_on_open,
  us_socket_context_on_pre_open,
  us_socket_context_on_server_name,
  us_socket_context_on_timeout,
  us_socket_context_on_writable,
  us_socket_context_remove_server_name,
  us_socket_context_timestamp,
  us_socket_write,
} from "@usockets/usockets/libusockets";
import { onEach } from "./world.ts";

onEach("us_create_socket_context() makes zeroed user data of its own", (w) => {
  const [first, second] = [w.server(8), w.client(8)];
  assertEquals(us_socket_context_ext(w.ssl, first), new Uint8Array(8));
  us_socket_context_ext(w.ssl, first)[7] = 1;
  assertEquals(us_socket_context_ext(w.ssl, second), new Uint8Array(8));
  assertEquals(us_socket_context_ext(w.ssl, first)[7], 1);
  assertEquals(us_socket_context_ext<undefined>(w.ssl, w.server(0)), undefined);
  assertEquals(us_socket_context_ext<string>(w.ssl, w.server(() => "made")), "made");
  assertStrictEquals(us_socket_context_loop(w.ssl, first), w.loop);
}, { blocking: false });

onEach("us_create_socket_context() without TLS has no use for options, as in C", (w) => {
  const options = {
    key_file_name: null,
    cert_file_name: null,
    passphrase: null,
    dh_params_file_name: null,
    ca_file_name: null,
    ssl_ciphers: null,
    ssl_prefer_low_memory_usage: 0,
  };
  for (const more of [{}, { cert_file_name: w.file("missing"), passphrase: "x" }]) {
    const context = us_create_socket_context(0, w.loop, 0, { ...options, ...more })!;
    assertEquals(us_socket_context_get_native_handle(0, context), null);
    us_socket_context_free(0, context); // which throws for one with TLS
  }
}, { plainTcp: true, blocking: false });

onEach("us_create_socket_context() is null for files that cannot be read", (w) => {
  const [key, cert] = [w.file("server.key"), w.file("server.cert")];
  const cases = [
    [{ key_file_name: key, cert_file_name: w.file("missing") }, Deno.errors.NotFound, "missing"],
    [{ key_file_name: w.file("missing"), cert_file_name: cert }, Deno.errors.NotFound, "missing"],
    [{ ca_file_name: w.file("missing") }, Deno.errors.NotFound, "missing"],
    [{ key_file_name: key, cert_file_name: w.file("garbage") }, Deno.errors.InvalidData, "garbage"],
    [{ key_file_name: w.file("other.key"), cert_file_name: cert }, Deno.errors.InvalidData, "key"],
    [
      {
        key_file_name: w.file("encrypted.key"),
        cert_file_name: cert,
        passphrase: "not this one",
      },
      Deno.errors.InvalidData,
      "passphrase",
    ],
  ] as const;
  for (const [options, ErrorClass, words] of cases) {
    assertEquals(us_create_socket_context(1, w.loop, 0, options), null);
    const error = us_last_error(w.loop);
    assertInstanceOf(error, ErrorClass);
    assert(error.message.includes(words), error.message);
  }
  assertEquals(w.loop.contexts.size, 0);
}, { tls: true, blocking: false });

onEach("us_create_socket_context() throws for options that nobody knows", (w) => {
  const options = { cert_file: w.file("server.cert") } as object;
  assertThrows(() => us_create_socket_context(1, w.loop, 0, options), TypeError, "cert_file");
}, { tls: true, blocking: false });

onEach("us_create_socket_context() throws NotSupported for ciphers and the like", (w) => {
  const unsupported = [
    { ssl_ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" },
    { ssl_prefer_low_memory_usage: 1 },
    { dh_params_file_name: w.file("dh") },
    // Of what C implies the backend can do one half; of what is said, none.
    { ca_file_name: w.file("ca"), ssl_ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" },
  ];
  for (const options of unsupported) {
    assertThrows(
      () => us_create_socket_context(1, w.loop, 0, { ...w.serverOptions, ...options }),
      Deno.errors.NotSupported,
    );
  }
}, { tls: true, backend: "deno" });

onEach("us_create_socket_context() takes every option of C", async (w) => {
  const options = {
    key_file_name: w.file("encrypted.key"),
    cert_file_name: w.file("server.cert"),
    passphrase: "the test passphrase",
    dh_params_file_name: null,
    ca_file_name: null,
    ...(w.isEpoll
      ? { ssl_ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256", ssl_prefer_low_memory_usage: 1 }
      : {}),
  };
  const server = us_create_socket_context(1, w.loop, 0, options)!;
  const client = w.client();
  let received = "";
  us_socket_context_on_data(1, client, (s, data) => {
    received += new TextDecoder().decode(data);
    w.close(s);
  });
  us_socket_context_on_open(1, server, (s) => us_socket_write(1, s, "hello", 5, 0));
  const ls = w.listen(server);
  us_socket_context_on_close(1, server, () => ls.close());
  w.connect(client, ls);
  await w.run();
  assertEquals(received, "hello");
}, { tls: true });

onEach("us_socket_context_free() closes what is open, and serves no more", async (w) => {
  const closed: unknown[] = [];
  const { client, server } = w.pair(() => {
    const ls = w.listen(server);
    us_socket_context_free(w.ssl, server);
    assertEquals(server.listeners.size, 0);
    assertEquals(closed, [["server", CloseCode.Freed]]);
    assertThrows(() => w.listen(server), Deno.errors.BadResource);
    assertThrows(() => w.connect(server, ls), Deno.errors.BadResource);
    us_socket_context_free(w.ssl, server); // twice does nothing
  });
  us_socket_context_on_close(w.ssl, server, (_s, code) => closed.push(["server", code]));
  us_socket_context_on_close(w.ssl, client, () => closed.push("client"));
  await w.run();
  assertEquals(closed, [["server", CloseCode.Freed], "client"]);
});

onEach(
  "us_socket_context_close() closes listeners and sockets, and the context lives",
  async (w) => {
    const closed: unknown[] = [];
    const { server } = w.pair(() => {
      w.listen(server);
      us_socket_context_close(w.ssl, server);
      assertEquals(closed, [[0, undefined]]);
      assertEquals(server.listeners.size, 0);
      w.listen(server).close();
    });
    us_socket_context_on_close(w.ssl, server, (_s, code, reason) => closed.push([code, reason]));
    await w.run();
  },
);

onEach("us_create_child_socket_context() has user data and callbacks of its own", async (w) => {
  const notes: string[] = [];
  const parent = w.server(4);
  const child = us_create_child_socket_context(w.ssl, parent, 9);
  assertNotStrictEquals(child, parent);
  assertStrictEquals(us_socket_context_loop(w.ssl, child), w.loop);
  assertEquals(us_socket_context_ext(w.ssl, child), new Uint8Array(9));
  assertEquals(us_socket_context_ext(w.ssl, parent), new Uint8Array(4));
  us_socket_context_on_data(w.ssl, parent, (s, _data, length) => {
    notes.push(`parent ${length}`);
    us_socket_write(w.ssl, us_socket_context_adopt_socket(w.ssl, child, s, -1), "upgraded", 8, 0);
  });
  us_socket_context_on_data(w.ssl, child, (s, _data, length) => {
    notes.push(`child ${length}`);
    w.close(s);
  });
  us_socket_context_on_close(w.ssl, parent, () => notes.push("parent closed"));
  us_socket_context_on_close(w.ssl, child, () => notes.push("child closed"));
  const ls = w.listen(parent);
  const client = w.client();
  us_socket_context_on_open(w.ssl, client, (s) => {
    ls.close();
    return us_socket_write(w.ssl, s, "one", 3, 0);
  });
  us_socket_context_on_data(w.ssl, client, (s) => us_socket_write(w.ssl, s, "four", 4, 0));
  w.connect(client, ls);
  await w.run();
  assertEquals(notes, ["parent 3", "child 4", "child closed"]);
});

onEach("us_socket_context_timestamp() is a number of 15 bits that goes up", (w) => {
  const context = w.server();
  const timestamp = us_socket_context_timestamp(w.ssl, context);
  assert(Number.isInteger(timestamp) && timestamp >= 0 && timestamp <= 0x7fff, `${timestamp}`);
  const { now } = performance;
  try {
    const at = (ms: number) => {
      performance.now = () => ms;
      return us_socket_context_timestamp(w.ssl, context);
    };
    assertEquals([0, 3999, 4000, 8001].map(at), [0, 0, 1, 2]);
    assertEquals([4000 * 0x7fff, 4000 * 0x8000].map(at), [0x7fff, 0]);
  } finally {
    performance.now = now;
  }
}, { blocking: false });

onEach("us_socket_context_get_native_handle() is a pointer with TLS on epoll, else null", (w) => {
  const context = w.server();
  const child = us_create_child_socket_context(w.ssl, context, 0);
  const handle = us_socket_context_get_native_handle(w.ssl, context);
  if (w.isEpoll && w.ssl !== 0) {
    assertGreater(Deno.UnsafePointer.value(handle as Deno.PointerValue), 0n);
  } else {
    assertEquals(handle, null);
  }
  assertEquals(us_socket_context_get_native_handle(w.ssl, child), handle);
}, { blocking: false });

onEach("a wrong ssl throws, and changes nothing", async (w) => {
  const wrong = 1 - w.ssl;
  const nothing = () => {};
  const { server } = w.pair((client, socket) => {
    const calls: (() => unknown)[] = [
      () => us_socket_context_on_pre_open(wrong, server, (_context, fd) => fd),
      () => us_socket_context_on_open(wrong, server, nothing),
      () => us_socket_context_on_data(wrong, server, nothing),
      () => us_socket_context_on_writable(wrong, server, nothing),
      () => us_socket_context_on_end(wrong, server, nothing),
      () => us_socket_context_on_close(wrong, server, nothing),
      () => us_socket_context_on_timeout(wrong, server, nothing),
      () => us_socket_context_on_long_timeout(wrong, server, nothing),
      () => us_socket_context_on_connect_error(wrong, server, nothing),
      () => us_socket_context_on_server_name(wrong, server, nothing),
      () => us_socket_context_add_server_name(wrong, server, "a.test", {}, null),
      () => us_socket_context_remove_server_name(wrong, server, "a.test"),
      () => us_socket_context_find_server_name_userdata(wrong, server, "a.test"),
      () => us_socket_context_listen(wrong, server, "127.0.0.1", 0, 0, 0),
      () => us_socket_context_listen_unix(wrong, server, w.freshPath(), 0, 0),
      () => us_socket_context_connect(wrong, server, "127.0.0.1", 1, 0, 0),
      () => us_socket_context_connect_unix(wrong, server, w.freshPath(), 0, 0),
      () => us_socket_context_adopt_socket(wrong, server, client, 0),
      () => us_adopt_accepted_socket(wrong, server, -1, 0),
      () => us_create_child_socket_context(wrong, server, 0),
      () => us_socket_context_close(wrong, server),
      () => us_socket_context_free(wrong, server),
    ];
    for (const call of calls) assertThrows(call, TypeError, `"ssl" is ${wrong}`);
    assertEquals([client.isClosed, socket.isClosed, server.onData], [false, false, undefined]);
    w.close(client, socket);
  });
  await w.run();
}, { blocking: false });

onEach("a bad ext_size throws a RangeError everywhere", async (w) => {
  const { ssl } = w;
  const { client, server } = w.pair((client_socket, server_socket) => {
    const poll = us_create_poll(w.loop, 1, 0);
    for (const size of [-2, 1.5, NaN, Infinity, 2 ** 53, "8" as unknown as number]) {
      const calls: (() => unknown)[] = [
        () => us_create_loop(null, null, null, null, size),
        () => us_create_socket_context(ssl, w.loop, size, w.serverOptions),
        () => us_create_child_socket_context(ssl, server, size),
        () => us_socket_context_listen(ssl, server, "127.0.0.1", 0, LIBUS_LISTEN_DEFAULT, size),
        () => us_socket_context_listen_unix(ssl, server, w.freshPath(), 0, size),
        () => us_socket_context_connect(ssl, client, "127.0.0.1", 1, 0, size),
        () => us_socket_context_connect(ssl, client, "127.0.0.1", 1, null, 0, size),
        () => us_socket_context_connect_unix(ssl, client, w.freshPath(), 0, size),
        () => us_socket_context_adopt_socket(ssl, server, server_socket, size),
        () => us_adopt_accepted_socket(ssl, server, 0, size),
        () => us_create_timer(w.loop, 0, size),
        () => us_create_poll(w.loop, 0, size),
        () => us_poll_resize(poll, w.loop, size),
      ];
      for (const call of calls) assertThrows(call, RangeError, `"ext_size" must be`);
    }
    // Only an adoption can leave it as it is.
    assertThrows(() => us_create_timer(w.loop, 0, -1), RangeError);
    w.close(client_socket, server_socket);
  });
  await w.run();
}, { blocking: false });
