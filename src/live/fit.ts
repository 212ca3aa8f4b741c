/**
 * Whether files follow on a state: those of another database, or with pages missing, can be read and yet lead nowhere.
 *
 * @module
 */
import { LtxFormatError } from "../errors.ts";
import type { PlanFile } from "../view/plan_file.ts";

/**
 * Checks the page size of files that are to be applied to a state.
 *
 * @throws {LtxFormatError} one of them has another
 */
export function checkPageSize(files: readonly PlanFile[], pageSize: number): void {
  const other = files.find(({ header }) => header.pageSize !== pageSize);
  if (other === undefined) return;
  const { file: { key }, header } = other;
  throw new LtxFormatError(
    `Cannot apply "${key}": its pages have ${header.pageSize} bytes, expected ${pageSize} as those before it`,
    { key },
  );
}

/** What the applying of one file failed with, told as that file's where its pages make up no database. */
export function unfit(error: unknown, { file: { key } }: PlanFile): unknown {
  if (!(error instanceof LtxFormatError) || error.key === key) return error;
  return new LtxFormatError(`Cannot apply "${key}": ${error.message}`, { key, cause: error });
}
