/** What peers read from files: certificates, keys, and sessions that they keep. */
import { type CertifiedKey, testCertificates } from "../../support/certificates.ts";
import { rsaCertificate } from "./openssl.ts";

/** A directory for the time of a test. */
export class Directory implements Disposable {
  readonly path = Deno.makeTempDirSync();

  /** Where a file of this name is, or will be. */
  at(name: string): string {
    return `${this.path}/${name}`;
  }

  /** Writes a file; returns its path. */
  write(name: string, text: string): string {
    Deno.writeTextFileSync(this.at(name), text);
    return this.at(name);
  }

  /** Writes a certificate and its key; returns both paths. */
  certificate(name: string, { cert, key }: CertifiedKey): { cert: string; key: string } {
    return { cert: this.write(`${name}.crt`, cert), key: this.write(`${name}.key`, key) };
  }

  [Symbol.dispose](): void {
    Deno.removeSync(this.path, { recursive: true });
  }
}

/** A directory with the certificates of the tests in it. */
export async function certificateFiles() {
  const { ca, server, client } = await testCertificates();
  const directory = new Directory();
  return {
    directory,
    ca: directory.write("ca.crt", ca),
    server: directory.certificate("server", server),
    client: directory.certificate("client", client),
    /** For any use, signed by itself, RSA. */
    stranger: async () => directory.certificate("stranger", await rsaCertificate()),
    [Symbol.dispose]: () => directory[Symbol.dispose](),
  };
}
