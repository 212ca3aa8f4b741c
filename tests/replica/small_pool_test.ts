/** Reads that want more pages than the pool holds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { ASKED } from "./following.ts";
import { rowsOf, withConnection } from "./drivers.ts";

const MiB = 1024 * 1024;

const tableSql = (name: string, rows: number, value: string) =>
  `CREATE TABLE ${name}(id INTEGER PRIMARY KEY, x);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
  INSERT INTO ${name} SELECT i, ${value} FROM n;`;

const sumSql = (name: string) => `SELECT count(*), sum(length(x)) FROM ${name}`;

for (const prefetch of ["auto", "off"] as const) {
  for (const pageSize of [16_384, 65_536]) {
    test(`Pages of ${pageSize} bytes that take next to nothing as stored are read through a pool of 1 MiB, prefetch ${prefetch}`, () =>
      withReplicaFolder({ pageSize }, async (folder) => {
        folder.record(tableSql("a", 8000, "zeroblob(800)"));
        folder.snapshot();
        await using replica = await openReplica(folder.url, { ...ASKED, cacheBytesMax: MiB, prefetch });
        withConnection(replica, undefined, (db) => {
          assert.deepEqual(rowsOf(db, sumSql("a")), folder.rows(sumSql("a")));
        });
        const { bytes, misses } = replica.stats();
        assert.ok(bytes < 8 * MiB, `${bytes} bytes, ${misses} misses`);
      }));
  }
}

test("Tables are scanned in turn, again and again, while none stays in the pool", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql("a", 2600, "randomblob(900)") + tableSql("b", 3000, "randomblob(900)"));
    folder.snapshot();
    await using replica = await openReplica(folder.url, { ...ASKED, cacheBytesMax: 4 * MiB });
    withConnection(replica, undefined, (db) => {
      for (let round = 0; round < 8; round++) {
        for (const name of ["a", "b"]) {
          const mark = replica.mark();
          assert.deepEqual(rowsOf(db, sumSql(name)), folder.rows(sumSql(name)));
          const { misses, aheadPages } = replica.stats(mark);
          assert.ok(misses < 300, `round ${round}, ${name}: ${misses} misses, ${aheadPages} pages ahead`);
        }
      }
    });
  }));
