/** What peers that fail or mean harm do to a connection, and what the others notice of it: nothing. */
import "../support/preload.ts";
import { conformance } from "../conformance/fixture.ts";
import { transports } from "../conformance/transports.ts";
import { peersThatReset } from "./peers_that_reset.ts";

for (const transport of transports) {
  conformance(transport, "peers that reset", peersThatReset);
}
