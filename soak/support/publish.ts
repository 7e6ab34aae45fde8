/** @module */
import type { Soak } from "./samples.ts";
export async function publish(_soak: Soak): Promise<void> {}
