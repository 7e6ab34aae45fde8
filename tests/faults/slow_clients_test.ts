/** Clients that say as little as they can, as slowly as they can, to hold what others need. */
import { assertEquals, assertInstanceOf, assertLessOrEqual } from "@std/assert";
import "../support/preload.ts";
import { CloseCode, denoConn, epoll, Loop, type Socket } from "@usockets/usockets";
import { httpContext } from "../../examples/http_server.ts";
import { DEFAULT_LIMITS } from "../../examples/support/http_limits.ts";
import { type Behaviours, conformance } from "../conformance/fixture.ts";
import { transports } from "../conformance/transports.ts";
import { Attackers, recordClientHello } from "../support/attackers.ts";
import { testCertificates } from "../support/certificates.ts";
import { isLinux } from "../support/native.ts";

const hostname = "127.0.0.1";
const encoder = new TextEncoder();
const request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

const limits = { ...DEFAULT_LIMITS, idleSeconds: 0.3, requestSeconds: 0.3 };

/** Sends a byte every now and then until the server hangs up; how many it took. */
async function dribble(conn: Deno.Conn, text: string): Promise<number> {
  let sent = 0;
  let hasEnded = false;
  const reading = conn.read(new Uint8Array(1)).catch(() => null).then(() => hasEnded = true);
  for (const byte of encoder.encode(text)) {
    await conn.write(new Uint8Array([byte])).catch(() => {});
    sent++;
    // no event: it is as slow as it may be without being idle
    await Promise.race([reading, new Promise((resolve) => setTimeout(resolve, 20))]);
    if (hasEnded) break;
  }
  return sent;
}

/** Asks again and again on one connection, for longer than a request may take. */
async function behave(conn: Deno.Conn): Promise<number> {
  const buffer = new Uint8Array(1000);
  let answers = 0;
  const until = performance.now() + 800;
  while (performance.now() < until) {
    // the end of one request comes with the beginning of the next
    await conn.write(
      encoder.encode(answers === 0 ? `${request}GET /` : `${request.slice(5)}GET /`),
    );
    const count = await conn.read(buffer);
    if (count === null) break;
    answers++;
    // no event: it takes its time, as people do
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return answers;
}

for (const backend of [denoConn, epoll]) {
  for (const isTls of [false, true]) {
    const name = `${backend === epoll ? "epoll" : "deno"}${isTls ? ", TLS" : ""}`;
    Deno.test({
      name: `the HTTP server closes who dribbles, and serves who does not (${name})`,
      ignore: backend === epoll && !isLinux,
      async fn() {
        const { ca, server } = await testCertificates();
        using loop = new Loop({ backend, timeoutGranularityMs: 5 });
        const { context } = httpContext(loop, isTls ? server : undefined, limits);
        const { port } = context.listen({ host: hostname, port: 0 });
        const running = loop.run();
        const connect = () =>
          isTls
            ? Deno.connectTls({ hostname: "localhost", port, caCerts: [ca] })
            : Deno.connect({ hostname, port });
        const conns: Deno.Conn[] = [];
        const dial = async () => {
          const conn = await connect();
          conns.push(conn);
          return conn;
        };
        const head = `GET / HTTP/1.1\r\nHost: localhost\r\n${"X: y\r\n".repeat(100)}`;
        const body = `GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 600\r\n\r\n`;
        const [answers, ...sent] = await Promise.all([
          behave(await dial()),
          ...Array.from({ length: 5 }, async () => dribble(await dial(), head)),
          ...Array.from({ length: 5 }, async () => {
            const conn = await dial();
            await conn.write(encoder.encode(body));
            return dribble(conn, "z".repeat(599));
          }),
        ]);
        for (const conn of conns) conn.close();
        await loop.shutdown({ graceSeconds: 0 });
        await running;
        assertEquals(sent.filter((count) => count >= 599), [], "dribbled on");
        assertEquals(answers > 5, true, `${answers} answers`);
      },
    });
  }
}

const slowHandshakes: Behaviours = (behaviour) => {
  behaviour("slow handshakes hold maxConnections until their time is up", async (t) => {
    const hello = await recordClientHello(t.clientTls!);
    const attackers = new Attackers(t);
    const most = 3, slow = 8;
    let open = 0, highest = 0, answer = "", isServed = false;
    const reasons: unknown[] = [];
    const server = t.loop.createContext({
      tls: { ...t.serverTls, handshakeTimeoutSeconds: 0.1 },
      onOpen: () => void (highest = Math.max(highest, ++open)),
      onData(socket, data) {
        socket.write(data);
        socket.end();
      },
      onClose(_socket, code, reason) {
        open--;
        if (code === CloseCode.Clean) return;
        assertEquals(code, CloseCode.Tls);
        reasons.push(reason);
        endIfOver();
      },
    });
    const listener = server.listen({ host: hostname, port: 0, maxConnections: most });
    const hostile: Socket[] = [];
    const endIfOver = () => {
      if (reasons.length < slow || !isServed) return;
      listener.close();
      for (const socket of hostile) socket.reset();
    };
    const context = attackers.context({});
    for (let i = 0; i < slow; i++) {
      const socket = context.connect(t.addressOf(listener));
      hostile.push(socket);
      if (i % 2 === 0) continue; // says nothing at all
      let sent = 0;
      attackers.loop.createTimer({ fallthrough: true }).set(
        (timer) => {
          if (socket.isClosed || sent === hello.length - 1) return timer.close();
          if (socket.isEstablished) sent += socket.write(hello.subarray(sent, sent + 1));
        },
        5,
        5,
      );
    }
    const client = t.client({
      onHandshake: (socket) => void socket.write("at last"),
      onData: (_socket, data) => void (answer += new TextDecoder().decode(data)),
      onClose() {
        isServed = true;
        endIfOver();
      },
    });
    // behind all of them in the backlog
    attackers.after(30, () => t.connect(client, listener));
    await attackers.run();
    assertEquals([answer, reasons.length, open], ["at last", slow, 0]);
    for (const reason of reasons) assertInstanceOf(reason, Deno.errors.TimedOut);
    assertLessOrEqual(highest, most);
  });
};

for (const transport of transports) {
  if (transport.isTls) conformance(transport, "slow handshakes", slowHandshakes);
}
