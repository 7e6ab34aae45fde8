// The C header: listening, connecting, adopting, and the user data of sockets.
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertThrows,
  fail,
} from "@std/assert";
import { Loop } from "@usockets/usockets";
import {
  LIBUS_LISTEN_DEFAULT,
  LIBUS_LISTEN_EXCLUSIVE_PORT,
  LIBUS_LISTEN_REUSE_PORT,
  LIBUS_SOCKET_ERROR,
  us_adopt_accepted_socket,
  us_create_socket_context,
  us_last_error,
  us_listen_socket_close,
  us_loop_free,
  us_socket_context,
  us_socket_context_adopt_socket,
  us_socket_context_connect,
  us_socket_context_connect_unix,
  us_socket_context_listen,
  us_socket_context_listen_unix,
  us_socket_context_on_close,
  us_socket_context_on_data,
  us_socket_context_on_open,
  us_socket_context_on_timeout,
  us_socket_ext,
  us_socket_is_closed,
  us_socket_local_port,
  us_socket_remote_address,
  type us_socket_t,
  us_socket_timeout,
  us_socket_write,
} from "@usockets/usockets/libusockets";
import { hasIpv6 } from "../conformance/listening.ts";
import { onEach } from "./world.ts";

onEach("us_socket_context_listen() gives each listener's sockets its own ext_size", async (w) => {
  const exts: unknown[] = [];
  let made = 0;
  const server = w.server(), client = w.client();
  us_socket_context_on_open(w.ssl, server, (s) => {
    const ext = us_socket_ext<unknown>(w.ssl, s);
    exts.push(ext instanceof Uint8Array ? [...ext] : ext);
    if (ext instanceof Uint8Array) ext.fill(1); // which no other socket sees
    us_socket_write(w.ssl, s, "x", 1, 0);
  });
  const listeners = [3, 5, 0, () => ({ nth: ++made })].map((size) => w.listen(server, size));
  const queue = [...listeners, ...listeners];
  const next = () => {
    const ls = queue.shift();
    if (ls === undefined) listeners.forEach((ls) => us_listen_socket_close(w.ssl, ls));
    else w.connect(client, ls);
  };
  us_socket_context_on_data(w.ssl, client, (s) => {
    w.close(s);
    next();
  });
  next();
  await w.run();
  const zeros = [[0, 0, 0], [0, 0, 0, 0, 0], undefined];
  assertEquals(exts, [...zeros, { nth: 1 }, ...zeros, { nth: 2 }]);
});

onEach("us_socket_context_connect() makes zeroed user data, there at once", async (w) => {
  const client = w.client();
  const ls = w.listen(w.server());
  const exts = [4, 4, 0, () => "made"].map((size) => {
    const s = w.connect(client, ls, size);
    return us_socket_ext<unknown>(w.ssl, s);
  });
  assertEquals(exts, [new Uint8Array(4), new Uint8Array(4), undefined, "made"]);
  (exts[0] as Uint8Array)[0] = 1;
  let open = 0;
  us_socket_context_on_open(w.ssl, client, (s) => {
    if (us_socket_ext<unknown>(w.ssl, s) === exts[1]) assertEquals(exts[1], new Uint8Array(4));
    w.close(s);
    if (++open === exts.length) us_listen_socket_close(w.ssl, ls);
  });
  await w.run();
  assertEquals(open, 4);
});

onEach("us_socket_context_listen() is null for an address in use", (w) => {
  const context = w.server();
  const port = us_socket_local_port(w.ssl, w.listen(context));
  const listen = (options: number) =>
    us_socket_context_listen(w.ssl, context, "127.0.0.1", port, options, 0);
  for (const options of [LIBUS_LISTEN_DEFAULT, LIBUS_LISTEN_EXCLUSIVE_PORT]) {
    assertEquals(listen(options), null);
    assertInstanceOf(us_last_error(w.loop), Deno.errors.AddrInUse);
  }
}, { ports: true, blocking: false });

onEach("us_socket_context_listen_unix() is null for a path that nothing can be at", (w) => {
  const context = w.server();
  const path = `${w.directory}/missing/a.sock`;
  assertEquals(us_socket_context_listen_unix(0, context, path, 0, 0), null);
  assertInstanceOf(us_last_error(w.loop), Deno.errors.NotFound);
  const { host } = w.listen(context);
  assertEquals(us_socket_context_listen_unix(0, context, host, 0, 0), null);
  assertInstanceOf(us_last_error(w.loop), Deno.errors.AddrInUse);
}, { ports: false, blocking: false });

