/** The example proxy as a program: its command line, its signals, and an HTTP server behind it. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Program, runProgram } from "../support/subprocess.ts";
import { exchange, receive, send } from "./servers.ts";

const PROXY = new URL("../../examples/proxy.ts", import.meta.url);
const HTTP_SERVER = new URL("../../examples/http_server.ts", import.meta.url);
/** The permissions that the program names. */
const FLAGS = ["--allow-net", "--allow-read", "--allow-ffi"];
const LAST = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

function programTest(name: string, args: readonly string[], fn: () => Promise<void>): void {
  if (Deno.build.os === "linux" || !args.includes("epoll")) Deno.test(name, fn);
  else Deno.test.ignore(`${name} (the epoll backend needs Linux)`, fn);
}

// ---------------------------------------------------------------- a user's mistakes

function configFile(text: string): string {
  const path = Deno.makeTempFileSync();
  Deno.writeTextFileSync(path, text);
  return path;
}

const ADDRESS_FORMS = "an upstream is HOST:PORT, tls://HOST:PORT or unix:PATH";

for (
  const [name, args, message] of [
    ["no upstream", [], "give --upstream ADDRESS, --route NAME=ADDRESS or --config FILE"],
    ["an upstream without a port", ["--upstream", "host"], `${ADDRESS_FORMS}, not host`],
    ["an upstream with a path", ["--upstream", "http://h:1"], `${ADDRESS_FORMS}, not http://h:1`],
    ["an upstream's port that is none", ["--upstream", "h:65536"], `${ADDRESS_FORMS}, not h:65536`],
    [
      "a route without an address",
      ["--route", "a.test"],
      "--route must be NAME=ADDRESS, not a.test",
    ],
    [
      "a route without TLS",
      ["--route", "a.test=h:1"],
      "routes by server name need --tls: the name comes with the TLS handshake",
    ],
    ["an unknown version", ["--send-proxy", "3"], "--send-proxy must be v1 or v2, not 3"],
    [
      "a time that is none",
      ["--upstream", "h:1", "--idle-timeout", "1.5"],
      '--idle-timeout must be a whole number from 0 to 86400, not "1.5"',
    ],
    [
      "no time to connect",
      ["--upstream", "h:1", "--connect-timeout", "0"],
      '--connect-timeout must be a whole number from 1 to 86400, not "0"',
    ],
    [
      "trust in two ways",
      ["--upstream-ca", "x", "--upstream-insecure"],
      "--upstream-ca and --upstream-insecure exclude each other",
    ],
    ["a missing configuration", ["--config", "/no/file"], "No such file or directory"],
    ["a CA that is none", ["--upstream", "tls://h:1", "--upstream-ca", "deno.json"], "Cannot "],
    [
      "what the backend cannot do",
      ["--upstream", "tls://h:1", "--upstream-insecure"],
      'Cannot use the TLS option "rejectUnauthorized: false"',
    ],
  ] as const
) {
  Deno.test(`proxy.ts tells ${name} in one line`, async () => {
    const { code, stdout, stderr } = await runProgram(PROXY, { flags: FLAGS, args: [...args] });
    const beginning = `error: ${message}`;
    assertEquals([stderr.slice(0, beginning.length), code, stdout], [beginning, 1, ""]);
    assertEquals(stderr.split("\n").length, 2, stderr);
  });
}

for (
  const [config, message] of [
    ["[]", "it must be an object"],
    ["{}", 'it has neither "upstreams" nor "routes"'],
    ['{"upstream": "h:1"}', 'it has an unknown key, "upstream"'],
    ['{"": "h:1"}', 'it has an unknown key, ""'],
    ['{"upstreams": "unix:@"}', `"upstreams": ${ADDRESS_FORMS}, not unix:@`],
    ['{"upstreams": [1]}', '"upstreams" must be an address, or a list of them'],
    ['{"upstreams": "h"}', `"upstreams": ${ADDRESS_FORMS}, not h`],
    ['{"routes": {"a": {}}}', 'the route "a" has no "upstreams"'],
    [
      '{"routes": {"a": {"upstreams": "h:1", "cert": "x"}}}',
      'the route "a" needs both "cert" and "key"',
    ],
    ['{"routes": {"a": {"upstreams": "h:1", "cert": 1}}}', 'the route "a": "cert", "key" and'],
    [
      '{"routes": {"a": {"upstreams": "h:1"}, "A": {"upstreams": "h:2"}}}',
      'the route "A" is there twice',
    ],
    ["{,}", "Expected property name"],
  ]
) {
  Deno.test(`proxy.ts tells what is wrong with the configuration ${config}`, async () => {
    const path = configFile(config);
    const args = ["--config", path];
    const { code, stderr } = await runProgram(PROXY, { flags: FLAGS, args });
    Deno.removeSync(path);
    const beginning = `error: ${path}: ${message}`;
    assertEquals([stderr.slice(0, beginning.length), code], [beginning, 1]);
    assertEquals(stderr.split("\n").length, 2, stderr);
  });
}

