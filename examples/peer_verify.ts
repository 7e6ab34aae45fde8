/**
 * Mutual TLS: a server that lets in only clients with a certificate that it trusts.
 *
 * With --ca, --cert and --key it is such a server, and tells who connected and who was refused, and
 * why. Without, it makes throw-away certificates, and lets a client with a trusted certificate, one
 * with an untrusted one and one without any try: what both sides saw of each is shown as a table,
 * and the exit code tells whether it is as it must be.
 *
 * deno run --allow-net --allow-read --allow-ffi examples/peer_verify.ts --help
 *
 * @module
 */
// deno-lint-ignore-file no-console -- this is a program
import { CloseCode, type Loop, type Socket, type TlsOptions } from "@usockets/usockets";
import type { TrialCertificates } from "./support/certificates.ts";
import { UsageError } from "./support/errors.ts";
import {
  type Flags,
  LOOP_FLAGS,
  type LoopFlags,
  parseFlags,
  parseLoopFlags,
  parseNumber,
} from "./support/flags.ts";
import {
  describePeer,
  describeReason,
  type End,
  freshEnd,
  greetingServer,
  listeningClient,
} from "./support/mutual_tls.ts";
import { type LoopProgram, runPrograms, type Started, type Task } from "./support/program.ts";

const FLAGS = {
  ca: { value: "FILE", about: "authorities whose clients are let in, PEM" },
  cert: { value: "FILE", about: "certificate chain of the server, PEM" },
  key: { value: "FILE", about: "private key of the server, PEM" },
  passphrase: { value: "TEXT", about: "decrypts the private key" },
  "let-in": { about: "let in whom it does not trust too, and tell what is wrong with them" },
  "max-version": {
    value: "VERSION",
    about: "the highest version to speak: TLSv1.2 or TLSv1.3",
    default: "TLSv1.3",
  },
  host: { value: "HOST", about: "address to listen on", default: "127.0.0.1" },
  port: { value: "PORT", about: "port to listen on, 0 for any", default: "0" },
  ...LOOP_FLAGS,
  backend: { ...LOOP_FLAGS.backend, default: "epoll" },
} as const satisfies Flags;

interface VerifyFlags extends LoopFlags {
  readonly host: string;
  readonly port: number;
  /** Of the server. */
  readonly tls: TlsOptions;
  /** Null for a server that waits for others. */
  readonly trial: Trial | null;
  readonly workers: 1;
}

/** What the three clients have. */
interface Trial {
  readonly certificates: TrialCertificates;
  /** The exit code: in shared memory, as the loop may run in a Worker. */
  readonly verdict: SharedArrayBuffer;
}

/** The three clients. */
const CLIENTS = ["trusted", "untrusted", "absent"] as const;

/** Why the server refuses those that it refuses. */
const REFUSED = {
  untrusted: "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  absent: "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE",
} as const;

/** What both sides saw of one client. */
interface Sight {
  readonly name: typeof CLIENTS[number];
  readonly client: End;
  server: End;
}

/** What runs on the loop. */
export const program: LoopProgram<VerifyFlags> = {
  start: (loop, flags, stop) =>
    flags.trial === null ? serve(loop, flags, stop) : tryAll(loop, flags, flags.trial, stop),
};

/** Tells of every client. */
function serve(loop: Loop, { host, port, tls }: VerifyFlags, stop: () => void): Started {
  const context = greetingServer(loop, tls, {
    onHandshake(socket) {
      const info = socket.ext.info!;
      const certificate = info.peerCertificate;
      const fingerprint = certificate ? ` (SHA-256 ${certificate.fingerprint256})` : "";
      const verdict = info.authorized ? "accepted" : "let in";
      const flaw = info.authorizationError ? `: ${info.authorizationError}` : "";
      console.log(
        `${verdict} ${peerOf(socket)}, ${info.protocol}: ${
          describePeer(info)
        }${fingerprint}${flaw}`,
      );
    },
    onClose(socket) {
      const { info, reason } = socket.ext;
      if (info !== null) return;
      // What TLS finds wrong has a code; the others went away, or took too long.
      const verdict = reason?.code === undefined ? "lost" : "refused";
      console.log(`${verdict} ${peerOf(socket)}: ${describeReason(socket.ext)}`);
    },
  });
  return { port: context.listen({ host, port }).port, stop };
}

function peerOf({ remoteAddress, remotePort }: Socket<End>): string {
  return `${remoteAddress.includes(":") ? `[${remoteAddress}]` : remoteAddress}:${remotePort}`;
}

