// Facts of Deno's own networking that src/deno/ is built on, shown on plain Deno. Should a test
// fail with a new Deno, look at what relies on it: most name a workaround that may be gone then.
import {
  assert,
  assertEquals,
  assertFalse,
  assertLess,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { connect, type Socket as NodeSocket } from "node:net";
import { testCertificates } from "../support/certificates.ts";
import { readAll } from "../support/streams.ts";
import { runProgram } from "../support/subprocess.ts";

const strict = { sanitizeOps: true, sanitizeResources: true };

const hostname = "127.0.0.1";

/** Both ends of a TCP connection. */
async function pair(): Promise<[near: Deno.TcpConn, far: Deno.TcpConn]> {
  using listener = Deno.listen({ hostname, port: 0 });
  const near = await Deno.connect({ hostname, port: listener.addr.port });
  return [near, await listener.accept()];
}

/** A Conn, and a peer that can send a RST without a FIN before it, which Deno's own cannot. */
async function resettable(): Promise<[Deno.TcpConn, NodeSocket]> {
  using listener = Deno.listen({ hostname, port: 0 });
  const { promise, resolve } = Promise.withResolvers<void>();
  const peer = connect(listener.addr.port, hostname, resolve);
  const conn = await listener.accept();
  await promise;
  return [conn, peer];
}

function reset(peer: NodeSocket): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  peer.on("close", () => resolve());
  peer.resetAndDestroy();
  return promise;
}

/** True unless the promise settles within 100 ms. */
async function staysPending(promise: Promise<unknown>): Promise<boolean> {
  let timer: number | undefined;
  const time = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(true), 100) as unknown as number;
  });
  const settled = promise.then(() => false, () => false);
  const isPending = await Promise.race([time, settled]);
  clearTimeout(timer);
  return isPending;
}

const buffer = () => new Uint8Array(1000);

// ---------------------------------------------------------------- listening

Deno.test("Listener.accept() rejects with Busy while another is pending", strict, async () => {
  const listener = Deno.listen({ hostname, port: 0 });
  const pending = assertRejects(() => listener.accept(), Deno.errors.BadResource);
  await assertRejects(() => listener.accept(), Deno.errors.Busy);
  listener.close();
  await pending; // closing rejects it: what the library waits for
});

Deno.test("Listener.accept() rejects with code EMFILE when descriptors run out", async () => {
  const { code, stdout, stderr } = await runProgram(
    `
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const conn = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
    const files = [];
    try {
      while (true) files.push(Deno.openSync("/dev/null"));
    } catch { /* none is left */ }
    const outcome = await listener.accept().catch((error) => error.code);
    for (const file of files) file.close();
    console.log(outcome);
    (await listener.accept()).close();
    console.log("accepted");
    conn.close();
    listener.close();`,
    { descriptors: 64 },
  );
  assertEquals([code, stdout], [0, "EMFILE\naccepted\n"], stderr);
});

Deno.test("Listener.close() frees the port only with the pending accept", strict, async () => {
  const listener = Deno.listen({ hostname, port: 0 });
  const { port } = listener.addr;
  const pending = listener.accept().catch(() => {});
  listener.close();
  assertThrows(() => Deno.listen({ hostname, port }), Deno.errors.AddrInUse);
  await pending;
  Deno.listen({ hostname, port }).close();
});

Deno.test("Listener.close() frees the port at once without an accept", strict, () => {
  const listener = Deno.listen({ hostname, port: 0 });
  listener.close();
  Deno.listen({ hostname, port: listener.addr.port }).close();
});

Deno.test("Listener.close() unlinks a unix path with the pending accept", strict, async () => {
  const directory = Deno.makeTempDirSync();
  const path = `${directory}/x.sock`;
  const listener = Deno.listen({ transport: "unix", path });
  assert(Deno.lstatSync(path).isSocket);
  const pending = listener.accept().catch(() => {});
  listener.close();
  await pending;
  assertThrows(() => Deno.lstatSync(path), Deno.errors.NotFound);
  Deno.removeSync(directory);
});

Deno.test("Deno.listen() takes IPv4 on :: and reports it as ::ffff:a.b.c.d", {
  ...strict,
  ignore: !hasIpv6(),
}, async () => {
  using listener = Deno.listen({ hostname: "::", port: 0 });
  const conn = await Deno.connect({ hostname, port: listener.addr.port });
  const accepted = await listener.accept();
  assertEquals(accepted.remoteAddr.hostname, "::ffff:127.0.0.1");
  conn.close();
  accepted.close();
});

