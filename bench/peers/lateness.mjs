/**
 * Measures, in the process of a server, how late timers fire and how long a promise takes that I/O
 * resolves, while the server has its work to do.
 * @module
 */
import { writeSync } from "node:fs";
import { stat } from "node:fs/promises";

const TIMER_MS = 10;
const PAUSE_MS = 5;
const REPORT_MS = 250;

/** From here on prints a line of JSON each 250 ms: what was measured since the last, in ms. */
export function measureLateness() {
  let timer = [];
  let promise = [];
  setInterval(() => {
    writeSync(1, `${JSON.stringify({ timer, promise })}\n`);
    timer = [];
    promise = [];
  }, REPORT_MS);
  measureTimers((ms) => timer.push(ms));
  measurePromises((ms) => promise.push(ms));
}

function measureTimers(note) {
  let due = performance.now() + TIMER_MS;
  const expired = () => {
    const now = performance.now();
    note(round(now - due));
    due = now + TIMER_MS;
    setTimeout(expired, TIMER_MS);
  };
  setTimeout(expired, TIMER_MS);
}

async function measurePromises(note) {
  for (;;) {
    const before = performance.now();
    await stat(".");
    note(round(performance.now() - before));
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
}

function round(ms) {
  return Math.round(ms * 1000) / 1000;
}
