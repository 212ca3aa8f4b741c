/** What a second process asks storage for, where the first one has left a cache. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import type { Replica } from "../../mod.ts";
import { noiseSql } from "../replica/drivers.ts";
import { Random } from "../support/random.ts";
import { CachedPlace } from "./cached_place.ts";

const QUERIES = {
  point: "SELECT x FROM n WHERE id = 1777",
  "index range": "SELECT b.id, b.word FROM b WHERE word BETWEEN 'w0300' AND 'w0399' ORDER BY word, id",
  scan: "SELECT count(*) AS count, sum(length(x)) AS bytes FROM n",
  join:
    "SELECT count(*) AS count, sum(length(n.x)) AS bytes FROM b JOIN n ON n.id = b.other WHERE b.id < 300",
} as const;

/** Makes a database of some MB: a snapshot and a few transactions after it. */
export function fill({ folder }: CachedPlace): void {
  folder.record(`${noiseSql(2000)};
    CREATE TABLE b (id INTEGER PRIMARY KEY, word TEXT, other INTEGER, pad BLOB);
    INSERT INTO b WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 4000)
      SELECT i, printf('w%04d', (i * 7919) % 1000), 1 + (i * 104729) % 2000, randomblob(200) FROM i;
    CREATE INDEX b_word ON b (word)`);
  folder.snapshot();
  for (let i = 0; i < 4; i++) folder.step(`UPDATE b SET pad = randomblob(200) WHERE id = ${i * 900 + 1}`);
}

/** Where all threads of a replica have asked for nothing since. */
function countedSince(replica: Replica, mark: ReturnType<Replica["mark"]>): [number, number] {
  const { getRequests, listRequests } = replica.stats(mark);
  return [getRequests, listRequests];
}

for (const [name, sql] of Object.entries(QUERIES)) {
  for (const prefetch of ["auto", "off"] as const) {
    test(`cacheDir: a ${name} is answered again by another process without a request, prefetch "${prefetch}"`, () =>
      CachedPlace.with(async (place) => {
        fill(place);
        place.push();
        const wanted = place.folder.rows(sql);
        await place.with({ prefetch }, async (_replica, rows) => assert.deepEqual(await rows(sql), wanted));
        place.s3.log.length = 0;
        await place.with({ prefetch }, async (replica, rows) => {
          assert.deepEqual([place.s3.count("LIST"), place.s3.count("GET")], [1, 0]);
          assert.equal(replica.stats().roundTrips, 1);
          const mark = replica.mark();
          assert.deepEqual(await rows(sql), wanted);
          assert.deepEqual(countedSince(replica, mark), [0, 0]);
          const { diskReads, diskBytes, roundTrips, bytes } = replica.stats(mark);
          assert.ok(diskReads > 0 && diskBytes > 0, `${diskReads} reads of ${diskBytes} bytes`);
          assert.deepEqual([roundTrips, bytes], [0, 0]);
        });
        assert.deepEqual([place.s3.count("LIST"), place.s3.count("GET")], [1, 0]);
      }));
  }
}

test("cacheDir: what is not there is fetched as ever, and is there the next time", () =>
  CachedPlace.with(async (place) => {
    fill(place);
    place.push();
    const requests: number[] = [];
    for (const sql of [QUERIES.point, QUERIES.scan, QUERIES.scan]) {
      await place.with({}, async (replica, rows) => {
        const mark = replica.mark();
        assert.deepEqual(await rows(sql), place.folder.rows(sql));
        requests.push(replica.stats(mark).getRequests);
      });
    }
    assert.ok(requests[1]! > 5 && requests[2] === 0, `${requests}`);
  }));

test("cacheDir: transactions that came by name while it was followed are there for the next process", () =>
  CachedPlace.with(async (place) => {
    fill(place);
    place.push();
    await place.with({}, async (replica) => {
      for (let i = 0; i < 3; i++) {
        place.folder.step(`UPDATE b SET word = 'x${i}' WHERE id = ${i + 1}`);
        place.push();
        await replica.waitFor(BigInt(place.folder.txid));
      }
    });
    place.s3.log.length = 0;
    await place.with({}, (replica) => {
      assert.equal(replica.txid, BigInt(place.folder.txid));
      assert.deepEqual([place.s3.count("LIST"), place.s3.count("GET")], [1, 0]);
    });
  }));

test("cacheDir: damaged files are fetched again, and never show", () =>
  CachedPlace.with(async (place) => {
    fill(place);
    place.push();
    const wanted = place.folder.rows(QUERIES.join);
    await place.with({}, async (_replica, rows) => assert.deepEqual(await rows(QUERIES.join), wanted));
    const objects = join(place.cacheDir, "objects");
    const random = new Random(11);
    const files = readdirSync(objects, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile()
    );
    assert.ok(files.length > 10);
    for (const { parentPath, name } of files) {
      const path = join(parentPath, name);
      const bytes = readFileSync(path);
      bytes[random.next(bytes.length)]! ^= 1 << random.next(8);
      writeFileSync(path, bytes);
    }
    for (let round = 0; round < 3; round++) {
      place.s3.log.length = 0;
      await place.with({}, async (_replica, rows) => assert.deepEqual(await rows(QUERIES.join), wanted));
      if (round === 0) assert.ok(place.s3.count("GET") > 0);
    }
    assert.equal(place.s3.count("GET"), 0);
  }));

