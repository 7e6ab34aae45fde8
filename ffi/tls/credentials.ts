/**
 * Certificates, keys and Diffie-Hellman parameters: PEM text into an SSL_CTX. OpenSSL opens no file
 * for them, so Deno's permissions hold.
 * @module
 */
import type { TlsOptions } from "../../src/tls_options.ts";
import { readPemFile } from "../../src/pem.ts";
import { SSL_CTRL_CHAIN_CERT, SSL_CTRL_SET_TMP_DH, X509_V_OK } from "./constants.ts";
import { opensslError, takeReason } from "./errors.ts";
import type { Handle, Libssl } from "./libssl.ts";
import { checkBio } from "./memory.ts";
import { cString, readCString } from "./strings.ts";

/** Without one OpenSSL would ask for it at the terminal. */
const NO_PASSPHRASE = cString("");

/** Takes a certificate with the chain behind it, and its key. */
export function useCertificate(
  libssl: Libssl,
  context: Handle,
  cert: string,
  key: string,
  options: TlsOptions,
): void {
  const what = named("certificate", options.certFile);
  const chain = readCertificates(libssl, what, cert);
  try {
    checkChain(libssl, what, chain);
    if (libssl.SSL_CTX_use_certificate(context, chain[0]) !== 1) {
      throw opensslError(libssl, `Cannot use the ${what}`);
    }
    for (const certificate of chain.slice(1)) {
      if (libssl.SSL_CTX_ctrl(context, SSL_CTRL_CHAIN_CERT, 1n, certificate) !== 1) {
        throw opensslError(libssl, `Cannot use the ${what}`);
      }
    }
    useKey(libssl, context, chain[0], key, options);
  } finally { // the context holds its own references
    for (const certificate of chain) libssl.X509_free(certificate);
  }
}

/** Trusts certificates, and tells clients that theirs should come from one of these. */
export function useTrusted(
  libssl: Libssl,
  context: Handle,
  pem: string,
  file: string | undefined,
): void {
  const what = named("CA certificates", file);
  const certificates = readCertificates(libssl, what, pem);
  const store = libssl.SSL_CTX_get_cert_store(context);
  try {
    for (const certificate of certificates) {
      if (
        libssl.X509_STORE_add_cert(store, certificate) !== 1 ||
        libssl.SSL_CTX_add_client_CA(context, certificate) !== 1
      ) throw opensslError(libssl, `Cannot use the ${what}`);
    }
  } finally {
    for (const certificate of certificates) libssl.X509_free(certificate);
  }
}

/** Takes Diffie-Hellman parameters, for the DHE ciphers of TLS 1.2. */
export function useDhParams(libssl: Libssl, context: Handle, file: string): void {
  const what = `Diffie-Hellman parameters ${file}`;
  const pem = readPemFile("Diffie-Hellman parameters", file);
  withBio(libssl, pem, (bio) => {
    const params = libssl.PEM_read_bio_DHparams(bio, null, null, NO_PASSPHRASE);
    if (params === null) throw opensslError(libssl, `Cannot read the ${what}`);
    const result = libssl.SSL_CTX_ctrl(context, SSL_CTRL_SET_TMP_DH, 0n, params);
    libssl.DH_free(params);
    if (result !== 1) throw opensslError(libssl, `Cannot use the ${what}`);
  });
}

function useKey(
  libssl: Libssl,
  context: Handle,
  certificate: Handle,
  pem: string,
  options: TlsOptions,
): void {
  const what = named("private key", options.keyFile);
  const isEncrypted = /BEGIN ENCRYPTED PRIVATE KEY|Proc-Type: 4,ENCRYPTED/.test(pem);
  if (isEncrypted && options.passphrase === undefined) {
    throw new Deno.errors.InvalidData(`Cannot read the ${what}: it needs a passphrase`);
  }
  withBio(libssl, pem, (bio) => {
    const { passphrase: text } = options;
    const passphrase = text === undefined ? NO_PASSPHRASE : cString(text);
    const key = libssl.PEM_read_bio_PrivateKey(bio, null, null, passphrase);
    if (key === null) {
      const why = isEncrypted ? "wrong passphrase" : "no valid PEM";
      const reason = takeReason(libssl);
      throw new Deno.errors.InvalidData(`Cannot read the ${what}: ${why} (${reason})`);
    }
    try {
      // A key of another kind than the certificate's would be taken, and go with no certificate.
      if (libssl.X509_check_private_key(certificate, key) !== 1) {
        throw new Deno.errors.InvalidData(
          `Cannot create a TLS context: the private key is not the certificate's (${
            takeReason(libssl)
          })`,
        );
      }
      if (libssl.SSL_CTX_use_PrivateKey(context, key) !== 1) {
        throw opensslError(libssl, `Cannot use the ${what}`);
      }
    } finally {
      libssl.EVP_PKEY_free(key);
    }
  });
}

/** All certificates of the text, one at least. */
function readCertificates(libssl: Libssl, what: string, pem: string): Handle[] {
  const count = pem.match(/-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----/g)?.length ?? 0;
  const certificates: Handle[] = [];
  withBio(libssl, pem, (bio) => {
    do {
      const certificate = libssl.PEM_read_bio_X509(bio, null, null, NO_PASSPHRASE);
      if (certificate === null) {
        for (const read of certificates) libssl.X509_free(read);
        const reason = takeReason(libssl);
        throw new Deno.errors.InvalidData(`Cannot read the ${what}: no valid PEM (${reason})`);
      }
      certificates.push(certificate);
    } while (certificates.length < count);
  });
  return certificates;
}

/** Each must have issued the one before it, or clients cannot make use of them (RFC 8446, 4.4.2). */
function checkChain(libssl: Libssl, what: string, chain: readonly Handle[]): void {
  for (let i = 1; i < chain.length; i++) {
    const result = libssl.X509_check_issued(chain[i], chain[i - 1]);
    if (result === X509_V_OK) continue;
    const reason = readCString(libssl.X509_verify_cert_error_string(BigInt(result)));
    throw new Deno.errors.InvalidData(
      `Cannot use the ${what}: the chain is broken, number ${
        i + 1
      } did not issue number ${i} (${reason})`,
    );
  }
}

/** The text as something that OpenSSL reads from. */
function withBio(libssl: Libssl, pem: string, use: (bio: Handle) => void): void {
  const bytes = cString(pem);
  libssl.ERR_clear_error();
  const bio = checkBio(libssl.BIO_new_mem_buf(bytes, bytes.length - 1));
  try {
    use(bio);
  } finally {
    libssl.BIO_free(bio);
  }
}

function named(what: string, file: string | undefined): string {
  return file === undefined ? what : `${what} ${file}`;
}