onEach("LIBUS_LISTEN_REUSE_PORT shares a port with those who ask for it too", (w) => {
  const context = w.server();
  const listen = (port: number, options: number) =>
    us_socket_context_listen(w.ssl, context, "127.0.0.1", port, options, 0);
  if (!w.isEpoll && !("listenDatagram" in Deno)) { // which is there with --unstable-net
    assertThrows(() => listen(0, LIBUS_LISTEN_REUSE_PORT), Deno.errors.NotSupported);
    return;
  }
  const port = us_socket_local_port(w.ssl, listen(0, LIBUS_LISTEN_REUSE_PORT)!);
  assertEquals(us_socket_local_port(w.ssl, listen(port, LIBUS_LISTEN_REUSE_PORT)!), port);
  assertEquals(listen(port, LIBUS_LISTEN_EXCLUSIVE_PORT), null);
}, { ports: true, blocking: false });

onEach("LIBUS_LISTEN_* say with whom a port is shared", (w) => {
  const context = w.server();
  const shared: unknown[] = [];
  // The kernel refuses what is exclusive in the same way as the default: only the option tells.
  context.listen = ({ exclusive, reusePort }) => {
    shared.push({ exclusive, reusePort });
    throw new Deno.errors.AddrInUse("refused on purpose");
  };
  for (
    const options of [LIBUS_LISTEN_DEFAULT, LIBUS_LISTEN_EXCLUSIVE_PORT, LIBUS_LISTEN_REUSE_PORT]
  ) {
    assertEquals(us_socket_context_listen(w.ssl, context, null, 0, options, 0), null);
  }
  assertEquals(shared, [
    { exclusive: undefined, reusePort: undefined },
    { exclusive: true, reusePort: undefined },
    { exclusive: undefined, reusePort: true },
  ]);
}, { plainTcp: true, blocking: false });

onEach("us_socket_context_listen() throws for options and ports that are none", (w) => {
  const context = w.server();
  for (const options of [2, 3, 5, -1, NaN]) {
    assertThrows(
      () => us_socket_context_listen(w.ssl, context, null, 0, options, 0),
      RangeError,
      "LIBUS_LISTEN_*",
    );
  }
  for (const port of [-1, 65_536, 1.5]) {
    assertThrows(() => us_socket_context_listen(w.ssl, context, null, port, 0, 0), RangeError);
  }
}, { ports: true, blocking: false });

onEach("us_socket_context_listen() throws for TLS without a certificate", (w) => {
  const context = us_create_socket_context(1, w.loop, 0, {})!;
  assertThrows(
    () => us_socket_context_listen(1, context, "127.0.0.1", 0, 0, 0),
    TypeError,
    "certificate",
  );
}, { tls: true, blocking: false });

onEach("us_socket_context_listen() with host null takes IPv4 and IPv6", async (w) => {
  const addresses: unknown[] = [];
  const server = w.server(), client = w.client();
  us_socket_context_on_open(w.ssl, server, (s, is_client, ip, ip_length) => {
    const buf = new Uint8Array(16), length = [buf.length];
    us_socket_remote_address(w.ssl, s, buf, length);
    assertEquals([is_client, ip_length, [...buf.subarray(0, length[0])]], [
      0,
      length[0],
      [...ip],
    ]);
    addresses.push([...ip]);
    us_socket_write(w.ssl, s, "x", 1, 0);
  });
  const ls = us_socket_context_listen(w.ssl, server, null, 0, 0, 0)!;
  const port = us_socket_local_port(w.ssl, ls);
  const hosts = [null, ...(hasIpv6 ? ["::1"] : []), "127.0.0.1"]; // null: this machine
  const next = () => {
    const host = hosts.shift();
    if (host === undefined) us_listen_socket_close(w.ssl, ls);
    else us_socket_context_connect(w.ssl, client, host, port, 0, 0);
  };
  us_socket_context_on_data(w.ssl, client, (s) => {
    w.close(s);
    next();
  });
  next();
  await w.run();
  assertEquals(addresses, [
    [127, 0, 0, 1],
    ...(hasIpv6 ? [[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]] : []),
    [127, 0, 0, 1],
  ]);
}, { ports: true });

