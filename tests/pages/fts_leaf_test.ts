import assert from "node:assert/strict";
import { test } from "node:test";
import { blobOf, type FtsLeaf, ftsLeaves } from "../../src/pages/fts_leaf.ts";
import { Random } from "../support/random.ts";
import { databasePages } from "./database_pages.ts";
import { type FullText, fullText } from "./word_reader.ts";

function leavesOf({ pages, tables }: FullText): FtsLeaf[] {
  return pages.tree(tables.leaves).leaves.flatMap((pgno) => ftsLeaves(pages.page(pgno)));
}

for (const [pageSize, options] of [[4096, ""], [4096, ", detail=column"], [65536, ""]] as const) {
  test(`ftsLeaves() reads which rows have which words, pages of ${pageSize} bytes${options}`, async () => {
    const world = await fullText({ pageSize, options });
    const leaves = leavesOf(world);
    const byWord = new Map<string, Set<number>>();
    let [open, segment, number] = ["", 0, 0];
    for (const leaf of leaves) {
      assert.equal(leaf.number, leaf.segment === segment ? number + 1 : 1);
      ({ segment, number } = leaf);
      const add = (word: string, rowids: number[]) =>
        byWord.set(word, new Set([...byWord.get(word) ?? [], ...rowids]));
      add(open, leaf.headRowids());
      for (const [i, word] of leaf.words.entries()) add(word, leaf.rowids(i));
      open = leaf.words.at(-1) ?? open;
      assert.deepEqual(leaf.words, leaf.words.toSorted());
    }
    assert.equal(new Set(leaves.map(({ segment }) => segment)).size, 5);
    for (const [word, rows] of world.rowsOf) {
      assert.deepEqual([...byWord.get(`0${word}`)!].sort((a, b) => a - b), rows, word);
    }
  });
}

test("ftsLeaves() finds nothing in pages of other tables, nor in leaves longer than a page", async () => {
  const pages = await databasePages(4096, (db) => {
    db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b BLOB)");
    db.exec("CREATE TABLE blobs (id INTEGER PRIMARY KEY, block BLOB)");
    db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
      INSERT INTO t SELECT i, i * 7, randomblob(50) FROM n`);
    db.exec("INSERT INTO blobs SELECT id, b FROM t");
  });
  for (let pgno = 1; pgno <= pages.pageCount; pgno++) assert.deepEqual(ftsLeaves(pages.page(pgno)), []);
  const small = leavesOf(await fullText({ pageSize: 1024 }));
  assert.ok(small.length <= 5 * 2);
});

test("FtsLeaf gives rowids of no row where no positions are stored", async () => {
  const world = await fullText({ options: ", detail=none" });
  for (const leaf of leavesOf(world)) {
    for (const [i, word] of leaf.words.slice(0, -1).entries()) {
      const rows = world.rowsOf.get(word.slice(1))!;
      for (const rowid of leaf.rowids(i)) assert.ok(rowid >= rows[0]! && rowid <= rows.at(-1)!);
      assert.ok(leaf.rowids(i).length <= rows.length);
    }
  }
});

test("ftsLeaves() takes few bytes where cells of a page lie over one another", async () => {
  const { pages, tables } = await fullText();
  for (const pgno of pages.tree(tables.leaves).leaves) {
    const page = pages.page(pgno).slice();
    const cell = page.slice(8, 10);
    for (let i = 0; i < 500; i++) page.set(cell, 8 + i * 2);
    page.set([1, 244], 3);
    assert.ok(ftsLeaves(page).length <= 500);
  }
});

test("FtsLeaf takes hostile bytes: ascending rowids, few enough, no throw", async () => {
  const { pages, tables } = await fullText({ rowCount: 4000 });
  const { leaves } = pages.tree(tables.leaves);
  const random = new Random(11);
  for (let round = 0; round < 3000; round++) {
    let page = pages.page(leaves[random.next(leaves.length)]!).slice();
    for (let i = random.next(30); i > 0; i--) page[random.next(page.length)] = random.next(256);
    if (random.next(4) === 0) page = page.subarray(0, random.next(page.length));
    blobOf(page, 10);
    for (const leaf of ftsLeaves(page)) {
      const lists = [leaf.headRowids(), ...leaf.words.map((_, i) => leaf.rowids(i))];
      assert.ok(leaf.words.length <= 4096);
      for (const list of lists) {
        assert.ok(list.length <= 4096);
        for (let i = 1; i < list.length; i++) assert.ok(list[i]! > list[i - 1]!);
      }
    }
  }
});
