/** What peers that fail or mean harm do to a connection, and what the others notice of it: nothing. */
import "../support/preload.ts";
import { denoConn } from "@usockets/usockets";
import { conformance } from "../conformance/fixture.ts";
import { transports } from "../conformance/transports.ts";
import { bytewise } from "./bytewise.ts";
import { handshakesCutShort, upgradesCutShort } from "./handshakes_cut_short.ts";
import { listenersReopened, loopsFreed } from "./loops_at_risk.ts";
import { closingForNobody, peersThatNeverRead } from "./peers_that_never_read.ts";
import { peersThatReset } from "./peers_that_reset.ts";
import { unixPaths } from "./unix_paths.ts";

for (const transport of transports) {
  const { backend, isBlocking, isTls, isUnix } = transport;
  conformance(transport, "peers that reset", peersThatReset);
  if (isTls) conformance(transport, "handshakes cut short", handshakesCutShort);
  if (!isTls && !isUnix) conformance(transport, "upgrades cut short", upgradesCutShort);
  conformance(transport, "peers that never read", peersThatNeverRead);
  if (isUnix) conformance(transport, "unix paths", unixPaths);
  conformance(transport, "one byte at a time", bytewise);
  conformance(transport, "listeners reopened", listenersReopened);
  // two of them cannot both block the thread
  if (!isBlocking) conformance(transport, "loops freed", loopsFreed);
  // elsewhere the kernel sends what was accepted, and while a loop blocks nothing else has a clock
  if (backend === denoConn || isTls && !isBlocking) {
    conformance(transport, "closing for nobody", closingForNobody);
  }
}
