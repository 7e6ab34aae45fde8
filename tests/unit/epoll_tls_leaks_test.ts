// What OpenSSL hands out it gets back, whichever way a connection goes: every reference is counted.
import { assertEquals, assertGreater, assertThrows } from "@std/assert";
import {
  epoll,
  type Handlers,
  type ListenSocket,
  Loop,
  type Socket,
  type SocketContext,
  type TlsOptions,
} from "@usockets/usockets";
import { openLibssl, replaceLibssl } from "../../ffi/tls/libssl.ts";
import { type TestCertificates, testCertificates } from "../support/certificates.ts";
import { CountedLibssl } from "../support/counted_libssl.ts";
import { modes, nativeTest, runLoop } from "../support/native.ts";
import { pattern } from "../support/streams.ts";

const host = "127.0.0.1";
const certificates = await testCertificates();
const { ca, server: cert, client: clientCert } = certificates;

/** The handlers and the TLS of one end. */
interface End extends Handlers {
  tls?: TlsOptions;
}

/** A loop whose OpenSSL is counted. */
class Stage {
  readonly loop = new Loop({ backend: epoll, timeoutGranularityMs: 4 });
  readonly counted: CountedLibssl;

  constructor(counted: CountedLibssl) {
    this.counted = counted;
  }

  /**
   * Has clients connect, all at once or one after another. The listener closes when both ends of all
   * have closed.
   */
  meet(count: number, server: End, client: End, inTurn = false): SocketContext {
    let open = 2 * count, toConnect = count;
    const closed = () => {
      if (--open === 0) listener.close();
      else if (inTurn && open % 2 === 0) connect();
    };
    const closing = (end: End): End => ({
      ...end,
      onConnectError: closed, // reset before it was noticed that it is open
      onClose(socket, code, reason) {
        end.onClose?.(socket, code, reason);
        closed();
      },
    });
    const connect = () => {
      if (toConnect-- > 0) clients.connect({ host, port: listener.port, serverName: name });
    };
    const name = client.tls === undefined ? undefined : "localhost";
    const servers = this.context(closing(server));
    const clients = this.context(closing(client));
    const listener: ListenSocket = servers.listen({ host, port: 0 });
    for (let i = 0; i < (inTurn ? 1 : count); i++) connect();
    return servers;
  }

  context(end: End): SocketContext {
    return this.loop.createContext<unknown>(end as never);
  }
}

/** Registers a test for each way of running a loop: nothing is left when the loop is freed. */
function balances(name: string, play: (t: Stage) => void): void {
  for (const mode of modes) {
    nativeTest(`${name} (${mode})`, async () => {
      const counted = new CountedLibssl(openLibssl());
      const real = openLibssl();
      replaceLibssl(counted.libssl);
      try {
        const stage = new Stage(counted);
        play(stage);
        await runLoop(stage.loop, mode);
        stage.loop.free();
      } finally {
        replaceLibssl(real);
      }
      assertEquals(counted.left, {});
      assertGreater(counted.given, 0);
    });
  }
}

const echo: Handlers = {
  onData(socket, data) {
    socket.write(data);
    socket.end();
  },
};
const greet: Handlers = { onHandshake: (socket) => void socket.write("hello") };
const close = (socket: Socket) => socket.close();
const reset = (socket: Socket) => socket.reset();
const throwing = () => {
  throw thrown;
};
const thrown = new Error("of a handler");

for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
  for (const sessionTickets of [true, false]) {
    const kind = `${maxVersion}, tickets ${sessionTickets ? "on" : "off"}`;
    const tls = { maxVersion, sessionTickets };
    const server = { ...echo, tls: { ...cert, ...tls } };
    balances(`connections at once leave nothing with OpenSSL: ${kind}`, (t) => {
      t.meet(12, server, { ...greet, tls: { ca, ...tls } });
    });

    balances(`connections one after another leave nothing with OpenSSL: ${kind}`, (t) => {
      const resumed: boolean[] = [];
      const client: End = {
        tls: { ca, ...tls },
        onHandshake(socket, info) {
          resumed.push(info.resumed!);
          socket.write("hello");
        },
        onClose() {
          if (resumed.length < 6) return;
          assertEquals(resumed, [false, ...new Array(5).fill(sessionTickets)]);
        },
      };
      t.meet(6, server, client, true);
    });
  }
}

