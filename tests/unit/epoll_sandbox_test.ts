// The epoll backend is no hole in Deno's sandbox: what is not granted is refused, by name too.
import { assert, assertEquals } from "@std/assert";
import { modUrl, runProgram } from "../support/subprocess.ts";

const ignore = Deno.build.os !== "linux"; // the epoll backend needs Linux

/**
 * Prints for each target one line: its index, what came of it and why. Programs get the targets by
 * `Deno.args[0]`.
 */
const program = `
  import { epoll, Loop } from "${modUrl}";
  const loop = new Loop({ backend: epoll });
  const attempts = JSON.parse(Deno.args[0]);
  const report = (i, error) => console.log(i, error.constructor.name, error.message);
  for (const [i, { what, options }] of attempts.entries()) {
    const context = loop.createContext({
      onOpen(socket) {
        console.log(i, "open");
        socket.close();
      },
      onConnectError: (_socket, error) => report(i, error),
    });
    try {
      const made = context[what](options);
      if (what === "listen") {
        console.log(i, "listens on", made.host);
        made.close();
      }
    } catch (error) {
      report(i, error);
    }
  }
  await loop.run();`;

interface Attempt {
  what: "listen" | "connect" | "adoptHandle";
  options: unknown;
}

/** What came of each attempt. */
async function outcomes(flags: string[], attempts: Attempt[]): Promise<string[]> {
  const { code, stdout, stderr } = await runProgram(program, {
    flags: ["--allow-ffi", ...flags],
    args: [JSON.stringify(attempts)],
  });
  assertEquals(code, 0, stderr);
  const outcomes: string[] = [];
  for (const line of stdout.split("\n").slice(0, -1)) {
    const [index, ...words] = line.split(" ");
    assert(outcomes[Number(index)] === undefined, `two outcomes: ${stdout}`);
    outcomes[Number(index)] = words.join(" ");
  }
  assertEquals(outcomes.length, attempts.length, stdout);
  return outcomes;
}

/** Asserts that an attempt was refused for want of a grant of so much. */
function assertRefused(outcome: string, access: string, flag: string): void {
  const expected = `NotCapable Requires ${access}, run again with the --allow-${flag} flag`;
  assertEquals(outcome.replace(/Cannot connect to .*?: (?=Requires)/, ""), expected);
}

/** Calls back with a port that something listens on, on all addresses. */
async function withServer(test: (port: number) => Promise<void>): Promise<void> {
  using listener = Deno.listen({ hostname: "::", port: 0 });
  await test(listener.addr.port);
}

/** Calls back with the path of a socket that is listened on, and one that is not there. */
async function withPaths(test: (there: string, missing: string) => Promise<void>): Promise<void> {
  const directory = Deno.makeTempDirSync();
  try {
    using _listener = Deno.listen({ transport: "unix", path: `${directory}/there` });
    await test(`${directory}/there`, `${directory}/missing`);
    // Nothing was made and nothing was taken away.
    assertEquals([...Deno.readDirSync(directory)].map(({ name }) => name), ["there"]);
  } finally {
    Deno.removeSync(directory, { recursive: true });
  }
}

Deno.test({
  name: "--allow-ffi alone allows neither listening nor connecting",
  ignore,
  fn: () =>
    withServer(async (port) => {
      const tcp: [Attempt, string][] = [
        [{ what: "listen", options: { host: "127.0.0.1", port: 0 } }, "127.0.0.1:0"],
        [{ what: "listen", options: { host: "localhost", port: 0 } }, "localhost:0"],
        [{ what: "listen", options: { host: "::1", port: 0 } }, "::1:0"],
        [{ what: "listen", options: { port: 0 } }, "0.0.0.0:0"],
        [{ what: "listen", options: { port: 0, ipv6Only: true } }, ":::0"],
        [{ what: "connect", options: { port } }, `127.0.0.1:${port}`],
        [{ what: "connect", options: { host: "::1", port } }, `::1:${port}`],
        [{ what: "connect", options: { host: "localhost", port } }, `localhost:${port}`],
        [
          { what: "connect", options: { host: "nowhere.invalid", port } },
          `nowhere.invalid:${port}`,
        ],
      ];
      const found = await outcomes([], tcp.map(([attempt]) => attempt));
      tcp.forEach(([, to], i) => assertRefused(found[i], `net access to "${to}"`, "net"));
    }),
});

