/** A Worker that wakes a loop up by its handle; in JavaScript, as tests/support/wakeup_worker.js. */
import { us_wakeup_loop } from "@usockets/usockets/libusockets";

self.onmessage = ({ data: handle }) => {
  us_wakeup_loop(handle);
  self.postMessage("done");
};
self.postMessage("ready");
