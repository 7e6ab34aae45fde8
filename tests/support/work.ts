/** Keeps the thread busy, as a handler that computes does. */
export function workFor(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}
