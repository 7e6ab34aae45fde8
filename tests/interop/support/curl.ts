/** The `curl` program. */
import { assertEquals } from "@std/assert";
import { PeerProcess } from "./peer_process.ts";

/** A failed transfer is an exit code; the certificate must verify. */
const CURL = ["--no-progress-meter", "--max-time", "15"];

/** What curl printed; its exit code must be as expected. */
export async function curl(args: string[], expected = 0): Promise<string> {
  await using peer = new PeerProcess("curl", [...CURL, ...args]);
  assertEquals(await peer.ended(), expected, peer.output);
  return peer.output;
}
