/**
 * The server name in a ClientHello, read before OpenSSL sees it: so the context of that very name,
 * with all its options, can be chosen in plain code, and no callback runs inside of OpenSSL.
 * @module
 */

/** A longer one, or one in more pieces, asks for no name: OpenSSL has limits too. */
const BYTES_MAX = 65_536, RECORDS_MAX = 64, RECORD_BYTES_MAX = 16_384;

const NAME_BYTES_MAX = 255, HOST_NAME_PATTERN = /^[A-Za-z0-9_.-]{1,255}$/;

const HANDSHAKE_RECORD = 22, CLIENT_HELLO = 1, SERVER_NAME_EXTENSION = 0, HOST_NAME = 0;

/**
 * The server name that a client asks for: `""` for none, or where these bytes are no ClientHello and
 * OpenSSL may say what is wrong. While more must come: how many bytes there must be, for another try
 * to make sense.
 */
export function readServerName(bytes: Uint8Array): string | number {
  const message = readMessage(bytes);
  if (typeof message === "number") return message;
  try {
    return findServerName(new Reader(message));
  } catch (error) {
    if (error instanceof RangeError) return ""; // a field longer than what it is part of
    throw error;
  }
}

/** The ClientHello put together from its records, or how many bytes there must be. */
function readMessage(bytes: Uint8Array): Uint8Array | number {
  const message = new Uint8Array(bytes.length);
  let length = 0, at = 0;
  for (let i = 0; i < RECORDS_MAX; i++) {
    if (bytes.length >= at + 1 && bytes[at] !== HANDSHAKE_RECORD) return EMPTY;
    if (bytes.length >= at + 2 && bytes[at + 1] !== 3) return EMPTY;
    if (bytes.length < at + 5) return at + 5;
    const end = at + 5 + (bytes[at + 3] << 8 | bytes[at + 4]);
    if (end > at + 5 + RECORD_BYTES_MAX || end > BYTES_MAX) return EMPTY;
    if (bytes.length < end) return end;
    message.set(bytes.subarray(at + 5, end), length);
    length += end - at - 5;
    at = end;
    if (length === 0) continue; // OpenSSL passes empty records over
    if (message[0] !== CLIENT_HELLO) return EMPTY;
    const total = 4 + (message[1] << 16 | message[2] << 8 | message[3]);
    if (length >= 4 && length >= total) return message.subarray(0, total);
  }
  return EMPTY;
}

const EMPTY = new Uint8Array(0);

/** RFC 8446, 4.1.2, and RFC 6066, 3. */
function findServerName(hello: Reader): string {
  hello.skip(4 + 2 + 32); // type and length, version, random
  hello.skip(hello.u8()); // session
  hello.skip(hello.u16()); // cipher suites
  hello.skip(hello.u8()); // compression methods
  const extensions = hello.take(hello.u16());
  while (!extensions.isAtEnd) {
    const type = extensions.u16();
    const extension = extensions.take(extensions.u16());
    if (type !== SERVER_NAME_EXTENSION) continue;
    const names = extension.take(extension.u16());
    while (!names.isAtEnd) {
      const kind = names.u8();
      const name = names.take(names.u16());
      if (kind === HOST_NAME) return name.text();
    }
  }
  return "";
}

/** Reads from front to back; throws RangeError at the end. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  u8(): number {
    this.skip(1);
    return this.#bytes[this.#at - 1];
  }

  u16(): number {
    return this.u8() << 8 | this.u8();
  }

  skip(count: number): void {
    this.#at += count;
    if (this.#at > this.#bytes.length) throw new RangeError("too short");
  }

  take(count: number): Reader {
    this.skip(count);
    return new Reader(this.#bytes.subarray(this.#at - count, this.#at));
  }

  /** What can be no host name matches nothing, and must not come near a path. */
  text(): string {
    const text = String.fromCharCode(...this.#bytes.subarray(0, NAME_BYTES_MAX + 1));
    return HOST_NAME_PATTERN.test(text) ? text : "";
  }
}
