// What the rounds of a siege come to, of figures that nobody measured.
import { assertEquals } from "@std/assert";
import {
  type CalmRound,
  complaints,
  figuresOf,
  type SiegeRound,
  table,
} from "../../soak/siege/figures.ts";

function visits(p99: number, errors: Record<string, number> = {}): CalmRound {
  const latency = { p50: p99 / 2, p99, p999: p99 * 2 };
  const lateness = { p50: 1, p99: 10, p999: 20 };
  const waited = { server: p99 / 1000, visitors: 0 };
  return { visitors: { count: 100, errors, latency, lateness }, waited };
}

function siege(p99: number, errors: Record<string, number> = {}): SiegeRound {
  return {
    ...visits(p99, errors),
    slowloris: { alive: 2000, closed: p99, failed: 0 },
    flood: { connects: 9000, failed: 0, seconds: 2 },
  };
}

Deno.test("figuresOf() takes medians of rounds, and their ratio", () => {
  const figures = figuresOf({
    form: "HTTP",
    calm: [visits(100), visits(9000), visits(200), visits(300)],
    siege: [siege(1000, { reset: 1 }), siege(500), siege(7000, { reset: 2, "status 400": 1 })],
  });
  assertEquals(figures, {
    form: "HTTP",
    calm: { p50: 125, p99: 250, p999: 500, lateness: 10, waited: { server: 0.25, visitors: 0 } },
    siege: { p50: 500, p99: 1000, p999: 2000, lateness: 10, waited: { server: 1, visitors: 0 } },
    ratio: 4,
    errors: { reset: 3, "status 400": 1 },
    slowloris: { alive: 2000, closed: 1000, failed: 0 },
    connectsPerSecond: 4500,
  });
});

function complaintsOf(calm: CalmRound, siege: SiegeRound): string[] {
  return complaints(figuresOf({ form: "HTTP", calm: [calm], siege: [siege] }));
}

Deno.test("complaints() has none at five times the latency of calm, and one above", () => {
  assertEquals(complaintsOf(visits(100), siege(500)), []);
  assertEquals(complaintsOf(visits(100), siege(510)), [
    "HTTP: under siege p99 is 5.1 times that of calm, more than 5",
  ]);
});

Deno.test("complaints() has one of each kind of error, in calm too", () => {
  assertEquals(complaintsOf(visits(100, { "no answer": 2 }), siege(100, { reset: 1 })), [
    "HTTP: 2 errors of well-behaved clients: no answer",
    "HTTP: 1 errors of well-behaved clients: reset",
  ]);
});

Deno.test("complaints() has one where nothing was measured", () => {
  assertEquals(complaints(figuresOf({ form: "HTTP", calm: [], siege: [] })).length, 1);
});

Deno.test("table() has a row for each form, in columns", () => {
  const of = (form: string) =>
    figuresOf({ form, calm: [visits(250)], siege: [siege(1000, { reset: 3 })] });
  const lines = table([of("HTTP"), of("HTTPS, blocking")]).split("\n");
  assertEquals(new Set(lines.map(({ length }) => length)).size, 1);
  assertEquals(
    lines.map((line) => line.trim().split(/ {2,}/).slice(1).join(" ")),
    [
      "calm p50 p99 p99.9 siege p50 p99 p99.9 ratio errors slow alive closed connects/s sent late server waited visitors",
      "0.13 0.25 0.50 0.50 1.00 2.00 4.00 3 2000 1000 4500 0.01/0.01 25/100 % 0/0 %",
      "0.13 0.25 0.50 0.50 1.00 2.00 4.00 3 2000 1000 4500 0.01/0.01 25/100 % 0/0 %",
    ],
  );
});
