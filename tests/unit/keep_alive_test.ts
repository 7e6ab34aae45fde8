/** Semantic 8: what keeps a process alive, which only a process of its own can show. */
import { assertEquals } from "@std/assert";
import { describe, it } from "@std/testing/bdd";
import { modUrl, runProgram } from "../support/subprocess.ts";

/** Runs a program that has a loop; `soon` calls back in 50 ms, if the process lives as long. */
async function linesOf(body: string): Promise<string[]> {
  const { code, stdout, stderr } = await runProgram(`
    import { Loop } from ${JSON.stringify(modUrl)};
    const soon = (callback) => Deno.unrefTimer(setTimeout(callback, 50));
    const address = { host: "127.0.0.1", port: 0 };
    const loop = new Loop();
    ${body}
  `);
  assertEquals([code, stderr], [0, ""]);
  return stdout.split("\n").filter((line) => line !== "");
}

describe("a process", () => {
  it("lives while an integrated loop has a listener, and no longer", async () => {
    assertEquals(
      await linesOf(`
        loop.integrate();
        const listener = loop.createContext().listen(address);
        soon(() => {
          console.log("alive");
          listener.close();
          soon(() => console.log("too long"));
        });
      `),
      ["alive"],
    );
  });

  it("lives while a loop that runs has but paused sockets, and run() ends it", async () => {
    assertEquals(
      await linesOf(`
        let sockets = [];
        const context = loop.createContext({
          onOpen(socket) {
            socket.pause();
            sockets.push(socket);
            if (sockets.length < 2) return;
            listener.close();
            soon(() => {
              console.log("alive");
              for (const each of sockets) each.close();
            });
          },
        });
        const listener = context.listen(address);
        context.connect({ host: "127.0.0.1", port: listener.port });
        await loop.run();
        console.log("over");
      `),
      ["alive", "over"],
    );
  });

  it("does not live for fallthrough timers, wakeups or a loop that was never run", async () => {
    assertEquals(
      await linesOf(`
        loop.integrate();
        loop.createTimer({ fallthrough: true }).set(() => {}, 3_600_000, 3_600_000);
        loop.wakeup();
        const idle = new Loop();
        idle.createTimer().set(() => console.log("ran"), 1);
        const context = idle.createContext();
        context.listen(address);
        context.connect({ host: "127.0.0.1", port: 1 }).timeout(3600);
        soon(() => console.log("too long"));
      `),
      [],
    );
  });

  it("ends after free(), whatever was open", async () => {
    assertEquals(
      await linesOf(`
        const context = loop.createContext({
          onOpen() {
            if (++opened < 2) return;
            loop.createTimer().set(() => {}, 1, 1);
            loop.free();
            soon(() => console.log("too long"));
          },
        });
        let opened = 0;
        const listener = context.listen(address);
        context.connect({ host: "127.0.0.1", port: listener.port });
        loop.integrate();
      `),
      [],
    );
  });
});
