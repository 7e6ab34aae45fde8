/**
 * The state of a socket as bits of one small integer: compact, and one test answers several
 * questions.
 * @module
 */

/** Not open yet: every socket starts so, those of `connect()` stay so for a while. */
export const CONNECTING = 1 << 0;
/** Made by `connect()`. */
export const CLIENT = 1 << 1;
/** `onOpen` was called, so `onClose` is owed. */
export const OPENED = 1 << 2;
/** Closed; no event comes any more. */
export const CLOSED = 1 << 3;
/** Our direction has ended: `shutdown()` or `end()`. */
export const SHUT_DOWN = 1 << 4;
/** The peer's direction has ended, and `onEnd` was called. */
export const PEER_ENDED = 1 << 5;
/** `pause()`: neither `onData` nor `onEnd`. */
export const PAUSED = 1 << 6;
/** A write was short: one `onWritable` is owed. */
export const WANTS_WRITABLE = 1 << 7;
/** What is received is dropped: `shutdownRead()` or `end()`. */
export const DISCARDS = 1 << 8;
/** `end()`: waits for the peer's FIN, or the linger time. */
export const ENDING = 1 << 9;
/** A fatal error is latched; what was received before it is still delivered. */
export const FAILED = 1 << 10;
/** TLS is being agreed on. */
export const HANDSHAKING = 1 << 11;

/** Any of these: a write accepts nothing. */
export const CANNOT_WRITE = CONNECTING | CLOSED | SHUT_DOWN | FAILED;

/** How long a socket whose writes fail may receive nothing before it closes, in milliseconds. */
export const FAILED_MS = 1000;
