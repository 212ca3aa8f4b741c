/**
 * What the shim tells of a view.
 *
 * @module
 */
import type { Native } from "../../ffi/native.ts";

/** Bytes in which the shim tells what a view is. */
export const VIEW_INFO_SIZE = 48;

/** What a view is. */
export interface ViewInfo {
  readonly txid: bigint;
  /** Size in pages. */
  readonly commit: number;
  /** Bytes of a page. */
  readonly pageSize: number;
  /** When it was written, in ms since the Unix epoch. */
  readonly timeMs: number;
  readonly stamp: number;
}

/** Reads what `ls_view_info` or `ls_replica_view` wrote. */
export function decodeViewInfo(bytes: Uint8Array): ViewInfo {
  const view = new DataView(bytes.buffer, bytes.byteOffset, VIEW_INFO_SIZE);
  const word = (index: number) => view.getBigUint64(index * 8, true);
  return {
    txid: word(0),
    commit: Number(word(1)),
    pageSize: Number(word(2)),
    timeMs: Number(word(3)),
    stamp: Number(word(4)),
  };
}

/** What a view is; undefined when nobody holds it any more. */
export function viewInfo(native: Native, viewId: number): ViewInfo | undefined {
  const bytes = new Uint8Array(VIEW_INFO_SIZE);
  return native.calls.ls_view_info(viewId, bytes) < 0 ? undefined : decodeViewInfo(bytes);
}
