/** The `openssl` program as a peer. */
import type { CertifiedKey } from "../../support/certificates.ts";
import { PeerProcess } from "./peer_process.ts";
import { find } from "./preflight.ts";

/** `openssl s_client`, connected to a port of this machine. */
export function sClient(port: number, ...args: string[]): PeerProcess {
  return new PeerProcess("openssl", ["s_client", "-connect", `127.0.0.1:${port}`, ...args]);
}

/** `openssl s_server` on a port of its own, which is returned when it listens. */
export async function sServer(
  certificate: { cert: string; key: string },
  ...args: string[]
): Promise<{ peer: PeerProcess; port: number } & AsyncDisposable> {
  const { cert, key } = certificate;
  const options = ["-accept", "127.0.0.1:0", "-cert", cert, "-key", key, ...args];
  const peer = new PeerProcess("openssl", ["s_server", ...options]);
  const [, port] = await peer.until(/ACCEPT \S+:(\d+)\s/);
  return { peer, port: Number(port), [Symbol.asyncDispose]: () => peer[Symbol.asyncDispose]() };
}

/** Says bye: the peer sends its close_notify and ends. */
export async function quit(peer: PeerProcess): Promise<void> {
  await peer.send("Q\n");
  await peer.ended();
}

/** A certificate with an RSA key, which the weak cipher suites of old need, signed by itself. */
export async function rsaCertificate(): Promise<CertifiedKey> {
  const args = "req -x509 -newkey rsa:2048 -nodes -days 2 -keyout - -out - -subj /CN=localhost " +
    "-addext subjectAltName=DNS:localhost";
  const command = new Deno.Command(find("openssl"), { args: args.split(" "), stderr: "null" });
  const pem = new TextDecoder().decode((await command.output()).stdout);
  const block = (label: string) =>
    new RegExp(`-----BEGIN ${label}-----[^]*?-----END ${label}-----\n`).exec(pem)![0];
  return { cert: block("CERTIFICATE"), key: block("PRIVATE KEY") };
}
