/**
 * What Deno's errors mean for a connection.
 * @module
 */
import { CloseCode, explain, toError } from "../errors.ts";

/** The close code of an error that a read or a write of a Conn rejected with. */
export function closeCodeOf(error: unknown): CloseCode {
  if (
    error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.BrokenPipe ||
    error instanceof Deno.errors.ConnectionAborted || error instanceof Deno.errors.NotConnected
  ) return CloseCode.Reset;
  // rustls reports a missing close_notify as UnexpectedEof, and what breaks TLS as InvalidData.
  if (error instanceof Deno.errors.UnexpectedEof) return CloseCode.Truncated;
  if (error instanceof Deno.errors.InvalidData) return CloseCode.Tls;
  return CloseCode.System;
}

/**
 * Whether a failed accept() says that descriptors or memory ran out: waiting helps, trying again at
 * once does not.
 */
export function isOutOfResources(error: unknown): boolean {
  const { code } = error as { code?: string };
  return code === "EMFILE" || code === "ENFILE" || code === "ENOBUFS" || code === "ENOMEM" ||
    /os error (23|24|12|105)\b/.test(String((error as Error).message));
}

/**
 * Whether accept() failed for one connection only, which its peer has reset by now: the next may be
 * fine.
 */
export function isOfOneConnection(error: unknown): boolean {
  return closeCodeOf(error) === CloseCode.Reset;
}

/** An error that says what could not be done: "Cannot connect to …: why", or that a name has no address. */
export function explainAddress(what: string, host: string | undefined, error: unknown): Error {
  // Deno has no class of error for names that do not resolve.
  const lookup = /failed to lookup address information: (.*)|No address|no addresses/i.exec(
    toError(error).message,
  );
  if (lookup === null) return explain(what, error);
  const why = lookup[1] ?? "it has no address";
  return new Deno.errors.NotFound(`Cannot resolve ${host}: ${why}`, { cause: error });
}
