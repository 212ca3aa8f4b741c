/** A replica that follows its writer: what arrives in which order, what is asked for, what is told. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { test } from "node:test";
import {
  type ConnectOptions,
  DeadlineError,
  type OpenOptions,
  openReplica,
  ReplacedError,
  type Replica,
  ReplicaClosedError,
  StaleError,
  StateGoneError,
} from "../../mod.ts";
import { allDrivers } from "../support/all_drivers.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import type { LocalDatabase } from "../support/local_database.ts";
import {
  type ReplicaFolder,
  type ReplicaFolderOptions,
  withReplicaFolder,
} from "../support/replica_folder.ts";
import { NOISE_SUM, noiseSql, rowsOf, tableSql, thrownBy, valueOf } from "./drivers.ts";
import {
  ASKED,
  assertAlike,
  breakLooks,
  census,
  eventsOf,
  looks,
  OFTEN,
  pause,
  recordValue,
  stepValue,
  takeAway,
  until,
} from "./following.ts";

const drivers = await allDrivers();

interface Place {
  readonly folder: ReplicaFolder;
  readonly replica: Replica;
  readonly db: LocalDatabase;
  connect(options?: ConnectOptions): LocalDatabase;
}

interface Setting extends OpenOptions {
  readonly folder?: ReplicaFolderOptions;
  readonly timeoutMs?: number;
}

/** Runs a test with each driver: `prepare` makes the replica, `use` gets it open, with a connection. */
function eachDriver(
  name: string,
  { folder: folderOptions = {}, timeoutMs = 60_000, ...options }: Setting,
  prepare: (folder: ReplicaFolder) => void,
  use: (place: Place) => Promise<void>,
): void {
  for (const { name: driver, Database } of drivers) {
    test(
      `${driver}: ${name}`,
      { timeout: timeoutMs },
      () =>
        withReplicaFolder(folderOptions, async (folder) => {
          prepare(folder);
          await using replica = await openReplica(folder.url, options);
          const open: LocalDatabase[] = [];
          const connect = (options?: ConnectOptions) => {
            open.push(replica.connect(Database, options));
            return open.at(-1)!;
          };
          try {
            await use({ folder, replica, db: connect(), connect });
          } finally {
            for (const db of open) db.close();
          }
        }),
    );
  }
}

const VALUE = "SELECT x, litestream_txid() AS txid FROM v";

function assertValue(db: LocalDatabase, value: number): void {
  assert.deepEqual(rowsOf(db, VALUE), [{ x: value, txid: value.toString(16).padStart(16, "0") }]);
}

// ------------------------------------------------------------------------------------- what arrives in which order

eachDriver("R1: L1 11–13 that arrives after L0 13 and 14 takes nobody back", ASKED, (folder) => {
  recordValue(folder, 12);
  folder.snapshot(10);
  for (const txid of [11, 12]) folder.write(0, txid, txid);
}, async ({ folder, replica, db }) => {
  assertValue(db, 12);
  stepValue(folder, 14);
  assert.equal(await replica.refresh(), 14n);
  assertValue(db, 14);
  folder.write(1, 11, 13);
  for (let again = 0; again < 3; again++) assert.equal(await replica.refresh(), 14n);
  assertValue(db, 14);
  for (const txid of [11, 12, 13]) folder.delete(0, txid, txid);
  assert.equal(await replica.refresh(), 14n);
  assertValue(db, 14);
  stepValue(folder, 15);
  assert.equal(await replica.refresh(), 15n);
  assertValue(db, 15);
});

eachDriver("R1: by itself too, while files of higher levels arrive all the time", OFTEN, (folder) => {
  recordValue(folder, 2);
  folder.snapshot();
}, async ({ folder, replica, db }) => {
  let last = 0;
  for (let txid = 3; txid <= 30; txid++) {
    stepValue(folder, txid);
    if (txid % 5 === 0) folder.write(1, txid - 4, txid - 1);
    if (txid % 10 === 0) folder.write(2, txid - 9, txid - 2);
    if (txid % 7 === 0) await replica.refresh();
    else await pause(12);
    const { x, txid: seen } = rowsOf(db, VALUE)[0] as { x: number; txid: string };
    assert.equal(x, Number(BigInt(`0x${seen}`)));
    assert.ok(x >= last, `${x} after ${last}`);
    last = x;
  }
  await replica.waitFor(30n);
  assertValue(db, 30);
});