/** Has the three clients try, on the same loop as the server. */
function tryAll(
  loop: Loop,
  { host, port, tls }: VerifyFlags,
  { certificates, verdict }: Trial,
  stop: () => void,
): Started {
  const servers = new Map<number, End>(); // by the port that the client has
  const listener = greetingServer(loop, tls, {
    onOpen: (socket) => void servers.set(socket.remotePort, socket.ext),
  }).listen({ host, port });
  let open = CLIENTS.length;
  const sights = CLIENTS.map((name): Sight => {
    const pair = name === "absent" ? {} : certificates[name];
    const sight: Sight = { name, client: freshEnd(), server: freshEnd() };
    let clientPort = 0;
    const context = listeningClient(loop, { ...pair, ca: certificates.ca }, {
      onOpen: (socket) => void (clientPort = socket.localPort),
      onClose() {
        sight.server = servers.get(clientPort) ?? sight.server;
        if (--open === 0) listener.close(); // then nothing is left to do, and the loop ends
      },
    });
    context.connect({ host, port: listener.port, serverName: "localhost", ext: sight.client });
    return sight;
  });
  const onEnd = () => {
    if (show(sights)) new Int32Array(verdict)[0] = 0;
  };
  return { stop, onEnd };
}

/** Shows the table, and returns whether all is as it must be. */
function show(sights: readonly Sight[]): boolean {
  const row = (...[client, side, handshake, code, saw]: string[]) =>
    console.log(
      `${client.padEnd(10)} ${side.padEnd(7)} ${handshake.padEnd(9)} ${code.padStart(4)}  ${saw}`,
    );
  row("client", "side", "handshake", "code", "reason, or what was heard");
  const ends = sights.flatMap(({ name, client, server }) =>
    [[name, "client", client], ["", "server", server]] as const
  );
  for (const [name, side, end] of ends) {
    const heard = end.heard.trimEnd() ||
      (end.info?.peerCertificate && side === "server" ? describePeer(end.info) : "");
    row(name, side, end.info?.protocol ?? "-", `${end.code}`, describeReason(end) || heard);
  }
  if (sights.some(({ client, server }) => client.info !== null && server.info === null)) {
    console.log(
      "\nIn TLS 1.3 a client is done before the server has seen its certificate. So the handshake of\n" +
        "one that is refused succeeds, and the refusal comes behind it, as an error of reading. With\n" +
        "--max-version TLSv1.2 the handshake itself fails.",
    );
  }
  const wrong = sights.filter((sight) => !isAsItMustBe(sight)).map(({ name }) => name);
  console.log(
    wrong.length === 0
      ? "\nAll is as it must be."
      : `\nNot as it must be: the ${wrong.join(" and the ")} client.`,
  );
  return wrong.length === 0;
}

function isAsItMustBe({ name, client, server }: Sight): boolean {
  if (name === "trusted") {
    return client.code === CloseCode.Clean && client.heard === "hello, CN=trusted client\n" &&
      server.code === CloseCode.Clean && server.info?.authorized === true;
  }
  return server.code === CloseCode.Tls && server.info === null &&
    server.reason?.code === REFUSED[name] && client.heard === "" &&
    client.code === CloseCode.Tls && /^ERR_SSL_\w+_ALERT_/.test(client.reason?.code ?? "");
}

async function parse(
  args: string[],
  verdict: SharedArrayBuffer,
): Promise<Task<VerifyFlags> | null> {
  const given = parseFlags(args, {
    about: "Mutual TLS: with files a server that lets in only clients that it trusts; without,\n" +
      "a self-test of one with throw-away certificates.",
    flags: FLAGS,
  });
  if (given === null) return null;
  const { values } = given;
  const { ca, cert, key, passphrase, "max-version": maxVersion, "let-in": letIn, host } = values;
  const files = [ca, cert, key].filter((file) => file !== undefined).length;
  if (files !== 0 && files !== 3) throw new UsageError("--ca, --cert and --key need each other");
  if (files === 0 && (letIn || passphrase !== undefined)) {
    throw new UsageError("--let-in and --passphrase need --ca, --cert and --key");
  }
  if (maxVersion !== "TLSv1.2" && maxVersion !== "TLSv1.3") {
    throw new UsageError(`--max-version must be TLSv1.2 or TLSv1.3, not ${maxVersion}`);
  }
  const common = {
    ...parseLoopFlags(values),
    host,
    port: parseNumber("--port", values.port, 0, 65535),
    workers: 1,
  } as const;
  if (files === 3) {
    const files = { caFile: ca, certFile: cert, keyFile: key, passphrase };
    const tls: TlsOptions = { ...files, maxVersion, rejectUnauthorized: !letIn };
    return {
      flags: { ...common, tls, trial: null },
      describe: (port) => `Listening on tls://${host.includes(":") ? `[${host}]` : host}:${port}`,
    };
  }
  // What makes certificates comes from npm: loaded where it is needed.
  const { makeTrialCertificates } = await import("./support/certificates.ts");
  const certificates = await makeTrialCertificates();
  const tls: TlsOptions = { ...certificates.server, ca: certificates.ca, maxVersion };
  new Int32Array(verdict)[0] = 1; // until all is seen to be as it must be
  return { flags: { ...common, tls, trial: { certificates, verdict } } };
}

if (import.meta.main) {
  const verdict = new SharedArrayBuffer(4);
  await runPrograms(import.meta.url, program, () => parse(Deno.args, verdict));
  Deno.exitCode = new Int32Array(verdict)[0];
}
