/** node:tls or node:net as a peer, in Node or in Deno: see node_peer.mjs. */
import { assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { PeerProcess } from "./peer_process.ts";

/** Who runs node:tls. */
export const RUNTIMES: Record<string, string[]> = {
  node: ["node"],
  "node:tls in Deno": [Deno.execPath(), "run", "--quiet", "--no-config", "--allow-all"],
};

/** What the peer is to be. */
export interface NodePeerOptions {
  role: "client" | "server";
  /** Where a client connects to. */
  port?: number;
  /** Where a client connects to, or a server listens, in place of a port. */
  path?: string;
  /** Of net.connect() or net.createServer(): no TLS. */
  net?: Record<string, unknown>;
  /** Of tls.connect() or tls.createServer(). */
  tls?: Record<string, unknown>;
  /** TLS on a TCP socket that can be ended or reset by itself. */
  isRaw?: boolean;
  /** Reads nothing. */
  staysSilent?: boolean;
}

/** What node:tls tells of a connection. */
export interface NodeInfo {
  protocol: string;
  alpn: string | false | null;
  authorized: boolean;
  authorizationError: string | null;
  resumed: boolean;
  serverName: string | null;
  subject: string | null;
}

/** A peer on node:tls or node:net. */
export class NodePeer extends PeerProcess {
  constructor(runtime: string[], options: NodePeerOptions) {
    const program = fileURLToPath(new URL("./node_peer.mjs", import.meta.url));
    super(runtime[0], [...runtime.slice(1), program, JSON.stringify(options)], { NO_COLOR: "1" });
  }

  /** The port that a server listens on. */
  async port(): Promise<number> {
    return Number((await this.until(/^listening (\d+)\n/m))[1]);
  }

  /** Waits until TLS is agreed on. */
  async secured(): Promise<NodeInfo> {
    return JSON.parse((await this.until(/^secure (.*)\n/m))[1]);
  }

  /** Waits for the other's end; the hash of what came before it. */
  async heard(): Promise<string> {
    return (await this.until(/^end \d+ (\w+)\n/m))[1];
  }

  /** Gives a command. */
  async tell(command: string): Promise<void> {
    await this.send(`${command}\n`);
  }

  /** Ends the program; it must have had nothing to complain about. */
  async quit(): Promise<void> {
    await this.tell("quit");
    assertEquals(await this.ended(), 0, this.output);
  }
}
