/** Chromium, without a window, as a client of the HTTP server example. */
import { assertEquals } from "@std/assert";
import { type Browser, chromium } from "playwright-core";
import { PAGE, WAYS, withHttpServer } from "./support/http_program.ts";
import { find } from "./support/preflight.ts";

const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** What the page says. */
const TEXT = /<h1>(.*)<\/h1>/.exec(PAGE)![1];

/** Starts it; it is closed at the end of the scope. */
async function startChromium(): Promise<Browser & AsyncDisposable> {
  return await chromium.launch({ executablePath: find("chromium"), headless: true, args: ARGS });
}

// Its connections and timers live on for a while when it is closed.
const lax = { sanitizeOps: false, sanitizeResources: false };

for (const [name, way] of Object.entries(WAYS)) {
  Deno.test(`Chromium shows the page of the HTTP server on ${name}`, lax, async () => {
    await withHttpServer(way, async (url) => {
      await using browser = await startChromium();
      const context = await browser.newContext({ ignoreHTTPSErrors: true });
      const page = await context.newPage();
      for (let i = 0; i < 5; i++) {
        const response = await page.goto(`${url}/?${i}`);
        assertEquals(response?.status(), 200);
        assertEquals(await page.locator("h1").textContent(), TEXT);
        assertEquals((await response!.securityDetails())?.protocol, "TLS 1.3");
      }
      // Many requests of one page, on its kept connections.
      const bodies = await page.evaluate(async () => {
        const paths = Array.from({ length: 50 }, (_, i) => `/?fetch=${i}`);
        return await Promise.all(paths.map(async (path) => (await fetch(path)).text()));
      });
      assertEquals(bodies, Array(50).fill(PAGE));
      assertEquals((await page.reload())?.status(), 200);
      const nothing = await page.goto(`${url}/nothing`);
      assertEquals([nothing?.status(), await nothing?.text()], [404, "Not Found\n"]);
    });
  });
}

Deno.test("Chromium refuses a certificate that it does not trust", lax, async () => {
  await withHttpServer(WAYS.epoll, async (url) => {
    await using browser = await startChromium();
    const page = await browser.newPage();
    const error = await page.goto(url).then(() => null, (error: Error) => error.message);
    assertEquals(/net::ERR_CERT_AUTHORITY_INVALID/.test(error ?? ""), true, `${error}`);
    // The server does not mind.
    const trusting = await browser.newPage({ ignoreHTTPSErrors: true });
    assertEquals((await trusting.goto(url))?.status(), 200);
  });
});
