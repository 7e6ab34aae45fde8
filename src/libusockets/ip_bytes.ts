/**
 * Addresses as C has them.
 * @module
 */

/**
 * The bytes of an address, in network order: 4 of IPv4, 16 of IPv6, none of `""`, as for unix sockets.
 *
 * @internal
 */
export function ipBytes(ip: string): Uint8Array {
  if (ip === "") return new Uint8Array(0);
  if (!ip.includes(":")) return ipv4Bytes(ip);
  const [head, tail] = ip.split("%")[0].split("::").map(groupsOf);
  const zeros = tail === undefined ? [] : Array(16 - head.length - tail.length).fill(0);
  return Uint8Array.from([...head, ...zeros, ...tail ?? []]);
}

/** The bytes of the groups on one side of the `::`; the last may be written as IPv4. */
function groupsOf(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    if (group.includes(".")) return [...ipv4Bytes(group)];
    const value = parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}

function ipv4Bytes(text: string): Uint8Array {
  return Uint8Array.from(text.split("."), Number);
}
