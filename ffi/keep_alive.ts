/**
 * TCP keep-alive with its timings.
 * @module
 */
import { checkNames, checkNumber, type KeepAliveTimings } from "../src/options.ts";
import {
  IPPROTO_TCP,
  SO_KEEPALIVE,
  SOL_SOCKET,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
} from "./constants.ts";
import type { Libc } from "./libc.ts";
import { setOption } from "./sockets.ts";

/** Throws for timings that make no sense. */
export function checkKeepAlive(timings: KeepAliveTimings): void {
  const what = "set keep-alive";
  checkNames(what, timings, ["idleSeconds", "intervalSeconds", "probes"]);
  checkNumber(what, "idleSeconds", timings.idleSeconds, 1, true);
  checkNumber(what, "intervalSeconds", timings.intervalSeconds, 1, true);
  checkNumber(what, "probes", timings.probes, 1, true);
}

/** Switches probes on or off; what is not given stays as it is. */
export function setKeepAlive(
  libc: Libc,
  fd: number,
  enable: boolean,
  timings: KeepAliveTimings,
): void {
  setOption(libc, fd, SOL_SOCKET, SO_KEEPALIVE, enable ? 1 : 0);
  for (
    const [option, value] of [
      [TCP_KEEPIDLE, timings.idleSeconds],
      [TCP_KEEPINTVL, timings.intervalSeconds],
      [TCP_KEEPCNT, timings.probes],
    ] as const
  ) {
    if (value === undefined) continue;
    setOption(libc, fd, IPPROTO_TCP, option, value, "Cannot set keep-alive");
  }
}
