/**
 * What is measured.
 * @module
 */
import type { Service } from "../load/orders.ts";
import type { Kind, Mode } from "./results.ts";

/** One table to be. */
export interface Scenario {
  readonly id: string;
  readonly title: string;
  readonly kind: Kind;
  readonly note: string;
  readonly service: Service;
  readonly isTls: boolean;
  readonly connections: number;
  readonly bytes: number;
  /** Server and generator share a core. */
  readonly isSameCore: boolean;
  /** The generator is `wrk`. */
  readonly isWrk: boolean;
  /** Requests per second, of a fixed rate. */
  readonly rate: number;
  /** System calls are counted. */
  readonly areCallsCounted: boolean;
  /** The modes that have it. */
  readonly modes: readonly Mode[];
}

const ALL: readonly Mode[] = ["quick", "default", "full"];
const LONGER: readonly Mode[] = ["default", "full"];
const FULL: readonly Mode[] = ["full"];

/** Requests per second where latency is measured: less than half of what any contestant can do. */
const LATENCY_RATE = 20_000;

const OTHERWISE: Omit<Scenario, "id" | "title" | "kind"> = {
  note: "",
  service: "http",
  isTls: false,
  connections: 64,
  bytes: 64,
  isSameCore: false,
  isWrk: false,
  rate: 0,
  areCallsCounted: false,
  modes: FULL,
};

function requests(options: Partial<Scenario>): Scenario {
  const { service, isTls, connections, bytes, isSameCore, isWrk } = { ...OTHERWISE, ...options };
  const name = `${service === "http" ? "HTTP" : "Echo"}${isTls ? " over TLS" : ""}`;
  const end = isSameCore ? ", on the generator's core" : isWrk ? ", loaded by wrk" : "";
  const id = [service, isTls && "tls", connections, bytes !== 64 && `${bytes}-bytes`];
  return {
    ...OTHERWISE,
    ...options,
    kind: "requests",
    id: [...id, isSameCore && "same-core", isWrk && "wrk"].filter(Boolean).join("-"),
    title: `${name}, ${count(connections)}, ${size(bytes)}${end}`,
  };
}

function requestScenarios(): Scenario[] {
  return [false, true].flatMap((isTls) =>
    (["http", "echo"] as const).flatMap((service) => {
      const isHttp = service === "http";
      const of = (options: Partial<Scenario>) => requests({ service, isTls, ...options });
      return [
        of({ connections: 1, isSameCore: true, modes: isHttp && !isTls ? ALL : FULL }),
        of({ connections: 1 }),
        of({ areCallsCounted: true, modes: isHttp || !isTls ? ALL : FULL }),
        ...(isHttp ? [of({ isWrk: true, modes: isTls ? FULL : LONGER })] : []),
        of({ connections: 512, modes: isHttp && !isTls ? LONGER : FULL }),
        of({ connections: 10_000 }),
        of({ bytes: 1024 }),
        of({ bytes: 65_536, modes: isHttp || isTls ? FULL : LONGER }),
      ];
    })
  );
}

function others(isTls: boolean): Scenario[] {
  const tls = isTls ? "-tls" : "", over = isTls ? " over TLS" : "";
  const common = { ...OTHERWISE, isTls };
  const bulk = (isUpload: boolean): Scenario => ({
    ...common,
    id: `bulk${tls}-${isUpload ? "up" : "down"}`,
    title: `Bulk transfer${over}, ${isUpload ? "to" : "from"} the server`,
    kind: "bulk",
    service: isUpload ? "sink" : "source",
    connections: 1,
    bytes: 65_536,
    modes: isTls ? FULL : LONGER,
  });
  return [
    {
      ...common,
      id: `churn${tls}`,
      title: `A connection for each request${over}, ${isTls ? 16 : 32} at a time`,
      kind: "churn",
      note: isTls ? "Each has a whole handshake: no session is resumed." : "",
      connections: isTls ? 16 : 32,
      modes: isTls ? FULL : LONGER,
    },
    bulk(false),
    bulk(true),
    {
      ...common,
      id: `memory${tls}`,
      title: `Memory of an idle connection${over}`,
      kind: "memory",
      note: "After one request each; a process that has served 1,000 before.",
      connections: isTls ? 2000 : 10_000,
    },
    {
      ...common,
      id: `latency${tls}`,
      title: `Latency${over} at ${LATENCY_RATE.toLocaleString("en-US")} requests per second`,
      kind: "latency",
      note: "From when a request was due, over 64 connections.",
      rate: LATENCY_RATE,
      modes: isTls ? FULL : LONGER,
    },
  ];
}

/** All scenarios of a mode; those that one server can serve stand together. */
export function scenariosOf(mode: Mode, cores: number): Scenario[] {
  const all: Scenario[] = [
    ...requestScenarios(),
    ...others(false),
    ...others(true),
    {
      ...OTHERWISE,
      id: "lateness",
      title: "The rest of the process, beside a server saturated by 64 connections",
      kind: "lateness",
      note:
        "How late a 10 ms timer is, and how long a promise of a file's stat takes: median, most.",
      modes: LONGER,
    },
    {
      ...OTHERWISE,
      id: "scaling",
      title: `HTTP, one loop and ${cores}, with some 50 µs of arithmetic for each request`,
      kind: "scaling",
      note: "The generator shares these cores.",
    },
  ];
  return all.filter(({ modes }) => modes.includes(mode));
}

function count(connections: number): string {
  return connections === 1 ? "1 connection" : `${connections.toLocaleString("en-US")} connections`;
}

function size(bytes: number): string {
  return bytes < 1024 ? `${bytes} B` : `${bytes / 1024} KiB`;
}
