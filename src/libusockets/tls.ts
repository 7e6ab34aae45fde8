/**
 * The TLS options of C, as the library's own.
 * @module
 */
import type { TlsOptions } from "../../mod.ts";
import type { us_socket_context_options_t } from "./types.ts";

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
