/** What must hold behind a run of the property test, whatever failed. */
import { CloseCode } from "@usockets/usockets";
import type { Setting } from "./setting.ts";
import type { Side } from "./side.ts";

/** Names of errors that connections have without any fault, when their peers leave. */
export const NATURAL: readonly string[] = ["ECONNRESET", "EPIPE", "ENOTCONN", "ECONNABORTED"];

/** What is known of a run. */
export interface Evidence {
  readonly setting: Setting;
  readonly clients: readonly Side[];
  readonly servers: readonly Side[];
  /** The client that connected when nothing failed any more. */
  readonly calm: Side | undefined;
  /** What handlers threw. */
  readonly thrown: readonly Error[];
  /** Names of the errors that were injected. */
  readonly injected: ReadonlySet<string>;
  /** A listener was closed with clients in its backlog, maybe. */
  readonly hasRelistened: boolean;
}

/** What is wrong with the connections of a run. */
export function judge(evidence: Evidence): string[] {
  const { clients, servers } = evidence;
  return [
    ...[...clients, ...servers].flatMap((side) => judgeSide(side, evidence)),
    ...clients.flatMap((client) => judgePair(client, evidence)),
  ];
}

function judgeSide(side: Side, evidence: Evidence): string[] {
  const { name, opens, closes, connectErrors, isCancelled, code, received, peer } = side;
  const violations: string[] = [];
  if (opens !== closes || (!isCancelled && opens + connectErrors !== 1)) {
    violations.push(`${opens} onOpen, ${closes} onClose, ${connectErrors} onConnectError`);
  }
  if (peer !== null && received > peer.accepted) {
    violations.push(`${received} bytes of ${peer.accepted}`);
  }
  if (code !== null && !isToldWell(side, code, evidence)) violations.push(toldOf(side));
  return violations.map((violation) => `${name}: ${violation}`);
}

function toldOf({ code, reason, hits }: Side): string {
  return `onClose(${code}, ${Deno.inspect(reason)}), faults: ${hits}`;
}

/** Whether the code and the reason of onClose are what became of the connection. */
function isToldWell(side: Side, code: number, { setting, thrown, injected }: Evidence): boolean {
  const { reason } = side;
  const isTls = setting.transport.endsWith("tls");
  if (side.closedWith !== null) return code === side.closedWith;
  if (code === CloseCode.Clean) {
    // What broke a connection is told, unless end() cares no more.
    return reason === undefined && (!side.isBroken || side.isHasty);
  }
  if (!(reason instanceof Error)) return false;
  const { code: name } = reason as { code?: string };
  switch (code) {
    case CloseCode.Handler:
      return thrown.includes(reason);
    case CloseCode.Reset:
      return NATURAL.includes(name!);
    case CloseCode.Truncated:
    case CloseCode.Tls:
      return isTls;
    case CloseCode.System:
      return name === undefined
        ? /OpenSSL|memory/.test(reason.message) && (setting.rates.memory ?? 0) > 0
        : side.hits.length > 0 && injected.has(name) && !NATURAL.includes(name);
    default:
      return false;
  }
}

/** Where nothing went wrong on a connection, everything arrived. */
function judgePair(client: Side, { setting, calm, hasRelistened }: Evidence): string[] {
  const { peer: server, isHasty, isCancelled } = client;
  const { refusing = 0, breaking = 0, memory = 0 } = setting.rates;
  if (server === null) {
    const isExcused = isHasty || isCancelled || hasRelistened || refusing + breaking + memory > 0;
    return client === calm || !isExcused ? [`${client.name}: nobody served it`] : [];
  }
  const sides = [client, server];
  const isDisturbed = memory > 0 || sides.some((side) => side.isHasty || side.hits.length > 0);
  if (isDisturbed && client !== calm) return [];
  return sides
    .filter(({ code, received, peer, hasEnded }) =>
      code !== CloseCode.Clean || received !== peer!.accepted || !hasEnded
    )
    .map((side) => `${side.name}: ${toldOf(side)} with ${side.received} of ${side.peer!.accepted}`);
}
