import assert from "node:assert/strict";
import { test } from "node:test";
import { ReplicaError } from "../../src/errors.ts";
import { type ChangingDatabase, diff, FilePages, withDatabase } from "./database_pair.ts";

const PAGE_SIZE = 512;

/** A table of small rows several levels deep, and one of a row with a long chain. */
async function withDeepDatabase(
  use: (state: FilePages, database: ChangingDatabase) => Promise<void>,
): Promise<void> {
  await withDatabase({ pageSize: PAGE_SIZE }, async (database) => {
    database.db.exec(
      `CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE l(id INTEGER PRIMARY KEY, body);
      WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
        INSERT INTO t SELECT i, 'row number ' || i FROM n;
      INSERT INTO l VALUES (1, zeroblob(100000))`,
    );
    await use(database.state(), database);
  });
}

function rootOf(database: ChangingDatabase, table: string): number {
  return Number(database.db.all("SELECT rootpage FROM sqlite_schema WHERE name = ?", table)[0]!.rootpage);
}

/** A copy in which `write` changed a page. */
function withPage(state: FilePages, pgno: number, write: (page: DataView) => void): FilePages {
  const bytes = state.bytes.slice();
  write(new DataView(bytes.buffer, (pgno - 1) * state.pageSize, state.pageSize));
  return new FilePages(bytes, state.pageSize);
}

/** The first overflow page of a leaf's first row: the last four bytes of its cell, which ends the page. */
function firstOverflow(state: FilePages, leaf: number): number {
  const end = leaf * state.pageSize;
  return new DataView(state.bytes.buffer).getUint32(end - 4);
}

async function assertFault(from: FilePages, to: FilePages, message: RegExp): Promise<void> {
  await assert.rejects(
    diff(from, to),
    (error) => error instanceof ReplicaError && message.test(error.message),
  );
  const pages = from.commit + to.commit;
  assert.ok(from.reads.length + to.reads.length < 8 * pages);
}

test("diffDatabases() rejects trees that come back to themselves or leave the database", async () => {
  await withDeepDatabase(async (state, database) => {
    const root = rootOf(database, "t");
    const children: readonly (readonly [child: number, message: RegExp])[] = [
      [root, /page \d+ is met twice/],
      [1, /met twice/],
      [0, /page number 0, expected 1 to \d+$/],
      [state.commit + 1, /page number \d+/],
      [0xffff_ffff, /page number 4294967295/],
    ];
    for (const [child, message] of children) {
      // The rightmost child, so that the left edge is sound.
      await assertFault(state, withPage(state, root, (page) => page.setUint32(8, child)), message);
    }
    const left = withPage(state, root, (page) => page.setUint32(page.getUint16(12), root));
    await assertFault(state, left, /no leaf at its left edge/);
  });
});

test("diffDatabases() rejects chains that come back to themselves or end early", async () => {
  await withDeepDatabase(async (state, database) => {
    const chain = firstOverflow(state, rootOf(database, "l"));
    for (const [next, message] of [[chain, /met twice/], [0, /read page 0/]] as const) {
      await assertFault(state, withPage(state, chain, (page) => page.setUint32(0, next)), message);
    }
  });
});

test("diffDatabases() rejects absurd counts and sizes before it makes room for them", async () => {
  await withDeepDatabase(async (state, database) => {
    const leaf = rootOf(database, "l");
    const cells = withPage(state, leaf, (page) => page.setUint16(3, 0xffff));
    await assertFault(state, cells, /it has 65535 cells, expected up to/);
    const pointer = withPage(state, leaf, (page) => page.setUint16(8, 3));
    await assertFault(state, pointer, /cell 0 is at 3/);
    const size = withPage(state, leaf, (page) => {
      const cell = page.getUint16(8);
      for (let i = 0; i < 9; i++) page.setUint8(cell + i, 0xff);
    });
    await assertFault(state, size, /a size is -1/);
    const freelist = withPage(state, 1, (page) => page.setUint32(32, 0xffff_fff0));
    assert.deepEqual(await diff(state, freelist), []);
  });
});

/** Rows that fill overflow pages, short rows, and free pages. */
const LONG_AND_SHORT = `
  CREATE TABLE l(id INTEGER PRIMARY KEY, body); CREATE TABLE s(id INTEGER PRIMARY KEY, name TEXT); CREATE TABLE f(x);
  CREATE INDEX i ON s(name);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 400)
    INSERT INTO l SELECT i, zeroblob(2000) FROM n;
  INSERT INTO s SELECT id, 'row number ' || id FROM l; INSERT INTO f SELECT zeroblob(1000) FROM l; DELETE FROM f;`;

test("diffDatabases() takes changed index and freelist pages for no row's, with and without a pointer map", async () => {
  for (const setup of ["", "PRAGMA auto_vacuum = 2"]) {
    await withDatabase({ pageSize: PAGE_SIZE, setup }, async (database) => {
      database.db.exec(LONG_AND_SHORT);
      const from = database.state();
      database.db.exec("UPDATE s SET name = 'new' WHERE id = 7; DELETE FROM l WHERE id = 399");
      const to = database.state();
      assert.equal((await diff(from, to)).length, 2);
      // The tables have 600 leaves and chains of 1,600 pages.
      assert.ok(
        from.reads.length + to.reads.length < 120,
        `${from.reads.length} + ${to.reads.length} pages read`,
      );
    });
  }
});
