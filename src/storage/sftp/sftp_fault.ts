/**
 * What a server or its connection fails with, as errors of a store.
 *
 * @module
 */

import { StorageError } from "../../errors.ts";
import { checkKey, checkNewKey } from "../folder_key.ts";
import { STATUS } from "./ssh_library.ts";

/** What was asked, for the message. */
export interface Asked {
  /** Completes "Cannot …". */
  readonly what: string;
  readonly key: string;
  /** What would have been right. */
  readonly wanted: string;
}

const NAMES: Readonly<Record<number, string>> = {
  [STATUS.EOF]: "EndOfFile",
  [STATUS.NO_SUCH_FILE]: "NoSuchFile",
  [STATUS.PERMISSION_DENIED]: "PermissionDenied",
  [STATUS.FAILURE]: "Failure",
  [STATUS.BAD_MESSAGE]: "BadMessage",
  [STATUS.OP_UNSUPPORTED]: "NotImplemented",
};

/** These do not pass: "Failure" may, as a full disk is told by it, too. */
const LASTING: readonly number[] = [STATUS.PERMISSION_DENIED, STATUS.BAD_MESSAGE, STATUS.OP_UNSUPPORTED];

/** The status that a server has answered with; undefined where it has not. */
export function statusOf(error: unknown): number | undefined {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "number" ? code : undefined;
}

/** Whether there is no such file or folder. */
export function isAbsent(error: unknown): boolean {
  return statusOf(error) === STATUS.NO_SUCH_FILE;
}

/** What a request failed with; errors of ours as they are. */
export function faultOf(cause: unknown, { what, key, wanted }: Asked): unknown {
  if (cause instanceof StorageError || !(cause instanceof Error)) return cause;
  const status = statusOf(cause);
  const details = {
    key,
    status: 0,
    code: status === undefined ? "Network" : NAMES[status] ?? String(status),
    retryable: status === undefined || !LASTING.includes(status),
    cause,
  };
  const expected = status === undefined ? "an answer" : wanted;
  const found = status === undefined ? cause.message : `the server says "${cause.message}"`;
  return new StorageError(`Cannot ${what}: ${found}, expected ${expected}`, details);
}

/** Something that the server cannot do, and nobody need try again. */
export function notImplemented({ what, key, wanted }: Asked, found: string, cause?: unknown): StorageError {
  const details = { key, status: 0, code: "NotImplemented", retryable: false, cause };
  return new StorageError(`Cannot ${what}: ${found}, expected ${wanted}`, details);
}

/**
 * Checks that a key is that of a file below the folder, and of no unfinished one where it `isNew`.
 *
 * @throws {StorageError} it is not
 */
export function checkPath(key: string, what: string, isNew = false): void {
  try {
    if (isNew) checkNewKey(key, what);
    else checkKey(key, what);
  } catch (cause) {
    const details = { key, status: 0, code: "InvalidKey", retryable: false, cause };
    throw new StorageError((cause as RangeError).message, details);
  }
}
