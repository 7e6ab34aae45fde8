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

/** What comes next: a line, or in the states from SKIP_BODY on, content. */
const [READ_REQUEST_LINE, READ_FIELD, READ_TRAILER] = [0, 1, 2];
const [READ_CHUNK_SIZE, READ_CHUNK_END, SKIP_BODY, SKIP_CHUNK] = [3, 4, 5, 6];

/** Bits for what the head has said so far. */
const [HAS_HOST, HAS_CONTENT_LENGTH, HAS_TRANSFER_ENCODING, CHUNKED] = [1, 2, 4, 8];
const [UNKNOWN_CODING, CLOSE, KEEP_ALIVE, EXPECT_CONTINUE] = [16, 32, 64, 128];

/** What reads a line returns the offset after it, or INCOMPLETE, or an error: minus the status. */
const INCOMPLETE = -1;
const BAD_REQUEST = -400;
const CONTENT_TOO_LARGE = -413;
const HEAD_TOO_LARGE = -431;
const NOT_IMPLEMENTED = -501;
const VERSION_NOT_SUPPORTED = -505;

/** Bits for the classes of bytes: those of a token, a request target, a host with its port ... */
const [TOKEN, TARGET, HOST, VALUE, BLANK, DIGIT, HEXADECIMAL] = [1, 2, 4, 8, 16, 32, 64];
const BYTE_CLASSES = classifyBytes();

const [LF, CR, SPACE, COMMA, DOT, SLASH, COLON, SEMICOLON, QUESTION] = bytesOf("\n\r ,./:;?");
const [GET, HEAD, CONNECT, OPTIONS] = ["GET", "HEAD", "CONNECT", "OPTIONS"].map(bytesOf);
const [ASTERISK, VERSION_PREFIX] = ["*", "HTTP/"].map(bytesOf);

/** Words read in any case: the bit that makes a letter lower case is set before comparing. */
const ANY_CASE = 0x20;
const [HTTP, HTTPS] = ["http://", "https://"].map(bytesOf);
const [CLOSE_WORD, KEEP_ALIVE_WORD] = ["close", "keep-alive"].map(bytesOf);
const [CHUNKED_WORD, CONTINUE_WORD] = ["chunked", "100-continue"].map(bytesOf);
const FIELDS = ["host", "content-length", "connection", "transfer-encoding", "expect"].map(bytesOf);
const [HOST_FIELD, CONTENT_LENGTH, CONNECTION, TRANSFER_ENCODING] = FIELDS;