Deno.test("proxy.ts refuses a route without an upstream", async () => {
  const path = configFile('{"routes": {"a": {"upstreams": []}}}');
  const args = ["--config", path, "--tls", "--cert", "c", "--key", "k", "--backend", "epoll"];
  const { code, stderr } = await runProgram(PROXY, { flags: FLAGS, args });
  Deno.removeSync(path);
  assertEquals([stderr, code], ['error: the route "a" has no upstream\n', 1]);
});

Deno.test("proxy.ts shows its flags with --help", async () => {
  const { code, stdout } = await runProgram(PROXY, { flags: FLAGS, args: ["--help"] });
  assertEquals(code, 0);
  const flags = stdout.matchAll(/^ {2}(--[a-z-]+) /gm).map(([, flag]) => flag);
  assertEquals(
    [...flags].join(" "),
    "--host --port --backend --mode --tls --cert --key --passphrase --workers " +
      "--upstream --route --config --send-proxy --accept-proxy --upstream-ca --upstream-name " +
      "--upstream-insecure --connect-timeout --idle-timeout --max-connections --quiet --help",
  );
});

// ---------------------------------------------------------------- from start to Ctrl-C

/** Starts a server of the examples, and tells its port. */
async function start(source: URL, args: readonly string[]): Promise<[Program, number]> {
  const program = new Program(source, { flags: FLAGS, args: ["--port", "0", ...args] });
  const line = await program.line();
  return [program, Number(/:(\d+) /.exec(line)?.[1])];
}

/** Each way to run it, and how many loops that makes. */
const WAYS = [
  [[], 1],
  [["--backend", "epoll"], 1],
  [["--backend", "epoll", "--mode", "blocking"], 1],
  [["--backend", "epoll", "--workers", "2"], 2],
  [["--backend", "epoll", "--mode", "blocking", "--workers", "2"], 2],
] as const;

for (const [args, loops] of WAYS) {
  const name = ["proxy.ts", ...args].join(" ");

  programTest(`${name} serves HTTP, reloads on SIGHUP, counts, and shuts down`, args, async () => {
    const [backend, backendPort] = await start(HTTP_SERVER, []);
    using other = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const config = configFile(JSON.stringify({ upstreams: `127.0.0.1:${backendPort}` }));
    const [proxy, port] = await start(PROXY, [...args, "--config", config]);
    try {
      const hello = await exchange(await Deno.connect({ port }), LAST);
      assertStringIncludes(hello, "Why hello there!");
      const open = await Deno.connect({ port });
      await send(open, LAST.replace("close", "keep-alive"));
      assertStringIncludes(await receive(open, 90), "200 OK");

      Deno.writeTextFileSync(config, JSON.stringify({ upstreams: `127.0.0.1:${other.addr.port}` }));
      proxy.signal("SIGHUP");
      for (let i = 0; i < loops; i++) assertEquals(await proxy.line(), "Reloaded");
      for (let i = 0; i < 8; i++) { // wherever the kernel sends it
        const [client, server] = await Promise.all([Deno.connect({ port }), other.accept()]);
        await send(client, "hello");
        assertEquals(await receive(server, 5), "hello");
        client.close();
        server.close();
      }
      await send(open, LAST); // goes on with the old one
      assertStringIncludes(await receive(open, 90), "200 OK");
      open.close();

      proxy.signal("SIGUSR2");
      let connections = 0;
      for (let i = 0; i < loops; i++) connections += Number.parseInt(await proxy.line());
      assertEquals(connections, 10);

      const silent = await Promise.all([Deno.connect({ port }), other.accept()]);
      proxy.signal("SIGINT");
      assertEquals(await proxy.line(), "Shutting down, in 5 s at the latest");
      for (const conn of silent) {
        assertEquals(await conn.read(new Uint8Array(1)), null);
        conn.close();
      }
      for (let i = 0; i < loops; i++) assert(/^\d+ connections/.test(await proxy.line()));
      assertEquals(await proxy.ended(), 0);
    } finally {
      await proxy.kill();
      await backend.kill();
      Deno.removeSync(config);
    }
  });
}
