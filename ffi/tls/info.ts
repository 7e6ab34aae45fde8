/**
 * What TLS agreed on, read from OpenSSL.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { getBuiltinModule } from "node:process";
import type { TlsInfo } from "../../src/tls_options.ts";
import type { TlsChannel } from "./channel.ts";
import { TLSEXT_NAMETYPE_HOST_NAME } from "./constants.ts";
import { verifyFailure } from "./errors.ts";
import type { Handle, Libssl } from "./libssl.ts";
import { readCString } from "./strings.ts";

/** What a channel agreed on: stays true when that is freed. */
export class ChannelInfo implements TlsInfo {
  readonly alpnProtocol: string | null;
  readonly serverName: string | undefined;
  readonly protocol: string;
  readonly cipher: string;
  readonly resumed: boolean;
  readonly authorized: boolean;
  readonly authorizationError: string | null;
  readonly ktls: boolean;
  /** The peer's certificate, DER; null for none. */
  readonly #der: Uint8Array<ArrayBuffer> | null;
  #certificate: X509Certificate | null = null;

  /** @param serverName Where it is known from the ClientHello. */
  constructor(libssl: Libssl, channel: TlsChannel, serverName: string | null) {
    const ssl = channel.ssl!;
    this.alpnProtocol = readAlpn(libssl, ssl);
    const asked = serverName ??
      readCString(libssl.SSL_get_servername(ssl, TLSEXT_NAMETYPE_HOST_NAME));
    this.serverName = asked || undefined;
    this.protocol = readCString(libssl.SSL_get_version(ssl));
    this.cipher = readCString(libssl.SSL_CIPHER_get_name(libssl.SSL_get_current_cipher(ssl)));
    this.resumed = libssl.SSL_session_reused(ssl) === 1;
    this.#der = readCertificate(libssl, ssl);
    const failure = this.#der === null ? null : verifyFailure(libssl, ssl);
    this.authorized = this.#der !== null && failure === null;
    this.authorizationError = failure?.code ?? null;
    this.ktls = channel.isOffloaded;
  }

  /** Parsed when it is first asked for. */
  get peerCertificate(): X509Certificate | null {
    if (this.#der === null) return null;
    return this.#certificate ??= new (getBuiltinModule("node:crypto").X509Certificate)(this.#der);
  }
}

const pointer = new BigUint64Array(new ArrayBuffer(8));
const pointerBytes = new Uint8Array(pointer.buffer);
const length = new Uint32Array(new ArrayBuffer(4));
const lengthBytes = new Uint8Array(length.buffer);

function readAlpn(libssl: Libssl, ssl: Handle): string | null {
  libssl.SSL_get0_alpn_selected(ssl, pointerBytes, lengthBytes);
  if (length[0] === 0) return null;
  const at = Deno.UnsafePointer.create(pointer[0])!;
  return new TextDecoder().decode(Deno.UnsafePointerView.getArrayBuffer(at, length[0]));
}

function readCertificate(libssl: Libssl, ssl: Handle): Uint8Array<ArrayBuffer> | null {
  const read = libssl.SSL_get1_peer_certificate ?? libssl.SSL_get_peer_certificate;
  const certificate = read!(ssl);
  if (certificate === null) return null;
  const bio = libssl.BIO_new(libssl.BIO_s_mem());
  const isWritten = bio !== null && libssl.i2d_X509_bio(bio, certificate) === 1;
  const der = new Uint8Array(new ArrayBuffer(isWritten ? libssl.BIO_ctrl_pending(bio) : 0));
  if (isWritten) libssl.BIO_read(bio, der, der.length);
  if (bio !== null) libssl.BIO_free(bio);
  libssl.X509_free(certificate);
  return isWritten ? der : null; // out of memory: as if there were none
}