/** The names of the fields that matter, each at its length: no two have the same. */
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
  #state = READ_REQUEST_LINE;
  #flags = 0;
  /** Bytes of the finished lines of the head or trailer section being read. */
  #sectionBytes = 0;
  /** Bytes of the body or chunk still to be skipped: none between requests. */
  #remaining = 0;
  /** Bytes of a chunked body announced so far, its chunk size lines included. */
  #chunkedBytes = 0;
  /** The beginning of a line whose end has not been received. */
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
        : this.#readLine(data, position, end);
      if (next === INCOMPLETE) this.#pending = data.slice(position, end);
      position = next < 0 ? end : next;
    }
    this.offset = position;
    return this.#event;
  }

  // The line is read from its start each time, so that a bad byte is answered when it arrives. It
  // is limited: 16 KB are read in 20 µs, no more than a few system calls take.
  #parseJoined(pending: Uint8Array, data: Uint8Array, offset: number, end: number): number {
    const joined = new Uint8Array(pending.length + end - offset);
    joined.set(pending);
    joined.set(data.subarray(offset, end), pending.length);
    this.#pending = null;
    this.parse(joined);
    this.offset += offset - pending.length;
    return this.#event;
  }

  /** Reads one line and holds it to its limit; an error becomes the event. */
  #readLine(bytes: Uint8Array, start: number, end: number): number {
    const limit = start + this.#limits.maxHeadBytes - this.#sectionBytes;
    let next = this.#readLineByState(bytes, start, Math.min(end, limit));
    if (next === INCOMPLETE && end >= limit) next = HEAD_TOO_LARGE;
    if (next < INCOMPLETE) this.#event = -next;
    return next;
  }

  #readLineByState(bytes: Uint8Array, start: number, end: number): number {
    if (this.#state === READ_REQUEST_LINE) return this.#readRequestLine(bytes, start, end);
    if (this.#state <= READ_TRAILER) return this.#readField(bytes, start, end);
    if (this.#state === READ_CHUNK_SIZE) return this.#readChunkSize(bytes, start, end);
    const next = readLineEnd(bytes, start, end);
    if (next > 0) this.#state = READ_CHUNK_SIZE;
    return next;
  }

  #readRequestLine(bytes: Uint8Array, start: number, end: number): number {
    if (bytes[start] === CR) {
      // An empty line before a request is let pass (RFC 9112, 2.2), as part of its head.
      const next = readLineEnd(bytes, start, end);
      if (next > 0) this.#sectionBytes += next - start;
      return next;
    }
    const methodEnd = skipClass(bytes, start, end, TOKEN);
    if (methodEnd === end) return INCOMPLETE;
    if (methodEnd === start || bytes[methodEnd] !== SPACE) return BAD_REQUEST;
    const targetEnd = skipClass(bytes, methodEnd + 1, end, TARGET);
    if (targetEnd === end) return INCOMPLETE;
    if (targetEnd === methodEnd + 1 || bytes[targetEnd] !== SPACE) return BAD_REQUEST;
    const versionEnd = skipClass(bytes, targetEnd + 1, end, TARGET);
    const next = readLineEnd(bytes, versionEnd, end);
    if (next < 0) return next;
    const version = classifyVersion(bytes, targetEnd + 1, versionEnd);
    if (version < 0) return version;
    const target = classifyTarget(bytes, start, methodEnd, targetEnd);
    if (target < 0) return target;
    this.method = "OTHER";
    if (equals(bytes, start, methodEnd, GET)) this.method = "GET";
    if (equals(bytes, start, methodEnd, HEAD)) this.method = "HEAD";
    this.isRoot = target === 1;
    this.minorVersion = version;
    this.#flags = 0;
    this.#sectionBytes += next - start;
    this.#state = READ_FIELD;
    return next;
  }

  /** Reads a field line of the head or the trailer section, or the empty line that ends it. */
  #readField(bytes: Uint8Array, start: number, end: number): number {
    if (bytes[start] === CR) {
      const next = readLineEnd(bytes, start, end);
      return next < 0 ? next : this.#endSection(next);
    }
    // A token has no space in it: neither a folded line nor space before the colon gets by.
    const nameEnd = skipClass(bytes, start, end, TOKEN);
    if (nameEnd === end) return INCOMPLETE;
    if (nameEnd === start || bytes[nameEnd] !== COLON) return BAD_REQUEST;
    const valueEnd = skipClass(bytes, nameEnd + 1, end, VALUE);
    const next = readLineEnd(bytes, valueEnd, end);
    if (next < 0) return next;
    const error = this.#state === READ_FIELD ? this.#takeField(bytes, start, nameEnd, valueEnd) : 0;
    if (error < 0) return error;
    this.#sectionBytes += next - start;
    return next;
  }

  /** Takes note of a field that framing or answer depend on; returns 0 or an error. */
  #takeField(bytes: Uint8Array, name: number, nameEnd: number, lineEnd: number): number {
    const field = FIELDS_BY_LENGTH[(nameEnd - name) % FIELDS_BY_LENGTH.length];
    if (!equals(bytes, name, nameEnd, field, ANY_CASE)) return 0;
    const start = skipClass(bytes, nameEnd + 1, lineEnd, BLANK);
    const end = trimBlanks(bytes, start, lineEnd);
    if (field === CONTENT_LENGTH) return this.#takeContentLength(bytes, start, end);
    if (field !== HOST_FIELD) return this.#takeList(bytes, start, end, field);
    if ((this.#flags & HAS_HOST) !== 0) return BAD_REQUEST;
    this.#flags |= HAS_HOST;
    return skipClass(bytes, start, end, HOST) === end ? 0 : BAD_REQUEST;
  }

  #takeContentLength(bytes: Uint8Array, start: number, end: number): number {
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
    this.#sectionBytes = 0;
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
    this.#state = READ_REQUEST_LINE;
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

function readLineEnd(bytes: Uint8Array, position: number, end: number): number {
  if (position === end) return INCOMPLETE;
  if (bytes[position] !== CR) return BAD_REQUEST;
  if (position + 1 === end) return INCOMPLETE;
  return bytes[position + 1] === LF ? position + 2 : BAD_REQUEST;
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
  const major = start + VERSION_PREFIX.length;
  if (!equals(bytes, start, major, VERSION_PREFIX) || end - major !== 3) return BAD_REQUEST;
  const digits = BYTE_CLASSES[bytes[major]] & BYTE_CLASSES[bytes[major + 2]] & DIGIT;
  if (digits === 0 || bytes[major + 1] !== DOT) return BAD_REQUEST;
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
