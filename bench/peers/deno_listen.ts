/**
 * The contestant that uses what Deno has built in, `Deno.listen` and `Deno.listenTls`, with a loop
 * of reads and writes for each connection.
 * @module
 */
import {
  backlog,
  block,
  cert,
  compute,
  countLine,
  endsRequest,
  host,
  isShared,
  isTls,
  key,
  response,
  service,
  start,
} from "./common.mjs";

/** Idle connections keep their buffer: requests need no large one. */
const BUFFER_BYTES = service === "http" ? 16_384 : 65_536;

const SERVICES: Record<string, (conn: Deno.Conn) => Promise<void>> = {
  async http(conn) {
    const buffer = new Uint8Array(BUFFER_BYTES);
    for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) {
      if (!endsRequest(buffer, n)) continue;
      compute();
      const written = await conn.write(response);
      if (written < response.length) await writeAll(conn, response.subarray(written));
    }
  },

  async echo(conn) {
    const buffer = new Uint8Array(BUFFER_BYTES);
    for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) {
      await writeAll(conn, buffer.subarray(0, n));
    }
  },

  async sink(conn) {
    const buffer = new Uint8Array(BUFFER_BYTES);
    let count = 0;
    for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) count += n;
    await writeAll(conn, countLine(count));
  },

  async source(conn) {
    for (;;) await writeAll(conn, block);
  },
};

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let rest = bytes; rest.length > 0;) rest = rest.subarray(await conn.write(rest));
}

async function serveConn(conn: Deno.TcpConn | Deno.TlsConn): Promise<void> {
  try {
    if ("setNoDelay" in conn) conn.setNoDelay(true);
    await SERVICES[service](conn);
    if (isTls) await conn.closeWrite(); // with a close_notify, which close() does not wait for
  } catch {
    // The peer is gone.
  }
  conn.close();
}

start(import.meta, async (port: number, listening: (port: number) => void) => {
  const options = { hostname: host, port, tcpBacklog: backlog, reusePort: isShared };
  const listener = isTls
    ? Deno.listenTls({
      ...options,
      cert: Deno.readTextFileSync(cert!),
      key: Deno.readTextFileSync(key!),
    })
    : Deno.listen(options);
  listening(listener.addr.port);
  for (;;) {
    try {
      serveConn(await listener.accept());
    } catch {
      // The peer is gone already.
    }
  }
});
