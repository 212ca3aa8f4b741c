/**
 * Plan files → a view in the shim.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { RestorePlanError } from "../errors.ts";
import { formatTxid } from "../ltx/txid.ts";
import { Pace } from "../pace.ts";
import { checkShim, nextTurn, type PlanFile } from "./plan_file.ts";

/** Frames entered into a page map before the loop may turn: about 1 ms. */
const FRAMES_A_SLICE = 100_000;

/** What a view is made of. */
export interface ViewSource {
  /** The shim's handle of its replica. */
  readonly replicaId: number;
  /** The replica's name, for messages. */
  readonly name: string;
  /** In the order they are applied; at least one. */
  readonly files: readonly PlanFile[];
  /** The view that the files are applied to; 0 for none: then they make up a whole plan. */
  readonly base: number;
  /** What its content is known by to SQLite. */
  readonly stamp: number;
}

/**
 * Makes a view, private to the core until it is published. The caller holds a reference.
 *
 * @throws {RestorePlanError} the files do not fit together
 * @throws {LtxFormatError} they do not make up all pages
 */
export async function makeView(native: Native, source: ViewSource): Promise<number> {
  const { calls } = native;
  const { name, files, base } = source;
  const last = files.at(-1)!;
  const { pageSize, commit, timestampMs } = last.header;
  checkPageSizes(source);
  const mapId = checkShim(native, calls.ls_map_new(base, pageSize), "map pages of", name);
  const pace = new Pace();
  try {
    for (const file of files) {
      await pace.turn(); // of thousands of files each takes a moment
      await enterFile(native, mapId, file);
    }
    const txid = last.file.maxTxid;
    const time = BigInt(Math.max(0, Math.trunc(timestampMs)));
    const viewId = calls.ls_map_view(mapId, source.replicaId, txid, commit, source.stamp, time);
    return checkShim(native, viewId, `make a view of TXID ${formatTxid(txid)} of`, name);
  } catch (error) {
    calls.ls_map_free(mapId); // answers LS_MISUSE when the view has used it up
    throw error;
  }
}

/** Where a view has a page; undefined when it has none, or nobody holds it. */
export function locate(
  native: Native,
  viewId: number,
  pgno: number,
): { objectId: number; frame: number } | undefined {
  const place = new Uint8Array(12);
  if (native.calls.ls_view_locate(viewId, pgno, place) < 0) return undefined;
  const words = new DataView(place.buffer);
  return { objectId: words.getUint32(0, true), frame: words.getUint32(4, true) };
}

/** Words of one page as the shim tells it. */
const PLACE_WORDS = 6;

/** Where a view has some pages, and what they take there; none has a place when nobody holds the view. */
export class Places {
  readonly #words: Uint32Array<ArrayBuffer>;

  constructor(native: Native, viewId: number, pgnos: readonly number[]) {
    const asked = new Uint8Array(Uint32Array.from(pgnos).buffer);
    this.#words = new Uint32Array(pgnos.length * PLACE_WORDS);
    native.calls.ls_view_places(viewId, asked, pgnos.length, new Uint8Array(this.#words.buffer));
  }

  #word(index: number, word: number): number {
    return this.#words[index * PLACE_WORDS + word]!;
  }

  /** The shim's handle of the file that has a page; 0 when the view has no such page. */
  objectId(index: number): number {
    return this.#word(index, 0);
  }

  frame(index: number): number {
    return this.#word(index, 1);
  }

  /** Bytes as stored. */
  size(index: number): number {
    return this.#word(index, 2);
  }

  /** Whether it is in the pool. */
  isCached(index: number): boolean {
    return this.#word(index, 3) === 1;
  }

  /** Of the frame in its file. */
  offset(index: number): number {
    return this.#word(index, 4) + this.#word(index, 5) * 2 ** 32;
  }
}

/** A view that grows keeps the page size of the files it was made of first: the shim refuses another. */
function checkPageSizes({ name, files }: ViewSource): void {
  const last = files.at(-1)!;
  const odd = files.find(({ header }) => header.pageSize !== last.header.pageSize);
  if (odd === undefined) return;
  throw new RestorePlanError(
    `Cannot open replica ${name}: "${odd.file.key}" has pages of ${odd.header.pageSize} bytes, ` +
      `"${last.file.key}" of ${last.header.pageSize}, expected one page size`,
    "gap",
  );
}

async function enterFile(native: Native, mapId: number, file: PlanFile): Promise<void> {
  const { calls } = native;
  for (let frame = 0;;) {
    const next = calls.ls_map_apply(mapId, file.objectId, frame, FRAMES_A_SLICE);
    frame = checkShim(native, next, "map pages of", file.file.key);
    if (frame === 0) break;
    await nextTurn();
  }
  checkShim(native, calls.ls_map_truncate(mapId, file.header.commit), "map pages of", file.file.key);
}
