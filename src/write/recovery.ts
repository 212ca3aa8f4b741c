/**
 * What a writer that was killed had committed and not stored: stored by its successor.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { lstat, stat } from "node:fs/promises";
import { ConflictError, ObjectExistsError, StorageError, WriteLogError } from "../errors.ts";
import { compareFiles } from "../follow/continuity.ts";
import { formatTxid } from "../ltx/txid.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";
import { keepConflict, keepRoom, type LogBase, readBase, writeBase } from "./log_base.ts";
import { type DatabaseHead, headAfter } from "./logged_file.ts";
import { listLogs, type LoggedTxid, readLog, type WriteLog } from "./write_log.ts";

/** A TXID of a log, and what its page 1 is to have. */
export interface Recovered {
  readonly log: WriteLog;
  readonly logged: LoggedTxid;
  readonly head: DatabaseHead;
}

/** What a recovery works with. */
export interface RecoveryOptions {
  /** Path of the log's files, less their endings. */
  readonly path: string;
  /** The replica's name, for messages. */
  readonly name: string;
  /** What each file of this replica's log has. */
  readonly base: Uint8Array;
  /** What those of an earlier version have, whichever of the places of one name they are for; absent where that is the same. */
  readonly earlierBase?: Uint8Array | undefined;
  /** Whether it may be another replica's, which is left alone. */
  readonly isShared?: boolean;
  /** Whether what is in the way is overwritten. */
  readonly isUnconditional: boolean;
  /** Lists all levels; again, a few times, where that does not lead up to a TXID which was stored. */
  readonly list: (txid?: bigint) => Promise<readonly ReplicaFile[]>;
  /** Stores a TXID where nothing else has its name. */
  readonly put: (recovered: Recovered) => Promise<ReplicaFile>;
  /** Takes sentences for a person. */
  readonly onNotice: (text: string) => void;
}

/**
 * Stores what the log of a process before holds; false where it is another replica's and left alone. It may be interrupted at
 * any point and begun again. Whoever calls it has the log's lock.
 *
 * @throws {ConflictError} it fits no more to what is stored; the log is kept
 * @throws {StorageError} what it has just stored cannot be seen, or storage fails otherwise; it may be tried again
 * @throws {WriteLogError} it cannot be read
 */
export async function recoverLog(options: RecoveryOptions): Promise<boolean> {
  await assertOwn(options.path);
  const { logs, cut } = await readLogs(options);
  if (logs.length === 0) return true;
  const base = await readBase(options.path);
  if (base === undefined) throw kept(options, "nothing tells what it is on top of");
  const left = logs.filter(({ logged }) => logged.txid > base.txid);
  if (left.length === 0) return true; // wherever that was, it is stored
  const torn = left.find(({ log, logged }) =>
    cut.has(log) && logged === log.txids[0] && logged !== left[0]!.logged
  );
  if (torn) throw lost(torn.log);
  if (base.conflict !== undefined) throw kept(options, `it ended in a conflict: ${base.conflict}`);
  if (options.isShared && await isOthers(options, base)) return false;
  await checkPlace(options, base, left);
  let { head, txid: reached, files } = base;
  for (const { log, logged } of left) {
    if (logged.txid !== reached + 1n) {
      throw kept(options, `it goes on with TXID ${formatTxid(logged.txid)} after ${formatTxid(reached)}`);
    }
    head = headAfter(head, logged.transactions);
    files = [...files, await store(options, { log, logged, head }, reached > base.txid)];
    reached = logged.txid;
    await writeBase(options.path, { txid: reached, head, files });
    await keepRoom(options.path);
  }
  return true;
}

/**
 * What lies there is stored as this user's own commits, so it must be this user's: in a folder where all may write
 * somebody else could have left it. The lock is, for whoever took it has looked.
 */
async function assertOwn(path: string): Promise<void> {
  const lock = await stat(`${path}.lock`).catch((cause) => {
    throw new WriteLogError(`Cannot go on with write log "${path}": no lock, expected this writer's`, {
      cause,
    });
  });
  for (const name of [...await listLogs(path), `${path}.base`]) {
    const found = await lstat(name).catch((cause) => {
      if ((cause as { code?: string }).code === "ENOENT") return undefined;
      throw new WriteLogError(`Cannot read "${name}": ${(cause as Error).message}`, { cause });
    });
    if (found === undefined || (found.isFile() && found.uid === lock.uid)) continue;
    const what = found.isFile() ? "it is another user's" : "it is no plain file";
    throw new WriteLogError(`Cannot go on with write log "${name}": ${what}, expected one of this writer's`);
  }
}

/** What the files hold, in order, and those that the one before does not lead up to. */
async function readLogs(
  { path, onNotice }: RecoveryOptions,
): Promise<{ logs: Omit<Recovered, "head">[]; cut: ReadonlySet<WriteLog> }> {
  const found: Omit<Recovered, "head">[] = [];
  const cut = new Set<WriteLog>();
  let before: WriteLog | undefined;
  for (const name of await listLogs(path)) {
    const log = await readLog(name);
    if (log === undefined) continue;
    for (const logged of log.txids) found.push({ log, logged });
    if (before && log.crcBefore !== undefined && log.crcBefore !== before.crc) cut.add(log);
    before = log;
    if (log.rest > 0) {
      onNotice(
        `Write log "${name}": ${log.rest} bytes behind the last commit are left out, of a transaction that was not committed`,
      );
    }
  }
  return { logs: found, cut };
}

