/**
 * A local file that pages of a database are put into, as the shim has it.
 *
 * @module
 */
import { cString, type Native } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";
import { writeRefusal } from "../drivers/permissions.ts";
import { LocalFileError } from "../errors.ts";
import { checkShim, nextTurn, type PlanFile, shimFault } from "../view/plan_file.ts";
import type { FrameRange } from "../pages/frames.ts";

/** `LS_LOCAL_…` in `ffi/shim.h`. */
const FLAG = { keep: 1, head: 2, private: 4, apart: 8 } as const;

/** Pages entered into a map, or forgotten, before the loop may turn: about 1 ms. */
const PAGES_A_SLICE = 50_000;

/** Pages whose checksums are looked at before the loop may turn: about 1 ms. */
const CHECKED_BYTES = 1024 * 1024;

/** Path of the checksums beside a local file. */
export function sumsPath(path: string): string {
  return `${path}-sums`;
}

/** How a file is opened. */
export interface LocalFileOptions {
  readonly path: string;
  /** Of its database, in bytes. */
  readonly pageSize: number;
  /** What is there stays. */
  readonly keep?: boolean;
  /** Its page 1 names a rollback journal, so that it can be opened as it is. */
  readonly isPlain?: boolean;
  /** Nobody else finds it, and it ends with its last reader. */
  readonly isPrivate?: boolean;
  /** Whether its name says that it is not whole: then page 1 is put as it comes, and not last. */
  readonly isApart?: boolean;
}

/** What ends that which goes through all of a file. */
export interface Stopping {
  readonly signal?: AbortSignal;
}

/** Frames that a view has in a file and that are not here. */
export interface Lacking {
  readonly count: number;
  /** Of these, those whose place another view still reads. */
  readonly blocked: number;
}

/** A file that is open for one replica. */
export class LocalFile {
  readonly path: string;
  readonly #native: Native;
  readonly #id: number;
  #isWarm = false;
  readonly #pageSize: number;
  /** Whether page 1 is held back until all others are there. */
  readonly holdsFirst: boolean;

  /**
   * Opens it.
   *
   * @throws {LocalFileError} another process, or another replica, has it; or the system, or the runtime, refuses it
   */
  constructor(native: Native, replicaId: number, { path, pageSize, ...options }: LocalFileOptions) {
    const flags = (options.keep ? FLAG.keep : 0) | (options.isPlain ? FLAG.head : 0) |
      (options.isPrivate ? FLAG.private : 0) | (options.isApart ? FLAG.apart : 0);
    // whoever made a folder for it was permitted to write there, and Deno remembers each path that it is asked about
    const refusal = options.isPrivate ? undefined : writeRefusal(path, sumsPath(path));
    if (refusal) throw new LocalFileError(`Cannot open local file "${path}": ${refusal}`);
    this.path = path;
    this.#native = native;
    this.#pageSize = pageSize;
    this.holdsFirst = !options.isApart;
    this.#id = this.#check(native.calls.ls_local_open(replicaId, cString(path), pageSize, flags), "open");
  }

  #check(result: number, act: string): number {
    if (result === LS.BUSY && act === "open") {
      throw new LocalFileError(`Cannot open local file "${this.path}": another process or replica has it`, {
        isTaken: true,
      });
    }
    if (result === LS.GONE) {
      throw new LocalFileError(`Cannot ${act} local file "${this.path}": somebody has cut it short`, {
        isCut: true,
      });
    }
    if (result === LS.REFUSED) {
      throw new LocalFileError(`Cannot ${act} local file "${this.path}": ${shimFault(this.#native)}`);
    }
    return checkShim(this.#native, result, `${act} local file`, this.path);
  }

