/** The conformance suite: every behaviour on every combination. */
import "../support/preload.ts";
import { adoption } from "./adoption.ts";
import { closing } from "./closing.ts";
import { connecting } from "./connecting.ts";
import { data } from "./data.ts";
import { type Behaviours, conformance } from "./fixture.ts";
import { handlers } from "./handlers.ts";
import { listening } from "./listening.ts";
import { loops } from "./loops.ts";
import { properties } from "./properties.ts";
import { regressions } from "./regressions.ts";
import { timeouts } from "./timeouts.ts";
import { transports } from "./transports.ts";

const suites: Record<string, Behaviours> = {
  data,
  closing,
  handlers,
  timeouts,
  adoption,
  loops,
  listening,
  connecting,
  properties,
  regressions,
};

for (const transport of transports) {
  for (const [title, behaviours] of Object.entries(suites)) {
    conformance(transport, title, behaviours);
  }
}
