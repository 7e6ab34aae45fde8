/** nginx behind the proxy example: our clients have it as their server. */
import { assert, assertEquals } from "@std/assert";
import { pattern, sha256 } from "../support/streams.ts";
import { curl } from "./support/curl.ts";
import { certificateFiles } from "./support/files.ts";
import { MODES, withProxy } from "./support/http_program.ts";
import { freePort, Nginx } from "./support/nginx.ts";
import { wrk } from "./support/wrk.ts";

const FILE_BYTES = 24 << 20;

/** nginx says no word of farewell when the other end of a kept connection has. */
const FAREWELLS = { tcp: undefined, unix: undefined, tls: /^truncated \d+$/ };

/** wrk looks whether anybody listens, and leaves its connections in the middle of answers. */
const WRK_LEAVES = /^(tls 1|reset \d+|truncated \d+)(, (tls 1|reset \d+|truncated \d+))*$/;

/** nginx with a file to serve, on all it can listen on, and with a place for uploads. */
async function withNginx(
  visit: (at: {
    tcp: string;
    unix: string;
    tls: string;
    header: string;
    files: Awaited<ReturnType<typeof certificateFiles>>;
  }) => Promise<void>,
): Promise<void> {
  using files = await certificateFiles();
  const { directory, server } = files;
  Deno.writeFileSync(directory.at("file"), pattern(FILE_BYTES));
  Deno.writeTextFileSync(directory.at("index.html"), "hello\n");
  const [tcp, tls, header] = [freePort(), freePort(), freePort()].map((n) => `127.0.0.1:${n}`);
  const unix = `unix:${directory.at("socket")}`;
  await using nginx = await Nginx.start(directory, {
    http: `server {
      listen ${tcp};
      listen ${unix};
      listen ${tls} ssl;
      listen ${header} proxy_protocol;
      ssl_certificate ${server.cert};
      ssl_certificate_key ${server.key};
      client_max_body_size 0;
      keepalive_requests 1000000;
      root ${directory.path};
      add_header Client "$proxy_protocol_addr $proxy_protocol_port";
      location /new/ { dav_methods PUT; create_full_put_path on; }
    }`,
  });
  await visit({ tcp, unix, tls: tls.replace("127.0.0.1", "tls://localhost"), header, files });
  await nginx.quit();
}

/** The same file some times on one connection, a hundred small ones at once, and one up. */
async function visitNginx(
  url: string,
  { directory }: { directory: { at(name: string): string } },
  args: string[] = [],
): Promise<void> {
  const tell = ["--write-out", "%{num_connects} "];
  const outputs = [...Array(4).keys()].map((i) => directory.at(`output${i}`));
  const transfers = outputs.flatMap((output) => ["--output", output, `${url}/file`]);
  assertEquals(await curl([...args, ...tell, ...transfers]), "1 0 0 0 ");
  const expected = sha256(pattern(FILE_BYTES));
  for (const output of outputs) assertEquals(sha256(Deno.readFileSync(output)), expected);
  const parallel = ["--parallel", "--parallel-immediate", "--parallel-max", "20"];
  assertEquals(await curl([...args, ...parallel, `${url}/?[1-100]`]), "hello\n".repeat(100));
  await curl([...args, "--upload-file", directory.at("file"), `${url}/new/file`]);
  assertEquals(sha256(Deno.readFileSync(directory.at("new/file"))), expected);
}

for (const [name, mode] of Object.entries(MODES)) {
  for (const kind of ["tcp", "unix", "tls"] as const) {
    Deno.test(`a proxy on ${name} passes on to nginx over ${kind}`, async () => {
      await withNginx(async (nginx) => {
        const trust = kind === "tls" ? ["--upstream-ca", nginx.files.ca] : [];
        await withProxy([...mode, "--upstream", nginx[kind], ...trust], async (port) => {
          await visitNginx(`http://127.0.0.1:${port}`, nginx.files);
        }, FAREWELLS[kind]);
      });
    });

    Deno.test(`a proxy on ${name} takes TLS, and passes on to nginx over ${kind}`, async () => {
      await withNginx(async (nginx) => {
        const { ca, server } = nginx.files;
        const trust = kind === "tls" ? ["--upstream-ca", ca] : [];
        const tls = ["--tls", "--cert", server.cert, "--key", server.key];
        await withProxy([...mode, "--upstream", nginx[kind], ...trust, ...tls], async (port) => {
          await visitNginx(`https://127.0.0.1:${port}`, nginx.files, ["--cacert", ca]);
        }, FAREWELLS[kind]);
      });
    });
  }

  Deno.test(`wrk meets no error of nginx behind a proxy with TLS on ${name}`, async () => {
    await withNginx(async (nginx) => {
      const { cert, key } = nginx.files.server;
      const args = ["--upstream", nginx.tcp, "--tls", "--cert", cert, "--key", key];
      const visit = (port: number) => wrk(`https://127.0.0.1:${port}/`);
      await withProxy([...mode, ...args], visit, WRK_LEAVES);
    });
  });

  for (const version of ["v1", "v2"]) {
    Deno.test(`a proxy on ${name} tells nginx its client by PROXY ${version}`, async () => {
      await withNginx(async (nginx) => {
        const args = [...mode, "--upstream", nginx.header, "--send-proxy", version];
        await withProxy(args, async (port) => {
          const url = `http://127.0.0.1:${port}`;
          const tell = ["--write-out", "%header{client}, %{local_port}"];
          const told = await curl([...tell, `${url}/`]);
          const [, heard, real] = /^hello\n127\.0\.0\.1 (\d+), (\d+)$/.exec(told) ?? [];
          assert(heard !== undefined, told);
          assertEquals(heard, real);
          await visitNginx(url, nginx.files);
        });
      });
    });
  }
}
