/**
 * What an HTTP server allows its clients: how long they may take, and how many there may be.
 * @module
 */
import { type Flags, type FlagValues, parseNumber } from "./flags.ts";

/** Flags of an HTTP server, beside those of every server. */
export const HTTP_FLAGS = {
  "idle-timeout": { value: "SECONDS", about: "between requests", default: "30" },
  "request-timeout": {
    value: "SECONDS",
    about: "for a whole request: its first byte to its last",
    default: "30",
  },
  "handshake-timeout": { value: "SECONDS", about: "for the handshake of TLS", default: "10" },
  "max-connections": {
    value: "N",
    about: "of each worker; more wait in the queue; 0: no limit",
    default: "0",
  },
} as const satisfies Flags;

/** What the flags come to: plain data, which can be sent to Workers. */
export interface HttpLimits {
  /** A connection that sends nothing for so long, or takes nothing of an answer, is ended. */
  readonly idleSeconds: number;
  /** From the first byte of a request to its last, however steadily they come. */
  readonly requestSeconds: number;
  readonly handshakeSeconds: number;
  readonly maxConnections: number | undefined;
}

/** What applies without flags. */
export const DEFAULT_LIMITS: HttpLimits = {
  idleSeconds: 30,
  requestSeconds: 30,
  handshakeSeconds: 10,
  maxConnections: undefined,
};

const SECONDS_MAX = 86_400;

/** Reads {@linkcode HTTP_FLAGS}. */
export function parseHttpLimits(values: FlagValues<typeof HTTP_FLAGS>): HttpLimits {
  const seconds = (name: "idle-timeout" | "request-timeout" | "handshake-timeout") =>
    parseNumber(`--${name}`, values[name], 1, SECONDS_MAX);
  return {
    idleSeconds: seconds("idle-timeout"),
    requestSeconds: seconds("request-timeout"),
    handshakeSeconds: seconds("handshake-timeout"),
    maxConnections: parseNumber("--max-connections", values["max-connections"], 0, 1e9) ||
      undefined,
  };
}
