/**
 * The write log of an earlier version, which kept those of all places of one name under one path.
 *
 * @module
 */
import { unlink } from "node:fs/promises";
import type { Native } from "../../ffi/native.ts";
import { checkShim } from "../view/plan_file.ts";
import { readBase } from "./log_base.ts";
import { recoverLog, type RecoveryOptions } from "./recovery.ts";
import { ShimWriter } from "./shim_writer.ts";
import { listLogs } from "./write_log.ts";

/** What the recovery of such a log works with. */
export interface EarlierLogOptions extends RecoveryOptions {
  readonly native: Native;
  /** The shim's handle of the core. */
  readonly coreId: number;
  readonly base: Uint8Array<ArrayBuffer>;
}

/** The last TXID that was stored before a recovery, and is after it. */
export interface StoredBy {
  readonly before: bigint;
  readonly stored: bigint;
}

/** There was no log. */
export const NOTHING_STORED: StoredBy = { before: 0n, stored: 0n };

/**
 * Stores what such a log holds where that is surely this replica's, and removes it; gives the last TXID that was stored before and
 * is then, 0 where there was none.
 *
 * @throws {ConflictError} nothing tells whose it is, or it fits no more to what is stored; the log is kept
 * @throws {WriteLogError} a writer has it, or it cannot be read
 */
export async function recoverEarlierLog(options: EarlierLogOptions): Promise<StoredBy> {
  const { path } = options;
  if ((await listLogs(path)).length === 0) return NOTHING_STORED;
  return await locked(options, async () => {
    const before = (await readBase(path))?.txid ?? 0n;
    if (!await recoverLog({ ...options, isShared: true })) return NOTHING_STORED;
    for (const log of await listLogs(path)) await unlink(log);
    return { before, stored: (await readBase(path))?.txid ?? 0n };
  });
}

/** Has its lock meanwhile: by a handle of the shim's that is there for nothing else, since the replica's own has its own log. */
async function locked<T>(
  { native, coreId, path, name, base }: EarlierLogOptions,
  act: () => Promise<T>,
): Promise<T> {
  const replicaId = checkShim(native, native.calls.ls_replica_new(coreId, 0), "open write log", path);
  const shim = new ShimWriter(native, replicaId, name);
  try {
    shim.open(path, { txid: 1n, base, bytesMax: 0 });
    return await act();
  } finally {
    await shim.close();
    native.calls.ls_replica_close(replicaId);
  }
}
