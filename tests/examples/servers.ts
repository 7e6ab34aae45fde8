/** Runs the example servers in the test's own process, on each backend. */
import {
  type BackendFactory,
  denoConn,
  epoll,
  type ListenSocket,
  Loop,
  type LoopOptions,
} from "@usockets/usockets";
import type { ListenFlags, Listening } from "../../examples/support/server.ts";
import { nativeTest } from "../support/native.ts";
import { readAll, writeAll } from "../support/streams.ts";

/** How long a test may take before it counts as hanging, in milliseconds. */
const HANG_MS = 20_000;

/** A server that runs for the length of a test. */
export interface RunningServer {
  readonly loop: Loop;
  readonly listener: ListenSocket;
  readonly drain: () => void;
  connect(): Promise<Deno.TcpConn>;
}

/** Registers a test of a server on each backend; where there is no epoll, that one is skipped. */
export function serverTest(
  name: string,
  listen: (loop: Loop, flags: ListenFlags) => Listening,
  test: (server: RunningServer) => Promise<void>,
  options: Pick<LoopOptions, "timeoutGranularityMs"> = {},
): void {
  Deno.test(`${name} (deno)`, () => withServer(denoConn, listen, test, options));
  nativeTest(`${name} (epoll)`, () => withServer(epoll, listen, test, options));
}

async function withServer(
  backend: BackendFactory,
  listen: (loop: Loop, flags: ListenFlags) => Listening,
  test: (server: RunningServer) => Promise<void>,
  options: LoopOptions,
): Promise<void> {
  using loop = new Loop({ ...options, backend });
  const flags = { host: "127.0.0.1", port: 0, tls: undefined, reusePort: false, more: undefined };
  const { listener, drain } = listen(loop, flags);
  const running = loop.run();
  let hangs = false;
  const watchdog = setTimeout(() => {
    hangs = true;
    loop.free(); // closes what the test waits for
  }, HANG_MS);
  try {
    const connect = () => Deno.connect({ port: listener.port });
    await test({ loop, listener, drain, connect });
  } finally {
    clearTimeout(watchdog);
    await loop.shutdown({ graceSeconds: 0 });
    await running;
  }
  if (hangs) throw new Error(`the server did not end its connections in ${HANG_MS} ms`);
}

/** Sends the text, piece by piece, and reads until the server ends. */
export async function exchange(conn: Deno.Conn, ...pieces: string[]): Promise<string> {
  for (const piece of pieces) await send(conn, piece);
  const answer = new TextDecoder().decode(await readAll(conn));
  conn.close();
  return answer;
}

/** Sends the text. */
export async function send(conn: Deno.Conn, text: string): Promise<void> {
  await writeAll(conn, new TextEncoder().encode(text));
}

/** Reads until the text that has come is so long, or the server ends. */
export async function receive(conn: Deno.Conn, length: number): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(length);
  let text = "";
  while (text.length < length) {
    const count = await conn.read(buffer.subarray(text.length));
    if (count === null) break;
    text += decoder.decode(buffer.subarray(text.length, text.length + count));
  }
  return text;
}
