// The C header: what callbacks are given, and when they come.
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertLess,
  assertStrictEquals,
} from "@std/assert";
import { CloseCode } from "@usockets/usockets";
import {
  us_adopt_accepted_socket,
  us_listen_socket_close,
  us_socket_close,
  us_socket_context,
  us_socket_context_connect,
  us_socket_context_connect_unix,
  us_socket_context_on_close,
  us_socket_context_on_connect_error,
  us_socket_context_on_data,
  us_socket_context_on_end,
  us_socket_context_on_long_timeout,
  us_socket_context_on_open,
  us_socket_context_on_pre_open,
  us_socket_context_on_timeout,
  us_socket_context_on_writable,
  type us_socket_context_t,
  us_socket_ext,
  us_socket_is_closed,
  us_socket_local_port,
  us_socket_long_timeout,
  us_socket_shutdown,
  type us_socket_t,
  us_socket_timeout,
  us_socket_write,
} from "@usockets/usockets/libusockets";
import { close } from "../support/native.ts";
import { pattern, sha256 } from "../support/streams.ts";
import { onEach, type World } from "./world.ts";

/** The bytes of the peer's address. */
function addressOf(w: World): number[] {
  return w.transport.isUnix ? [] : [127, 0, 0, 1];
}

/** Connects where nobody listens. */
function connectToNobody(w: World, context: us_socket_context_t): us_socket_t {
  if (w.transport.isUnix) {
    return us_socket_context_connect_unix(w.ssl, context, w.freshPath(), 0, 0)!;
  }
  const ls = w.listen(w.server());
  us_listen_socket_close(w.ssl, ls);
  const port = us_socket_local_port(w.ssl, ls);
  return us_socket_context_connect(w.ssl, context, "127.0.0.1", port, 0, 0)!;
}

onEach(
  "us_socket_context_on_open() gets is_client and the bytes of the peer's address",
  async (w) => {
    const opened: unknown[] = [];
    const client = w.client(), server = w.server();
    for (const context of [client, server]) {
      us_socket_context_on_open(w.ssl, context, (s, is_client, ip, ip_length) => {
        assertInstanceOf(ip, Uint8Array);
        opened[is_client] = [us_socket_context(w.ssl, s) === context, [...ip], ip_length];
        if (is_client === 0) {
          us_listen_socket_close(w.ssl, ls);
          us_socket_write(w.ssl, s, "x", 1, 0);
        }
        return s;
      });
    }
    us_socket_context_on_data(w.ssl, client, (s) => us_socket_close(w.ssl, s));
    const ls = w.listen(server);
    w.connect(client, ls);
    await w.run();
    const ip = addressOf(w);
    assertEquals(opened, [[true, ip, ip.length], [true, ip, ip.length]]);
  },
);

onEach("us_socket_context_on_data() gets the bytes and their number", async (w) => {
  const received: unknown[] = [];
  const { server } = w.pair((client) => {
    us_socket_write(w.ssl, client, "hello", 5, 0);
  });
  us_socket_context_on_data(w.ssl, server, (s, data, length) => {
    assertInstanceOf(data, Uint8Array);
    received.push(new TextDecoder().decode(data), length, data.length);
    w.close(s);
    return null; // what is returned goes unused
  });
  await w.run();
  assertEquals(received, ["hello", 5, 5]);
});

onEach("us_socket_context_on_close() gets code and reason of us_socket_close()", async (w) => {
  const closed: unknown[] = [];
  const reason = { why: "enough" };
  const { client, server } = w.pair((socket) => {
    assertStrictEquals(us_socket_close(w.ssl, socket, 7, reason), socket);
    assertEquals(closed.length, 1); // before us_socket_close() returned
  });
  us_socket_context_on_close(w.ssl, client, (s, code, why) => {
    assertEquals(us_socket_is_closed(w.ssl, s), 1);
    closed.push(["client", code, why === reason]);
  });
  us_socket_context_on_close(w.ssl, server, (_s, code, why) => closed.push(["server", code, why]));
  await w.run();
  assertEquals(closed, [["client", 7, true], ["server", 0, undefined]]);
});

