/**
 * The PROXY protocol, versions 1 and 2: the header by which a proxy tells a server who its client
 * is. Nothing here knows of sockets.
 *
 * https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
 *
 * @module
 */
import ipaddr from "ipaddr.js";

/** Both ends of a connection. */
export type ProxyAddresses = IpAddresses | UnixAddresses;

/** Both ends of a TCP connection. */
export interface IpAddresses {
  readonly family: "IPv4" | "IPv6";
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
}

/** Both ends of a unix connection: a character is a byte of the path. */
export interface UnixAddresses {
  readonly family: "unix";
  readonly source: string;
  readonly destination: string;
}

/** A header that came whole. */
export interface ProxyHeader {
  /** How many bytes it has. */
  readonly length: number;
  /** Null when it names none: a health check of the proxy itself (LOCAL), or an unknown family. */
  readonly addresses: ProxyAddresses | null;
}

/** What came is no PROXY header, or one that nobody should send. */
export class ProxyProtocolError extends Error {}

/** A longer header of version 2 is refused, whatever TLVs it may have. */
export const HEADER_BYTES_MAX = 4096;

/** With its CR and LF. */
const V1_BYTES_MAX = 107;
const V2_SIGNATURE = latin1("\r\n\r\n\0\r\nQUIT\n");
const V2_FIXED_BYTES = 16;
const UNIX_PATH_BYTES = 108;
const V1_BEGINNING = latin1("PROXY ");
const CR = 0x0d, LF = 0x0a;

/** Where the header ends; the bytes behind it are the client's. */
export type Parsed = ProxyHeader | ProxyProtocolError | null;

/**
 * Reads the header at the beginning of what has come so far. Null: more must come. Never throws, and
 * says the same of a beginning however it was split.
 */
export function parseProxyHeader(bytes: Uint8Array): Parsed {
  if (startsAlike(bytes, V2_SIGNATURE)) return parseV2(bytes);
  if (startsAlike(bytes, V1_BEGINNING)) return parseV1(bytes);
  return new ProxyProtocolError("there is no PROXY header");
}

/** Reads a header that comes in pieces. */
export class ProxyHeaderReader {
  #kept: Uint8Array | null = null;
  #before = 0;

