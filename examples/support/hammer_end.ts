/**
 * What the hammer test knows of one end of a connection, and what must hold for it.
 * @module
 */
import { CloseCode } from "@usockets/usockets";
import type { us_socket_t } from "@usockets/usockets/libusockets";
import type { Plan } from "./hammer_plan.ts";
import { isPattern, pattern } from "./pattern.ts";

/** The first bytes of a client: which connection it is. The rest is of the pattern. */
export const HEADER_BYTES = 8;

/** One end of a connection. */
export class End {
  readonly connection: number;
  readonly isClient: boolean;
  readonly plan: Plan;
  readonly socket: us_socket_t;
  /** How many steps of the plan were taken. */
  stepsTaken = 0;
  /** Bytes that were accepted, and that came. */
  sent = 0;
  received = 0;
  /** The length of what it sends: less than planned when it shut down early. */
  totalBytes: number;
  /** A write was short: one `on_writable` is owed. */
  owesWritable = false;
  hasShutDown = false;
  /** It shuts down before all is sent. */
  isCutShort = false;
  /** The peer's end was told. */
  hasEnded = false;
  /** What comes is dropped: nobody knows how much. */
  isDeaf = false;
  isPaused = false;
  /** It waits for a timeout to go on. */
  isDozing = false;
  /** When a timeout may come at the earliest; 0 for never. */
  timeoutAt = 0;
  longTimeoutAt = 0;
  /** Which of its contexts has it, and how often that changed. */
  isAdopted = false;
  adoptions = 0;
  /** Its place among the open ends. */
  index = -1;
  /** What the test closed it with; undefined while it has not. */
  closedWith: number | undefined;
  /** What `on_close` told. */
  code: number | undefined;
  reason: unknown;

  constructor(connection: number, isClient: boolean, plan: Plan, socket: us_socket_t) {
    this.connection = connection;
    this.isClient = isClient;
    this.plan = plan;
    this.socket = socket;
    this.totalBytes = plan.totalBytes + (isClient ? HEADER_BYTES : 0);
  }

  /** Whether a write makes sense. */
  get canSend(): boolean {
    return !this.owesWritable && !this.hasShutDown && this.sent < this.totalBytes;
  }

  /** Ends what is to be sent here; but the header is sent in any case. */
  cutShort(): void {
    this.isCutShort = true;
    this.totalBytes = Math.max(this.sent, this.isClient ? HEADER_BYTES : 0);
  }

  /** What is to be sent next, so many bytes at most. */
  next(lengthMax: number): Uint8Array {
    const length = Math.min(lengthMax, this.totalBytes - this.sent);
    if (!this.isClient || this.sent >= HEADER_BYTES) {
      return pattern(streamOf(this.connection, this.isClient), this.sent, length);
    }
    return headerOf(this.connection).subarray(this.sent, this.sent + length);
  }

  /** Whether these are the bytes that the peer sends next; a header was looked at before. */
  isNext(data: Uint8Array): boolean {
    return isPattern(streamOf(this.connection, !this.isClient), this.received, data);
  }
}

function streamOf(connection: number, isClient: boolean): number {
  return connection * 7919 + (isClient ? 1 : 0);
}

const MAGIC = 0x68616d6d;

/** What a client sends first. */
export function headerOf(connection: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(HEADER_BYTES));
  view.setUint32(0, MAGIC);
  view.setUint32(4, connection);
  return new Uint8Array(view.buffer);
}

/** Which connection a header names; -1 for what is none. */
export function connectionOf(header: Uint8Array): number {
  const view = new DataView(header.buffer, header.byteOffset, HEADER_BYTES);
  return view.getUint32(0) === MAGIC ? view.getUint32(4) : -1;
}

/** What is wrong with a connection of which both ends are closed; null for nothing. */
export function judge(client: End, server: End, isTls: boolean): string | null {
  for (const [end, peer] of [[client, server], [server, client]]) {
    const name = end.isClient ? "client" : "server";
    if (end.received > peer.sent) {
      return `the ${name} received ${end.received} bytes of ${peer.sent}`;
    }
    const why = judgeCode(end, peer, isTls);
    if (why !== null) return `the ${name} closed with ${end.code} (${end.reason}): ${why}`;
    // Both said farewell: every byte must have come.
    const isWhole = client.closedWith === undefined && server.closedWith === undefined;
    if (isWhole && !end.isDeaf && end.received !== peer.sent) {
      return `the ${name} received ${end.received} bytes of ${peer.sent}, and a clean end`;
    }
  }
  return null;
}

function judgeCode(end: End, peer: End, isTls: boolean): string | null {
  const { code } = end;
  if (end.closedWith !== undefined) {
    return code === end.closedWith ? null : `and not with ${end.closedWith}, as it was told to`;
  }
  if (code === CloseCode.Clean) {
    return end.hasEnded && end.hasShutDown ? null : "but one direction had not ended";
  }
  // The peer went away with bytes unread or unsent.
  if (peer.closedWith === undefined) return "though the peer said farewell";
  if (code === CloseCode.Reset) return null;
  return isTls && (code === CloseCode.Truncated || code === CloseCode.Tls) ? null : "of all codes";
}
