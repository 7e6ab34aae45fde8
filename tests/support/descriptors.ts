/** How many descriptors this process has open. */
export function countDescriptors(): number {
  let count = 0;
  for (const _ of Deno.readDirSync("/proc/self/fd")) count++;
  return count - 1; // the directory's own
}
