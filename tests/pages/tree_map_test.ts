import assert from "node:assert/strict";
import { test } from "node:test";
import { indexRecords } from "../../src/pages/index_records.ts";
import { SchemaMap } from "../../src/pages/schema_map.ts";
import { TreeMap } from "../../src/pages/tree_map.ts";
import { Random } from "../support/random.ts";
import { type DatabasePages, databasePages, fillOrders, interiorPage, madeUpTree } from "./database_pages.ts";

const PAGE_SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536];

function learnAll(pages: DatabasePages, map = new TreeMap()): TreeMap {
  for (let pgno = 1; pgno <= pages.pageCount; pgno++) map.learn(pgno, pages.page(pgno));
  return map;
}

for (const pageSize of PAGE_SIZES) {
  test(`TreeMap knows the order of all leaves of real trees of pages of ${pageSize} bytes`, async () => {
    const rowCount = pageSize < 4096 ? 6000 : 12_000;
    const pages = await databasePages(pageSize, (db) => fillOrders(db, rowCount, 60 + pageSize / 32, true));
    const map = learnAll(pages);
    for (const root of pages.roots.values()) {
      const { leaves, interiors, rows } = pages.tree(root);
      const limit = leaves.length + 1;
      assert.ok(interiors.length > 0);
      assert.deepEqual(map.following(leaves[0]!, limit), leaves.slice(1));
      assert.deepEqual(map.following(leaves.at(-1)!, limit, -1), leaves.slice(0, -1).reverse());
      for (const [i, leaf] of leaves.entries()) {
        assert.deepEqual(map.following(leaf, 3), leaves.slice(i + 1, i + 4));
        assert.deepEqual(map.following(leaf, 3, -1), leaves.slice(Math.max(0, i - 3), i).reverse());
        assert.deepEqual(map.following(leaf, 2, 5), [leaves[i + 5], leaves[i + 10]].filter((p) => p));
        assert.equal(map.root(leaf), root);
        assert.equal(map.level(leaf), 0);
        for (const step of [1, 7, 30]) {
          if (leaves[i + step] === undefined) continue;
          assert.equal(map.distance(leaf, leaves[i + step]!, 30), step);
          assert.equal(map.distance(leaves[i + step]!, leaf, 30), -step);
          assert.equal(map.distance(leaf, leaves[i + step]!, step - 1), undefined);
        }
      }
      const below = new Set(interiors.flatMap((pgno) => map.interiorChildren(pgno)));
      assert.deepEqual([...below].sort(), interiors.filter((pgno) => pgno !== root).sort());
      for (const { rowid, leaf } of rows) {
        assert.equal(map.leafOf(root, rowid), leaf);
        const { low, high } = map.rowidRange(leaf)!;
        assert.ok(low < rowid && rowid <= high);
      }
    }
    assert.ok(map.parentBytes <= 6 * map.size.children + 8 * pages.pageCount / 64);
  });
}

test("TreeMap.following() ends at an interior page that was not seen", async () => {
  const pages = await databasePages(512, (db) => fillOrders(db, 3000, 60));
  const root = pages.roots.get("orders")!;
  const { leaves, interiors } = pages.tree(root);
  const map = new TreeMap();
  map.learn(root, pages.page(root));
  let at = leaves[0]!;
  const came: number[] = [];
  const loads: number[] = [];
  for (let page = map.leafOf(root, 0)!; page !== at; page = map.leafOf(root, 0)!) {
    map.learn(page, pages.page(page));
    loads.push(page);
  }
  for (let next = map.following(at, 8); next.length > 0; next = map.following(at, 8)) {
    const last = next.at(-1)!;
    if (map.distance(next.at(-2) ?? at, last, 1) !== 1) {
      assert.ok(map.learn(last, pages.page(last)));
      loads.push(last);
      next.pop();
    }
    came.push(...next);
    at = next.at(-1) ?? at;
  }
  assert.deepEqual(came, leaves.slice(1));
  assert.deepEqual(loads.sort(), interiors.filter((pgno) => pgno !== root).sort());
});

test("TreeMap.leafOf() gives an interior page that was not seen, and knows its level by one leaf elsewhere", async () => {
  const pages = await databasePages(512, (db) => fillOrders(db, 6000, 60));
  const root = pages.roots.get("orders")!;
  const { leaves, interiors } = pages.tree(root);
  const map = new TreeMap();
  assert.equal(map.leafOf(root, 1), undefined);
  map.learn(root, pages.page(root));
  assert.equal(map.level(root), undefined);
  assert.ok(interiors.includes(map.leafOf(root, 6000)!));
  while (interiors.includes(map.leafOf(root, 1)!)) {
    map.learn(map.leafOf(root, 1)!, pages.page(map.leafOf(root, 1)!));
  }
  assert.equal(map.leafOf(root, 1), leaves[0]);
  map.learn(leaves[0]!, pages.page(leaves[0]!));
  assert.ok(map.level(map.leafOf(root, 6000)!)! > 0);
  assert.equal(map.level(root), map.level(map.interiorChildren(root)[0]!)! + 1);
});

