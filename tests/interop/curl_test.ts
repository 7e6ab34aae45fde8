/** curl as a client of the HTTP server example. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { epoll, type TlsOptions } from "@usockets/usockets";
import { pattern, sha256 } from "../support/streams.ts";
import { testCertificates } from "../support/certificates.ts";
import { curl } from "./support/curl.ts";
import { certificateFiles, Directory } from "./support/files.ts";
import {
  MODES,
  PAGE,
  WAYS,
  withHttpServer,
  withPlainHttpServer,
  withUnixHttpServer,
} from "./support/http_program.ts";
import { BACKENDS, type OurServer, World } from "./support/world.ts";

/** Printed behind each transfer: how many connections it needed, over which version of HTTP. */
const TELL = ["--write-out", " %{num_connects} %{http_version} %{response_code}\\n"];

for (const [name, way] of Object.entries(WAYS)) {
  Deno.test(`curl fetches from the HTTP server on ${name}`, async () => {
    await withHttpServer(way, async (url, ca) => {
      const args = [...TELL, "--cacert", ca];
      for (const versions of [["--tlsv1.3"], ["--tlsv1.2", "--tls-max", "1.2"]]) {
        // One after the other on one connection.
        const paths = [...Array(10).keys()].map((i) => `${url}/?${i}`);
        const expected = [1, ...Array(9).fill(0)].map((connects) =>
          `${PAGE} ${connects} 1.1 200\n`
        );
        assertEquals(await curl([...args, ...versions, ...paths]), expected.join(""));
      }
      const statuses = await curl([...args, `${url}/nothing`, "--request", "DELETE", `${url}/`]);
      assertEquals(statuses, "Method Not Allowed\n 1 1.1 405\nMethod Not Allowed\n 0 1.1 405\n");
      // curl goes on with HTTP/1.1 when the server chooses none of what it offers.
      assertEquals(await curl([...args, "--http2", url]), `${PAGE} 1 1.1 200\n`);
      assertEquals(await curl([...args, "--http1.0", url]), `${PAGE} 1 1.1 200\n`);
    });
  });

  Deno.test(`curl in parallel, and with a large body, on ${name}`, async () => {
    using files = await certificateFiles();
    const body = files.directory.at("body");
    Deno.writeFileSync(body, pattern(16 << 20));
    await withHttpServer(way, async (url, ca) => {
      const parallel = ["--parallel", "--parallel-immediate", "--parallel-max", "20"];
      const paths = [...Array(20).keys()].map((i) => `${url}/?${i}`);
      const pages = await curl(["--cacert", ca, ...parallel, ...paths]);
      assertEquals(pages, PAGE.repeat(20));
      const upload = ["--request", "GET", "--data-binary", `@${body}`, "--expect100-timeout", "10"];
      for (const chunked of [[], ["--header", "Transfer-Encoding: chunked"]]) {
        const answers = await curl([...TELL, "--cacert", ca, ...upload, ...chunked, url, url]);
        assertEquals(answers, `${PAGE} 1 1.1 200\n${PAGE} 0 1.1 200\n`);
      }
    });
  });
}

/** The ways of HTTP that have nothing to do with TLS. */
async function visitPlain(url: string, args: string[]): Promise<void> {
  const told = [...args, ...TELL];
  const paths = [...Array(10).keys()].map((i) => `${url}/?${i}`);
  const kept = paths.map((_, i) => `${PAGE} ${i === 0 ? 1 : 0} 1.1 200\n`).join("");
  assertEquals(await curl([...told, ...paths]), kept);
  assertEquals(await curl([...told, "--http1.0", url, url]), `${PAGE} 1 1.1 200\n`.repeat(2));
  const head = `HTTP/1.1 200 OK\r\nContent-Length: ${PAGE.length}\r\n\r\n`;
  const heads = `${head} 1 1.1 200\n${head} 0 1.1 200\n`;
  assertEquals(await curl([...told, "--head", url, url]), heads);
  const parallel = ["--parallel", "--parallel-immediate", "--parallel-max", "50"];
  const range = await curl([...args, ...parallel, `${url}/?[1-500]`]);
  assertEquals(range, PAGE.repeat(500));
}

