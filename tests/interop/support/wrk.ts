/** wrk: very many requests, on connections that stay. */
import { assert, assertEquals } from "@std/assert";
import { PeerProcess } from "./peer_process.ts";

/** A second of requests; none may fail, by the connection or by its status. */
export async function wrk(url: string): Promise<void> {
  await using peer = new PeerProcess("wrk", ["-t2", "-c64", "-d1s", "--timeout", "5s", url]);
  assertEquals(await peer.ended(), 0, peer.output);
  // wrk tells of errors only where there are any.
  assertEquals(/Socket errors|Non-2xx/.test(peer.output), false, peer.output);
  const requests = Number(/(\d+) requests in/.exec(peer.output)?.[1]);
  assert(requests > 64, peer.output);
}
