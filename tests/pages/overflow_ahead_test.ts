import assert from "node:assert/strict";
import { test } from "node:test";
import { ChainMap } from "../../src/pages/chain_map.ts";
import { OverflowAhead } from "../../src/pages/overflow_ahead.ts";
import { TreeMap } from "../../src/pages/tree_map.ts";
import { Random } from "../support/random.ts";
import type { PlainDatabase } from "../support/sqlite.ts";
import { ChainReader, type ChainReaderOptions, type RealRow, rowsOf } from "./chain_reader.ts";
import { type DatabasePages, databasePages, interiorPage } from "./database_pages.ts";

/** Puts rows in, in place of those with the same rowids. */
function put(db: PlainDatabase, count: number, size: string): void {
  db.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
    INSERT OR REPLACE INTO t SELECT i, randomblob(${size}) FROM n`);
}

/** Databases whose chains stand in the file as written, or wherever deleted rows had left room. */
const DATABASES = {
  "1 MB": (db) => put(db, 3, "1048576"),
  "300 KB": (db) => put(db, 30, "300000"),
  "20 KB": (db) => put(db, 200, "20000"),
  "one page each": (db) => put(db, 800, "5000"),
  "one row of twenty": (db) => put(db, 3000, "iif(i % 20 = 0, 20000, 300)"),
  "0 to 60 KB, replaced": (db) => {
    put(db, 300, "i * 7919 % 60000");
    db.exec("DELETE FROM t WHERE id % 3 = 0");
    put(db, 300, "i * 104729 % 50000");
    db.exec("DELETE FROM t WHERE id % 2 = 0");
    put(db, 300, "i * 1299709 % 50000");
  },
  "30 KB in every second gap": (db) => {
    put(db, 3000, "5000");
    db.exec("DELETE FROM t WHERE id % 2 = 0");
    db.exec("INSERT INTO t SELECT 10000 - id, randomblob(30000) FROM t LIMIT 200");
    db.exec("DELETE FROM t WHERE id < 5000");
  },
  "20 KB in gaps in no order": (db) => {
    put(db, 3000, "4900");
    db.exec("BEGIN");
    for (let i = 0; i < 3000; i++) db.exec(`DELETE FROM t WHERE id = ${i * 1009 % 3000 + 1}`);
    db.exec("COMMIT");
    put(db, 200, "20000");
  },
} satisfies Record<string, (db: PlainDatabase) => void>;

type Name = keyof typeof DATABASES;

/** Round trips of a scan, forward and backward. */
const SCANS: Record<Name, readonly [forward: number, backward: number]> = {
  "1 MB": [6, 6],
  "300 KB": [13, 15],
  "20 KB": [14, 15],
  "one page each": [13, 16],
  "one row of twenty": [10, 13],
  "0 to 60 KB, replaced": [180, 180],
  "30 KB in every second gap": [70, 80],
  "20 KB in gaps in no order": [100, 100],
};

const made = new Map<Name, Promise<{ pages: DatabasePages; rows: RealRow[] }>>();

function database(name: Name): Promise<{ pages: DatabasePages; rows: RealRow[] }> {
  const known = made.get(name);
  if (known) return known;
  const pages = databasePages(4096, (db) => {
    db.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, b BLOB)");
    DATABASES[name](db);
  });
  const both = pages.then((pages) => ({ pages, rows: rowsOf(pages, pages.roots.get("t")!) }));
  made.set(name, both);
  return both;
}

function readAll(pages: DatabasePages, rows: readonly RealRow[], options: ChainReaderOptions): ChainReader {
  const reader = new ChainReader(pages, options);
  for (const row of rows) reader.read(row);
  return reader;
}

for (const name of Object.keys(DATABASES) as Name[]) {
  test(`OverflowAhead streams a scan of values: ${name}`, async () => {
    const { pages, rows } = await database(name);
    const chainPages = rows.reduce((sum, { chain }) => sum + chain.length, 0);
    for (const [i, order] of [rows, [...rows].reverse()].entries()) {
      const without = readAll(pages, order, { hasOverflowAhead: false });
      const { roundTrips, wasted } = readAll(pages, order, { isEager: true });
      const figures = `${
        roundTrips.toFixed(1)
      } of ${without.roundTrips} round trips, ${wasted} of ${chainPages} pages`;
      assert.ok(roundTrips <= SCANS[name][i]!, figures);
      assert.ok(roundTrips < without.roundTrips, figures);
      assert.ok(wasted <= chainPages * 0.3, figures);
      // Where pages that come ahead tell nothing, chains that are scattered are followed page by page.
      const told = readAll(pages, order, { isEager: false });
      assert.ok(told.roundTrips <= without.roundTrips, `${told.roundTrips} of ${without.roundTrips}`);
      assert.ok(told.wasted <= chainPages * 0.3, `${told.wasted} of ${chainPages} pages`);
    }
  });

  test(`OverflowAhead asks for no more than the chain at a look-up: ${name}`, async () => {
    const { pages, rows } = await database(name);
    const random = new Random(7);
    const sums = { with: 0, without: 0 };
    for (let i = 0; i < 40; i++) {
      const row = rows[random.next(rows.length)]!;
      const reader = readAll(pages, [row], { isEager: true });
      assert.ok(reader.wasted <= row.chain.length, `${reader.wasted} of ${row.chain.length}`);
      assert.ok(reader.asked.size <= row.chain.length * 2);
      sums.with += reader.roundTrips;
      sums.without += readAll(pages, [row], { hasOverflowAhead: false }).roundTrips;
    }
    assert.ok(sums.with <= sums.without, `${sums.with} of ${sums.without}`);
  });

  test(`OverflowAhead takes few look-ups on one connection for a scan: ${name}`, async () => {
    const { pages, rows } = await database(name);
    const random = new Random(8);
    const picked = Array.from({ length: 40 }, () => rows[random.next(rows.length)]!);
    const chainPages = picked.reduce((sum, { chain }) => sum + chain.length, 0);
    const { wasted, roundTrips } = readAll(pages, picked, { isEager: true });
    const without = readAll(pages, picked, { hasOverflowAhead: false });
    assert.ok(wasted <= chainPages * 0.3, `${wasted} of ${chainPages} pages`);
    assert.ok(roundTrips <= without.roundTrips, `${roundTrips} of ${without.roundTrips}`);
  });

  test(`OverflowAhead causes nothing where long values are skipped: ${name}`, async () => {
    const { pages, rows } = await database(name);
    const reader = new ChainReader(pages);
    for (const row of rows) reader.read(row, false);
    assert.equal(reader.asked.size, 0);
  });
}

test("OverflowAhead reads one value of 1 MB in 5 round trips", async () => {
  const { pages, rows } = await database("1 MB");
  for (const row of rows) {
    const reader = readAll(pages, [row], {});
    assert.ok(reader.roundTrips <= 5, `${reader.roundTrips}`);
    assert.equal(reader.wasted, 0);
  }
});

/** Leaves 11, 12, … below page 10; each with as many chains, side by side from page 1000 on. */
function madeUp(leafCount: number, perLeaf: number, length: number): { tree: TreeMap; chains: ChainMap } {
  const tree = new TreeMap();
  const chains = new ChainMap();
  const leaves = Array.from({ length: leafCount }, (_, i) => 11 + i);
  tree.learn(10, interiorPage(leaves, leaves.slice(1).map((_, i) => i + 1)));
  for (const [i, leaf] of leaves.entries()) {
    const first = 1000 + i * perLeaf * length;
    chains.learned(leaf, Array.from({ length: perLeaf }, (_, j) => ({ first: first + j * length, length })));
  }
  return { tree, chains };
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
}

test("OverflowAhead begins with 64 pages of a chain, and doubles as they are used", () => {
  const { tree, chains } = madeUp(2, 1, 500);
  const ahead = new OverflowAhead(tree, chains, { windowMax: 256 });
  assert.deepEqual(ahead.reached(1000, true), { pgnos: range(1001, 1064), mark: 1032 });
  assert.deepEqual(ahead.next(1000, 1001), { pgnos: [], mark: 0 });
  assert.deepEqual(ahead.reached(1032, false), { pgnos: range(1065, 1160), mark: 1096 });
  assert.deepEqual(ahead.reached(1096, false), { pgnos: range(1161, 1352), mark: 1224 });
  assert.deepEqual(ahead.reached(1224, false), { pgnos: range(1353, 1480), mark: 1353 });
  assert.deepEqual(ahead.reached(1353, false), { pgnos: range(1481, 1499), mark: 1481 });
  assert.deepEqual(ahead.reached(1481, false), { pgnos: [], mark: 0 });
});

test("OverflowAhead goes on to other chains once a second is read after the first", () => {
  const { tree, chains } = madeUp(50, 2, 5);
  const ahead = new OverflowAhead(tree, chains, { windowMax: 64 });
  assert.deepEqual(ahead.reached(1000, true).pgnos, range(1001, 1004));
  assert.deepEqual(ahead.reached(1005, true).pgnos, range(1006, 1025));
  assert.deepEqual(ahead.reached(1015, false).pgnos, range(1026, 1055));
});

test("OverflowAhead asks for leaves whose chains are not known, and goes on as they come", () => {
  const { tree, chains } = madeUp(50, 2, 5);
  const seen = new ChainMap();
  for (const leaf of [11, 12]) seen.learned(leaf, chains.of(leaf)!);
  const ahead = new OverflowAhead(tree, seen, { windowMax: 64 });
  ahead.reached(1000, true);
  assert.deepEqual(ahead.reached(1005, true).pgnos, [...range(1006, 1019), 13]);
  assert.deepEqual(ahead.learned(14), { pgnos: [], mark: 0 });
  seen.learned(13, []);
  assert.deepEqual(ahead.learned(13).pgnos, [14]);
  seen.learned(14, chains.of(14)!);
  assert.deepEqual(ahead.learned(14).pgnos, [...range(1030, 1035), 15]);
});

test("OverflowAhead.next() drops a wrong guess and goes on from the page named", () => {
  const { tree, chains } = madeUp(2, 1, 100);
  const ahead = new OverflowAhead(tree, chains, { windowMax: 64 });
  ahead.reached(1000, true);
  assert.deepEqual(ahead.next(1000, 5000), { pgnos: [5000], mark: 5000 });
  assert.deepEqual(ahead.reached(1001, false), { pgnos: [], mark: 0 });
  assert.deepEqual(ahead.reached(5000, true), { pgnos: [], mark: 0 });
  assert.deepEqual(ahead.next(5000, 4999).pgnos, [4999]);
  assert.deepEqual(ahead.next(4999, 4998).pgnos, [4998]);
  assert.deepEqual(ahead.next(4998, 4997).pgnos, [4997, 4996]);
  assert.deepEqual(ahead.next(4997, 4996), { pgnos: [], mark: 0 });
});

test("OverflowAhead.next() takes up a chain that went elsewhere unseen, and no other", () => {
  const { tree, chains } = madeUp(2, 1, 100);
  const ahead = new OverflowAhead(tree, chains, { windowMax: 64 });
  ahead.reached(1000, true);
  assert.deepEqual(ahead.next(7000, 7001), { pgnos: [], mark: 0 });
  assert.deepEqual(ahead.reached(6000, true), { pgnos: [], mark: 0 });
  assert.deepEqual(ahead.next(6000, 6100).pgnos[0], 6100);
});

test("OverflowAhead finds a reader in the middle of a chain whose beginning came along with its leaf", () => {
  const { tree, chains } = madeUp(2, 1, 100);
  const ahead = new OverflowAhead(tree, chains, { windowMax: 64 });
  assert.deepEqual(ahead.reached(1010, true).pgnos, range(1011, 1074));
  assert.deepEqual(new OverflowAhead(tree, chains, { windowMax: 64 }).reached(1010, false).pgnos, []);
});

test("OverflowAhead stays within its window whatever pages tell", () => {
  const random = new Random(21);
  for (let round = 0; round < 200; round++) {
    const tree = new TreeMap();
    const chains = new ChainMap();
    const ahead = new OverflowAhead(tree, chains, { windowMax: 32 });
    const pgno = () => random.next(60);
    for (let step = 0; step < 60; step++) {
      if (random.next(4) === 0) tree.learn(pgno(), interiorPage([pgno(), pgno(), pgno()], [1, 2], 512));
      const told = Array.from({ length: random.next(4) }, () => ({ first: pgno(), length: 1 + pgno() }));
      chains.learned(pgno(), told);
      const found = [
        ahead.reached(pgno(), random.next(2) === 0),
        ahead.next(pgno(), pgno()),
        ahead.learned(pgno()),
      ];
      for (const { pgnos } of found) assert.ok(pgnos.length <= 64 && pgnos.every((page) => page >= 0));
    }
  }
});
