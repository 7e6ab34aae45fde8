/**
 * docs/parity.md names every function of the header's generations, and src/libusockets.ts has each of
 * them: exported, with C's parameters, and called by tests that exist.
 */
import { assert, assertEquals } from "@std/assert";
import * as libusockets from "@usockets/usockets/libusockets";

const FUNCTIONS = names(`
us_create_loop us_loop_free us_loop_ext us_loop_run us_wakeup_loop us_loop_integrate
us_loop_iteration_number us_create_socket_context us_socket_context_free
us_socket_context_on_pre_open us_socket_context_on_open us_socket_context_on_close
us_socket_context_on_data us_socket_context_on_writable us_socket_context_on_timeout
us_socket_context_on_long_timeout us_socket_context_on_end us_socket_context_on_connect_error
us_socket_context_on_server_name us_socket_context_ext us_socket_context_listen
us_socket_context_listen_unix us_listen_socket_close us_socket_context_connect
us_socket_context_connect_unix us_socket_context_loop us_socket_context_adopt_socket
us_adopt_accepted_socket us_create_child_socket_context us_socket_context_close
us_socket_context_timestamp us_socket_context_add_server_name us_socket_context_remove_server_name
us_socket_context_find_server_name_userdata us_socket_server_name_userdata
us_socket_context_get_native_handle us_socket_write us_socket_write2 us_socket_timeout
us_socket_long_timeout us_socket_ext us_socket_context us_socket_flush us_socket_shutdown
us_socket_shutdown_read us_socket_is_shut_down us_socket_is_closed us_socket_is_established
us_socket_close us_socket_close_connecting us_socket_remote_address us_socket_local_port
us_socket_remote_port us_socket_get_native_handle us_create_timer us_timer_ext us_timer_close
us_timer_set us_timer_loop us_create_poll us_poll_free us_poll_init us_poll_start us_poll_change
us_poll_stop us_poll_events us_poll_ext us_poll_fd us_poll_resize
`);

const FIRST_GENERATION = names(`
us_create_ssl_socket_context us_ssl_socket_context_on_open us_ssl_socket_context_on_close
us_ssl_socket_context_on_data us_ssl_socket_context_on_writable us_ssl_socket_context_on_timeout
us_ssl_socket_context_listen us_ssl_socket_write us_ssl_socket_timeout us_get_socket_context
us_socket_get_context us_socket_context_link us_context_connect
`);

const CONSTANTS = names(`
LIBUS_LISTEN_DEFAULT LIBUS_LISTEN_EXCLUSIVE_PORT LIBUS_LISTEN_REUSE_PORT LIBUS_SOCKET_READABLE
LIBUS_SOCKET_WRITABLE LIBUS_SOCKET_ERROR LIBUS_TIMEOUT_GRANULARITY LIBUS_RECV_BUFFER_LENGTH
LIBUS_RECV_BUFFER_PADDING LIBUS_EXT_ALIGNMENT POLL_TYPE_CALLBACK
`);

/** What is exported beside them, which C has not: `errno` takes the place of the first. */
const OWN = ["us_last_error", "us_poll_t"];

/** Parameters at the end that C has not: the header leaves to the library what a poll calls. */
const EXTRA_PARAMETERS = new Map([["us_poll_init", ["cb"]]]);

const ALL = [...FUNCTIONS, ...FIRST_GENERATION, ...CONSTANTS];

function names(text: string): string[] {
  return text.trim().split(/\s+/);
}

// ---------------------------------------------------------------- what is there

interface Row {
  readonly name: string;
  /** The tests that it cites. */
  readonly tests: readonly string[];
}

/** The rows of parity.md: the C name, what is here, the tests. */
function rowsOf(text: string): Row[] {
  return text.split("\n")
    .map((line) => /^\| `(\w+)`\s+\| .+?\s+\| ("[^|]+")\s+\|$/.exec(line))
    .filter((match) => match !== null)
    .map(([, name, tests]) => ({ name, tests: tests.slice(1, -1).split(`"; "`) }));
}

