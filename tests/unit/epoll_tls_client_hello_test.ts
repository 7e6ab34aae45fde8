// The server name read from a ClientHello, whatever comes in its place; and names against patterns.
import { assert, assertEquals, assertLess } from "@std/assert";
import { epoll, Loop } from "@usockets/usockets";
import fc from "fast-check";
import { readServerName } from "../../ffi/tls/client_hello.ts";
import { ServerNames } from "../../ffi/tls/server_names.ts";
import { nativeTest, runLoop } from "../support/native.ts";
import { concat } from "../support/streams.ts";

const HEADER_BYTES = 5;

/** As `openssl s_client -servername www.example.test` sent it. */
const hello = recorded(
  "FgMBAT0BAAE5AwMzfgxNrsegIZN5x8wojXUfJsbtYmTCPhOccsy1uuyCNSB+N0qMsvrCzZMZt7nrLENFGeG0sBe95Qh4ZxXp",
  "vJ3TdgA+EwITAxMBwCzAMACfzKnMqMyqwCvALwCewCTAKABrwCPAJwBnwArAFAA5wAnAEwAzAJ0AnAA9ADwANQAvAP8BAACy",
  "AAAAFQATAAAQd3d3LmV4YW1wbGUudGVzdAALAAQDAAECAAoAFgAUAB0AFwAeABkAGAEAAQEBAgEDAQQAIwAAABYAAAAXAAAA",
  "DQAqACgEAwUDBgMIBwgICAkICggLCAQIBQgGBAEFAQYBAwMDAQMCBAIFAgYCACsACQgDBAMDAwIDAQAtAAIBAQAzACYAJAAd",
  "ACCQLejy6uR+7SgKU1Mxqx8IISRfS7cNm4KCJJxLHWSMVg==",
);

/** The same of `-noservername -tls1_2`. */
const namelessHello = recorded(
  "FgMBALcBAACzAwPIHhjSLErqSJxgY530F4OR6vraTl75ibNW9hkhFsDChAAAOMAswDAAn8ypzKjMqsArwC8AnsAkwCgAa8Aj",
  "wCcAZ8AKwBQAOcAJwBMAMwCdAJwAPQA8ADUALwD/AQAAUgALAAQDAAECAAoADAAKAB0AFwAeABkAGAAjAAAAFgAAABcAAAAN",
  "ACoAKAQDBQMGAwgHCAgICQgKCAsIBAgFCAYEAQUBBgEDAwMBAwIEAgUCBgI=",
);

function recorded(...base64: string[]): Uint8Array {
  return Uint8Array.fromBase64(base64.join(""));
}

/** The same message in records of these lengths, the last one of what is left. */
function split(bytes: Uint8Array, ...lengths: number[]): Uint8Array {
  let rest = bytes.subarray(HEADER_BYTES);
  const records: Uint8Array[] = [];
  for (const length of [...lengths, Infinity]) {
    const part = rest.subarray(0, length);
    rest = rest.subarray(part.length);
    if (part.length === 0) continue;
    records.push(new Uint8Array([22, 3, 1, part.length >> 8, part.length & 255]), part);
  }
  return concat(records);
}

/** What comes of bytes that arrive one by one: the name, and how often it was worth a look. */
function byteByByte(bytes: Uint8Array): { name: string; looks: number; at: number } {
  let needed = 1;
  for (let looks = 1, at = 1; at <= bytes.length; at++) {
    if (at < needed) continue;
    const found = readServerName(bytes.subarray(0, at));
    if (typeof found === "string") return { name: found, looks, at };
    assert(found > at, `${found} bytes are asked for at ${at}`);
    needed = found;
    looks++;
  }
  throw new Error("more bytes are asked for than there are");
}

/** A ClientHello with these extensions, and nothing else of interest. */
function helloWith(extensions: Uint8Array): Uint8Array {
  const body = concat([
    new Uint8Array([3, 3]),
    new Uint8Array(32),
    new Uint8Array([0, 0, 2, 0x13, 1, 1, 0]),
    u16(extensions.length),
    extensions,
  ]);
  const message = concat([new Uint8Array([1, 0]), u16(body.length), body]);
  return concat([new Uint8Array([22, 3, 1]), u16(message.length), message]);
}

