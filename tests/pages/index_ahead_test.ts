import assert from "node:assert/strict";
import { test } from "node:test";
import { IndexAhead } from "../../src/pages/index_ahead.ts";
import { indexRecords } from "../../src/pages/index_records.ts";
import { TreeMap } from "../../src/pages/tree_map.ts";
import { Random } from "../support/random.ts";
import { databasePages } from "./database_pages.ts";
import { type Indexed, indexed, type IndexedRow, IndexReader, rowsOf } from "./index_reader.ts";

for (const pageSize of [512, 4096, 65536]) {
  test(`indexRecords() reads what each record of real pages of ${pageSize} bytes ends with`, async () => {
    const rowCount = 4000;
    const base = 2 ** 44;
    const pages = await databasePages(pageSize, (db) => {
      db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, a, b)");
      db.exec(`
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rowCount})
        INSERT INTO t SELECT
          CASE i % 4 WHEN 0 THEN i WHEN 1 THEN -i WHEN 2 THEN i * 100000 ELSE ${base} + i END,
          CASE i % 3 WHEN 0 THEN i WHEN 1 THEN 'text' || i ELSE i / 7.0 END, NULL FROM n`);
      db.exec("INSERT INTO t VALUES (0, 1, 2), (1, 1, 2)");
      db.exec("CREATE INDEX ab ON t (a, b)");
    });
    const { leaves, interiors } = pages.tree(pages.roots.get("ab")!);
    const found = [...leaves, ...interiors].flatMap((pgno) => [...indexRecords(pages.page(pgno))!.rowids]);
    const rowids = pages.tree(pages.roots.get("t")!).rows.map(({ rowid }) => rowid);
    assert.deepEqual(found.sort((a, b) => a - b), rowids);
  });
}

for (const pageSize of [1024, 4096]) {
  test(`IndexAhead has the rows of 50 records after few waits, pages of ${pageSize} bytes`, async () => {
    const world = await indexed(pageSize, 30_000, pageSize / 8);
    for (const first of [0, 1000, 7777]) {
      const { misses, unused, read } = new IndexReader(world).readRows(rowsOf(world, first, 50));
      assert.ok(read.size > 40);
      assert.ok(misses <= 2, `${misses} of ${read.size} leaves waited for`);
      assert.ok(unused <= 64);
    }
  });

  test(`IndexAhead goes on to the next page of an index, of ${pageSize} bytes, and backward`, async () => {
    const world = await indexed(pageSize, 30_000, pageSize / 8);
    const rows = rowsOf(world, 2000, 1500);
    const forward = new IndexReader(world).readRows(rows);
    assert.ok(new Set(rows.map(({ indexLeaf }) => indexLeaf)).size > 2);
    assert.ok(forward.misses <= 3, `${forward.misses} of ${forward.read.size} leaves waited for`);
    // A mark that is read for an earlier record looks like progress: half a window more than a window.
    assert.ok(forward.unused <= 96, `${forward.unused} unused`);
    const backward = new IndexReader(world).readRows(rows.toReversed());
    assert.ok(backward.misses <= 12, `${backward.misses} of ${backward.read.size} leaves waited for`);
  });
}

test("IndexAhead asks for 8 leaves at first, distinct and in order, then for more", async () => {
  const world = await indexed(4096, 30_000, 512);
  const ahead = new IndexAhead(world.map);
  const rows = rowsOf(world, 0, 200);
  const leaves = [...new Set(rows.map(({ rowid }) => world.leafOf.get(rowid)!))];
  ahead.entered(rows[0]!.indexLeaf, world.pages.page(rows[0]!.indexLeaf), world.table);
  assert.deepEqual(ahead.reached(leaves[0]!), { pgnos: leaves.slice(1, 9), mark: leaves[1] });
  assert.deepEqual(ahead.reached(leaves[1]!).pgnos, leaves.slice(9, 18));
  assert.deepEqual(ahead.reached(leaves[3]!).pgnos, []);
  assert.deepEqual(ahead.reached(leaves[9]!).pgnos, leaves.slice(18, 42));
});

test("IndexAhead stops asking when look-ups by an index read one row each", async () => {
  const world = await indexed(4096, 30_000, 512);
  const ahead = new IndexAhead(world.map);
  const random = new Random(4);
  const rows = rowsOf(world, 0, 30_000);
  const reader = new IndexReader(world, ahead);
  for (let i = 0; i < 200; i++) {
    reader.readRows([rows[random.next(rows.length)]!]);
    reader.forget();
  }
  assert.ok(reader.wasted <= 20, `${reader.wasted} pages asked for`);
  const range = new IndexReader(world, ahead).readRows(rows.slice(5000, 5050));
  assert.ok(range.misses <= 4, `${range.misses} misses afterwards`);
});

