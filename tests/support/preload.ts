/**
 * Runs before each test file. The first epoll loop of a thread opens the libraries that it calls, for
 * good, and the first use of Deno's thread pool its threads: within a test that would count as a leak.
 */
import { autoBackend, Loop } from "@usockets/usockets";

const loop = new Loop({ backend: autoBackend });
// Beside the library, what it calls back.
if (loop.backendName === "epoll") {
  const tls = { alpnProtocols: ["x"], requestCert: true, rejectUnauthorized: false };
  loop.createContext({ tls }).free();
}
loop.createTimer().set(() => {}, 1);
await loop.run();
loop.free();