function serverNameExtension(name: Uint8Array, kind = 0): Uint8Array {
  const entry = concat([new Uint8Array([kind]), u16(name.length), name]);
  const list = concat([u16(entry.length), entry]);
  return concat([u16(0), u16(list.length), list]);
}

function u16(value: number): Uint8Array {
  return new Uint8Array([value >> 8, value & 255]);
}

Deno.test("readServerName() finds the name in a recorded ClientHello", () => {
  assertEquals(readServerName(hello), "www.example.test");
  assertEquals(readServerName(namelessHello), "");
  assertEquals(readServerName(concat([hello, hello])), "www.example.test"); // more may follow
});

Deno.test("readServerName() asks for so many bytes as it takes", () => {
  assertEquals(byteByByte(hello), { name: "www.example.test", looks: 3, at: hello.length });
  for (let length = 0; length < hello.length; length++) {
    const needed = readServerName(hello.subarray(0, length));
    assertEquals(needed, length < HEADER_BYTES ? HEADER_BYTES : hello.length);
  }
});

Deno.test("readServerName() puts a ClientHello together from its records", () => {
  for (let first = 1; first < hello.length - HEADER_BYTES; first++) {
    assertEquals(readServerName(split(hello, first)), "www.example.test", `first: ${first}`);
  }
  const many = split(hello, 1, 1, 1, 1, 1, 20, 30, 40);
  assertEquals(readServerName(many), "www.example.test");
  assertEquals(byteByByte(many).name, "www.example.test");
});

Deno.test("readServerName() passes empty records over, as OpenSSL does", () => {
  const empty = new Uint8Array([22, 3, 1, 0, 0]);
  assertEquals(readServerName(concat([empty, hello])), "www.example.test");
  const middle = split(hello, 1);
  const bytes = concat([middle.subarray(0, 6), empty, empty, middle.subarray(6)]);
  assertEquals(byteByByte(bytes).name, "www.example.test");
  assertEquals(readServerName(concat(new Array(64).fill(empty))), ""); // but not for ever
});

Deno.test("readServerName() leaves a ClientHello in countless records to OpenSSL", () => {
  const pieces = split(hello, ...new Array(hello.length).fill(1));
  assertEquals(readServerName(pieces), "");
  const { at, name } = byteByByte(pieces);
  assertEquals(name, "");
  assertLess(at, pieces.length);
});

Deno.test("readServerName() takes host names only", () => {
  const text = (name: string) => new TextEncoder().encode(name);
  const nameIn = (...extensions: Uint8Array[]) => readServerName(helloWith(concat(extensions)));
  assertEquals(nameIn(serverNameExtension(text("a.test"))), "a.test");
  assertEquals(nameIn(serverNameExtension(text("A.Test."))), "A.Test.");
  const other = concat([u16(10), u16(2), u16(0)]);
  assertEquals(nameIn(other, serverNameExtension(text("a.test")), other), "a.test");
  assertEquals(nameIn(serverNameExtension(text("a.test"), 1)), "");
  assertEquals(nameIn(serverNameExtension(new Uint8Array(0))), "");
  for (const name of ["a\0b", "a b", "ä.test", "a\x7f", "\r\n", "../a", "a/b"]) {
    assertEquals(nameIn(serverNameExtension(text(name))), "", JSON.stringify(name));
  }
  const long = "x".repeat(60_000);
  const bytes = helloWith(serverNameExtension(text(long)));
  assertEquals(typeof readServerName(bytes), "string"); // its record is longer than one can be
  assertEquals(readServerName(split(bytes, 16_000, 16_000, 16_000)), ""); // no host name
});

Deno.test("readServerName() sees at once what is no ClientHello", () => {
  const garbage = [
    new TextEncoder().encode("GET / HTTP/1.1\r\n"),
    new Uint8Array([22, 2]), // no TLS
    new Uint8Array([21, 3, 1, 0, 2, 1, 0]), // an alert
    new Uint8Array([22, 3, 1, 0xff, 0xff]), // longer than one can be
    new Uint8Array([22, 3, 1, 0, 1, 2]), // a ServerHello
  ];
  for (const bytes of garbage) assertEquals(readServerName(bytes), "");
  // One that says it is longer than anything that is read.
  const huge = concat([
    new Uint8Array([22, 3, 1, 0x40, 0, 1, 0xff, 0xff, 0xff]),
    new Uint8Array(16_380),
  ]);
  assertEquals(byteByByte(concat(new Array(5).fill(huge))).name, "");
});

