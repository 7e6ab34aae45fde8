/**
 * Connections that carry one request each.
 * @module
 */
import type { Loop } from "@usockets/usockets";
import { AnswerCheck } from "./answers.ts";
import type { Reply } from "./orders.ts";
import type { Exchange } from "./requests.ts";

/** A closed connection keeps its pair of ports for a minute: so there are several addresses. */
const HOSTS = Array.from({ length: 16 }, (_, i) => `127.0.0.${i + 1}`);

/** Connects, requests and closes, so many at a time. */
export function churn(
  loop: Loop,
  { port, tls, request, expectation }: Exchange,
  { seconds, connections }: { seconds: number; connections: number },
  done: (reply: Reply) => void,
): void {
  const errors: Record<string, number> = {};
  const beganAt = performance.now();
  let count = 0, begun = 0, open = 0, isOver = false;
  const timer = loop.createTimer({ fallthrough: true });
  timer.set(() => isOver = true, seconds * 1000);

  const context = loop.createContext({
    tls,
    socketExt: () => new AnswerCheck(expectation),
    onOpen(socket) {
      if (tls === undefined) socket.write(request);
    },
    onHandshake: (socket) => void socket.write(request),
    onData(socket, data) {
      if (socket.ext.receive(data)) {
        count++;
        socket.close();
      } else if (socket.ext.problem !== "") {
        socket.close(1, socket.ext.problem);
      }
    },
    onConnectError: (_socket, error) => ended(error.message),
    onClose(socket, code, reason) {
      if (code !== 0) ended(code < 0 ? (reason as Error).message : String(reason));
      else ended(socket.isShutDown ? "closed by the server" : "");
    },
  });

  function ended(error: string): void {
    if (error !== "") errors[error] = (errors[error] ?? 0) + 1;
    open--;
    if (!isOver) begin();
    if (open > 0) return;
    timer.close();
    context.free();
    done({ count, seconds: (performance.now() - beganAt) / 1000, errors });
  }

  function begin(): void {
    open++;
    context.connect({ host: HOSTS[begun++ % HOSTS.length], port });
  }

  for (let i = 0; i < connections; i++) begin();
}