onEach("us_socket_context_on_end() comes once, and leaves the socket half-open", async (w) => {
  const notes: string[] = [];
  const { client, server } = w.pair((socket) => us_socket_shutdown(w.ssl, socket));
  us_socket_context_on_end(w.ssl, server, (s) => {
    notes.push("server ended");
    us_socket_write(w.ssl, s, "bye", 3, 0);
    us_socket_shutdown(w.ssl, s); // both directions have: it closes
    assertEquals(us_socket_is_closed(w.ssl, s), 1);
  });
  us_socket_context_on_data(w.ssl, client, (_s, data) => {
    notes.push(`client got ${new TextDecoder().decode(data)}`);
  });
  us_socket_context_on_end(w.ssl, client, () => notes.push("client ended"));
  us_socket_context_on_close(w.ssl, client, (_s, code) => notes.push(`client closed ${code}`));
  await w.run();
  assertEquals(notes, ["server ended", "client got bye", "client ended", "client closed 0"]);
});

onEach("us_socket_context_on_writable() comes once for each short write", async (w) => {
  const bytes = pattern(8 << 20);
  let rest = bytes, isShort = false, shorts = 0, received = 0;
  const chunks: Uint8Array[] = [];
  const pump = (s: us_socket_t) => {
    rest = rest.subarray(us_socket_write(w.ssl, s, rest, rest.length, 0));
    isShort = rest.length > 0;
    if (isShort) shorts++;
  };
  const { client, server } = w.pair((socket) => {
    pump(socket);
    assert(isShort);
  });
  us_socket_context_on_writable(w.ssl, client, (s) => {
    assert(isShort, "on_writable without a short write");
    isShort = false;
    pump(s);
  });
  us_socket_context_on_data(w.ssl, server, (s, data, length) => {
    chunks.push(data.slice());
    received += length;
    if (received === bytes.length) w.close(s);
  });
  await w.run();
  assertLess(1, shorts);
  const all = new Uint8Array(await new Blob(chunks as Uint8Array<ArrayBuffer>[]).arrayBuffer());
  assertEquals(sha256(all), sha256(bytes));
});

onEach("us_socket_context_on_timeout() comes once, and not where 0 disarmed it", async (w) => {
  const notes: unknown[] = [];
  const { client, server } = w.pair((socket, other) => {
    us_socket_timeout(w.ssl, socket, 0.01);
    us_socket_timeout(w.ssl, other, 0.01);
    us_socket_timeout(w.ssl, other, 0);
  });
  us_socket_context_on_timeout(w.ssl, client, (s) => {
    notes.push("client");
    w.after(30, () => w.close(s)); // time for a second one to show
    return s;
  });
  us_socket_context_on_timeout(w.ssl, server, () => notes.push("server"));
  us_socket_context_on_long_timeout(w.ssl, client, () => notes.push("long"));
  await w.run();
  assertEquals(notes, ["client"]);
});

onEach(
  "us_socket_context_on_long_timeout() counts minutes, beside the other timeout",
  async (w) => {
    const notes: unknown[] = [];
    const { client } = w.pair((socket) => {
      us_socket_long_timeout(w.ssl, socket, 0.02 / 60);
      us_socket_timeout(w.ssl, socket, 3600);
    });
    us_socket_context_on_long_timeout(w.ssl, client, (s) => {
      notes.push("long", us_socket_context(w.ssl, s) === client);
      w.close(s);
      return s;
    });
    us_socket_context_on_timeout(w.ssl, client, () => notes.push("short"));
    await w.run();
    assertEquals(notes, ["long", true]);
  },
);

onEach("us_socket_context_on_connect_error() gets the socket, a code and the error", async (w) => {
  const failed: unknown[] = [];
  const client = w.client();
  us_socket_context_on_connect_error(w.ssl, client, (s, code, error) => {
    assertInstanceOf(
      error,
      w.transport.isUnix ? Deno.errors.NotFound : Deno.errors.ConnectionRefused,
    );
    failed.push(s === socket, code);
    return s;
  });
  us_socket_context_on_close(w.ssl, client, () => failed.push("closed"));
  us_socket_context_on_open(w.ssl, client, () => failed.push("opened"));
  const socket = connectToNobody(w, client);
  await w.run();
  assertEquals(failed, [true, CloseCode.System]);
});

