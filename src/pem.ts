/**
 * PEM texts of the TLS options, given in memory or as files. Files are read with Deno's own API, so
 * its permissions hold.
 * @module
 */
import { explain } from "./errors.ts";
import type { TlsOptions } from "./tls_options.ts";

/** What the certificate options come to. @internal */
export interface Pems {
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly ca: string | undefined;
}

/**
 * The texts of all three.
 *
 * @throws {TypeError} For a certificate without its key, and the other way round.
 * @internal
 */
export function readPems(options: TlsOptions): Pems {
  const cert = readPem("certificate", options, "cert");
  const key = readPem("private key", options, "key");
  const ca = readPem("CA certificates", options, "ca");
  if ((cert === undefined) !== (key === undefined)) {
    const [there, missing] = key === undefined
      ? ["certificate", "private key"]
      : ["private key", "certificate"];
    throw new TypeError(`Cannot create a TLS context: a ${there} needs its ${missing}`);
  }
  return { cert, key, ca };
}

/**
 * The text of an option, from memory or from the file that `…File` names.
 *
 * @throws {TypeError} When both are given.
 * @throws {Deno.errors.NotFound|Deno.errors.NotCapable} When the file cannot be read.
 */
function readPem(
  what: string,
  options: TlsOptions,
  name: "cert" | "key" | "ca",
): string | undefined {
  const text = options[name], file = options[`${name}File`];
  if (text !== undefined && file !== undefined) {
    throw new TypeError(
      `Cannot create a TLS context: "${name}" and "${name}File" exclude each other`,
    );
  }
  return file === undefined ? text : readPemFile(what, file);
}

/** The text of a file. @internal */
export function readPemFile(what: string, file: string): string {
  try {
    return Deno.readTextFileSync(file);
  } catch (error) {
    throw explain(`Cannot read the ${what} ${file}`, error);
  }
}
