/** Name servers that are down, or that never answer. */
import { assertEquals } from "@std/assert";
import "../support/preload.ts";
import { epoll, Loop } from "@usockets/usockets";
import { openLibc, replaceLibc } from "../../ffi/libc.ts";
import { denoRun, runInNamespace, whyNoNamespaces } from "../support/namespaces.ts";
import { nativeTest } from "../support/native.ts";
import { modUrl } from "../support/subprocess.ts";

const isSkipped = whyNoNamespaces === undefined ? "" : ` (skipped: ${whyNoNamespaces})`;

/** A machine whose one name server has an address of its own, for so many seconds a question. */
const script = (program: string) => `
  ip link set lo up
  mount -t tmpfs none /run
  echo "nameserver 127.0.0.1\noptions timeout:25 attempts:1" > /run/resolv.conf
  mount --bind /run/resolv.conf /etc/resolv.conf
  ${denoRun(program)}`;

/** A client of each backend that looks names up, beside one that needs none. */
const program = (backend: string, body: string) => `
  import { denoConn, epoll, Loop } from "${modUrl}";
  const loop = new Loop({ backend: ${backend}, timeoutGranularityMs: 5 });
  const failed = [];
  let rounds = 0;
  const client = loop.createContext({
    onOpen: () => console.log("opened"),
    onConnectError(socket, error) {
      failed.push(error.name + " " + (error.message.split(":")[0]));
      onFailed();
    },
  });
  const echo = loop.createContext({ onData: (socket, data) => void socket.write(data) })
    .listen({ host: "127.0.0.1", port: 0 });
  let isOver = false;
  loop.createContext({
    onOpen: (socket) => void socket.write("x"),
    onData(socket) {
      rounds++;
      if (!isOver) return socket.write("x");
      socket.end();
      echo.close();
    },
  }).connect({ host: "127.0.0.1", port: echo.port });
  ${body}
  await loop.run();
  console.log(failed.join("\\n"));
  console.log("others served: " + (rounds > 20));
  Deno.exit(); // the look-ups go on`;

const ways = ["denoConn", "epoll"];

Deno.test({
  name: `a name server that never answers holds up nobody but who asks${isSkipped}`,
  ignore: whyNoNamespaces !== undefined,
  async fn() {
    // More of them than threads that look names up, and as many again that are cancelled.
    const results = await Promise.all(ways.map((backend) =>
      runInNamespace(script(program(
        backend,
        `
          Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port: 53 });
          const count = 12;
          for (let i = 0; i < count; i++) {
            client.connect({ host: "slow" + i + ".example", port: 1, timeoutSeconds: 0.3 });
            const cancelled = client.connect({ host: "quiet" + i + ".example", port: 1 });
            loop.createTimer().set(() => cancelled.close(), 50);
          }
          function onFailed() {
            isOver = failed.length === count;
          }`,
      )))
    ));
    for (const [i, { stdout, stderr }] of results.entries()) {
      const lines = stdout.split("\n").slice(0, -1);
      const expected = Array.from(
        { length: 12 },
        (_, i) => `TimedOut Cannot connect to slow${i}.example`,
      );
      assertEquals(lines.sort(), [...expected, "others served: true"].sort(), ways[i] + stderr);
    }
  },
});

Deno.test({
  name: `a name server that is down ends connects with NotFound${isSkipped}`,
  ignore: whyNoNamespaces !== undefined,
  async fn() {
    const results = await Promise.all(ways.map((backend) =>
      runInNamespace(script(program(
        backend,
        `
          for (let i = 0; i < 20; i++) client.connect({ host: "a" + i + ".invalid", port: 1 });
          function onFailed() {
            if (failed.length === 20) loop.createTimer().set(() => void (isOver = true), 50);
          }`,
      )))
    ));
    for (const [i, { stdout, stderr }] of results.entries()) {
      const lines = stdout.split("\n").slice(0, -1);
      const expected = Array.from(
        { length: 20 },
        (_, i) => `NotFound Cannot resolve a${i}.invalid`,
      );
      assertEquals(lines.sort(), [...expected, "others served: true"].sort(), ways[i] + stderr);
    }
  },
});

nativeTest("connects that gave up waiting for their look-up have none", async () => {
  const libc = openLibc();
  const asked: string[] = [];
  const answers: ((code: number) => void)[] = [];
  const EAI_NONAME = -2;
  replaceLibc({
    ...libc,
    getaddrinfoAsync(node) {
      asked.push(new TextDecoder().decode((node as Uint8Array).subarray(0, -1)));
      return new Promise<number>((resolve) => answers.push(resolve));
    },
  });
  try {
    using loop = new Loop({ backend: epoll, timeoutGranularityMs: 5 });
    const failed: string[] = [];
    const client = loop.createContext({
      onConnectError(_socket, error) {
        failed.push(error.name);
        if (error.name === "TimedOut") return;
        // all that still wait are wanted, or were
        for (const answer of answers.splice(0)) answer(EAI_NONAME);
      },
    });
    const places = 8;
    for (let i = 0; i < places; i++) client.connect({ host: `slow${i}`, port: 1 });
    for (let i = 0; i < 5; i++) client.connect({ host: "late", port: 1, timeoutSeconds: 0.01 });
    for (let i = 0; i < 5; i++) client.connect({ host: "closed", port: 1 }).close();
    client.connect({ host: "patient", port: 1 });
    loop.createTimer().set(() => answers.shift()!(EAI_NONAME), 50);
    await loop.run();
    assertEquals(asked, [...Array.from({ length: places }, (_, i) => `slow${i}`), "patient"]);
    assertEquals(failed.filter((name) => name === "TimedOut").length, 5);
    assertEquals(failed.filter((name) => name === "NotFound").length, places + 1);
  } finally {
    replaceLibc(libc);
  }
});