test("IndexAhead wants interior pages that are not known first, and goes on when they come", async () => {
  const world = await indexed(512, 6000, 100);
  const map = new TreeMap();
  const { interiors } = world.pages.tree(world.table);
  const rows = rowsOf(world, 0, 6);
  const learn = (pgno: number) => map.learn(pgno, world.pages.page(pgno));
  learn(world.table);
  for (let at = map.leafOf(world.table, rows[0]!.rowid)!; interiors.includes(at);) {
    learn(at);
    at = map.leafOf(world.table, rows[0]!.rowid)!;
  }
  const first = world.leafOf.get(rows[0]!.rowid)!;
  learn(first);
  const ahead = new IndexAhead(map);
  ahead.entered(rows[0]!.indexLeaf, world.pages.page(rows[0]!.indexLeaf), world.table);
  const came: number[] = [];
  let waiting = [...ahead.reached(first).pgnos];
  assert.ok(interiors.includes(waiting[0]!));
  for (let rounds = 0; waiting.length > 0; rounds++) {
    assert.ok(rounds < 20);
    came.push(...waiting);
    waiting = waiting.flatMap((pgno) => {
      learn(pgno);
      return [...ahead.learned(pgno).pgnos];
    });
  }
  for (const { rowid } of rows.slice(1)) assert.ok(came.includes(world.leafOf.get(rowid)!));
});

