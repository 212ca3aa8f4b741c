/**
 * What a file system refuses, as errors of a store.
 *
 * @module
 */

import { ObjectExistsError, ObjectGoneError, StorageError } from "../errors.ts";

/** What a write wants. */
export const WRITABLE = "a folder that can be written to";

/** What file systems without hard links answer. */
const LINKLESS_CODES = ["EPERM", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EMLINK"];
const RETRYABLE_CODES = ["EAGAIN", "EBUSY", "EIO", "EMFILE", "ENFILE", "ESTALE", "ETIMEDOUT"];

/** The system's code, or the name of a permission error of the runtime. */
export function codeOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown };
  return typeof code === "string" ? code : typeof name === "string" ? name : "";
}

/** Whether there is no such file. */
export function isAbsent(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes(codeOf(error));
}

/** What a read fails with: a file that is not there has been compacted away. */
export function readError(error: unknown, what: string, key: string): unknown {
  if (error instanceof StorageError || !isAbsent(error)) return listError(error, what, key);
  const details = { key, status: 0, code: codeOf(error), retryable: false, cause: error };
  return new ObjectGoneError(`Cannot ${what}: no such file, expected the listed one`, details);
}

/** Code of an object that is gone with all others: the place itself may be away for a moment. */
export const NO_FOLDER = "NoSuchFolder";

/** What a read fails with where not even the folder is there. */
export function noFolder(what: string, key: string): ObjectGoneError {
  const details = { key, status: 0, code: NO_FOLDER, retryable: false };
  return new ObjectGoneError(`Cannot ${what}: its folder is not there, expected the replica's`, details);
}

/** What a listing fails with. */
export function listError(error: unknown, what: string, key: string): unknown {
  if (error instanceof StorageError || error instanceof RangeError || !(error instanceof Error)) return error;
  return failureOf(error, { what, key, wanted: "a readable folder" });
}

/** What a put fails with: a name that is taken, or no way to tell that (which a system without links leaves). */
export function putError(error: unknown, what: string, key: string): unknown {
  if (error instanceof StorageError) return error;
  const code = codeOf(error);
  if (code === "EEXIST") {
    const details = { key, status: 0, code, retryable: false, cause: error };
    return new ObjectExistsError(`Cannot ${what}: there is such a file, expected none`, details);
  }
  const { syscall } = error as { syscall?: unknown };
  if (syscall === "link" && LINKLESS_CODES.includes(code)) {
    const details = { key, status: 0, code: "NotImplemented", retryable: false, cause: error };
    return new StorageError(`Cannot ${what}: ${(error as Error).message}, expected hard links`, details);
  }
  const failure = failureOf(error, { what, key, wanted: WRITABLE });
  if (syscall !== "fsync" || !failure.retryable) return failure;
  // The file may be there and yet not on the disk: to find it would not be enough.
  return new StorageError(failure.message, { key, status: 0, code, retryable: false, cause: error });
}

/** What any request fails with that the system refuses. */
export function failureOf(
  error: unknown,
  { what, key, wanted }: { what: string; key: string; wanted: string },
): StorageError {
  const code = codeOf(error);
  const found = error instanceof Error ? error.message : String(error);
  const details = { key, status: 0, code, retryable: RETRYABLE_CODES.includes(code), cause: error };
  return new StorageError(`Cannot ${what}: ${found}, expected ${wanted}`, details);
}