  /** Takes the next piece. */
  push(piece: Uint8Array): Parsed {
    this.#before = this.#kept?.length ?? 0;
    let bytes = piece;
    if (this.#kept !== null) {
      bytes = new Uint8Array(this.#before + piece.length);
      bytes.set(this.#kept);
      bytes.set(piece, this.#before);
    }
    const parsed = parseProxyHeader(bytes);
    if (parsed === null) this.#kept = bytes.slice(); // bounded: no header is longer than its bound
    return parsed;
  }

  /** Where the client's own bytes begin in the last piece. */
  offsetBehind(header: ProxyHeader): number {
    return header.length - this.#before;
  }
}

/** Whether the bytes begin so, as far as they go. */
function startsAlike(bytes: Uint8Array, beginning: Uint8Array): boolean {
  const length = Math.min(bytes.length, beginning.length);
  for (let i = 0; i < length; i++) if (bytes[i] !== beginning[i]) return false;
  return true;
}

// ---------------------------------------------------------------- version 1: a line of text

function parseV1(bytes: Uint8Array): Parsed {
  const end = endOfLine(bytes);
  if (end === -1) {
    if (bytes.length < V1_BYTES_MAX) return null;
    return new ProxyProtocolError(`the header is longer than ${V1_BYTES_MAX} bytes`);
  }
  const line = String.fromCharCode(...bytes.subarray(V1_BEGINNING.length, end));
  const length = end + 2;
  const [protocol, ...fields] = line.split(" ");
  if (protocol === "UNKNOWN") return { length, addresses: null }; // whatever follows
  const family = protocol === "TCP4" ? "IPv4" : protocol === "TCP6" ? "IPv6" : undefined;
  if (family === undefined || fields.length !== 4) {
    return new ProxyProtocolError("the header is no line of version 1");
  }
  const source = canonical(family, fields[0]), destination = canonical(family, fields[1]);
  const sourcePort = portOf(fields[2]), destinationPort = portOf(fields[3]);
  if (source === undefined || destination === undefined) {
    return new ProxyProtocolError(`the header has an address that is not ${family}`);
  }
  if (sourcePort === undefined || destinationPort === undefined) {
    return new ProxyProtocolError("the header has a port that is none");
  }
  return { length, addresses: { family, source, sourcePort, destination, destinationPort } };
}

/** Where the CR of the line's end is; -1 while there is none within the bound. */
function endOfLine(bytes: Uint8Array): number {
  const last = Math.min(bytes.length, V1_BYTES_MAX) - 1;
  for (let i = 0; i < last; i++) if (bytes[i] === CR && bytes[i + 1] === LF) return i;
  return -1;
}

function canonical(family: "IPv4" | "IPv6", text: string): string | undefined {
  if (family === "IPv4") return ipaddr.IPv4.isValidFourPartDecimal(text) ? text : undefined;
  // ipaddr.js takes leading zeros too, and ::1.2.3.4 for ::ffff:1.2.3.4.
  const url = /^[\da-f:.]+$/i.test(text) ? URL.parse(`http://[${text}]`) : null;
  return url?.hostname.slice(1, -1);
}

function portOf(text: string): number | undefined {
  return /^(?:0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65535 ? Number(text) : undefined;
}

// ---------------------------------------------------------------- version 2: binary

function parseV2(bytes: Uint8Array): Parsed {
  const command = bytes[12], kind = bytes[13]; // undefined while they have not come
  if (command !== undefined && command !== 0x20 && command !== 0x21) {
    return new ProxyProtocolError(`the header has an unknown version or command, ${hex(command)}`);
  }
  if (kind !== undefined && (kind >> 4 > 3 || (kind & 15) > 2)) {
    return new ProxyProtocolError(`the header has an unknown family, ${hex(kind)}`);
  }
  if (bytes.length < V2_FIXED_BYTES) return null;
  const length = V2_FIXED_BYTES + (bytes[14] << 8 | bytes[15]);
  if (length > HEADER_BYTES_MAX) {
    return new ProxyProtocolError(`the header is longer than ${HEADER_BYTES_MAX} bytes`);
  }
  // A LOCAL command is about no client: its addresses, if any, are skipped.
  const family = command === 0x20 ? 0 : kind >> 4;
  if (length < V2_FIXED_BYTES + [0, 12, 36, 2 * UNIX_PATH_BYTES][family]) {
    return new ProxyProtocolError("the header is too short for its addresses");
  }
  if (bytes.length < length) return null;
  return { length, addresses: addressesOf(family, bytes.subarray(V2_FIXED_BYTES)) };
}

/** TLVs may follow: they are skipped. */
function addressesOf(family: number, body: Uint8Array): ProxyAddresses | null {
  if (family === 0) return null;
  if (family === 3) {
    return {
      family: "unix",
      source: pathOf(body.subarray(0, UNIX_PATH_BYTES)),
      destination: pathOf(body.subarray(UNIX_PATH_BYTES, 2 * UNIX_PATH_BYTES)),
    };
  }
  const size = family === 1 ? 4 : 16;
  const address = (at: number) => ipaddr.fromByteArray([...body.subarray(at, at + size)]);
  const port = (at: number) => body[at] << 8 | body[at + 1];
  return {
    family: family === 1 ? "IPv4" : "IPv6",
    source: address(0).toString(),
    sourcePort: port(2 * size),
    destination: address(size).toString(),
    destinationPort: port(2 * size + 2),
  };
}

function pathOf(bytes: Uint8Array): string {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--; // an abstract name begins with a NUL
  return String.fromCharCode(...bytes.subarray(0, end));
}

// ---------------------------------------------------------------- the way out

/** The header of a version; without addresses one that says so. */
export function encodeProxyHeader(version: 1 | 2, addresses: ProxyAddresses | null): Uint8Array {
  return version === 1 ? encodeV1(addresses) : encodeV2(addresses);
}

function encodeV1(addresses: ProxyAddresses | null): Uint8Array {
  if (addresses === null || addresses.family === "unix") return latin1("PROXY UNKNOWN\r\n");
  const { source, destination, sourcePort, destinationPort } = addresses;
  const protocol = addresses.family === "IPv4" ? "TCP4" : "TCP6";
  return latin1(
    `PROXY ${protocol} ${source} ${destination} ${sourcePort} ${destinationPort}\r\n`,
  );
}

function encodeV2(addresses: ProxyAddresses | null): Uint8Array {
  // Without addresses: PROXY, UNSPEC. LOCAL would say that there is no client at all.
  if (addresses === null) return v2(0x00, []);
  const { source, destination } = addresses;
  if (addresses.family === "unix") return v2(0x31, [...path(source), ...path(destination)]);
  const { sourcePort, destinationPort } = addresses;
  return v2(addresses.family === "IPv4" ? 0x11 : 0x21, [
    ...ipaddr.parse(source).toByteArray(),
    ...ipaddr.parse(destination).toByteArray(),
    ...[sourcePort >> 8, sourcePort & 255],
    ...[destinationPort >> 8, destinationPort & 255],
  ]);
}

function v2(kind: number, body: number[]): Uint8Array {
  return Uint8Array.of(...V2_SIGNATURE, 0x21, kind, body.length >> 8, body.length & 255, ...body);
}

function path(text: string): Uint8Array {
  const bytes = new Uint8Array(UNIX_PATH_BYTES);
  bytes.set(latin1(text.slice(0, UNIX_PATH_BYTES)));
  return bytes;
}

/**
 * The addresses of a connection: `""` is a unix one, which has none to tell. A zone such as `%eth0`
 * means nothing on another machine.
 */
export function ipAddresses(
  source: string,
  sourcePort: number,
  destination: string,
  destinationPort: number,
): IpAddresses | null {
  const family = source.includes(":") ? "IPv6" : "IPv4";
  const from = canonical(family, source.replace(/%.*/, ""));
  const to = canonical(family, destination.replace(/%.*/, ""));
  if (from === undefined || to === undefined) return null;
  return {
    family,
    source: from,
    sourcePort,
    destination: to,
    destinationPort,
  };
}

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function hex(byte: number): string {
  return `0x${byte.toString(16).padStart(2, "0")}`;
}
