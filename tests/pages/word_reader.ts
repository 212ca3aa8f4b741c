/**
 * Full-text indices of several segments, and a connection in miniature that looks up words in them.
 *
 * @module
 */
import type { Ahead } from "../../src/pages/ahead.ts";
import { FtsAhead } from "../../src/pages/fts_ahead.ts";
import { FtsIndex, type FtsTables } from "../../src/pages/fts_index.ts";
import { IndexAhead } from "../../src/pages/index_ahead.ts";
import { TreeMap } from "../../src/pages/tree_map.ts";
import type { PlainDatabase } from "../support/sqlite.ts";
import { type DatabasePages, databasePages } from "./database_pages.ts";

/** A full-text index, and what SQLite says of it. */
export interface FullText {
  readonly pages: DatabasePages;
  readonly map: TreeMap;
  readonly tables: FtsTables;
  /** Rows by word, ascending. */
  readonly rowsOf: ReadonlyMap<string, readonly number[]>;
  /** By segment and word: the leaf's number that is looked up, as SQL finds it. */
  readonly found: readonly { readonly segment: number; readonly word: string; readonly number: number }[];
}

export interface FullTextOptions {
  readonly pageSize?: number;
  readonly rowCount?: number;
  /** Transactions, of which each makes a segment, the first of most rows. */
  readonly segments?: number;
  /** What follows the column in the table's declaration. */
  readonly options?: string;
}

/** Rowids are not 1, 2, 3. */
const ROWID = "(i * 3 + 5)";

