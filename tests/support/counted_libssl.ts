// deno-lint-ignore-file camelcase -- the names are those of OpenSSL
/** OpenSSL with an account of what it handed out and got back. */
import type { Libssl } from "../../ffi/tls/libssl.ts";

/** What gives a reference of which kind to the caller. */
const GIVEN: Record<string, string> = {
  SSL_new: "SSL",
  SSL_CTX_new: "SSL_CTX",
  BIO_new: "BIO",
  BIO_new_mem_buf: "BIO",
  BIO_new_socket: "BIO",
  PEM_read_bio_X509: "X509",
  SSL_get1_peer_certificate: "X509",
  SSL_get_peer_certificate: "X509",
  PEM_read_bio_PrivateKey: "EVP_PKEY",
  PEM_read_bio_DHparams: "DH",
  SSL_get1_session: "SSL_SESSION",
};

/** What takes one back. */
const TAKEN: Record<string, string> = {
  SSL_CTX_free: "SSL_CTX",
  BIO_free: "BIO",
  X509_free: "X509",
  EVP_PKEY_free: "EVP_PKEY",
  DH_free: "DH",
  SSL_SESSION_free: "SSL_SESSION",
};

type Handle = Deno.PointerValue;
type Call = (...args: unknown[]) => unknown;

/** Counts references, and fails where one is given back that nobody has, or an SSL is used that is gone. */
export class CountedLibssl {
  readonly libssl: Libssl;
  /** How often each function in {@linkcode refusals} is to give null from here on. */
  readonly refusals: Record<string, number> = {};
  /** By kind, then by address. */
  readonly #held = new Map<string, Map<bigint, number>>();
  /** What each SSL reads from and writes to: it gives both back when it is freed. */
  readonly #bios = new Map<bigint, [input: bigint, output: bigint]>();
  #given = 0;

  constructor(real: Libssl) {
    const calls = { ...real } as unknown as Record<string, Call>;
    for (const [name, call] of Object.entries(calls)) {
      if (!call) continue; // this OpenSSL has it under another name
      if (/^SSL_(?!new|CTX_|CIPHER_|SESSION_)/.test(name)) calls[name] = this.#checked(name, call);
      if (name in GIVEN) calls[name] = this.#giving(name, calls[name]);
      if (name in TAKEN) calls[name] = this.#taking(TAKEN[name], call);
    }
    const { SSL_free: free, SSL_set_bio: setBio, SSL_set0_wbio: setOutput, BIO_up_ref: upRef } =
      calls;
    calls.BIO_up_ref = (bio) => {
      this.#give("BIO", bio as Handle);
      return upRef(bio);
    };
    calls.SSL_set_bio = (ssl, input, output) => {
      this.#bios.set(addressOf(ssl), [addressOf(input), addressOf(output)]);
      return setBio(ssl, input, output);
    };
    calls.SSL_set0_wbio = (ssl, output) => {
      const bios = this.#bios.get(addressOf(ssl))!;
      this.#take("BIO", bios[1]);
      bios[1] = addressOf(output);
      return setOutput(ssl, output);
    };
    calls.SSL_free = (ssl) => {
      const address = addressOf(ssl);
      free(ssl);
      this.#take("SSL", address);
      for (const bio of this.#bios.get(address) ?? []) if (bio !== 0n) this.#take("BIO", bio);
      this.#bios.delete(address);
    };
    this.libssl = calls as unknown as Libssl;
  }

  /** How many references were given in all. */
  get given(): number {
    return this.#given;
  }

  /** How many are left of each kind: `{}` for none. */
  get left(): Record<string, number> {
    const left: Record<string, number> = {};
    for (const [kind, held] of this.#held) {
      for (const count of held.values()) left[kind] = (left[kind] ?? 0) + count;
    }
    return left;
  }

  #checked(name: string, call: Call): Call {
    return (ssl, ...rest) => {
      if (this.#held.get("SSL")?.has(addressOf(ssl))) return call(ssl, ...rest);
      throw new Error(`${name} of an SSL that is freed`);
    };
  }

  #giving(name: string, call: Call): Call {
    return (...args) => {
      if ((this.refusals[name] ?? 0) > 0) {
        this.refusals[name]--;
        return null;
      }
      return this.#give(GIVEN[name], call(...args) as Handle);
    };
  }

  #taking(kind: string, call: Call): Call {
    return (handle) => {
      if (handle !== null) this.#take(kind, addressOf(handle));
      return call(handle);
    };
  }

  #give(kind: string, handle: Handle): Handle {
    if (handle === null) return null;
    this.#given++;
    const address = addressOf(handle);
    const held = this.#held.get(kind) ?? new Map<bigint, number>();
    this.#held.set(kind, held);
    held.set(address, (held.get(address) ?? 0) + 1);
    return handle;
  }

  #take(kind: string, address: bigint): void {
    const held = this.#held.get(kind);
    const count = held?.get(address) ?? 0;
    if (count === 0) throw new Error(`nobody holds the ${kind} that is given back`);
    if (count === 1) held!.delete(address);
    else held!.set(address, count - 1);
  }
}

function addressOf(handle: unknown): bigint {
  return Deno.UnsafePointer.value(handle as Handle);
}
