/** Semantic 5 again: what TLS adds to connecting. */
import { assert, assertEquals } from "@std/assert";
import { CloseCode, type ConnectOptions, type TlsInfo, type TlsOptions } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { workFor } from "../support/work.ts";
import type { Behaviours, Fixture } from "./fixture.ts";

/** What a handshake of two contexts came to, on both sides. */
interface Outcome {
  client: string[];
  server: string[];
  clientInfo?: TlsInfo;
  serverInfo?: TlsInfo;
  reason?: unknown;
}

/** Connects a client to a server, each with its own TLS options, and closes what is agreed on. */
async function handshake(
  t: Fixture,
  serverTls: TlsOptions,
  clientTls: TlsOptions,
  options: ConnectOptions<undefined> = {},
): Promise<Outcome> {
  const outcome: Outcome = { client: [], server: [] };
  const server = t.loop.createContext({
    tls: serverTls,
    onOpen: (socket) => void outcome.server.push(`open ${socket.tls === null}`),
    onHandshake(socket, info) {
      outcome.server.push("handshake");
      outcome.serverInfo = info;
      assertEquals(socket.tls, info);
    },
    onClose: (_socket, code) => void outcome.server.push(`close ${code}`),
  });
  const listener = server.listen({ host: "127.0.0.1", port: 0 });
  const client = t.loop.createContext({
    tls: clientTls,
    onOpen: (socket) => void outcome.client.push(`open ${socket.tls === null}`),
    onHandshake(socket, info) {
      outcome.client.push("handshake");
      outcome.clientInfo = info;
      assertEquals(socket.tls, info);
      socket.end();
    },
    onData: () => assert(false, "data that nobody sent"),
    onClose(_socket, code, reason) {
      outcome.client.push(`close ${code}`);
      outcome.reason = reason;
      listener.close();
    },
    onConnectError(_socket, error) {
      listener.close();
      throw error;
    },
  });
  client.connect({ host: "127.0.0.1", port: listener.port, ...options });
  await t.run();
  return outcome;
}

const agreed = ["open true", "handshake", "close 0"];

/** The client refused the server: it opened, never agreed, and says why. */
function assertRefused(outcome: Outcome, why: RegExp): void {
  assertEquals(outcome.client, ["open true", `close ${CloseCode.Tls}`]);
  assert(outcome.reason instanceof Deno.errors.InvalidData, String(outcome.reason));
  assert(why.test(outcome.reason.message), outcome.reason.message);
  // the alert tells the server; where it is lost, a reset does
  assert(
    ["open true,close -3", "open true,close -1"].includes(outcome.server.join()),
    outcome.server.join(),
  );
}

