/**
 * Who takes part, and how each is started.
 * @module
 */
import type { Service } from "../load/orders.ts";
import { output } from "./processes.ts";

/** What a server is asked to be. */
export interface ServerOptions {
  readonly service: Service;
  /** Bytes of an answer's body. */
  readonly bytes: number;
  readonly isTls: boolean;
  /** Measure how late timers are. */
  readonly isLateness?: boolean;
  readonly workers?: number;
  /** Steps of arithmetic for each request. */
  readonly work?: number;
}

/** One who takes part. */
export interface Contestant {
  readonly id: string;
  readonly name: string;
  /** Its name where it speaks TLS, if another. */
  readonly tlsName?: string;
  /** What starts its server. */
  readonly command: (isTls: boolean) => readonly string[];
  /** What it does not do. Absent: it does all. */
  readonly cannot?: (options: ServerOptions) => boolean;
}

const peers = new URL("../peers/", import.meta.url).pathname;
const deno = Deno.execPath();

/** Shared port: Deno guards it by a flag. */
const denoRun = (...args: string[]) => [deno, "run", "-A", "--unstable-net", ...args];

const ours = (id: string, name: string): Contestant => ({
  id,
  name,
  command: () => denoRun(`${peers}usockets.ts`, "--backend", id),
  cannot: ({ isLateness }) => isLateness === true && id === "blocking",
});

/** Everybody, in the order of the tables. `built` is the folder of what was compiled. */
export function contestantsOf(built: string): Contestant[] {
  return [
    {
      id: "c",
      name: "C, epoll",
      tlsName: "C, epoll, OpenSSL",
      command: (isTls) => [`${built}/${isTls ? "c_epoll_tls" : "c_epoll"}`],
      cannot: ({ isLateness }) => isLateness === true,
    },
    ours("blocking", "µSockets, epoll, blocking"),
    ours("epoll", "µSockets, epoll"),
    ours("deno", "µSockets, Deno"),
    {
      id: "bun",
      name: "Bun.listen",
      command: () => ["bun", `${peers}bun_listen.mjs`],
    },
    {
      id: "deno-listen",
      name: "Deno.listen",
      tlsName: "Deno.listenTls",
      command: () => denoRun(`${peers}deno_listen.ts`),
    },
    {
      id: "deno-serve",
      name: "Deno.serve",
      command: () => denoRun(`${peers}deno_serve.ts`),
      cannot: ({ service, workers = 1 }) => service !== "http" || workers > 1,
    },
    {
      id: "node-net-deno",
      name: "node:net, Deno",
      tlsName: "node:tls, Deno",
      command: () => denoRun(`${peers}node_net.mjs`),
      cannot: ({ workers = 1 }) => workers > 1, // node:cluster is not there
    },
    {
      id: "node-net-node",
      name: "node:net, Node",
      tlsName: "node:tls, Node",
      command: () => ["node", `${peers}node_net.mjs`],
    },
  ];
}

/** Someone who does not take part, and why. */
export interface Skipped {
  readonly contestant: string;
  readonly reason: string;
}

/** Compiles the C servers into `folder`, and finds out who can take part. */
export async function whoIsThere(
  folder: string,
): Promise<{ present: Contestant[]; skipped: Skipped[] }> {
  const skipped: Skipped[] = [];
  const present: Contestant[] = [];
  for (const contestant of contestantsOf(folder)) {
    const { id, name, tlsName = name, cannot = () => false } = contestant;
    const runtime = RUNTIMES[id];
    if (runtime !== undefined && await output(runtime.command, ["--version"]) === null) {
      skipped.push({ contestant: name, reason: `${runtime.command} is missing: ${runtime.get}` });
    } else if (id !== "c") {
      present.push(contestant);
    } else {
      const plain = await compile(folder, false), tls = await compile(folder, true);
      if (plain !== null) skipped.push({ contestant: name, reason: plain });
      if (tls !== null) skipped.push({ contestant: tlsName, reason: tls });
      const lacks = (isTls: boolean) => (isTls ? tls : plain) !== null;
      present.push({ ...contestant, cannot: (options) => lacks(options.isTls) || cannot(options) });
    }
  }
  return { present, skipped };
}

const RUNTIMES: Readonly<Record<string, { command: string; get: string }>> = {
  bun: { command: "bun", get: "npm install -g bun" },
  "node-net-node": { command: "node", get: "https://nodejs.org" },
};

/** Compiles a C server. Tells why it cannot. */
async function compile(folder: string, isTls: boolean): Promise<string | null> {
  const options = isTls ? ["-DTLS", "-lssl", "-lcrypto"] : [];
  const file = `${folder}/${isTls ? "c_epoll_tls" : "c_epoll"}`;
  const args = ["-O2", "-o", file, `${peers}c_epoll.c`, ...options];
  try {
    const { success, stderr } = await new Deno.Command("cc", { args }).output();
    if (success) return null;
    return new TextDecoder().decode(stderr).split("\n")[0];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return "there is no C compiler: cc";
    throw error;
  }
}
