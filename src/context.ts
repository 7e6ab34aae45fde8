/**
 * Socket contexts: the behaviour that a group of sockets shares.
 * @module
 */
import { CloseCode } from "./errors.ts";
import type { Handlers } from "./handlers.ts";
import type { ListenSocket } from "./listen_socket.ts";
import type { Loop } from "./loop.ts";
import {
  checkConnectOptions,
  checkFunction,
  checkListenOptions,
  checkNames,
  type ConnectOptions,
  type ListenOptions,
} from "./options.ts";
import { checkServerName, checkTlsOptions, type TlsInfo, type TlsOptions } from "./tls_options.ts";
import { Socket } from "./socket.ts";
import { CLOSED } from "./socket_state.ts";

/** What a context is made of: its handlers, its user data, and TLS. */
export interface SocketContextOptions<S, C> extends Handlers<S, C> {
  /** Makes the user data of each new socket: `socket.ext`. */
  socketExt?: (() => S) | undefined;
  /** User data of the context: `context.ext`. */
  ext?: C;
  /** Speak TLS, with these options. */
  tls?: TlsOptions;
}

const HANDLERS = [
  "onPreOpen",
  "onOpen",
  "onData",
  "onWritable",
  "onEnd",
  "onClose",
  "onTimeout",
  "onLongTimeout",
  "onConnectError",
  "onHandshake",
  "onServerName",
] as const satisfies (keyof Handlers)[];
const NAMES = [...HANDLERS, "socketExt", "ext", "tls"];

/**
 * Holds the handlers that a group of sockets shares, and the group: an HTTP server has one context,
 * its WebSockets another. Comes from `Loop.createContext()`. Handlers are plain properties that may
 * be assigned at any time.
 *
 * Stands for `us_socket_context_t`.
 *
 * @example
 * ```ts
 * import { Loop } from "@usockets/usockets";
 *
 * const loop = new Loop();
 * const echo = loop.createContext({
 *   socketExt: () => ({ bytes: 0 }),
 *   onData(socket, data) {
 *     socket.ext.bytes += data.length; // typed
 *     socket.write(data);
 *   },
 * });
 * echo.onTimeout = (socket) => socket.end();
 * echo.listen({ host: "127.0.0.1", port: 0 }).close();
 * await loop.run();
 * ```
 */
export class SocketContext<S = unknown, C = unknown> implements Handlers<S, C> {
  /** The loop this context belongs to. */
  readonly loop: Loop;
  /** User data. */
  ext: C;
  /** Makes the user data of each new socket. */
  socketExt: (() => S) | undefined;
  /** What the backend made of the TLS options; null for plain sockets. @internal */
  readonly secureContext: unknown;
  /** @internal */
  readonly handshakeTimeoutMs: number;
  /** First of the linked sockets. @internal */
  head: Socket | null = null;
  /** Open listeners. @internal */
  readonly listeners: Set<ListenSocket> = new Set();
  /** How often all its sockets were closed: a connection on its way in must not open behind that. @internal */
  closings = 0;
  #isFreed = false;

  /** See {@linkcode Handlers.onPreOpen}. */
  onPreOpen?(handle: unknown, ip: string): boolean;
  /** See {@linkcode Handlers.onOpen}. */
  onOpen?(socket: Socket<S, C>, isClient: boolean, ip: string): void;
  /** See {@linkcode Handlers.onData}. */
  onData?(socket: Socket<S, C>, data: Uint8Array): void;
  /** See {@linkcode Handlers.onWritable}. */
  onWritable?(socket: Socket<S, C>): void;
  /** See {@linkcode Handlers.onEnd}. */
  onEnd?(socket: Socket<S, C>): void;
  /** See {@linkcode Handlers.onClose}. */
  onClose?(socket: Socket<S, C>, code: number, reason: unknown): void;
  /** See {@linkcode Handlers.onTimeout}. */
  onTimeout?(socket: Socket<S, C>): void;
  /** See {@linkcode Handlers.onLongTimeout}. */
  onLongTimeout?(socket: Socket<S, C>): void;
  /** See {@linkcode Handlers.onConnectError}. */
  onConnectError?(socket: Socket<S, C>, error: Error): void;
  /** See {@linkcode Handlers.onHandshake}. */
  onHandshake?(socket: Socket<S, C>, info: TlsInfo): void;
  /** See {@linkcode Handlers.onServerName}. */
  onServerName?(context: SocketContext<S, C>, hostname: string): void;