Deno.test("readServerName() never throws, and always comes to an end", () => {
  const mutation = fc.record({
    at: fc.nat(hello.length - 1),
    byte: fc.nat(255),
    kind: fc.constantFrom("set", "insert", "remove"),
  });
  const start = fc.constantFrom(hello, namelessHello, split(hello, 3, 1, 100));
  fc.assert(fc.property(start, fc.array(mutation, { maxLength: 8 }), (from, mutations) => {
    const bytes = [...from];
    for (const { at, byte, kind } of mutations) {
      if (kind === "set") bytes[at] = byte;
      else bytes.splice(at, kind === "remove" ? 1 : 0, ...(kind === "remove" ? [] : [byte]));
    }
    check(new Uint8Array(bytes));
  }));
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (tail) => {
    check(tail);
    const message = concat([new Uint8Array([1, 0]), u16(tail.length), tail]);
    check(concat([new Uint8Array([22, 3, 1]), u16(message.length), message]));
  }));
});

/** Either text, or a wish for more bytes than there are; the same in pieces as at once. */
function check(bytes: Uint8Array): void {
  const found = readServerName(bytes);
  if (typeof found === "number") {
    assert(found > bytes.length && found <= 65_541, String(found));
    return;
  }
  assertEquals(byteByByte(concat([bytes, new Uint8Array(5)])).name, found);
}

nativeTest("readServerName() reads what this library sends", async () => {
  for (const [serverName, expected] of [["a.test", "a.test"], ["B.test.", "B.test"], ["::1", ""]]) {
    let found: unknown;
    const loop = new Loop({ backend: epoll });
    const listener = loop.createContext({
      onData(socket, data) {
        found = readServerName(data);
        socket.close();
        listener.close();
      },
    }).listen({ host: "127.0.0.1", port: 0 });
    loop.createContext({ tls: {} }).connect({ port: listener.port, serverName });
    await runLoop(loop);
    loop.free();
    assertEquals(found, expected);
  }
});

// ---------------------------------------------------------------- names and patterns

/** Of all patterns that match label by label, the one that is exact where the others are not. */
function bestMatch(patterns: Iterable<string>, name: string): string | undefined {
  const labels = normal(name).split(".");
  const matching = [...patterns].map((pattern) => normal(pattern).split("."))
    .filter((parts) => parts.length === labels.length)
    .filter((parts) => parts.every((part, i) => part === "*" || part === labels[i]));
  // A wildcard sorts behind anything else, from the first label on.
  matching.sort((a, b) => {
    const at = a.findIndex((part, i) => part !== b[i]);
    return a[at] === "*" ? 1 : -1;
  });
  return matching[0]?.join(".");
}

function normal(name: string): string {
  return name.toLowerCase().replace(/\.$/, "");
}

Deno.test("ServerNames finds what a plain search finds", () => {
  const label = fc.constantFrom("a", "A", "b", "c", "*");
  const name = fc.tuple(fc.array(label, { minLength: 1, maxLength: 4 }), fc.boolean())
    .map(([labels, isRooted]) => labels.join(".") + (isRooted ? "." : ""));
  const step = fc.record({ adds: fc.boolean(), pattern: name });
  const asked = name.filter((text) => !text.includes("*"));
  fc.assert(fc.property(fc.array(step), fc.array(asked, { minLength: 1 }), (steps, names) => {
    const tree = new ServerNames<{ value: number }>();
    const model = new Map<string, { value: number }>();
    steps.forEach(({ adds, pattern }, i) => {
      const before = model.get(normal(pattern));
      if (adds) {
        const value = { value: i };
        model.set(normal(pattern), value);
        assertEquals(tree.set(pattern, value), before);
      } else {
        model.delete(normal(pattern));
        assertEquals(tree.delete(pattern), before);
      }
    });
    assertEquals(tree.size, model.size);
    assertEquals(new Set(tree.values()), new Set(model.values()));
    for (const name of names) {
      const best = bestMatch(model.keys(), name);
      assertEquals(tree.find(name), best === undefined ? undefined : model.get(best), name);
    }
  }));
});
