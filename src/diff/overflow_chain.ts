import type { Row } from "./btree_page.ts";
import type { DatabaseState } from "./database_state.ts";
import { databaseFault } from "./fault.ts";
import type { PageSet } from "./page_set.ts";

/** One page of a chain. */
export interface OverflowPage {
  /** Where it stands. */
  readonly pgno: number;
  /** The part of the payload that it holds. */
  readonly content: Uint8Array;
}

/**
 * Reads the pages that hold the rest of a row's record, in order.
 *
 * `seen` takes the pages in: given again for other rows, it bounds all of them together by the database's size.
 *
 * @throws {ReplicaError} a page is out of range, in `seen` already, or the chain ends early
 * @see SQLite's file format, "Cell Payload Overflow Pages"
 */
export async function* overflowPages(
  state: DatabaseState,
  row: Row,
  seen: PageSet,
): AsyncGenerator<OverflowPage> {
  const contentSize = state.usableSize - 4;
  let pgno = row.overflow;
  for (let left = row.payloadSize - row.local.length; left > 0; left -= contentSize) {
    const page = await state.page(pgno);
    if (!seen.add(pgno)) {
      throw databaseFault("read overflow pages", `page ${pgno} is met twice`, "each page once");
    }
    yield { pgno, content: page.subarray(4, 4 + Math.min(left, contentSize)) };
    pgno = nextOverflowPgno(page);
  }
}

/** The page after this one in its chain, or 0. */
export function nextOverflowPgno(page: Uint8Array): number {
  return page[0]! * 0x100_0000 + page[1]! * 0x1_0000 + page[2]! * 0x100 + page[3]!;
}
