// The C header: certificates of clients, and server names.
// deno-lint-ignore-file camelcase -- the header's names
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertStrictEquals,
  assertThrows,
} from "@std/assert";
import { CloseCode } from "@usockets/usockets";
import {
  us_create_child_socket_context,
  us_create_socket_context,
  us_listen_socket_close,
  us_socket_close,
  us_socket_context,
  us_socket_context_add_server_name,
  us_socket_context_connect,
  us_socket_context_find_server_name_userdata,
  us_socket_context_listen,
  us_socket_context_on_close,
  us_socket_context_on_data,
  us_socket_context_on_server_name,
  type us_socket_context_options_t,
  us_socket_context_remove_server_name,
  type us_socket_context_t,
  us_socket_local_port,
  us_socket_server_name_userdata,
  us_socket_write,
} from "@usockets/usockets/libusockets";
import { listen } from "@usockets/usockets/streams";
import { onEach, type World } from "./world.ts";

/** How a client of the one options fares with a server of the other: the two close codes. */
async function meet(
  w: World,
  server: us_socket_context_t,
  options: us_socket_context_options_t,
): Promise<{ client: number; server: number; received: string }> {
  const outcome = { client: NaN, server: NaN, received: "" };
  const client = us_create_socket_context(1, w.loop, 0, options)!;
  client.onHandshake = (s) => us_socket_write(1, s, "hello", 5, 0);
  us_socket_context_on_data(1, server, (s, data) => {
    outcome.received += new TextDecoder().decode(data);
    us_socket_close(1, s);
  });
  us_socket_context_on_close(1, client, (_s, code) => void (outcome.client = code));
  us_socket_context_on_close(1, server, (_s, code) => {
    outcome.server = code;
    us_listen_socket_close(1, ls);
  });
  const ls = us_socket_context_listen(1, server, "127.0.0.1", 0, 0, 0)!;
  const port = us_socket_local_port(1, ls);
  us_socket_context_connect(1, client, "127.0.0.1", port, 0, 0);
  await w.run();
  return outcome;
}

const agreed = { client: 0, server: 0, received: "hello" };

onEach("ca_file_name makes a server demand a certificate of each client", async (w) => {
  const options = { ...w.serverOptions, ca_file_name: w.file("ca") };
  const certified = {
    ca_file_name: w.file("ca"),
    key_file_name: w.file("client.key"),
    cert_file_name: w.file("client.cert"),
  };
  // What is there and undefined says nothing.
  for (const demanding of [options, { ...options, requestCert: undefined, caFile: undefined }]) {
    const server = us_create_socket_context(1, w.loop, 0, demanding)!;
    assertEquals(await meet(w, server, certified), agreed);
    const without = await meet(w, server, w.clientOptions);
    assertEquals([without.server, without.received], [CloseCode.Tls, ""]);
    assert(without.client < 0); // by the server's alert, or by what follows it
  }
  const lenient = us_create_socket_context(1, w.loop, 0, { ...options, requestCert: false })!;
  assertEquals(await meet(w, lenient, w.clientOptions), agreed);
}, { tls: true, backend: "epoll" });

onEach("ca_file_name lets a context connect, but not listen, where nobody can demand", (w) => {
  const options = { ...w.serverOptions, ca_file_name: w.file("ca") };
  const context = us_create_socket_context(1, w.loop, 0, options)!;
  const child = us_create_child_socket_context(1, context, 0);
  const where = { host: "127.0.0.1", port: 0 };
  for (const refused of [context, child]) {
    const ways = [
      () => us_socket_context_listen(1, refused, "127.0.0.1", 0, 0, 0),
      () => refused.listen(where),
      () => listen(refused, where),
      () => refused.createChild().listen(where),
    ];
    for (const way of ways) assertThrows(way, Deno.errors.NotSupported, "requestCert");
  }
  const lenient = us_create_socket_context(1, w.loop, 0, { ...options, requestCert: false })!;
  us_listen_socket_close(1, us_socket_context_listen(1, lenient, "127.0.0.1", 0, 0, 0)!);
}, { tls: true, backend: "deno" });

onEach("a client verifies the server, other than in C", async (w) => {
  let reason: unknown;
  const client = us_create_socket_context(1, w.loop, 0, {})!; // which trusts what the system trusts
  us_socket_context_on_close(1, client, (_s, code, why) => {
    assertEquals(code, CloseCode.Tls);
    reason = why;
  });
  const server = w.server();
  const ls = w.listen(server);
  us_socket_context_on_close(1, server, () => us_listen_socket_close(1, ls));
  w.connect(client, ls);
  await w.run();
  assertInstanceOf(reason, Error);
  if (!w.isEpoll) return;
  const unverified = { rejectUnauthorized: false };
  assertEquals(await meet(w, w.server(), unverified), agreed);
}, { tls: true });