balances("certificates of both sides that are looked at leave nothing with OpenSSL", (t) => {
  const look = (socket: Socket) => {
    assertEquals(socket.tls!.authorized, true);
    assertEquals(socket.tls!.peerCertificate !== null, true);
  };
  t.meet(
    5,
    { ...echo, onHandshake: look, tls: { ...cert, ca, requestCert: true } },
    {
      onHandshake(socket) {
        look(socket);
        socket.write("hello");
      },
      tls: { ca, ...clientCert, alpnProtocols: ["h2"], ktls: true, preferLowMemory: true },
    },
  );
});

/** Why a handshake fails: what the server has, and the client. */
const failures: Record<string, (c: TestCertificates) => [TlsOptions, TlsOptions | undefined]> = {
  "an authority nobody trusts": (c) => [c.selfSigned, { ca: c.ca }],
  "a certificate of another host": (c) => [c.otherHost, { ca: c.ca }],
  "a certificate that has expired": (c) => [c.expired, { ca: c.ca }],
  "no certificate of the client": (c) => [{ ...c.server, ca: c.ca, requestCert: true }, { ca }],
  "no version that both allow": (c) => [
    { ...c.server, maxVersion: "TLSv1.2" },
    { ca: c.ca, minVersion: "TLSv1.3" },
  ],
  "a client that speaks no TLS": (c) => [c.server, undefined],
};

for (const [why, options] of Object.entries(failures)) {
  balances(`handshakes that fail leave nothing with OpenSSL: ${why}`, (t) => {
    const [server, client] = options(certificates);
    const speak = (socket: Socket) => void socket.write("GET / HTTP/1.1\r\n\r\n");
    t.meet(4, { ...echo, tls: server }, { onOpen: speak, tls: client });
  });
}

/** What each end does at the moment named. */
const cuts: Record<string, [server: Handlers, client: Handlers]> = {
  "closed by the server when it opens": [{ onOpen: close }, greet],
  "closed by the client when it opens": [echo, { onOpen: close }],
  "reset by the server when it opens": [{ onOpen: reset }, greet],
  "reset by the client when it opens": [echo, { onOpen: reset }],
  "ended by both when they open": [{ onOpen: (s) => s.end() }, { onOpen: (s) => s.end() }],
  "closed by the server in onHandshake": [{ onHandshake: close }, greet],
  "closed by the client in onHandshake": [echo, { onHandshake: close }],
  "reset by both in onHandshake": [{ onHandshake: reset }, { onHandshake: reset }],
  "closed by the server in onData": [{ onData: close }, greet],
  "closed with bytes to be sent when the handshake is done": [
    {
      onOpen(socket) {
        socket.write("a greeting");
        socket.close();
      },
    },
    {},
  ],
  "closed with more to be sent than there is room": [
    {
      onHandshake(socket) {
        socket.write(pattern(8 << 20));
        socket.close();
      },
    },
    {},
  ],
};

for (const [how, [server, client]] of Object.entries(cuts)) {
  balances(`connections leave nothing with OpenSSL: ${how}`, (t) => {
    t.meet(4, { ...server, tls: cert }, { ...client, tls: { ca } });
  });
}

balances("handlers that throw leave nothing with OpenSSL", (t) => {
  const loop = new Loop({ backend: epoll, onError: (error) => assertEquals(error, thrown) });
  t.loop.free();
  Object.assign(t, { loop });
  t.meet(2, { onOpen: throwing, tls: cert }, { ...greet, tls: { ca } });
  t.meet(2, { onHandshake: throwing, tls: cert }, { ...greet, tls: { ca } });
  t.meet(2, { onData: throwing, tls: cert }, { ...greet, tls: { ca } });
  const names = t.meet(2, { ...echo, onServerName: throwing, tls: cert }, { tls: { ca } });
  names.addServerName("another.test", cert);
});

