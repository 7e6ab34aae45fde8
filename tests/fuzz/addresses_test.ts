// Addresses that come from the system, from command lines and from files: what is read is what was
// written, and what is wrong is said in one line before anything starts.
import { assert, assertEquals, assertInstanceOf, assertNotEquals } from "@std/assert";
import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { isIPv4 } from "node:net";
import { UsageError } from "../../examples/support/errors.ts";
import { parseFlags, parseNumber } from "../../examples/support/flags.ts";
import {
  parseAddress,
  parseProxyFlags,
  PROXY_FLAGS,
  type ProxyOptions,
  readRoutes,
} from "../../examples/support/proxy_options.ts";
import {
  anyIpv6Sockaddr,
  bracket,
  ipv4Sockaddr,
  portOf,
  readIp,
  readUnixPath,
  setPort,
  specifyLoopback,
  unbracket,
  unixSockaddr,
} from "../../ffi/address.ts";
import { openLibc } from "../../ffi/libc.ts";
import { checkAddress } from "../../src/options.ts";
import { readPems } from "../../src/pem.ts";
import { nativeTest } from "../support/native.ts";
import { runs } from "./support/fuzz.ts";

const port = fc.nat(65_535);
const ipv6 = fc.oneof(
  fc.uint8Array({ minLength: 16, maxLength: 16 }),
  // With zeros in it, which is where the forms differ.
  fc.array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 })
    .map((bytes) => new Uint8Array(bytes)),
  // An IPv4 address in it, or nearly so.
  fc.tuple(fc.ipV4(), fc.nat(15), fc.constantFrom(0, 1, 255)).map(([ip, at, byte]) => {
    const address = new Uint8Array(16);
    address.set([255, 255, ...ip.split(".").map(Number)], 10);
    address[at] = byte;
    return address;
  }),
);

function ipv6Sockaddr(address: Uint8Array, port: number) {
  const sockaddr = anyIpv6Sockaddr(port);
  sockaddr.set(address, 8);
  return sockaddr;
}

// ---------------------------------------------------------------- of the system

nativeTest("readIp() writes each IPv6 address as others read it", () => {
  const libc = openLibc();
  fc.assert(
    fc.property(ipv6, port, (address, port) => {
      const sockaddr = ipv6Sockaddr(address, port);
      const ip = readIp(libc, sockaddr);
      assertEquals(portOf(sockaddr), port);
      assertEquals(unbracket(bracket(ip)), ip);
      const isMapped = address.subarray(0, 12).join("") === `${"0".repeat(10)}255255`;
      if (isMapped) return assertEquals(ip, address.subarray(12).join("."));
      const canonical = new URL(`http://[${ip}]`).hostname; // without an IPv4 address at the end
      assertEquals(ipaddr.parse(unbracket(canonical)).toByteArray(), [...address]);
    }),
    runs(1000),
  );
});

nativeTest("ipv4Sockaddr() takes what is an IPv4 address, and readIp() gives it back", () => {
  const libc = openLibc();
  const text = fc.oneof(
    fc.ipV4(),
    fc.ipV4Extended(),
    fc.stringMatching(/^[0-9]{1,4}(\.[0-9]{1,4}){2,4}$/),
    fc.stringMatching(/^[0-9.x \n]{0,16}$/),
  );
  fc.assert(
    fc.property(text, port, (text, port) => {
      const sockaddr = ipv4Sockaddr(text, port);
      assertEquals(sockaddr !== null, isIPv4(text), text);
      if (sockaddr === null) return;
      assertEquals([readIp(libc, sockaddr), portOf(sockaddr)], [text, port]);
      setPort(sockaddr, 0xffff - port);
      assertEquals([readIp(libc, sockaddr), portOf(sockaddr)], [text, 0xffff - port]);
    }),
    runs(1000),
  );
});

nativeTest("specifyLoopback() changes the unspecified address and no other", () => {
  const libc = openLibc();
  const loopbacks: Record<string, string> = { "0.0.0.0": "127.0.0.1", "::": "::1" };
  const address = fc.oneof(
    fc.tuple(fc.oneof(fc.ipV4(), fc.constant("0.0.0.0")), port)
      .map(([ip, port]) => ipv4Sockaddr(ip, port)!),
    fc.tuple(fc.oneof(ipv6, fc.constant(new Uint8Array(16))), port)
      .map(([ip, port]) => ipv6Sockaddr(ip, port)),
  );
  fc.assert(
    fc.property(address, (sockaddr) => {
      const before = readIp(libc, sockaddr);
      specifyLoopback(sockaddr);
      assertEquals(readIp(libc, sockaddr), loopbacks[before] ?? before);
    }),
    runs(1000),
  );
});

Deno.test("readUnixPath() gives back what unixSockaddr() was given", () => {
  const path = fc.string({ unit: "binary", minLength: 1, maxLength: 60 })
    .filter((path) => path.isWellFormed() && !path.includes("\0", 1));
  fc.assert(
    fc.property(path, (path) => {
      const sockaddr = unixSockaddr(path);
      assertEquals(readUnixPath(sockaddr, sockaddr.length), path);
    }),
    runs(500),
  );
});

// ---------------------------------------------------------------- of users

const text = fc.oneof(
  fc.string({ maxLength: 20 }),
  fc.string({ unit: "binary", maxLength: 120 }),
  fc.stringMatching(/^(tls:\/\/)?[a-z0-9.:[\]-]{1,12}:[0-9]{1,6}$/),
  fc.stringMatching(/^unix:[@/a-z\0]{0,6}$/),
  fc.integer({ min: 90, max: 120 }).map((length) => `unix:${"a".repeat(length)}`),
  fc.integer({ min: 90, max: 120 }).map((length) => `unix:@${"ä".repeat(length / 2)}`),
);