eachDriver(
  "R2: after an incremental vacuum untouched pages are still there, and the size is right",
  { ...ASKED, folder: { setup: "PRAGMA auto_vacuum = INCREMENTAL" } },
  (folder) => {
    folder.record(noiseSql(600));
    folder.snapshot();
    folder.step("DELETE FROM n WHERE id > 200");
  },
  async ({ folder, replica, db }) => {
    const before = folder.commitAt(folder.txid);
    assert.equal(valueOf(db, "SELECT count(*) FROM n WHERE id < 5"), 4); // all other pages are read later
    folder.step((source) => source.all("PRAGMA incremental_vacuum(21)"));
    assert.equal(folder.commitAt(folder.txid), before - 21);
    assert.equal(await replica.refresh(), 3n);
    assert.equal(replica.size.commit, before - 21);
    assertAlike(db, folder);
    folder.step((source) => source.all("PRAGMA incremental_vacuum"));
    folder.step("INSERT INTO n SELECT id + 1000, randomblob(900) FROM n");
    await replica.refresh();
    assertAlike(db, folder);
  },
);

eachDriver("R3: a plan L9 1–5, L2 6–10, L0 11–12 goes on by L1 11–14 and 15–16", ASKED, (folder) => {
  recordValue(folder, 12);
  folder.snapshot(5);
  folder.write(2, 6, 10);
  for (const txid of [11, 12]) folder.write(0, txid, txid);
}, async ({ folder, replica, db }) => {
  assertValue(db, 12);
  recordValue(folder, 16);
  folder.write(1, 11, 14);
  assert.equal(await replica.refresh(), 14n);
  assertValue(db, 14);
  folder.write(1, 15, 16);
  assert.equal(await replica.refresh(), 16n);
  assertValue(db, 16);
  stepValue(folder, 17);
  assert.equal(await replica.refresh(), 17n);
  assertValue(db, 17);
});

eachDriver("R3: the same with L0 files beside, followed by itself", OFTEN, (folder) => {
  recordValue(folder, 12);
  folder.snapshot(5);
  folder.write(2, 6, 10);
  for (const txid of [11, 12]) folder.write(0, txid, txid);
}, async ({ folder, replica, db }) => {
  stepValue(folder, 15);
  folder.write(1, 11, 14);
  await replica.waitFor(15n, { timeoutMs: 10_000 });
  stepValue(folder, 16);
  folder.write(1, 15, 16);
  for (let txid = 11; txid <= 15; txid++) folder.delete(0, txid, txid);
  await replica.waitFor(16n, { timeoutMs: 10_000 });
  assertValue(db, 16);
});

eachDriver("R4: a pinned and an unpinned connection read on when their files are deleted", {
  ...ASKED,
  cacheBytesMax: 1024 * 1024,
}, (folder) => {
  folder.record(noiseSql(2500));
  folder.snapshot();
  folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 0");
  folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 1");
}, async ({ folder, replica, db, connect }) => {
  const pinned = connect();
  const wanted = folder.rows(NOISE_SUM);
  pinned.exec("BEGIN");
  assert.equal(valueOf(pinned, "SELECT count(*) FROM n WHERE id < 20"), 19);
  folder.step("DELETE FROM n WHERE id % 2 = 0");
  folder.step("UPDATE n SET x = zeroblob(900) WHERE id % 7 = 0");
  assert.equal(await replica.refresh(), 5n);
  folder.write(9, 1, 3);
  folder.write(9, 1, 5);
  folder.delete(9, 1, 1);
  for (let txid = 2; txid <= 4; txid++) folder.delete(0, txid, txid); // the newest of a level stays
  assert.deepEqual(rowsOf(pinned, NOISE_SUM), wanted);
  assert.equal(valueOf(pinned, "SELECT litestream_txid()"), "0000000000000003");
  assertAlike(db, folder);
  // Now nothing ends at TXID 3 any more.
  folder.delete(9, 1, 3);
  pinned.exec("PRAGMA shrink_memory");
  thrownBy(() => rowsOf(pinned, NOISE_SUM));
  assert.ok(replica.lastError instanceof StateGoneError, String(replica.lastError));
  assertAlike(db, folder);
  try {
    pinned.exec("ROLLBACK");
  } catch {
    // ended already
  }
  assertAlike(pinned, folder);
});

