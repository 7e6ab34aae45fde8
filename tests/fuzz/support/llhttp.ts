// deno-lint-ignore-file camelcase -- the names are those of llhttp
/**
 * llhttp, the HTTP parser of Node, as undici has it compiled to WebAssembly: strict, as it comes.
 * https://github.com/nodejs/llhttp
 */
import type { Buffer } from "node:buffer";
import wasm from "llhttp";

const REQUEST = 1, PAUSED = 21, PAUSED_UPGRADE = 22;

interface Exports extends Record<string, WebAssembly.ExportValue> {
  memory: WebAssembly.Memory;
  malloc(length: number): number;
  free(address: number): void;
  llhttp_alloc(type: number): number;
  llhttp_free(parser: number): void;
  llhttp_execute(parser: number, data: number, length: number): number;
  llhttp_resume(parser: number): void;
  llhttp_get_error_pos(parser: number): number;
  llhttp_get_error_reason(parser: number): number;
  llhttp_errno_name(error: number): number;
  llhttp_should_keep_alive(parser: number): number;
}

let headers = 0, isDone = false;
const go = () => 0;
const module = new WebAssembly.Module(new Uint8Array(wasm as unknown as Buffer));
const llhttp = new WebAssembly.Instance(module, {
  env: {
    wasm_on_message_begin: go,
    wasm_on_url: go,
    wasm_on_status: go,
    wasm_on_header_field: go,
    wasm_on_header_value: go,
    wasm_on_headers_complete: () => {
      headers++;
      return 0;
    },
    wasm_on_body: go,
    wasm_on_message_complete: () => {
      isDone = true;
      return PAUSED;
    },
  },
}).exports as Exports;

/** What it made of a stream. */
export interface Judgement {
  /** Where each request ends, and whether the connection is kept behind it. */
  readonly requests: { readonly end: number; readonly keepAlive: boolean }[];
  /** How many heads it took. */
  readonly heads: number;
  /** What it refused the rest for, such as `HPE_INVALID_METHOD`; null where it waits for more. */
  readonly error: string | null;
  /** The rest is not HTTP: behind CONNECT or Upgrade. */
  readonly isUpgrade: boolean;
}

/** Parses all requests of a stream. */
export function judge(stream: Uint8Array): Judgement {
  const parser = llhttp.llhttp_alloc(REQUEST), start = llhttp.malloc(stream.length + 1);
  new Uint8Array(llhttp.memory.buffer).set(stream, start);
  const requests: Judgement["requests"] = [];
  headers = 0;
  let error: string | null = null, isUpgrade = false;
  for (let at = 0;;) {
    isDone = false;
    const result = llhttp.llhttp_execute(parser, start + at, stream.length - at);
    const position = llhttp.llhttp_get_error_pos(parser) - start;
    if (isDone) {
      const keepAlive = llhttp.llhttp_should_keep_alive(parser) === 1;
      requests.push({ end: result === 0 ? stream.length : position, keepAlive });
    }
    isUpgrade = result === PAUSED_UPGRADE;
    if (result !== PAUSED) {
      if (result !== 0 && !isUpgrade) error = text(llhttp.llhttp_errno_name(result));
      break;
    }
    llhttp.llhttp_resume(parser);
    at = position;
  }
  llhttp.free(start);
  llhttp.llhttp_free(parser);
  return { requests, heads: headers, error, isUpgrade };
}

function text(address: number): string {
  const bytes = new Uint8Array(llhttp.memory.buffer, address);
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
}
