/** A TCP port on which connecting never ends: its queue is full, so that the kernel drops SYNs. */
export class HangingPort {
  readonly port: number;
  readonly #listener: Deno.TcpListener;
  readonly #fillers: Deno.Conn[];

  private constructor(listener: Deno.TcpListener, fillers: Deno.Conn[]) {
    this.port = listener.addr.port;
    this.#listener = listener;
    this.#fillers = fillers;
  }

  /** Opens one; disposing of it ends what hangs. */
  static async open(): Promise<HangingPort> {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
    const fillers: Deno.Conn[] = [];
    // Linux queues one connection more than the backlog says.
    for (let i = 0; i < 2; i++) {
      fillers.push(await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }));
    }
    return new HangingPort(listener, fillers);
  }

  [Symbol.dispose](): void {
    for (const conn of this.#fillers) conn.close();
    this.#listener.close();
  }
}