test("TreeMap.learn() replaces what a page told before", () => {
  const map = new TreeMap();
  map.learn(2, interiorPage([10, 11, 12], [5, 9]));
  map.learn(2, interiorPage([10, 13, 12, 14], [5, 9, 20]));
  assert.deepEqual(map.following(10, 9), [13, 12, 14]);
  assert.deepEqual(map.following(11, 9), []);
  assert.equal(map.size.children, 4);
  map.learn(2, new Uint8Array(512));
  assert.deepEqual(map.following(10, 9), []);
  assert.deepEqual([map.size.children, map.size.interiors], [0, 0]);
  map.learn(3, interiorPage([10, 11], [5]));
  assert.deepEqual(map.following(10, 9), [11]);
  assert.equal(map.root(10), 3);
});

test("TreeMap.leafCount() tells about how many leaves a tree has, 1 for an unseen root", async () => {
  const pages = await databasePages(512, (db) => fillOrders(db, 6000, 60));
  const map = new TreeMap();
  assert.equal(map.leafCount(2), 1);
  for (const root of pages.roots.values()) {
    const { leaves, interiors } = pages.tree(root);
    for (const pgno of interiors) map.learn(pgno, pages.page(pgno));
    const ratio = map.leafCount(root) / leaves.length;
    assert.ok(ratio > 1 / 2 && ratio < 2, `${ratio} of the true number`);
    assert.equal(map.leafCount(leaves[0]!), 1);
  }
  const made = new TreeMap();
  for (const [pgno, page] of madeUpTree(2, 9000, 450)) made.learn(pgno, page);
  assert.equal(made.leafCount(2), 9000);
});

test("TreeMap.membership() tells the pages of one tree from those of others", async () => {
  const pages = await databasePages(512, (db) => fillOrders(db, 3000, 60, true));
  const map = learnAll(pages);
  const below = new Map([...pages.roots.values()].map((root) => {
    const { leaves, interiors } = pages.tree(root);
    return [root, new Set([...leaves, ...interiors.filter((pgno) => pgno !== root)])];
  }));
  assert.ok(below.size >= 2);
  for (const [root, members] of below) {
    const isMember = map.membership(root);
    for (let pgno = 1; pgno <= pages.pageCount; pgno++) {
      assert.equal(isMember(pgno), members.has(pgno), `page ${pgno} and the tree of page ${root}`);
    }
  }
  assert.equal(new TreeMap().membership(2)(3), false);
});

test("TreeMap keeps its bound on children", () => {
  const map = new TreeMap(1000);
  for (let i = 0; i < 50; i++) {
    map.learn(
      i + 2,
      interiorPage(
        Array.from({ length: 90 }, (_, j) => 100 + i * 90 + j),
        Array.from({ length: 89 }, (_, j) => j),
      ),
    );
  }
  assert.deepEqual([map.size.interiors, map.size.children], [11, 990]);
  assert.deepEqual(map.following(100, 2), [101, 102]);
});

test("TreeMap, SchemaMap take hostile pages without a throw or a hang", () => {
  const random = new Random(11);
  const map = new TreeMap();
  const schema = new SchemaMap(map);
  const types = [0x02, 0x05, 0x0a, 0x0d];
  for (let round = 0; round < 6000; round++) {
    const page = random.bytes([0, 1, 11, 12, 99, 100, 113, 512][random.next(8)]!);
    const pgno = 1 + random.next(60);
    if (page.length > 108) page[pgno === 1 ? 100 : 0] = types[random.next(4)]!;
    if (page.length === 512 && random.next(2)) {
      // Cells in range, children near one another: circles come about.
      const start = pgno === 1 ? 100 : 0;
      const count = random.next(30);
      page[start + 3] = 0;
      page[start + 4] = count;
      page.set([0, 0, 0, 1 + random.next(60)], start + 8);
      for (let i = 0; i < count; i++) {
        const cell = 220 + random.next(280);
        page.set([cell >> 8, cell & 255], start + 12 + i * 2);
        page.set([0, 0, 0, 1 + random.next(60)], cell);
      }
    }
    map.learn(pgno, page);
    schema.learn(pgno, page);
    const other = 1 + random.next(60);
    assert.ok(map.following(other, 100, random.next(9) - 4).length <= 100);
    map.distance(other, pgno, 64);
    map.leafOf(other, random.next(1000));
    map.rowidRange(other);
    map.root(other);
    map.level(other);
    map.interiorChildren(other);
    if (round % 100 === 0) assert.equal(schema.tableOf(other), schema.tableOf(other));
  }
  assert.ok(map.size.interiors <= 60);
});

