/** Files that vanish or change under an open replica. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import {
  LtxFormatError,
  ObjectGoneError,
  openReplica,
  ReplacedError,
  type Replica,
  type ReplicaDatabase,
  ReplicaError,
  StateGoneError,
} from "../../mod.ts";
import { readerOf, withServedPlace } from "../hydrate/hydrating.ts";
import { FaultSchedule } from "../support/faults.ts";
import { checkIntegrity, InvariantViolation } from "../support/invariant_writer_check.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { answerOf } from "../differential/answers.ts";
import { openPlain } from "../support/sqlite.ts";
import { pause, until } from "./following.ts";
import { Reader } from "./reader.ts";
import {
  assertSame,
  drivers,
  NOISE_SUM,
  noiseSql,
  rowsOf,
  thrownBy,
  valueOf,
  withConnection,
} from "./drivers.ts";

const POOL = { cacheBytesMax: 1024 * 1024 };

test("R4: reads go on when the base file is deleted and another plan ends at the same TXID", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 0");
    folder.step("DELETE FROM n WHERE id = 77");
    await using replica = await openReplica(folder.url);
    withConnection(replica, undefined, (db) => {
      assert.equal(valueOf(db, "SELECT count(*) FROM n WHERE id < 20"), 19);
      folder.snapshot(2);
      folder.delete(9, 1, 1);
      folder.delete(0, 2, 2);
      assertSame(db, folder);
    });
    assert.equal(replica.txid, 3n);
    assert.equal(replica.lastError, undefined);
  }));

/** A listing that lacks the snapshot of TXID 2. */
const LACKS_SNAPSHOT = { kind: "staleListing", hide: /0000000000000001-0000000000000002/ } as const;

test("R4: others are looked for once more where one listing lacks them", () =>
  withServedPlace({}, async (place) => {
    const { folder, s3 } = place;
    folder.record(noiseSql(1500));
    folder.snapshot();
    folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 0");
    place.upload();
    await using replica = await openReplica("s3://bucket/db", {
      ...place.access,
      ...POOL,
      prefetch: "off",
      pollIntervalMs: 0,
    });
    await using reader = await readerOf(replica);
    assert.deepEqual(await reader.ask("SELECT count(*) AS n FROM n WHERE id < 20"), [{ n: 19 }]);
    folder.snapshot(2);
    folder.delete(9, 1, 1);
    place.upload();
    s3.options.faults = new FaultSchedule([{ on: "list", key: "000", fault: LACKS_SNAPSHOT, times: 1 }]);
    assert.deepEqual(await reader.ask(NOISE_SUM), folder.rows(NOISE_SUM));
    assert.equal(replica.lastError, undefined);
  }));

test("R4: a moment that was lost is connected to anew once other files of it are there", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 0");
    const wanted = folder.rows(NOISE_SUM);
    folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 1");
    await using replica = await openReplica(folder.url, { ...POOL, prefetch: "off", pollIntervalMs: 0 });
    const lost = replica.connect({ asOf: 2n });
    assert.equal(valueOf(lost, "SELECT count(*) FROM n WHERE id < 20"), 19);
    folder.delete(9, 1, 1);
    thrownBy(() => rowsOf(lost, NOISE_SUM));
    assert.ok(replica.lastError instanceof StateGoneError, String(replica.lastError));
    folder.snapshot(2);
    const found = replica.connect({ asOf: 2n });
    assert.deepEqual(rowsOf(found, NOISE_SUM), wanted);
    // What takes their place is looked for again.
    folder.write(1, 1, 2);
    folder.delete(9, 1, 2);
    assert.deepEqual(rowsOf(found, NOISE_SUM), wanted);
    found.close();
    lost.close();
  }));

