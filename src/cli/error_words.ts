/**
 * What an error says to a person at a command line.
 *
 * @module
 */

/** Advice for programs, which the command line has no option for. */
const ADVICE = /, or give waitForReplicaMs to wait for the first files/;

/** The message, less advice that nobody can take here. */
export function wordsOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(ADVICE, "");
}
