/**
 * What a write log is on top of, beside it on disk: by this a crashed writer's successor knows the replica again.
 *
 * @module
 */
import { constants, type FileHandle, open, readFile, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { syncFolder } from "../disk_sync.ts";
import { writeAll } from "../disk_write.ts";
import { WriteLogError } from "../errors.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";
import type { DatabaseHead } from "./logged_file.ts";

/** Bytes that are kept free at least. */
const ROOM_LEAST = 4096;

/** The state that was stored last, as far as this writer knows. */
export interface LogBase {
  readonly txid: bigint;
  /** What its page 1 has. */
  readonly head: DatabaseHead;
  /** Files that made it up, and others that were there. */
  readonly files: readonly ReplicaFile[];
  /** What its writer ended with: another one has gone on, so what the log has is not to be stored behind that. */
  readonly conflict?: string | undefined;
}

/** In JSON, whose numbers hold no TXID. */
interface Stored {
  readonly txid: string;
  readonly head: DatabaseHead;
  readonly conflict?: string | undefined;
  readonly files:
    readonly (Omit<ReplicaFile, "minTxid" | "maxTxid"> & { minTxid: string; maxTxid: string })[];
}

/** Reads the base beside the log at `path`; undefined where none was written. */
export async function readBase(path: string): Promise<LogBase | undefined> {
  let text: string;
  try {
    text = await readFile(`${path}.base`, "utf8");
  } catch (cause) {
    if ((cause as { code?: string }).code === "ENOENT") return undefined;
    throw new WriteLogError(`Cannot read "${path}.base": ${(cause as Error).message}`, { cause });
  }
  try {
    const { txid, head, files, conflict } = JSON.parse(text) as Stored;
    return {
      txid: BigInt(txid),
      head,
      files: files.map((file) => ({
        ...file,
        minTxid: BigInt(file.minTxid),
        maxTxid: BigInt(file.maxTxid),
      })),
      ...(conflict !== undefined && { conflict }),
    };
  } catch (cause) {
    throw new WriteLogError(`Cannot read "${path}.base": it is damaged`, { cause });
  }
}

/** When something was stored last out of the log at `path`, by the file's time; -Infinity for never. */
export async function lastStoredMs(path: string): Promise<number> {
  return await stat(`${path}.base`).then(({ mtimeMs }) => mtimeMs, (error) => {
    return error.code === "ENOENT" ? -Infinity : Infinity; // what cannot be known counts as just now
  });
}

/** Writes the base, for good when this returns. */
export async function writeBase(path: string, { txid, head, files, conflict }: LogBase): Promise<void> {
  const stored: Stored = {
    txid: String(txid),
    head,
    conflict,
    files: files.map((file) => ({ ...file, minTxid: String(file.minTxid), maxTxid: String(file.maxTxid) })),
  };
  try {
    const unfinished = `${path}.base.tmp`;
    const file = await openRoom(unfinished);
    try {
      const bytes = new TextEncoder().encode(JSON.stringify(stored));
      await writeAll(file, bytes, 0);
      await file.truncate(bytes.length);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(unfinished, `${path}.base`);
    await syncFolder(dirname(path));
  } catch (cause) {
    throw new WriteLogError(`Cannot write "${path}.base": ${(cause as Error).message}`, { cause });
  }
}

/** Writes down that the log is in conflict with what is stored, or is not, for good when this returns. */
export async function keepConflict(path: string, conflict: string | undefined): Promise<void> {
  const base = await readBase(path);
  if (base) await writeBase(path, { ...base, conflict });
}

/** What was kept free for it, where it was; a link in its place leads nowhere. */
async function openRoom(path: string): Promise<FileHandle> {
  const { O_CREAT, O_NOFOLLOW = 0, O_RDWR } = constants; // no such flag on Windows
  return await open(path, O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
}

/**
 * Keeps room for the next base, unless there is: where the log fills the disk, storing it frees the disk, and for that its base
 * has to be written. Without room there is none kept.
 */
export async function keepRoom(path: string): Promise<void> {
  try {
    const { size } = await stat(`${path}.base`);
    const wanted = 2 * size + ROOM_LEAST;
    const room = await openRoom(`${path}.base.tmp`);
    try {
      if ((await room.stat()).size < wanted) await writeAll(room, new Uint8Array(wanted), 0);
    } finally {
      await room.close();
    }
  } catch {
    // as without
  }
}
