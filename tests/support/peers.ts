/**
 * Peers that are no sockets of ours, driven by scripts: Deno's own, some that end in ways which
 * those cannot, and a relay for TLS ones.
 */
import net from "node:net";
import type { ListenSocket } from "@usockets/usockets";
import type { Fixture } from "../conformance/fixture.ts";
import { RawPeer } from "./raw_peer.ts";
import { type Script, settled } from "./scripts.ts";
import { readAll, writeAll } from "./streams.ts";

/** A peer that is no socket of ours. */
export interface Peer {
  /** Done when all bytes are on their way. */
  send(bytes: Uint8Array): Script;
  /** Everything that comes until the other's end. */
  readAll(): Script<Uint8Array>;
  /** Ends its own stream, and can still read. */
  end(): Script;
  close(): void;
}

/** A peer that sends bytes, then a RST with no FIN before it. */
export interface ResettingPeer {
  /** Done when the bytes are on their way. */
  send(bytes: Uint8Array): Script;
  /** Done when the RST is sent. */
  reset(): Script;
}

/** Connects a peer with the combination's transport; TLS is agreed on when it returns. */
export function* dialPeer(t: Fixture, listener: ListenSocket): Script<Peer> {
  if (t.transport.isBlocking) return yield* RawPeer.connect(t, listener);
  const conn = yield* settled(t.dial(listener));
  if (t.transport.isTls) yield* settled((conn as Deno.TlsConn).handshake());
  return {
    send: (bytes) => settled(writeAll(conn, bytes)),
    readAll: () => settled(readAll(conn)),
    end: () => settled(conn.closeWrite()),
    close: () => conn.close(),
  };
}

/**
 * Connects a peer that will reset. On unix sockets the server must write two bytes or more: those
 * reset when they close with input unread, so this one reads the first byte only.
 */
export function* resettingPeer(t: Fixture, listener: ListenSocket): Script<ResettingPeer> {
  if (t.transport.isBlocking) return yield* RawPeer.connect(t, listener);
  if (t.transport.isUnix) {
    const conn = yield* settled(Deno.connect({ transport: "unix", path: listener.host }));
    return {
      send: (bytes) => settled(writeAll(conn, bytes)),
      *reset() {
        yield* settled(conn.read(new Uint8Array(1)));
        conn.close();
      },
    };
  }
  if (!t.transport.isTls) {
    const socket = yield* settled(connectTcp(listener.port));
    return {
      send: (bytes) =>
        settled(new Promise<void>((resolve) => socket.write(bytes, () => resolve()))),
      reset: () => settled(destroyed(socket, () => socket.resetAndDestroy())),
    };
  }
  const relay = yield* settled(Relay.start(listener.port, true));
  const conn = yield* settled(Deno.connect({ hostname: "127.0.0.1", port: relay.port }));
  const tlsConn = yield* settled(
    Deno.startTls(conn, { hostname: "localhost", caCerts: [t.clientTls!.ca!] }),
  );
  return {
    send: (bytes) => settled(writeAll(tlsConn, bytes)),
    *reset() {
      yield* settled(tlsConn.closeWrite()); // the relay makes a RST of it
      yield* settled(relay.finished);
      tlsConn.close();
    },
  };
}

/**
 * Passes the bytes of one TLS connection on, but for close_notify alerts: both ends see the
 * other's TCP end only, which the relay sends on as a FIN, or to the server as a RST.
 */
export class Relay {
  readonly port: number;
  /** Resolves when both connections and the listener are closed. */
  readonly finished: Promise<void>;

  /** Listens, for one client, in front of a server's port. */
  static async start(serverPort: number, resetsServer = false): Promise<Relay> {
    const server = net.createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return new Relay(server, serverPort, resetsServer);
  }

  private constructor(server: net.Server, serverPort: number, resetsServer: boolean) {
    this.port = (server.address() as net.AddressInfo).port;
    this.finished = new Promise((resolve) => server.once("close", () => resolve()));
    server.once("connection", async (front) => {
      server.close();
      front.on("error", () => {}); // a client that resets
      const back = await connectTcp(serverPort);
      back.on("error", () => {});
      pipeWithoutAlerts(front, back, () => {
        if (!resetsServer) back.end();
        else {
          back.resetAndDestroy();
          front.destroy();
        }
      });
      pipeWithoutAlerts(back, front, () => void front.end());
      front.once("close", () => back.destroy());
      back.once("close", () => front.destroy());
    });
  }
}

/** Length of an encrypted TLS 1.3 alert: two bytes, the content type and a tag of 16. */
const ALERT_BYTES = 2 + 1 + 16;
const HEADER_BYTES = 5;

function pipeWithoutAlerts(from: net.Socket, to: net.Socket, onEnd: () => void): void {
  let rest = new Uint8Array(0);
  from.on("data", (chunk: Uint8Array) => {
    let bytes = new Uint8Array([...rest, ...chunk]);
    while (bytes.length >= HEADER_BYTES) {
      const length = HEADER_BYTES + (bytes[3] << 8 | bytes[4]);
      if (bytes.length < length) break;
      if (length !== HEADER_BYTES + ALERT_BYTES && !to.write(bytes.slice(0, length))) from.pause();
      bytes = bytes.subarray(length);
    }
    rest = bytes;
  });
  to.on("drain", () => from.resume());
  // Behind the last write, which has reached the kernel then.
  from.on("end", () => to.write(new Uint8Array(0), onEnd));
}

/** A TCP connection that can send a RST. */
export async function connectTcp(port: number): Promise<net.Socket> {
  const socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
  await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
  socket.setNoDelay(true);
  return socket;
}

/** Destroys a socket and waits until it is closed. */
export async function destroyed(socket: net.Socket, destroy: () => void): Promise<void> {
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  destroy();
  await closed;
}
