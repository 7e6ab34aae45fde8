/**
 * What the backend asks of a Conn, whatever its transport.
 * @module
 */

/**
 * Closes a Conn; one that a failed startTls() took, or that is closed already, is nothing to
 * report.
 */
export function close(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch { /* closed already */ }
}

/** Turns Nagle's algorithm off where there is any and Deno lets us. */
export function disableNagle(conn: Deno.Conn): void {
  if (isUnix(conn) || isTls(conn)) return;
  try {
    (conn as Deno.TcpConn).setNoDelay(true);
  } catch { /* a Conn that is dead already shows it on its first read */ }
}

/** The address of a peer as programs want it: IPv4 as IPv4, `""` for unix. */
export function ipOf(address: Deno.Addr | undefined): string {
  if (address === undefined || !("hostname" in address)) return "";
  const { hostname } = address;
  return hostname.startsWith("::ffff:") && hostname.includes(".") ? hostname.slice(7) : hostname;
}

/** The port of a peer; 0 for unix. */
export function portOf(address: Deno.Addr | undefined): number {
  return address !== undefined && "port" in address ? address.port : 0;
}

/** Whether it is a TlsConn: only those have handshake(). */
export function isTls(conn: Deno.Conn): conn is Deno.TlsConn {
  return "handshake" in conn;
}

/** Whether it is a unix socket. */
export function isUnix(conn: Deno.Conn): boolean {
  return conn.remoteAddr.transport === "unix";
}
