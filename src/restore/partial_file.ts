/**
 * A database that is being restored: beside the place that it is for, until it is whole.
 *
 * @module
 */
import { lstat, rename, stat } from "node:fs/promises";
import type { Stats } from "node:fs";
import { dirname } from "node:path";
import type { Native } from "../../ffi/native.ts";
import { syncFile, syncFolder } from "../disk_sync.ts";
import { LocalFileError } from "../errors.ts";
import { codeOf } from "../storage/folder_fault.ts";
import { goesOn } from "../hydrate/begun_file.ts";
import { CheckedMark, markPath } from "../hydrate/checked_mark.ts";
import {
  type HydrationRecord,
  readRecord,
  recordPath,
  removeFile,
  removeRecord,
  writeRecord,
} from "../hydrate/hydration_record.ts";
import { LocalFile, type Stopping, sumsPath } from "../hydrate/local_file.ts";
import { type CheckedPart, isSameFile } from "../hydrate/transfer.ts";
import type { PlanFile } from "../view/plan_file.ts";

/** Endings of files that SQLite takes for a database's own. */
const SQLITE_ENDINGS = ["-wal", "-shm", "-journal"] as const;

/** What a file is restored for. */
export interface PartialFileOptions {
  readonly native: Native;
  /** The shim's handle of its replica. */
  readonly replicaId: number;
  /** Where the database is going to be. */
  readonly path: string;
  /** Of its database, in bytes. */
  readonly pageSize: number;
  /** What is there gives way. */
  readonly force: boolean;
}

/** A file that is being restored. */
export class PartialFile {
  readonly #options: PartialFileOptions;
  readonly #path: string;
  #local: LocalFile | undefined;
  #mark: CheckedMark | undefined;
  #isResumed = false;
  /** Pages may be there, and a record of whose they are. */
  #isKept = false;

