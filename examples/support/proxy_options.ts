/**
 * What the proxy is told: its flags, and its configuration file.
 * @module
 */
import { dirname, resolve } from "node:path";
import type { TlsOptions } from "@usockets/usockets";
import { UsageError } from "./errors.ts";
import { type Flags, type FlagValues, parseNumber } from "./flags.ts";

/** The flags of the proxy, beside those of every server. */
export const PROXY_FLAGS = {
  upstream: {
    value: "ADDRESS",
    multiple: true,
    about: "where to: HOST:PORT, tls://HOST:PORT or unix:PATH; several take turns",
  },
  route: {
    value: "NAME=ADDRESS",
    multiple: true,
    about: "where to for clients that ask for a server name, such as *.example.com",
  },
  config: {
    value: "FILE",
    about: "JSON: upstreams, and routes with certificates of their own",
  },
  "send-proxy": { value: "VERSION", about: "tell upstreams the client by a PROXY header: v1, v2" },
  "accept-proxy": { about: "expect a PROXY header, v1 or v2; only behind a proxy you trust" },
  "upstream-ca": { value: "FILE", about: "whom to trust as tls:// upstream, PEM" },
  "upstream-name": { value: "NAME", about: "the name tls:// upstreams must prove, if not HOST" },
  "upstream-insecure": { about: "do not verify tls:// upstreams" },
  "connect-timeout": { value: "SECONDS", about: "for each upstream", default: "5" },
  "idle-timeout": {
    value: "SECONDS",
    about: "when both sides are silent; 0: never",
    default: "60",
  },
  "max-connections": {
    value: "N",
    about: "of each worker; more wait in the queue; 0: no limit",
    default: "0",
  },
  quiet: { about: "do not log failed connections, only count them" },
} as const satisfies Flags;

/** What the flags come to: plain data, which can be sent to Workers. */
export interface ProxyOptions {
  readonly upstreams: readonly string[];
  readonly routes: readonly (readonly [name: string, upstream: string])[];
  readonly config: string | undefined;
  readonly sendProxy: 1 | 2 | undefined;
  readonly acceptProxy: boolean;
  readonly upstreamTls: TlsOptions;
  readonly connectSeconds: number;
  readonly idleSeconds: number;
  readonly maxConnections: number | undefined;
  readonly isQuiet: boolean;
}

const SECONDS_MAX = 86_400;

/** Reads {@linkcode PROXY_FLAGS}. */
export function parseProxyFlags(values: FlagValues<typeof PROXY_FLAGS>): ProxyOptions {
  const number = (name: "connect-timeout" | "idle-timeout" | "max-connections", lowest = 0) =>
    parseNumber(`--${name}`, values[name], lowest, name === "max-connections" ? 1e9 : SECONDS_MAX);
  const sendProxy = values["send-proxy"];
  if (sendProxy !== undefined && sendProxy !== "v1" && sendProxy !== "v2") {
    throw new UsageError(`--send-proxy must be v1 or v2, not ${sendProxy}`);
  }
  const ca = values["upstream-ca"], isInsecure = values["upstream-insecure"];
  if (ca !== undefined && isInsecure) {
    throw new UsageError("--upstream-ca and --upstream-insecure exclude each other");
  }
  const options: ProxyOptions = {
    upstreams: values.upstream,
    routes: values.route.map(parseRoute),
    config: values.config,
    sendProxy: sendProxy && (sendProxy === "v1" ? 1 : 2),
    acceptProxy: values["accept-proxy"],
    upstreamTls: {
      caFile: ca,
      serverName: values["upstream-name"],
      ...(isInsecure ? { rejectUnauthorized: false } : {}),
    },
    connectSeconds: number("connect-timeout", 1),
    idleSeconds: number("idle-timeout"),
    maxConnections: number("max-connections") || undefined,
    isQuiet: values.quiet,
  };
  for (const upstream of options.upstreams) parseAddress(upstream);
  if (options.config !== undefined) readRoutes(options); // its mistakes are told before anything starts
  else if (options.upstreams.length === 0 && options.routes.length === 0) {
    throw new UsageError("give --upstream ADDRESS, --route NAME=ADDRESS or --config FILE");
  }
  return options;
}

function parseRoute(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at < 1) throw new UsageError(`--route must be NAME=ADDRESS, not ${text}`);
  const upstream = text.slice(at + 1);
  parseAddress(upstream);
  return [text.slice(0, at), upstream];
}

/** Where an upstream is. */
export interface UpstreamAddress {
  /** As the user wrote it. */
  readonly text: string;
  readonly isTls: boolean;
  /** For `connect()`. */
  readonly target: { readonly host: string; readonly port: number } | { readonly path: string };
}

