/**
 * What tests of the C header stand on: a loop of each combination of the conformance suite, and
 * contexts, listeners and connections made of nothing but `us_*` functions. Every test ends with a
 * look at what handlers threw and at the descriptors that are left.
 */
// deno-lint-ignore-file camelcase -- the header's names
import { assert, assertEquals } from "@std/assert";
import { epoll, Loop } from "@usockets/usockets";
import {
  us_create_socket_context,
  us_create_timer,
  type us_ext_size,
  us_last_error,
  us_listen_socket_close,
  type us_listen_socket_t,
  us_loop_free,
  us_loop_run,
  type us_loop_t,
  us_socket_close,
  us_socket_context_connect,
  us_socket_context_connect_unix,
  us_socket_context_listen,
  us_socket_context_listen_unix,
  us_socket_context_on_open,
  type us_socket_context_options_t,
  type us_socket_context_t,
  us_socket_local_port,
  type us_socket_t,
  us_timer_close,
  us_timer_set,
} from "@usockets/usockets/libusockets";
import { openLibc } from "../../ffi/libc.ts";
import { type Transport, transports } from "../conformance/transports.ts";
import { testCertificates } from "../support/certificates.ts";
import { settledDescriptors, steadyDescriptors } from "../support/descriptors.ts";
import { isLinux } from "../support/native.ts";

/** How long a loop may run before it counts as hanging, in milliseconds. */
const HANG_MS = 20_000;

/** One test's world: a loop, and files to name in options. */
export class World {
  readonly transport: Transport;
  readonly isEpoll: boolean;
  /** What C programs call `SSL`. */
  readonly ssl: number;
  readonly loop: us_loop_t;
  /** Where files of the test may be. */
  readonly directory: string;
  /** What handlers threw. */
  readonly errors: unknown[] = [];
  #paths = 0;

  constructor(transport: Transport, directory: string) {
    this.transport = transport;
    this.isEpoll = transport.backend === epoll;
    this.ssl = transport.isTls ? 1 : 0;
    this.directory = directory;
    // As us_create_loop(), but with timeouts that a test can wait for.
    this.loop = new Loop<unknown>({
      backend: transport.backend,
      timeoutGranularityMs: 5,
      onError: (error) => this.errors.push(error),
    });
  }

  /** The path of a PEM file. */
  file(name: string): string {
    return `${this.directory}/${name}.pem`;
  }

  /** A path that nothing is at. */
  freshPath(): string {
    return `${this.directory}/${this.#paths++}.sock`;
  }

  /** What a server of this combination is made with. */
  get serverOptions(): us_socket_context_options_t {
    if (this.ssl === 0) return {};
    return { key_file_name: this.file("server.key"), cert_file_name: this.file("server.cert") };
  }

  /** What a client of this combination is made with. */
  get clientOptions(): us_socket_context_options_t {
    return this.ssl === 0 ? {} : { ca_file_name: this.file("ca") };
  }

  server(ext_size: us_ext_size = 0): us_socket_context_t {
    return us_create_socket_context(this.ssl, this.loop, ext_size, this.serverOptions)!;
  }

  client(ext_size: us_ext_size = 0): us_socket_context_t {
    return us_create_socket_context(this.ssl, this.loop, ext_size, this.clientOptions)!;
  }

  listen(context: us_socket_context_t, socket_ext_size: us_ext_size = 0): us_listen_socket_t {
    const ls = this.transport.isUnix
      ? us_socket_context_listen_unix(this.ssl, context, this.freshPath(), 0, socket_ext_size)
      : us_socket_context_listen(this.ssl, context, "127.0.0.1", 0, 0, socket_ext_size);
    assert(ls !== null, us_last_error(this.loop)?.message);
    return ls;
  }

  connect(
    context: us_socket_context_t,
    ls: us_listen_socket_t,
    socket_ext_size: us_ext_size = 0,
  ): us_socket_t {
    const { ssl } = this;
    const s = this.transport.isUnix
      ? us_socket_context_connect_unix(ssl, context, ls.host, 0, socket_ext_size)
      : us_socket_context_connect(
        ssl,
        context,
        "127.0.0.1",
        us_socket_local_port(ssl, ls),
        0,
        socket_ext_size,
      );
    assert(s !== null, us_last_error(this.loop)?.message);
    return s;
  }

