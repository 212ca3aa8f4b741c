/** Reading while the copy comes, once it is there, and while it is changed: always one state is seen. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ReplicaDatabase } from "../../mod.ts";
import { assertSame, noiseSql, rowsOf, valueOf, withConnection } from "../replica/drivers.ts";
import { stepValue, until } from "../replica/following.ts";
import { Reader } from "../replica/reader.ts";
import { rounds } from "../soak/soak_support.ts";
import { Random } from "../support/random.ts";
import { bytesSent, readerOf, shorten, smallSql, SUM, withPlace, withServedPlace } from "./hydrating.ts";

const TIMEOUT = { timeout: 120_000 } as const;

/** More than a reader asks for at once, less than any request of a copy here. */
const PAGES_BYTES = 50_000;

for (let pageSize = 512; pageSize <= 65536; pageSize *= 2) {
  test(`A copy with pages of ${pageSize} bytes`, TIMEOUT, () =>
    withPlace({ pageSize }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(600));
      folder.step("UPDATE k SET x = randomblob(390) WHERE id % 7 = 0");
      folder.snapshot(1);
      folder.delete(0, 1, 1);
      const replica = await place.openWhole();
      folder.step("UPDATE k SET x = randomblob(390) WHERE id % 5 = 0");
      await replica.refresh();
      await replica.hydrated();
      const mark = replica.mark();
      withConnection(replica, undefined, (db) => assertSame(db, folder));
      assert.equal(replica.stats(mark).getRequests, 0);
      await replica.close();
      await place.assertCopy();
    }));
}

for (const pageSize of [512, 4096]) {
  test(
    `Reads while the copy comes, and while it is written, are of one state; pages of ${pageSize} bytes`,
    TIMEOUT,
    () =>
      withServedPlace({ pageSize }, async (place) => {
        const { folder } = place;
        const seed = rounds("HYDRATE_SEED", 7);
        const random = new Random(seed);
        folder.step(smallSql(4_000));
        folder.snapshot();
        place.upload();
        await using replica = await place.open({ pollIntervalMs: 10 });
        await using reader = await readerOf(replica);
        const states = new Map([[1n, shorten(folder.rows(SUM))]]);
        let isOver = false;
        let checked = 0;
        const reading = (async () => {
          for (let last = 0n; !isOver;) {
            await reader.ask("BEGIN");
            const [sum] = shorten(await reader.ask(SUM)) as { v: number }[];
            const txid = BigInt(`0x${Object.values((await reader.ask("PRAGMA litestream_txid"))[0]!)[0]}`);
            assert.ok(txid >= last, `TXID ${txid} after ${last}`);
            assert.deepEqual([sum], states.get(txid), `seed ${seed}, TXID ${txid}`);
            await reader.ask("SELECT 1");
            assert.deepEqual(
              shorten(await reader.ask(SUM)),
              states.get(txid),
              `seed ${seed}, TXID ${txid}, again`,
            );
            await reader.ask("COMMIT");
            [last, checked] = [txid, checked + 1];
          }
        })();
        for (let round = 0; round < rounds("HYDRATE_COMMITS", 25); round++) {
          const { txid } = folder;
          const part = random.next(20);
          const kind = random.next(6);
          if (kind === 0) folder.record("DELETE FROM k WHERE id % 4 = 1; VACUUM");
          else if (kind === 1) folder.record("INSERT INTO k(x) SELECT randomblob(400) FROM k LIMIT 800");
          else folder.record(`UPDATE k SET x = randomblob(400) WHERE id % 20 = ${part}`);
          folder.source.exec(`UPDATE v SET x = ${txid + 2}`);
          folder.record("SELECT 1");
          states.set(BigInt(folder.txid), shorten(folder.rows(SUM)));
          folder.write(0, txid + 1, txid + 2);
          if (random.next(4) === 0) folder.write(1, 1 + random.next(txid), folder.txid);
          if (random.next(6) === 0) folder.snapshot();
          place.upload();
          await replica.refresh();
        }
        await replica.hydrated();
        isOver = true;
        await reading;
        assert.ok(checked > 3, `${checked} reads`);
        withConnection(replica, undefined, (db) => assertSame(db, folder));
        await replica.close();
        await place.assertCopy();
      }),
  );
}

