/** Peers that vanish without a word, because their link is cut: only time tells. */
import { assertEquals } from "@std/assert";
import { denoRun, runInNamespace, whyNoNamespaces } from "../support/namespaces.ts";
import { modUrl } from "../support/subprocess.ts";

/** Connects as soon as the link is there, says what part each connection plays, and stays. */
const peer = `
  const roles = ["keep-alive", "paused", "writer", "timeout", "end"];
  for (const role of roles) {
    for (;;) {
      try {
        const conn = await Deno.connect({ hostname: "10.77.0.1", port: 7000 });
        await conn.write(new TextEncoder().encode(role));
        break;
      } catch {
        // no event tells when there are a link and a server
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  }
  setTimeout(() => {}, 60_000);`;

/** Serves it, cuts the link, and tells how each connection closed. */
function server(backend: string, run: string): string {
  return `
    import { denoConn, epoll, Loop } from "${modUrl}";
    const loop = new Loop({ backend: ${backend}, timeoutGranularityMs: 20 });
    const told = [];
    const sockets = {};
    const tell = (role, code, reason) => {
      told.push(role + ": " + code + " " + (reason?.name ?? "no error"));
      // it sees nothing while it is paused
      if (told.length === 5) sockets.paused.resume();
      if (told.length < 6) return;
      console.log(told.sort().join("\\n"));
      isOver = true;
      listener.close();
    };
    const keepAlive = (socket) => {
      if (loop.backendName === "epoll") {
        socket.setKeepAlive(true, { idleSeconds: 1, intervalSeconds: 1, probes: 1 });
      } else socket.setKeepAlive(true); // with the timings of the system, which are the same here
    };
    const server = loop.createContext({
      socketExt: () => "",
      onData(socket, data) {
        const role = socket.ext = new TextDecoder().decode(data);
        sockets[role] = socket;
        if (role === "keep-alive" || role === "paused") keepAlive(socket);
        if (role === "paused") socket.pause();
        if (Object.keys(sockets).length === 5) vanish();
      },
      onTimeout: (socket) => socket.close(9),
      onClose: (socket, code, reason) => tell(socket.ext, code, reason),
    });
    function vanish() {
      const { success } = new Deno.Command("nsenter", {
        args: ["--net", "-t", Deno.env.get("PEER"), "ip", "link", "set", "us1", "down"],
      }).outputSync();
      if (!success) throw new Error("the link could not be cut");
      sockets.writer.write("anyone?");
      sockets.timeout.timeout(0.5);
      sockets.end.end(0.5);
      client.connect({ host: "10.77.0.2", port: 7001 });
    }
    const client = loop.createContext({
      onOpen: () => tell("connect", "opened"),
      onConnectError: (socket, error) => tell("connect", "failed", error),
    });
    const listener = server.listen({ host: "10.77.0.1", port: 7000 });

    // Another connection goes on all the while.
    let isOver = false, rounds = 0;
    const echo = loop.createContext({ onData: (socket, data) => void socket.write(data) })
      .listen({ host: "127.0.0.1", port: 0 });
    loop.createContext({
      onOpen: (socket) => void socket.write("x"),
      onData(socket) {
        rounds++;
        loop.createTimer().set(() => {
          if (!isOver) return socket.write("x");
          socket.end();
          echo.close();
        }, 10);
      },
      onClose: (socket, code) => console.log("bystander: " + code + " " + (rounds > 20)),
    }).connect({ host: "127.0.0.1", port: echo.port });
    await loop.${run}();`;
}

/**
 * The two ends of a cable; probes and repetitions soon come to an end. The other's hardware address is
 * not asked for: without an answer to that, some of what is said here is that the host is unreachable.
 */
const script = (program: string) => `
  ip link set lo up
  ip link add us0 type veth peer name us1 address 02:00:00:00:00:02
  unshare --net ${denoRun(peer)} & export PEER=$!
  while [ "$(readlink /proc/$PEER/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do :; done
  ip link set us1 netns $PEER
  ip addr add 10.77.0.1/24 dev us0
  ip link set us0 up
  ip neighbour add 10.77.0.2 lladdr 02:00:00:00:00:02 dev us0
  nsenter --net -t $PEER sh -c "ip addr add 10.77.0.2/24 dev us1; ip link set us1 up"
  cd /proc/sys/net/ipv4
  echo 1 | tee tcp_keepalive_time tcp_keepalive_intvl tcp_keepalive_probes tcp_syn_retries
  echo 2 > tcp_retries2
  cd /
  ${denoRun(program)}`;

const isSkipped = whyNoNamespaces === undefined ? "" : ` (skipped: ${whyNoNamespaces})`;

Deno.test({
  name: `peers that vanish are ended by time alone, and nobody else notices${isSkipped}`,
  ignore: whyNoNamespaces !== undefined,
  async fn() {
    const ways = [["denoConn", "run"], ["epoll", "run"], ["epoll", "runBlocking"]];
    const results = await Promise.all(
      ways.map(([backend, run]) => runInNamespace(script(server(backend, run)))),
    );
    for (const [i, { stdout, stderr }] of results.entries()) {
      const lines = stdout.split("\n").filter((line) => line.includes(":"));
      assertEquals(lines, [
        "connect: failed TimedOut",
        "end: 0 no error",
        "keep-alive: -6 TimedOut",
        "paused: -6 TimedOut",
        "timeout: 9 no error",
        "writer: -6 TimedOut",
        "bystander: 0 true",
      ], `${ways[i]}: ${stderr}`);
    }
  },
});
