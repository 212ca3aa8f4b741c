import type { BtreePage, Row, TreeKind } from "./btree_page.ts";
import type { DatabaseState } from "./database_state.ts";
import { databaseFault } from "./fault.ts";
import { readAhead } from "./read_ahead.ts";
import { readTreePage } from "./tree_walk.ts";

const ROWS_BETWEEN_TURNS = 256;

/** Goes through the rows of pages, one page's rows in memory at a time, and a few pages read ahead. */
export class RowCursor {
  /** The row it stands on; undefined before the first `next()` and behind the last row. */
  row: Row | undefined;
  readonly #state: DatabaseState;
  readonly #kind: TreeKind;
  readonly #pages: AsyncGenerator<BtreePage>;
  #rows: readonly Row[] = [];
  #index = 0;
  #count = 0;

  /** `pgnos` are pages of trees of one kind. */
  constructor(state: DatabaseState, pgnos: readonly number[], kind: TreeKind) {
    this.#state = state;
    this.#kind = kind;
    this.#pages = readAhead(pgnos, (pgno) => readTreePage(state, pgno, kind));
  }

  /**
   * Goes to the next row and gives it, or undefined behind the last.
   *
   * @throws {ReplicaError} a page is broken, or rowids do not ascend
   */
  async next(): Promise<Row | undefined> {
    if (this.#count++ % ROWS_BETWEEN_TURNS === 0) await this.#state.pace.turn();
    while (this.#index >= this.#rows.length) {
      const { done, value } = await this.#pages.next();
      if (done) return this.row = undefined;
      this.#rows = value.rows();
      this.#index = 0;
    }
    const row = this.#rows[this.#index++]!;
    if (this.#kind === "table" && this.row !== undefined && this.row.rowid >= row.rowid) {
      throw databaseFault("read rows", `rowid ${row.rowid} after ${this.row.rowid}`, "ascending rowids");
    }
    return this.row = row;
  }
}
