/**
 * Pages of which a program writes a part: what stands between two markers is replaced, all else is
 * written by hand.
 * @module
 */

/** Replaces what stands between a marker, as `<!-- program: part -->`, and its end behind it. */
export function replaceMarked(
  text: string,
  marker: string,
  endMarker: string,
  part: string,
): string {
  const at = text.indexOf(marker);
  if (at < 0) throw new Error(`There is no ${marker} in the page`);
  const start = at + marker.length;
  if (text.includes(marker, start)) throw new Error(`${marker} stands in the page twice`);
  const end = text.indexOf(endMarker, start);
  const next = text.indexOf(marker.slice(0, marker.indexOf(":") + 1), start);
  if (end < 0 || (next >= 0 && next < end)) {
    throw new Error(`There is no ${endMarker} behind ${marker}`);
  }
  return `${text.slice(0, start)}\n\n${part.trim()}\n\n${text.slice(end)}`;
}
