/**
 * Whether files follow on a state: those of another database, or with pages missing, can be read and yet lead nowhere.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { LtxFormatError } from "../errors.ts";
import { continuesWal } from "../follow/continuity.ts";
import { frameCount } from "../hydrate/pieces.ts";
import { storedPageCount } from "../ltx/txid.ts";
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

/**
 * Whether the state that a file leads to may have another past than the one before: a primary that was restored from a backup goes on
 * with all of its database under the next TXID. A VACUUM looks alike where a checkpoint came before it.
 */
export function isAnew(native: Native, last: PlanFile | undefined, next: PlanFile): boolean {
  const { header } = next;
  const isWhole = frameCount(native, next) >= storedPageCount(header.commit, header.pageSize);
  return isWhole && !(last?.file.level === 0 && next.file.level === 0 && continuesWal(last.header, header));
}