test("A file that is larger costs what is needed of it", TIMEOUT, () =>
  withServedPlace({}, async (place) => {
    const { folder, s3 } = place;
    folder.step(noiseSql(4_000));
    place.upload();
    await using replica = await place.openWhole();
    folder.step("UPDATE n SET x = randomblob(900) WHERE id <= 2000");
    const size = folder.sizeOf(0, 2, 2);
    assert.ok(size > 1_000_000);
    place.upload();
    s3.log.length = 0;
    await replica.refresh();
    await replica.hydrated();
    const found = s3.log.filter(({ key, status }) => key !== "" && status < 300);
    assert.ok(bytesSent(s3) < size * 1.4, `${bytesSent(s3)} bytes of ${size}`);
    assert.ok(found.length <= 5, `${found.length} requests`);
    s3.log.length = 0;
    withConnection(replica, undefined, (db) => assertSame(db, folder));
    assert.equal(s3.log.length, 0);
  }));

for (const setup of ["", "PRAGMA auto_vacuum = FULL", "PRAGMA auto_vacuum = INCREMENTAL"]) {
  test(
    `Readers of three states while a database shrinks and grows; ${setup || "no auto_vacuum"}`,
    TIMEOUT,
    () =>
      withPlace({ pageSize: 512, setup }, async (place) => {
        const { folder } = place;
        folder.step(smallSql(600));
        const replica = await place.openWhole();
        const changes = [
          "DELETE FROM k WHERE id > 100",
          setup.endsWith("INCREMENTAL") ? "PRAGMA incremental_vacuum" : "VACUUM",
          "INSERT INTO k(x) SELECT randomblob(400) FROM k, (SELECT 1 UNION SELECT 2 UNION SELECT 3)",
          "UPDATE k SET x = randomblob(400)",
          "DELETE FROM k WHERE id > 40; VACUUM",
          "INSERT INTO k(x) SELECT randomblob(400) FROM k",
        ];
        const held: { db: ReplicaDatabase; wanted: unknown[] }[] = [];
        for (const change of changes) {
          const db = replica.connect();
          db.exec("BEGIN");
          valueOf(db, "SELECT x FROM v");
          held.push({ db, wanted: shorten(folder.rows(SUM)) });
          if (held.length > 3) {
            const { db, wanted } = held.shift()!;
            assert.deepEqual(shorten(rowsOf(db, SUM)), wanted);
            db.exec("COMMIT");
            db.close();
          }
          folder.step(change);
          await replica.refresh();
          for (const { db, wanted } of held) assert.deepEqual(shorten(rowsOf(db, SUM)), wanted);
          withConnection(replica, undefined, (now) => assertSame(now, folder));
        }
        for (const { db, wanted } of held) {
          assert.deepEqual(shorten(rowsOf(db, SUM)), wanted);
          db.exec("COMMIT");
          db.close();
        }
        await replica.hydrated();
        await replica.close();
        await place.assertCopy();
      }),
  );
}

test(
  "A long reader keeps from the copy only what it sees itself",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(800));
      await using replica = await place.openWhole();
      const db = replica.connect();
      db.exec("BEGIN");
      const wanted = shorten(rowsOf(db, SUM));
      folder.step("UPDATE k SET x = randomblob(400) WHERE id <= 100");
      await replica.refresh();
      folder.step(
        "INSERT INTO k(x) SELECT randomblob(400) FROM k WHERE id <= 400",
      );
      await replica.refresh();
      const { changed } = { changed: folder.commitAt(3) - folder.commitAt(1) };
      await until("pages that it does not see come", () => {
        const { pages, pagesTotal } = replica.hydration!;
        return pages >= pagesTotal - 250;
      });
      assert.ok(changed > 300);
      assert.notEqual(replica.hydration!.phase, "whole");
      assert.deepEqual(shorten(rowsOf(db, SUM)), wanted);
      db.exec("COMMIT");
      await replica.hydrated();
      db.close();
    }),
);