test("R4: a search for the files of one state is not taken for that of the state published meanwhile", () =>
  withServedPlace({}, async (place) => {
    const { folder, s3 } = place;
    folder.record(noiseSql(1500));
    folder.snapshot();
    folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 0");
    place.upload();
    await using replica = await openReplica("s3://bucket/db", {
      ...POOL,
      endpoint: s3.endpoint,
      credentials: s3.options,
      prefetch: "off",
      pollIntervalMs: 0,
    });
    const readers = [await readerOf(replica), await readerOf(replica)];
    for (const reader of readers) await reader.ask("SELECT count(*) FROM n WHERE id < 20");
    folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 1");
    place.upload();
    const [made, looked] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const next = "-0000000000000003";
    // The next state is being made while the files of this one go,
    s3.options.faults = new FaultSchedule([
      { on: "object", key: next, fault: { kind: "held", until: made.promise } },
    ]);
    const refreshed = replica.refresh();
    await until("the next file is asked for", () => s3.log.some(({ key }) => key.includes(next)));
    folder.snapshot(2);
    folder.delete(9, 1, 1);
    folder.delete(0, 2, 2);
    place.upload();
    s3.options.faults = new FaultSchedule([{ on: "list", fault: { kind: "held", until: looked.promise } }]);
    const before = s3.log.length;
    const first = readers[0]!.ask(NOISE_SUM);
    await until("others are looked for", () => s3.log.slice(before).some(({ key }) => key === ""));
    // and is there while others are looked for.
    made.resolve();
    assert.equal(await refreshed, 3n);
    const published = s3.log.length;
    const second = readers[1]!.ask(NOISE_SUM);
    await until("its file is gone, too", () => s3.log.slice(published).some(({ status }) => status === 404));
    await pause(50); // the core hears of it
    looked.resolve();
    const sums = await Promise.all([first, second]);
    assert.notDeepEqual(sums[0], sums[1]);
    assert.deepEqual(await readers[0]!.ask(NOISE_SUM), sums[1]);
    for (const reader of readers) await reader[Symbol.asyncDispose]();
  }));

test("R4: a search whose reader has left leads nobody back to the older state", () =>
  withServedPlace({}, async (place) => {
    const { folder, s3 } = place;
    folder.record(noiseSql(1500));
    folder.snapshot();
    place.upload();
    await using replica = await openReplica("s3://bucket/db", {
      ...POOL,
      endpoint: s3.endpoint,
      credentials: s3.options,
      prefetch: "off",
      pollIntervalMs: 0,
    });
    const seen: bigint[] = [];
    replica.on("commit", ({ txid }) => seen.push(txid));
    const reader = await Reader.start({ shared: replica.share(), timeoutMs: 2_000 });
    try {
      assert.equal((await reader.ask("BEGIN")).error, undefined);
      assert.equal((await reader.ask("SELECT count(*) FROM n WHERE id < 20")).error, undefined);
      folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 0");
      place.upload();
      assert.equal(await replica.refresh(), 2n);
      folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 1");
      folder.write(1, 1, 1);
      folder.delete(9, 1, 1);
      place.upload();
      const [made, next] = [Promise.withResolvers<void>(), "-0000000000000003"];
      s3.options.faults = new FaultSchedule([
        { on: "object", key: next, fault: { kind: "held", until: made.promise } },
      ]);
      const refreshed = replica.refresh();
      await until("the next file is asked for", () => s3.log.some(({ key }) => key.includes(next)));
      // The reader's view ends with its transaction, while others are still to be looked for: its number is the next view's.
      const { error } = await reader.ask(NOISE_SUM);
      assert.match(error!.lastError, /DeadlineError/);
      made.resolve();
      assert.equal(await refreshed, 3n);
      folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 2");
      place.upload();
      assert.equal(await replica.refresh(), 4n); // comes after the search
      assert.ok(s3.log.some(({ key }) => key.includes("/0001/")), "others were found");
      await until("all is told", () => seen.at(-1) === 4n);
      assert.deepEqual(seen, [2n, 3n, 4n]);
    } finally {
      await reader.close();
    }
  }));

test("R4: a connection that names the newest state goes on, too, where others read it from a local copy", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 0");
    await using replica = await openReplica(folder.url, { ...POOL, hydrate: true });
    await replica.hydrated();
    const past = replica.connect({ asOf: 2n });
    assert.equal(valueOf(past, "SELECT count(*) FROM n WHERE id < 20"), 19);
    folder.snapshot(2);
    folder.delete(9, 1, 1);
    assertSame(past, folder);
    past.close();
    assert.equal(replica.lastError, undefined);
  }));

test("R4: a connection that named the newest state before it was followed goes on, too", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    await using replica = await openReplica(folder.url, { ...POOL, pollIntervalMs: 0 });
    folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 0");
    const past = replica.connect({ asOf: 2n });
    assert.equal(valueOf(past, "SELECT count(*) FROM n WHERE id < 20"), 19);
    assert.equal(await replica.refresh(), 2n);
    folder.snapshot(2);
    folder.delete(9, 1, 1);
    assertSame(past, folder);
    assert.equal(replica.lastError, undefined);
    past.close();
  }));