  /** Programs call `Loop.createContext()` or {@linkcode createChild}. @internal */
  constructor(loop: Loop, options: SocketContextOptions<S, C>, parent?: SocketContext) {
    // An object with state of its own beside its handlers may be given.
    checkNames("create a context", options, NAMES, "on");
    for (const name of HANDLERS) checkFunction("create a context", name, options[name]);
    checkFunction("create a context", "socketExt", options.socketExt);
    if (options.tls !== undefined) checkTlsOptions(options.tls);
    this.loop = loop;
    this.ext = options.ext as C;
    this.socketExt = options.socketExt;
    if (parent !== undefined) {
      this.secureContext = parent.secureContext;
      this.handshakeTimeoutMs = parent.handshakeTimeoutMs;
    } else {
      this.secureContext = options.tls === undefined
        ? null
        : loop.backend.createSecureContext(options.tls);
      this.handshakeTimeoutMs = (options.tls?.handshakeTimeoutSeconds ?? 10) * 1000;
    }
    this.onPreOpen = options.onPreOpen;
    this.onOpen = options.onOpen;
    this.onData = options.onData;
    this.onWritable = options.onWritable;
    this.onEnd = options.onEnd;
    this.onClose = options.onClose;
    this.onTimeout = options.onTimeout;
    this.onLongTimeout = options.onLongTimeout;
    this.onConnectError = options.onConnectError;
    this.onHandshake = options.onHandshake;
    this.onServerName = options.onServerName;
    loop.contexts.add(this);
  }

  /**
   * Listens for connections. They are accepted once the loop runs: without `run()` or `integrate()`
   * the process simply ends. As `us_socket_context_listen`
   * and `us_socket_context_listen_unix`.
   *
   * @throws {TypeError|RangeError} For options that make no sense.
   * @throws {Deno.errors.AddrInUse} When something listens there already.
   * @throws {Deno.errors.AddrNotAvailable} When the address is none of this machine's.
   * @throws {Deno.errors.NotFound} When the host's name does not resolve, or a path's directory is not there.
   * @throws {Deno.errors.NotCapable} Without the permission.
   * @throws {Deno.errors.NotSupported} For an option that the backend cannot honour.
   * @throws {Deno.errors.BadResource} When the context is freed or `loop.isShuttingDown`.
   */
  listen(options: ListenOptions<S>): ListenSocket {
    this.#checkAccepting("listen");
    checkListenOptions(options);
    return this.loop.backend.listen(this, options);
  }

  /**
   * Connects. Returns at once with a connecting socket that lands in `onOpen` or `onConnectError`,
   * never both, once the loop runs. `close()` cancels it. Names are looked up without blocking, and
   * all their addresses are tried (RFC 8305). As `us_socket_context_connect` and
   * `us_socket_context_connect_unix`.
   *
   * @throws {TypeError|RangeError} For options that make no sense.
   * @throws {Deno.errors.NotSupported} For an option that the backend cannot honour.
   * @throws {Deno.errors.BadResource} When the context is freed or `loop.isShuttingDown`.
   */
  connect(options: ConnectOptions<S>): Socket<S, C> {
    checkConnectOptions(options);
    if (options.serverName !== undefined) {
      checkServerName("connect", "serverName", options.serverName);
    }
    const ext = this.#makeExt(options.ext);
    this.#checkAccepting("connect"); // behind socketExt(), which may have freed the context
    return this.loop.backend.connect(this, options, ext);
  }

