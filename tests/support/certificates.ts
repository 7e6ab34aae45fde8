/**
 * Certificates for tests, made when they are first asked for: nothing secret is kept in the
 * repository and nothing in it can expire.
 */
import * as x509 from "@peculiar/x509";
import { createPrivateKey } from "node:crypto";

/** A certificate and its private key (PKCS#8), both PEM. */
export interface CertifiedKey {
  readonly cert: string;
  readonly key: string;
}

/** What {@linkcode testCertificates} makes. */
export interface TestCertificates {
  /** The authority that signed all others but `selfSigned`: for clients and servers to trust. */
  readonly ca: string;
  /** A server at `localhost`, `127.0.0.1` and `::1`. */
  readonly server: CertifiedKey;
  /** The same as `server`, but its key is encrypted with `passphrase`. */
  readonly serverEncrypted: CertifiedKey & { readonly passphrase: string };
  /** A client named `test client`. */
  readonly client: CertifiedKey;
  /** A server at the same addresses that was valid until yesterday. */
  readonly expired: CertifiedKey;
  /** A server at the same addresses, signed by itself. */
  readonly selfSigned: CertifiedKey;
  /** A server at the same addresses that will be valid from tomorrow. */
  readonly notYetValid: CertifiedKey;
  /** A server at `other.test`. */
  readonly otherHost: CertifiedKey;
  /** A server at the same addresses as `server`, with the intermediate authority that signed it. */
  readonly chain: CertifiedKey;
  /** That authority, which `ca` signed. */
  readonly intermediate: string;
  /** Another authority. */
  readonly otherCa: string;
  /** A client named `other client`, signed by that one. */
  readonly otherClient: CertifiedKey;
  /** The certificate of `server` with a key of another: no TLS library may load the pair. */
  readonly mismatchedKey: CertifiedKey;
}

/** The certificates of this process: made by the first call, the same for all later ones. */
export function testCertificates(): Promise<TestCertificates> {
  return made ??= makeCertificates();
}

let made: Promise<TestCertificates> | undefined;

/** A server at these host names, signed by `ca`: another one with each call. */
export async function certificateFor(...names: string[]): Promise<CertifiedKey> {
  return await makeLeaf({
    commonName: names[0],
    issuer: await (authority ??= makeIssuer("uSockets test authority")),
    names: names.map((value) => ({ type: "dns", value })),
    usage: x509.ExtendedKeyUsage.serverAuth,
  });
}

/** Signed by `ca`, with a host's name where no host name belongs: as the subject's common name. */
export async function commonNameCertificate(commonName: string): Promise<CertifiedKey> {
  return await makeLeaf({
    ...await localServer(),
    commonName,
    names: [{ type: "email", value: "somebody@example.test" }],
  });
}

/** A server at the same addresses as `server`, with an RSA key: made by the first call. */
export async function rsaCertificate(): Promise<CertifiedKey> {
  return await (madeRsa ??= makeLeaf({ ...await localServer(), keys: generateKeys(rsa) }));
}

let madeRsa: Promise<CertifiedKey> | undefined;
let authority: Promise<Issuer> | undefined;

const dayMs = 24 * 60 * 60 * 1000;

// P-256 keys take a millisecond to make, RSA keys up to a second.
const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const rsa = {
  name: "RSASSA-PKCS1-v1_5",
  modulusLength: 2048,
  publicExponent: new Uint8Array([1, 0, 1]),
  hash: "SHA-256",
};

const localNames: x509.JsonGeneralName[] = [
  { type: "dns", value: "localhost" },
  { type: "ip", value: "127.0.0.1" },
  { type: "ip", value: "::1" },
];

interface Issuer {
  readonly name: string;
  readonly keys: CryptoKeyPair;
}

interface LeafOptions {
  readonly commonName: string;
  /** Absent: signed by its own key. */
  readonly issuer?: Issuer;
  readonly names?: x509.JsonGeneralName[];
  readonly usage: x509.ExtendedKeyUsage;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly keys?: Promise<CryptoKeyPair>;
}

async function makeCertificates(): Promise<TestCertificates> {
  const local = await localServer();
  const now = Date.now();
  const server = await makeLeaf(local);
  const passphrase = "the test passphrase";
  const intermediate = await makeIssuer("uSockets intermediate authority");
  const intermediateCert = await makeAuthority(intermediate, local.issuer);
  const signed = await makeLeaf({ ...local, issuer: intermediate });
  const other = await makeIssuer("another test authority");
  return {
    ca: await makeAuthority(local.issuer),
    server,
    serverEncrypted: { cert: server.cert, key: encryptKey(server.key, passphrase), passphrase },
    client: await makeLeaf({
      commonName: "test client",
      issuer: local.issuer,
      usage: x509.ExtendedKeyUsage.clientAuth,
    }),
    expired: await makeLeaf({
      ...local,
      notBefore: new Date(now - 30 * dayMs),
      notAfter: new Date(now - dayMs),
    }),
    selfSigned: await makeLeaf({ ...local, issuer: undefined }),
    notYetValid: await makeLeaf({ ...local, notBefore: new Date(now + dayMs) }),
    otherHost: await certificateFor("other.test"),
    chain: { cert: signed.cert + intermediateCert, key: signed.key },
    intermediate: intermediateCert,
    otherCa: await makeAuthority(other),
    otherClient: await makeLeaf({
      commonName: "other client",
      issuer: other,
      usage: x509.ExtendedKeyUsage.clientAuth,
    }),
    mismatchedKey: { cert: server.cert, key: await exportKey(await generateKeys()) },
  };
}

/** What makes a server of `ca` at the local addresses. */
async function localServer() {
  return {
    commonName: "localhost",
    issuer: await (authority ??= makeIssuer("uSockets test authority")),
    names: localNames,
    usage: x509.ExtendedKeyUsage.serverAuth,
  };
}

async function makeIssuer(name: string): Promise<Issuer> {
  return { name: `CN=${name}`, keys: await generateKeys() };
}

/** An authority signed by itself, or an intermediate one signed by another. */
async function makeAuthority({ name, keys }: Issuer, issuer?: Issuer): Promise<string> {
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

async function makeLeaf(options: LeafOptions): Promise<CertifiedKey> {
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

async function generateKeys(of: RsaHashedKeyGenParams | EcKeyGenParams = algorithm) {
  return await crypto.subtle.generateKey(of, true, ["sign", "verify"]) as CryptoKeyPair;
}

async function exportKey(keys: CryptoKeyPair): Promise<string> {
  const der = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return text(x509.PemConverter.encode(der, x509.PemConverter.PrivateKeyTag));
}

/** With a line break at the end, so that two PEM texts can be joined into a chain. */
function text(pem: string): string {
  return pem.endsWith("\n") ? pem : `${pem}\n`;
}

function encryptKey(key: string, passphrase: string): string {
  const options = { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase } as const;
  return text(createPrivateKey(key).export(options).toString());
}