for (const [name, way] of Object.entries(MODES)) {
  Deno.test(`curl fetches from the HTTP server without TLS on ${name}`, async () => {
    await withPlainHttpServer(way, (url) => visitPlain(url, []));
  });

  Deno.test(`curl fetches from the HTTP server on a unix socket on ${name}`, async () => {
    using directory = new Directory();
    const path = directory.at("http");
    await withUnixHttpServer(way, path, async () => {
      await visitPlain("http://localhost", ["--unix-socket", path]);
    });
  });

  Deno.test(`curl uploads 100 MB to the HTTP server on ${name}`, async () => {
    const bytes = 100_000_000;
    using directory = new Directory();
    const body = directory.at("body");
    Deno.writeFileSync(body, pattern(bytes));
    // It waits for the "100 Continue" longer than for anything else.
    const args = ["--verbose", "--request", "GET", "--upload-file", body];
    const upload = [...args, "--expect100-timeout", "10", "--output", directory.at("page")];
    const tell = ["--write-out", "%{size_upload} %{response_code}\n"];
    const assertUploads = async (args: string[], url: string) => {
      const output = await curl([...upload, ...tell, ...args, "--request-target", "/", url]);
      assertMatch(output, /^< HTTP\/1.1 100 Continue\r?$/m);
      assertStringIncludes(output, `${bytes} 200\n`);
      assertEquals(Deno.readTextFileSync(directory.at("page")), PAGE);
    };
    await withPlainHttpServer(way, (url) => assertUploads([], url));
    await withHttpServer(way, (url, ca) => assertUploads(["--cacert", ca], url));
  });
}

Deno.test("curl refuses the HTTP server's certificate when it does not trust it", async () => {
  await withHttpServer(WAYS.epoll, async (url, ca) => {
    assertMatch(await curl([url], 60), /SSL certificate problem/);
    assertMatch(await curl(["--tls-max", "1.1", "--cacert", ca, url], 35), /curl: \(35\)/);
    assertEquals(await curl(["--cacert", ca, url]), PAGE);
  });
});

/** A server that answers any request with this body, and ends the connection behind it. */
function bodyServer(world: World, tls: TlsOptions, head: string, body: Uint8Array): OurServer {
  return world.server(tls, {
    handlers: {
      onData(socket, data) {
        socket.ext.take(data);
        if (!socket.ext.text.endsWith("\r\n\r\n")) return;
        socket.write(`HTTP/1.1 200 OK\r\nConnection: close\r\n${head}\r\n`);
        socket.ext.sendAll(body, () => socket.end());
      },
    },
  });
}

for (const [name, backend] of Object.entries(BACKENDS)) {
  for (const hasLength of [true, false]) {
    const ending = hasLength ? "Content-Length" : "the connection's end";

    Deno.test(`curl downloads 16 MiB from ${name}, up to ${ending}`, async () => {
      using files = await certificateFiles();
      const { server: tls } = await testCertificates();
      const body = pattern(16 << 20);
      await using world = new World(backend);
      const head = hasLength ? `Content-Length: ${body.length}\r\n` : "";
      const { port } = bodyServer(world, tls, head, body);
      const output = files.directory.at("output");
      for (const version of ["1.2", "1.3"]) {
        const args = ["--tls-max", version, "--cacert", files.ca, "--output", output];
        await curl([...args, `https://127.0.0.1:${port}/`]);
        assertEquals(sha256(Deno.readFileSync(output)), sha256(body));
      }
    });
  }
}

Deno.test("curl does not take a reset for the end of a download", async () => {
  using files = await certificateFiles();
  const { server: tls } = await testCertificates();
  await using world = new World(epoll);
  const body = pattern(16 << 20);
  let accepted = 0;
  const server = world.server(tls, {
    handlers: {
      onData(socket) {
        socket.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        accepted = socket.write(body); // what has room at once
        socket.reset();
      },
    },
  });
  const output = files.directory.at("output");
  // Slower than the server: else it may have read all of it before the reset.
  const args = ["--cacert", files.ca, "--output", output, "--limit-rate", "20M"];
  // "Failure in receiving network data."
  await curl([...args, `https://127.0.0.1:${server.port}/`], 56);
  assertEquals([accepted > 0, accepted < body.length], [true, true]);
});
