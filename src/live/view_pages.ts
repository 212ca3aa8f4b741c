/**
 * The pages of one view, read by the core itself.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";
import { LS } from "../../ffi/symbols.ts";
import type { PageSource } from "../diff/page_source.ts";
import { ReplicaError, StateGoneError } from "../errors.ts";
import type { PageRequest } from "../pages/pages.ts";
import { nextTurn } from "../view/plan_file.ts";
import { viewInfo } from "../view/view_info.ts";
import { locate } from "../view/view_map.ts";
import type { ReplicaFile } from "../view/restore_plan.ts";

/** How often a page is loaded anew because it was evicted, or its file gave way to another, before it was read. */
const ATTEMPTS_MAX = 16;

/** Page numbers asked for at once. */
const CHANGED_BATCH = 65_536;

/** Pages looked up before the loop may turn: about 2 ms. */
const LOCATED_A_SLICE = 4_096;

/** Brings a page into the pool. */
export type ServePage = (request: PageRequest) => Promise<unknown>;

/** A view held by the core. */
export class ViewPages implements PageSource {
  readonly pageSize: number;
  /** Size in pages. */
  readonly commit: number;
  readonly viewId: number;
  readonly txid: bigint;
  readonly stamp: number;
  readonly #native: Native;
  readonly #serve: ServePage;

  /** Takes a reference to the view, which must be held by somebody at this moment. */
  constructor(native: Native, viewId: number, serve: ServePage) {
    this.#native = native;
    this.#serve = serve;
    this.viewId = viewId;
    const info = native.calls.ls_view_hold(viewId) < 0 ? undefined : viewInfo(native, viewId);
    if (info === undefined) {
      throw new StateGoneError("Cannot read view: nobody holds it, expected one that is seen");
    }
    this.txid = info.txid;
    this.stamp = info.stamp;
    this.commit = info.commit;
    this.pageSize = info.pageSize;
  }

  /** A page as it is stored, to be kept. */
  async page(pgno: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(this.pageSize);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const result = this.#native.calls.ls_view_page(this.viewId, pgno, bytes, bytes.length);
      if (result === 0) return bytes;
      if (result !== LS.BUSY) break;
      await this.#load(pgno);
    }
    throw new ReplicaError(`Cannot read page: page ${pgno} of ${this.commit} could not be had`);
  }

  async #load(pgno: number): Promise<void> {
    const place = locate(this.#native, this.viewId, pgno);
    if (place) await this.#serve({ ...place, pgno, viewId: this.viewId, connection: 0, indexLeaf: 0 });
  }

  /** Of these pages, those that may have been written after `txid`: a file that ends earlier has what they were then. */
  async writtenAfter(
    txid: bigint,
    pgnos: Uint32Array,
    fileOf: (objectId: number) => ReplicaFile | undefined,
  ): Promise<Uint32Array> {
    const written: number[] = [];
    for (const [i, pgno] of pgnos.entries()) {
      if (i % LOCATED_A_SLICE === LOCATED_A_SLICE - 1) await nextTurn();
      const place = locate(this.#native, this.viewId, pgno);
      const file = place && fileOf(place.objectId);
      if (file === undefined || file.maxTxid > txid) written.push(pgno);
    }
    return Uint32Array.from(written);
  }

  /** Page numbers that another view may have otherwise, ascending; those that only one of them has among them. */
  async changedFrom(other: ViewPages): Promise<Uint32Array> {
    const parts: Uint32Array[] = [];
    for (let next = 1;;) {
      const bytes = new Uint8Array(CHANGED_BATCH * 4);
      const { ls_view_changed } = this.#native.calls;
      const found = ls_view_changed(other.viewId, this.viewId, next, bytes, CHANGED_BATCH);
      const part = new Uint32Array(bytes.buffer, 0, Math.max(0, found));
      parts.push(part);
      if (found < CHANGED_BATCH) break;
      next = part.at(-1)! + 1;
      await nextTurn();
    }
    const all = new Uint32Array(parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  /** Gives the view up. */
  close(): void {
    this.#native.calls.ls_view_release(this.viewId);
  }
}