function hasIpv6(): boolean {
  try {
    Deno.listen({ hostname: "::", port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}

Deno.test("Deno.listen() with reusePort ends the process without --unstable-net", async () => {
  const listen = `
    console.log("listenDatagram" in Deno);
    try {
      Deno.listen({ hostname: "127.0.0.1", port: 0, reusePort: true }).close();
      console.log("listened");
    } catch {
      console.log("caught");
    }`;
  const refused = await runProgram(listen);
  assertEquals([refused.code, refused.stdout], [70, "false\n"], refused.stderr);
  assertStringIncludes(refused.stderr, "--unstable-net");
  const allowed = await runProgram(listen, { flags: ["-A", "--unstable-net"] });
  assertEquals([allowed.code, allowed.stdout], [0, "true\nlistened\n"], allowed.stderr);
});

// ---------------------------------------------------------------- reading, writing, closing

Deno.test("Conn.close() rejects a pending read with Interrupted", strict, async () => {
  const [near, far] = await pair();
  const read = assertRejects(() => near.read(buffer()), Deno.errors.Interrupted);
  near.close();
  await read;
  far.close();
});

Deno.test("Conn.read() gives the bytes before a FIN", strict, async () => {
  const [near, far] = await pair();
  await far.write(new Uint8Array(10));
  far.close();
  assertEquals([await near.read(buffer()), await near.read(buffer())], [10, null]);
  near.close();
});

Deno.test("Conn.read() shows a RST once, behind the bytes, and then null", strict, async () => {
  const [conn, peer] = await resettable();
  const { promise, resolve } = Promise.withResolvers<void>();
  peer.write("bytes", () => resolve());
  await promise;
  await reset(peer);
  assertEquals(await conn.read(buffer()), 5);
  await assertRejects(() => conn.read(buffer()), Deno.errors.ConnectionReset);
  assertEquals(await conn.read(buffer()), null);
  await assertRejects(() => conn.write(buffer()), Deno.errors.BrokenPipe);
  conn.close();
});

Deno.test("Conn.write() consumes a RST, and the next read gives a clean null", strict, async () => {
  const [conn, peer] = await resettable();
  await reset(peer);
  await assertRejects(() => conn.write(buffer()), Deno.errors.ConnectionReset);
  assertEquals(await conn.read(buffer()), null);
  conn.close();
});

Deno.test("Conn.read() does not show a RST after the end, only write() does", strict, async () => {
  const [near, far] = await pair();
  await far.closeWrite();
  assertEquals(await near.read(buffer()), null);
  await near.write(buffer());
  far.close(); // unread input: a RST
  assertEquals(await near.read(buffer()), null);
  await assertRejects(() => near.write(buffer()), Deno.errors.BrokenPipe);
  assertEquals(await near.read(buffer()), null);
  near.close();
});

Deno.test("Conn.read() of no bytes resolves at once", strict, async () => {
  const [near, far] = await pair();
  assertEquals(await near.read(new Uint8Array(0)), 0);
  near.close();
  far.close();
});

Deno.test("a Conn without an operation does not keep the process alive", async () => {
  const { code, stderr } = await runProgram(`
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = listener.addr;
    const [near, far] = await Promise.all([Deno.connect({ port }), listener.accept()]);
    listener.close();
    await new Promise(() => {});
    near.close();
    far.close();`);
  assertEquals(code, 1);
  assertStringIncludes(stderr, "promise never resolved");
});

Deno.test("reads that complete in one turn are gathered by a microtask", strict, async () => {
  const pairs: [Deno.TcpConn, Deno.TcpConn][] = [];
  for (let i = 0; i < 100; i++) pairs.push(await pair());
  let batches = 0, isGathering = false;
  const reads = pairs.map(async ([near]) => {
    await near.read(buffer());
    if (isGathering) return;
    isGathering = true;
    queueMicrotask(() => {
      isGathering = false;
      batches++;
    });
  });
  const writes = pairs.map(([, far]) => far.write(new Uint8Array(1)));
  await Promise.all([...reads, ...writes]);
  // 1 as a rule; a busy machine may split them
  assertLess(batches, 50);
  for (const conn of pairs.flat()) conn.close();
});

// ---------------------------------------------------------------- connecting

Deno.test("Deno.connect() names no class for what does not resolve", strict, async () => {
  const error = await assertRejects(
    () => Deno.connect({ hostname: "no.such.host.invalid", port: 9 }),
    Error,
    "failed to lookup address information",
  );
  assert((error as Error).constructor === Error);
});

Deno.test("Deno.connect() can be aborted", strict, async () => {
  // a full queue: Linux takes one more than the backlog, then drops what comes
  const listener = Deno.listen({ hostname, port: 0, tcpBacklog: 1 });
  const options = { hostname, port: listener.addr.port };
  const fillers = [await Deno.connect(options), await Deno.connect(options)];
  const abort = new AbortController();
  const hanging = Deno.connect({ ...options, signal: abort.signal });
  assert(await staysPending(hanging), "the connect does not hang");
  abort.abort();
  await assertRejects(() => hanging, DOMException);
  for (const conn of fillers) conn.close();
  listener.close();
});

// ---------------------------------------------------------------- TLS

Deno.test(
  "Deno.startTls() with a read pending throws Busy and loses the Conn",
  strict,
  async () => {
    const [near, far] = await pair();
    const read = near.read(buffer()).catch(() => {});
    await assertRejects(() => Deno.startTls(near, { hostname: "localhost" }), Deno.errors.Busy);
    await assertRejects(() => near.write(buffer()), Deno.errors.BadResource);
    assertThrows(() => near.close(), Deno.errors.BadResource);
    far.close();
    await read;
  },
);

Deno.test("Deno.connectTls() resolves before the handshake", strict, async () => {
  using listener = Deno.listen({ hostname, port: 0 });
  const tls = await Deno.connectTls({ hostname, port: listener.addr.port });
  const silent = await listener.accept(); // it never speaks TLS
  silent.close();
  await assertRejects(() => tls.handshake(), Deno.errors.UnexpectedEof);
  tls.close();
});

Deno.test("TlsConn has neither setNoDelay() nor setKeepAlive()", strict, async () => {
  const { ca, server } = await testCertificates();
  using listener = Deno.listenTls({ hostname, port: 0, ...server });
  const options = { hostname, port: listener.addr.port, caCerts: [ca] };
  const [near, far] = await Promise.all([Deno.connectTls(options), listener.accept()]);
  await Promise.all([near.handshake(), far.handshake()]);
  for (const conn of [near, far]) {
    assertFalse("setNoDelay" in conn);
    assertFalse("setKeepAlive" in conn);
    conn.close();
  }
});

Deno.test("TlsConn.close() before the handshake ended leaves TCP open", strict, async () => {
  const { server } = await testCertificates();
  using listener = Deno.listenTls({ hostname, port: 0, ...server });
  const silent = await Deno.connect({ hostname, port: listener.addr.port });
  const accepted = await listener.accept();
  accepted.close();
  const end = silent.read(buffer());
  assert(await staysPending(end), "a closed TlsConn closes TCP: src/deno/handshakes.ts may go");
  silent.close();
  await end.catch(() => {});
});

Deno.test("TlsConn.close() with no room to write leaves TCP open", strict, async () => {
  const { ca, server } = await testCertificates();
  using listener = Deno.listenTls({ hostname, port: 0, ...server });
  const options = { hostname: "localhost", port: listener.addr.port, caCerts: [ca] };
  const [near, far] = await Promise.all([Deno.connectTls(options), listener.accept()]);
  const fill = async (conn: Deno.Conn) => {
    for (;;) {
      const writing = conn.write(new Uint8Array(65_536));
      if (await staysPending(writing)) return { writing };
    }
  };
  const [unsent, cut] = await Promise.all([fill(near), fill(far)]);
  far.close();
  await assertRejects(() => cut.writing, Deno.errors.Interrupted);
  assert(await staysPending(unsent.writing), "a closed TlsConn closes TCP: mend docs/backends.md");
  // until the peer takes what is on its way
  await Promise.allSettled([unsent.writing, readAll(near)]);
  near.close();
});

Deno.test("TlsConn.read() tells a truncated stream from one that ended", strict, async () => {
  const { ca, server } = await testCertificates();
  using listener = Deno.listenTls({ hostname, port: 0, ...server });
  for (const isTruncated of [false, true]) {
    const near = await Deno.connect({ hostname, port: listener.addr.port });
    const far = await listener.accept();
    // a relay in between, so that TCP can be cut behind the back of TLS
    using between = Deno.listen({ hostname, port: 0 });
    const raw = await Deno.connect({ hostname, port: between.addr.port });
    const relay = await between.accept();
    const pipes = [
      relay.readable.pipeTo(near.writable, { preventClose: true }).catch(() => {}),
      near.readable.pipeTo(relay.writable, { preventClose: true }).catch(() => {}),
    ];
    const tls = await Deno.startTls(raw, { hostname: "localhost", caCerts: [ca] });
    await Promise.all([tls.handshake(), far.handshake()]);
    if (isTruncated) {
      await relay.closeWrite();
      await assertRejects(() => tls.read(buffer()), Deno.errors.UnexpectedEof);
    } else {
      await far.closeWrite();
      assertEquals(await tls.read(buffer()), null);
    }
    for (const conn of [tls, far]) conn.close();
    await Promise.all(pipes);
    for (const conn of [near, relay]) {
      try {
        conn.close();
      } catch { /* its stream closed it at the end */ }
    }
  }
});
