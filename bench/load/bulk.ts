/**
 * As many bytes as one connection can carry, in one direction.
 * @module
 */
import type { Loop, Socket } from "@usockets/usockets";
import { BLOCK, isOfStream } from "./answers.ts";
import type { Reply } from "./orders.ts";
import type { Exchange } from "./requests.ts";

type Done = (reply: Reply) => void;

/** Reads what the server sends. Every byte is checked. */
export function download(loop: Loop, { port, tls }: Exchange, seconds: number, done: Done): void {
  const errors: Record<string, number> = {};
  const timer = loop.createTimer({ fallthrough: true });
  let beganAt = performance.now(), count = 0;

  const context = loop.createContext({
    tls,
    onOpen(socket) {
      beganAt = performance.now();
      timer.set(() => socket.close(1), seconds * 1000);
    },
    onData(socket, data) {
      if (!isOfStream(data, count)) socket.close(2, "bytes that differ");
      count += data.length;
    },
    onConnectError: (_socket, error) => ended(error.message),
    onClose: (_socket, code, reason) => {
      if (code < 0) ended((reason as Error).message);
      else ended(code === 1 ? "" : String(reason ?? "closed by the server"));
    },
  });
  context.connect({ host: "127.0.0.1", port });

  function ended(error: string): void {
    if (error !== "") errors[error] = 1;
    timer.close();
    context.free();
    done({ count, seconds: (performance.now() - beganAt) / 1000, errors });
  }
}

/** Sends what the server takes, which at the end tells how many bytes it got. */
export function upload(loop: Loop, { port, tls }: Exchange, seconds: number, done: Done): void {
  const errors: Record<string, number> = {};
  const timer = loop.createTimer({ fallthrough: true });
  let beganAt = performance.now(), endedAt = 0, count = 0, told = "";

  const context = loop.createContext({
    tls,
    onOpen(socket) {
      beganAt = performance.now();
      timer.set(() => {
        endedAt = performance.now();
        socket.shutdown();
      }, seconds * 1000);
      if (tls === undefined) send(socket);
    },
    onHandshake: send,
    onWritable: send,
    onData(_socket, data) {
      told += new TextDecoder().decode(data);
    },
    onConnectError: (_socket, error) => ended(error.message),
    onClose(_socket, code, reason) {
      if (code < 0) ended((reason as Error).message);
      else ended(Number(told) === count ? "" : "bytes that did not arrive");
    },
  });
  context.connect({ host: "127.0.0.1", port });

  function send(socket: Socket): void {
    while (endedAt === 0) {
      const start = count & 255;
      const block = start === 0 ? BLOCK : BLOCK.subarray(start);
      const written = socket.write(block);
      count += written;
      if (written < block.length) return;
    }
  }

  function ended(error: string): void {
    if (error !== "") errors[error] = 1;
    timer.close();
    context.free();
    done({ count, seconds: ((endedAt || performance.now()) - beganAt) / 1000, errors });
  }
}
