/**
 * Connections for the micro benchmarks: an open socket of the library, and a peer that drops what
 * comes when it is told to, outside of what is measured.
 * @module
 */
import { denoConn, epoll, Loop, type Socket, type TlsOptions } from "@usockets/usockets";
import { SOL_SOCKET } from "../../../ffi/constants.ts";
import { openLibc } from "../../../ffi/libc.ts";
import { setNonblocking, setOption } from "../../../ffi/sockets.ts";
import { HandDriven } from "../../../tests/support/hand_driven.ts";
import { read, socketPair, write } from "../../../tests/support/native.ts";

const SO_SNDBUF = 7;

/** A socket on epoll. */
export interface EpollPair {
  readonly socket: Socket;
  /** The descriptor of the socket, and of its peer. */
  readonly fd: number;
  readonly peerFd: number;
  /** Drops everything that the socket has sent. */
  drain(): void;
}

/** A socket on denoConn. */
export interface ConnPair {
  readonly socket: Socket;
  /** Drops so many bytes that the socket has sent or will send. */
  drain(bytes: number): Promise<void>;
}

/**
 * A unix socket, since the kernel has the least to do for those: on TCP the send would go through
 * the whole stack, the receiver's side too, and hide what the library costs.
 */
export async function epollPair(tls?: TlsOptions): Promise<EpollPair> {
  const [fd, peerFd] = socketPair();
  const libc = openLibc();
  const what = "Cannot prepare a benchmark";
  setNonblocking(libc, peerFd, what);
  setOption(libc, fd, SOL_SOCKET, SO_SNDBUF, 1 << 20, what); // Linux allows 416 KiB by default
  const loop = new Loop({ backend: epoll });
  const { promise, resolve } = Promise.withResolvers<Socket>();
  const landing = tls === undefined ? "onOpen" : "onHandshake";
  loop.createContext({ tls, [landing]: (socket: Socket) => resolve(socket) }).adoptHandle(fd);
  loop.integrate();
  if (tls !== undefined) await shakeHands(peerFd);
  const socket = await promise;
  const buffer = new Uint8Array(1 << 20);
  return {
    socket,
    fd,
    peerFd,
    drain: () => {
      while (libc.recv(peerFd, buffer, buffer.length, 0) > 0);
    },
  };
}

/** A client of OpenSSL's on a descriptor. What it is sent later it need not decrypt. */
async function shakeHands(fd: number): Promise<void> {
  using peer = new HandDriven("client", {});
  const send = () => {
    const bytes = peer.take();
    if (bytes.length > 0) write(fd, bytes);
  };
  while (!peer.handshake()) {
    send();
    await new Promise((resolve) => setTimeout(resolve, 1));
    peer.feed(read(fd));
  }
  send();
}

/** TCP on loopback. */
export async function connPair(): Promise<ConnPair> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const [conn, peer] = await Promise.all([
    Deno.connect({ port: listener.addr.port }),
    listener.accept(),
  ]);
  listener.close();
  const loop = new Loop({ backend: denoConn });
  const socket = await new Promise<Socket>((resolve) => {
    loop.createContext({ onOpen: (socket) => resolve(socket as Socket) }).adoptHandle(conn);
    loop.integrate();
  });
  const buffer = new Uint8Array(1 << 20);
  return {
    socket,
    drain: async (bytes) => {
      for (let rest = bytes; rest > 0;) rest -= (await peer.read(buffer))!;
    },
  };
}
