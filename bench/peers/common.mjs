/**
 * What all contestants share: the command line, the bytes they send, and how they start. For Deno,
 * Node and Bun alike.
 * @module
 */
import { writeSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { measureLateness } from "./lateness.mjs";

const { values } = parseArgs({
  options: {
    service: { type: "string", default: "http" },
    size: { type: "string", default: "64" },
    cert: { type: "string" },
    key: { type: "string" },
    workers: { type: "string", default: "1" },
    work: { type: "string", default: "0" },
    lateness: { type: "boolean", default: false },
    backend: { type: "string", default: "epoll" },
  },
});
if (!["http", "echo", "sink", "source"].includes(values.service)) {
  refuse(`there is no service "${values.service}"`);
}

export const { service, cert, key, backend } = values;
export const isTls = cert !== undefined && key !== undefined;
export const host = "0.0.0.0";
export const backlog = 4096;
export const isLateness = values.lateness;
/** How many loops there are to be. */
export const workers = Number(values.workers);
/** Whether they share the port. */
export const isShared = workers > 1;
if (isLateness && isShared) refuse("--lateness needs one worker");
const work = Number(values.work);

/** The answer's body. */
export const body = new TextEncoder().encode("x".repeat(Number(values.size)));

/** The answer to any request. */
export const response = join(
  new TextEncoder().encode(
    `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${body.length}\r\n\r\n`,
  ),
  body,
);

/** What a source writes over and over, once in a turn: other connections want theirs. */
export const block = Uint8Array.from({ length: 65_536 }, (_, i) => i & 255);

/** Whether a read that got so many bytes ends in an empty line. */
export function endsRequest(data, length) {
  return length >= 4 && data[length - 1] === 10 && data[length - 2] === 13 &&
    data[length - 3] === 10 && data[length - 4] === 13;
}

let state = 1;

/** Takes as long as `--work` says. */
export function compute() {
  let x = state | 0; // or V8 may take it for a fraction, in some callers and not in others
  for (let i = 0; i < work; i++) x = Math.imul(x, 1664525) + 1013904223 | 0;
  state = x;
}

/** A sink's answer. */
export function countLine(count) {
  return new TextEncoder().encode(`${count}\n`);
}

/** Ends the process over what this runtime cannot do. */
export function refuse(message) {
  writeSync(2, `${message}\n`);
  process.exit(2);
}

/**
 * Serves in this thread, or in as many Workers as were asked for. `serve(port, listening)` calls
 * `listening` with the port when it listens.
 */
export function start({ main, url }, serve) {
  // In Deno a Worker's module is a main one too; Bun's Workers have not the scope's class.
  const isMain = main && typeof WorkerGlobalScope === "undefined";
  if (!isMain) {
    globalThis.onmessage = ({ data: port }) => serve(port, (own) => postMessage(own));
  } else if (isShared) {
    startWorkers(url);
  } else {
    serve(0, ready);
  }
}

/** Tells that the server listens. */
export function ready(port) {
  writeSync(1, `listening ${port}\n`);
  if (isLateness) measureLateness();
}

async function startWorkers(url) {
  const startWorker = (port) =>
    new Promise((resolve) => {
      const worker = new Worker(url, { type: "module", argv: process.argv.slice(2) });
      worker.onmessage = ({ data }) => resolve(data);
      worker.postMessage(port);
    });
  const port = await startWorker(0); // the first chooses
  await Promise.all(Array.from({ length: workers - 1 }, () => startWorker(port)));
  ready(port);
}

function join(head, tail) {
  const all = new Uint8Array(head.length + tail.length);
  all.set(head);
  all.set(tail, head.length);
  return all;
}