/** Rows of one of 1,000 words, two frequent ones and a number each; in `docs`, and in `texts` too. */
export async function fullText(options: FullTextOptions = {}): Promise<FullText> {
  const { pageSize = 4096, segments = 5, rowCount = 12_000, options: declared = "" } = options;
  const rowsOf = new Map<string, number[]>();
  const found: { segment: number; word: string; number: number }[] = [];
  const pages = await databasePages(pageSize, (db) => {
    db.exec("CREATE TABLE texts (id INTEGER PRIMARY KEY, body TEXT)");
    db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rowCount})
      INSERT INTO texts SELECT ${ROWID}, 'w' || (i * i * 265443 % 1000003 / 7 % 1000) ||
        ' f' || (i * i * 104729 % 1000003 / 11 % 40) ||
        ' g' || (i * i * 130363 % 999983 / 13 % 25) || ' ' || i || ' ' ||
        substr(hex(zeroblob(150)), 1, 300) FROM n`);
    db.exec(`CREATE VIRTUAL TABLE docs USING fts5 (body${declared})`);
    db.exec("INSERT INTO docs (docs, rank) VALUES ('automerge', 0), ('hashsize', 100000000)");
    for (let i = 0; i < segments; i++) {
      const isIn = i === 0 ? `id % 100 > ${segments * 4}` : `id % 100 BETWEEN ${i * 4 + 1} AND ${i * 4 + 4}`;
      const last = i === segments - 1 && i > 0 ? " OR id % 100 <= 4" : "";
      db.exec(
        `INSERT INTO docs (rowid, body) SELECT id, body FROM texts WHERE ${segments === 1 ? 1 : isIn + last}`,
      );
    }
    for (const { id, body } of db.all("SELECT id, body FROM texts ORDER BY id")) {
      for (const word of String(body).toLowerCase().split(" ")) {
        const rows = rowsOf.get(word);
        if (rows) rows.push(Number(id));
        else rowsOf.set(word, [Number(id)]);
      }
    }
    found.push(...lookUps(db));
  });
  const map = new TreeMap();
  for (let pgno = 1; pgno <= pages.pageCount; pgno++) map.learn(pgno, pages.page(pgno));
  const root = (name: string) => pages.roots.get(`docs_${name}`)!;
  const tables = { leaves: root("data"), words: root("idx"), settings: root("config") };
  return { pages, map, tables, rowsOf, found };
}

function lookUps(db: PlainDatabase): { segment: number; word: string; number: number }[] {
  const words = ["0", "01", "05000", "0f1", "0w0", "0w137", "0w99", "0x"];
  const segments = db.all("SELECT DISTINCT segid AS segment FROM docs_idx").map(({ segment }) =>
    Number(segment)
  );
  return segments.flatMap((segment) =>
    words.map((word) => {
      const [row] = db.all(`SELECT pgno / 2 AS number FROM docs_idx
        WHERE segid = ${segment} AND term <= CAST('${word}' AS BLOB) ORDER BY term DESC LIMIT 1`);
      return { segment, word, number: Math.max(1, Number(row?.["number"] ?? 1)) };
    })
  );
}

/** A full-text index all of whose pages are there. */
export function wholeIndex({ map, tables, pages }: FullText): FtsIndex {
  return new FtsIndex(map, tables, (pgno) => pages.page(pgno));
}

/** Looks words up, and reads their rows. */
export class WordReader {
  /** How often the reader waited, where all that is asked for at a time is there after one wait. */
  waits = 0;
  readonly asked = new Set<number>();
  readonly read = new Set<number>();
  readonly #world: FullText;
  readonly #words: FtsAhead;
  readonly #ahead: IndexAhead;
  /** Pages, and after how many waits they are there. */
  readonly #memory = new Map<number, number>();
  readonly #marks = new Set<number>();

  constructor(world: FullText) {
    this.#world = world;
    const { map, pages, tables } = world;
    this.#words = new FtsAhead(map, {
      pageOf: (pgno) => this.#isThere(pgno) ? pages.page(pgno) : undefined,
      tablesOf: (root) => root === tables.leaves || root === tables.settings ? tables : undefined,
    });
    this.#ahead = new IndexAhead(map, this.#words);
  }

  /** Pages that came ahead and were not read. */
  get unused(): number {
    return [...this.asked].filter((pgno) => !this.read.has(pgno)).length;
  }

  /** Comes to the leaves that have a word, segment by segment. */
  lookUp(word: string): this {
    const index = wholeIndex(this.#world);
    const { map, tables } = this.#world;
    for (const pgno of [tables.words, map.leafOf(tables.leaves, 10)!]) this.reach(pgno);
    for (const segment of index.segments) {
      const found = index.find(segment, `0${word}`);
      if ("number" in found) this.reach(index.leafPage(segment.id, found.number)!);
    }
    return this;
  }

  /** Comes to rows in several tables in turn. */
  readRows(rowids: readonly number[], tables: readonly string[]): this {
    const { map, pages } = this.#world;
    for (const rowid of rowids) {
      for (const table of tables) this.reach(map.leafOf(pages.roots.get(table)!, rowid)!);
    }
    return this;
  }

  reach(pgno: number): void {
    this.read.add(pgno);
    const isThere = this.#isThere(pgno);
    if (isThere && !this.#marks.delete(pgno)) return;
    if (!this.#memory.has(pgno)) this.#memory.set(pgno, this.waits + 1);
    this.#take(this.#words.approached(pgno));
    this.#take(this.#ahead.reached(pgno));
    if (!isThere) this.waits++;
    this.#take(this.#ahead.reached(pgno));
    for (const ahead of this.#words.entered(pgno, this.#world.pages.page(pgno))) this.#take(ahead);
  }

  /** All pages go from memory; what they told stays. */
  forget(): void {
    for (const pages of [this.#memory, this.#marks, this.asked, this.read]) pages.clear();
  }

  #isThere(pgno: number): boolean {
    return (this.#memory.get(pgno) ?? Infinity) <= this.waits;
  }

  #take({ pgnos, mark, otherMark = 0 }: Ahead): void {
    for (const each of [mark, otherMark]) if (each !== 0) this.#marks.add(each);
    for (const pgno of pgnos) {
      if (this.#memory.has(pgno)) continue;
      this.asked.add(pgno);
      this.#memory.set(pgno, this.waits + 1);
    }
  }
}