  /**
   * Opens it, with what was left of it where `isOurs` knows that by its record.
   *
   * @throws {LocalFileError} another process restores to the same place, or there is a file that must not be replaced
   */
  static async open(
    options: PartialFileOptions,
    isOurs: (record: HydrationRecord) => boolean,
  ): Promise<PartialFile> {
    await assertFree(options);
    const partial = new PartialFile(options);
    try {
      const record = await readRecord(partial.#path);
      if (record && isOurs(record)) partial.#mark = await CheckedMark.resume(partial.#path);
      if (partial.#mark) partial.#isResumed = partial.#isKept = true;
      else await partial.begin();
      return partial;
    } catch (error) {
      await partial.close();
      throw error;
    }
  }

  private constructor(options: PartialFileOptions) {
    this.#options = options;
    this.#path = `${options.path}.partial`;
    this.#local = this.#open(true); // what is there is looked at under its lock
  }

  #open(keep: boolean): LocalFile {
    const { native, replicaId, pageSize } = this.#options;
    return new LocalFile(native, replicaId, { path: this.#path, pageSize, keep, isApart: true });
  }

  /** Where pages are put. */
  get local(): LocalFile {
    return this.#local!;
  }

  /** Whether it has what an earlier try has left. */
  get isResumed(): boolean {
    return this.#isResumed;
  }

  /** Whether there is something to go on with for who comes next. */
  get isKept(): boolean {
    return this.#isKept;
  }

  /** How far the file that was put last has been checked. */
  get checked(): CheckedPart | undefined {
    return this.#mark?.part;
  }

  /** Whether a file that was begun can be gone on with for a view shows here; else nothing of it is there. */
  async goOn(files: readonly PlanFile[], viewId: number, stopping: Stopping): Promise<void> {
    const { native } = this.#options;
    const { checked: part, local } = this;
    const file = part && files.find(({ file }) => isSameFile(file, part.file));
    if (file === undefined || part!.frames === part!.count) return;
    const isGoneOn = await goesOn({ native, local, file, viewId, ...stopping }, part!);
    if (!isGoneOn) await this.#mark!.set(undefined);
  }

  /** Keeps how far that is. */
  async check(part: CheckedPart): Promise<void> {
    await this.#mark!.set(part);
  }

  /** Begins anew: nothing is there. */
  async begin(): Promise<void> {
    this.#isResumed = this.#isKept = false;
    await this.#mark?.close();
    this.#mark = undefined;
    await removeRecord(this.#path);
    this.#local?.close();
    this.#local = undefined; // until it is open again, which another process may prevent
    this.#local = this.#open(false);
    await syncFile(sumsPath(this.#path)); // or those of other pages could be there again after a crash
    this.#mark = await CheckedMark.begin(this.#path);
  }

  /** Keeps whose pages they are. */
  async record(record: HydrationRecord): Promise<void> {
    this.#isKept = true;
    await writeRecord(this.#path, record);
  }

  /**
   * Puts it in its place, for good when this returns.
   *
   * @throws {LocalFileError} there is a file by now that must not be replaced
   */
  async finish(commit: number): Promise<void> {
    const { path, force } = this.#options;
    this.local.putFirst();
    if (!this.local.truncate(commit)) {
      throw new LocalFileError(`Cannot restore to "${path}": a view reads its pages, expected none`);
    }
    await syncFile(this.#path);
    if (force) { for (const ending of SQLITE_ENDINGS) await removeFile(`${path}${ending}`); }
    await assertFree(this.#options);
    await rename(this.#path, path);
    await syncFolder(dirname(path));
    await this.discard();
  }

  /** Removes all there is beside the place, and gives it up; nothing where it was given up before. */
  async discard(): Promise<void> {
    if (this.#local === undefined) return; // what is there may be another process's
    this.#isKept = true;
    await removeRecord(this.#path);
    for (const part of [this.#path, markPath(this.#path), sumsPath(this.#path)]) await removeFile(part);
    await this.close();
  }

  /** Gives it up; what is there is kept, if it is of use. */
  async close(): Promise<void> {
    const mark = this.#mark;
    this.#mark = undefined;
    await mark?.close();
    if (this.#local && !this.#isKept) return await this.discard();
    this.#local?.close();
    this.#local = undefined;
  }
}

/** Asserts that a database may be put in a place, and what becomes of it beside that. */
async function assertFree({ path, force }: PartialFileOptions): Promise<void> {
  await assertFolder(path);
  const there = await stat(path).catch(() => undefined); // what else it is shows later
  if (there && !there.isFile()) {
    throw new LocalFileError(
      `Cannot restore to "${path}": there is ${kindOf(there)}, expected a file or none`,
    );
  }
  for (const ending of force ? [] : ["", ...SQLITE_ENDINGS]) {
    if (!await exists(`${path}${ending}`)) continue;
    const found = ending === ""
      ? "there is a file"
      : `there is "${path}${ending}", which would be taken for its own`;
    throw new LocalFileError(`Cannot restore to "${path}": ${found}, expected none, or option force`);
  }
  const partial = `${path}.partial`;
  if (!await exists(partial) || await exists(sumsPath(partial)) || await exists(recordPath(partial))) return;
  throw new LocalFileError(
    `Cannot restore to "${path}": "${partial}" is in the way, expected none, or one of its own`,
  );
}

/** Asserts that there is a folder for a file; what else is wrong with it shows later. */
async function assertFolder(path: string): Promise<void> {
  const folder = dirname(path);
  const found = await stat(folder).then(
    (there) => there.isDirectory() ? "" : `"${folder}" is no folder`,
    (error) => codeOf(error) === "ENOENT" ? `there is no folder "${folder}"` : "",
  );
  if (found !== "") throw new LocalFileError(`Cannot restore to "${path}": ${found}, expected a folder`);
}

async function exists(path: string): Promise<boolean> {
  return await lstat(path).then(() => true, (error) => {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  });
}

function kindOf(there: Stats): string {
  if (there.isDirectory()) return "a folder";
  if (there.isFIFO()) return "a pipe";
  return there.isSocket() ? "a socket" : "a device";
}
