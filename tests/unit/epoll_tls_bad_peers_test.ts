// Peers that speak TLS badly, or not at all: their connection ends, and the server serves others.
import {
  assert,
  assertEquals,
  assertInstanceOf,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { CloseCode, epoll, Loop, type LoopOptions, type TlsOptions } from "@usockets/usockets";
import { certificateFor, testCertificates } from "../support/certificates.ts";
import { nativeTest, runLoop } from "../support/native.ts";
import { Tapped } from "../support/tapped.ts";
import { concat, pattern, readAll, writeAll } from "../support/streams.ts";

const host = "127.0.0.1";

/** What a server came to know of its peers. */
interface Story {
  readonly closed: { code: number; reason: (Error & { code?: string }) | undefined }[];
  handshakes: number;
  received: string;
}

/** A server under way. */
interface Served {
  readonly port: number;
  /** Resolves when so many connections are closed. */
  closes(count: number): Promise<void>;
}

interface ServeOptions {
  tls?: TlsOptions;
  /** Written before the handshake. */
  greeting?: string;
  loop?: LoopOptions;
}

/**
 * Runs a server that echoes, has a peer meet it, and then a client that must be served as if nothing
 * had been.
 */
async function serve(
  meet: (served: Served) => Promise<void>,
  { tls = {}, greeting = "", loop: options = {} }: ServeOptions = {},
): Promise<Story> {
  const { server: local, ca } = await testCertificates();
  const loop = new Loop({ backend: epoll, timeoutGranularityMs: 5, ...options });
  const story: Story = { closed: [], handshakes: 0, received: "" };
  let changed = Promise.withResolvers<void>();
  const server = loop.createContext({
    tls: { ...local, ...tls },
    onOpen: (socket) => void (greeting !== "" && socket.write(greeting)),
    onHandshake: () => void story.handshakes++,
    onData(socket, data) {
      story.received += new TextDecoder().decode(data);
      socket.write(data);
    },
    onClose(_socket, code, reason) {
      story.closed.push({ code, reason: reason as Error | undefined });
      changed.resolve();
      changed = Promise.withResolvers();
    },
  });
  // Every ClientHello is looked into.
  server.addServerName("other.test", await certificateFor("other.test"));
  const listener = server.listen({ host, port: 0 });
  const running = runLoop(loop);
  try {
    const met = meet({
      port: listener.port,
      async closes(count) {
        while (story.closed.length < count) await changed.promise;
      },
    });
    await Promise.race([met, running]); // a loop that hangs throws
  } catch (error) {
    loop.free();
    throw error;
  }
  const before = { ...story, closed: [...story.closed] };
  let answer = "";
  loop.createContext({
    tls: { ca },
    onHandshake: (socket) => void socket.write("still there?"),
    onData(socket, data) {
      answer += new TextDecoder().decode(data);
      if (answer === `${greeting}still there?`) socket.end();
    },
    onClose: () => listener.close(),
  }).connect({ host, port: listener.port });
  await running;
  loop.free();
  assertEquals(answer, `${greeting}still there?`);
  assertEquals(story.closed.at(-1), { code: 0, reason: undefined });
  return before;
}

/** Sends bytes as they are, reads until the server ends, and closes. */
async function send(served: Served, ...pieces: Uint8Array[]): Promise<Uint8Array> {
  const conn = await Deno.connect({ hostname: host, port: served.port });
  for (const piece of pieces) await writeAll(conn, piece);
  const answer = await readAll(conn).catch(() => new Uint8Array(0)); // a RST where it reads no more
  conn.close();
  return answer;
}

/** One connection failed, and no other had been. */
function assertFailed(story: Story, code?: string): void {
  assertEquals(story.closed.length, 1);
  const [{ code: closeCode, reason }] = story.closed;
  assertInstanceOf(reason, Error);
  assertEquals(closeCode, CloseCode.Tls, reason.message);
  if (code !== undefined) assertEquals(reason.code, code);
}

// ---------------------------------------------------------------- in place of a handshake

const ascii = (text: string) => new TextEncoder().encode(text);

const garbage: [string, Uint8Array, string][] = [
  ["plain HTTP", ascii("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "ERR_SSL_HTTP_REQUEST"],
  ["another protocol", ascii("SSH-2.0-OpenSSH_9.6\r\n"), "ERR_SSL_WRONG_VERSION_NUMBER"],
  [
    "a record longer than one can be",
    concat([new Uint8Array([22, 3, 1, 0xff, 0xff]), pattern(70_000)]),
    "ERR_SSL_PACKET_LENGTH_TOO_LONG",
  ],
  ["an alert first", new Uint8Array([21, 3, 3, 0, 2, 2, 40]), "ERR_SSL_UNEXPECTED_MESSAGE"],
  [
    "data first",
    new Uint8Array([23, 3, 3, 0, 5, 1, 2, 3, 4, 5]),
    "ERR_SSL_UNEXPECTED_MESSAGE",
  ],
  [
    "a ClientHello of nothing",
    new Uint8Array([22, 3, 1, 0, 4, 1, 0, 0, 0]),
    "ERR_SSL_LENGTH_TOO_SHORT",
  ],
];

for (const [what, bytes, code] of garbage) {
  nativeTest(`${what} ends the connection with onClose(Tls)`, async () => {
    const story = await serve((served) => send(served, bytes).then(() => {}));
    assertFailed(story, code);
    assertEquals([story.handshakes, story.received], [0, ""]);
  });
}

nativeTest("the alert that says what is wrong reaches a peer that goes on sending", async () => {
  let answer = new Uint8Array(0);
  await serve(async (served) => {
    const conn = await Deno.connect({ hostname: host, port: served.port });
    // What the server has not read when it closes makes a RST of its FIN.
    await writeAll(conn, concat([new Uint8Array([22, 3, 1, 0xff, 0xff]), pattern(100_000)]));
    answer = new Uint8Array(await readAll(conn));
    conn.close();
  }, { loop: { recvBufferBytes: 1000 } });
  const [type, major, _minor, , length, level] = answer;
  assertEquals([type, major, length, level], [21, 3, 2, 2]); // an alert, and a fatal one
});

nativeTest("random bytes never hurt the server", async () => {
  const story = await serve(async (served) => {
    const tries = Array.from({ length: 20 }, (_, seed) => {
      const bytes = pattern(1 + seed * 97, seed + 1);
      if (seed % 2 === 0) {
        bytes.set([22, 3, 1, 0, Math.min(255, bytes.length)].slice(0, bytes.length));
      }
      return bytes;
    });
    for (const bytes of tries) {
      const conn = await Deno.connect({ hostname: host, port: served.port });
      await writeAll(conn, bytes);
      await conn.closeWrite();
      await readAll(conn).catch(() => {}); // a RST where it reads no more
      conn.close();
    }
    await served.closes(tries.length);
  });
  assertEquals(story.closed.length, 20);
  for (const { code, reason } of story.closed) {
    assertEquals(code, CloseCode.Tls);
    assertInstanceOf(reason, Error);
  }
  assertEquals(story.handshakes, 0);
});

// ---------------------------------------------------------------- in the midst of one

/** The ClientHello that Deno's own client sends for a name. */
async function clientHello(hostname: string): Promise<Uint8Array> {
  const listener = Deno.listen({ hostname: host, port: 0 });
  const accepted = listener.accept();
  const conn = await Deno.connect({ hostname: host, port: listener.addr.port });
  const tls = await Deno.startTls(conn, { hostname });
  const shaken = tls.handshake().catch(() => {}); // nobody answers
  const peer = await accepted;
  const buffer = new Uint8Array(4096);
  const length = (await peer.read(buffer))!;
  peer.close();
  await shaken;
  tls.close();
  listener.close();
  return buffer.subarray(0, length);
}

for (const pieceBytes of [4, 100]) {
  nativeTest(`a handshake in pieces of ${pieceBytes} bytes is as good as a whole one`, async () => {
    const { ca } = await testCertificates();
    const story = await serve(async (served) => {
      const tapped = await Tapped.connect(served.port, ca, pieceBytes);
      await writeAll(tapped.client, ascii("hello"));
      await tapped.client.read(new Uint8Array(16));
      await tapped.client.closeWrite();
      await served.closes(1);
      await tapped.close();
    });
    assertEquals([story.handshakes, story.received], [1, "hello"]);
    assertEquals(story.closed, [{ code: 0, reason: undefined }]);
  });
}

nativeTest("a ClientHello that is cut off is onClose(Tls) when the peer goes", async () => {
  const hello = await clientHello("other.test");
  for (const length of [1, 5, 6, 100, hello.length - 1]) {
    const story = await serve(async (served) => {
      const conn = await Deno.connect({ hostname: host, port: served.port });
      await writeAll(conn, hello.subarray(0, length));
      conn.close();
      await served.closes(1);
    });
    assertFailed(story);
    assertInstanceOf(story.closed[0].reason, Deno.errors.UnexpectedEof);
  }
});

nativeTest(
  "a close_notify in the middle of a handshake is onClose(Tls) with UnexpectedEof",
  async () => {
    const hello = await clientHello("other.test");
    const closeNotify = new Uint8Array([21, 3, 3, 0, 2, 1, 0]);
    const story = await serve((served) => send(served, hello, closeNotify).then(() => {}));
    assertFailed(story);
    assertInstanceOf(story.closed[0].reason, Deno.errors.UnexpectedEof);
  },
);

nativeTest("a ClientHello changed anywhere is refused or answered, and nothing worse", async () => {
  const hello = await clientHello("other.test");
  const story = await serve(async (served) => {
    for (let at = 0; at < hello.length; at += 7) {
      const bytes = hello.slice();
      bytes[at] ^= 0xff;
      const conn = await Deno.connect({ hostname: host, port: served.port });
      await writeAll(conn, bytes);
      await conn.closeWrite();
      await readAll(conn).catch(() => {}); // a RST where it reads no more
      conn.close();
    }
    await served.closes(Math.ceil(hello.length / 7));
  });
  assert(story.closed.every(({ code }) => code === CloseCode.Tls));
});

for (const greeting of ["", "220 welcome"]) {
  const how = greeting === "" ? "" : ", though something was written for it";
  nativeTest(`a client that never answers is closed in time${how}`, async () => {
    const conns: Deno.Conn[] = [];
    const story = await serve(
      async (served) => {
        for (const bytes of [new Uint8Array(0), new Uint8Array([22, 3, 1])]) {
          const conn = await Deno.connect({ hostname: host, port: served.port });
          await writeAll(conn, bytes);
          conns.push(conn);
        }
        await served.closes(2);
        // Nothing of them is left: the server has closed these connections as well.
        for (const conn of conns) {
          await readAll(conn).catch(() => {}); // a RST where it left bytes unread
          conn.close();
        }
      },
      { tls: { handshakeTimeoutSeconds: 0.02 }, greeting },
    );
    for (const { code, reason } of story.closed) {
      assertEquals(code, CloseCode.Tls);
      assertInstanceOf(reason, Deno.errors.TimedOut);
    }
    assertEquals(story.closed.length, 2);
  });
}

// ---------------------------------------------------------------- behind one

const intruders: [string, Uint8Array][] = [
  ["random bytes", pattern(1000)],
  ["a record that nobody encrypted", concat([new Uint8Array([23, 3, 3, 0, 50]), pattern(50)])],
  ["a record longer than one can be", new Uint8Array([23, 3, 3, 0xff, 0xff])],
  ["an empty record", new Uint8Array([23, 3, 3, 0, 0])],
  ["plain text", ascii("QUIT\r\n")],
  ["a plain alert", new Uint8Array([21, 3, 3, 0, 2, 2, 40])],
];

for (const [what, bytes] of intruders) {
  nativeTest(`${what} behind the handshake is onClose(Tls), behind what came before`, async () => {
    const { ca } = await testCertificates();
    const story = await serve(async (served) => {
      const tapped = await Tapped.connect(served.port, ca);
      await writeAll(tapped.client, ascii("before"));
      await tapped.client.read(new Uint8Array(16)); // the echo: it has arrived
      await tapped.inject(bytes);
      await served.closes(1);
      await tapped.close();
    });
    assertFailed(story);
    assertMatch(String(story.closed[0].reason?.code), /^ERR_SSL_/);
    assertEquals([story.handshakes, story.received], [1, "before"]);
  });
}

/** The openssl program, to ask what no other client here asks. */
function hasOpenssl(): boolean {
  try {
    return new Deno.Command("openssl", { args: ["version"], stdout: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

/** A test with the openssl program; skipped where there is none. */
function opensslTest(name: string, test: () => Promise<void>): void {
  if (hasOpenssl()) nativeTest(name, test);
  else Deno.test.ignore(`${name} (there is no openssl program)`, () => {});
}

/** `openssl s_client`, talked to: a line of one letter is a command of its own. */
class OpensslClient {
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  readonly #output: ReadableStreamDefaultReader<string>;
  readonly #errors: ReadableStreamDefaultReader<string>;
  #messages = "";
  #seen = "";

  constructor(port: number, ...args: string[]) {
    this.#child = new Deno.Command("openssl", {
      args: ["s_client", "-connect", `${host}:${port}`, ...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    this.#output = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#errors = this.#child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  }

  async say(line: string): Promise<void> {
    await this.#input.write(ascii(`${line}\n`));
  }

  /** Waits until the server has said a line. */
  async hears(line: string): Promise<void> {
    while (!this.#seen.includes(`\n${line}\n`)) {
      const { value, done } = await this.#output.read();
      assert(!done, "openssl ended");
      this.#seen += value;
    }
  }

  /** Waits until it has told so many times that it obeys a command: what is read with one is lost. */
  async tells(word: string, times: number): Promise<void> {
    while (this.#messages.split(word).length <= times) {
      const { value, done } = await this.#errors.read();
      assert(!done, "openssl ended");
      this.#messages += value;
    }
  }

  /** Its messages, once it has ended by itself or by our hanging up. */
  async ended(): Promise<string> {
    await this.#input.close().catch(() => {}); // it is gone already
    while (!(await this.#output.read()).done);
    for (let read = await this.#errors.read(); !read.done; read = await this.#errors.read()) {
      this.#messages += read.value;
    }
    await this.#child.status;
    return this.#messages;
  }
}

opensslTest("no client renegotiates", async () => {
  const story = await serve(async (served) => {
    const client = new OpensslClient(served.port, "-tls1_2");
    await client.say("hello");
    await client.hears("hello");
    await client.say("R");
    await served.closes(1);
    assertStringIncludes(await client.ended(), "RENEGOTIATING");
  });
  assertEquals([story.handshakes, story.received], [1, "hello\n"]);
});

opensslTest("a client that changes its keys, and asks for new ones, is served on", async () => {
  const story = await serve(async (served) => {
    const client = new OpensslClient(served.port, "-tls1_3");
    await client.say("hello");
    await client.hears("hello");
    for (const [i, command] of ["k", "K"].entries()) {
      await client.say(command);
      await client.tells("KEYUPDATE", i + 1);
      await client.say(`behind ${command}`);
      await client.hears(`behind ${command}`);
    }
    assertStringIncludes(await client.ended(), "KEYUPDATE");
    await served.closes(1);
  });
  assertEquals([story.handshakes, story.received], [1, "hello\nbehind k\nbehind K\n"]);
  assertEquals(story.closed, [{ code: 0, reason: undefined }]);
});
