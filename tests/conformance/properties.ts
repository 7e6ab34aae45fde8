/** Semantics 1 to 4 under random scripts: what arrives is what was accepted. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Handlers, Socket } from "@usockets/usockets";
import { after, openPairs } from "../support/pairs.ts";
import { Digest, pattern, sha256 } from "../support/streams.ts";
import type { Behaviours, Fixture } from "./fixture.ts";

/** What one end does at its turn: a number is a write of so many bytes. */
type Step = number | "pause" | "resume" | "shutdown" | "turn";

/** Short writes, long ones, none; a `turn` lets the loop do something else in between. */
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 100 }) },
  { weight: 4, arbitrary: fc.integer({ min: 1000, max: 70_000 }) },
  { weight: 2, arbitrary: fc.integer({ min: 100_000, max: 3_000_000 }) },
  { weight: 3, arbitrary: fc.constant<Step>("pause") },
  { weight: 3, arbitrary: fc.constant<Step>("resume") },
  { weight: 6, arbitrary: fc.constant<Step>("turn") },
);
/** Some end their direction in the middle, and try to write on; the others at the end. */
const script: fc.Arbitrary<Step[]> = fc
  .tuple(
    fc.array(step, { maxLength: 25, size: "max" }),
    fc.option(fc.nat({ max: 25 }), { freq: 3 }),
  )
  .map(([steps, at]) => at === null ? steps : steps.toSpliced(at, 0, "shutdown"));

/** A run leaves its contexts on the loop: a few dozen are no burden. */
const runs = { numRuns: 15, endOnFailure: true };
const bytes = pattern(3_000_000);

export const properties: Behaviours = (behaviour) => {
  behaviour("what arrives is what was accepted, for random scripts of both ends", async (t) => {
    await fc.assert(
      fc.asyncProperty(script, script, async (client, server) => {
        await play(t, [client, server]);
      }),
      runs,
    );
  });

  behaviour("what arrives does not depend on how writes are split over turns", async (t) => {
    const write = fc.record({ size: fc.integer({ min: 1, max: 90_000 }), isLast: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(
        fc.array(write, { minLength: 1, maxLength: 30, size: "max" }),
        async (writes) => {
          const whole = bytes.subarray(0, writes.reduce((sum, { size }) => sum + size, 0));
          assertEquals(await send(t, whole, writes), sha256(whole));
        },
      ),
      runs,
    );
  });
};

/**
 * Sends all bytes in writes of the given sizes: as many in one turn as up to one that is the last
 * of its turn, or one that is short. Resolves to what arrived.
 */
async function send(
  t: Fixture,
  whole: Uint8Array,
  writes: { size: number; isLast: boolean }[],
): Promise<string> {
  const received = new Digest();
  let rest = whole;
  let next = 0;
  const write = (socket: Socket) => {
    while (rest.length > 0) {
      const { size, isLast } = writes[next++ % writes.length];
      const data = rest.subarray(0, size);
      const accepted = socket.write(data);
      rest = rest.subarray(accepted);
      if (accepted < data.length) return; // onWritable goes on
      if (isLast) return after(t, 1, () => write(socket));
    }
    socket.end();
  };
  openPairs(t, 1, {
    client: { onWritable: write },
    server: { onData: (_socket, data) => received.add(data) },
  }, ({ clients: [socket] }) => write(socket));
  await t.run();
  return received.hex();
}

/** One end of a connection that plays its script. */
class End {
  readonly accepted = new Digest();
  readonly received = new Digest();
  socket!: Socket;
  peer!: End;
  /** A write was short, and its onWritable has not come. */
  isOwed = false;
  isScriptOver = false;
  hasEnded = false;
  closeCode: number | undefined;
  readonly #script: Step[];

  constructor(script: Step[]) {
    this.#script = script;
  }

  /** Plays until the next turn. */
  play(): void {
    for (let step = this.#script.shift(); step !== "turn"; step = this.#script.shift()) {
      if (step === undefined) return this.#finish();
      if (typeof step === "number") this.#write(step);
      else this.socket[step]();
      if (step === "shutdown") this.isOwed = false; // nothing can be written any more
    }
  }

  readonly handlers: Handlers = {
    onData: (_socket, data) => this.received.add(data),
    onWritable: () => {
      assert(this.isOwed, "onWritable without a short write");
      this.isOwed = false;
      if (this.isScriptOver) this.socket.shutdown();
    },
    onEnd: () => {
      assert(!this.hasEnded, "onEnd twice");
      this.hasEnded = true;
      assert(this.peer.socket.isShutDown, "onEnd, and the peer did not end");
    },
    onClose: (_socket, code) => void (this.closeCode = code),
  };

  #write(length: number): void {
    // Bytes that depend on their place in the stream: a repetition or a gap would show.
    const start = this.accepted.length * 7 % (bytes.length - length + 1);
    const data = bytes.subarray(start, start + length);
    const isOver = this.socket.isShutDown;
    const count = this.socket.write(data);
    assert(count >= 0 && count <= length);
    if (isOver) return assertEquals(count, 0);
    if (count < length) this.isOwed = true;
    this.accepted.add(data.subarray(0, count));
  }

  /** Reads what comes, waits for the onWritable that is owed, then ends. */
  #finish(): void {
    if (this.isScriptOver) return;
    this.isScriptOver = true;
    this.socket.resume();
    if (!this.isOwed) this.socket.shutdown();
  }
}

/** Plays a script on each end of a new connection, until both have ended and nothing is owed. */
async function play(t: Fixture, scripts: [Step[], Step[]]): Promise<[End, End]> {
  const [client, server] = scripts.map((script) => new End([...script]));
  client.peer = server;
  server.peer = client;
  openPairs(t, 1, { client: client.handlers, server: server.handlers }, (pairs) => {
    client.socket = pairs.clients[0];
    server.socket = pairs.servers[0];
    t.loop.createTimer().set(
      (timer) => {
        client.play();
        server.play();
        if (client.isScriptOver && server.isScriptOver) timer.close();
      },
      1,
      1,
    );
  });
  await t.run();
  if (t.errors.length > 0) throw t.errors[0];
  for (const end of [client, server]) {
    assertEquals(end.received.length, end.peer.accepted.length);
    assertEquals(end.received.hex(), end.peer.accepted.hex());
    assertEquals([end.hasEnded, end.isOwed, end.closeCode], [true, false, 0]);
  }
  return [client, server];
}
