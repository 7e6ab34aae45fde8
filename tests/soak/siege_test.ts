// Those who take part in a siege, each against a server that shows what it does; then a small siege
// as a whole, with processes.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { CloseCode, epoll, Loop, type SocketContext, type TlsOptions } from "@usockets/usockets";
import { makeTrialCertificates } from "../../examples/support/certificates.ts";
import { besiege, type Effort, FORMS } from "../../soak/siege/campaign.ts";
import { figuresOf } from "../../soak/siege/figures.ts";
import { Flood } from "../../soak/siege/flood.ts";
import type { VisitorsReply } from "../../soak/siege/orders.ts";
import { captureClientHello, Slowloris } from "../../soak/siege/slowloris.ts";
import { Visitors } from "../../soak/siege/visitors.ts";
import { nativeTest, runLoop } from "../support/native.ts";
import { runProgram } from "../support/subprocess.ts";

/** Longer than any test: it ends by what it awaits. */
const FOR_EVER_SECONDS = 1000;
const ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/** Everybody on one loop, which ends when somebody frees it. */
async function onLoop(test: (loop: Loop) => void): Promise<void> {
  using loop = new Loop({ backend: epoll });
  test(loop);
  await runLoop(loop);
}

function listen(context: SocketContext): number {
  return context.listen({ host: "0.0.0.0", port: 0 }).port;
}

/** What visitors say of a server. */
async function visit(serve: (loop: Loop) => SocketContext): Promise<VisitorsReply> {
  let reply: VisitorsReply | undefined;
  await onLoop((loop) => {
    const port = listen(serve(loop));
    const inspect = (answer: Uint8Array) =>
      new TextDecoder().decode(answer) === ANSWER ? "" : "not the answer";
    const visitors = new Visitors(loop, {
      port,
      tls: undefined,
      expectation: { bytes: null, inspect },
      connections: 4,
      perSecond: 200,
    });
    visitors.visit(0.1, (it) => {
      reply = it;
      loop.free();
    });
  });
  return reply!;
}

nativeTest(
  "siege: visitors charge a server that stalls with all requests that were due",
  async () => {
    const { count, errors, latency } = await visit((loop) => {
      let isStalled: boolean | undefined;
      const context = loop.createContext<number>({
        socketExt: () => 0,
        onData(socket) {
          if (isStalled === undefined) {
            loop.createTimer({ fallthrough: true }).set(() => {
              isStalled = false;
              for (let one = context.head; one !== null; one = one.next) {
                if (one.ext !== 0) one.write(ANSWER);
              }
            }, 200);
            isStalled = true;
          }
          if (isStalled) socket.ext++;
          else socket.write(ANSWER);
        },
      });
      return context as SocketContext;
    });
    assertEquals([count, errors], [20, {}]);
    // The last was due before 100 ms were over, and none was answered before 200.
    assert(latency.p50 >= 100_000, `${latency.p50} µs`);
  },
);

nativeTest("siege: visitors count connections that the server closes", async () => {
  const { count, errors } = await visit((loop) =>
    loop.createContext({ onData: (socket) => socket.close() }) as SocketContext
  );
  assertEquals([count, errors], [0, { "closed by the server": 4 }]);
});

nativeTest("siege: visitors count wrong answers", async () => {
  const { count, errors } = await visit((loop) =>
    loop.createContext({ onData: (socket) => void socket.write("no") }) as SocketContext
  );
  assertEquals([count, errors], [0, { "not the answer": 4 }]);
});

nativeTest("siege: slow clients send heads and bodies byte by byte", async () => {
  const seen: string[] = [];
  await onLoop((loop) => {
    const port = listen(loop.createContext({
      socketExt: () => "",
      onData(socket, data) {
        socket.ext += new TextDecoder().decode(data);
        if (!/^GE|\r\n\r\naa/.test(socket.ext)) return;
        seen.push(socket.ext.slice(0, 4).trim());
        if (seen.includes("GE") && seen.includes("POST")) loop.free();
      },
    }) as SocketContext);
    const slowloris = new Slowloris(loop, { port, tls: undefined, connections: 4 }, null);
    slowloris.attack(FOR_EVER_SECONDS, () => {});
  });
  assertEquals(new Set(seen), new Set(["GE", "POST"]));
});

nativeTest("siege: slow clients that are closed come back", async () => {
  let opened = 0;
  await onLoop((loop) => {
    const port = listen(loop.createContext({
      onOpen(socket) {
        if (++opened < 60) socket.close();
        else loop.free();
      },
    }));
    const slowloris = new Slowloris(loop, { port, tls: undefined, connections: 20 }, null);
    slowloris.attack(FOR_EVER_SECONDS, () => {});
  });
  assertEquals(opened, 60);
});

