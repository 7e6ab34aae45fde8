/** Live handshakes, in which somebody in the middle changes what one side says. */
import fc from "fast-check";
import { HandDriven } from "../../support/hand_driven.ts";
import { concat } from "../../support/streams.ts";
import { cut, deliver } from "./fuzz.ts";
import { encodeRecords, parseRecords, type RecordChange, recordChange } from "./records.ts";

/** So long nothing comes, where the other waits too: for the rest of what was cut short. */
const STALL_MS = 15;

/** What is done to a connection. */
export interface Attack {
  /** Whose flight, and which one. */
  readonly from: "client" | "server";
  readonly flight: number;
  readonly changes: readonly RecordChange[];
  /** Where that flight is cut into pieces. */
  readonly places: readonly number[];
  /** Nothing may get stuck by it. */
  readonly isHarmless?: boolean;
}

/** Any attack on the first flights of either side. */
export const attack: fc.Arbitrary<Attack> = fc.record({
  from: fc.constantFrom("client", "server"),
  flight: fc.nat(2),
  changes: fc.array(recordChange, { minLength: 1, maxLength: 2 }),
  places: fc.array(fc.nat(), { maxLength: 3 }),
}, { noNullPrototype: true });

/** What there was of an attack. */
export interface Outcome {
  /** The flight was there to be changed, and is not what it was. */
  isChanged: boolean;
  /** What was changed is what nobody may get away with, while hands are shaken. */
  isForged: boolean;
  /** Why the peer gave up. */
  error: Error | null;
  /** What the peer received. */
  received: string;
}

/** The peer of ours that is under test, which talks through the one in the middle. */
export class LivePeer {
  readonly outcome: Outcome = { isChanged: false, isForged: false, error: null, received: "" };
  readonly #peer: HandDriven;
  readonly #role: Attack["from"];
  readonly #conn: Deno.TcpConn;
  readonly #attack: Attack | null;
  readonly #flights = { client: 0, server: 0 };
  #hasEnded = false;

  constructor(
    peer: HandDriven,
    role: Attack["from"],
    conn: Deno.TcpConn,
    attack: Attack | null,
  ) {
    this.#peer = peer;
    this.#role = role;
    this.#conn = conn;
    this.#attack = attack;
  }

  /** Shakes hands, says something, and ends when so many bytes have come back. */
  async talk(say: (peer: HandDriven) => void, expected: number): Promise<void> {
    try {
      while (!this.#peer.handshake()) {
        await this.#send();
        if (!await this.#receive()) return;
      }
      await this.#send(); // Finished is a flight of its own
      say(this.#peer);
      for (let ends = false;;) {
        this.outcome.received += new TextDecoder("latin1").decode(this.#peer.read());
        await this.#send(); // such as a new key, if that was asked for
        if (this.#peer.isEnded) break;
        if (!ends && this.outcome.received.length >= expected) {
          ends = true;
          this.#peer.end();
        }
        await this.#send();
        if (!await this.#receive()) return;
      }
    } catch (error) {
      this.outcome.error = error as Error;
      await this.#send().catch(() => {}); // an alert
    }
    await this.#conn.closeWrite().catch(() => {});
  }

  async #send(): Promise<void> {
    const bytes = this.#peer.take();
    if (bytes.length > 0) await deliver(this.#conn, this.#tamper(this.#role, bytes));
  }

  /** False at the end. */
  async #receive(): Promise<boolean> {
    const buffer = new Uint8Array(65_536);
    // What waits for more on both sides ends by the end of one.
    const stalls = this.outcome.isChanged && !this.#attack!.isHarmless && !this.#hasEnded;
    const timer = stalls ? setTimeout(() => this.#hangUp(), STALL_MS) : undefined;
    const count = await this.#conn.read(buffer).finally(() => clearTimeout(timer));
    if (count === null) return false;
    const other = this.#role === "client" ? "server" : "client";
    this.#peer.feed(concat(this.#tamper(other, buffer.subarray(0, count))));
    return true;
  }

  #hangUp(): void {
    this.#hasEnded = true;
    this.#conn.closeWrite().catch(() => {});
  }

  /** What arrives in place of a flight. */
  #tamper(from: Attack["from"], bytes: Uint8Array): Uint8Array[] {
    const flight = this.#flights[from]++;
    const attack = this.#attack;
    if (attack === null || attack.from !== from || attack.flight !== flight) return [bytes];
    const { records, rest } = parseRecords(bytes);
    let changed = records;
    for (const { apply } of attack.changes) if (changed.length > 0) changed = apply(changed);
    const arriving = concat([encodeRecords(changed), rest]);
    if (!equal(arriving, bytes)) {
      this.outcome.isChanged = true;
      this.outcome.isForged = attack.changes.length === 1 && attack.changes[0].isForgery;
    }
    return cut(arriving, attack.places);
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
