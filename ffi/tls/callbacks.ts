/**
 * The two decisions that OpenSSL leaves to code of its caller, made while a handshake runs. No user
 * code is called from here.
 * @module
 */
import { SSL_TLSEXT_ERR_ALERT_FATAL, SSL_TLSEXT_ERR_OK } from "./constants.ts";

/** Protocols that a server accepts, as on the wire, by the number that OpenSSL hands back. */
const accepted = new Map<bigint, Uint8Array>();
let lastId = 0n;

/** Of this thread, made at the first need and kept for good. */
let alpnSelect: { pointer: Deno.PointerObject } | undefined;
let verifyAll: { pointer: Deno.PointerObject } | undefined;

/** A function that chooses among the protocols a client offers, and what it is to be called with. */
export function alpnSelector(
  protocols: Uint8Array,
): { callback: Deno.PointerObject; argument: Deno.PointerValue; free(): void } {
  // int cb(SSL *ssl, const unsigned char **out, unsigned char *outlen, const unsigned char *in,
  //        unsigned int inlen, void *arg)
  alpnSelect ??= new Deno.UnsafeCallback(
    {
      parameters: ["pointer", "pointer", "pointer", "pointer", "u32", "pointer"],
      result: "i32",
    },
    (_ssl, out, outLength, offered, length, id) => {
      const server = accepted.get(Deno.UnsafePointer.value(id));
      if (server === undefined) return SSL_TLSEXT_ERR_ALERT_FATAL;
      const client = new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(offered!, length));
      const at = findProtocol(server, client);
      if (at === -1) return SSL_TLSEXT_ERR_ALERT_FATAL; // no_application_protocol, RFC 7301
      const start = Deno.UnsafePointer.value(offered) + BigInt(at + 1);
      new BigUint64Array(Deno.UnsafePointerView.getArrayBuffer(out!, 8))[0] = start;
      new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(outLength!, 1))[0] = client[at];
      return SSL_TLSEXT_ERR_OK;
    },
  );
  const id = ++lastId;
  accepted.set(id, protocols);
  return {
    callback: alpnSelect.pointer,
    argument: Deno.UnsafePointer.create(id),
    free: () => accepted.delete(id),
  };
}

/** A function that lets every certificate through; OpenSSL keeps what was wrong with it. */
export function verifyAllCallback(): Deno.PointerObject {
  // int cb(int preverify_ok, X509_STORE_CTX *ctx)
  verifyAll ??= new Deno.UnsafeCallback(
    { parameters: ["i32", "pointer"], result: "i32" },
    () => 1,
  );
  return verifyAll.pointer;
}

/** Protocols as on the wire: each with its length before it. */
export function encodeProtocols(protocols: readonly string[]): Uint8Array<ArrayBuffer> {
  const names = protocols.map((protocol) => new TextEncoder().encode(protocol));
  const bytes = names.flatMap((name) => [name.length, ...name]);
  return new Uint8Array(new Uint8Array(bytes).buffer);
}

/**
 * Where in the client's list the server's favourite stands, -1 for nowhere. Both are lists as on the
 * wire; the client's was checked by OpenSSL.
 */
export function findProtocol(server: Uint8Array, client: Uint8Array): number {
  for (let i = 0; i < server.length; i += server[i] + 1) {
    for (let j = 0; j < client.length; j += client[j] + 1) {
      if (isSame(server, i, client, j)) return j;
    }
  }
  return -1;
}

function isSame(a: Uint8Array, i: number, b: Uint8Array, j: number): boolean {
  for (let k = 0; k <= a[i]; k++) if (a[i + k] !== b[j + k]) return false;
  return true;
}
