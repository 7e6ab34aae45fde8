/**
 * Besieges the HTTP server example, in each form of the library: what do 64 well-behaved clients
 * notice of 2,000 that hold on to their connections, and of thousands a second that come and go?
 *
 * deno task siege --help
 *
 * @module
 */
// deno-lint-ignore-file no-console -- this is a program
import { makeTrialCertificates } from "../examples/support/certificates.ts";
import { runMain, UsageError } from "../examples/support/errors.ts";
import { parseFlags, parseNumber } from "../examples/support/flags.ts";
import { besiege, type Effort, FORMS } from "./siege/campaign.ts";
import { complaints, figuresOf, type FormRounds, MOST, table } from "./siege/figures.ts";

const FLAGS = {
  quick: { about: "one short round of each form" },
  only: { value: "TEXT", about: "forms whose name contains this", multiple: true },
  rounds: { value: "N", about: "sieges of each form (3)" },
  slow: { value: "N", about: "clients that hold on", default: "2000" },
  flood: { value: "N", about: "connects per second beside them", default: "5000" },
  json: { value: "FILE", about: "write all figures there" },
} as const;

async function main(): Promise<void> {
  const given = parseFlags(Deno.args, {
    about: "Measures what well-behaved clients of a server notice of an attack. Needs Linux.",
    flags: FLAGS,
  });
  if (given === null) return;
  if (Deno.build.os !== "linux") throw new UsageError("the siege needs Linux: taskset, /proc");
  const { quick, only, rounds, slow, flood, json } = given.values;
  const effort: Effort = {
    rounds: parseNumber("--rounds", rounds ?? (quick ? "1" : "3"), 1, 100),
    calmSeconds: quick ? 1.5 : 3,
    siegeSeconds: quick ? 4 : 8,
    warmUpSeconds: 2,
    settleSeconds: 1,
    slow: parseNumber("--slow", slow, 1, 15_000),
    floodPerSecond: parseNumber("--flood", flood, 1, 5000),
    visitors: 64,
    requestsPerSecond: 1000,
  };
  const forms = FORMS.filter(({ name }) =>
    only.length === 0 || only.some((text) => name.includes(text))
  );
  if (forms.length === 0) throw new UsageError(`no form is called ${only.join(" or ")}`);
  console.log(intro(effort));
  const all: FormRounds[] = [];
  const folder = await Deno.makeTempDir({ prefix: "siege-" });
  try {
    const files = { cert: `${folder}/cert.pem`, key: `${folder}/key.pem` };
    const { server } = await makeTrialCertificates();
    await Deno.writeTextFile(files.cert, server.cert);
    await Deno.writeTextFile(files.key, server.key);
    for (const form of forms) {
      all.push(await besiege(form, effort, files, (what) => console.log(`${form.name}: ${what}`)));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  const figures = all.map(figuresOf);
  console.log(`\n${table(figures)}\n`);
  if (json !== undefined) {
    await Deno.writeTextFile(
      json,
      JSON.stringify({ effort, figures, rounds: all }, null, 2) + "\n",
    );
  }
  const wrong = figures.flatMap(complaints);
  for (const line of wrong) console.log(line);
  if (wrong.length > 0) Deno.exit(1);
  console.log(
    `Withstood: p99 under siege is at most ${MOST} times that of calm, without an error.`,
  );
}

function intro({ visitors, requestsPerSecond, slow, floodPerSecond }: Effort): string {
  return [
    `${visitors} clients with ${requestsPerSecond} requests a second in all, in calm and while ` +
    `${slow} slow clients and up to ${floodPerSecond} connects a second attack.`,
    "The server has one core. Its clients share the other, the attackers at nice 19, so that what",
    "is measured is the server's waiting and not the clients'. Latency, in ms, counts from when a",
    "request was due. At the end stand, in calm and under siege: how late it was sent (p99), and how",
    "much of the time the server, and its clients, could have run but waited for their core. More",
    "than a few per cent: something else runs on this machine, and the figures are rough.",
  ].join("\n");
}

if (import.meta.main) await runMain(main);