test("R4: a transaction goes on through a new plan, in the middle of a statement", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    folder.step("UPDATE n SET x = randomblob(900) WHERE id = 1");
    await using replica = await openReplica(folder.url);
    withConnection(replica, undefined, (db) => {
      db.exec("BEGIN");
      const rows = db.prepare("SELECT id, hex(x) AS x FROM n ORDER BY id") as unknown as {
        iterate(): IterableIterator<{ id: number; x: string }>;
      };
      const seen: unknown[] = [];
      for (const row of rows.iterate()) {
        seen.push({ ...row });
        if (row.id !== 700) continue;
        folder.snapshot(2);
        folder.delete(9, 1, 1);
      }
      assert.deepEqual(seen, folder.rows("SELECT id, hex(x) AS x FROM n ORDER BY id"));
      db.exec("COMMIT");
    });
  }));

test("R4: SQLite's own cache outlives a new plan of the same TXID", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1000));
    folder.snapshot();
    folder.step("UPDATE n SET x = randomblob(900) WHERE id = 1");
    await using replica = await openReplica(folder.url);
    withConnection(replica, undefined, (db) => {
      const few = "SELECT count(*) FROM n WHERE id < 100";
      rowsOf(db, few);
      folder.snapshot(2);
      folder.delete(9, 1, 1);
      rowsOf(db, "SELECT count(*) FROM n WHERE id > 900");
      const mark = replica.stats();
      rowsOf(db, few);
      const { misses, hits } = replica.stats(mark);
      assert.equal(misses, 0);
      assert.ok(hits <= 1, `${hits} pages were asked for again`); // page 1, for what identifies the state
    });
  }));

test("R4: a state that no files make up any more fails with words, and the next transaction sees the newest", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    await using replica = await openReplica(folder.url);
    withConnection(replica, undefined, (db) => {
      db.exec("BEGIN");
      assert.equal(valueOf(db, "SELECT count(*) FROM n WHERE id < 10"), 9);
      folder.record("UPDATE n SET x = zeroblob(900); CREATE TABLE later (a)");
      folder.snapshot(2);
      folder.delete(9, 1, 1);
      thrownBy(() => rowsOf(db, "SELECT sum(length(x)) FROM n")); // which ends the transaction
      const { lastError } = replica;
      assert.ok(lastError instanceof ReplicaError, String(lastError));
      assert.match(lastError.message, /^Cannot read TXID 0000000000000001 of .*: its files were deleted/);
      assert.match(lastError.message, /next transaction sees the newest state/);
      assert.ok(lastError.cause instanceof ObjectGoneError, String(lastError.cause));
      assert.equal(replica.txid, 2n);
      assertSame(db, folder);
    });
  }));

const POINTER_MAP = { pageSize: 512, setup: "PRAGMA auto_vacuum = INCREMENTAL" };
const INTEGRITY = { sql: "SELECT integrity_check AS v FROM pragma_integrity_check" };

/** Shows `use` a transaction on a state whose pointer map, or freelist, cannot be read any more. */
const withoutPages = (
  { sql = "", ...options }: { pageSize: number; setup?: string; sql?: string },
  use: (db: ReplicaDatabase) => void,
): Promise<void> =>
  withReplicaFolder(options, async (folder) => {
    folder.record(`${noiseSql(1500)}; ${sql}`);
    folder.snapshot();
    await using replica = await openReplica(folder.url, { ...POOL, prefetch: "off", pollIntervalMs: 0 });
    withConnection(replica, undefined, (db) => {
      db.exec("BEGIN");
      assert.equal(valueOf(db, "SELECT count(*) FROM n WHERE id < 3"), 2);
      folder.record("DELETE FROM n WHERE id = 77");
      folder.snapshot(2);
      folder.delete(9, 1, 1);
      use(db);
      assert.ok(replica.lastError instanceof StateGoneError, String(replica.lastError));
    });
  });

test("R4: integrity_check calls a page of a state that is gone unread, one of the pointer map too", async () => {
  await withoutPages(POINTER_MAP, (db) => {
    let told: Error | undefined;
    const query = (sql: string) => rowsOf(db, sql);
    assert.throws(() => checkIntegrity(query), (error: Error) => (told = error, true));
    assert.ok(!(told instanceof InvariantViolation), String(told));
    assert.match(String(told), /Failed to read ptrmap key=/);
  });
  await withoutPages(
    POINTER_MAP,
    (db) => assert.match(answerOf(db, INTEGRITY), /^error: [^]*Failed to read ptrmap key=/),
  );
});