/** The certificate of `other.test`. */
function otherTest(w: World): us_socket_context_options_t {
  return { key_file_name: w.file("other.key"), cert_file_name: w.file("other.cert") };
}

onEach("us_socket_context_add_server_name() serves a name with its certificate", async (w) => {
  const server = w.server();
  const user = { of: "other.test" };
  us_socket_context_add_server_name(1, server, "other.test", otherTest(w), user);
  assertStrictEquals(us_socket_context_find_server_name_userdata(1, server, "other.test"), user);
  assertEquals(us_socket_context_find_server_name_userdata(1, server, "else.test"), undefined);
  const child = us_create_child_socket_context(1, server, 0);
  assertStrictEquals(us_socket_context_find_server_name_userdata(1, child, "other.test"), user);
  const seen: unknown[] = [];
  server.onHandshake = (s) => {
    assertStrictEquals(us_socket_context(1, s), server);
    seen.push(us_socket_server_name_userdata(1, s));
  };
  assertEquals(await meet(w, server, { ...w.clientOptions, serverName: "other.test" }), agreed);
  assertEquals(await meet(w, server, { ...w.clientOptions, serverName: "localhost" }), agreed);
  assertEquals(seen.length, 2);
  assertStrictEquals(seen[0], user);
  assertEquals(seen[1], undefined);
}, { tls: true, backend: "epoll" });

onEach("a server name demands certificates as its context does", async (w) => {
  const server = us_create_socket_context(1, w.loop, 0, {
    ...w.serverOptions,
    ca_file_name: w.file("ca"),
  })!;
  const child = us_create_child_socket_context(1, server, 0);
  const ask = { ...w.clientOptions, serverName: "other.test" };
  const certified = {
    ...ask,
    key_file_name: w.file("client.key"),
    cert_file_name: w.file("client.cert"),
  };
  for (const context of [server, child]) {
    us_socket_context_add_server_name(1, context, "other.test", otherTest(w), null);
    const without = await meet(w, server, ask);
    assertEquals([without.server, without.received], [CloseCode.Tls, ""]);
    assertEquals(await meet(w, server, certified), agreed);
  }
  const lenient = { ...otherTest(w), requestCert: false };
  us_socket_context_add_server_name(1, server, "other.test", lenient, null);
  assertEquals(await meet(w, server, ask), agreed);
}, { tls: true, backend: "epoll" });

onEach("us_socket_context_remove_server_name() stops serving a name", async (w) => {
  const server = w.server();
  us_socket_context_add_server_name(1, server, "other.test", otherTest(w), "user");
  us_socket_context_remove_server_name(1, server, "other.test");
  assertEquals(us_socket_context_find_server_name_userdata(1, server, "other.test"), undefined);
  const { client } = await meet(w, server, { ...w.clientOptions, serverName: "other.test" });
  assertEquals(client, CloseCode.Tls); // the certificate is for localhost
}, { tls: true, backend: "epoll" });

onEach("us_socket_context_on_server_name() adds a name for the client that asks", async (w) => {
  const server = w.server();
  const asked: unknown[] = [];
  us_socket_context_on_server_name(1, server, (context, hostname) => {
    assertStrictEquals(context, server);
    asked.push(hostname);
    us_socket_context_add_server_name(1, context, hostname, otherTest(w), null);
  });
  assertEquals(await meet(w, server, { ...w.clientOptions, serverName: "other.test" }), agreed);
  assertEquals(await meet(w, server, { ...w.clientOptions, serverName: "other.test" }), agreed);
  assertEquals(asked, ["other.test"]);
}, { tls: true, backend: "epoll" });

onEach("us_socket_context_add_server_name() throws where C fails in silence", (w) => {
  const server = w.server();
  const add = (options: us_socket_context_options_t) =>
    us_socket_context_add_server_name(1, server, "other.test", options, null);
  const missing = { ...otherTest(w), cert_file_name: w.file("missing") };
  const garbage = { ...otherTest(w), cert_file_name: w.file("garbage") };
  if (w.isEpoll) {
    assertThrows(() => add(missing), Deno.errors.NotFound);
    assertThrows(() => add(garbage), Deno.errors.InvalidData);
    assertThrows(() => add({}), TypeError, "certificate");
    assertEquals(us_socket_context_find_server_name_userdata(1, server, "other.test"), undefined);
    return;
  }
  const calls = [
    () => add(otherTest(w)),
    () => us_socket_context_remove_server_name(1, server, "other.test"),
    () => us_socket_context_find_server_name_userdata(1, server, "other.test"),
  ];
  for (const call of calls) assertThrows(call, Deno.errors.NotSupported);
}, { tls: true, blocking: false });
