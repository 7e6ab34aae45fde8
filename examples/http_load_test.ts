/**
 * A load test for HTTP/1.1 servers: keep-alive GETs, as fast as the server answers.
 *
 * deno run --allow-net --allow-read --allow-ffi examples/http_load_test.ts --help
 *
 * @module
 */
import { UsageError } from "./support/errors.ts";
import { type HeadMemory, HttpResponseParser, RESPONSE } from "./support/http_response.ts";
import type { Receiver } from "./support/load_client.ts";
import type { LoadFlags } from "./support/load_flags.ts";
import type { LoadResults } from "./support/load_results.ts";
import { loadTest, runLoadTest } from "./support/load_test.ts";

/** Counts responses; those from 400 on as refusals too. */
class ResponseReceiver implements Receiver {
  isLast = false;
  readonly #parser: HttpResponseParser;
  readonly #results: LoadResults;

  constructor(memory: HeadMemory, results: LoadResults) {
    this.#parser = new HttpResponseParser(memory);
    this.#results = results;
  }

  get problem(): string {
    return this.#parser.problem;
  }

  receive(data: Uint8Array): number {
    if (this.isLast) return 0; // whatever comes behind it is none
    const parser = this.#parser;
    let answers = 0;
    for (let offset = 0; offset < data.length; offset = parser.offset) {
      if (parser.parse(data, offset) !== RESPONSE) break;
      answers++;
      if (parser.status >= 400) this.#results.refused(`status ${parser.status}`);
      if (!parser.keepAlive) {
        this.isLast = true;
        break;
      }
    }
    return answers;
  }

  end(): number {
    if (this.#parser.end() !== RESPONSE) return 0;
    this.isLast = true;
    return 1;
  }
}

interface HttpFlags {
  readonly path: string;
}

/** A request over and over: as many as a connection has in flight. */
function requests({ target, serverName, pipeline, more }: LoadFlags<HttpFlags>) {
  const request = `GET ${more.path} HTTP/1.1\r\nHost: ${serverName ?? hostOf(target)}\r\n\r\n`;
  const bytes = new TextEncoder().encode(request.repeat(pipeline));
  return { bytes, period: request.length, messageBytes: request.length };
}

function hostOf(target: LoadFlags["target"]): string {
  if ("path" in target) return "localhost";
  return `${target.host.includes(":") ? `[${target.host}]` : target.host}:${target.port}`;
}

function parsePath(path: string): string {
  if (/^\/[!-~]*$/.test(path)) return path;
  throw new UsageError(`--path must begin with / and have no spaces, not ${JSON.stringify(path)}`);
}

const memory: HeadMemory = { last: null };

/** What {@linkcode runLoadTest} and its Workers run. */
export const program = loadTest({
  about: "A load test for HTTP/1.1 servers: keep-alive GETs, as fast as the server answers.",
  unit: "requests",
  flags: {
    path: { value: "PATH", about: "what to GET", default: "/" },
  },
  parse: ({ path }): HttpFlags => ({ path: parsePath(path) }),
  stream: requests,
  startOf: () => 0,
  createReceiver: (_stream, _start, results) => new ResponseReceiver(memory, results),
});

if (import.meta.main) await runLoadTest(import.meta.url, program);