export const connectingTls: Behaviours = (behaviour) => {
  behaviour("onHandshake follows onOpen, with what both sides agreed on", async (t) => {
    const { ca, server } = await testCertificates();
    const outcome = await handshake(
      t,
      { ...server, alpnProtocols: ["h2", "http/1.1"] },
      { ca, serverName: "localhost", alpnProtocols: ["unheard/1", "http/1.1"] },
    );
    assertEquals([outcome.client, outcome.server], [agreed, agreed]);
    assertEquals(
      [outcome.clientInfo!.alpnProtocol, outcome.serverInfo!.alpnProtocol],
      ["http/1.1", "http/1.1"],
    );
    assertEquals(outcome.clientInfo!.serverName, "localhost");
  });

  behaviour("without ALPN none is agreed on, and the host is what must be proved", async (t) => {
    const { ca, server } = await testCertificates();
    const outcome = await handshake(t, { ...server, alpnProtocols: ["h2"] }, { ca });
    assertEquals([outcome.client, outcome.server], [agreed, agreed]);
    assertEquals(
      [outcome.clientInfo!.alpnProtocol, outcome.serverInfo!.alpnProtocol],
      [null, null],
    );
  });

  behaviour("a server whose authority is not trusted is refused", async (t) => {
    const { ca, server, selfSigned } = await testCertificates();
    const localhost = { serverName: "localhost" };
    const otherCa = { ca: selfSigned.cert, ...localhost };
    assertRefused(await handshake(t, server, otherCa), /certificate|issuer|authority/i);
    assertRefused(await handshake(t, server, localhost), /certificate|issuer|authority/i);
    const itself = await handshake(t, selfSigned, { ca, ...localhost });
    assertRefused(itself, /certificate|issuer|authority/i);
  });

  behaviour("a server with another name is refused", async (t) => {
    const { ca, otherHost } = await testCertificates();
    const name = /name|host|certificate/i;
    assertRefused(await handshake(t, otherHost, { ca, serverName: "localhost" }), name);
    assertRefused(await handshake(t, otherHost, { ca }), name); // the host connected to
  });

  behaviour("a server whose certificate expired is refused", async (t) => {
    const { ca, expired } = await testCertificates();
    assertRefused(await handshake(t, expired, { ca, serverName: "localhost" }), /expired/i);
  });

  behaviour("connect()'s serverName overrides the context's", async (t) => {
    const { ca, server, otherHost } = await testCertificates();
    const clientTls = { ca, serverName: "localhost" };
    const options = { serverName: "other.test" };
    const outcome = await handshake(t, otherHost, clientTls, options);
    assertEquals(outcome.client, agreed);
    assertEquals(outcome.clientInfo!.serverName, "other.test");
    assertRefused(await handshake(t, server, clientTls, options), /name|host|certificate/i);
  });

  behaviour("a client certificate that nobody asks for does no harm", async (t) => {
    const { ca, server, client } = await testCertificates();
    const clientTls = { ca, ...client, alpnProtocols: ["h2"] };
    const outcome = await handshake(t, { ...server, alpnProtocols: ["h2"] }, clientTls);
    assertEquals([outcome.client, outcome.server], [agreed, agreed]);
    assertEquals(outcome.clientInfo!.alpnProtocol, "h2");
  });

  behaviour("a server that speaks no TLS ends the handshake with onClose(Tls)", async (t) => {
    const events: string[] = [];
    const plain = t.loop.createContext({
      onOpen: (socket) => void socket.write("220 this is not TLS\r\n"),
    });
    const listener = plain.listen({ host: "127.0.0.1", port: 0 });
    const client = t.client({
      onOpen: () => void events.push("open"),
      onHandshake: () => void events.push("handshake"),
      onData: () => void events.push("data"),
      onClose(_socket, code, reason) {
        events.push(`close ${code} ${(reason as Error).name}`);
        listener.close();
      },
    });
    t.connect(client, listener);
    await t.run();
    assertEquals(events, ["open", `close ${CloseCode.Tls} InvalidData`]);
  });

  behaviour("a client that speaks no TLS ends its handshake and no other", async (t) => {
    const events: string[] = [];
    const server = t.server({
      onHandshake(socket) {
        events.push("handshake");
        socket.end();
      },
      onData: () => void events.push("data"),
      onClose(_socket, code) {
        events.push(`close ${code}`);
        if (events.length === 1) t.connect(t.client(), listener);
        else listener.close();
      },
    });
    const listener = t.listen(server);
    const plain = t.loop.createContext({
      onOpen: (socket) => void socket.write("GET / HTTP/1.1\r\n\r\n"),
    });
    t.connect(plain, listener);
    await t.run();
    assertEquals(events, [`close ${CloseCode.Tls}`, "handshake", "close 0"]);
  });

  behaviour("a loop whose iterations take long still shakes hands with many", async (t) => {
    const count = 60;
    let agreed = 0, began = 0, iterations = 0;
    const onHandshake = () => {
      if (++agreed < 2 * count) return;
      iterations = t.loop.iterationNumber - began;
      t.loop.free();
    };
    const listener = t.listen(t.server({ onHandshake }));
    const client = t.client({ onHandshake });
    for (let i = 0; i < count; i++) t.connect(client, listener);
    began = t.loop.iterationNumber;
    await t.run();
    // With five steps in each it would take 48 at least.
    assert(iterations > 0 && iterations < 40, `${iterations} iterations`);
  }, { onPre: () => workFor(50) });
};
