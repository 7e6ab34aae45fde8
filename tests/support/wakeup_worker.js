/**
 * A Worker that wakes a loop up: says when it is ready, then does what a message tells it. In
 * JavaScript, because Deno would check the types of all it imports anew for each Worker: that takes
 * seconds.
 *
 * The message is `{ handle, count, words }`: what to wake up, how often, and two shared words. The
 * first is incremented before each wakeup, the second when all is done, before a last wakeup.
 */
import { wakeup } from "@usockets/usockets";

self.onmessage = ({ data: { handle, count, words } }) => {
  for (let i = 0; i < count; i++) {
    Atomics.add(words, 0, 1);
    wakeup(handle);
  }
  Atomics.add(words, 1, 1);
  wakeup(handle);
  self.postMessage("done");
};
self.postMessage("ready");