/** A file is begun once the one before is on the disk: what that does not have any more was committed, and others are on top of it. */
function lost({ path }: WriteLog): WriteLogError {
  return new WriteLogError(
    `Cannot go on with write log "${path}": the file before it ends too early, expected all that was committed there; ` +
      "nothing of it is stored, move the log away to write again",
  );
}

/** Whether nothing of what the log is on top of is there. */
async function isOthers(
  { path, name, list, onNotice }: RecoveryOptions,
  { files }: LogBase,
): Promise<boolean> {
  const isAnother = (listed: readonly ReplicaFile[]) => !compareFiles(files, listed).isSame;
  if (files.length === 0 || !isAnother(await listSurely(list, isAnother))) return false;
  onNotice(
    `Write log "${path}" of an earlier version is left: it is on top of other files than ${name} has, so it is another ` +
      "replica's; it is stored when that one is opened for writing",
  );
  return true;
}

/** The replica must be the one that the log was written on top of. */
async function checkPlace(
  options: RecoveryOptions,
  { txid, files }: LogBase,
  left: readonly Omit<Recovered, "head">[],
): Promise<void> {
  if (files.length === 0) {
    const others = left.filter(({ log }) => Buffer.compare(log.base, options.base) !== 0);
    if (others.length > 0) throw kept(options, elsewhere(options, others[0]!.log));
    return;
  }
  // Stored before the end, all else compacted since: it is ours if it has our bytes, which the store looks to.
  const isStored = (listed: readonly ReplicaFile[]) =>
    !options.isUnconditional && isStoredAlone(listed, left[0]!.logged.txid);
  const isAnother = (listed: readonly ReplicaFile[]) =>
    !isStored(listed) && !compareFiles(files, listed).isSame;
  const listed = await listSurely(() => options.list(txid), isAnother);
  if (isAnother(listed)) throw kept(options, "the replica is another one by now");
}

/** What tells that a new database's log is not for this place, or not surely. */
function elsewhere({ earlierBase }: RecoveryOptions, log: WriteLog): string {
  return earlierBase !== undefined && Buffer.compare(log.base, earlierBase) === 0
    ? "an earlier version began it for a new database and did not write down at which of the places of this name; " +
      "that version stores it yet"
    : "it is a new database's that was to be stored elsewhere";
}

/** Whether a TXID has a file of its own. */
export function isStoredAlone(listed: readonly ReplicaFile[], txid: bigint): boolean {
  return listed.some((file) => isAlone(file, txid));
}

/** Whether a file is a TXID's own. */
export function isAlone({ level, minTxid, maxTxid }: ReplicaFile, txid: bigint): boolean {
  return level === 0 && minTxid === txid && maxTxid === txid;
}

/** Lists so that no damaged listing decides alone: one that another does not bear out is followed by a third, which decides. */
export async function listSurely(
  list: () => Promise<readonly ReplicaFile[]>,
  isSuspicious: (listed: readonly ReplicaFile[]) => boolean,
): Promise<readonly ReplicaFile[]> {
  const first = await list();
  if (!isSuspicious(first)) return first;
  const second = await list();
  return isSuspicious(second) ? second : await list();
}

/** Stores a TXID; the one before was just stored as well where `isNext`. */
async function store(options: RecoveryOptions, recovered: Recovered, isNext: boolean): Promise<ReplicaFile> {
  const { txid } = recovered.logged;
  const isTaken = (files: readonly ReplicaFile[]) => newestOf(files) >= txid && !isStoredAlone(files, txid);
  const listed = await listSurely(() => options.list(txid - 1n), isTaken);
  const newest = newestOf(listed);
  const isThere = isStoredAlone(listed, txid);
  if (isNext && newest < txid - 1n) throw unseen(options.name, newest, txid - 1n);
  // Where it is there, it is ours if it has our bytes, which the store looks to.
  if (newest !== txid - 1n && !isThere) {
    throw kept(
      options,
      `it has TXID ${formatTxid(txid)}, and ${formatTxid(newest)} is the newest in storage`,
    );
  }
  try {
    const stored = await options.put(recovered);
    if (!isThere) await lookBehind(options, txid);
    return stored;
  } catch (error) {
    if (!(error instanceof ObjectExistsError)) throw error;
    throw kept(options, `another writer stored TXID ${formatTxid(txid)}`, error);
  }
}

/**
 * The machine may have slept while the file was on its way, and others have gone on: it came late then, into a gap of their
 * history. That is written down, for it looks as if it were stored.
 */
async function lookBehind(options: RecoveryOptions, txid: bigint): Promise<void> {
  const newest = newestOf(await listSurely(() => options.list(txid), (files) => newestOf(files) > txid));
  if (newest <= txid) return;
  const found = `another writer stored TXID ${formatTxid(newest)} while TXID ${
    formatTxid(txid)
  } was on its way`;
  await keepConflict(options.path, found);
  throw kept(options, found);
}

function newestOf(listed: readonly ReplicaFile[]): bigint {
  return listed.reduce((most, { maxTxid }) => maxTxid > most ? maxTxid : most, 0n);
}

/** A listing may be late, so it is no conflict. */
export function unseen(name: string, found: bigint, stored: bigint): StorageError {
  return new StorageError(
    `Cannot go on writing to ${name}: its files end at TXID ${formatTxid(found)}, expected TXID ${
      formatTxid(stored)
    }, which is stored; open it again`,
    { key: "", status: 0, code: "Incomplete", retryable: true },
  );
}

function kept({ path, name }: RecoveryOptions, found: string, cause?: Error): ConflictError {
  return new ConflictError(
    `Cannot store write log "${path}" in ${name}: ${found}; the log is kept, move it away to write again`,
    cause ? { cause } : {},
  );
}