  /**
   * Moves a live socket of the same loop into this context: the same object with other handlers,
   * its timeouts cleared. Safe inside any handler. A closed socket is returned as it is. As
   * `us_socket_context_adopt_socket`.
   *
   * @param ext The new user data. Absent: what this context's `socketExt()` gives.
   * @throws {TypeError} When the socket belongs to another loop.
   */
  adopt(socket: Socket, ext?: NoInfer<S>): Socket<S, C> {
    if (!(socket instanceof Socket)) {
      throw new TypeError(`Cannot adopt: that is no socket of this library`);
    }
    if (socket.context.loop !== this.loop) {
      throw new TypeError("Cannot adopt: the socket belongs to another loop");
    }
    const adopted = socket as Socket<S, C>;
    if ((socket.flags & CLOSED) !== 0) return adopted;
    const newExt = this.#makeExt(ext);
    this.#check("adopt");
    if ((socket.flags & CLOSED) !== 0) return adopted; // socketExt() closed it
    adopted.ext = newExt;
    socket.clearTimeouts(); // the library's stays: connecting, the handshake and end() are bounded
    socket.context.unlink(socket);
    (adopted as { context: SocketContext<S, C> }).context = this;
    this.link(adopted);
    return adopted;
  }

  /**
   * Makes a socket of a connection that something else accepted or connected: a `Deno.Conn` on the
   * Deno backend, a descriptor on epoll. The library owns the handle from here; `onOpen` follows
   * once the loop runs. As `us_adopt_accepted_socket`.
   *
   * @param ext The user data. Absent: what `socketExt()` gives when the socket opens.
   * @throws {TypeError} For what is no such handle.
   */
  adoptHandle(handle: unknown, ext?: NoInfer<S>): Socket<S, C> {
    this.#checkAccepting("adopt a handle");
    const socket = this.loop.backend.adoptHandle(this, handle);
    if (ext !== undefined) socket.ext = ext;
    return socket;
  }

  /**
   * Makes a context of its own handlers that shares this one's TLS. As
   * `us_create_child_socket_context`.
   */
  createChild<T, D = undefined>(
    options: Handlers<T, D> & { socketExt: () => T; ext?: D },
  ): SocketContext<T, D>;
  /** Makes a context of its own handlers that shares this one's TLS. */
  createChild<D = undefined>(
    options?: Handlers<undefined, D> & { socketExt?: undefined; ext?: D },
  ): SocketContext<undefined, D>;
  createChild<T, D>(options: SocketContextOptions<T, D> = {}): SocketContext<T, D> {
    this.#check("create a child context");
    if (options.tls !== undefined) {
      throw new TypeError(
        'Cannot create a child context: it shares its parent\'s TLS, so "tls" has no place',
      );
    }
    return new SocketContext<T, D>(this.loop, options, this as SocketContext);
  }

  /**
   * Closes all listeners and, with code 0, all sockets of this context. As
   * `us_socket_context_close`.
   */
  close(): void {
    this.closeAll(CloseCode.Clean, undefined);
  }