eachDriver(
  "R4: the base is replaced in the background, so that the old one is never missed",
  ASKED,
  (folder) => {
    folder.record(noiseSql(1500));
    folder.snapshot();
    folder.step("UPDATE n SET x = randomblob(900) WHERE id % 100 = 0");
    folder.step("DELETE FROM n WHERE id = 77");
  },
  async ({ folder, replica, db, connect }) => {
    const pinned = connect();
    pinned.exec("BEGIN");
    assert.equal(valueOf(pinned, "SELECT count(*) FROM n WHERE id < 20"), 19);
    folder.snapshot(3);
    await replica.refresh();
    const mark = replica.stats();
    folder.delete(9, 1, 1);
    for (const txid of [2, 3]) folder.delete(0, txid, txid);
    assertAlike(db, folder);
    assertAlike(pinned, folder);
    assert.equal(replica.lastError, undefined);
    const { listRequests, views } = replica.stats(mark);
    assert.deepEqual({ listRequests, views }, { listRequests: 0, views: 0 });
  },
);

eachDriver("R4: the base is replaced also where each look finds new transactions", ASKED, (folder) => {
  folder.record(noiseSql(1500));
  folder.snapshot();
}, async ({ folder, replica, db }) => {
  for (let round = 0; round < 3; round++) {
    folder.step(`UPDATE n SET x = randomblob(900) WHERE id = ${round + 1}`);
    if (round === 1) folder.snapshot();
    await replica.refresh();
  }
  const mark = replica.stats();
  folder.delete(9, 1, 1);
  folder.delete(0, 2, 2);
  folder.delete(0, 3, 3);
  assertAlike(db, folder);
  assert.equal(replica.lastError, undefined);
  assert.equal(replica.stats(mark).listRequests, 0);
});

eachDriver("R19: a file of a higher level that starts below the next TXID is found", ASKED, (folder) => {
  recordValue(folder, 7);
  folder.snapshot(5);
  for (const txid of [6, 7]) folder.write(0, txid, txid);
}, async ({ folder, replica, db }) => {
  recordValue(folder, 11);
  folder.write(1, 6, 9);
  assert.equal(await replica.refresh(), 9n);
  assertValue(db, 9);
  folder.write(3, 2, 11);
  assert.equal(await replica.refresh(), 11n); // levels beside 1 are looked at in turn; a gap or doubt looks at all
  assertValue(db, 11);
});

// ------------------------------------------------------------------------------------------------- what is asked for

test("R12: a look that finds nothing is one GET; nothing is listed", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql(100));
    folder.snapshot();
    folder.step("DELETE FROM t WHERE id = 1");
    await using replica = await openReplica(folder.url, OFTEN);
    await looks(replica, 2);
    const mark = replica.stats();
    await looks(replica, 50);
    const { polls, getRequests, listRequests, bytes, views, failedPolls } = replica.stats(mark);
    assert.ok(Math.abs(getRequests - polls) <= 1, `${getRequests} GETs in ${polls} looks`);
    assert.deepEqual({ listRequests, bytes, views, failedPolls }, {
      listRequests: 0,
      bytes: 0,
      views: 0,
      failedPolls: 0,
    });
  }));

test("R12: a transaction costs at most two GETs more, and its bytes come once", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(tableSql(100));
    folder.snapshot();
    await using replica = await openReplica(folder.url, OFTEN);
    const mark = replica.stats();
    let bytes = 0;
    for (let i = 0; i < 5; i++) {
      const txid = folder.step(`UPDATE t SET b = 'x' WHERE id = ${i}`);
      bytes += folder.sizeOf(0, txid, txid);
      await replica.waitFor(BigInt(txid));
      await looks(replica, 1); // a look that finds several, one after the other, lists the rest
    }
    const since = replica.stats(mark);
    assert.equal(since.listRequests, 0);
    assert.ok(since.getRequests <= since.polls + 12, `${since.getRequests} GETs in ${since.polls} looks`);
    assert.ok(since.bytes <= bytes + 10, `${since.bytes} bytes of ${bytes}`);
  }));

