/**
 * An incremental parser of HTTP/1.1 requests (RFC 9112), for servers that answer from the request
 * head alone: a body is checked for its framing and skipped. It reads bytes and keeps small
 * integers: no string, array or closure is made for a request, and only a line cut by the end of
 * the data is ever copied.
 *
 * @module
 */

/** The data is used up; parse goes on when more has been received. */
export const NEED_MORE = 0;
/** A request, its body included, is complete. */
export const REQUEST = 1;
/** A head has ended whose sender waits for `100 Continue` before it sends the body. */
export const CONTINUE = 2;

/** What one request may take; one object serves all parsers. */
export interface HttpRequestLimits {
  /** Bytes of a head, of a trailer section, and of a chunk size line (431). */
  readonly maxHeadBytes: number;
  /** Bytes of a body, its chunk size lines included (413). */
  readonly maxBodyBytes: number;
}

/** The limits of a parser that was given none; every build of V8 has 2^30 - 1 unboxed. */
export const DEFAULT_LIMITS: HttpRequestLimits = { maxHeadBytes: 16384, maxBodyBytes: 2 ** 30 - 1 };

/** What comes next: lines, or in the states from SKIP_BODY on, content. */
const [READ_HEAD, READ_TRAILER, READ_CHUNK_SIZE, READ_CHUNK_END] = [0, 1, 2, 3];
const [SKIP_BODY, SKIP_CHUNK] = [4, 5];

/** Bits for what the head has said so far. */
const [HAS_HOST, HAS_CONTENT_LENGTH, HAS_TRANSFER_ENCODING, CHUNKED] = [1, 2, 4, 8];
const [UNKNOWN_CODING, CLOSE, KEEP_ALIVE, EXPECT_CONTINUE] = [16, 32, 64, 128];

/** What reads lines returns the offset after them, or INCOMPLETE, or an error: minus the status. */
const [INCOMPLETE, BAD_REQUEST, CONTENT_TOO_LARGE, HEAD_TOO_LARGE] = [-1, -400, -413, -431];
const [NOT_IMPLEMENTED, VERSION_NOT_SUPPORTED] = [-501, -505];

/** Bits for the classes of bytes: those of a token, a request target, a host with its port ... */
const [TOKEN, TARGET, HOST, VALUE, BLANK, DIGIT, HEXADECIMAL] = [1, 2, 4, 8, 16, 32, 64];
const BYTE_CLASSES = classifyBytes();

const [LF, CR, SPACE, COMMA, DOT, SLASH, COLON, SEMICOLON, QUESTION] = bytesOf("\n\r ,./:;?");
const [HEAD, CONNECT, OPTIONS, ASTERISK] = ["HEAD", "CONNECT", "OPTIONS", "*"].map(bytesOf);

/** Words read in any case: the bit that makes a letter lower case is set before comparing. */
const [ANY_CASE, ANY_CASES] = [0x20, 0x20202020];
const [HTTP, HTTPS] = ["http://", "https://"].map(bytesOf);
const [CLOSE_WORD, KEEP_ALIVE_WORD] = ["close", "keep-alive"].map(bytesOf);
const [CHUNKED_WORD, CONTINUE_WORD] = ["chunked", "100-continue"].map(bytesOf);
const FIELDS = ["content-length", "connection", "transfer-encoding", "expect"].map(bytesOf);
const [CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING] = FIELDS;

/** What nearly all requests have: compared four bytes at a time, without a loop. */
const [GET_SPACE, HTTP_NAME, VERSION_1_1, HOST_NAME] = ["GET ", "HTTP", "/1.1", "host"]
  .map((word) => fourBytes(bytesOf(word), 0));

/** The names of the other fields that matter, each at its length: no two have the same. */
const FIELDS_BY_LENGTH = new Array<Uint8Array>(32).fill(bytesOf(""));
for (const field of FIELDS) FIELDS_BY_LENGTH[field.length] = field;

/**
 * Parses the requests of one connection.
 *
 * @example
 * ```ts ignore
 * let event = parser.parse(data);
 * for (; event === REQUEST || event === CONTINUE; event = parser.parse(data, parser.offset)) {
 *   if (event === CONTINUE) sendContinue();
 *   else answer(parser.method, parser.isRoot, parser.keepAlive);
 * }
 * if (event !== NEED_MORE) refuseAndClose(event);
 * ```
 */