  /**
   * Closes what is open, with `CloseCode.Freed`, and takes the context off its loop for good.
   * Children stay. As `us_socket_context_free`.
   */
  free(): void {
    if (this.#isFreed) return;
    this.#isFreed = true;
    this.closeAll(CloseCode.Freed, new Deno.errors.Interrupted("Closed: the context was freed"));
    this.loop.contexts.delete(this);
    if (this.secureContext !== null && !this.#isTlsShared()) {
      this.loop.backend.releaseSecureContext(this.secureContext);
    }
  }

  /** Frees the context. */
  [Symbol.dispose](): void {
    this.free();
  }

  /**
   * Serves a server name with a certificate of its own, and with whatever else `tls` says; what it
   * does not say is as the context has it, such as `alpnProtocols` or `requestCert`, and so is
   * `handshakeTimeoutSeconds` in any case, which runs before the name is known. A label `*` stands
   * for any one label: `*.example.com` is `a.example.com`, neither `example.com` nor
   * `a.b.example.com`; an exact label comes first. Adding a pattern again replaces what it has, while
   * open connections keep what they agreed on: so are certificates renewed. Children share the names
   * of their parent. As `us_socket_context_add_server_name`.
   *
   * @param userData What `socket.serverNameUserData` will be for clients that ask for the name.
   * @throws {TypeError} For a context without `tls`, or `tls` without a certificate.
   * @throws {Deno.errors.InvalidData} For a certificate, key or passphrase that is wrong.
   * @throws {Deno.errors.NotSupported} On the Deno backend.
   */
  addServerName(pattern: string, tls: TlsOptions, userData?: unknown): void {
    this.#check("add a server name");
    checkServerName("add a server name", "pattern", pattern);
    checkTlsOptions(tls);
    this.loop.backend.addServerName(this, pattern, tls, userData);
  }

  /**
   * Stops serving a pattern that `addServerName()` was given; open connections live on. As
   * `us_socket_context_remove_server_name`.
   *
   * @throws {Deno.errors.NotSupported} On the Deno backend.
   */
  removeServerName(pattern: string): void {
    checkServerName("remove a server name", "pattern", pattern);
    if (!this.#isFreed) this.loop.backend.removeServerName(this, pattern);
  }

  /**
   * What `addServerName()` was given for the pattern that matches; undefined for none. As
   * `us_socket_context_find_server_name_userdata`.
   *
   * @throws {Deno.errors.NotSupported} On the Deno backend.
   */
  findServerNameUserData(hostname: string): unknown {
    checkServerName("find a server name", "hostname", hostname);
    return this.#isFreed ? undefined : this.loop.backend.findServerNameUserData(this, hostname);
  }

  /**
   * The backend's own handle of a TLS context, or null. As `us_socket_context_get_native_handle`.
   */
  get nativeHandle(): unknown {
    if (this.#isFreed) return null;
    return this.loop.backend.nativeHandle(this);
  }

  /** Whether this context, or its loop, is freed. @internal */
  get isFreed(): boolean {
    return this.#isFreed;
  }

  /** Puts a socket first into the list. @internal */
  link(socket: Socket): void {
    socket.previous = null;
    socket.next = this.head;
    if (this.head !== null) this.head.previous = socket;
    this.head = socket;
  }

  /** Takes a socket out of the list. @internal */
  unlink(socket: Socket): void {
    if (socket.previous === null) this.head = socket.next;
    else socket.previous.next = socket.next;
    if (socket.next !== null) socket.next.previous = socket.previous;
    socket.previous = socket.next = null;
  }

  /** Closes every socket and listener with a code of the library's. @internal */
  closeAll(code: CloseCode, reason: unknown): void {
    this.closings++;
    for (const listener of this.listeners) listener.close();
    // Those that are there now: what onClose handlers connect or adopt into this context lives on.
    const sockets: Socket[] = [];
    for (let socket = this.head; socket !== null; socket = socket.next) sockets.push(socket);
    for (const socket of sockets) {
      if (socket.context === (this as SocketContext)) socket.terminate(code, reason);
    }
  }

  /** Whether a parent or a child is left. */
  #isTlsShared(): boolean {
    for (const context of this.loop.contexts) {
      if (context.secureContext === this.secureContext) return true;
    }
    return false;
  }

  #makeExt(ext: S | undefined): S {
    return ext !== undefined ? ext : this.socketExt?.() as S;
  }

  #check(what: string): void {
    if (this.#isFreed) {
      throw new Deno.errors.BadResource(`Cannot ${what}: the context is freed`);
    }
  }

  #checkAccepting(what: string): void {
    this.#check(what);
    if (this.loop.isShuttingDown) {
      throw new Deno.errors.BadResource(`Cannot ${what}: the loop is shutting down`);
    }
  }
}