onEach("us_listen_socket_close() ends listening, and no connection", async (w) => {
  const notes: string[] = [];
  const { server } = w.pair((client) => {
    us_socket_write(w.ssl, client, "still open", 10, 0); // pair() has closed the listener
  });
  us_socket_context_on_data(w.ssl, server, (s, data) => {
    notes.push(new TextDecoder().decode(data));
    w.close(s);
  });
  const ls = w.listen(server);
  us_listen_socket_close(w.ssl, ls);
  us_listen_socket_close(w.ssl, ls); // twice does nothing
  await w.run();
  assertEquals(notes, ["still open"]);
});

onEach("us_socket_context_connect() takes source_host, or leaves it out", async (w) => {
  const froms: number[][] = [];
  const server = w.server(), client = w.client();
  us_socket_context_on_open(w.ssl, server, (s, _is_client, ip) => {
    froms.push([...ip]);
    us_socket_write(w.ssl, s, "x", 1, 0);
  });
  const ls = w.listen(server);
  const port = us_socket_local_port(w.ssl, ls);
  const from = (source_host: string | null) =>
    us_socket_context_connect(w.ssl, client, "127.0.0.1", port, source_host, 0, 6)!;
  const connects = [
    () => us_socket_context_connect(w.ssl, client, "127.0.0.1", port, 0, 6)!,
    () => from(null),
  ];
  if (w.isEpoll) connects.push(() => from("127.0.0.2"));
  else assertThrows(() => from("127.0.0.2"), Deno.errors.NotSupported);
  const expected = [[127, 0, 0, 1], [127, 0, 0, 1], [127, 0, 0, 2]].slice(0, connects.length);
  const next = () => {
    const connect = connects.shift();
    if (connect === undefined) return us_listen_socket_close(w.ssl, ls);
    assertEquals(us_socket_ext(w.ssl, connect()), new Uint8Array(6));
  };
  us_socket_context_on_data(w.ssl, client, (s) => {
    w.close(s);
    next();
  });
  next();
  await w.run();
  assertEquals(froms, expected);
}, { ports: true });

onEach("us_socket_context_connect() throws for what makes no sense", (w) => {
  const context = w.client();
  const { ssl } = w;
  for (const options of [1, -1]) {
    const calls = [
      () => us_socket_context_connect(ssl, context, "127.0.0.1", 1, options, 0),
      () => us_socket_context_connect(ssl, context, "127.0.0.1", 1, null, options, 0),
      () => us_socket_context_connect_unix(ssl, context, w.freshPath(), options, 0),
    ];
    for (const call of calls) assertThrows(call, RangeError, `"options" must be 0`);
  }
  assertThrows(() => us_socket_context_connect(ssl, context, null, 0, 0, 0), RangeError);
  assertEquals(us_last_error(w.loop), null);
}, { blocking: false });

onEach(
  "us_socket_context_adopt_socket() keeps the socket, and what its user data held",
  async (w) => {
    const other = w.server();
    const notes: string[] = [];
    const { server } = w.pair((client, socket) => {
      const adopt = (ext_size: number | (() => unknown)): unknown => {
        assertStrictEquals(us_socket_context_adopt_socket(w.ssl, other, socket, ext_size), socket);
        assertStrictEquals(us_socket_context(w.ssl, socket), other);
        return us_socket_ext<unknown>(w.ssl, socket);
      };
      const ext = us_socket_ext(w.ssl, socket);
      ext.set([1, 2, 3, 4]);
      us_socket_timeout(w.ssl, socket, 0.001); // which an adoption clears
      assertStrictEquals(adopt(-1), ext);
      assertStrictEquals(adopt(4), ext);
      assertEquals(adopt(6), Uint8Array.of(1, 2, 3, 4, 0, 0));
      assertEquals(adopt(2), Uint8Array.of(1, 2));
      assertEquals(adopt(0), undefined); // as where 0 was asked for from the beginning
      assertEquals(adopt(-1), undefined);
      assertEquals(adopt(3), new Uint8Array(3));
      const made = { of: "a function" };
      assertStrictEquals(adopt(() => made), made);
      assertStrictEquals(adopt(8), made); // no bytes: it stays
      us_socket_write(w.ssl, client, "x", 1, 0);
    }, { server: 4 });
    us_socket_context_on_timeout(w.ssl, other, () => notes.push("timeout"));
    us_socket_context_on_close(w.ssl, server, () => notes.push("old context"));
    us_socket_context_on_data(w.ssl, other, (s) => w.after(20, () => w.close(s)));
    us_socket_context_on_close(w.ssl, other, () => notes.push("new context"));
    await w.run();
    assertEquals(notes, ["new context"]);
  },
);

