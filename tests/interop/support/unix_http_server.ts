/** The HTTP server example on a unix socket, whose path is given as `--host`. */
import { httpContext } from "../../../examples/http_server.ts";
import { runServer, serverProgram } from "../../../examples/support/server.ts";

/** What runServer and its Workers run. */
export const program = serverProgram({
  about: "The HTTP server on a unix socket",
  scheme: "http",
  listen(loop, { host, tls }) {
    const { context, drain } = httpContext(loop, tls);
    return { listener: context.listen({ path: host }), drain };
  },
});

if (import.meta.main) await runServer(import.meta.url, program);