onEach(
  "us_socket_context_on_close() tells of failed connects where nothing else does",
  async (w) => {
    const closed: unknown[] = [];
    const client = w.client();
    us_socket_context_on_close(w.ssl, client, (s, code, reason) => {
      closed.push(s === socket, code, reason instanceof Error);
    });
    us_socket_context_on_open(w.ssl, client, () => closed.push("opened"));
    const socket = connectToNobody(w, client);
    await w.run();
    assertEquals(closed, [true, CloseCode.System, true]);
  },
);

onEach("a context without callbacks takes failed connects and data in silence", async (w) => {
  connectToNobody(w, w.client());
  w.pair((client, server) => {
    us_socket_write(w.ssl, server, "to nobody", 9, 0);
    us_socket_shutdown(w.ssl, server); // its on_end is missing too: the client closes
    assertEquals(us_socket_is_closed(w.ssl, client), 0);
  });
  await w.run();
});

onEach(
  "us_socket_context_on_pre_open() gets fd and address; what returns fd goes on",
  async (w) => {
    const notes: unknown[] = [];
    const { server } = w.pair((client, socket) => w.close(client, socket));
    us_socket_context_on_pre_open(w.ssl, server, (context, fd, ip, ip_length) => {
      notes.push(context === server, [...ip], ip_length);
      if (w.isEpoll) assert(Number.isInteger(fd));
      else assert(typeof (fd as Deno.Conn).read === "function");
      return fd;
    });
    await w.run();
    const ip = addressOf(w);
    assertEquals(notes, [true, ip, ip.length]);
  },
);

onEach("us_socket_context_on_pre_open() that returns -1 owns the connection", async (w) => {
  const notes: unknown[] = [];
  const client = w.client(), server = w.server();
  us_socket_context_on_pre_open(w.ssl, server, (_context, fd) => {
    notes.push("pre_open");
    us_listen_socket_close(w.ssl, ls);
    w.after(1, () => { // it is still there
      if (w.isEpoll) close(fd as number);
      else (fd as Deno.Conn).close();
    });
    return -1;
  });
  us_socket_context_on_open(w.ssl, server, () => notes.push("open"));
  const ls = w.listen(server);
  w.connect(client, ls);
  us_socket_context_on_close(w.ssl, client, () => notes.push("closed"));
  await w.run();
  assertEquals(notes, ["pre_open", "closed"]);
});

onEach("us_adopt_accepted_socket() takes over what on_pre_open kept", async (w) => {
  const notes: unknown[] = [];
  const client = w.client(), server = w.server(), second = w.server();
  let adopted: us_socket_t | undefined;
  us_socket_context_on_pre_open(w.ssl, server, (_context, fd, ip, ip_length) => {
    us_listen_socket_close(w.ssl, ls);
    adopted = us_adopt_accepted_socket(w.ssl, second, fd, 5, ip, ip_length);
    assertEquals(us_socket_ext(w.ssl, adopted), new Uint8Array(5));
    us_socket_ext(w.ssl, adopted)[0] = 1;
    return -1;
  });
  us_socket_context_on_open(w.ssl, server, () => notes.push("server opened"));
  us_socket_context_on_open(w.ssl, second, (s, is_client, ip) => {
    notes.push(s === adopted, is_client, [...ip], [...us_socket_ext(w.ssl, s)]);
    us_socket_write(w.ssl, s, "hello", 5, 0);
  });
  us_socket_context_on_data(w.ssl, client, (s, _data, length) => {
    notes.push(length);
    w.close(s);
  });
  us_socket_context_on_close(w.ssl, second, (_s, code) => notes.push(`closed ${code}`));
  const ls = w.listen(server);
  w.connect(client, ls);
  await w.run();
  assertEquals(notes, [true, 0, addressOf(w), [1, 0, 0, 0, 0], 5, "closed 0"]);
});