/** Has all cells of a page be the one at `cell`. */
function pointAllTo(
  page: Uint8Array,
  { start, count, cell }: { start: number; count: number; cell: number },
) {
  const view = new DataView(page.buffer);
  view.setUint16(start + 3, count);
  const pointers = start + (page[start]! < 8 ? 12 : 8);
  for (let i = 0; i < count; i++) view.setUint16(pointers + i * 2, cell);
}

test("SchemaMap keeps no more of a page than it has, where its cells lie over one another", () => {
  const page = new Uint8Array(65_536);
  page[100] = 0x0d;
  const nameSize = 40_000;
  const serial = 12 + 2 * nameSize + 1;
  const head = [7, 23, 13, 0x80 | serial >> 14, 0x80 | serial >> 7 & 127, serial & 127, 1];
  const record = [...head, ...Buffer.from("table"), ...new Array<number>(nameSize).fill(97), 2];
  const size = record.length;
  page.set([0x80 | size >> 14, 0x80 | size >> 7 & 127, size & 127, 1, ...record], 25_000);
  pointAllTo(page, { start: 100, count: 10_900, cell: 25_000 });
  const schema = new SchemaMap(new TreeMap());
  assert.ok(schema.learn(1, page));
  assert.deepEqual(schema.roots, [2]);
});

test("an index's records are not looked at over and over, where its cells lie over one another", () => {
  const page = new Uint8Array(65_536);
  page[0] = 0x0a;
  const headerSize = 16_000;
  const size = headerSize + 1;
  page.set([0x80 | size >> 14, 0x80 | size >> 7 & 127, size & 127], 40_000);
  page.set([0x80 | headerSize >> 7, headerSize & 127], 40_003);
  page.fill(1, 40_005, 40_003 + size);
  pointAllTo(page, { start: 0, count: 1, cell: 40_000 });
  assert.equal(indexRecords(page)?.rowids.length, 1);
  pointAllTo(page, { start: 0, count: 9_300, cell: 40_000 });
  assert.equal(indexRecords(page), undefined);
});

for (const encoding of ["UTF-8", "UTF-16le", "UTF-16be"]) {
  test(`SchemaMap knows the table of each index, in ${encoding}`, async () => {
    const pages = await databasePages(1024, (db) => {
      db.exec(`PRAGMA encoding = '${encoding}'`);
      for (let i = 0; i < 40; i++) {
        db.exec(`CREATE TABLE "täble ${i}" (a INTEGER PRIMARY KEY, b TEXT UNIQUE, c)`);
        db.exec(`CREATE INDEX i${i} ON "täble ${i}" (c)`);
      }
      db.exec("CREATE VIEW v AS SELECT 1");
    });
    const map = learnAll(pages);
    const schema = new SchemaMap(map);
    for (let pgno = 1; pgno <= pages.pageCount; pgno++) schema.learn(pgno, pages.page(pgno));
    assert.deepEqual([...schema.roots].sort(), [...pages.roots.values()].sort());
    for (let i = 0; i < 40; i++) {
      const table = pages.roots.get(`täble ${i}`)!;
      assert.equal(schema.tableOf(pages.roots.get(`i${i}`)!), table);
      assert.equal(schema.tableOf(pages.roots.get(`sqlite_autoindex_täble ${i}_1`)!), table);
      assert.equal(schema.tableOf(table), undefined);
    }
    schema.learn(1, pages.page(1));
    const leaf = pages.tree(1).leaves[1]!;
    schema.learn(leaf, new Uint8Array(1024));
    assert.ok(schema.roots.length < pages.roots.size);
  });
}

test("TreeMap takes 4 to 6 bytes for a page's parent, few and scattered or a million", () => {
  const map = new TreeMap();
  for (const [pgno, page] of madeUpTree(2, 1_000_000, 450)) map.learn(pgno, page);
  assert.equal(map.size.children, 1_002_223);
  assert.ok(map.parentBytes <= 6 * map.size.children);
  assert.ok(map.size.bytes <= 14 * map.size.children);
  const few = new TreeMap();
  few.learn(
    3,
    interiorPage(Array.from({ length: 400 }, (_, i) => 5 + i * 97), Array.from({ length: 399 }, (_, i) => i)),
  );
  assert.ok(few.parentBytes <= 6 * 400);
});