export class HttpRequestParser {
  /** The method of the request, as one of three constants that are compared by identity. */
  method: "GET" | "HEAD" | "OTHER" = "OTHER";
  /** Whether the path of the target is `/`, whatever the query. */
  isRoot = false;
  /** The minor version of HTTP to answer by: 0 or 1. */
  minorVersion = 1;
  /** Whether the connection is kept after the answer; if not, parse nothing that follows. */
  keepAlive = false;
  /** Where in the data of the last call of parse the next one goes on. */
  offset = 0;
  #event = NEED_MORE;
  #state = READ_HEAD;
  #flags = 0;
  /** Bytes of the body or chunk that are still to come. */
  #remaining = 0;
  /** Bytes of a chunked body announced so far, its chunk size lines included. */
  #chunkedBytes = 0;
  /** The beginning of a head, a trailer section or a line whose end has not been received. */
  #pending: Uint8Array | null = null;
  #limits: HttpRequestLimits;

  /** Makes the parser of a new connection. */
  constructor(limits: HttpRequestLimits = DEFAULT_LIMITS) {
    this.#limits = limits;
  }

  /**
   * Parses `data` from `offset` up to `end`, until the first event; `data` is not kept. The fields
   * tell of a request from its REQUEST or CONTINUE until the next call.
   *
   * @returns NEED_MORE, REQUEST, CONTINUE, or the status (400 or above) to answer a bad request
   * with before closing: every later call returns it again.
   */
  parse(data: Uint8Array, offset = 0, end = data.length): number {
    if (this.#event >= 400) return this.#event;
    this.#event = NEED_MORE;
    if (this.#pending !== null) return this.#parseJoined(this.#pending, data, offset, end);
    let position = offset;
    while (position < end && this.#event === NEED_MORE) {
      const next = this.#state >= SKIP_BODY
        ? this.#skipContent(position, end)
        : this.#readLines(data, position, end);
      if (next === INCOMPLETE) this.#pending = data.slice(position, end);
      position = next < 0 ? end : next;
    }
    this.offset = position;
    return this.#event;
  }

  // What is pending is read from its start each time: a bad byte is answered when it arrives, and
  // no head leaves off in between. It is limited: 16 KB are read in 20 µs, no more than a few
  // system calls take.
  #parseJoined(pending: Uint8Array, data: Uint8Array, offset: number, end: number): number {
    const joined = new Uint8Array(pending.length + end - offset);
    joined.set(pending);
    joined.set(data.subarray(offset, end), pending.length);
    this.#pending = null;
    this.parse(joined);
    this.offset += offset - pending.length;
    return this.#event;
  }

  /** Reads a head, a trailer section or a line, held to its limit; an error becomes the event. */
  #readLines(bytes: Uint8Array, start: number, end: number): number {
    const limit = start + this.#limits.maxHeadBytes;
    let next = this.#readLinesByState(bytes, start, Math.min(end, limit));
    if (next === INCOMPLETE && end >= limit) next = HEAD_TOO_LARGE;
    if (next < INCOMPLETE) this.#event = -next;
    return next;
  }

  #readLinesByState(bytes: Uint8Array, start: number, end: number): number {
    if (this.#state <= READ_TRAILER) return this.#readSection(bytes, start, end);
    if (this.#state === READ_CHUNK_SIZE) return this.#readChunkSize(bytes, start, end);
    const next = readLineEnd(bytes, start, end);
    if (next > 0) this.#state = READ_CHUNK_SIZE;
    return next;
  }

  /** Reads a head or a trailer section, with the empty line that ends it. */
  #readSection(bytes: Uint8Array, start: number, end: number): number {
    let next = this.#state === READ_HEAD ? this.#readRequestLine(bytes, start, end) : start;
    while (next >= 0 && next < end && bytes[next] !== CR) next = this.#readField(bytes, next, end);
    if (next >= 0) next = readLineEnd(bytes, next, end);
    return next < 0 ? next : this.#endSection(next);
  }

