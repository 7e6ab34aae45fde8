/**
 * What the benchmark tells its load generator, and what that answers: a line of JSON each.
 * @module
 */

/** An order. */
export type Order =
  /** Open so many connections, and keep them. */
  | { readonly do: "open"; readonly connections: number }
  /** One request on each open connection. */
  | { readonly do: "each" }
  /** A closed loop: the next request as soon as the answer is there, on each open connection. */
  | { readonly do: "load"; readonly seconds: number }
  /** So many requests a second over all open connections, whether or not answers keep up. */
  | { readonly do: "pace"; readonly seconds: number; readonly rate: number }
  /** Connect, request, close; so many connections at a time. */
  | { readonly do: "churn"; readonly seconds: number; readonly connections: number }
  /** Read, on one connection, what the server sends. */
  | { readonly do: "download"; readonly seconds: number }
  /** Send, on one connection, what the server takes. */
  | { readonly do: "upload"; readonly seconds: number }
  /** Close all that is open. */
  | { readonly do: "close" };

/** What came of an order. */
export interface Reply {
  /** Answers, connections or bytes: whatever the order is about. */
  readonly count: number;
  readonly seconds: number;
  /** Errors by kind. */
  readonly errors: Readonly<Record<string, number>>;
  /** Of `pace`: µs from when a request was due to when its answer was there. */
  readonly latency?: { readonly p50: number; readonly p99: number; readonly p999: number };
}

/** What the server does. */
export type Service = "http" | "echo" | "sink" | "source";

/** Whom to load, and with what. */
export interface Target {
  readonly port: number;
  readonly service: Service;
  /** Bytes of an answer's body, or of a message. */
  readonly bytes: number;
  readonly isTls: boolean;
}
