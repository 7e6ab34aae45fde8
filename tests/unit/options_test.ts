/** Options: what is misspelled or of the wrong kind is refused, with its name. */
import { assertEquals, assertThrows } from "@std/assert";
import { denoConn, Loop, type LoopOptions, wakeup } from "@usockets/usockets";

/** A call with options that no compiler has seen. */
// deno-lint-ignore no-explicit-any -- that is what this is about
type Unchecked = any;

for (
  const [name, call, message] of [
    [
      "a name that Deno uses",
      (loop: Loop) => loop.createContext().listen({ hostname: "127.0.0.1", port: 0 } as Unchecked),
      'Cannot listen: there is no option "hostname" (did you mean "host"?)',
    ],
    [
      "a name without its unit",
      (loop: Loop) => loop.createContext().connect({ port: 1, timeout: 5 } as Unchecked),
      'Cannot connect: there is no option "timeout" (did you mean "timeoutSeconds"?)',
    ],
    [
      "a handler in the wrong case",
      (loop: Loop) => loop.createContext({ ondata() {} } as Unchecked),
      'Cannot create a context: there is no option "ondata" (did you mean "onData"?)',
    ],
    [
      "TLS by another name",
      (loop: Loop) => loop.createContext({ ssl: {} } as Unchecked),
      'Cannot create a context: there is no option "ssl" (did you mean "tls"?)',
    ],
    [
      "a TLS option in the wrong place",
      (loop: Loop) => loop.createContext({ certFile: "cert.pem" } as Unchecked),
      'Cannot create a context: there is no option "certFile" (did you mean "tls"?)',
    ],
    [
      "a TLS option of OpenSSL's command line",
      (loop: Loop) => loop.createContext({ tls: { certificate: "x" } as Unchecked }),
      'Cannot create a TLS context: there is no option "certificate" (did you mean "cert"?)',
    ],
    [
      "true for TLS options",
      (loop: Loop) => loop.createContext({ tls: true as Unchecked }),
      "Cannot create a TLS context: the options must be an object, not true",
    ],
    [
      "a TLS version that is none",
      (loop: Loop) => loop.createContext({ tls: { minVersion: "1.2" as Unchecked } }),
      '"minVersion" must be one of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3, not "1.2"',
    ],
    [
      "an ALPN protocol outside of an array",
      (loop: Loop) => loop.createContext({ tls: { alpnProtocols: "h2" as Unchecked } }),
      '"alpnProtocols" must be an array, not "h2"',
    ],
    [
      "a number for shutdown options",
      (loop: Loop) => loop.shutdown(5 as Unchecked),
      "Cannot shut down: the options must be an object, not 5",
    ],
    [
      "no options where some are needed",
      (loop: Loop) => loop.createContext().listen(undefined as Unchecked),
      "Cannot listen: the options must be an object, not undefined",
    ],
    [
      "a handler that is no function",
      (loop: Loop) => loop.createContext({ onData: 5 as Unchecked }),
      'Cannot create a context: "onData" must be a function, not 5',
    ],
    [
      "user data in place of what makes it",
      (loop: Loop) => loop.createContext({ socketExt: "x" as Unchecked }),
      'Cannot create a context: "socketExt" must be a function, not "x"',
    ],
    [
      "a timer without a callback",
      (loop: Loop) => loop.createTimer().set(undefined as Unchecked, 1),
      "Cannot set a timer: the callback must be a function, not undefined",
    ],
    [
      "what is no socket",
      (loop: Loop) => loop.createContext().adopt({} as Unchecked),
      "Cannot adopt: that is no socket of this library",
    ],
    [
      "what is no wakeup handle",
      (loop: Loop) => wakeup(loop as Unchecked),
      "Cannot wake a loop up: the argument is not its wakeupHandle",
    ],
    [
      "the name of a backend",
      () => new Loop({ backend: "epoll" as Unchecked }),
      'Cannot create a loop: "backend" must be a backend such as denoConn, not "epoll"',
    ],
    [
      "a loop option that is none",
      () => new Loop({ granularity: 5 } as LoopOptions),
      'Cannot create a loop: there is no option "granularity"',
    ],
  ] as const
) {
  Deno.test(`options refuse ${name}`, () => {
    using loop = new Loop();
    assertThrows(() => call(loop), TypeError, message);
  });
}

Deno.test("options may be an object that has state of its own", () => {
  using loop = new Loop({ backend: denoConn });
  class Counter {
    opened = 0;
    onOpen = () => void this.opened++;
  }
  assertEquals(typeof loop.createContext(new Counter()).onOpen, "function");
});
