/** What tells that programs are missing. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";

const PREFLIGHT = fileURLToPath(new URL("./support/preflight.ts", import.meta.url));

async function preflight(path: string): Promise<{ code: number; stderr: string }> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--allow-all", PREFLIGHT],
    env: { PATH: path },
    stdout: "null",
    stderr: "piped",
  });
  const { code, stderr } = await command.output();
  return { code, stderr: new TextDecoder().decode(stderr) };
}

Deno.test("what is missing is told in one go, with how to install it", async () => {
  const { code, stderr } = await preflight("/nowhere");
  assertEquals(code, 1);
  assertStringIncludes(stderr, "Cannot find the program wrk: apt-get install wrk\n");
  assertStringIncludes(stderr, "On Debian: apt-get install chromium curl bsdextrautils ");
  assertStringIncludes(stderr, " redis-tools redis-server socat testssl.sh wrk\n");
});

Deno.test("nothing is missing", async () => {
  assertEquals(await preflight(Deno.env.get("PATH")!), { code: 0, stderr: "" });
});
