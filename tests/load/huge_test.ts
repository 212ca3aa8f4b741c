/** A database of many GB of which nothing is kept: look-ups, ranges, pages on both sides of the lock page. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { openReplica, type Replica, type ReplicaDatabase } from "../../mod.ts";
import { lockPgno } from "../../src/ltx/txid.ts";
import { rowsOf, valueOf } from "../replica/drivers.ts";
import { HugeDatabase, type HugeRow } from "../support/huge_database.ts";
import type { HugeStorageOptions } from "../support/huge_storage.ts";
import { openPlain } from "../support/sqlite.ts";
import { Random } from "../support/random.ts";
import { withFolder } from "../support/real.ts";
import { SEED, size } from "./size.ts";

/** In pages of 4 KiB: 2.5 GB, or 10. */
const PAGES = size(600_000, 2_621_440);

function openHuge(pages: number): Promise<Replica> {
  const options: HugeStorageOptions = { pages };
  const module = new URL("../support/huge_storage.ts", import.meta.url);
  return openReplica({ storage: { module, options }, pollIntervalMs: 0 });
}

function assertRow(db: ReplicaDatabase, wanted: HugeRow): void {
  assert.deepEqual(rowsOf(db, "SELECT * FROM item WHERE id = ?", wanted.id), [wanted]);
  assert.deepEqual(rowsOf(db, "SELECT id FROM item WHERE code = ?", wanted.code), [{ id: wanted.id }]);
}

test("HugeDatabase makes databases that SQLite finds in order", () =>
  withFolder(async (folder) => {
    for (const pages of [40, 1500]) {
      const database = new HugeDatabase(pages);
      const path = join(folder, `${pages}.db`);
      const all = Array.from({ length: database.commit }, (_, i) => database.page(i + 1));
      all[0]![18] = all[0]![19] = 1; // there is no WAL beside it
      writeFileSync(path, Buffer.concat(all));
      const db = await openPlain(path);
      assert.deepEqual(db.all("PRAGMA integrity_check"), [{ integrity_check: "ok" }], `${pages} pages`);
      assert.deepEqual(db.all("SELECT count(*) AS n FROM item"), [{ n: database.rows }]);
      assert.deepEqual(db.all("SELECT * FROM item WHERE code = 7"), [{ ...database.row(database.idOf(7)) }]);
      db.close();
    }
  }));

test(`rows of a replica of ${PAGES} pages are found all over it, and in a range across the lock page`, {
  timeout: 120_000,
}, async () => {
  const database = new HugeDatabase(PAGES);
  await using replica = await openHuge(PAGES);
  assert.equal(replica.size.commit, database.commit);
  const db = replica.connect();
  const random = new Random(SEED);
  const ids = [1, 2, database.rows - 1, database.rows];
  for (let i = 0; i < 16; i++) ids.push(1 + random.next(database.rows));
  for (const id of ids) assertRow(db, database.row(id));
  const { poolBytes } = replica.stats();
  assert.ok(poolBytes <= 64 * 2 ** 20, `${poolBytes} bytes in the pool`);
  const lock = lockPgno(database.pageSize);
  let id = 1;
  for (let step = 2 ** 25; step >= 1; step /= 2) {
    if (id + step <= database.rows && database.leafOf(id + step) < lock) id += step;
  }
  assert.ok(
    database.leafOf(id) < lock && database.leafOf(id + 1) > lock,
    `row ${id} is not the last before it`,
  );
  const rows = rowsOf(db, "SELECT * FROM item WHERE id BETWEEN ? AND ?", id - 500, id + 500);
  assert.deepEqual(rows, Array.from({ length: 1001 }, (_, i) => ({ ...database.row(id - 500 + i) })));
  const byCode = "SELECT id, code FROM item WHERE code BETWEEN 500000 AND 500099 ORDER BY code";
  const found = Array.from(
    { length: 100 },
    (_, i) => ({ id: database.idOf(500_000 + i), code: 500_000 + i }),
  );
  assert.deepEqual(rowsOf(db, byCode), found);
  assert.equal(valueOf(db, "SELECT max(id) FROM item"), database.rows);
  db.close();
});