test("R12: listings begin after a mark", async () => {
  await withReplicaFolder({}, async (folder) => {
    await using server = await FakeS3.start();
    const put = (level: number, min: number, max: number) => {
      const name = folder.pathOf(level, min, max).split("/").at(-1)!;
      server.put(`db/000${level}/${name}`, folder.encode(min, max));
    };
    recordValue(folder, 40);
    put(9, 1, 10);
    for (let txid = 11; txid <= 30; txid += 2) put(1, txid, txid + 1);
    for (let txid = 20; txid <= 40; txid++) put(0, txid, txid);
    const { endpoint, options: { accessKeyId, secretAccessKey } } = server;
    const credentials = { accessKeyId, secretAccessKey };
    await using replica = await openReplica("s3://bucket/db", { endpoint, credentials, ...ASKED });
    assert.equal(replica.txid, 40n);
    for (let again = 0; again < 3; again++) {
      server.log.length = 0;
      await replica.refresh();
      const lists = server.log.filter(({ prefix }) => prefix !== "");
      assert.equal(lists.length, 10); // a page a level, each from its mark on
      const after = new Map(lists.map(({ prefix, target }) => {
        return [prefix, new URLSearchParams(target.split("?")[1]).get("start-after")];
      }));
      assert.equal(after.get("db/0000/"), "db/0000/0000000000000020-0000000000000020"); // eight files before the newest
      assert.equal(after.get("db/0001/"), "db/0001/000000000000001d-000000000000001e");
      assert.equal(after.get("db/0009/"), "db/0009/0000000000000001-000000000000000a");
    }
  });
});

test("R12: a bucket that refuses what is not there is followed all the same, and re-planned", async () => {
  await withReplicaFolder({}, async (folder) => {
    await using server = await FakeS3.start({ missingKeyStatus: 403 });
    const keyOf = (level: number, min: number, max: number) =>
      `db/000${level}/${folder.pathOf(level, min, max).split("/").at(-1)!}`;
    const put = (level: number, min: number, max: number) =>
      server.put(keyOf(level, min, max), folder.encode(min, max));
    recordValue(folder, 5);
    put(9, 1, 5);
    const { endpoint, options: { accessKeyId, secretAccessKey } } = server;
    const credentials = { accessKeyId, secretAccessKey };
    await using replica = await openReplica("s3://bucket/db", { endpoint, credentials, ...OFTEN });
    await looks(replica, 5);
    assert.equal(replica.stats().failedPolls, 0);
    recordValue(folder, 6);
    put(0, 6, 6);
    assert.equal(await replica.waitFor(6n, { timeoutMs: 5_000 }), 6n);
    const mark = replica.stats();
    await looks(replica, 20);
    assert.equal(replica.stats(mark).listRequests, 0);
    for (const [level, min, max] of [[9, 1, 5], [0, 6, 6]] as const) server.remove(keyOf(level, min, max));
    recordValue(folder, 4);
    put(9, 1, 2);
    await assert.rejects(replica.refresh(), ReplacedError);
  });
});

test("Files that were copied anew, and a newest one that is away for a moment, are no other database", () =>
  withReplicaFolder({}, async (folder) => {
    recordValue(folder, 5);
    folder.snapshot();
    stepValue(folder, 6);
    await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    const events = eventsOf(replica);
    assert.equal(replica.txid, 6n);
    folder.snapshot(5); // as another object, for a folder
    folder.delete(0, 6, 6);
    setTimeout(() => folder.write(0, 6, 6), 400);
    assert.equal(await replica.refresh(), 6n);
    assert.deepEqual(events.filter(({ type }) => type === "replaced"), []);
    stepValue(folder, 7);
    assert.equal(await replica.refresh(), 7n);
    const db = replica.connect();
    assert.equal(valueOf(db, "SELECT x FROM v"), 7);
    db.close();
  }));

// -------------------------------------------------------------------------------------------------------- what is told

eachDriver(
  "R17: litestream_time advances; inside a transaction all is told of the state that is seen",
  OFTEN,
  (folder) => {
    stepValue(folder, 3);
  },
  async ({ folder, replica, db }) => {
    const timeAt = (txid: number) => new Date(1_700_000_000_000 + txid * 1000).toISOString();
    const told = () => ({
      txid: valueOf(db, "SELECT litestream_txid()"),
      pragma: valueOf(db, "PRAGMA litestream_txid"),
      time: valueOf(db, "SELECT litestream_time()"),
      pragmaTime: valueOf(db, "PRAGMA litestream_time"),
      x: valueOf(db, "SELECT x FROM v"),
    });
    const wanted = (txid: number) => {
      const name = txid.toString(16).padStart(16, "0");
      return { txid: name, pragma: name, time: timeAt(txid), pragmaTime: timeAt(txid), x: txid };
    };
    assert.deepEqual(told(), wanted(3));
    assert.equal(replica.time?.toISOString(), timeAt(3));
    db.exec("BEGIN");
    assert.deepEqual(told(), wanted(3));
    stepValue(folder, 5);
    await replica.waitFor(5n);
    assert.deepEqual(told(), wanted(3));
    assert.equal(replica.time?.toISOString(), timeAt(5));
    assert.equal(replica.stats().pinned, 1);
    db.exec("COMMIT");
    assert.deepEqual(told(), wanted(5));
    stepValue(folder, 6);
    await replica.waitFor(6n);
    assert.deepEqual(told(), wanted(6));
  },
);

