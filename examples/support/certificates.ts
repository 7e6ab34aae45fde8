/**
 * Certificates made on the spot, for a self-test or a trial: nothing secret is kept, and nothing
 * expires in the repository.
 * @module
 */
import * as x509 from "@peculiar/x509";

/** A certificate and its private key (PKCS#8), both PEM. */
export interface CertifiedKey {
  readonly cert: string;
  readonly key: string;
}

/** Who signs. */
export interface Issuer {
  readonly name: string;
  readonly keys: CryptoKeyPair;
}

/** What a certificate of a server or a client says. */
export interface LeafOptions {
  readonly commonName: string;
  /** Absent: signed by its own key. */
  readonly issuer?: Issuer;
  readonly names?: x509.JsonGeneralName[];
  readonly usage: x509.ExtendedKeyUsage;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly keys?: Promise<CryptoKeyPair>;
}

// P-256 keys take a millisecond to make, RSA keys up to a second.
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const dayMs = 24 * 60 * 60 * 1000;

/** An authority to be: its name and its key. */
export async function makeIssuer(name: string): Promise<Issuer> {
  return { name: `CN=${name}`, keys: await generateKeys() };
}

/** The certificate of an authority signed by itself, or of an intermediate one signed by another. */
export async function makeAuthority({ name, keys }: Issuer, issuer?: Issuer): Promise<string> {
  const { name: issuerName, keys: issuerKeys } = issuer ?? { name, keys };
  const certificate = await x509.X509CertificateGenerator.create({
    subject: name,
    issuer: issuerName,
    publicKey: keys.publicKey,
    signingKey: issuerKeys.privateKey,
    signingAlgorithm: algorithm,
    ...validity(),
    extensions: [
      new x509.BasicConstraintsExtension(true, issuer === undefined ? 1 : 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuerKeys.publicKey),
    ],
  });
  return text(certificate.toString("pem"));
}

/** A certificate of a server or a client, and its key. */
export async function makeLeaf(options: LeafOptions): Promise<CertifiedKey> {
  const keys = await (options.keys ?? generateKeys());
  const subject = `CN=${options.commonName}`;
  const issuer = options.issuer ?? { name: subject, keys };
  const certificate = await x509.X509CertificateGenerator.create({
    subject,
    issuer: issuer.name,
    publicKey: keys.publicKey,
    signingKey: issuer.keys.privateKey,
    signingAlgorithm: algorithm,
    ...validity(options.notBefore, options.notAfter),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([options.usage]),
      new x509.SubjectAlternativeNameExtension(
        options.names ?? [{ type: "dns", value: options.commonName.replaceAll(" ", "-") }],
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.keys.publicKey),
    ],
  });
  return { cert: text(certificate.toString("pem")), key: await exportKey(keys) };
}

/** From yesterday by default, so that a clock set back a little does no harm. */
function validity(
  notBefore = new Date(Date.now() - dayMs),
  notAfter = new Date(Date.now() + 30 * dayMs),
): { notBefore: Date; notAfter: Date } {
  return { notBefore, notAfter };
}

/** A key pair to sign with, P-256 by default. */
export async function generateKeys(of: RsaHashedKeyGenParams | EcKeyGenParams = algorithm) {
  return await crypto.subtle.generateKey(of, true, ["sign", "verify"]) as CryptoKeyPair;
}

/** The private key (PKCS#8), PEM. */
export async function exportKey(keys: CryptoKeyPair): Promise<string> {
  const der = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return text(x509.PemConverter.encode(der, x509.PemConverter.PrivateKeyTag));
}

/** With a line break at the end, so that two PEM texts can be joined into a chain. */
export function text(pem: string): string {
  return pem.endsWith("\n") ? pem : `${pem}\n`;
}

/** What a trial of mutual TLS needs. */
export interface TrialCertificates {
  /** The authority that signed `server` and `trusted`. */
  readonly ca: string;
  /** A server at `localhost` and `127.0.0.1`. */
  readonly server: CertifiedKey;
  /** A client. */
  readonly trusted: CertifiedKey;
  /** A client that another authority signed. */
  readonly untrusted: CertifiedKey;
}

/** Makes {@linkcode TrialCertificates}: others with each call. */
export async function makeTrialCertificates(): Promise<TrialCertificates> {
  const issuer = await makeIssuer("throw-away authority");
  const { serverAuth, clientAuth } = x509.ExtendedKeyUsage;
  return {
    ca: await makeAuthority(issuer),
    server: await makeLeaf({
      commonName: "localhost",
      issuer,
      names: [{ type: "dns", value: "localhost" }, { type: "ip", value: "127.0.0.1" }],
      usage: serverAuth,
    }),
    trusted: await makeLeaf({ commonName: "trusted client", issuer, usage: clientAuth }),
    untrusted: await makeLeaf({
      commonName: "untrusted client",
      issuer: await makeIssuer("another authority"),
      usage: clientAuth,
    }),
  };
}
