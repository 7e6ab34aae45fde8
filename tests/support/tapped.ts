/** A TLS connection of Deno's through a tap: its bytes come in pieces, and others among them. */
import { writeAll } from "./streams.ts";

/** A TLS client of Deno's whose bytes pass through here, where others can be put in their place. */
export class Tapped {
  readonly client: Deno.TlsConn;
  readonly #front: Deno.TcpConn;
  readonly #back: Deno.TcpConn;
  readonly #pumping: Promise<unknown>;

  /** @param pieceBytes So many bytes of the client's the server gets at a time. */
  static async connect(port: number, ca: string, pieceBytes = 16_384): Promise<Tapped> {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const [front, back, conn] = await Promise.all([
      listener.accept(),
      Deno.connect({ hostname: "127.0.0.1", port }),
      Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
    ]);
    listener.close();
    conn.setNoDelay(true); // or it would wait for acknowledgements
    const tapped = new Tapped(
      await Deno.startTls(conn, { hostname: "localhost", caCerts: [ca] }),
      front,
      back,
      pieceBytes,
    );
    await tapped.client.handshake();
    return tapped;
  }

  private constructor(
    client: Deno.TlsConn,
    front: Deno.TcpConn,
    back: Deno.TcpConn,
    pieceBytes: number,
  ) {
    this.client = client;
    this.#front = front;
    this.#back = back;
    this.#pumping = Promise.allSettled([pump(front, back, pieceBytes), pump(back, front)]);
  }

  /** Sends the server bytes that are not of the client. */
  async inject(bytes: Uint8Array): Promise<void> {
    await writeAll(this.#back, bytes);
  }

  async close(): Promise<void> {
    this.client.close();
    this.#front.close();
    this.#back.close();
    await this.#pumping;
  }
}

/** Passes on what comes until its end. */
export async function pump(
  from: Deno.TcpConn,
  to: Deno.TcpConn,
  pieceBytes = 16_384,
): Promise<void> {
  to.setNoDelay(true);
  const buffer = new Uint8Array(pieceBytes);
  for (let n = await from.read(buffer); n !== null; n = await from.read(buffer)) {
    await writeAll(to, buffer.subarray(0, n));
    // no event tells that the other has read it: give it a turn
    if (n === pieceBytes) await new Promise((resolve) => setTimeout(resolve, 0));
  }
  await to.closeWrite();
}
