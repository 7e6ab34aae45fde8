/** nginx in front of the HTTP server and of the proxy: our servers have it as their client. */
import { assert, assertEquals } from "@std/assert";
import { pattern, sha256 } from "../support/streams.ts";
import { curl } from "./support/curl.ts";
import { certificateFiles, Directory } from "./support/files.ts";
import {
  MODES,
  PAGE,
  withHttpServer,
  withPlainHttpServer,
  withProxy,
  withUnixHttpServer,
} from "./support/http_program.ts";
import { freePort, Nginx } from "./support/nginx.ts";
import { wrk } from "./support/wrk.ts";

const REQUESTS = 40;

/** A reverse proxy that keeps its connections; its log at debug level tells whether it does. */
function reverseProxy(port: number, scheme: "http" | "https", server: string, ca = ""): string {
  return `error_log stderr debug;
    upstream ours { server ${server}; keepalive 8; }
    server {
      listen 127.0.0.1:${port};
      client_max_body_size 0;
      location / {
        proxy_pass ${scheme}://ours;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_request_buffering off;
        ${
    ca && `proxy_ssl_verify on; proxy_ssl_trusted_certificate ${ca}; proxy_ssl_name localhost;`
  }
      }
    }`;
}

/** Fetches by turns and at once, uploads, and looks whether connections were kept. */
async function visit(
  directory: Directory,
  scheme: "http" | "https",
  server: string,
  ca?: string,
): Promise<void> {
  const port = freePort();
  const url = `http://127.0.0.1:${port}`;
  await using nginx = await Nginx.start(directory, {
    http: reverseProxy(port, scheme, server, ca),
  });
  assertEquals(await curl([`${url}/?[1-${REQUESTS}]`]), PAGE.repeat(REQUESTS));
  const kept = nginx.output.split("get keepalive peer: using connection").length - 1;
  assertEquals(kept, REQUESTS - 1); // one was made
  const body = directory.at("body");
  Deno.writeFileSync(body, pattern(16 << 20));
  const upload = ["--request", "GET", "--upload-file", body, "--request-target", "/"];
  assertEquals(await curl([...upload, url]), PAGE);
  const parallel = ["--parallel", "--parallel-immediate", "--parallel-max", "50"];
  assertEquals(await curl([...parallel, `${url}/?[1-500]`]), PAGE.repeat(500));
  await nginx.quit();
}

for (const [name, mode] of Object.entries(MODES)) {
  Deno.test(`nginx passes HTTP on to a server on ${name}`, async () => {
    using directory = new Directory();
    await withPlainHttpServer(mode, (url) => visit(directory, "http", new URL(url).host));
  });

  Deno.test(`nginx passes HTTP on to a unix socket on ${name}`, async () => {
    using directory = new Directory();
    const path = directory.at("http");
    await withUnixHttpServer(mode, path, () => visit(directory, "http", `unix:${path}`));
  });

  Deno.test(`nginx verifies a server on ${name}, and passes HTTPS on to it`, async () => {
    using directory = new Directory();
    await withHttpServer(
      mode,
      (url, ca) => visit(directory, "https", new URL(url).host, ca),
    );
  });

  Deno.test(`wrk meets no error of a server on ${name} behind nginx`, async () => {
    using directory = new Directory();
    await withHttpServer(mode, async (url, ca) => {
      const port = freePort();
      const http = reverseProxy(port, "https", new URL(url).host, ca);
      await using nginx = await Nginx.start(directory, { http: http.replace("debug", "warn") });
      await wrk(`http://127.0.0.1:${port}/`);
      await nginx.quit();
    });
  });

  for (const version of ["v1", "v2"]) {
    Deno.test(`nginx hears by ${version} from a proxy on ${name} what it told that by v1`, async () => {
      using files = await certificateFiles();
      const { directory } = files;
      const [first, last] = [freePort(), freePort()];
      const file = pattern(8 << 20);
      Deno.writeFileSync(directory.at("file"), file);
      const args = ["--upstream", `127.0.0.1:${last}`, "--accept-proxy", "--send-proxy", version];
      await withProxy([...mode, ...args], async (ours) => {
        await using nginx = await Nginx.start(directory, {
          stream: `server {
            listen 127.0.0.1:${first};
            proxy_pass 127.0.0.1:${ours};
            proxy_protocol on;
          }`,
          http: `server {
            listen 127.0.0.1:${last} proxy_protocol;
            root ${directory.path};
            add_header Client "$proxy_protocol_addr $proxy_protocol_port";
          }`,
        });
        const output = directory.at("output");
        const told = await curl([
          ...["--output", output, "--write-out", "%header{client}, %{local_port}"],
          `http://127.0.0.1:${first}/file`,
        ]);
        const [, heard, real] = /^127\.0\.0\.1 (\d+), (\d+)$/.exec(told) ?? [];
        assert(heard !== undefined, told);
        assertEquals([heard, sha256(Deno.readFileSync(output))], [real, sha256(file)]);
        await nginx.quit();
      });
    });
  }
}
