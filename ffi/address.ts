/**
 * Socket addresses: between the bytes of `struct sockaddr` and what programs read and write.
 * @module
 */
import { AF_INET, AF_INET6, AF_UNIX } from "./constants.ts";
import type { Libc } from "./libc.ts";

/** Bytes that libc can be given. */
export type Bytes = Uint8Array<ArrayBuffer>;

/** What a `struct sockaddr` is at most: `struct sockaddr_un`. */
export const SOCKADDR_BYTES = 110;

/** Where a peer or a listener is. */
export interface Address {
  /** IPv4 in dotted form even where it came mapped into IPv6; `""` for unix sockets. */
  readonly ip: string;
  /** 0 for unix sockets. */
  readonly port: number;
}

const NOWHERE: Address = { ip: "", port: 0 };
const decoder = new TextDecoder();
const encoder = new TextEncoder();

/** The address family: the first field of every `struct sockaddr`. */
export function familyOf(sockaddr: Uint8Array): number {
  return sockaddr[0] | sockaddr[1] << 8; // native order, and both machines are little-endian
}

/** The port: bytes 2 and 3 in network order, for both IP families. */
export function portOf(sockaddr: Uint8Array): number {
  const family = familyOf(sockaddr);
  return family === AF_INET || family === AF_INET6 ? sockaddr[2] << 8 | sockaddr[3] : 0;
}

/** Puts a port into a `struct sockaddr_in` or `sockaddr_in6`. */
export function setPort(sockaddr: Uint8Array, port: number): void {
  sockaddr[2] = port >> 8;
  sockaddr[3] = port & 0xff;
}

/** Reads a `struct sockaddr`. */
export function readAddress(libc: Libc, sockaddr: Bytes, length: number): Address {
  if (length < 2) return NOWHERE;
  const ip = readIp(libc, sockaddr);
  return ip === "" ? NOWHERE : { ip, port: portOf(sockaddr) };
}

/** The IP address of a `struct sockaddr`; `""` for other families. */
export function readIp(libc: Libc, sockaddr: Bytes): string {
  const family = familyOf(sockaddr);
  if (family === AF_INET) return dotted(sockaddr, 4); // struct sockaddr_in: sin_addr at 4
  if (family !== AF_INET6) return "";
  // struct sockaddr_in6: sin6_addr at 8
  return isMapped(sockaddr) ? dotted(sockaddr, 20) : formatIpv6(libc, sockaddr.subarray(8, 24));
}

/** `struct sockaddr_in` of an address in dotted form, or null for what is none. */
export function ipv4Sockaddr(ip: string, port: number): Bytes | null {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(ip);
  if (parts === null) return null;
  const sockaddr = new Uint8Array(16);
  sockaddr[0] = AF_INET;
  setPort(sockaddr, port);
  for (let i = 0; i < 4; i++) {
    const part = parts[i + 1];
    if (Number(part) > 255 || (part.length > 1 && part[0] === "0")) return null;
    sockaddr[4 + i] = Number(part);
  }
  return sockaddr;
}

/** `struct sockaddr_in6` of `::`. */
export function anyIpv6Sockaddr(port: number): Bytes {
  const sockaddr = new Uint8Array(28);
  sockaddr[0] = AF_INET6;
  setPort(sockaddr, port);
  return sockaddr;
}

/** `struct sockaddr_un` of a path, or of an abstract name with a leading NUL. */
export function unixSockaddr(path: string): Bytes {
  const bytes = encoder.encode(path);
  // A path ends with a NUL; of an abstract name every byte counts.
  const sockaddr = new Uint8Array(2 + bytes.length + (bytes[0] === 0 ? 0 : 1));
  sockaddr[0] = AF_UNIX;
  sockaddr.set(bytes, 2);
  return sockaddr;
}

/** The path in a `struct sockaddr_un` of so many bytes. */
export function readUnixPath(sockaddr: Uint8Array, length: number): string {
  const bytes = sockaddr.subarray(2, length);
  const end = bytes[0] === 0 ? -1 : bytes.indexOf(0);
  return decoder.decode(end === -1 ? bytes : bytes.subarray(0, end));
}

/** An address as `host` of a permission, or as part of a URL: IPv6 in brackets. */
export function bracket(ip: string): string {
  return ip.includes(":") ? `[${ip}]` : ip;
}

/**
 * The unspecified address as a destination means this machine, but which address of it depends on the
 * source: makes it the loopback address.
 */
export function specifyLoopback(sockaddr: Bytes): void {
  const [start, length] = familyOf(sockaddr) === AF_INET ? [4, 4] : [8, 16];
  const address = sockaddr.subarray(start, start + length);
  const isMappedAny = length === 16 && isMapped(sockaddr) && address.subarray(12).every(isZero);
  if (!isMappedAny && !address.every(isZero)) return;
  if (length === 4 || isMappedAny) address[length - 4] = 127;
  address[length - 1] = 1;
}

function isZero(byte: number): boolean {
  return byte === 0;
}

/** An address as URLs write it, without the brackets. */
export function unbracket(host: string): string {
  return host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
}

function dotted(bytes: Uint8Array, at: number): string {
  return `${bytes[at]}.${bytes[at + 1]}.${bytes[at + 2]}.${bytes[at + 3]}`;
}

/** ::ffff:0:0/96 */
function isMapped(sockaddr: Uint8Array): boolean {
  for (let i = 8; i < 18; i++) if (sockaddr[i] !== 0) return false;
  return sockaddr[18] === 0xff && sockaddr[19] === 0xff;
}

function formatIpv6(libc: Libc, address: Bytes): string {
  const text = new Uint8Array(46); // INET6_ADDRSTRLEN
  libc.inet_ntop(AF_INET6, address, text, text.length);
  return decoder.decode(text.subarray(0, text.indexOf(0)));
}