/** What it comes to; a mistake of the user's is null, and is told in one line. */
function attempt<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch (error) {
    assertInstanceOf(error, UsageError);
    assertNotEquals(error.message, "");
    return null;
  }
}

Deno.test("what parseAddress() takes can be connected to", () => {
  fc.assert(
    fc.property(text, (text) => {
      const address = attempt(() => parseAddress(text));
      if (address !== null) checkAddress("connect", address.target, 1);
    }),
    runs(2000),
  );
});

Deno.test("parseAddress() gives back host and port", () => {
  const host = fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6());
  fc.assert(
    fc.property(host, fc.integer({ min: 1, max: 65_535 }), fc.boolean(), (host, port, isTls) => {
      const text = `${isTls ? "tls://" : ""}${bracket(host)}:${port}`;
      assertEquals(parseAddress(text), { text, isTls, target: { host, port } });
    }),
    runs(500),
  );
});

Deno.test("flags of any kind are taken, or refused as the user's mistake", () => {
  const names = Object.keys(PROXY_FLAGS).map((name) => `--${name}`);
  const argument = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...names, "--", "-", "-q", "--no-quiet", "--help=1") },
    { weight: 2, arbitrary: fc.constantFrom("a:1", "a=b:1", "v1", "0", "1", "-1", "1e9", "9e99") },
    { weight: 1, arbitrary: text },
  ).filter((argument) => argument !== "--config"); // reads a file
  const commandLine = { about: "", flags: PROXY_FLAGS };
  let taken = 0;
  fc.assert(
    fc.property(fc.array(argument, { maxLength: 6 }), (args) => {
      const options = attempt(() => {
        const parsed = parseFlags(args, commandLine);
        return parsed && parseProxyFlags(parsed.values);
      });
      if (options === null || options === undefined) return;
      taken++;
      for (const upstream of options.upstreams) parseAddress(upstream);
      for (const [name, upstream] of options.routes) assert(name !== "" && parseAddress(upstream));
    }),
    runs(2000),
  );
  assertNotEquals(taken, 0);
});

Deno.test("parseNumber() takes whole numbers within its bounds", () => {
  const text = fc.oneof(
    fc.integer({ min: -10, max: 120 }).map(String),
    fc.double().map(String),
    fc.constantFrom("", " 1", "1\n", "0x1", "1e1", "+1", "٣", "1_0"),
  );
  fc.assert(
    fc.property(text, (text) => {
      const value = attempt(() => parseNumber("--n", text, 1, 100));
      const isRight = /^[0-9]+$/.test(text) && !text.includes("\n") && +text >= 1 && +text <= 100;
      assertEquals(value, isRight ? Number(text) : null, JSON.stringify(text));
    }),
    runs(1000),
  );
});

/** There is nothing in it that is not looked at. */
function assertKeys(value: unknown, known: string[]): void {
  assertEquals(Object.keys(value as object).filter((key) => !known.includes(key)), []);
}

Deno.test("a configuration is taken whole, or refused as the user's mistake", () => {
  const key = fc.oneof(
    fc.constantFrom("upstreams", "routes", "cert", "key", "passphrase", "__proto__", "", "a.test"),
    fc.string({ maxLength: 8 }),
  );
  const leaf = fc.oneof(fc.constantFrom("a:1", "tls://b:2", "unix:/c"), text, fc.jsonValue());
  const route = fc.oneof(
    { weight: 3, arbitrary: fc.record({ upstreams: leaf }) },
    fc.tuple(key, leaf).map(([key, value]) => ({ upstreams: "a:1", [key]: value })),
    fc.dictionary(key, leaf),
    leaf,
  );
  const config = fc.oneof(
    { weight: 3, arbitrary: fc.record({ upstreams: leaf, routes: fc.dictionary(key, route) }) },
    fc.tuple(key, leaf).map(([key, value]) => ({ upstreams: "a:1", [key]: value })),
    fc.dictionary(key, leaf),
    fc.jsonValue(),
  );
  const file = Deno.makeTempFileSync();
  try {
    fc.assert(
      fc.property(config, (config) => {
        Deno.writeTextFileSync(file, JSON.stringify(config));
        const options = { config: file, upstreams: [], routes: [] } as unknown as ProxyOptions;
        const routes = attempt(() => readRoutes(options));
        if (routes === null) return;
        assertKeys(config, ["upstreams", "routes"]);
        for (const route of Object.values((config as { routes?: object }).routes ?? {})) {
          assertKeys(route, ["upstreams", "cert", "key", "passphrase"]);
        }
        const all = [...routes.names.values()].flatMap(({ upstreams }) => upstreams);
        for (const { target } of [...routes.fallback, ...all]) checkAddress("connect", target, 1);
      }),
      runs(300),
    );
  } finally {
    Deno.removeSync(file);
  }
});

Deno.test("readPems() gives each text back, and wants certificate and key together", () => {
  const pem = fc.option(fc.string({ unit: "binary", maxLength: 60 }), { nil: undefined });
  fc.assert(
    fc.property(fc.record({ cert: pem, key: pem, ca: pem }), (options) => {
      const isRight = (options.cert === undefined) === (options.key === undefined);
      try {
        assertEquals(readPems(options), { ...options });
        assert(isRight);
      } catch (error) {
        assertInstanceOf(error, TypeError);
        assert(!isRight);
      }
    }),
    runs(300),
  );
});