onEach("us_socket_context_adopt_socket() returns a closed socket as it is", async (w) => {
  const other = w.server();
  const strangers = new Loop<unknown>({ backend: w.transport.backend });
  const { client } = w.pair((socket, peer) => {
    const stranger = us_create_socket_context(w.ssl, strangers, 0, w.serverOptions)!;
    assertThrows(
      () => us_socket_context_adopt_socket(w.ssl, stranger, socket, -1),
      TypeError,
      "another loop",
    );
    w.close(socket, peer);
    const none = () => fail("user data for a closed socket");
    assertStrictEquals(us_socket_context_adopt_socket(w.ssl, other, socket, 8), socket);
    assertStrictEquals(us_socket_context_adopt_socket(w.ssl, other, socket, none), socket);
    assertEquals(us_socket_is_closed(w.ssl, socket), 1);
    assertStrictEquals(us_socket_context(w.ssl, socket), client);
    assertEquals(us_socket_ext<undefined>(w.ssl, socket), undefined);
  });
  await w.run();
  us_loop_free(strangers);
});

onEach("us_adopt_accepted_socket() throws for what is no connection", (w) => {
  const context = w.server();
  for (const fd of [LIBUS_SOCKET_ERROR, null, "3", {}]) {
    const ErrorClass = typeof fd === "number" && !w.isEpoll ? Deno.errors.NotSupported : TypeError;
    assertThrows(() => us_adopt_accepted_socket(w.ssl, context, fd, 0), ErrorClass);
  }
  assertEquals(w.loop.stats().open, 0);
}, { blocking: false });

onEach("a socket made of nothing but C has the library's own members too", async (w) => {
  const { server } = w.pair((client, socket: us_socket_t) => {
    socket.pause();
    us_socket_write(w.ssl, client, "hello", 5, 0);
    w.after(10, () => socket.resume());
    waits = true;
  });
  let waits = false, length = 0;
  us_socket_context_on_data(w.ssl, server, (s, _data, n) => {
    assert(waits);
    length = n;
    w.close(s);
  });
  await w.run();
  assertEquals(length, 5);
});

onEach("functions of C take contexts and loops that are made without them", async (w) => {
  const tls = w.ssl === 0
    ? undefined
    : { certFile: w.file("server.cert"), keyFile: w.file("server.key") };
  const server = w.loop.createContext({ socketExt: () => ({ bytes: 0 }), tls });
  const client = w.loop.createContext({ tls: w.ssl === 0 ? undefined : { caFile: w.file("ca") } });
  const exts: unknown[] = [];
  us_socket_context_on_data(w.ssl, server, (s, _data, length) => {
    us_socket_ext<{ bytes: number }>(w.ssl, s).bytes += length;
    exts.push(us_socket_ext<unknown>(w.ssl, s));
    w.close(s);
  });
  // Without a size of its own a listener leaves user data to the context.
  const ls = w.listen(server, 0);
  us_socket_context_on_close(w.ssl, server, () => us_listen_socket_close(w.ssl, ls));
  us_socket_context_on_open(w.ssl, client, (s) => us_socket_write(w.ssl, s, "hello", 5, 0));
  w.connect(client, ls);
  await w.run();
  assertEquals(exts, [{ bytes: 5 }]);
});

onEach("us_socket_context_connect() is null where the system refuses at once", (w) => {
  const context = w.client();
  const refused = new Deno.errors.PermissionDenied("refused on purpose");
  context.connect = () => {
    throw refused;
  };
  const calls = [
    () => us_socket_context_connect(w.ssl, context, "127.0.0.1", 1, 0, 0),
    () => us_socket_context_connect(w.ssl, context, "127.0.0.1", 1, null, 0, 0),
    () => us_socket_context_connect_unix(w.ssl, context, w.freshPath(), 0, 0),
  ];
  for (const call of calls) assertEquals(call(), null);
  assertStrictEquals(us_last_error(w.loop), refused);
  context.connect = () => {
    throw new Deno.errors.NotCapable("the program was started without a permission");
  };
  for (const call of calls) assertThrows(call, Deno.errors.NotCapable);
  assertStrictEquals(us_last_error(w.loop), refused);
}, { plainTcp: true, blocking: false });
