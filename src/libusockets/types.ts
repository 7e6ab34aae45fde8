/**
 * The structures and options of the header, as types, and its constants.
 * @module
 */
// deno-lint-ignore-file camelcase -- the header's names
import type {
  CoreLoop,
  ListenSocket,
  Socket,
  SocketContext,
  Timer,
  TlsOptions,
} from "../../mod.ts";

/** `struct us_loop_t`: a {@linkcode CoreLoop}, with all that it can do. */
export type us_loop_t = CoreLoop;
/** `struct us_socket_context_t`: a {@linkcode SocketContext}. */
export type us_socket_context_t = SocketContext;
/** `struct us_socket_t`: a {@linkcode Socket}. */
export type us_socket_t = Socket;
/** `struct us_listen_socket_t`: a {@linkcode ListenSocket}. */
export type us_listen_socket_t = ListenSocket;
/** `struct us_timer_t`: a {@linkcode Timer}. */
export type us_timer_t = Timer;

/**
 * `struct us_socket_context_options_t`: the names of C, and beside them those of
 * {@linkcode TlsOptions}, such as `cert` for PEM in memory or `alpnProtocols`.
 */
export interface us_socket_context_options_t extends Omit<TlsOptions, "passphrase"> {
  /** Path of the private key, PEM. */
  key_file_name?: string | null;
  /** Path of the certificate chain, PEM. */
  cert_file_name?: string | null;
  /** Decrypts the private key. */
  passphrase?: string | null;
  /** Path of Diffie-Hellman parameters, PEM. */
  dh_params_file_name?: string | null;
  /**
   * Path of the certificates to trust, PEM. With it a server demands a certificate of each client (in
   * C a client may go without), unless `requestCert: false` says otherwise.
   */
  ca_file_name?: string | null;
  /** OpenSSL cipher list for TLS 1.2 and below. */
  ssl_ciphers?: string | null;
  /** Not 0: free the buffers of idle connections. */
  ssl_prefer_low_memory_usage?: number | boolean;
}

/** What a loop calls; null for nothing. */
export type us_loop_callback = ((loop: us_loop_t) => void) | null;

/** What a handler returns: C wants the socket, which may be another one after an adoption. */
// deno-lint-ignore no-explicit-any -- whatever it is goes unused
export type us_returned = any;

/**
 * How user data is made: its size in bytes, for a zeroed `Uint8Array`, 0 for none; or a function that
 * gives any value, called for each structure.
 */
export type us_ext_size = number | (() => unknown);

/** Share the port with nobody who does not ask for it. In C this means `LIBUS_LISTEN_REUSE_PORT`. */
export const LIBUS_LISTEN_DEFAULT = 0;
/** Share the port with nobody, whatever others ask for. */
export const LIBUS_LISTEN_EXCLUSIVE_PORT = 1;
/** Share the port with others that ask for it too; in C the default. */
export const LIBUS_LISTEN_REUSE_PORT = 4;

/** A poll is ready to be read: `READABLE`. */
export const LIBUS_SOCKET_READABLE = 1;
/** A poll is ready to be written: `WRITABLE`. */
export const LIBUS_SOCKET_WRITABLE = 2;
/** What stands for no descriptor. */
export const LIBUS_SOCKET_ERROR: -1 = -1;

/** How late a timeout may be, in seconds. */
export const LIBUS_TIMEOUT_GRANULARITY = 4;
/** Size of a loop's receive buffer, in bytes; the `recvBufferBytes` of a loop changes it. */
export const LIBUS_RECV_BUFFER_LENGTH = 524_288;
/** Bytes around the receive buffer that a C program may write to: here none. */
export const LIBUS_RECV_BUFFER_PADDING = 0;
/** Alignment of user data, in bytes. */
export const LIBUS_EXT_ALIGNMENT = 16;

/** The kind of poll that a program makes; the others belong to sockets. */
export const POLL_TYPE_CALLBACK = 3;
