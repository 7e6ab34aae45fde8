/**
 * Unix paths that a dead server left behind.
 * @module
 */

/** How long the connection attempt may take, in milliseconds; it is local. */
const PROBE_MS = 2000;

/** Run in a Worker: tells whether something accepts connections on a path. */
const PROBE = `onmessage = async ({ data: { state, path } }) => {
  const word = new Int32Array(state);
  let verdict = 1;
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) verdict = 2;
  }
  Atomics.store(word, 0, verdict);
  Atomics.notify(word, 0);
};`;

/**
 * Removes the path if it is a socket that nobody listens on: what a server that crashed leaves
 * behind. Anything else stays: a live socket, a file, a path that cannot be looked at. Returns
 * whether the path is free now.
 *
 * listen() is synchronous and only connecting tells a dead socket from a live one, but Deno
 * connects asynchronously: so a Worker does, while this thread waits (2 ms).
 */
export function removeDeadSocket(path: string): boolean {
  const before = statSocket(path);
  if (before === null || !isRefused(path)) return false;
  const now = statSocket(path);
  // Replaced meanwhile: another server was quicker.
  if (now === null || now.ino !== before.ino || now.dev !== before.dev) return false;
  try {
    Deno.removeSync(path);
    return true;
  } catch {
    return false;
  }
}

function statSocket(path: string): Deno.FileInfo | null {
  try {
    const info = Deno.lstatSync(path);
    return info.isSocket ? info : null;
  } catch {
    return null;
  }
}

function isRefused(path: string): boolean {
  const word = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(`data:text/javascript,${encodeURIComponent(PROBE)}`, {
    type: "module",
  });
  worker.postMessage({ state: word.buffer, path });
  Atomics.wait(word, 0, 0, PROBE_MS);
  worker.terminate();
  return Atomics.load(word, 0) === 2;
}
