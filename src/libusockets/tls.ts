/**
 * The TLS options of C, as the library's own.
 * @module
 */
import type { TlsOptions } from "../../mod.ts";
import type { us_loop_t, us_socket_context_options_t, us_socket_context_t } from "./types.ts";

/** @internal */
export function tlsOptions(options: us_socket_context_options_t): TlsOptions {
  const {
    key_file_name,
    cert_file_name,
    dh_params_file_name,
    ca_file_name,
    ssl_ciphers,
    ssl_prefer_low_memory_usage,
    ...rest
  } = options;
  return withoutAbsent({
    keyFile: key_file_name,
    certFile: cert_file_name,
    dhParamsFile: dh_params_file_name,
    caFile: ca_file_name,
    requestCert: ca_file_name ? true : undefined,
    ciphers: ssl_ciphers,
    preferLowMemory: ssl_prefer_low_memory_usage ? true : undefined,
    // What is not there must not undo what a name of C says.
    ...withoutAbsent(rest),
  });
}

/** C's null, and what is not there. */
function withoutAbsent(options: { [name in keyof TlsOptions]: TlsOptions[name] | null }) {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined && value !== null),
  ) as TlsOptions;
}

/**
 * TLS, shared by a context and its children, whose servers would have to demand certificates, on a
 * backend that cannot.
 */
const clientsOnly = new WeakSet<object>();

/**
 * Makes a context with TLS. C does not know yet whether it will listen or connect: where a server
 * cannot demand certificates, a client can still verify with the same options.
 *
 * @internal
 */
export function createSecureContext(
  loop: us_loop_t,
  ext: unknown,
  options: us_socket_context_options_t,
): us_socket_context_t {
  const tls = tlsOptions(options);
  try {
    return loop.createContext({ tls, ext }) as us_socket_context_t;
  } catch (error) {
    const isImplied = tls.requestCert === true && options.requestCert === undefined;
    if (!isImplied || !(error instanceof Deno.errors.NotSupported)) throw error;
    const context = loop.createContext({ tls: { ...tls, requestCert: false }, ext });
    clientsOnly.add(context.secureContext as object);
    return context as us_socket_context_t;
  }
}

/** Throws where a server would let in clients that it was to verify. @internal */
export function checkCanListen(context: us_socket_context_t): void {
  if (context.secureContext === null || !clientsOnly.has(context.secureContext as object)) return;
  throw new Deno.errors.NotSupported(
    'Cannot listen with "ca_file_name": the deno backend cannot ask for client certificates ' +
      "(the epoll backend does)",
  );
}
