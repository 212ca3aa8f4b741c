/**
 * Databases made by the runtime's own SQLite, as pages, and their trees walked by the strict parser.
 *
 * @module
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BtreePage } from "../../src/diff/btree_page.ts";
import { openPlain, type PlainDatabase } from "../support/sqlite.ts";

/** A tree as it really is. */
export interface RealTree {
  readonly leaves: number[];
  /** All levels of interior pages, the root first. */
  readonly interiors: number[];
  /** Of a table: each row's rowid and leaf. */
  readonly rows: { rowid: number; leaf: number }[];
}

/** A database's bytes, and root pages by name. */
export class DatabasePages {
  readonly pageSize: number;
  readonly roots: ReadonlyMap<string, number>;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array, pageSize: number, roots: ReadonlyMap<string, number>) {
    this.#bytes = bytes;
    this.pageSize = pageSize;
    this.roots = roots;
  }

  get pageCount(): number {
    return this.#bytes.length / this.pageSize;
  }

  page(pgno: number): Uint8Array {
    return this.#bytes.subarray((pgno - 1) * this.pageSize, pgno * this.pageSize);
  }

  tree(root: number): RealTree {
    const tree: RealTree = { leaves: [], interiors: [], rows: [] };
    const walk = (pgno: number) => {
      const type = this.page(pgno)[pgno === 1 ? 100 : 0]!;
      const kind = type === 0x02 || type === 0x0a ? "index" : "table";
      const page = new BtreePage(this.page(pgno), pgno, this.pageSize, kind);
      if (!page.leaf) {
        tree.interiors.push(pgno);
        for (const child of page.children()) walk(child);
        return;
      }
      tree.leaves.push(pgno);
      if (kind !== "table") return;
      for (const { rowid } of page.rows()) tree.rows.push({ rowid: Number(rowid), leaf: pgno });
    };
    walk(root);
    return tree;
  }
}

/** Makes a database, and gives its pages; the file is gone afterwards. */
export async function databasePages(
  pageSize: number,
  fill: (db: PlainDatabase) => void,
): Promise<DatabasePages> {
  const folder = await mkdtemp(join(tmpdir(), "pages-"));
  try {
    const path = join(folder, "made.db");
    const db = await openPlain(path);
    db.exec(`PRAGMA page_size = ${pageSize}`);
    fill(db);
    const rows = db.all("SELECT name, rootpage FROM sqlite_schema WHERE rootpage > 0");
    const roots = new Map(rows.map(({ name, rootpage }) => [String(name), Number(rootpage)]));
    db.close();
    return new DatabasePages(new Uint8Array(await readFile(path)), pageSize, roots);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/**
 * Orders of customers, whose keys scatter unless `key` does not; rows come in rowid order unless
 * `isScattered`.
 */
export function fillOrders(
  db: PlainDatabase,
  rowCount: number,
  textSize: number,
  isScattered = false,
  key = "(i * 2654435761) % 1000003",
): void {
  db.exec("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, note TEXT)");
  const id = isScattered ? `(i * 7919) % ${rowCount * 16 + 1}` : "i";
  db.exec(`
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rowCount})
    INSERT OR IGNORE INTO orders
    SELECT ${id}, ${key}, substr(hex(randomblob(${textSize})), 1, ${textSize}) FROM n`);
  db.exec("CREATE INDEX by_customer ON orders (customer)");
}

/**
 * A tree of two levels of interior pages made up rather than stored, as one of a million pages; leaves in
 * file order.
 */
export function* madeUpTree(
  root: number,
  leafCount: number,
  fanOut: number,
): Generator<[pgno: number, page: Uint8Array]> {
  const parentCount = Math.ceil(leafCount / fanOut);
  const firstLeaf = root + 1 + parentCount;
  const below = (first: number, count: number, rows: number) =>
    interiorPage(
      Array.from({ length: count }, (_, i) => first + i),
      Array.from({ length: count - 1 }, (_, i) => rows * (i + 1)),
    );
  yield [root, below(root + 1, parentCount, fanOut * 40)];
  for (let i = 0; i < parentCount; i++) {
    const first = i * fanOut;
    const children = Array.from(
      { length: Math.min(fanOut, leafCount - first) },
      (_, j) => firstLeaf + first + j,
    );
    yield [root + 1 + i, interiorPage(children, children.slice(1).map((_, j) => (first + j + 1) * 40))];
  }
}

/** An interior page of a table. */
export function interiorPage(
  children: readonly number[],
  rowids: readonly number[],
  pageSize: number = 65536,
): Uint8Array {
  const page = new Uint8Array(pageSize);
  const view = new DataView(page.buffer);
  page[0] = 0x05;
  view.setUint16(3, rowids.length);
  view.setUint32(8, children.at(-1)!);
  let cell = pageSize;
  for (const [i, rowid] of rowids.entries()) {
    cell -= 9;
    view.setUint16(12 + i * 2, cell);
    view.setUint32(cell, children[i]!);
    for (let at = 4, rest = rowid; at >= 0; at--, rest = Math.floor(rest / 128)) {
      page[cell + 4 + at] = rest % 128 + (at < 4 ? 128 : 0);
    }
  }
  return page;
}
