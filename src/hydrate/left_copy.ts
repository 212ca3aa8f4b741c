/**
 * A local copy that a process has left whole: with it a replica is opened that cannot be reached.
 *
 * @module
 */
import { stat } from "node:fs/promises";
import type { Native } from "../../ffi/native.ts";
import { LocalFileError } from "../errors.ts";
import { lockPgno } from "../ltx/txid.ts";
import type { PlanFile } from "../view/plan_file.ts";
import { type HydrationRecord, readRecord } from "./hydration_record.ts";
import { LocalFile, type Stopping } from "./local_file.ts";

/** A copy, open, each of its pages looked at. */
export interface LeftCopy {
  readonly file: LocalFile;
  readonly record: WholeRecord;
}

/** A record of a whole copy, and the file that its state ends with. */
export type WholeRecord = HydrationRecord & { readonly last: NonNullable<HydrationRecord["last"]> };

/** The record of a copy at `path`, where that is a whole one of the replica at `place`. */
export async function wholeRecord(path: string, place: string): Promise<WholeRecord | undefined> {
  const record = await readRecord(path);
  if (!record?.isWhole || record.name !== place || record.last === undefined) return undefined;
  return record as WholeRecord;
}

/**
 * Opens the copy.
 *
 * @throws {LocalFileError} another process has it, or it is not as it was left
 */
export async function openLeftCopy(
  native: Native,
  replicaId: number,
  path: string,
  record: WholeRecord,
  stopping: Stopping,
): Promise<LeftCopy> {
  const { pageSize, commit } = record;
  const size = await stat(path).then(({ size }) => size, (cause) => {
    throw new LocalFileError(`Cannot open local copy "${path}": ${cause.message}`, { cause });
  });
  if (size !== pageSize * commit) {
    throw new LocalFileError(
      `Cannot open local copy "${path}": it has ${size} bytes, expected ${pageSize * commit}`,
    );
  }
  const file = new LocalFile(native, replicaId, { path, pageSize, keep: true, isPlain: true });
  try {
    const now = await wholeRecord(path, record.name); // what was read without the lock may be old
    if (now?.txid !== record.txid) {
      throw new LocalFileError(`Cannot open local copy "${path}": another process has changed it just now`);
    }
    const wanted = commit - (lockPgno(pageSize) <= commit ? 1 : 0);
    const found = await file.check(0, stopping);
    if (found === wanted) return { file, record };
    throw new LocalFileError(
      `Cannot open local copy "${path}": ${found} pages fit to their checksums, expected ${wanted}`,
    );
  } catch (error) {
    file.close();
    throw error;
  }
}

/** The file that a copy's state ends with, of which nothing is open. */
export function closedFile({ last }: WholeRecord): PlanFile {
  const fetched = { offset: 0, bytes: new Uint8Array(0) };
  return { ...last, objectId: 0, fetched, depth: 0, closed: true };
}
