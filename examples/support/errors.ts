/**
 * How the example programs tell a user's mistake.
 * @module
 */
// deno-lint-ignore-file no-console -- these are programs

/** A mistake of the person who started the program: told in one line. */
export class UsageError extends Error {}

/**
 * Runs a program's main function. A user's mistake becomes one line and exit code 1; a bug keeps
 * its stack trace.
 */
export async function runMain(main: () => Promise<void>): Promise<void> {
  try {
    await main();
  } catch (error) {
    if (!isUsersMistake(error)) throw error;
    console.error(`error: ${error.message}`);
    Deno.exit(1);
  }
}

/** Whether an error tells the user what to mend, rather than us. */
export function isUsersMistake(error: unknown): error is Error {
  if (error instanceof UsageError) return true;
  // What the system refuses for other reasons, such as a path that is a directory, still says what
  // could not be done.
  return KNOWN.some((Known) => error instanceof Known) ||
    (error instanceof Error && error.message.startsWith("Cannot "));
}

const KNOWN = [
  Deno.errors.AddrInUse,
  Deno.errors.AddrNotAvailable,
  Deno.errors.InvalidData,
  Deno.errors.NotCapable,
  Deno.errors.NotFound,
  Deno.errors.NotSupported,
  Deno.errors.PermissionDenied,
];
