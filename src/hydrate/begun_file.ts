/**
 * The file of which a part is in a local copy, and whose checksum is not known yet: what came of it counts while it can be
 * gone on with.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import type { ObjectIdentity } from "../storage/object_store.ts";
import { nextTurn, type PlanFile } from "../view/plan_file.ts";
import { CheckedMark, markPath } from "./checked_mark.ts";
import { removeFile } from "./hydration_record.ts";
import type { LocalFile, Stopping } from "./local_file.ts";
import { frameCount } from "./pieces.ts";
import { type CheckedPart, isSameFile } from "./transfer.ts";

/** Frames looked up before the loop may turn: well below 1 ms. */
const FRAMES_A_SLICE = 4096;

/** Keeps how far the file is that is read as a whole; beside the copy, too, until that was whole for the first time. */
export class BegunFile {
  #part: CheckedPart | undefined;
  #mark: CheckedMark | undefined;
  #isShown = false;

  /** How far it is; undefined where nothing is there of any file that was not checked to its end. */
  get part(): CheckedPart | undefined {
    return this.#part;
  }

  /** Whether views may have pages of it. */
  get isShown(): boolean {
    return this.#part !== undefined && this.#isShown;
  }

  /** Whether it is a file. */
  is(file: ObjectIdentity): boolean {
    return this.#part !== undefined && isSameFile(this.#part.file, file);
  }

  /** Takes over what was kept beside a copy; false where that is not known. */
  async resume(path: string): Promise<boolean> {
    await this.close();
    this.#mark = await CheckedMark.resume(path);
    this.#set(this.#mark?.part);
    return this.#mark !== undefined;
  }

  /** Nothing is there; from now on it is kept beside a copy, if there is a path. */
  async begin(path?: string): Promise<void> {
    await this.close();
    if (path !== undefined) this.#mark = await CheckedMark.begin(path);
  }

  #set(part: CheckedPart | undefined): void {
    this.#part = part && part.frames < part.count ? part : undefined;
  }

  /** A part of it has come; `isKept`: a later process would take it over. */
  async came(part: CheckedPart, isKept: boolean): Promise<void> {
    if (part.frames === 0) this.#isShown = false;
    this.#set(part);
    if (isKept) await this.#mark?.set(part);
  }

  /** Readers have what has come. */
  shown(): void {
    this.#isShown = true;
  }

  /** Nothing is there of it any more. */
  async forgotten(): Promise<void> {
    this.#part = undefined;
    await this.#mark?.set(undefined);
  }

  /** The copy is whole: what later transactions write to it no process takes over. */
  async end(path: string): Promise<void> {
    await this.#mark?.close();
    this.#mark = undefined;
    await removeFile(markPath(path)); // a process that was killed here may have left one
  }

  /** Gives it up; what is kept beside the copy stays. */
  async close(): Promise<void> {
    const mark = this.#mark;
    this.#part = this.#mark = undefined;
    this.#isShown = false;
    await mark?.close();
  }
}

/** Where a file is that was begun. */
export interface BegunPlace extends Stopping {
  readonly native: Native;
  readonly local: LocalFile;
  /** The view that it is wanted for. */
  readonly viewId: number;
  readonly file: PlanFile;
}

/**
 * Whether a file can be gone on with that an earlier process has begun: all before is there, but for page 1 where that was
 * held back, which comes with a file's first frame. What came after it was noted, or all of it where it cannot, counts as not
 * here.
 */
export async function goesOn(place: BegunPlace, { count, frames }: CheckedPart): Promise<boolean> {
  const { native, local, file, viewId } = place;
  let isThere = count === frameCount(native, file);
  await eachSlice(place, [local.holdsFirst ? 1 : 0, isThere ? frames : 0], (range) => {
    isThere &&= local.lacking(file, range, viewId).count === 0;
  });
  if (!isThere) await local.forget(file, place);
  else {
    await eachSlice(place, [frames, count], (range) => {
      if (local.lacking(file, range, viewId).count < range.count) local.forgetFrames(file, range);
    });
  }
  return isThere;
}

async function eachSlice(
  { signal }: Stopping,
  [from, to]: readonly [number, number],
  act: (range: { first: number; count: number }) => void,
): Promise<void> {
  for (let first = from; first < to; first += FRAMES_A_SLICE) {
    signal?.throwIfAborted();
    act({ first, count: Math.min(FRAMES_A_SLICE, to - first) });
    await nextTurn();
  }
}
