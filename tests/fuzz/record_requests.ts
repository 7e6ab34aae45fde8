/**
 * Records anew what real HTTP clients send, into `corpora/http_requests.json`:
 *
 *     deno run --allow-all tests/fuzz/record_requests.ts
 *
 * Needs curl, node and chromium.
 */
import { chromium } from "playwright-core";
import { PeerProcess } from "../interop/support/peer_process.ts";
import { find } from "../interop/support/preflight.ts";
import { writeAll } from "../support/streams.ts";

const hostname = "127.0.0.1";
const recorded: { client: string; request: string }[] = [];

/** Notes what comes on the next connection. */
async function record(client: string, run: (url: string) => Promise<unknown>): Promise<void> {
  const listener = Deno.listen({ hostname, port: 0 });
  const running = run(`http://${hostname}:${listener.addr.port}/path?query=1`).catch(() => {});
  const conn = await listener.accept();
  let request = "";
  const buffer = new Uint8Array(65_536);
  const answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
  // A body may come by itself, and may be waited with.
  for (let isAnswered = false;;) {
    const count = await conn.read(buffer);
    if (count === null) break;
    request += new TextDecoder("latin1").decode(buffer.subarray(0, count));
    if (/\r\nexpect:/i.test(request) && request.endsWith("\r\n\r\n")) {
      await writeAll(conn, new TextEncoder().encode("HTTP/1.1 100 Continue\r\n\r\n"));
    } else if (!isAnswered && isWhole(request)) {
      isAnswered = true;
      await writeAll(conn, new TextEncoder().encode(answer));
      await conn.closeWrite();
    }
  }
  conn.close();
  listener.close();
  await running;
  recorded.push({ client, request });
}

function isWhole(request: string): boolean {
  const [head, body] = request.split(/\r\n\r\n(.*)/s);
  const length = /\ncontent-length: *(\d+)/i.exec(head)?.[1];
  if (length !== undefined) return body.length >= Number(length);
  return !/\ntransfer-encoding:/i.test(head) || body.endsWith("0\r\n\r\n");
}

async function ended(program: string, ...args: string[]): Promise<void> {
  await using peer = new PeerProcess(program, args);
  await peer.endInput();
  await peer.ended();
}

const body = JSON.stringify({ hello: "world" });
const node = (options: string, end: string) => (url: string) =>
  ended("node", "--eval", `require("http").request("${url}", ${options}).end(${end})`);

await record("curl", (url) => ended("curl", url));
await record("curl --data", (url) => ended("curl", "--data", "a=b&c=d", url));
await record("curl --form", (url) => ended("curl", "--form", "a=b", "--form", "c=d", url));
await record("curl, chunked and expecting", (url) =>
  ended(
    ...["curl", "--data", body, "--header", "Transfer-Encoding: chunked"],
    ...["--header", "Expect: 100-continue", url],
  ));
await record("curl --http1.0", (url) => ended("curl", "--http1.0", url));
await record("curl through a proxy", (url) => ended("curl", "--proxy", url, "http://a.test/b"));
await record("node", node("{}", ""));
await record("node, chunked", node("{ method: 'PUT' }", JSON.stringify(body)));
await record(
  "node, trailers",
  (url) =>
    ended(
      ...["node", "--eval"],
      `const r = require("http").request("${url}", { method: "POST", headers: { Trailer: "X-A" } });
      r.write("one"); r.addTrailers({ "X-A": "b" }); r.end("two")`,
    ),
);
await record("node fetch", (url) => ended("node", "--eval", `fetch("${url}")`));
await record("Deno fetch", (url) => fetch(url, { method: "POST", body }));
await record(
  "Deno fetch, a stream",
  (url) => fetch(url, { method: "POST", body: new Blob([body, body]).stream() }),
);
const browser = await chromium.launch({
  executablePath: find("chromium"),
  args: ["--no-sandbox"],
});
await record("Chromium", async (url) => {
  const page = await browser.newPage();
  await page.goto(url);
});
await browser.close();

Deno.writeTextFileSync(
  new URL("corpora/http_requests.json", import.meta.url),
  // Ports differ from time to time.
  JSON.stringify(recorded, null, 2).replace(/127\.0\.0\.1:\d+/g, "127.0.0.1:3000") + "\n",
);