test(
  "A connection at the newest transaction by its number does not keep the copy from going on",
  TIMEOUT,
  () =>
    withPlace({ pageSize: 512 }, async (place) => {
      const { folder } = place;
      folder.step(smallSql(300));
      stepValue(folder, 3);
      await using replica = await place.openWhole();
      const past = replica.connect({ asOf: 3n });
      const before = shorten(rowsOf(past, SUM));
      stepValue(folder, 4);
      folder.step("UPDATE k SET x = randomblob(400)");
      await replica.refresh();
      await replica.hydrated();
      assert.equal(replica.hydration?.txid, 5n);
      assert.deepEqual(shorten(rowsOf(past, SUM)), before);
      past.close();
    }),
);

test(
  "Nor does one that was made before the copy was there",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder } = place;
      folder.step(noiseSql(3_000));
      folder.step("CREATE TABLE v (x); INSERT INTO v VALUES (1)");
      place.upload();
      const release = place.hold();
      await using replica = await place.open();
      await using past = await readerOf(replica);
      await past.ask("PRAGMA litestream_time = 'txid:0000000000000002'");
      const sum = "SELECT count(*) n, sum(length(x)) s FROM n";
      release();
      await replica.hydrated();
      const before = await past.ask(sum);
      folder.step("UPDATE n SET x = randomblob(500)");
      place.upload();
      await replica.refresh();
      await replica.hydrated({ timeoutMs: 20_000 });
      assert.equal(replica.hydration?.txid, 3n);
      assert.deepEqual(await past.ask(sum), before);
      await using newest = await readerOf(replica);
      assert.notDeepEqual(await newest.ask(sum), before);
    }),
);

test(
  "Differences between the newest states are read of what differs",
  TIMEOUT,
  () =>
    withServedPlace({}, async (place) => {
      const { folder, s3 } = place;
      folder.step(noiseSql(4_000));
      place.upload();
      await using replica = await place.openWhole();
      folder.step("UPDATE n SET x = randomblob(900) WHERE id = 2000");
      place.upload();
      await replica.refresh();
      await replica.hydrated();
      s3.log.length = 0;
      const found = [];
      for await (const change of replica.diff(1n, 2n)) found.push(change);
      assert.equal(found.length, 1);
      assert.ok(bytesSent(s3) < 1_000_000, `${bytesSent(s3)} bytes`);
    }),
);

/** The end of a page's only GET, which began before the copy came and lasted longer. */
const ENDS = {
  "the file is gone": { timeoutMs: 30_000, isGone: true },
  "the reader's own deadline": { timeoutMs: 5_000, isGone: false },
} as const;

for (const [end, { timeoutMs, isGone }] of Object.entries(ENDS)) {
  test(
    `A read goes on whose page the copy has by the time its request fails: ${end}`,
    TIMEOUT,
    () =>
      withServedPlace({}, async (place) => {
        const { folder, s3 } = place;
        folder.record(noiseSql(3_000));
        folder.snapshot();
        place.upload();
        const [asked, answered] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
        let range: string | undefined;
        let isOpen = false;
        s3.options.faults.pick = () => {
          const [sent, first, last] = /(\d+)-(\d+)/.exec(s3.log.at(-1)!.range) ?? [];
          if (sent === undefined) return undefined;
          if (range === undefined && Number(last) - Number(first) > PAGES_BYTES) {
            return { kind: "held", until: asked.promise }; // the copy's
          }
          if (!isOpen) return undefined;
          range ??= sent;
          asked.resolve();
          return sent === range ? { kind: "held", until: answered.promise } : undefined;
        };
        await using replica = await place.open({ prefetch: "off" });
        isOpen = true;
        const reader = await Reader.start({ shared: replica.share(), timeoutMs });
        try {
          const reading = reader.ask("SELECT count(*) AS n FROM n WHERE id < 20");
          await replica.hydrated();
          assert.notEqual(range, undefined);
          if (isGone) {
            folder.record("UPDATE n SET x = randomblob(900) WHERE id % 100 = 0");
            folder.snapshot();
            folder.delete(9, 1, 1);
            place.upload();
            answered.resolve();
          }
          assert.deepEqual(await reading.then(({ rows, error }) => ({ rows, error })), {
            rows: [{ n: 19 }],
            error: undefined,
          });
          assert.equal(replica.lastError, undefined);
        } finally {
          answered.resolve();
          await reader.close();
        }
      }),
  );
}