Deno.test({
  name: "raw descriptors need net access without limits",
  ignore,
  async fn() {
    const attempts: Attempt[] = [
      { what: "listen", options: { fd: 0 } },
      { what: "adoptHandle", options: 0 },
    ];
    for (const flags of [[], ["--allow-net=127.0.0.1"], ["--allow-net", "--deny-net=1.2.3.4"]]) {
      const found = await outcomes(flags, attempts);
      assertRefused(found[0], 'net access without limits for the listen option "fd"', "net");
      assertRefused(found[1], "net access without limits for adoptHandle()", "net");
      const poll = await runProgram(
        `
        import { epoll, Loop } from "${modUrl}";
        new Loop({ backend: epoll }).createPoll(0, { onReady() {} });`,
        { flags: ["--allow-ffi", ...flags] },
      );
      assertEquals(poll.code, 1);
      assert(/NotCapable: Requires net access without limits for createPoll/.test(poll.stderr));
    }
    // With them the arguments are looked at: standard input is no socket.
    assertEquals(await outcomes(["--allow-net"], attempts), [
      "TypeError Cannot listen on descriptor 0: descriptor 0 is not a socket",
      "TypeError Cannot adopt a handle: descriptor 0 is not a socket",
    ]);
  },
});

Deno.test({
  name: "unix paths need to be read, written, and granted for the net",
  ignore,
  fn: () =>
    withPaths(async (there, missing) => {
      const attempts: Attempt[] = [
        { what: "connect", options: { path: there } },
        { what: "listen", options: { path: missing } },
      ];
      const paths = [there, missing];
      const all = `${there},${missing}`;
      const grants = [
        `--allow-read=${all}`,
        `--allow-write=${all}`,
        `--allow-net=unix:${there},unix:${missing}`,
      ];
      for (const [i, flag] of ["read", "write", "net"].entries()) {
        const found = await outcomes(grants.filter((_, j) => j !== i), attempts);
        found.forEach((outcome, j) => {
          const to = flag === "net" ? `unix:${paths[j]}` : paths[j];
          assertRefused(outcome, `${flag} access to "${to}"`, flag);
        });
      }
      assertEquals(await outcomes(grants, attempts), ["open", `listens on ${missing}`]);
      assertRefused((await outcomes([], attempts))[0], `read access to "${there}"`, "read");
      const others = ["/tmp/other", "/tmp/other", "unix:/tmp/other"];
      const elsewhere = grants.map((grant, i) => grant.replace(/=.*/, `=${others[i]}`));
      for (const [i, grant] of elsewhere.entries()) {
        const mixed = grants.map((own, j) => i === j ? grant : own);
        for (const outcome of await outcomes(mixed, attempts)) {
          assert(outcome.startsWith("NotCapable "), outcome);
        }
      }
    }),
});

Deno.test({
  name: "abstract names need net access alone",
  ignore,
  async fn() {
    const path = `\0usockets-${Deno.pid}`;
    const attempts: Attempt[] = [
      { what: "listen", options: { path } },
      { what: "connect", options: { path } },
    ];
    for (const outcome of await outcomes([], attempts)) {
      assertRefused(outcome, `net access to "unix:${path}"`, "net");
    }
    const [listened, connected] = await outcomes(["--allow-net"], attempts);
    assertEquals(listened, `listens on ${path}`);
    assert(/^ConnectionRefused /.test(connected), connected);
  },
});

