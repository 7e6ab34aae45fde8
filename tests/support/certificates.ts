/**
 * Certificates for tests, made when they are first asked for: nothing secret is kept in the
 * repository and nothing in it can expire.
 */
import * as x509 from "@peculiar/x509";
import { createPrivateKey } from "node:crypto";
import {
  type CertifiedKey,
  exportKey,
  generateKeys,
  type Issuer,
  makeAuthority,
  makeIssuer,
  makeLeaf,
  text,
} from "../../examples/support/certificates.ts";

export type { CertifiedKey };

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

function encryptKey(key: string, passphrase: string): string {
  const options = { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase } as const;
  return text(createPrivateKey(key).export(options).toString());
}