test("IndexAhead has nothing to say of WITHOUT ROWID tables", async () => {
  const pages = await databasePages(1024, (db) => {
    db.exec("CREATE TABLE t (a INTEGER, b TEXT, PRIMARY KEY (b)) WITHOUT ROWID");
    db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
      INSERT INTO t SELECT (i * 7919) % 10007, 'key ' || i FROM n`);
    db.exec("CREATE INDEX a ON t (a)");
  });
  const map = new TreeMap();
  for (let pgno = 1; pgno <= pages.pageCount; pgno++) map.learn(pgno, pages.page(pgno));
  const ahead = new IndexAhead(map);
  const [table, index] = [pages.roots.get("t")!, pages.roots.get("a")!];
  for (const leaf of pages.tree(index).leaves) ahead.entered(leaf, pages.page(leaf), table);
  for (const leaf of pages.tree(table).leaves) assert.deepEqual(ahead.reached(leaf), { pgnos: [], mark: 0 });
});

test("IndexAhead takes hostile pages without a throw or a hang", async () => {
  const world = await indexed(512, 3000, 60);
  const random = new Random(8);
  const ahead = new IndexAhead(world.map);
  const leaves = world.pages.tree(world.table).leaves;
  for (let round = 0; round < 8000; round++) {
    const pgno = world.indexLeaves[random.next(20)]!;
    const page = random.next(3)
      ? world.pages.page(pgno).slice()
      : random.bytes([0, 7, 8, 512][random.next(4)]!);
    for (let i = 0; i < random.next(20) && page.length > 0; i++) {
      page[random.next(page.length)] = random.next(256);
    }
    if (page.length > 0 && random.next(4)) page[0] = 0x0a;
    const before = world.map.size.children;
    ahead.entered(pgno, page, random.next(2) * world.table);
    const { pgnos } = ahead.reached(leaves[random.next(leaves.length)]!);
    assert.ok(pgnos.length <= 65);
    ahead.learned(pgnos[0] ?? 0);
    assert.equal(world.map.size.children, before);
  }
});

/** The rows of each key, in the index's order; the key as a function of the rowid. */
function rowsByKey(world: Indexed, keyOf: (rowid: number) => number): IndexedRow[][] {
  const byKey = new Map<number, IndexedRow[]>();
  for (const row of rowsOf(world, 0, Infinity)) {
    const key = keyOf(row.rowid);
    byKey.set(key, [...byKey.get(key) ?? [], row]);
  }
  return [...byKey.values()];
}

function scattered(count: number): { key: string; keyOf: (rowid: number) => number } {
  return { key: `(i * 7919) % ${count}`, keyOf: (rowid) => rowid * 7919 % count };
}

/** Each query finds nothing in memory, but what earlier ones told. */
function readAll(world: Indexed, queries: readonly (readonly IndexedRow[])[]): IndexReader {
  const reader = new IndexReader(world);
  for (const rows of queries) {
    reader.readRows(rows);
    reader.forget();
  }
  return reader;
}

test("IndexAhead asks for the rows of one key at once, forward and backward, and for no others", async () => {
  const { key, keyOf } = scattered(750);
  const world = await indexed(4096, 30_000, 512, key);
  const queries = rowsByKey(world, keyOf).slice(100, 160);
  const forward = readAll(world, queries);
  // Two waits a query, for the index and for the table; few keys lie in two pages of the index.
  assert.ok(forward.waits <= 2 * 60 + 12, `${forward.waits} waits`);
  assert.ok(forward.wasted <= 60, `${forward.wasted} in vain`);
  const backward = readAll(world, queries.map((rows) => rows.toReversed()));
  assert.ok(backward.waits <= 2 * 60 + 24, `${backward.waits} waits`);
  assert.ok(backward.wasted <= 120, `${backward.wasted} in vain`);
});

test("IndexAhead begins with 16 leaves where more than 64 records have one key", async () => {
  const { key, keyOf } = scattered(60);
  const world = await indexed(4096, 30_000, 512, key);
  const rows = rowsByKey(world, keyOf)[7]!;
  const ahead = new IndexAhead(world.map);
  ahead.entered(rows[0]!.indexLeaf, world.pages.page(rows[0]!.indexLeaf), world.table);
  const leaves = rows.map(({ rowid }) => world.leafOf.get(rowid)!);
  assert.deepEqual(ahead.reached(leaves[0]!).pgnos, leaves.slice(1, 17));
  const reader = readAll(world, [rows]);
  assert.ok(reader.waits < 20, `${reader.waits} waits for 500 rows`);
});

test("IndexAhead asks for less where readers take the first row of a key, or the first five", async () => {
  const { key, keyOf } = scattered(750);
  const world = await indexed(4096, 30_000, 512, key);
  const queries = rowsByKey(world, keyOf).slice(100, 300);
  const first = readAll(world, queries.map((rows) => rows.slice(0, 1)));
  assert.ok(first.wasted <= 80, `${first.wasted} in vain for 200 rows`);
  const five = readAll(world, queries.map((rows) => rows.slice(0, 5)));
  assert.ok(five.waits <= 420);
  assert.ok(five.wasted <= 200 * 20, `${five.wasted} in vain for 1000 rows`);
});

test("IndexAhead fetches leaves with the index's page where rows lie in the order of the index", async () => {
  const world = await indexed(4096, 60_000, 80, "i * 10");
  const rows = rowsOf(world, 0, Infinity);
  const random = new Random(6);
  const at = Array.from({ length: 100 }, () => random.next(rows.length - 20));
  const single = readAll(world, at.map((i) => rows.slice(i, i + 1)));
  assert.ok(single.waits <= 110, `${single.waits} waits for 100 rows, the index's page included`);
  assert.ok(single.wasted <= 100 * 16);
  const twenty = readAll(world, at.map((i) => rows.slice(i, i + 20)));
  assert.ok(twenty.waits <= 130, `${twenty.waits} waits`);
});

test("IndexAhead guesses nothing before an index led to its table, and seldom after vain ones", async () => {
  const world = await indexed(4096, 60_000, 80, "i * 10");
  const ahead = new IndexAhead(world.map);
  const guessed = world.indexLeaves.filter((leaf) => ahead.approached(leaf, world.table).length > 0);
  assert.deepEqual(guessed, []);
  new IndexReader(world, ahead).readRows(rowsOf(world, 0, 20));
  const later = world.indexLeaves.slice(1, 100).filter((leaf) =>
    ahead.approached(leaf, world.table).length > 0
  );
  assert.ok(later.length >= 3 && later.length <= 3 + 7, `${later.length} guesses`);
});

test("IndexAhead asks for nothing at look-ups by rowid, whatever was read by an index before", async () => {
  const world = await indexed(4096, 16_000, 512);
  const rows = rowsOf(world, 0, Infinity);
  for (const seed of [1, 2, 3]) {
    const random = new Random(seed);
    const reader = new IndexReader(world);
    for (let i = 0; i < 10; i++) {
      const first = random.next(rows.length - 50);
      reader.readRows(rows.slice(first, first + 50));
    }
    reader.forget();
    const before = reader.wasted;
    for (let i = 0; i < 200; i++) reader.readRow(rows[random.next(rows.length)]!.rowid);
    reader.forget();
    assert.ok(reader.wasted - before <= 8, `${reader.wasted - before} in vain`);
  }
});

test("IndexAhead makes nobody wait more often than without it", async () => {
  for (const key of [undefined, "i * 10", "i % 11", "i / 40", "(i * 7919) % 300"]) {
    const world = await indexed(1024, 4000, 120, key);
    const rows = rowsOf(world, 0, Infinity);
    const random = new Random(9);
    const ahead = new IndexAhead(world.map);
    for (const length of [1, 3, 40, 700]) {
      const first = random.next(rows.length - length);
      const wanted = rows.slice(first, first + length);
      const without = new Set(
        wanted.flatMap(({ indexLeaf, rowid }) => [indexLeaf, world.leafOf.get(rowid)!]),
      );
      const { waits } = new IndexReader(world, ahead).readRows(wanted);
      assert.ok(waits <= without.size, `${waits} waits for ${without.size} pages`);
    }
  }
});

test("IndexAhead passes over pages not known to be leaves, and leaves told twice", async () => {
  const world = await indexed(4096, 16_000, 512);
  const map = new TreeMap();
  const { interiors, leaves } = world.pages.tree(world.table);
  for (const pgno of interiors) map.learn(pgno, world.pages.page(pgno));
  const [row] = rowsOf(world, 0, 1);
  const leaf = world.leafOf.get(row!.rowid)!;
  const ahead = new IndexAhead(map);
  ahead.entered(row!.indexLeaf, world.pages.page(row!.indexLeaf), world.table);
  for (const pgno of [...interiors, leaf]) assert.equal(ahead.reached(pgno).pgnos.length, 0);
  map.learn(leaves[0]!, world.pages.page(leaves[0]!));
  assert.equal(ahead.reached(leaf).pgnos.length, 8);
  assert.deepEqual(ahead.reached(leaf), { pgnos: [], mark: 0 });
});