test("R4: integrity_check calls a page of the freelist of a state that is gone unread", async () => {
  const freed = { pageSize: 512, sql: "DELETE FROM n WHERE id > 300" };
  const words = /Freelist: failed to get page/;
  await withoutPages(freed, (db) => {
    assert.throws(
      () => checkIntegrity((sql) => rowsOf(db, sql)),
      (error: Error) => !(error instanceof InvariantViolation) && words.test(error.message),
    );
  });
  await withoutPages(
    freed,
    (db) => assert.match(answerOf(db, INTEGRITY), new RegExp(`^error: [^]*${words.source}`)),
  );
});

test("R4: a pointer map that was read, and holds no pointers, is a fault of the database", () =>
  withReplicaFolder(POINTER_MAP, async (folder) => {
    folder.record(noiseSql(1500));
    const bytes = await readFile(folder.source.path);
    bytes.fill(0, 104 * 512, 105 * 512); // the map's second page
    const path = join(folder.home, "zeros.db");
    await writeFile(path, bytes);
    const database = await openPlain(path);
    let told: Error | undefined;
    assert.throws(() => checkIntegrity((sql) => database.all(sql)), (error: Error) => (told = error, true));
    database.close();
    assert.match(String(told), /Failed to read ptrmap key=/);
    assert.ok(told instanceof InvariantViolation, String(told));
    for (const { Database } of drivers) {
      const db = new Database(path);
      assert.match(answerOf(db, INTEGRITY), /^[1-9][0-9]* rows /);
      db.close();
    }
  }));

test("R4: when nothing can be planned any more, each read says why, and works again once the files are back", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    await using replica = await openReplica(folder.url);
    withConnection(replica, undefined, (db) => {
      folder.delete(9, 1, 1);
      for (let again = 0; again < 2; again++) {
        thrownBy(() => rowsOf(db, NOISE_SUM));
        assert.match(replica.lastError!.message, /^Cannot .*: .*expected /);
      }
      folder.snapshot();
      assertSame(db, folder);
    });
  }));

/** Asserts that the newest state is refused for good, by words that a caller can act on. */
function assertReplaced(replica: Replica): void {
  withConnection(replica, undefined, (db) => {
    for (let again = 0; again < 2; again++) {
      thrownBy(() => rowsOf(db, "SELECT count(*) FROM sqlite_schema"));
      assert.ok(replica.lastError instanceof ReplacedError, String(replica.lastError));
      assert.match(
        replica.lastError.message,
        /^Cannot follow .*: another database has taken its place: .*, expected /,
      );
    }
  });
}

for (const onReplaced of ["error", "follow"] as const) {
  test(`A replica made anew under the same names is never mixed with the old one (onReplaced: ${onReplaced})`, async () => {
    await withReplicaFolder({}, (old) =>
      withReplicaFolder({}, async (fresh) => {
        for (const [folder, text] of [[old, "old"], [fresh, "new"]] as const) {
          folder.record(`${noiseSql(1200)}; CREATE TABLE tag (a); INSERT INTO tag VALUES ('${text}')`);
          folder.record(`UPDATE n SET x = '${text}' || randomblob(890)`);
          folder.snapshot();
          folder.step("UPDATE n SET x = x WHERE id = 5");
        }
        await using replica = await openReplica(old.url, { ...POOL, onReplaced });
        withConnection(replica, undefined, (db) => {
          const parts = "SELECT DISTINCT substr(x, 1, 3) AS part FROM n";
          db.exec("BEGIN");
          assert.equal(valueOf(db, "SELECT CAST(substr(x, 1, 3) AS TEXT) FROM n WHERE id = 1"), "old");
          old.replaceBy(fresh);
          // Same TXID, same names, other content: the transaction must not see a page of it.
          thrownBy(() => rowsOf(db, parts));
          const { lastError } = replica;
          if (onReplaced === "error") {
            assert.ok(lastError instanceof ReplacedError, String(lastError));
            return assertReplaced(replica);
          }
          assert.ok(lastError instanceof StateGoneError, String(lastError));
          assert.match(
            lastError.message,
            /^Cannot read TXID 0000000000000003 of .*: the replica was made anew/,
          );
          assertSame(db, fresh);
          assert.equal(valueOf(db, "SELECT a FROM tag"), "new");
        });
        await using again = await openReplica(old.url);
        withConnection(again, undefined, (db) => {
          assert.equal(valueOf(db, "SELECT a FROM tag"), "new");
          assertSame(db, fresh);
        });
      }));
  });
}

