/**
 * Names to addresses, by getaddrinfo: /etc/hosts, DNS and whatever else the system is set up for.
 * @module
 */
import { type Bytes, ipv4Sockaddr, setPort } from "./address.ts";
import { AI_NUMERICHOST, SOCK_STREAM } from "./constants.ts";
import type { Libc } from "./libc.ts";

const encoder = new TextEncoder();
const { UnsafePointer, UnsafePointerView } = Deno;

/**
 * The addresses of a host, as `struct sockaddr` with the port, in the system's order of preference.
 * Blocks for names.
 *
 * @throws {Deno.errors.NotFound} When it has none.
 */
export function resolve(libc: Libc, host: string, port: number): Bytes[] {
  const literal = resolveLiteral(libc, host, port);
  if (literal !== null) return [literal];
  const call = prepare(host, 0);
  const code = libc.getaddrinfo(call.node, null, call.hints, call.result);
  return finish(libc, call, code, host, port);
}

/**
 * How many look-ups may be under way at once: each takes a thread of Deno's pool, which has 32, for as
 * long as a name server that is down lets it wait; files and our own sleep take from the same pool.
 */
const LOOK_UPS = 8;

let lookUps = 0;
const waiting: (() => void)[] = [];

/**
 * The same in another thread.
 *
 * @param isWanted Is asked when its turn has come: who gave up waiting keeps nobody else from it.
 */
export async function resolveElsewhere(
  libc: Libc,
  host: string,
  port: number,
  isWanted: () => boolean,
): Promise<Bytes[]> {
  if (lookUps === LOOK_UPS) await new Promise<void>((resolve) => waiting.push(resolve));
  else lookUps++;
  try {
    if (!isWanted()) return [];
    const call = prepare(host, 0);
    const code = await libc.getaddrinfoAsync(call.node, null, call.hints, call.result);
    return finish(libc, call, code, host, port);
  } finally {
    const next = waiting.shift(); // takes over the place
    if (next === undefined) lookUps--;
    else next();
  }
}

/** What is an address already needs no look-up; null for names. */
export function resolveLiteral(libc: Libc, host: string, port: number): Bytes | null {
  const ipv4 = ipv4Sockaddr(host, port);
  if (ipv4 !== null || !host.includes(":")) return ipv4;
  const call = prepare(host, AI_NUMERICHOST); // with a zone too: fe80::1%eth0
  const code = libc.getaddrinfo(call.node, null, call.hints, call.result);
  return code === 0 ? finish(libc, call, code, host, port)[0] : null;
}

/** The arguments of a look-up; a call in another thread needs them to stay where they are. */
interface Call {
  readonly node: Bytes;
  /** `struct addrinfo`: flags, family, socktype, protocol, then zeros. */
  readonly hints: Bytes;
  /** `struct addrinfo **` */
  readonly result: BigUint64Array<ArrayBuffer>;
}

function prepare(host: string, flags: number): Call {
  const name = encoder.encode(host);
  const node = new Uint8Array(new ArrayBuffer(name.length + 1));
  node.set(name);
  const hints = new Int32Array(new ArrayBuffer(48));
  hints[0] = flags;
  hints[2] = SOCK_STREAM;
  return {
    node,
    hints: new Uint8Array(hints.buffer),
    result: new BigUint64Array(new ArrayBuffer(8)),
  };
}

function finish(
  libc: Libc,
  call: Call,
  code: number,
  host: string,
  port: number,
): Bytes[] {
  if (code !== 0) {
    const why = UnsafePointerView.getCString(libc.gai_strerror(code)!);
    throw new Deno.errors.NotFound(`Cannot resolve ${host}: ${why}`);
  }
  const first = UnsafePointer.create(call.result[0]);
  const addresses: Bytes[] = [];
  for (let entry = first; entry !== null;) {
    const view = new UnsafePointerView(entry);
    // struct addrinfo: ai_addrlen at 16, ai_addr at 24, ai_next at 40
    const sockaddr = new Uint8Array(view.getUint32(16));
    UnsafePointerView.copyInto(view.getPointer(24)!, sockaddr);
    setPort(sockaddr, port);
    addresses.push(sockaddr);
    entry = view.getPointer(40);
  }
  libc.freeaddrinfo(first);
  return addresses;
}