balances("handshakes that take too long leave nothing with OpenSSL, and no descriptor", (t) => {
  const tls = { ...cert, handshakeTimeoutSeconds: 0.01 };
  t.meet(3, { tls }, {});
  t.meet(3, { onOpen: (socket) => void socket.write("a greeting"), tls }, {});
});

balances("connections that OpenSSL has no memory for close at once", (t) => {
  const early: Handlers = { onOpen: (socket) => void socket.write("a greeting") };
  t.counted.refusals.SSL_new = 3; // two clients, and what comes next
  t.meet(2, { ...early, tls: cert }, { ...early, tls: { ca } });
  t.meet(2, { ...echo, tls: cert }, { ...greet, tls: { ca } });
});

balances("TLS that is started later leaves nothing with OpenSSL", (t) => {
  const started = (options: TlsOptions, then?: (socket: Socket) => void): End => ({
    ...echo,
    onOpen(socket) {
      socket.upgradeTls(options);
      then?.(socket);
    },
  });
  const client = { ca, serverName: "localhost" };
  t.meet(4, started(cert), { ...started(client), ...greet });
  t.meet(2, started(cert, close), { ...started(client), ...greet });
  t.meet(2, started(cert), started(client, close));
  t.meet(2, started(cert, (socket) => socket.end()), started(client, reset));
  t.meet(2, {
    onOpen(socket) {
      assertThrows(() => socket.upgradeTls({ ca }), TypeError, "certificate");
      assertThrows(
        () => socket.upgradeTls({ ...cert, ca: "-----BEGIN x" }),
        Deno.errors.InvalidData,
      );
      socket.close();
    },
  }, {});
});

balances("server names that come and go leave nothing with OpenSSL", (t) => {
  const { otherHost } = certificates;
  let times = 0;
  const server = t.meet(
    6,
    {
      ...echo,
      tls: otherHost,
      onHandshake() {
        server.addServerName("localhost", cert, times++); // in place of the one that just served
        server.addServerName("*", cert);
        server.removeServerName("*");
      },
    },
    { ...greet, tls: { ca } },
    true,
  );
  server.addServerName("localhost", cert);
  server.addServerName("localhost", cert);
  assertThrows(() => server.addServerName("localhost", { ca }), TypeError, "certificate");
  assertThrows(() => server.addServerName("localhost", { ...cert, key: clientCert.key }));
  const asked: End = {
    ...echo,
    tls: otherHost,
    onServerName: (context, name) => context.addServerName(name, cert),
    onHandshake: (socket) => socket.context.removeServerName("localhost"),
  };
  t.meet(6, asked, { ...greet, tls: { ca } });
});

balances("contexts that are refused leave nothing with OpenSSL", (t) => {
  const garbage = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n";
  const refused: TlsOptions[] = [
    { ...cert, cert: garbage },
    { ...cert, cert: cert.cert + garbage },
    { ...cert, cert: cert.cert + clientCert.cert }, // the second did not issue the first
    { ...cert, key: clientCert.key },
    { ...cert, key: cert.cert },
    { ca: ca + garbage },
    { ciphers: "none of these" },
    { minVersion: "TLSv1.3", maxVersion: "TLSv1.2" },
  ];
  for (const tls of refused) assertThrows(() => t.context({ tls }));
  t.counted.refusals.SSL_CTX_new = 1;
  assertThrows(() => t.context({ tls: cert }));
  t.context({ tls: { ...cert, cert: cert.cert + ca } }).createChild().free();
});

balances("a loop that is freed in the middle of it leaves nothing with OpenSSL", (t) => {
  for (const count of [3, 9]) {
    let handshakes = 0;
    t.meet(12, { ...echo, onOpen: (socket) => void socket.write("early"), tls: cert }, {
      tls: { ca },
      onHandshake(socket) {
        socket.write(pattern(1 << 20));
        if (++handshakes === count) t.loop.free();
      },
    });
  }
});
