/**
 * A ClientHello made by hand, for what no program of today offers any more: RC4, triple DES, SSL 3.
 */
import { concat, writeAll } from "../../support/streams.ts";

/** What a server said to a ClientHello. */
export type Answer = { readonly alert: number } | { readonly suite: number };

/** Versions as on the wire. */
export const SSL_3 = 0x0300, TLS_1_0 = 0x0301, TLS_1_1 = 0x0302, TLS_1_2 = 0x0303;

/** The two alerts that refuse. */
export const HANDSHAKE_FAILURE = 40, PROTOCOL_VERSION = 70;

const CLIENT_HELLO = 1, RECORD_ALERT = 21, RECORD_HANDSHAKE = 22;

/** Offers one version, at most TLS 1.2, and some cipher suites; returns what comes back. */
export async function offer(port: number, version: number, suites: number[]): Promise<Answer> {
  using conn = await Deno.connect({ hostname: "127.0.0.1", port });
  await writeAll(conn, record(version, clientHello(version, suites)));
  const header = await readExactly(conn, 5);
  const body = await readExactly(conn, header[3] << 8 | header[4]);
  if (header[0] === RECORD_ALERT) return { alert: body[1] };
  // type, length, version, random, and a session id with its length
  const at = 4 + 2 + 32 + 1 + body[38];
  return { suite: body[at] << 8 | body[at + 1] };
}

function record(version: number, body: Uint8Array): Uint8Array {
  return concat([bytes(RECORD_HANDSHAKE), word(Math.min(version, TLS_1_0)), sized(body, 2)]);
}

function clientHello(version: number, suites: number[]): Uint8Array {
  const body = concat([
    word(version),
    crypto.getRandomValues(new Uint8Array(32)),
    bytes(0), // no session
    sized(concat(suites.map(word)), 2),
    sized(bytes(0), 1), // no compression
    sized(version === SSL_3 ? bytes() : extensions(), 2),
  ]);
  return concat([bytes(CLIENT_HELLO), sized(body, 3)]);
}

function extensions(): Uint8Array {
  const extension = (type: number, body: Uint8Array) => concat([word(type), sized(body, 2)]);
  const curves = [0x001d, 0x0017, 0x0018];
  // ECDSA and RSA (PKCS#1 and PSS) with SHA-256, both with SHA-1
  const signatures = [0x0403, 0x0401, 0x0804, 0x0203, 0x0201];
  return concat([
    extension(0x000a, sized(concat(curves.map(word)), 2)),
    extension(0x000b, sized(bytes(0), 1)), // uncompressed points
    extension(0x000d, sized(concat(signatures.map(word)), 2)),
    extension(0xff01, sized(bytes(), 1)), // secure renegotiation
  ]);
}

async function readExactly(conn: Deno.Conn, length: number): Promise<Uint8Array> {
  const into = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const count = await conn.read(into.subarray(at));
    if (count === null) throw new Error("the server ended in place of an answer");
    at += count;
  }
  return into;
}

function bytes(...values: number[]): Uint8Array {
  return new Uint8Array(values);
}

function word(value: number): Uint8Array {
  return bytes(value >> 8, value & 255);
}

/** With its length before it, in so many bytes. */
function sized(body: Uint8Array, width: 1 | 2 | 3): Uint8Array {
  const length = [body.length >> 16, body.length >> 8 & 255, body.length & 255].slice(3 - width);
  return concat([bytes(...length), body]);
}
