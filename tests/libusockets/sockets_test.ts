// The C header: what a socket can be told and asked.
// deno-lint-ignore-file camelcase -- the header's names
import {
  assert,
  assertEquals,
  assertNotEquals,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import {
  us_listen_socket_close,
  us_socket_close,
  us_socket_close_connecting,
  us_socket_context,
  us_socket_context_on_close,
  us_socket_context_on_connect_error,
  us_socket_context_on_data,
  us_socket_context_on_end,
  us_socket_context_on_open,
  us_socket_flush,
  us_socket_get_native_handle,
  us_socket_is_closed,
  us_socket_is_established,
  us_socket_is_shut_down,
  us_socket_local_port,
  us_socket_long_timeout,
  us_socket_remote_address,
  us_socket_remote_port,
  us_socket_server_name_userdata,
  us_socket_shutdown,
  us_socket_shutdown_read,
  us_socket_timeout,
  us_socket_write,
  us_socket_write2,
} from "@usockets/usockets/libusockets";
import { onEach, type World } from "./world.ts";

/** What the other end of a connection gets of what `send` does with this one. */
async function received(w: World, send: Parameters<World["pair"]>[0]): Promise<string> {
  let text = "";
  const { server } = w.pair((client, socket) => {
    send(client, socket);
    us_socket_shutdown(w.ssl, client);
  });
  us_socket_context_on_data(w.ssl, server, (_s, data) => {
    text += new TextDecoder().decode(data);
  });
  await w.run();
  return text;
}

onEach("us_socket_write() sends the first length bytes, of a string its UTF-8", async (w) => {
  const bytes = new TextEncoder().encode("0123456789");
  const text = await received(w, (s) => {
    const written = [
      us_socket_write(w.ssl, s, bytes, bytes.length, 0),
      us_socket_write(w.ssl, s, bytes, 3, 0),
      us_socket_write(w.ssl, s, bytes, 0, 0),
      us_socket_write(w.ssl, s, "µ", 2, 0),
      us_socket_write(w.ssl, s, "abc", 2, 0),
    ];
    assertEquals(written, [10, 3, 0, 2, 2]);
  });
  assertEquals(text, "0123456789012µab");
});

onEach("us_socket_write() throws for a length that the data has not", async (w) => {
  const bytes = new Uint8Array(4);
  const text = await received(w, (s) => {
    for (const length of [5, -1, 1.5, NaN]) {
      assertThrows(() => us_socket_write(w.ssl, s, bytes, length, 0), RangeError, "buffer");
      assertThrows(() => us_socket_write2(w.ssl, s, bytes, length, bytes, 4), RangeError, "header");
      assertThrows(
        () => us_socket_write2(w.ssl, s, bytes, 4, bytes, length),
        RangeError,
        "payload",
      );
    }
    assertThrows(() => us_socket_write(w.ssl, s, "µ", 3, 0), RangeError, "has 2");
    const buffer = bytes.buffer as unknown as Uint8Array;
    for (const length of [4, 5]) {
      assertThrows(() => us_socket_write(w.ssl, s, buffer, length, 0), TypeError, "ArrayBuffer");
    }
  });
  assertEquals(text, "");
}, { blocking: false });

onEach("us_socket_write2() sends header and payload as one", async (w) => {
  const text = await received(w, (s) => {
    const payload = new TextEncoder().encode("payload");
    assertEquals(us_socket_write2(w.ssl, s, "header ", 7, payload, payload.length), 14);
    assertEquals(us_socket_write2(w.ssl, s, "xyz", 1, payload, 3), 4);
    assertEquals(us_socket_write2(w.ssl, s, "", 0, "", 0), 0);
  });
  assertEquals(text, "header payloadxpay");
});

onEach("us_socket_flush() sends what msg_more held back", async (w) => {
  const more: (boolean | undefined)[] = [];
  let flushed = false;
  const { server } = w.pair((s) => {
    const write = s.write.bind(s);
    s.write = (data, msg_more) => {
      more.push(msg_more);
      return write(data, msg_more);
    };
    assertEquals(us_socket_write(w.ssl, s, "a", 1, 0), 1);
    assertEquals(us_socket_write(w.ssl, s, "b", 1, 1), 1);
    const left_out = undefined as unknown as number; // no MSG_MORE for who forgets it
    assertEquals(us_socket_write(w.ssl, s, "c", 1, left_out), 1);
    assertEquals(us_socket_write(w.ssl, s, "d", 1, 1), 1);
    const flush = s.flush.bind(s);
    s.flush = () => {
      flushed = true;
      flush();
    };
    us_socket_flush(w.ssl, s);
  });
  let text = "";
  us_socket_context_on_data(w.ssl, server, (s, data) => {
    text += new TextDecoder().decode(data);
    if (text.length === 4) w.close(s);
  });
  await w.run();
  assertEquals([text, more, flushed], ["abcd", [false, true, false, true], true]);
});

onEach(
  "us_socket_is_shut_down() is 1 behind us_socket_shutdown(), and nothing is sent",
  async (w) => {
    const text = await received(w, (client, server) => {
      us_socket_write(w.ssl, client, "before", 6, 0);
      assertEquals(us_socket_is_shut_down(w.ssl, client), 0);
      us_socket_shutdown(w.ssl, client);
      assertEquals(us_socket_is_shut_down(w.ssl, client), 1);
      assertEquals(us_socket_is_closed(w.ssl, client), 0);
      assertEquals(us_socket_is_shut_down(w.ssl, server), 0);
      assertEquals(us_socket_write(w.ssl, client, "after", 5, 0), 0);
    });
    assertEquals(text, "before");
  },
);

onEach("us_socket_shutdown_read() drops what comes; on_end comes all the same", async (w) => {
  const notes: string[] = [];
  const { server } = w.pair((client, socket) => {
    us_socket_shutdown_read(w.ssl, socket);
    us_socket_write(w.ssl, client, "dropped", 7, 0);
    us_socket_shutdown(w.ssl, client);
  });
  us_socket_context_on_data(w.ssl, server, () => notes.push("data"));
  us_socket_context_on_end(w.ssl, server, (s) => {
    notes.push("end");
    w.close(s);
  });
  await w.run();
  assertEquals(notes, ["end"]);
});

onEach("us_socket_is_established() is 1 while the connection is open", async (w) => {
  const states: number[][] = [];
  const client = w.client(), server = w.server();
  const ls = w.listen(server);
  const s = w.connect(client, ls);
  const look = () =>
    states.push([us_socket_is_established(w.ssl, s), us_socket_is_closed(w.ssl, s)]);
  us_socket_context_on_open(w.ssl, client, () => {
    look();
    us_listen_socket_close(w.ssl, ls);
    w.close(s);
  });
  us_socket_context_on_close(w.ssl, client, look);
  look();
  await w.run();
  look();
  assertEquals(states, [[0, 0], [1, 0], [0, 1], [0, 1]]);
});

onEach("us_socket_close_connecting() cancels a connect in silence", async (w) => {
  const notes: string[] = [];
  const client = w.client();
  us_socket_context_on_open(w.ssl, client, () => notes.push("open"));
  us_socket_context_on_close(w.ssl, client, () => notes.push("close"));
  us_socket_context_on_connect_error(w.ssl, client, () => notes.push("error"));
  const ls = w.listen(w.server());
  const s = w.connect(client, ls);
  assertStrictEquals(us_socket_close_connecting(w.ssl, s), s);
  assertEquals(us_socket_is_closed(w.ssl, s), 1);
  assertStrictEquals(us_socket_close_connecting(w.ssl, s), s); // twice does nothing
  us_socket_close(w.ssl, w.connect(client, ls)); // does the same
  us_listen_socket_close(w.ssl, ls);
  await w.run();
  assertEquals(notes, []);
});

onEach("us_socket_close_connecting() leaves an open socket open", async (w) => {
  w.pair((client, server) => {
    us_socket_close_connecting(w.ssl, client);
    assertEquals(us_socket_is_closed(w.ssl, client), 0);
    w.close(client, server);
  });
  await w.run();
});

onEach("us_socket_close() throws for codes that are the library's own", async (w) => {
  w.pair((client, server) => {
    for (const code of [-1, 1.5]) {
      assertThrows(() => us_socket_close(w.ssl, client, code), RangeError);
    }
    assertEquals(us_socket_is_closed(w.ssl, client), 0);
    w.close(client, server, client); // the third does nothing
  });
  await w.run();
}, { blocking: false });

onEach("us_socket_remote_address() copies 4 bytes where there is room for them", async (w) => {
  const address = w.transport.isUnix ? [] : [127, 0, 0, 1];
  const copied = (client: Parameters<typeof us_socket_remote_address>[1], room: number) => {
    const buf = new Uint8Array(16).fill(9), length = new Int32Array([room]);
    us_socket_remote_address(w.ssl, client, buf, length);
    assert(buf.subarray(length[0]).every((byte) => byte === 9));
    return [...buf.subarray(0, length[0])];
  };
  w.pair((client, server) => {
    for (const s of [client, server]) {
      assertEquals(copied(s, 16), address);
      assertEquals(copied(s, 4), address);
      assertEquals(copied(s, 3), []);
      const length = [16]; // more than the buffer has
      us_socket_remote_address(w.ssl, s, new Uint8Array(3), length);
      assertEquals(length, [0]);
    }
    w.close(client, server);
  });
  await w.run();
});

onEach("us_socket_local_port() and us_socket_remote_port() are each other's", async (w) => {
  const ports: number[] = [];
  const { server } = w.pair((client, socket) => {
    const { ssl } = w;
    assertEquals(us_socket_remote_port(ssl, client), us_socket_local_port(ssl, socket));
    assertEquals(us_socket_remote_port(ssl, socket), us_socket_local_port(ssl, client));
    assertEquals(us_socket_local_port(ssl, socket), listening);
    ports.push(us_socket_local_port(ssl, socket), us_socket_local_port(ssl, client));
    w.close(client, socket);
  });
  const [ls] = server.listeners;
  const listening = us_socket_local_port(w.ssl, ls); // of a listen socket, as in C
  await w.run();
  assertEquals(ports.map((port) => port > 0), Array(2).fill(!w.transport.isUnix));
});

onEach("us_socket_get_native_handle() is the backend's own, null while connecting", async (w) => {
  const client = w.client();
  const ls = w.listen(w.server());
  const s = w.connect(client, ls);
  assertEquals(us_socket_get_native_handle(w.ssl, s), null);
  us_socket_context_on_open(w.ssl, client, () => {
    const handle = us_socket_get_native_handle(w.ssl, s);
    assertNotEquals(handle, null);
    if (w.isEpoll) assert(Number.isInteger(handle));
    else assert(typeof (handle as Deno.Conn).read === "function");
    us_listen_socket_close(w.ssl, ls);
    w.close(s);
  });
  await w.run();
});

onEach("us_socket_context() is where the socket belongs, also while it connects", async (w) => {
  const client = w.client();
  const ls = w.listen(w.server());
  const s = w.connect(client, ls);
  assertStrictEquals(us_socket_context(w.ssl, s), client);
  assertEquals(us_socket_server_name_userdata(w.ssl, s), undefined);
  us_socket_context_on_open(w.ssl, client, (s) => {
    assertStrictEquals(us_socket_context(w.ssl, s), client);
    us_listen_socket_close(w.ssl, ls);
    w.close(s);
  });
  await w.run();
});

onEach("us_socket_timeout() and us_socket_long_timeout() throw for negative times", async (w) => {
  w.pair((client, server) => {
    for (const time of [-1, NaN]) {
      assertThrows(() => us_socket_timeout(w.ssl, client, time), RangeError);
      assertThrows(() => us_socket_long_timeout(w.ssl, client, time), RangeError);
    }
    w.close(client, server);
    us_socket_timeout(w.ssl, client, 1); // closed: does nothing
    us_socket_long_timeout(w.ssl, client, 1);
  });
  await w.run();
}, { blocking: false });
