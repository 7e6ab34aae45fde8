/** What a run of the epoll backend's property test is made of. */
import type { testCertificates } from "../support/certificates.ts";
import type { Rates } from "../support/faulty_libc.ts";
import type { modes } from "../support/native.ts";

/** All of it. */
export interface Setting {
  readonly seed: number;
  readonly transport: typeof transports[number];
  readonly mode: typeof modes[number];
  /** How often calls of libc fail, and those of OpenSSL that need memory. */
  readonly rates: Rates & { readonly memory?: number };
  readonly certificates: Awaited<ReturnType<typeof testCertificates>>;
  /** For unix paths. */
  readonly directory: string;
}

const transports = ["tcp", "unix", "tcp tls", "unix tls", "tcp starttls"] as const;
/** How often what fails. */
const weathers: readonly Setting["rates"][] = [
  {},
  { passing: 0.1, short: 0.3 },
  { passing: 0.4, short: 0.8 },
  { refusing: 0.1 },
  { breaking: 0.03, short: 0.3 },
  { passing: 0.05, short: 0.2, refusing: 0.02, breaking: 0.01 },
  { passing: 0.2, short: 0.5, refusing: 0.15, breaking: 0.05 },
  { memory: 0.01, passing: 0.1, short: 0.2 },
  { memory: 0.03, refusing: 0.03 },
];

/** What follows from the seed. */
export function settingOf(seed: number): Pick<Setting, "seed" | "transport" | "rates"> {
  return {
    seed,
    transport: transports[seed % transports.length],
    rates: weathers[Math.floor(seed / transports.length) % weathers.length],
  };
}