/** The text of every file in a directory, and below. */
function sources(directory: string): string[] {
  return [...Deno.readDirSync(directory)].flatMap(({ name, isDirectory }) => {
    const path = `${directory}/${name}`;
    if (isDirectory) return sources(path);
    return path === "tests/parity_test.ts" ? [] : [Deno.readTextFileSync(path)];
  });
}

/** Blanks out comments and strings, in which a call would be none, and import statements. */
function codeOf(text: string): string {
  const token =
    /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|\/\*[^]*?\*\/|\/\/.*|^import\b[^;]*;/gm;
  return text.replace(token, " ");
}

/** An exported function, or one overload of it. */
interface Declaration {
  readonly name: string;
  readonly parameters: readonly string[];
  /** Its JSDoc. */
  readonly comment: string;
}

/** The exported functions of a file that have a JSDoc; an implementation behind overloads has none. */
function declarationsOf(text: string): Declaration[] {
  const declaration =
    /\/\*\*((?:(?!\*\/)[^])*)\*\/\s*export (?:async )?function (\w+)(?:<[^>]*>)?\(/g;
  return [...text.matchAll(declaration)].map((match) => ({
    name: match[2],
    parameters: partsOf(text, match.index + match[0].length)
      .map((part) => part.replace(/\??:[^]*$/, "").replace(/^_+/, "")),
    comment: match[1].replace(/^ *\* ?/gm, ""),
  }));
}

/** What stands between commas from an opening parenthesis to its closing one. */
function partsOf(text: string, start: number): string[] {
  const parts = [""];
  let depth = 0;
  for (let i = start; depth > 0 || text[i] !== ")"; i++) {
    if ("([{".includes(text[i])) depth++;
    if (")]}".includes(text[i])) depth--;
    if (depth === 0 && text[i] === ",") parts.push("");
    else parts[parts.length - 1] += text[i];
  }
  return parts.map((part) => part.trim()).filter((part) => part !== "");
}

/** The prototype in a JSDoc: its name and the names of its parameters. */
function prototypeOf(comment: string): { name: string; parameters: string[] } | undefined {
  const prototype = /```c\n([^]*?)```/.exec(comment)?.[1].replace(/\s+/g, " ");
  const head = prototype === undefined ? null : /^[\w ]+?\**(\w+)\(/.exec(prototype);
  if (head === null) return undefined;
  const parameters = partsOf(prototype!, head[0].length)
    .map((part) => (/\(\*(\w+)\)/.exec(part) ?? /(\w+)$/.exec(part))![1]);
  return { name: head[1], parameters };
}

const rows = rowsOf(Deno.readTextFileSync("docs/parity.md"));
const tests = sources("tests").join("\n");
const libusocketsTests = sources("tests/libusockets");
const declarations = sources("src/libusockets").flatMap(declarationsOf)
  .filter(({ name }) => name in libusockets);

// ---------------------------------------------------------------- what has to be

Deno.test("parity.md has one row for every function and constant, and no others", () => {
  assertEquals(rows.map(({ name }) => name).sort(), [...ALL].sort());
});

Deno.test("parity.md names tests that exist", () => {
  const missing = rows.flatMap(({ name, tests: cited }) =>
    cited.filter((test) => !tests.includes(`"${test}"`)).map((test) => `${name}: ${test}`)
  );
  assertEquals(missing, []);
});

Deno.test("parity.md names a test of tests/libusockets for each", () => {
  const all = libusocketsTests.join("\n");
  const without = rows.filter(({ tests }) => !tests.some((test) => all.includes(`"${test}"`)));
  assertEquals(without.map(({ name }) => name), []);
});

Deno.test("src/libusockets.ts exports every function and constant, and nothing else", () => {
  const kinds = Object.entries(libusockets).map(([name, value]) => `${typeof value} ${name}`);
  const expected = [
    ...[...FUNCTIONS, ...FIRST_GENERATION, ...OWN].map((name) => `function ${name}`),
    ...CONSTANTS.map((name) => `number ${name}`),
  ];
  assertEquals(kinds.sort(), expected.sort());
});

Deno.test("tests/libusockets calls every function, and uses every constant", () => {
  const code = libusocketsTests.map(codeOf).join("\n");
  const calls = [...FUNCTIONS, ...FIRST_GENERATION]
    .filter((name) => !new RegExp(`(?<!function )\\b${name}\\(`).test(code));
  const uses = CONSTANTS.filter((name) => !new RegExp(`\\b${name}\\b`).test(code));
  assertEquals([...calls, ...uses], []);
});

Deno.test("every exported function has the prototype of C in its JSDoc, and its parameters", () => {
  const differences: string[] = [];
  for (const name of [...FUNCTIONS, ...FIRST_GENERATION]) {
    const overloads = declarations.filter((declaration) => declaration.name === name);
    if (overloads.length === 0) differences.push(`${name}: no JSDoc`);
    for (const { parameters, comment } of overloads) {
      const prototype = prototypeOf(comment);
      const expected = [...prototype?.parameters ?? [], ...EXTRA_PARAMETERS.get(name) ?? []];
      if (prototype?.name !== name) differences.push(`${name}: the prototype of another`);
      if (parameters.join() !== expected.join()) {
        differences.push(`${name}(${parameters}), but in C (${expected})`);
      }
    }
  }
  assertEquals(differences, []);
});

Deno.test("us_socket_context_connect() has both orders of parameters", () => {
  const orders = declarations.filter(({ name }) => name === "us_socket_context_connect")
    .map(({ parameters }) => parameters.includes("source_host"));
  assertEquals(orders, [false, true]);
});

Deno.test("the first generation is deprecated, each with a successor that is not", () => {
  const deprecated = (name: string) =>
    declarations.filter((declaration) => declaration.name === name)
      .map(({ comment }) => /^@deprecated Use [^\n]*?\b(us_\w+)/m.exec(comment)?.[1] ?? "");
  for (const name of FIRST_GENERATION) {
    const successors = deprecated(name);
    assert(successors.length === 1 && FUNCTIONS.includes(successors[0]), `${name}: ${successors}`);
  }
  const others = declarations.filter(({ comment }) => comment.includes("@deprecated"))
    .filter(({ name }) => !FIRST_GENERATION.includes(name));
  assertEquals(others, []);
});

// ---------------------------------------------------------------- the readers, on samples

Deno.test("rowsOf() reads one or two tests of a row, and passes over what is none", () => {
  const text = [
    "| C | here | tests |",
    '| `us_a` | `a()` | "it works" |',
    '| `us_b`  | `b(x, y)`, `c` | "one, two"; "x() and \'y\'"   |',
    "| deno | `reset()` | a Conn cannot |",
  ].join("\n");
  assertEquals(rowsOf(text), [
    { name: "us_a", tests: ["it works"] },
    { name: "us_b", tests: ["one, two", "x() and 'y'"] },
  ]);
});

Deno.test("codeOf() leaves no name of imports, comments and strings", () => {
  const text = [
    'import {\n  us_a,\n} from "us_a()";',
    'onEach("us_a() works", () => us_b()); // us_a()',
    "/* us_a() */ const x = `us_a()`;",
  ].join("\n");
  assertEquals(/us_a/.test(codeOf(text)), false);
  assert(codeOf(text).includes("us_b()"));
});

Deno.test("declarationsOf() and prototypeOf() read what the header's functions look like", () => {
  const text = [
    "/**",
    " * Does it.",
    " *",
    " * ```c",
    " * void *us_a(int ssl,",
    " *     void (*cb)(struct us_a *a, int n), const char *ip);",
    " * ```",
    " */",
    "export async function us_a<T = Uint8Array>(",
    "  _ssl: number,",
    "  cb: (a: us_a, n: number) => void,",
    "  _ip?: { 0: number; x: [a, b] },",
    "): Promise<T>;",
    "export function us_a(...rest: unknown[]) {}",
  ].join("\n");
  const [declaration, ...others] = declarationsOf(text);
  assertEquals(others, []);
  assertEquals(declaration.name, "us_a");
  assertEquals(declaration.parameters, ["ssl", "cb", "ip"]);
  const prototype = prototypeOf(declaration.comment);
  assertEquals(prototype, { name: "us_a", parameters: ["ssl", "cb", "ip"] });
  assertEquals(prototypeOf("No prototype."), undefined);
});