test("A replica made anew that ends earlier is refused with words", () =>
  withReplicaFolder({}, (old) =>
    withReplicaFolder({}, async (fresh) => {
      for (const folder of [old, fresh]) folder.record(noiseSql(1200));
      old.record("UPDATE n SET x = randomblob(900)");
      old.snapshot();
      fresh.snapshot();
      await using replica = await openReplica(old.url);
      withConnection(replica, undefined, (db) => {
        old.replaceBy(fresh);
        thrownBy(() => rowsOf(db, NOISE_SUM));
        assert.match(
          replica.lastError!.message,
          /another database has taken its place: .* ends at TXID 0+1, expected/,
        );
      });
      assertReplaced(replica);
      assert.equal(replica.txid, 2n);
    })));

test("A replica made anew that ends earlier is seen with onReplaced: follow", () =>
  withReplicaFolder({}, (old) =>
    withReplicaFolder({}, async (fresh) => {
      for (const folder of [old, fresh]) folder.record(noiseSql(1200));
      old.record("UPDATE n SET x = randomblob(900)");
      old.snapshot();
      fresh.snapshot();
      await using replica = await openReplica(old.url, { onReplaced: "follow" });
      withConnection(replica, undefined, (db) => {
        old.replaceBy(fresh);
        thrownBy(() => rowsOf(db, NOISE_SUM));
        assertSame(db, fresh);
      });
      assert.equal(replica.txid, 1n);
    })));

test("A file that another takes the place of is not read under the old index", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    await using replica = await openReplica(folder.url);
    withConnection(replica, undefined, (db) => {
      // The same database, stored anew: the same bytes in another file.
      folder.snapshot();
      assertSame(db, folder);
    });
    assert.ok(!(replica.lastError instanceof LtxFormatError), String(replica.lastError));
  }));

test("a database that only a past connection has seen is not taken for the one that was opened", () =>
  withReplicaFolder({}, (folder) =>
    withReplicaFolder({}, async (other) => {
      folder.record(noiseSql(1500));
      folder.record("UPDATE n SET x = zeroblob(900) WHERE id % 7 = 0");
      folder.snapshot(2);
      folder.step("UPDATE n SET x = zeroblob(900) WHERE id % 11 = 0");
      other.record(noiseSql(1500));
      other.record("UPDATE n SET x = randomblob(900) WHERE id % 5 = 0");
      other.record("UPDATE n SET x = randomblob(900) WHERE id % 3 = 0");
      other.snapshot(3); // the same TXID under names that the first never had
      await using replica = await openReplica(folder.url, { ...POOL, pollIntervalMs: 0 });
      const rows = "SELECT id, hex(x) AS x FROM n ORDER BY id";
      const connections = [replica.connect(), replica.connect()] as const;
      const [pinned, moved] = connections;
      const first = (where: string) =>
        folder.rows(`SELECT sum(length(hex(x))) AS s, count(*) AS n FROM n ${where}`);
      pinned.exec("PRAGMA cache_size = 5");
      pinned.exec("BEGIN");
      assert.deepEqual(
        rowsOf(pinned, "SELECT sum(length(hex(x))) AS s, count(*) AS n FROM n WHERE id < 10"),
        first("WHERE id < 10"),
      );
      rowsOf(moved, rows); // SQLite's own cache has what it can hold
      folder.replaceBy(other);
      const wanted = other.rows(rows);
      for (let again = 0; again < 2; again++) {
        const past = replica.connect({ asOf: 3n });
        assert.deepEqual(rowsOf(past, rows), wanted);
        past.close();
        moved.exec("PRAGMA litestream_time = 'txid:0000000000000003'");
        assert.deepEqual(rowsOf(moved, rows), wanted);
      }
      const thrown = thrownBy(() => rowsOf(pinned, rows));
      assert.match(String(thrown), /StateGoneError|disk I\/O/);
      assert.ok(replica.lastError instanceof ReplicaError);
      for (const db of connections) db.close();
    })));
