/** nginx as a peer: in one process, with a configuration and a directory of its own. */
import { assertEquals } from "@std/assert";
import type { Directory } from "./files.ts";
import { PeerProcess } from "./peer_process.ts";
import { findNginxStream } from "./preflight.ts";

/** A port that nobody listens on, for programs that cannot tell which they took. */
export function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

/** Blocks of a configuration. */
export interface NginxBlocks {
  /** What stands in `http`. */
  readonly http?: string;
  /** What stands in `stream`. */
  readonly stream?: string;
}

const PATHS = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];

/** nginx, once it listens. It is to be ended by `quit()`; else it is killed with its scope. */
export class Nginx extends PeerProcess {
  private constructor(directory: Directory, config: string) {
    super("nginx", ["-p", directory.path, "-e", "stderr", "-c", config]);
  }

  /** Starts it with its files in the directory. */
  static async start(directory: Directory, { http = "", stream = "" }: NginxBlocks) {
    const temporary = PATHS.map((name) => `${name}_temp_path ${directory.at(name)};\n`).join("");
    const config = directory.write(
      "nginx.conf",
      `daemon off; master_process off; pid ${directory.at("nginx.pid")};
      error_log stderr info; load_module ${findNginxStream()};
      events { worker_connections 1024; }
      http { access_log off; ${temporary} ${http} }
      stream { ${stream} }`,
    );
    const nginx = new Nginx(directory, config);
    await nginx.until("getrlimit"); // which it tells behind listening
    return nginx;
  }

  /** Ends it, when its connections have; it must have had nothing to complain about. */
  async quit(): Promise<void> {
    this.signal("SIGQUIT");
    assertEquals(await this.ended(), 0, this.output);
    assertEquals(/\[(warn|error|crit|alert|emerg)\]/.test(this.output), false, this.output);
  }
}
