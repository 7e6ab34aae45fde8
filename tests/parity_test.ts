/** docs/parity.md names every function of the two headers, and tests that exist. */
import { assertEquals } from "@std/assert";

const FUNCTIONS = `
us_create_loop us_loop_free us_loop_ext us_loop_run us_wakeup_loop us_loop_integrate
us_loop_iteration_number us_create_socket_context us_socket_context_free us_socket_context_on_open
us_socket_context_on_close us_socket_context_on_data us_socket_context_on_writable
us_socket_context_on_timeout us_socket_context_on_end us_socket_context_ext us_socket_context_listen
us_listen_socket_close us_socket_context_connect us_socket_context_loop
us_socket_context_adopt_socket us_create_child_socket_context us_socket_write us_socket_timeout
us_socket_ext us_socket_context us_socket_flush us_socket_shutdown us_socket_is_shut_down
us_socket_is_closed us_socket_close us_socket_remote_address us_create_timer us_timer_ext
us_timer_close us_timer_set us_timer_loop us_create_poll us_poll_free us_poll_init us_poll_start
us_poll_change us_poll_stop us_poll_events us_poll_ext us_poll_fd us_poll_resize
us_socket_get_context us_get_socket_context us_context_connect us_socket_context_link
us_create_ssl_socket_context us_ssl_socket_context_on_open us_ssl_socket_context_on_close
us_ssl_socket_context_on_data us_ssl_socket_context_on_writable us_ssl_socket_context_on_timeout
us_ssl_socket_context_listen us_ssl_socket_write us_ssl_socket_timeout
`.trim().split(/\s+/);

const rows = Deno.readTextFileSync("docs/parity.md").split("\n")
  .map((line) => /^\| `(us_\w+)`\s+\| (.+?)\s+\| "(.+)"\s+\|$/.exec(line))
  .filter((match) => match !== null);

function sources(directory: string): string[] {
  return [...Deno.readDirSync(directory)].flatMap(({ name, isDirectory }) => {
    const path = `${directory}/${name}`;
    if (isDirectory) return sources(path);
    return path === "tests/parity_test.ts" ? [] : [Deno.readTextFileSync(path)];
  });
}

Deno.test("parity.md has a row for every function of the headers", () => {
  const named = new Set(rows.map(([, name]) => name));
  assertEquals(FUNCTIONS.filter((name) => !named.has(name)), []);
});

Deno.test("parity.md names tests that exist", () => {
  const all = sources("tests").join("\n");
  const cited = rows.map(([, , , test]) => test);
  assertEquals(cited.filter((test) => !all.includes(`"${test}"`)), []);
});
