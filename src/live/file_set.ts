/**
 * The files of a replica that are open in the shim: each once, however many views name it.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { ObjectGoneError } from "../errors.ts";
import type { ObjectIdentity, ObjectStore, RequestOptions } from "../storage/object_store.ts";
import { openPlanFile, type PlanFile, type PlanFileSource } from "../view/plan_file.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";

/** In place of what was fetched of a file's frames, once it is used or where too much would be held. */
export const NOTHING_FETCHED: PlanFile["fetched"] = { offset: 0, bytes: new Uint8Array(0) };

/** Who opens files, and who hears of them. */
export interface FileSetOptions {
  readonly native: Native;
  readonly store: ObjectStore;
  /** The shim's handle of their replica. */
  readonly replicaId: number;
  /** Bound on what is held of the files' frames before it is used, in bytes. */
  readonly heldBytesMax: number;
  /** Called before the shim's handle of a file is given up. */
  readonly onRelease: (file: PlanFile) => void;
}

/**
 * Files that are opened at once: twice as many as a store asks for at once. All of thousands would wait there, each looking
 * for the end of the same signal; to add one more listener costs as much as there are.
 */
const OPENED_AT_ONCE = 128;

/** A file that is open, or about to be. */
interface Entry {
  readonly opening: Promise<PlanFile>;
  file: PlanFile | undefined;
  /** How many are making something of it right now. */
  uses: number;
}

/** Opens files and gives them up when no view needs them. */
export class FileSet {
  readonly #options: FileSetOptions;
  /** By what names their content. */
  readonly #entries = new Map<string, Entry>();
  readonly #files = new Map<number, PlanFile>();
  #held = 0;
  #closed = false;

  constructor(options: FileSetOptions) {
    this.#options = options;
  }

  /** The file behind a handle of the shim. */
  get(objectId: number): PlanFile | undefined {
    return this.#files.get(objectId);
  }

  /** All open files. */
  all(): IterableIterator<PlanFile> {
    return this.#files.values();
  }

  /**
   * Opens the files of a plan, all at once, and lets `act` make something of them; whatever no view names afterwards is
   * given up. `head` is the beginning of the first file where it is here already.
   *
   * @throws {ObjectGoneError} one of them is not there any more
   */
  async use<T>(
    plan: readonly ReplicaFile[],
    request: RequestOptions,
    act: (files: PlanFile[]) => Promise<T>,
    head?: Uint8Array,
  ): Promise<T> {
    const entries: Entry[] = [];
    try {
      const isVain = (reason: unknown) =>
        reason instanceof ObjectGoneError || request.signal?.aborted === true;
      const results = await settleSome(plan, OPENED_AT_ONCE, isVain, async (file, index) => {
        const base = index === 0;
        const source = { replicaId: this.#options.replicaId, file, base, head: base ? head : undefined };
        const entry = this.#take(source, request);
        entries.push(entry);
        return await entry.opening;
      });
      const failed = results.filter((result) => result.status === "rejected").map(({ reason }) => reason);
      if (failed.length > 0) throw failed.find((reason) => reason instanceof ObjectGoneError) ?? failed[0];
      return await act(results.map((result) => (result as PromiseFulfilledResult<PlanFile>).value));
    } finally {
      for (const entry of entries) entry.uses--;
      this.sweep();
    }
  }

  #take(source: PlanFileSource, request: RequestOptions): Entry {
    const name = identity(source.file);
    const known = this.#entries.get(name);
    if (known) {
      known.uses++;
      return known;
    }
    const entry: Entry = { opening: this.#open(source, request), file: undefined, uses: 1 };
    this.#entries.set(name, entry);
    entry.opening.then((file) => {
      entry.file = file;
      if (this.#closed) this.#release(name, file);
    }, () => this.#entries.delete(name));
    return entry;
  }

  async #open(source: PlanFileSource, request: RequestOptions): Promise<PlanFile> {
    const { native, store, heldBytesMax } = this.#options;
    const file = await openPlanFile(native, store, source, request);
    this.#files.set(file.objectId, file);
    this.#held += file.fetched.bytes.length;
    if (this.#held > heldBytesMax) this.drop(file);
    return file;
  }

  /** Lets go of what was fetched of a file's frames. */
  drop(file: PlanFile): void {
    this.#held -= file.fetched.bytes.length;
    file.fetched = NOTHING_FETCHED;
  }

  /** Gives up the files that no view names and nobody is making something of. */
  sweep(): void {
    const { calls } = this.#options.native;
    for (const [name, { file, uses }] of [...this.#entries]) {
      if (file && uses === 0 && calls.ls_object_refs(file.objectId) <= 1) this.#release(name, file);
    }
  }

  /** Gives everything up; views that still name a file keep it. */
  close(): void {
    this.#closed = true;
    for (const [name, { file }] of [...this.#entries]) if (file) this.#release(name, file);
  }

  #release(name: string, file: PlanFile): void {
    this.#entries.delete(name);
    if (file.closed) return;
    file.closed = true;
    this.drop(file);
    this.#files.delete(file.objectId);
    this.#options.onRelease(file);
    this.#options.native.calls.ls_object_free(file.objectId);
  }
}

/** Calls `act` with each item, at most `limit` at once; none is begun after a failure that makes all of it vain. */
async function settleSome<T, R>(
  items: readonly T[],
  limit: number,
  isVain: (reason: unknown) => boolean,
  act: (item: T, index: number) => Promise<R>,
): Promise<PromiseSettledResult<R>[]> {
  const results: PromiseSettledResult<R>[] = [];
  let next = 0;
  const goOn = async () => {
    while (next < items.length) {
      const index = next++;
      try {
        results[index] = { status: "fulfilled", value: await act(items[index]!, index) };
      } catch (reason) {
        results[index] = { status: "rejected", reason };
        if (isVain(reason)) next = items.length;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, goOn));
  return results.filter(() => true); // of those that were begun
}

/** What names a file's content: names are reused when a replica is made anew. */
export function identity(file: ObjectIdentity): string {
  return `${file.key}\n${file.etag}\n${file.size}`;
}