async function serverTls(): Promise<TlsOptions> {
  const { server } = await makeTrialCertificates();
  return { cert: server.cert, key: server.key };
}

nativeTest("siege: half of the slow clients of TLS stop inside the handshake", async () => {
  const server = await serverTls();
  const tls: TlsOptions = { rejectUnauthorized: false };
  let firstByte: number | undefined, opened = 0, handshaken = 0, answered = 0;
  await onLoop((loop) => {
    const told = () => {
      if (opened === 20 && handshaken === 10 && answered === 10) loop.free();
    };
    const port = listen(loop.createContext({
      tls: server,
      onOpen: () => (opened++, told()),
      onHandshake: () => (handshaken++, told()),
    }));
    captureClientHello(loop, tls, (clientHello) => {
      firstByte = clientHello[0];
      // The server answers such a ClientHello, so it has had the work of it.
      const client = loop.createContext({
        onOpen: (socket) => void socket.write(clientHello),
        onData: (socket, data) => {
          assertEquals(data[0], 22);
          socket.reset();
          opened--;
          answered = 10;
          told();
        },
      });
      client.connect({ host: "127.0.0.1", port });
      const slowloris = new Slowloris(loop, { port, tls, connections: 20 }, clientHello);
      slowloris.attack(FOR_EVER_SECONDS, () => {});
    });
  });
  assertEquals([firstByte, opened, handshaken], [22, 20, 10]);
});

nativeTest("siege: a flood resets, closes and sends garbage", async () => {
  const ends = new Set<string>();
  await onLoop((loop) => {
    const ended = (how: string) => {
      ends.add(how);
      if (ends.size === 3) loop.free();
    };
    const port = listen(loop.createContext({
      onData: (socket) => {
        socket.shutdown();
        ended("garbage");
      },
      onEnd: (socket) => {
        socket.close();
        ended("closed");
      },
      onClose: (_socket, code) => void (code === CloseCode.Reset && ended("reset")),
    }));
    new Flood(loop, port, 1000).attack(FOR_EVER_SECONDS, () => {});
  });
  assertEquals(ends, new Set(["garbage", "closed", "reset"]));
});

nativeTest(
  "siege: a flood tells how many connects it came to, and leaves nothing open",
  async () => {
    let opened = 0, connects = 0;
    await onLoop((loop) => {
      const context = loop.createContext({ onOpen: () => void opened++ });
      const listener = context.listen({ host: "0.0.0.0", port: 0 });
      new Flood(loop, listener.port, 1000).attack(0.1, (reply) => {
        connects = reply.connects;
        loop.free();
      });
    });
    assert(connects > 0);
    assert(opened <= connects, `${opened} of ${connects}`);
  },
);

const TINY: Effort = {
  rounds: 1,
  calmSeconds: 0.2,
  siegeSeconds: 0.5,
  warmUpSeconds: 0.1,
  settleSeconds: 0,
  slow: 20,
  floodPerSecond: 200,
  visitors: 4,
  requestsPerSecond: 100,
};

for (const name of ["HTTP, deno", "HTTPS, epoll, blocking"]) {
  nativeTest(`siege: a small one of ${name}`, async () => {
    const folder = await Deno.makeTempDir();
    const files = { cert: `${folder}/cert.pem`, key: `${folder}/key.pem` };
    const { cert, key } = await serverTls();
    await Deno.writeTextFile(files.cert, cert!);
    await Deno.writeTextFile(files.key, key!);
    const form = FORMS.find((form) => form.name === name)!;
    const rounds = await besiege(form, TINY, files);
    await Deno.remove(folder, { recursive: true });
    assertEquals([rounds.form, rounds.calm.length, rounds.siege.length], [name, 2, 1]);
    const figures = figuresOf(rounds);
    assertEquals([figures.errors, figures.slowloris.failed], [{}, 0]);
    assert(figures.ratio > 0 && figures.connectsPerSecond > 0);
  });
}

Deno.test("siege: tells of a form that is not there in one line", async () => {
  const { code, stderr } = await runProgram(new URL("../../soak/siege.ts", import.meta.url), {
    flags: ["--allow-all"],
    args: ["--only", "QUIC"],
  });
  assertEquals(code, 1);
  assertStringIncludes(stderr, Deno.build.os === "linux" ? "no form is called QUIC" : "Linux");
});