  /**
   * Opens one connection. When both ends are open, and TLS is agreed on, the listener closes and
   * `ready` is called, outside of any handler of a socket. Other callbacks are the test's to set.
   */
  pair(
    ready: (client: us_socket_t, server: us_socket_t) => void,
    sizes: { client?: us_ext_size; server?: us_ext_size } = {},
  ): { client: us_socket_context_t; server: us_socket_context_t } {
    const client = this.client(), server = this.server();
    const ends: us_socket_t[] = [];
    const landed = (end: number) => (s: us_socket_t) => {
      ends[end] = s;
      if (ends[0] === undefined || ends[1] === undefined) return;
      us_listen_socket_close(this.ssl, ls);
      this.after(1, () => ready(ends[0], ends[1]));
    };
    if (this.ssl === 0) {
      us_socket_context_on_open(0, client, landed(0));
      us_socket_context_on_open(0, server, landed(1));
    } else {
      client.onHandshake = landed(0); // the header has no callback for it
      server.onHandshake = landed(1);
    }
    const ls = this.listen(server, sizes.server);
    this.connect(client, ls, sizes.client);
    return { client, server };
  }

  /** Calls back in so many milliseconds; keeps the loop running until then. */
  after(ms: number, callback: () => void): void {
    const timer = us_create_timer(this.loop, 0, 0)!;
    us_timer_set(
      timer,
      () => {
        us_timer_close(timer);
        try {
          callback();
        } catch (error) { // a loop whose test has failed need not go on
          this.errors.push(error);
          us_loop_free(this.loop);
        }
      },
      ms,
      0,
    );
  }

  /** Closes sockets. */
  close(...sockets: us_socket_t[]): void {
    for (const s of sockets) us_socket_close(this.ssl, s);
  }

  /** Runs a loop to its end in the combination's way; fails a test that hangs. */
  async run(loop: us_loop_t = this.loop): Promise<void> {
    let hangs = false;
    const watchdog = us_create_timer(loop, 1, 0)!;
    us_timer_set(
      watchdog,
      () => {
        hangs = true;
        us_loop_free(loop);
      },
      HANG_MS,
      0,
    );
    // On epoll us_loop_run() blocks; its other half is the loop's own run().
    if (this.isEpoll && !this.transport.isBlocking) await loop.run();
    else await us_loop_run(loop);
    us_timer_close(watchdog);
    if (this.errors.length > 0) throw this.errors[0];
    if (hangs) throw new Error(`the loop did not end in ${HANG_MS} ms`);
  }
}

/** Which combinations a test is of. */
export interface Where {
  backend?: "deno" | "epoll";
  /** With ports; `false`: on unix paths. */
  ports?: boolean;
  tls?: boolean;
  blocking?: boolean;
  /** Of loops, timers and the like: plain TCP stands for all. */
  plainTcp?: boolean;
}

function applies({ backend, isTls, isUnix, isBlocking }: Transport, where: Where): boolean {
  if (where.backend !== undefined && (where.backend === "epoll") !== (backend === epoll)) {
    return false;
  }
  if (where.plainTcp && (isTls || isUnix)) return false;
  return (where.ports ?? !isUnix) === !isUnix && (where.tls ?? isTls) === isTls &&
    (where.blocking ?? isBlocking) === isBlocking;
}

/** Registers a test for each combination that it applies to. */
export function onEach(
  name: string,
  test: (w: World) => void | Promise<void>,
  where: Where = {},
): void {
  for (const transport of transports.filter((transport) => applies(transport, where))) {
    const isEpoll = transport.backend === epoll;
    if (isEpoll && !isLinux) {
      Deno.test.ignore(`${transport.name}: ${name} (the epoll backend needs Linux)`, () => {});
      continue;
    }
    Deno.test(`${transport.name}: ${name}`, async () => {
      const directory = await makeFiles();
      const before = await steadyDescriptors();
      const w = new World(transport, directory);
      try {
        await test(w);
        if (w.errors.length > 0) throw w.errors[0];
      } finally {
        us_loop_free(w.loop);
        Deno.removeSync(directory, { recursive: true });
        // A loop that slept asks Deno's pool how far it is: behind this the sanitizer finds no job.
        if (isEpoll) await openLibc().gettidAsync();
      }
      assertEquals(await settledDescriptors(before) - before, 0, "descriptors were left open");
    });
  }
}

/** A directory with the certificates and keys that options of C name. */
async function makeFiles(): Promise<string> {
  const { ca, server, serverEncrypted, client, otherHost } = await testCertificates();
  const directory = Deno.makeTempDirSync();
  const texts = {
    ca,
    "server.cert": server.cert,
    "server.key": server.key,
    "encrypted.key": serverEncrypted.key,
    "client.cert": client.cert,
    "client.key": client.key,
    "other.cert": otherHost.cert,
    "other.key": otherHost.key,
    garbage: "no PEM",
  };
  for (const [name, text] of Object.entries(texts)) {
    Deno.writeTextFileSync(`${directory}/${name}.pem`, text);
  }
  return directory;
}