eachDriver("R17: a statement that is being stepped through tells of its own state", ASKED, (folder) => {
  folder.record("CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (1), (2), (3)");
  folder.snapshot();
}, async ({ folder, replica, db }) => {
  const statement = db.prepare("SELECT id, litestream_txid() AS txid FROM t ORDER BY id") as unknown as {
    iterate?(): IterableIterator<{ id: number; txid: string }>;
    finalize?(): void;
  };
  if (statement.iterate === undefined) return;
  const seen: string[] = [];
  for (const { txid } of statement.iterate()) {
    if (seen.length === 1) {
      folder.step("DELETE FROM t WHERE id > 1");
      await replica.refresh();
    }
    seen.push(txid);
  }
  statement.finalize?.();
  assert.deepEqual(seen, Array(3).fill("0000000000000001"));
  assert.deepEqual(rowsOf(db, "SELECT count(*) AS n, litestream_txid() AS txid FROM t"), [{
    n: 1,
    txid: "0000000000000002",
  }]);
});

eachDriver("R18: a look that fails is told by PRAGMA, lastError, event and statistics", OFTEN, (folder) => {
  stepValue(folder, 3);
}, async ({ folder, replica, db }) => {
  const events = eventsOf(replica);
  const statistics = () => JSON.parse(String(valueOf(db, "PRAGMA litestream_stats")));
  await looks(replica, 3);
  assert.equal(statistics().failedPolls, 0);
  assert.equal(valueOf(db, "PRAGMA litestream_error"), "");
  const mend = breakLooks(folder);
  await until("three failed looks", () => replica.stats().failedPolls >= 3);
  assert.match(String(valueOf(db, "PRAGMA litestream_error")), /^StorageError: Cannot read bytes .*ELOOP/i);
  assert.match(String(replica.lastError), /StorageError: Cannot read bytes/);
  assert.ok(statistics().failedPolls >= 3);
  assertValue(db, 3); // what was seen stays
  await assert.rejects(replica.refresh(), { name: "StorageError" });
  await until("the event", () => events.some(({ type }) => type === "error"));
  const byName = events.filter((event) =>
    event.type === "error" && event.error.message.includes("read bytes")
  );
  assert.equal(byName.length, 1, "once for one reason");
  mend();
  stepValue(folder, 4);
  await replica.waitFor(4n);
  assertValue(db, 4);
  const { failedPolls } = replica.stats();
  await looks(replica, 3);
  assert.equal(replica.stats().failedPolls, failedPolls);
});

test("events come in the order of the states, each once", () =>
  withReplicaFolder({}, async (folder) => {
    stepValue(folder, 2);
    await using replica = await openReplica(folder.url, ASKED);
    const events = eventsOf(replica);
    const heard: bigint[] = [];
    const stop = replica.on("commit", ({ txid }) => heard.push(txid));
    for (const txid of [3, 4, 9]) {
      stepValue(folder, txid);
      await replica.refresh();
    }
    await replica.refresh();
    await until("all events", () => events.length >= 3);
    stop();
    recordValue(folder, 20);
    folder.write(0, 20, 20);
    await replica.refresh();
    await replica.refresh();
    await until("the gap", () => events.some(({ type }) => type === "gap"));
    folder.write(1, 10, 19);
    await replica.refresh();
    await until("the end", () => events.some((event) => event.type === "commit" && event.txid === 20n));
    const short = events.map((event) => event.type === "commit" ? Number(event.txid) : event.type);
    assert.deepEqual(short, [3, 4, 9, "gap", 20]);
    assert.deepEqual(events.find(({ type }) => type === "gap"), { type: "gap", txid: 9n, nextTxid: 20n });
    assert.deepEqual(heard, [3n, 4n, 9n]);
    assert.deepEqual(events.at(-1), {
      type: "commit",
      txid: 20n,
      commit: folder.commitAt(20),
      timeMs: 1_700_000_020_000,
    });
  }));

// ------------------------------------------------------------------------------------------------------ much at once