Deno.test({
  name: "--deny-net holds for the addresses of a name, and for every way to write one",
  ignore,
  fn: () =>
    withServer(async (port) => {
      const hosts = [
        "127.0.0.1",
        "localhost",
        "127.1",
        "127.0.1",
        "0.0.0.0",
        "0",
        "::ffff:127.0.0.1",
        "::ffff:7f00:1",
        "[::ffff:7f00:1]",
        "[127.0.0.1]",
        "0:0:0:0:0:ffff:127.0.0.1",
        "2130706433",
        "0x7f000001",
        "017700000001",
        "0177.0.0.01",
      ];
      const attempts = hosts.map((host): Attempt => ({ what: "connect", options: { host, port } }));
      const grants = ["--allow-net", "--deny-net=127.0.0.1"];
      for (const [i, outcome] of (await outcomes(grants, attempts)).entries()) {
        // Brackets belong into URLs; here they make no name that anything is granted for.
        const names = hosts[i].startsWith("[") ? /^(?!open)/ : /^NotCapable /;
        assert(names.test(outcome), `${hosts[i]}: ${outcome}`);
      }
      // A name that is granted does not make its addresses so.
      const [localhost] = await outcomes(
        ["--allow-net=localhost", "--deny-net=127.0.0.1"],
        [{ what: "connect", options: { host: "localhost", port } }],
      );
      assertRefused(localhost, `net access to "127.0.0.1:${port}"`, "net");
      const allowed = ["127.0.0.2", "::1"];
      assertEquals(
        await outcomes(
          grants,
          allowed.map((host) => ({ what: "connect", options: { host, port } })),
        ),
        allowed.map(() => "open"),
      );
    }),
});

Deno.test({
  name: "--deny-net of an IPv6 address holds for every way to write it",
  ignore,
  fn: () =>
    withServer(async (port) => {
      const hosts = ["::1", "0:0:0:0:0:0:0:1", "0::1", "::0.0.0.1", "::", "::1%lo", "::1%1"];
      const attempts = hosts.map((host): Attempt => ({ what: "connect", options: { host, port } }));
      const found = await outcomes(["--allow-net", "--deny-net=[::1]"], attempts);
      found.forEach((outcome, i) => {
        // A zone makes no name that Deno could grant.
        const names = hosts[i].includes("%") ? /^(?!open)/ : /^NotCapable /;
        assert(names.test(outcome), `${hosts[i]}: ${outcome}`);
      });
    }),
});

Deno.test({
  name: "--deny-net holds for listening on a name too",
  ignore,
  async fn() {
    const listen = (host: string): Attempt => ({ what: "listen", options: { host, port: 0 } });
    const [name, address, other] = await outcomes(
      ["--allow-net", "--deny-net=127.0.0.1,[::1]"],
      [listen("localhost"), listen("127.1"), listen("127.0.0.2")],
    );
    assert(/^NotCapable Requires net access to "(127\.0\.0\.1|\[::1\]):0"/.test(name), name);
    assertRefused(address, 'net access to "127.0.0.1:0"', "net");
    assertEquals(other, "listens on 127.0.0.2");
  },
});

Deno.test({
  name: "a grant for one address and port is one for that alone",
  ignore,
  fn: () =>
    withServer(async (port) => {
      const to = (host: string, to = port): Attempt => ({
        what: "connect",
        options: { host, port: to },
      });
      const others = [
        to("127.0.0.1", port - 1),
        to("127.0.0.2"),
        to("::1"),
        to("localhost"),
        to("0.0.0.0"),
        to("127.1"),
      ];
      const [granted, ...refused] = await outcomes(
        [`--allow-net=127.0.0.1:${port}`],
        [to("127.0.0.1"), ...others],
      );
      assertEquals(granted, "open");
      refused.forEach((outcome, i) => {
        assert(/^NotCapable /.test(outcome), `${JSON.stringify(others[i].options)}: ${outcome}`);
      });
    }),
});

Deno.test({
  name: "a listener without a host takes what is granted: all, IPv4 alone, or nothing",
  ignore,
  async fn() {
    const listen: Attempt[] = [{ what: "listen", options: { port: 0 } }];
    assertEquals(await outcomes(["--allow-net"], listen), ["listens on ::"]);
    assertEquals(await outcomes(["--allow-net=0.0.0.0:0"], listen), ["listens on 0.0.0.0"]);
    assertEquals(
      await outcomes(["--allow-net=0.0.0.0:0,[::]:0"], listen),
      ["listens on ::"],
    );
    for (const flags of [["--allow-net=127.0.0.1"], ["--allow-net", "--deny-net=0.0.0.0"]]) {
      const [outcome] = await outcomes(flags, listen);
      assertRefused(outcome, 'net access to "0.0.0.0:0"', "net");
    }
  },
});
