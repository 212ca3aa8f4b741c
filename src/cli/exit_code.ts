/**
 * What a command's end tells the shell that called it.
 *
 * @module
 */
import { ConflictError, LocalFileError, WriteLogError } from "../errors.ts";
import { InterruptedError, QueryError } from "./query_thread.ts";
import { UsageError } from "./usage_error.ts";

/** Exit codes by what they mean. */
export const EXIT = {
  ok: 0,
  /** SQL, or reading for it, failed. */
  failed: 1,
  /** The command line cannot be understood. */
  usage: 2,
  /** The replica cannot be opened: not there, refused, out of reach, not back to that moment. */
  unreachable: 3,
  /** A file is in the way of a restore. */
  exists: 4,
  interrupted: 130,
} as const;

/** A command ended for a reason that has a code of its own. */
export class CommandError extends Error {
  /** The class's name. */
  override name = "CommandError";
  /** One of {@link EXIT}. */
  readonly code: number;

  /** Makes the error. */
  constructor(message: string, code: number, options: { cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }
}

/** The code for what a command has thrown; what opening, listing and comparing throw means that the replica cannot be reached. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof CommandError) return error.code;
  if (error instanceof InterruptedError) return EXIT.interrupted;
  if (error instanceof QueryError || isOfWriting(error)) return EXIT.failed;
  if (error instanceof UsageError) return EXIT.usage;
  if (error instanceof TypeError || error instanceof RangeError) {
    return /\bexpected\b/.test(error.message) ? EXIT.usage : EXIT.failed; // the library's words, or a bug's
  }
  return EXIT.unreachable;
}

/** Of a replica that was open, and a disk that was there. */
function isOfWriting(error: unknown): boolean {
  return error instanceof ConflictError || error instanceof WriteLogError || error instanceof LocalFileError;
}