eachDriver("wide L0 files, and such that hold the whole database", OFTEN, (folder) => {
  folder.record(noiseSql(1200));
  folder.snapshot();
}, async ({ folder, replica, db }) => {
  for (const id of [1, 2, 3]) folder.record(`UPDATE n SET x = zeroblob(900) WHERE id = ${id}`);
  folder.write(0, 2, 4);
  assert.equal(await replica.refresh(), 4n);
  assertAlike(db, folder);
  folder.step("UPDATE n SET x = randomblob(900)");
  assert.ok(folder.sizeOf(0, 5, 5) > 1_000_000, `${folder.sizeOf(0, 5, 5)} bytes`);
  await replica.waitFor(5n);
  assertAlike(db, folder);
  folder.step("CREATE TABLE more AS SELECT id, randomblob(900) AS x FROM n");
  folder.step("DELETE FROM n");
  folder.step("VACUUM");
  await replica.waitFor(8n);
  assertAlike(db, folder);
});

eachDriver("2,000 L0 files at once", { ...OFTEN, timeoutMs: 120_000 }, (folder) => {
  stepValue(folder, 2);
}, async ({ folder, replica, db }) => {
  assertValue(db, 2);
  stepValue(folder, 2002);
  await replica.waitFor(2002n, { timeoutMs: 60_000 });
  assertValue(db, 2002);
  assert.deepEqual(rowsOf(db, "PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
  folder.snapshot();
  folder.write(1, 3, 2002);
  await replica.refresh();
  const mark = replica.stats();
  stepValue(folder, 2003);
  await replica.waitFor(2003n);
  assertValue(db, 2003);
  assert.equal(replica.stats(mark).listRequests, 0);
});

test(
  "1,000 looks, each tenth of which finds something, keep neither views nor files",
  { timeout: 120_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      stepValue(folder, 2);
      await using replica = await openReplica(folder.url, ASKED);
      const db = replica.connect();
      const round = async (count: number) => {
        for (let i = 0; i < count; i++) {
          if (i % 10 === 0) stepValue(folder, folder.txid + 1);
          if (i % 100 === 50) folder.write(1, Math.max(2, folder.txid - 8), folder.txid);
          await replica.refresh();
          if (i % 50 === 0) assertValue(db, folder.txid);
        }
      };
      await round(100);
      const before = await census();
      await round(1000);
      const after = await census();
      assertValue(db, folder.txid);
      db.close();
      after.forEach((count, i) => assert.ok(count <= before[i]! + 8, `${before} before, ${after} after`));
    }),
);

// ---------------------------------------------------------------------------------------------------------- waiting

test("waitFor() wakes for what another process writes, soon", () =>
  withReplicaFolder({}, async (folder) => {
    stepValue(folder, 3);
    await using replica = await openReplica(folder.url, { pollIntervalMs: 60_000 });
    recordValue(folder, 5);
    const moves = [4, 5].map((txid) => {
      const staged = `${folder.home}/staged-${txid}.ltx`;
      folder.put(staged, folder.encode(txid, txid));
      return `mv ${staged} ${folder.pathOf(0, txid, txid)}`;
    });
    mkdirSync(dirname(folder.pathOf(0, 4, 4)), { recursive: true });
    const child = spawn("/bin/sh", ["-c", `sleep 0.3; ${moves.join("; sleep 0.2; ")}`]);
    const began = performance.now();
    assert.equal(await replica.waitFor(5n, { timeoutMs: 20_000 }), 5n);
    const ms = performance.now() - began;
    assert.ok(ms > 400 && ms < 5_000, `${ms} ms`);
    await new Promise((resolve) => child.exitCode === null ? child.once("exit", resolve) : resolve(0));
    const db = replica.connect();
    assertValue(db as LocalDatabase, 5);
    db.close();
  }));

for (const pollIntervalMs of [0, 10, 60_000]) {
  test(`waitFor() ends by time, signal, closing or arrival; pollIntervalMs ${pollIntervalMs}`, () =>
    withReplicaFolder({}, async (folder) => {
      stepValue(folder, 3);
      const replica = await openReplica(folder.url, { pollIntervalMs });
      assert.equal(await replica.waitFor(1n), 3n);
      await assert.rejects(replica.waitFor(9n, { timeoutMs: 100 }), (error) => {
        assert.ok(error instanceof DeadlineError, String(error));
        assert.match(
          error.message,
          /wait for TXID 0000000000000009 .*100 ms, the newest is 0000000000000003/,
        );
        return true;
      });
      const reason = new Error("enough");
      const abort = new AbortController();
      setTimeout(() => abort.abort(reason), 50);
      await assert.rejects(replica.waitFor(9n, { signal: abort.signal }), reason);
      await assert.rejects(replica.waitFor(9n, { signal: AbortSignal.abort(reason) }), reason);
      const many = Promise.all(Array.from({ length: 50 }, (_, i) => replica.waitFor(BigInt(4 + i % 3))));
      setTimeout(() => stepValue(folder, 6), 150);
      assert.ok((await many).every((txid) => txid >= 4n && txid <= 6n));
      const forever = assert.rejects(replica.waitFor(99n), ReplicaClosedError);
      await replica.close();
      await forever;
      await assert.rejects(replica.waitFor(99n), ReplicaClosedError);
      await assert.rejects(replica.refresh(), ReplicaClosedError);
    }));
}

test("waitFor() refuses what is no TXID, at once", () =>
  withReplicaFolder({}, async (folder) => {
    stepValue(folder, 3);
    await using replica = await openReplica(folder.url, ASKED);
    await assert.rejects(replica.waitFor(1n << 70n), RangeError);
    await assert.rejects(replica.waitFor(5 as unknown as bigint), TypeError);
  }));

test("waitFor() at a gap with pollIntervalMs 0 does not spin", () =>
  withReplicaFolder({}, async (folder) => {
    stepValue(folder, 3);
    await using replica = await openReplica(folder.url, ASKED);
    recordValue(folder, 9);
    folder.write(0, 9, 9);
    await replica.refresh();
    const mark = replica.stats();
    await assert.rejects(replica.waitFor(9n, { timeoutMs: 3_000 }), DeadlineError);
    const { polls, listRequests } = replica.stats(mark);
    assert.ok(polls >= 3 && polls <= 35, `${polls} looks in 3 s`); // by name, one each 100 ms
    assert.ok(listRequests < 20 * 24, `${listRequests} listing requests in 3 s`); // fewer than 20 whole listings
    folder.write(1, 4, 8);
    assert.equal(await replica.refresh(), 9n);
  }));

test("refresh() many times at once", () =>
  withReplicaFolder({}, async (folder) => {
    stepValue(folder, 3);
    await using replica = await openReplica(folder.url, OFTEN);
    stepValue(folder, 20);
    const seen = await Promise.all(Array.from({ length: 50 }, () => replica.refresh()));
    assert.ok(seen.every((txid) => txid === 20n), String(seen));
  }));

// ------------------------------------------------------------------------------------------------------ not seen

eachDriver(
  "maxStaleMs: transactions fail with words while the replica cannot be seen, and begin again after",
  {
    ...OFTEN,
    maxStaleMs: 400,
  },
  (folder) => {
    stepValue(folder, 3);
  },
  async ({ folder, replica, db, connect }) => {
    const events = eventsOf(replica);
    const pinned = connect();
    pinned.exec("BEGIN");
    assertValue(pinned, 3);
    const past = connect({ asOf: 2n });
    const mend = breakLooks(folder);
    await until("it is stale", () => replica.lagMs > 500);
    let lastError: Error | undefined;
    await until("the reason is told", () => { // a look that fails in between tells its own
      thrownBy(() => rowsOf(db, VALUE));
      lastError = replica.lastError;
      return lastError instanceof StaleError;
    });
    assert.match(
      lastError!.message,
      /^Cannot begin a transaction: the replica was last seen \d+ ms ago, expected at most maxStaleMs 400$/,
    );
    assert.match(String(lastError!.cause), /StorageError: Cannot read bytes/);
    assertValue(pinned, 3); // begun in time
    assert.equal(valueOf(past, "SELECT x FROM v"), 2); // asked for by name
    await until("the event", () => events.some(({ type }) => type === "stale"));
    assert.equal(events.filter(({ type }) => type === "stale").length, 1);
    mend();
    await until("it is seen again", () => replica.lagMs < 400);
    assertValue(db, 3);
    pinned.exec("COMMIT");
    assertValue(pinned, 3);
  },
);

eachDriver("maxStaleMs with pollIntervalMs 0: refresh() is what makes it fresh", {
  ...ASKED,
  maxStaleMs: 300,
}, (folder) => {
  stepValue(folder, 3);
}, async ({ folder, replica, db }) => {
  assertValue(db, 3);
  await pause(400);
  thrownBy(() => rowsOf(db, VALUE));
  assert.ok(replica.lastError instanceof StaleError, String(replica.lastError));
  stepValue(folder, 4);
  await replica.refresh();
  assertValue(db, 4);
});

eachDriver(
  "a replica that is away for a while is told, and followed again once it is back",
  OFTEN,
  (folder) => {
    stepValue(folder, 3);
  },
  async ({ folder, replica, db }) => {
    const events = eventsOf(replica);
    assertValue(db, 3);
    const back = takeAway(folder);
    await assert.rejects(
      replica.refresh(),
      /^RestorePlanError: Cannot follow .*: there are no LTX files any more, expected/,
    );
    assertValue(db, 3);
    back();
    stepValue(folder, 4);
    await replica.waitFor(4n);
    assertValue(db, 4);
    assert.deepEqual(events.filter(({ type }) => type === "replaced"), []);
  },
);

// --------------------------------------------------------------------------------------------------------- replaced

for (const how of ["at once", "after a while without any files"]) {
  eachDriver(`onReplaced "follow": a database made anew ${how} is seen with its own schema and page size`, {
    ...OFTEN,
    onReplaced: "follow",
  }, (folder) => {
    folder.step(tableSql(300));
    folder.step("UPDATE t SET b = 'old'");
  }, async ({ folder, replica, db }) => {
    const events = eventsOf(replica);
    assert.equal(valueOf(db, "SELECT count(*) FROM t"), 300);
    await withReplicaFolder({ pageSize: 1024 }, async (fresh) => {
      fresh.step("CREATE TABLE other (a); INSERT INTO other VALUES ('new')");
      if (how !== "at once") {
        folder.clear();
        await assert.rejects(replica.refresh(), { name: "RestorePlanError" });
        for (let i = 0; i < 5; i++) fresh.step(`INSERT INTO other VALUES (${i})`);
      }
      folder.replaceBy(fresh);
      await replica.refresh();
      assert.equal(replica.txid, BigInt(fresh.txid));
      assert.equal(replica.size.pageSize, 1024);
      assertAlike(db, fresh);
      const replaced = events.filter(({ type }) => type === "replaced");
      assert.deepEqual(replaced, [{ type: "replaced", txid: 2n, nowTxid: BigInt(fresh.txid) }]);
    });
  });

  eachDriver(`onReplaced "error": a database made anew ${how} is refused for good`, OFTEN, (folder) => {
    folder.step(tableSql(300));
    folder.step("UPDATE t SET b = 'old'");
  }, async ({ folder, replica, db }) => {
    const events = eventsOf(replica);
    assert.equal(valueOf(db, "SELECT count(*) FROM t"), 300);
    await withReplicaFolder({ pageSize: 1024 }, async (fresh) => {
      fresh.step("CREATE TABLE other (a); INSERT INTO other VALUES ('new')");
      if (how !== "at once") {
        folder.clear();
        await assert.rejects(replica.refresh(), { name: "RestorePlanError" });
        for (let i = 0; i < 5; i++) fresh.step(`INSERT INTO other VALUES (${i})`);
      }
      folder.replaceBy(fresh);
      await assert.rejects(replica.refresh(), ReplacedError);
      await assert.rejects(replica.refresh(), ReplacedError);
      await assert.rejects(replica.waitFor(99n), ReplacedError);
      for (let again = 0; again < 2; again++) {
        thrownBy(() => rowsOf(db, "SELECT * FROM sqlite_schema"));
        assert.ok(replica.lastError instanceof ReplacedError, String(replica.lastError));
        assert.match(
          String(valueOf(db, "PRAGMA litestream_error")),
          /^ReplacedError: .*another database has taken its place/,
        );
      }
      await until("the event", () => events.some(({ type }) => type === "replaced"));
      assert.equal(events.filter(({ type }) => type === "replaced").length, 1);
    });
  });
}

test("onReplaced: a database made anew that soon passes the old one's TXID is never laid over it", () =>
  withReplicaFolder({}, (folder) =>
    withReplicaFolder({}, async (fresh) => {
      stepValue(folder, 5);
      for (let i = 1; i <= 6; i++) fresh.step(i === 1 ? "CREATE TABLE w (y)" : `INSERT INTO w VALUES (${i})`);
      await using replica = await openReplica(folder.url, { ...OFTEN, onReplaced: "follow" });
      folder.replaceBy(fresh);
      await replica.waitFor(6n);
      const db = replica.connect();
      assertAlike(db, fresh);
      db.close();
    })));