  /**
   * Puts frames that a view has there; `bytes` are exactly theirs. `crc` goes on over them.
   *
   * @throws {LtxFormatError} a frame breaks the format
   * @throws {LocalFileError} the file cannot be written
   */
  put(file: PlanFile, range: FrameRange, viewId: number, bytes: Uint8Array, crc: BigUint64Array): void {
    const { calls } = this.#native;
    const stored = bytes as Uint8Array<ArrayBuffer>;
    const words = new Uint8Array(crc.buffer as ArrayBuffer);
    const { first, count } = range;
    const result = calls.ls_local_put(
      this.#id,
      viewId,
      file.objectId,
      first,
      count,
      stored,
      stored.length,
      words,
    );
    if (result === LS.FORMAT) checkShim(this.#native, result, "decode pages of", file.file.key);
    this.#check(result, "write");
  }

  /** Puts those that are in the pool; gives how many are lacking still. */
  take(file: PlanFile, { first, count }: FrameRange, viewId: number): number {
    const { calls } = this.#native;
    return this.#check(calls.ls_local_take(this.#id, viewId, file.objectId, first, count), "write");
  }

  /** How many frames are lacking. */
  lacking(file: PlanFile, { first, count }: FrameRange, viewId: number): Lacking {
    const words = new BigUint64Array(2);
    const bytes = new Uint8Array(words.buffer);
    const result = this.#native.calls.ls_local_needs(
      this.#id,
      viewId,
      file.objectId,
      first,
      count,
      bytes,
    );
    this.#check(result, "look into");
    return { count: Number(words[0]), blocked: Number(words[1]) };
  }

  /** Puts page 1, which is held back until all others are there. */
  putFirst(): void {
    this.#check(this.#native.calls.ls_local_first(this.#id), "write");
  }

  /** Gives it the size of the database; false while a view has pages in it that would go. */
  truncate(commit: number): boolean {
    const result = this.#native.calls.ls_local_truncate(this.#id, commit);
    if (result === LS.BUSY) return false;
    this.#check(result, "write");
    return true;
  }

  /** Has a map name what was put for it. */
  async enter(mapId: number): Promise<void> {
    const { ls_local_enter } = this.#native.calls;
    await this.#sliced("enter pages of", 0, () => ls_local_enter(mapId, this.#id, PAGES_A_SLICE));
  }

  /** Has a map name what a view of the same content has here. */
  async copy(mapId: number, viewId: number): Promise<void> {
    const { ls_local_copy } = this.#native.calls;
    await this.#sliced("enter pages of", 1, (pgno) => {
      return ls_local_copy(mapId, this.#id, viewId, pgno, PAGES_A_SLICE);
    });
  }

  /** Has a map name all pages of a database that is here as a whole. */
  async enterAll(mapId: number, commit: number): Promise<void> {
    const { ls_local_map } = this.#native.calls;
    await this.#sliced("enter pages of", 1, (pgno) => {
      return ls_local_map(mapId, this.#id, commit, pgno, PAGES_A_SLICE);
    });
  }

  /** Looks which pages fit to their checksums: they count as put for a view, 0 for none. Gives how many. */
  async check(viewId: number, stopping?: Stopping): Promise<number> {
    const words = new BigUint64Array(1);
    const bytes = new Uint8Array(words.buffer);
    const most = Math.max(1, Math.floor(CHECKED_BYTES / this.#pageSize));
    const { ls_local_check } = this.#native.calls;
    await this.#sliced("check", 1, (pgno) => ls_local_check(this.#id, viewId, pgno, most, bytes), stopping);
    return Number(words[0]);
  }

  /** Has all pages that a file holds count as not here. */
  async forget({ objectId }: PlanFile, stopping?: Stopping): Promise<void> {
    const { ls_local_forget } = this.#native.calls;
    const forget = (frame: number) => ls_local_forget(this.#id, objectId, frame, PAGES_A_SLICE);
    await this.#sliced("write", 0, forget, stopping);
  }

  /** Has the pages that some of its frames hold count as not here; a slice of them at most. */
  forgetFrames({ objectId }: PlanFile, { first, count }: FrameRange): void {
    this.#check(this.#native.calls.ls_local_forget(this.#id, objectId, first, count), "write");
  }

  async #sliced(
    act: string,
    first: number,
    step: (at: number) => number,
    stopping?: Stopping,
  ): Promise<void> {
    for (let at = first;;) {
      stopping?.signal?.throwIfAborted();
      at = this.#check(step(at), act);
      if (at === 0) return;
      await nextTurn();
    }
  }

  /** From now on keeps pages that are read again and again in memory, in `bytes` of it at most, if there is as much. */
  keepWarm(bytes: number): void {
    if (this.#isWarm) return; // the copy was lost in between, and is whole once more before it is made anew
    this.#isWarm = true;
    const result = this.#native.calls.ls_local_warm(this.#id, Math.floor(bytes / this.#pageSize));
    if (result !== LS.NOMEM) this.#check(result, "keep pages of");
  }

  /** Gives it up; views that have pages in it go on reading them. */
  close(): void {
    this.#native.calls.ls_local_close(this.#id);
  }
}
