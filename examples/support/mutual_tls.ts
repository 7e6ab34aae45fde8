/**
 * A server that wants to see its clients' certificates, and what an end of a TLS connection saw.
 * @module
 */
import {
  CloseCode,
  type Loop,
  type Socket,
  type SocketContext,
  type TlsInfo,
  type TlsOptions,
} from "@usockets/usockets";

/** So long a client waits for the server to speak. */
const IDLE_SECONDS = 10;

/** What an end of a connection saw. */
export interface End {
  /** What was agreed on; null when the handshake failed, or is still to come. */
  info: TlsInfo | null;
  /** How it closed; null while it is open. */
  code: number | null;
  reason: Error & { code?: string } | undefined;
  /** What the other end said. */
  heard: string;
}

/** An end that has seen nothing yet. */
export function freshEnd(): End {
  return { info: null, code: null, reason: undefined, heard: "" };
}

/** What a {@linkcode greetingServer} tells of its connections, which carry what they saw. */
export interface Witness {
  onOpen?(socket: Socket<End>): void;
  /** TLS is agreed on: the certificate is as good as the options ask for. */
  onHandshake?(socket: Socket<End>): void;
  onClose?(socket: Socket<End>): void;
}

/** The context of a server that tells each client who it is, and ends. */
export function greetingServer(
  loop: Loop,
  tls: TlsOptions,
  witness: Witness,
): SocketContext<End> {
  return loop.createContext({
    tls: { ...tls, requestCert: true },
    socketExt: freshEnd,
    onOpen: (socket) => witness.onOpen?.(socket), // the library bounds the handshake's time
    onHandshake(socket, info) {
      socket.ext.info = info;
      witness.onHandshake?.(socket);
      socket.write(`hello, ${describePeer(info)}\n`);
      socket.end();
    },
    onClose(socket, code, reason) {
      Object.assign(socket.ext, { code, reason });
      witness.onClose?.(socket);
    },
  });
}

/** The context of a client that listens to what the server says, and says nothing. */
export function listeningClient(
  loop: Loop,
  tls: TlsOptions,
  witness: Witness,
): SocketContext<End> {
  const decoder = new TextDecoder();
  const closed = (socket: Socket<End>, code: number, reason: unknown) => {
    Object.assign(socket.ext, { code, reason });
    witness.onClose?.(socket);
  };
  return loop.createContext({
    tls,
    socketExt: freshEnd,
    onOpen(socket) {
      socket.timeout(IDLE_SECONDS);
      witness.onOpen?.(socket);
    },
    onHandshake: (socket, info) => void (socket.ext.info = info),
    onData: (socket, data) => void (socket.ext.heard += decoder.decode(data)),
    onTimeout: (socket) => socket.close(1, new Error(`silent for ${IDLE_SECONDS} s`)),
    onClose: closed,
    onConnectError: (socket, error) => closed(socket, CloseCode.System, error),
  });
}

/** Whose certificate it is. */
export function describePeer({ peerCertificate }: TlsInfo): string {
  if (!peerCertificate) return "stranger without a certificate";
  // A line for each part; whoever is let in unverified may have written anything else in there.
  const subject = peerCertificate.subject.replaceAll("\n", ", ");
  return subject.replace(/\p{Cc}/gu, "?");
}

/** Why an end closed: a code to look up where there is one, else what was said. */
export function describeReason({ reason }: End): string {
  return reason === undefined ? "" : reason.code ?? reason.message;
}