test("cacheDir: what a writer stores is there for the next process", () =>
  CachedPlace.with(async (place) => {
    const writing = { write: true, bufferPath: join(place.cacheDir, "log"), compact: false };
    const replica = await place.open(writing);
    const db = replica.connect();
    db.exec("CREATE TABLE t (x); INSERT INTO t VALUES (1)");
    db.close();
    await replica.close();
    place.s3.log.length = 0;
    await place.with(
      {},
      async (_replica, rows) => assert.deepEqual(await rows("SELECT x FROM t"), [{ x: 1 }]),
    );
    assert.deepEqual([place.s3.count("LIST"), place.s3.count("GET")], [1, 0]);
  }));

test("cacheDir: a local copy is made of what is on disk, and puts nothing there itself", () =>
  CachedPlace.with(async (place) => {
    fill(place);
    place.push();
    const size = () => {
      const files = readdirSync(join(place.cacheDir, "objects"), { recursive: true, withFileTypes: true });
      return files.filter((entry) => entry.isFile())
        .reduce((sum, { parentPath, name }) => sum + statSync(join(parentPath, name)).size, 0);
    };
    const hydrated = { hydrate: join(place.cacheDir, "copy.db") };
    await place.with(hydrated, (replica) => replica.hydrated());
    assert.ok(size() < 1_000_000, `${size()} bytes`);
    rmSync(hydrated.hydrate);
    await place.with({}, async (_replica, rows) => void await rows(QUERIES.scan));
    await place.with(hydrated, async (replica, rows) => {
      await replica.hydrated();
      assert.ok(replica.stats().diskBytes > 500_000, `${replica.stats().diskBytes} bytes`);
      for (const sql of Object.values(QUERIES)) assert.deepEqual(await rows(sql), place.folder.rows(sql));
    });
  }));

test("cacheDir: a budget is spent on requests, not on what is on disk", () =>
  CachedPlace.with(async (place) => {
    fill(place);
    place.push();
    const wanted = place.folder.rows(QUERIES.scan);
    await place.with({}, async (_replica, rows) => assert.deepEqual(await rows(QUERIES.scan), wanted));
    const bounds = { maxRequests: 1, maxBytes: 1 };
    await place.with(bounds, async (_replica, rows) => assert.deepEqual(await rows(QUERIES.scan), wanted));
  }));

test("cacheDir: what another process has removed is fetched within the budget, and counts", () =>
  CachedPlace.with(async (place) => {
    fill(place);
    place.push();
    await place.with({}, async (_replica, rows) => void await rows(QUERIES.scan));
    const bounds = { maxRequests: 3, prefetch: "off" as const, cacheBytesMax: 1 << 20 };
    await place.with(bounds, async (replica, rows) => {
      await rows("SELECT x FROM n WHERE id = 1"); // it knows what is there
      rmSync(join(place.cacheDir, "objects"), { recursive: true });
      const mark = replica.mark();
      await assert.rejects(rows(QUERIES.scan));
      assert.match(
        String(replica.lastError),
        /BudgetError: .* has made 3 requests, expected at most 3 \(maxRequests\)/,
      );
      assert.equal(replica.stats(mark).getRequests, 3);
    });
  }));

test("cacheDir: a database of the same name at another place is another one", () =>
  CachedPlace.with(async (place) => {
    place.folder.step("CREATE TABLE v (x); INSERT INTO v VALUES (1)");
    place.push();
    await place.with(
      {},
      async (_replica, rows) => assert.deepEqual(await rows("SELECT x FROM v"), [{ x: 1 }]),
    );
    await CachedPlace.with(async (other) => {
      other.folder.step("CREATE TABLE v (x); INSERT INTO v VALUES (2)");
      other.push();
      const shared = { cacheDir: place.cacheDir };
      await other.with(shared, async (_replica, rows) => {
        assert.deepEqual(await rows("SELECT x FROM v"), [{ x: 2 }]);
      });
      const objects = join(place.cacheDir, "objects");
      const names = readdirSync(objects).flatMap((digits): string[] => readdirSync(join(objects, digits)));
      assert.equal(names.length, 2);
    });
  }));

test("cacheDir: restore() leaves nothing there, for it reads all of it once", () =>
  CachedPlace.with(async (place) => {
    fill(place);
    place.push();
    const kept = () =>
      readdirSync(place.cacheDir, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile())
        .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
    await place.with({ prefetch: "off" }, () => {});
    const before = kept();
    const path = join(place.folder.home, "restored.db");
    await place.with({ prefetch: "off" }, async (replica) => {
      await replica.restore(path);
      assert.ok(replica.stats().bytes > 1_000_000, `${replica.stats().bytes} bytes were read`);
    });
    assert.ok(kept() - before < 64 * 1024, `${kept() - before} bytes more are kept`);
  }));
