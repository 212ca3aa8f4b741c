import assert from "node:assert/strict";
import { test } from "node:test";
import { ftsRowids } from "../../src/pages/fts_rowids.ts";
import { Random } from "../support/random.ts";
import { type DatabasePages, databasePages } from "./database_pages.ts";

const ROW_COUNT = 4000;

/** Of which rows a word is, by the number of rows between two of them; rowids are not 1, 2, 3. */
const WORDS = new Map([["often", 2], ["some", 7], ["seldom", 97], ["rare", 1900]]);

function rowidOf(i: number): number {
  return i * 3 + 5;
}

function rowidsOf(step: number): number[] {
  return Array.from({ length: Math.floor(ROW_COUNT / step) }, (_, i) => rowidOf((i + 1) * step));
}

function fullText(pageSize: number, options: string = ""): Promise<DatabasePages> {
  return databasePages(pageSize, (db) => {
    db.exec(`CREATE VIRTUAL TABLE docs USING fts5 (body${options})`);
    const words = [...WORDS].map(([word, step]) => `iif(i % ${step} = 0, '${word} x ', '')`).join(" || ");
    db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ROW_COUNT})
      INSERT INTO docs (rowid, body) SELECT i * 3 + 5, ${words} || 'w' || (i % 500) || ' ' || i FROM n`);
    db.exec("INSERT INTO docs (docs) VALUES ('optimize')");
  });
}

function listsOf(pages: DatabasePages): Float64Array[] {
  return pages.tree(pages.roots.get("docs_data")!).leaves.flatMap((pgno) => ftsRowids(pages.page(pgno)));
}

for (const [pageSize, options] of [[4096, ""], [4096, ", detail=column"], [8192, ""], [65536, ""]] as const) {
  test(`ftsRowids() reads which rows have a word, pages of ${pageSize} bytes${options}`, async () => {
    const lists = listsOf(await fullText(pageSize, options));
    for (const [word, step] of WORDS) {
      const wanted = rowidsOf(step);
      // A list may go on in the next page.
      const found: number[] = [];
      for (const list of lists) if (list[0] === wanted[found.length]) found.push(...list);
      assert.deepEqual(found, wanted, word);
    }
    const all = new Set(rowidsOf(1));
    for (const list of lists) {
      for (const [i, rowid] of list.entries()) assert.ok(all.has(rowid) && (i === 0 || rowid > list[i - 1]!));
    }
  });
}

test("ftsRowids() takes what is in the page of a leaf that is longer, pages of 1024 bytes", async () => {
  const lists = listsOf(await fullText(1024));
  const all = new Set(rowidsOf(1));
  assert.ok(lists.length > 0);
  for (const list of lists) assert.ok(all.has(list[0]!) && all.has(list[1]!));
});

test("ftsRowids() finds nothing in pages of other tables", async () => {
  const pages = await databasePages(4096, (db) => {
    db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b BLOB)");
    db.exec("CREATE TABLE blobs (id INTEGER PRIMARY KEY, block BLOB)");
    db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
      INSERT INTO t SELECT i, i * 7, randomblob(50) FROM n`);
    db.exec("INSERT INTO blobs SELECT id, b FROM t");
  });
  for (let pgno = 1; pgno <= pages.pageCount; pgno++) assert.deepEqual(ftsRowids(pages.page(pgno)), []);
});

test("ftsRowids() takes few rowids where cells of a page lie over one another", async () => {
  const pages = await fullText(4096);
  const { leaves } = pages.tree(pages.roots.get("docs_data")!);
  const counts = leaves.map((pgno) => {
    const page = pages.page(pgno).slice();
    const cell = page.slice(8, 10);
    for (let i = 0; i < 500; i++) page.set(cell, 8 + i * 2);
    page.set([1, 244], 3);
    return ftsRowids(page).reduce((count, { length }) => count + length, 0);
  });
  assert.ok(Math.max(...counts) > 500);
  assert.ok(Math.max(...counts) <= 2 * 4096);
});

test("ftsRowids() takes hostile pages: ascending rowids, few enough, no throw", async () => {
  const pages = await fullText(4096);
  const { leaves } = pages.tree(pages.roots.get("docs_data")!);
  const random = new Random(11);
  for (let round = 0; round < 4000; round++) {
    let page = pages.page(leaves[random.next(leaves.length)]!).slice();
    for (let i = random.next(30); i > 0; i--) page[random.next(page.length)] = random.next(256);
    if (random.next(4) === 0) page = page.subarray(0, random.next(page.length));
    const lists = ftsRowids(page);
    assert.ok(lists.reduce((count, { length }) => count + length, 0) <= 65536);
    for (const list of lists) {
      assert.ok(list.length >= 2);
      for (let i = 1; i < list.length; i++) assert.ok(list[i]! > list[i - 1]!);
    }
  }
});