/** Reads the address of an upstream. */
export function parseAddress(text: string): UpstreamAddress {
  const path = unixPath(text);
  if (path !== null) return { text, isTls: false, target: { path } };
  const match = /^(tls:\/\/)?(?:\[([^[\]]+)\]|([^[\]:/]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[4]);
  if (match === null || port < 1 || port > 65535 || text.includes("\0")) {
    throw new UsageError(`an upstream is HOST:PORT, tls://HOST:PORT or unix:PATH, not ${text}`);
  }
  return { text, isTls: match[1] !== undefined, target: { host: match[2] ?? match[3], port } };
}

/** The path of a unix address, null for another: what is no path could never be connected to. */
function unixPath(text: string): string | null {
  if (!/^unix:(?!@?$)/.test(text) || text.includes("\0")) return null;
  const path = text.slice(5), isAbstract = path.startsWith("@");
  // An abstract name needs no NUL behind it.
  if (new TextEncoder().encode(path).length > (isAbstract ? 108 : 107)) return null;
  return isAbstract ? `\0${path.slice(1)}` : path;
}

/** Upstreams for one server name, and perhaps a certificate of its own. */
export interface RouteConfig {
  readonly upstreams: UpstreamAddress[];
  tls?: TlsOptions;
}

/** Where connections go. */
export interface Routes {
  /** For clients that ask for no name, or for none of these. */
  readonly fallback: UpstreamAddress[];
  readonly names: Map<string, RouteConfig>;
}

/** Reads the configuration file, if there is one, and adds what the flags say. */
export function readRoutes(options: ProxyOptions): Routes {
  const routes: Routes = options.config === undefined
    ? { fallback: [], names: new Map() }
    : parseConfig(options.config, Deno.readTextFileSync(options.config));
  routes.fallback.push(...options.upstreams.map(parseAddress));
  for (const [given, upstream] of options.routes) {
    const name = given.toLowerCase(); // as the names of hosts are
    const route = routes.names.get(name) ?? { upstreams: [] };
    route.upstreams.push(parseAddress(upstream));
    routes.names.set(name, route);
  }
  for (const [name, { upstreams }] of routes.names) {
    if (upstreams.length === 0) throw new UsageError(`the route "${name}" has no upstream`);
  }
  return routes;
}

function parseConfig(file: string, text: string): Routes {
  const fail = (why: string): never => {
    throw new UsageError(`${file}: ${why}`);
  };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return fail((error as Error).message);
  }
  const object = (what: string, value: unknown, ...names: string[]): Record<string, unknown> => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      return fail(`${what} must be an object`);
    }
    const unknown = names.length === 0
      ? undefined
      : Object.keys(value).find((name) => !names.includes(name));
    if (unknown !== undefined) return fail(`${what} has an unknown key, "${unknown}"`);
    return { ...value };
  };
  const addresses = (what: string, value: unknown): UpstreamAddress[] => {
    const list = Array.isArray(value) ? value : [value];
    return list.map((item) => {
      if (typeof item !== "string") return fail(`${what} must be an address, or a list of them`);
      try {
        return parseAddress(item);
      } catch (error) {
        return fail(`${what}: ${(error as Error).message}`);
      }
    });
  };
  const { upstreams = [], routes = {} } = object("it", json, "upstreams", "routes");
  const names = new Map<string, RouteConfig>();
  for (const [name, value] of Object.entries(object('"routes"', routes))) {
    const what = `the route "${name}"`;
    const route = object(what, value, "upstreams", "cert", "key", "passphrase");
    if (route.upstreams === undefined) fail(`${what} has no "upstreams"`);
    const { cert, key, passphrase } = route;
    for (const item of [cert, key, passphrase]) {
      if (item !== undefined && typeof item !== "string") {
        fail(`${what}: "cert", "key" and "passphrase" must be text`);
      }
    }
    if ((cert === undefined) !== (key === undefined)) fail(`${what} needs both "cert" and "key"`);
    const path = (item: unknown) => resolve(dirname(file), item as string);
    if (names.has(name.toLowerCase())) fail(`${what} is there twice`);
    names.set(name.toLowerCase(), {
      upstreams: addresses(`${what}: "upstreams"`, route.upstreams),
      tls: cert === undefined ? undefined : {
        certFile: path(cert),
        keyFile: path(key),
        passphrase: passphrase as string | undefined,
      },
    });
  }
  const fallback = addresses('"upstreams"', upstreams);
  if (fallback.length === 0 && names.size === 0) fail('it has neither "upstreams" nor "routes"');
  return { fallback, names };
}
