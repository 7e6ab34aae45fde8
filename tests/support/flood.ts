/** Writers that fill every buffer on the way to a peer that does not read. */
import type { Fixture } from "../conformance/fixture.ts";
import { pattern } from "./streams.ts";

/** More than the kernel and the library take without a reader. */
const FLOOD_BYTES = 16 << 20;

/** Writes as much as is accepted: call `pump()` in onOpen and in onWritable. */
export class Flood {
  /** How many bytes were accepted. */
  accepted = 0;
  readonly #bytes = pattern(FLOOD_BYTES);

  /** What was accepted. */
  get sent(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.accepted);
  }

  /** Writes what is accepted, of so many bytes at most. */
  pump(socket: { write(data: Uint8Array): number }, most = FLOOD_BYTES): void {
    this.accepted += socket.write(this.#bytes.subarray(this.accepted, this.accepted + most));
  }

  /** Calls back, from a timer, when nothing was accepted for a while: all buffers are full. */
  whenStuck(t: Fixture, callback: () => void): void {
    let before = -1;
    let idle = 0;
    t.loop.createTimer().set(
      (timer) => {
        idle = this.accepted > 0 && this.accepted === before ? idle + 1 : 0;
        before = this.accepted;
        if (idle < 4) return;
        timer.close();
        if (this.accepted === FLOOD_BYTES) throw new Error("16 MiB fitted into the buffers");
        callback();
      },
      10,
      10,
    );
  }
}