  #readRequestLine(bytes: Uint8Array, from: number, end: number): number {
    let start = from;
    // Empty lines before a request are let pass (RFC 9112, 2.2), as part of its head.
    while (start >= 0 && start < end && bytes[start] === CR) start = readLineEnd(bytes, start, end);
    if (start < 0) return start;
    const isGet = end - start > 4 && fourBytes(bytes, start) === GET_SPACE;
    const methodEnd = isGet ? start + 3 : skipClass(bytes, start, end, TOKEN);
    if (methodEnd === end) return INCOMPLETE;
    if (methodEnd === start || bytes[methodEnd] !== SPACE) return BAD_REQUEST;
    const targetEnd = skipClass(bytes, methodEnd + 1, end, TARGET);
    if (targetEnd === end) return INCOMPLETE;
    if (targetEnd === methodEnd + 1 || bytes[targetEnd] !== SPACE) return BAD_REQUEST;
    const isHttp11 = end - targetEnd > 8 && fourBytes(bytes, targetEnd + 1) === HTTP_NAME &&
      fourBytes(bytes, targetEnd + 5) === VERSION_1_1;
    const versionEnd = isHttp11 ? targetEnd + 9 : skipClass(bytes, targetEnd + 1, end, TARGET);
    const next = readLineEnd(bytes, versionEnd, end);
    if (next < 0) return next;
    const version = isHttp11 ? 1 : classifyVersion(bytes, targetEnd + 1, versionEnd);
    if (version < 0) return version;
    const target = classifyTarget(bytes, start, methodEnd, targetEnd);
    if (target < 0) return target;
    this.method = isGet ? "GET" : equals(bytes, start, methodEnd, HEAD) ? "HEAD" : "OTHER";
    this.isRoot = target === 1;
    this.minorVersion = version;
    this.#flags = this.#remaining = 0;
    return next;
  }

  /** Reads a field line, and in a head takes note of what framing or answer depend on. */
  #readField(bytes: Uint8Array, start: number, end: number): number {
    // A token has no space in it: neither a folded line nor space before the colon gets by.
    const nameEnd = skipClass(bytes, start, end, TOKEN);
    if (nameEnd === end) return INCOMPLETE;
    if (nameEnd === start || bytes[nameEnd] !== COLON) return BAD_REQUEST;
    const isHead = this.#state === READ_HEAD;
    if (isHead && nameEnd - start === 4 && (fourBytes(bytes, start) | ANY_CASES) === HOST_NAME) {
      return this.#readHost(bytes, nameEnd + 1, end);
    }
    const valueEnd = skipClass(bytes, nameEnd + 1, end, VALUE);
    const next = readLineEnd(bytes, valueEnd, end);
    const field = FIELDS_BY_LENGTH[(nameEnd - start) % 32];
    if (next < 0 || !isHead || !equals(bytes, start, nameEnd, field, ANY_CASE)) return next;
    const error = field === CONTENT_LENGTH
      ? this.#takeContentLength(bytes, nameEnd + 1, valueEnd)
      : this.#takeList(bytes, nameEnd + 1, valueEnd, field);
    return error < 0 ? error : next;
  }

  /** A host has the stricter class: one pass finds its end and checks it. */
  #readHost(bytes: Uint8Array, from: number, end: number): number {
    if ((this.#flags & HAS_HOST) !== 0) return BAD_REQUEST;
    this.#flags |= HAS_HOST;
    const start = skipClass(bytes, from, end, BLANK);
    const hostEnd = skipClass(bytes, start, end, HOST);
    return readLineEnd(bytes, skipClass(bytes, hostEnd, end, BLANK), end);
  }

  #takeContentLength(bytes: Uint8Array, from: number, to: number): number {
    const start = skipClass(bytes, from, to, BLANK);
    const end = trimBlanks(bytes, start, to);
    if (start === end || skipClass(bytes, start, end, DIGIT) < end) return BAD_REQUEST;
    const length = numberOf(bytes, start, end, 10);
    if (length > Number.MAX_SAFE_INTEGER) return BAD_REQUEST;
    if ((this.#flags & HAS_CONTENT_LENGTH) !== 0 && length !== this.#remaining) return BAD_REQUEST;
    if (length > this.#limits.maxBodyBytes) return CONTENT_TOO_LARGE;
    this.#flags |= HAS_CONTENT_LENGTH;
    this.#remaining = length;
    return 0;
  }

  #takeList(bytes: Uint8Array, from: number, to: number, field: Uint8Array): number {
    if (field === TRANSFER_ENCODING) this.#flags |= HAS_TRANSFER_ENCODING;
    for (let comma = from; from < to; from = ++comma) {
      while (comma < to && bytes[comma] !== COMMA) comma++;
      const start = skipClass(bytes, from, comma, BLANK);
      const end = trimBlanks(bytes, start, comma);
      if (start === end) continue;
      // Chunked is the last coding, and applied once.
      if (field === TRANSFER_ENCODING && (this.#flags & CHUNKED) !== 0) return BAD_REQUEST;
      this.#flags |= classifyElement(bytes, start, end, field);
    }
    return 0;
  }

  /** Decides what follows the head or trailer section that ends at `next`. */
  #endSection(next: number): number {
    if (this.#state === READ_TRAILER) return this.#endRequest(next);
    const flags = this.#flags;
    const isHttp10 = this.minorVersion === 0;
    if ((flags & HAS_HOST) === 0 && !isHttp10) return BAD_REQUEST;
    this.keepAlive = (flags & CLOSE) === 0 && (!isHttp10 || (flags & KEEP_ALIVE) !== 0);
    if ((flags & HAS_TRANSFER_ENCODING) !== 0) {
      // A body that two recipients may frame differently smuggles requests in (RFC 9112, 6.3).
      const framing = flags & (CHUNKED | HAS_CONTENT_LENGTH);
      if (framing !== CHUNKED || isHttp10) return BAD_REQUEST;
      if ((flags & UNKNOWN_CODING) !== 0) return NOT_IMPLEMENTED;
      this.#chunkedBytes = 0;
    } else if (this.#remaining === 0) {
      return this.#endRequest(next);
    }
    this.#state = (flags & CHUNKED) !== 0 ? READ_CHUNK_SIZE : SKIP_BODY;
    if ((flags & EXPECT_CONTINUE) !== 0 && !isHttp10) this.#event = CONTINUE;
    return next;
  }

  #endRequest(next: number): number {
    this.#state = READ_HEAD;
    this.#event = REQUEST;
    return next;
  }

  #readChunkSize(bytes: Uint8Array, start: number, end: number): number {
    const sizeEnd = skipClass(bytes, start, end, HEXADECIMAL);
    if (sizeEnd === start) return BAD_REQUEST;
    const extension = skipClass(bytes, sizeEnd, end, BLANK);
    if (extension === end) return INCOMPLETE;
    const hasExtension = bytes[extension] === SEMICOLON;
    const lineEnd = hasExtension ? skipClass(bytes, extension, end, VALUE) : sizeEnd;
    const next = readLineEnd(bytes, lineEnd, end);
    if (next < 0) return next;
    const size = numberOf(bytes, start, sizeEnd, 16);
    const room = this.#limits.maxBodyBytes - this.#chunkedBytes;
    if (next - start + size > room) return CONTENT_TOO_LARGE;
    this.#chunkedBytes += next - start + size;
    this.#remaining = size;
    this.#state = size === 0 ? READ_TRAILER : SKIP_CHUNK;
    return next;
  }

  #skipContent(position: number, end: number): number {
    const next = Math.min(end, position + this.#remaining);
    this.#remaining -= next - position;
    if (this.#remaining > 0) return next;
    if (this.#state === SKIP_BODY) return this.#endRequest(next);
    this.#state = READ_CHUNK_END;
    return next;
  }
}

function bytesOf(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

function classifyBytes(): Uint8Array {
  const classes = new Uint8Array(256).fill(TARGET | VALUE, 0x21, 0x7f).fill(VALUE, 0x80);
  const mark = (characters: string, bits: number) => {
    for (const byte of bytesOf(characters)) classes[byte] |= bits;
  };
  mark("\t ", VALUE | BLANK);
  mark("0123456789", TOKEN | HOST | DIGIT | HEXADECIMAL);
  mark("ABCDEFabcdef", TOKEN | HOST | HEXADECIMAL);
  mark("GHIJKLMNOPQRSTUVWXYZghijklmnopqrstuvwxyz", TOKEN | HOST);
  mark("!#$%&'*+-.^_`|~", TOKEN);
  mark("!$%&'()*+,-.:;=[]_~", HOST);
  // Browsers do send the likes of { and |, but no fragment (#).
  classes[0x23] &= ~TARGET;
  return classes;
}

/** The offset of the first byte from `position` that is not of the class, or `end`. */
function skipClass(bytes: Uint8Array, position: number, end: number, byteClass: number): number {
  while (position < end && (BYTE_CLASSES[bytes[position]] & byteClass) !== 0) position++;
  return position;
}

function trimBlanks(bytes: Uint8Array, start: number, end: number): number {
  while (end > start && (BYTE_CLASSES[bytes[end - 1]] & BLANK) !== 0) end--;
  return end;
}

/** Four bytes as one number. */
function fourBytes(b: Uint8Array, start: number): number {
  return b[start] | b[start + 1] << 8 | b[start + 2] << 16 | b[start + 3] << 24;
}

function readLineEnd(bytes: Uint8Array, position: number, end: number): number {
  const next = position + 2;
  if (next <= end && bytes[position] === CR && bytes[position + 1] === LF) return next;
  return position === end || next > end && bytes[position] === CR ? INCOMPLETE : BAD_REQUEST;
}

function equals(b: Uint8Array, start: number, end: number, word: Uint8Array, ignored = 0): boolean {
  if (end - start !== word.length) return false;
  for (let index = 0; index < word.length; index++) {
    if ((b[start + index] | ignored) !== word[index]) return false;
  }
  return true;
}

function numberOf(bytes: Uint8Array, start: number, end: number, base: number): number {
  let value = 0;
  for (let position = start; position < end; position++) {
    const byte = bytes[position];
    value = value * base + (byte <= 0x39 ? byte - 0x30 : (byte | ANY_CASE) - 0x57);
  }
  return value;
}

/** The minor version or an error; one above 1 is read as 1 (RFC 9110, 2.5). */
function classifyVersion(bytes: Uint8Array, start: number, end: number): number {
  const major = start + 5;
  if (end - major !== 3 || fourBytes(bytes, start) !== HTTP_NAME) return BAD_REQUEST;
  const digits = BYTE_CLASSES[bytes[major]] & BYTE_CLASSES[bytes[major + 2]] & DIGIT;
  if (bytes[major - 1] !== SLASH || digits === 0 || bytes[major + 1] !== DOT) return BAD_REQUEST;
  if (bytes[major] !== 0x31) return VERSION_NOT_SUPPORTED;
  return bytes[major + 2] === 0x30 ? 0 : 1;
}

/** 1 for the path `/`, 0 for another, or an error if it is no target (RFC 9112, 3.2). */
function classifyTarget(bytes: Uint8Array, line: number, methodEnd: number, end: number): number {
  let path = methodEnd + 1;
  if (equals(bytes, line, methodEnd, CONNECT)) {
    return skipClass(bytes, path, end, HOST) === end ? 0 : BAD_REQUEST;
  }
  if (equals(bytes, line, methodEnd, OPTIONS) && equals(bytes, path, end, ASTERISK)) return 0;
  if (bytes[path] !== SLASH) {
    const scheme = equals(bytes, path, path + HTTP.length, HTTP, ANY_CASE) ? HTTP : HTTPS;
    const host = path + scheme.length;
    if (!equals(bytes, path, host, scheme, ANY_CASE)) return BAD_REQUEST;
    path = skipClass(bytes, host, end, HOST);
    if (path === host || bytes[host] === COLON) return BAD_REQUEST;
    if (path < end && bytes[path] !== SLASH && bytes[path] !== QUESTION) return BAD_REQUEST;
  }
  if (bytes[path] === SLASH) path++;
  return path === end || bytes[path] === QUESTION ? 1 : 0;
}

function classifyElement(b: Uint8Array, start: number, end: number, field: Uint8Array): number {
  if (field === TRANSFER_ENCODING) {
    return equals(b, start, end, CHUNKED_WORD, ANY_CASE) ? CHUNKED : UNKNOWN_CODING;
  }
  if (field !== CONNECTION) {
    return equals(b, start, end, CONTINUE_WORD, ANY_CASE) ? EXPECT_CONTINUE : 0;
  }
  if (equals(b, start, end, CLOSE_WORD, ANY_CASE)) return CLOSE;
  return equals(b, start, end, KEEP_ALIVE_WORD, ANY_CASE) ? KEEP_ALIVE : 0;
}
