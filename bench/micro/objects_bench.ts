/**
 * What loops, contexts and timers cost to make and to give back, and a wakeup to arrive, on both
 * backends.
 * @module
 */
import { denoConn, epoll, Loop } from "@usockets/usockets";
import * as x509 from "@peculiar/x509";
import { makeLeaf } from "../../examples/support/certificates.ts";
import { isLinux } from "../../tests/support/native.ts";
import { bench } from "./support/measure.ts";

const group = "objects";
const tls = await makeLeaf({ commonName: "localhost", usage: x509.ExtendedKeyUsage.serverAuth });

const BACKENDS = isLinux ? { epoll, denoConn } : { denoConn };

for (const [backendName, backend] of Object.entries(BACKENDS)) {
  const loop = new Loop({ backend });

  bench({
    group,
    name: `${backendName}: a loop made and freed`,
    times: 20,
    run(times) {
      for (let i = 0; i < times; i++) new Loop({ backend }).free();
    },
  });

  bench({
    group,
    name: `${backendName}: a context made and freed`,
    times: 100,
    run(times) {
      for (let i = 0; i < times; i++) loop.createContext({ onData() {} }).free();
    },
  });

  bench({
    group,
    name: `${backendName}: a TLS context made and freed`,
    times: 5,
    run(times) {
      for (let i = 0; i < times; i++) loop.createContext({ tls }).free();
    },
  });

  bench({
    group,
    name: `${backendName}: a timer made, set and closed`,
    times: 100,
    run(times) {
      for (let i = 0; i < times; i++) {
        const timer = loop.createTimer({ fallthrough: true });
        timer.set(() => {}, 60_000);
        timer.close();
      }
    },
  });

  bench({
    group,
    name: `${backendName}: a timer set again`,
    times: 100,
    run(times) {
      const timer = loop.createTimer({ fallthrough: true });
      for (let i = 0; i < times; i++) timer.set(() => {}, 60_000 + i);
      timer.close();
    },
  });

  let woken = () => {};
  const sleeper = new Loop({ backend, onWakeup: () => woken() });
  sleeper.integrate();
  // Something that keeps it running, else what it shares the thread with looks at it every 10 ms.
  sleeper.createTimer().set(() => {}, 3_600_000);

  bench({
    group,
    name: `${backendName}: wakeup() until onWakeup`,
    times: 10,
    async runAsync(times) {
      for (let i = 0; i < times; i++) {
        await new Promise<void>((resolve) => {
          woken = resolve;
          sleeper.wakeup();
        });
      }
    },
  });
}
