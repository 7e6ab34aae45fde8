/** A loop in a Worker that is terminated in the middle of its traffic: its peers see it end. */
import "../support/preload.ts";
import { assertEquals, assertGreater } from "@std/assert";
import { CloseCode, denoConn, epoll, Loop, reclaim, type WakeupHandle } from "@usockets/usockets";
import { testCertificates } from "../support/certificates.ts";
import { settledDescriptors, steadyDescriptors } from "../support/descriptors.ts";
import { modUrl } from "../support/subprocess.ts";

const { Clean, Reset, Truncated } = CloseCode;
const host = "127.0.0.1";
const connections = 5;

/** How long connections may outlive their Worker before they count as left open, in milliseconds. */
const HANG_MS = 20_000;

/** An echo server in a Worker; `run` is how. */
async function startServer(
  backend: string,
  run: string,
  tls: unknown,
): Promise<{ worker: Worker; port: number; handle: WakeupHandle }> {
  // JavaScript: Deno would check the types of TypeScript anew for each Worker.
  const code = `
    import { denoConn, epoll, Loop } from "${modUrl}";
    onmessage = ({ data: { tls } }) => {
      const loop = new Loop({ backend: ${backend} });
      const server = loop.createContext({
        tls,
        onData: (socket, data) => void socket.write(data),
      });
      const { port } = server.listen({ host: "${host}", port: 0 });
      postMessage({ port, handle: loop.wakeupHandle });
      loop.${run}();
    };`;
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(code)}`, { type: "module" });
  worker.postMessage({ tls });
  const said = await new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data));
  return { worker, ...said as { port: number; handle: WakeupHandle } };
}

for (const [backend, runs] of [["denoConn", ["run"]], ["epoll", ["run", "runBlocking"]]] as const) {
  for (const run of runs) {
    for (const isTls of [false, true]) {
      Deno.test({
        name: `a Worker terminated amid its traffic ends it: ${backend}, ${run}${
          isTls ? ", TLS" : ""
        }`,
        ignore: backend === "epoll" && Deno.build.os !== "linux",
        async fn() {
          const { ca, server } = await testCertificates();
          const serverTls = isTls ? { cert: server.cert, key: server.key } : undefined;
          const clientTls = isTls ? { ca, serverName: "localhost" } : undefined;
          const before = await steadyDescriptors();
          for (let round = 0; round < 3; round++) {
            const { worker, port, handle } = await startServer(backend, run, serverTls);
            const codes: number[] = [];
            const errors: unknown[] = [];
            let bytes = 0;
            const loop = new Loop({
              backend: backend === "epoll" ? epoll : denoConn,
              onError: (error) => void errors.push(error),
            });
            const chunk = new Uint8Array(10_000);
            const client = loop.createContext({
              tls: clientTls,
              [isTls ? "onHandshake" : "onOpen"]: (socket: { write(data: Uint8Array): number }) => {
                socket.write(chunk);
              },
              onData(socket, data) {
                bytes += data.length;
                socket.write(data);
                if (bytes > 300_000 && !isTerminated) terminate();
              },
              onClose: (_socket, code) => void codes.push(code),
            });
            let isTerminated = false;
            let reclaimed: Promise<unknown> | undefined;
            const terminate = () => {
              isTerminated = true;
              worker.terminate();
              // Deno closes what it opened itself, and nobody else what libc did
              if (backend === "epoll") reclaimed = reclaim(handle);
            };
            for (let i = 0; i < connections; i++) client.connect({ host, port });
            const watchdog = setTimeout(() => loop.free(), HANG_MS);
            await loop.run(); // to the end of all connections
            clearTimeout(watchdog);
            await reclaimed;
            const ends: number[] = [Clean, Reset, Truncated];
            assertEquals(codes.filter((code) => !ends.includes(code)), []);
            // the loop in this thread is as it was
            let fired = false;
            loop.createTimer().set(() => void (fired = true), 1);
            await loop.run();
            loop.free();
            assertEquals([errors, fired, codes.length], [[], true, connections]);
            assertGreater(bytes, 300_000);
          }
          assertEquals(await settledDescriptors(before) - before, 0, "descriptors were left open");
        },
      });
    }
  }
}
