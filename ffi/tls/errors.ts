/**
 * What a failed call of OpenSSL says, as errors.
 *
 * OpenSSL queues errors per thread, and takes what it finds there for the last call's. So whoever
 * fails empties the queue, and whoever may fail does so before, where that is not too often.
 * @module
 */
import type { Handle, Libssl } from "./libssl.ts";
import { X509_V_OK } from "./constants.ts";
import { readCString } from "./strings.ts";

/** Errors of verification, by the names that Node has for them too. */
const VERIFY_CODES: Record<number, string> = {
  2: "UNABLE_TO_GET_ISSUER_CERT",
  3: "UNABLE_TO_GET_CRL",
  4: "UNABLE_TO_DECRYPT_CERT_SIGNATURE",
  6: "UNABLE_TO_DECODE_ISSUER_PUBLIC_KEY",
  7: "CERT_SIGNATURE_FAILURE",
  9: "CERT_NOT_YET_VALID",
  10: "CERT_HAS_EXPIRED",
  13: "ERROR_IN_CERT_NOT_BEFORE_FIELD",
  14: "ERROR_IN_CERT_NOT_AFTER_FIELD",
  17: "OUT_OF_MEM",
  18: "DEPTH_ZERO_SELF_SIGNED_CERT",
  19: "SELF_SIGNED_CERT_IN_CHAIN",
  20: "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  21: "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  22: "CERT_CHAIN_TOO_LONG",
  23: "CERT_REVOKED",
  24: "INVALID_CA",
  25: "PATH_LENGTH_EXCEEDED",
  26: "INVALID_PURPOSE",
  27: "CERT_UNTRUSTED",
  28: "CERT_REJECTED",
  62: "HOSTNAME_MISMATCH",
  64: "IP_ADDRESS_MISMATCH",
  66: "EE_KEY_TOO_SMALL",
  67: "CA_KEY_TOO_SMALL",
  68: "CA_MD_TOO_WEAK",
};

/** What some reasons mean for somebody who has not written OpenSSL. */
const HINTS: Record<string, string> = {
  "http request": "the peer speaks plain HTTP",
  "wrong version number": "the peer speaks no TLS, or none of the versions allowed",
  "bad decrypt": "wrong passphrase",
  "no start line": "no valid PEM",
  "no shared cipher": "nothing that both sides allow fits the certificate",
};

/** An alert that OpenSSL 1.1.1 has no words for. */
const REASON_BITS = 0xfffn, NO_APPLICATION_PROTOCOL = 1120n;

/** The reason at the front of the queue, which is emptied. */
export function takeReason(libssl: Libssl): string {
  const number = libssl.ERR_get_error();
  libssl.ERR_clear_error();
  if (number === 0n) return "";
  if ((number & REASON_BITS) === NO_APPLICATION_PROTOCOL) {
    return "tlsv1 alert no application protocol";
  }
  return readCString(libssl.ERR_reason_error_string(number)) || `error 0x${number.toString(16)}`;
}

/** An error for what OpenSSL just refused: "Cannot X: its reason". */
export function opensslError(
  libssl: Libssl,
  what: string,
  Class: new (message: string) => Error = Deno.errors.InvalidData,
): Error {
  return withReason(what, takeReason(libssl), Class);
}

/** Why TLS failed on a connection; a client names whom it wanted. */
export function tlsError(libssl: Libssl, ssl: Handle, what: string, serverName = ""): Error {
  const reason = takeReason(libssl);
  if (reason === "certificate verify failed") {
    const failure = verifyFailure(libssl, ssl);
    if (failure !== null) {
      const why = failure.code.endsWith("_MISMATCH")
        ? `the certificate is not for ${serverName} (${failure.text}; its common name does not count)`
        : failure.text;
      const error = new Deno.errors.InvalidData(`${what}: ${why}`);
      return Object.assign(error, { code: failure.code });
    }
  }
  return withReason(what, reason, Deno.errors.InvalidData);
}

/** Why the peer's certificate does not verify; null when it does. */
export function verifyFailure(libssl: Libssl, ssl: Handle): { code: string; text: string } | null {
  const result = libssl.SSL_get_verify_result(ssl);
  if (result === X509_V_OK) return null;
  return {
    code: VERIFY_CODES[result] ?? `X509_V_ERR_${result}`,
    text: readCString(libssl.X509_verify_cert_error_string(BigInt(result))),
  };
}

/** The peer ended the connection, or TLS itself, before hands were shaken. */
export function handshakeCutShort(): Error {
  const what = "Cannot finish the TLS handshake: the peer closed the connection";
  return new Deno.errors.UnexpectedEof(what);
}

/** A client asked for another name in its second ClientHello than its options were chosen by. */
export function serverNameChanged(): Error {
  const what = "Cannot finish the TLS handshake: the client changed the server name";
  return Object.assign(new Deno.errors.InvalidData(what), { code: "ERR_SSL_BAD_SERVER_NAME" });
}

function withReason(what: string, reason: string, Class: new (message: string) => Error): Error {
  const hint = HINTS[reason] === undefined ? "" : ` (${HINTS[reason]})`;
  const error = new Class(`${what}: ${reason || "OpenSSL gives no reason"}${hint}`);
  if (reason === "") return error;
  return Object.assign(error, { code: `ERR_SSL_${reason.toUpperCase().replace(/\W+/g, "_")}` });
}
