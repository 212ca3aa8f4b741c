/** Connections in the past: `PRAGMA litestream_time`, `litestream_set_time()`, `connect({ asOf })`, `path({ asOf })`. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { renameSync } from "node:fs";
import process, { env } from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  type AsOf,
  ObjectGoneError,
  openReplica,
  type Replica,
  type ReplicaDatabase,
  ReplicaError,
  RestorePlanError,
  StateGoneError,
} from "../../mod.ts";
import { allDrivers } from "../support/all_drivers.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { openPlain } from "../support/sqlite.ts";
import { noiseSql, rowsOf, thrownBy, valueOf, withConnection } from "./drivers.ts";

const drivers = await allDrivers();
const CHILD = fileURLToPath(new URL("./past_child.ts", import.meta.url));
const RUN = "Bun" in globalThis ? [] : ["run", "-A", "--no-check"];

/** Longer than moments share a listing, in ms. */
const LISTING_MS = 600;

/** When transaction 0 would have been written. */
const START_MS = 1_700_000_000_000;

/** A moment so many ms after a transaction was written, as RFC 3339. */
function at(txid: number, ms = 0): string {
  return new Date(START_MS + txid * 1000 + ms).toISOString();
}

function shown(txid: number): string {
  return txid.toString(16).padStart(16, "0");
}

/** A replica whose table `h` has as many rows as its TXID says. */
async function withHistory(
  count: number,
  use: (folder: ReplicaFolder, replica: Replica) => Promise<void> | void,
): Promise<void> {
  await withReplicaFolder({}, async (folder) => {
    folder.record("CREATE TABLE h (n INTEGER PRIMARY KEY, x TEXT); INSERT INTO h VALUES (1, 'one')");
    folder.snapshot();
    for (let n = 2; n <= count; n++) folder.step(`INSERT INTO h VALUES (${n}, 'row ${n}')`);
    await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    await use(folder, replica);
  });
}

/** The TXID that a connection of {@link withHistory} sees, by its rows and by what it says. */
function seenBy(db: Pick<ReplicaDatabase, "prepare" | "exec" | "close">): number {
  const [row] = rowsOf(db, "SELECT count(*) AS n, max(n) AS top, litestream_txid() AS txid FROM h");
  assert.deepEqual(row, { n: row!.n, top: row!.n, txid: shown(row!.n as number) });
  assert.equal(valueOf(db, "PRAGMA litestream_txid"), row!.txid);
  return row!.n as number;
}

function set(db: Pick<ReplicaDatabase, "exec">, moment: string): void {
  db.exec(`PRAGMA litestream_time = '${moment}'`);
}

/** Opens a connection as of a moment, gives it to `use`, and closes it. */
function asOf<T>(replica: Replica, moment: AsOf, use: (db: ReplicaDatabase) => T): T {
  const db = replica.connect({ asOf: moment });
  try {
    return use(db);
  } finally {
    db.close();
  }
}

/** What the tests of a driver are called. */
function each(title: string, body: (Database: typeof drivers[number]["Database"]) => Promise<void>): void {
  for (const { name, Database } of drivers) test(`${title} (${name})`, () => body(Database));
}

// ------------------------------------------------------------------------------------------------ how it is written

each(
  "PRAGMA litestream_time and litestream_set_time() take all forms, and show what was set",
  (Database) =>
    withHistory(9, (_folder, replica) => {
      const db = replica.connect(Database);
      const forms: readonly (readonly [sql: string, txid: number, shows: string])[] = [
        [`PRAGMA litestream_time = '${at(5)}'`, 4, at(5)],
        [`PRAGMA litestream_time = "${at(5, 1)}"`, 5, at(5, 1)],
        ["PRAGMA litestream_time = latest", 9, at(9)],
        [`PRAGMA litestream_time('${at(4, 500)}')`, 4, at(4, 500)],
        ["PRAGMA litestream_time(LATEST)", 9, at(9)],
        ["PRAGMA litestream_time = 1700000004", 3, "2023-11-14T22:13:24Z"],
        ["PRAGMA litestream_time = 'latest'", 9, at(9)],
        ["PRAGMA litestream_time(1700000004001)", 4, "2023-11-14T22:13:24.001Z"],
        ["PRAGMA litestream_time = 'Latest'", 9, at(9)],
        ["PRAGMA LITESTREAM_TIME = 1700000004.9", 3, "2023-11-14T22:13:24Z"],
        ["PRAGMA main.litestream_time = 'LATEST'", 9, at(9)],
        [`SELECT litestream_set_time('${at(3)}')`, 2, at(3)],
        ["SELECT litestream_set_time('laTest')", 9, at(9)],
        ["SELECT litestream_set_time(1700000006)", 5, "2023-11-14T22:13:26Z"],
        ["SELECT litestream_set_time(1700000006.5)", 5, "2023-11-14T22:13:26Z"],
        ["SELECT litestream_set_time('1700000006001')", 6, "2023-11-14T22:13:26.001Z"],
        ["PRAGMA litestream_time = '2023-11-15T00:13:23+02:00'", 2, "2023-11-15T00:13:23+02:00"],
        [
          "PRAGMA litestream_time = '2023-11-14T17:13:23.000001-05:00'",
          3,
          "2023-11-14T17:13:23.000001-05:00",
        ],
        ["SELECT litestream_set_time('2023-11-14 22:13:24')", 3, "2023-11-14T22:13:24Z"],
        ["SELECT litestream_set_time('14 Nov 2023 22:13:25 UTC')", 4, "2023-11-14T22:13:25Z"],
        ["SELECT litestream_set_time('txid:0000000000000007')", 7, "txid:0000000000000007"],
        ["PRAGMA litestream_time = '9999-12-31T23:59:59Z'", 9, "9999-12-31T23:59:59Z"],
      ];
      for (const [sql, txid, shows] of forms) {
        db.exec(sql);
        assert.equal(seenBy(db), txid, sql);
        assert.equal(valueOf(db, "PRAGMA litestream_time"), shows, sql);
        assert.equal(valueOf(db, "SELECT litestream_time()"), shows, sql);
      }
      db.close();
    }),
);

each(
  "A moment that cannot be understood or reached is refused with words, and changes nothing",
  (Database) =>
    withHistory(5, (_folder, replica) => {
      const db = replica.connect(Database);
      set(db, at(3, 1));
      const refused: readonly (readonly [moment: string, words: RegExp])[] = [
        ["'garbage'", /Cannot read time "garbage": not understood, expected RFC 3339/],
        ["''", /Cannot read time "": not understood/],
        ["'ago'", /Cannot read time "ago"/],
        ["0", /Cannot read time "0"/],
        ["'2023-02-30T00:00:00Z'", /Cannot read time "2023-02-30T00:00:00Z": day is 30, expected 1 to 28/],
        ["'2 hours from now'", /Cannot read time/],
        [`'${"x".repeat(500)}'`, /Cannot read time: it is too long/],
        [
          `'${at(1)}'`,
          /Cannot find a state before 2023-11-14T22:13:21\.000Z: the replica's oldest state is of 2023/,
        ],
        ["'1990-01-01T00:00:00Z'", /Cannot find a state before 1990-01-01T00:00:00\.000Z/],
        ["'txid:0000000000000006'", /files reach TXID 0000000000000005, expected 0000000000000006/],
        ["'txid:6'", /not a TXID, expected 16 hex digits/],
      ];
      for (const [moment, words] of refused) {
        assert.match(thrownBy(() => db.exec(`PRAGMA litestream_time = ${moment}`)).message, words);
        assert.match(thrownBy(() => rowsOf(db, `SELECT litestream_set_time(${moment})`)).message, words);
        assert.equal(seenBy(db), 3, moment);
        assert.equal(valueOf(db, "PRAGMA litestream_time"), at(3, 1));
      }
      assert.match(
        thrownBy(() => rowsOf(db, "SELECT litestream_set_time(NULL)")).message,
        /timestamp required/,
      );
      assert.match(
        thrownBy(() => rowsOf(db, "SELECT litestream_set_time()")).message,
        /wrong number of arguments/,
      );
      assert.match(thrownBy(() => db.exec("PRAGMA litestream_txid = 3")).message, /it only tells/);
      assert.equal(seenBy(db), 3);
      db.close();
    }),
);

test("Words count from now, in UTC, and show as UTC", () =>
  withHistory(4, (_folder, replica) => {
    const db = replica.connect();
    for (const [words, agoMs] of [["5 minutes ago", 300_000], ["now", 0], ["2h", 7_200_000]] as const) {
      set(db, words);
      const nowMs = Date.now();
      const text = String(valueOf(db, "PRAGMA litestream_time"));
      assert.match(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
      assert.ok(Math.abs(nowMs - agoMs - Date.parse(text)) < 2_000, `${words} shows as ${text}`);
      assert.equal(seenBy(db), 4);
    }
    db.close();
  }));

interface ChildAnswer {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs {@link CHILD} to its end. */
function child(args: readonly string[], more: Record<string, string> = {}): Promise<ChildAnswer> {
  const started = spawn(process.execPath, [...RUN, CHILD, ...args], {
    env: { ...env, ...more },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: 60_000,
  });
  const text = { stdout: "", stderr: "" };
  started.stdout.on("data", (chunk) => text.stdout += chunk);
  started.stderr.on("data", (chunk) => text.stderr += chunk);
  return new Promise((resolve) => started.on("close", (code) => resolve({ code, ...text })));
}

test("The process's time zone does not matter", { timeout: 120_000 }, () =>
  withHistory(6, async (folder) => {
    const statements = [
      "PRAGMA litestream_time = '2023-11-14 22:13:24'",
      "PRAGMA litestream_time = '14 Nov 2023 22:13:23.500'",
      "PRAGMA litestream_time = '2023-11-14T23:13:22.500+01:00'",
      "SELECT litestream_set_time('1700000006')",
      "SELECT litestream_set_time('14. November 2023 22:13:24')",
    ];
    const wanted = [
      ["2023-11-14T22:13:24Z", 3],
      ["2023-11-14T22:13:23.5Z", 3],
      ["2023-11-14T23:13:22.500+01:00", 2],
      ["2023-11-14T22:13:26Z", 5],
      ["2023-11-14T22:13:24Z", 3],
    ];
    const zones = [["UTC", 0], ["America/New_York", 300], ["Asia/Kolkata", -330]] as const;
    await Promise.all(zones.map(async ([zone, offset]) => {
      const { code, stdout, stderr } = await child([folder.url, JSON.stringify(statements)], { TZ: zone });
      assert.equal(code, 0, stderr);
      assert.deepEqual(JSON.parse(stdout), { offset, seen: wanted }, zone);
    }));
  }));

test(
  "Setting a time gives no rows, by all() too",
  { timeout: 120_000 },
  () =>
    withHistory(3, async (folder) => {
      // In a process of its own: a column without a name has ended one.
      for (const sql of [`PRAGMA litestream_time = '${at(2)}'`, "PRAGMA litestream_write_enabled = 0"]) {
        const { code, stdout, stderr } = await child([folder.url, "all", sql]);
        assert.equal(code, 0, `${sql}: ${stderr}`);
        assert.deepEqual(JSON.parse(stdout), []);
      }
    }),
);

// ---------------------------------------------------------------------------------------------------- which state

each(
  "A moment shows what was written before it, not at it",
  (Database) =>
    withHistory(6, (_folder, replica) => {
      const db = replica.connect(Database);
      for (let txid = 2; txid <= 6; txid++) {
        for (const [ms, seen] of [[-1, txid - 1], [0, txid - 1], [1, txid]] as const) {
          set(db, at(txid, ms));
          assert.equal(seenBy(db), seen);
          asOf(replica, new Date(START_MS + txid * 1000 + ms), (past) => assert.equal(seenBy(past), seen));
        }
      }
      set(db, `2023-11-14T22:13:23.000000Z`);
      assert.equal(seenBy(db), 2);
      set(db, `2023-11-14T22:13:23.000001Z`);
      assert.equal(seenBy(db), 3);
      db.close();
    }),
);

test("A compacted file counts only once all of it was written", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record("CREATE TABLE h (n INTEGER PRIMARY KEY, x TEXT); INSERT INTO h VALUES (1, 'one')");
    folder.snapshot();
    for (let n = 2; n <= 9; n++) folder.record(`INSERT INTO h VALUES (${n}, 'row ${n}')`);
    for (const [min, max] of [[2, 4], [5, 9]] as const) folder.write(1, min, max);
    folder.write(0, 9, 9);
    await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    for (const [txid, ms, seen] of [[4, 0, 1], [4, 1, 4], [9, 0, 4], [9, 1, 9]] as const) {
      asOf(replica, at(txid, ms), (db) => assert.equal(seenBy(db), seen));
    }
    const { cause } = thrownBy(() => replica.connect({ asOf: 6n }));
    assert.ok(cause instanceof RestorePlanError && cause.fault === "unreachable", String(cause));
  }));

// ------------------------------------------------------------------------------------------- never two states at once

each(
  "A time set while a transaction or a statement is open is refused, and nothing is mixed",
  (Database) =>
    withHistory(6, (_folder, replica) => {
      const db = replica.connect(Database);
      const ways = [`PRAGMA litestream_time = '${at(3)}'`, `SELECT litestream_set_time('${at(3)}')`];
      const words =
        /Cannot set litestream_time: a transaction is open on this connection, or a statement not at its end/;
      db.exec("BEGIN");
      assert.equal(seenBy(db), 6);
      for (const way of ways) assert.match(thrownBy(() => db.exec(way)).message, words);
      assert.match(thrownBy(() => set(db, "latest")).message, words);
      assert.equal(seenBy(db), 6);
      db.exec("COMMIT");
      db.exec("SAVEPOINT s");
      assert.equal(seenBy(db), 6);
      for (const way of ways) assert.match(thrownBy(() => db.exec(way)).message, words);
      db.exec("RELEASE s");
      for (
        const inside of [
          `SELECT litestream_set_time('${at(3)}') FROM h`,
          `SELECT n FROM h WHERE litestream_set_time('${at(3)}') IS NULL`,
          `SELECT litestream_set_time('${at(3)}'), (SELECT count(*) FROM h)`,
        ]
      ) {
        assert.match(thrownBy(() => rowsOf(db, inside)).message, words);
        assert.equal(seenBy(db), 6);
      }
      for (const way of ways) {
        db.exec("BEGIN");
        db.exec(way); // nothing was read yet
        assert.equal(seenBy(db), 2);
        assert.match(thrownBy(() => set(db, "latest")).message, words);
        db.exec("ROLLBACK");
        assert.equal(seenBy(db), 2);
        set(db, "latest");
      }
      const statement = db.prepare("SELECT n FROM h ORDER BY n") as unknown as {
        iterate?(): IterableIterator<{ n: number }>;
      };
      if (statement.iterate) {
        const seen: number[] = [];
        for (const { n } of statement.iterate()) {
          seen.push(n);
          if (n === 2) assert.match(thrownBy(() => set(db, at(3))).message, words);
        }
        assert.deepEqual(seen, [1, 2, 3, 4, 5, 6]);
        set(db, at(3));
        assert.equal(seenBy(db), 2);
      }
      db.close();
    }),
);

test("Only the attached database's own transaction stands in the way of its time", () =>
  withHistory(6, (_folder, replica) => {
    const db = replica.connect();
    db.exec(`ATTACH '${replica.path({ asOf: 2n })}' AS aux`);
    db.exec("BEGIN");
    assert.equal(valueOf(db, "SELECT count(*) FROM aux.h"), 2);
    set(db, at(5)); // main was not read
    assert.equal(valueOf(db, "SELECT count(*) FROM main.h"), 4);
    assert.match(
      thrownBy(() => db.exec("PRAGMA aux.litestream_time = latest")).message,
      /a transaction is open/,
    );
    db.exec("COMMIT");
    db.exec("PRAGMA aux.litestream_time = latest");
    assert.deepEqual(
      rowsOf(db, "SELECT (SELECT count(*) FROM aux.h) AS a, (SELECT count(*) FROM main.h) AS m"),
      [
        { a: 6, m: 4 },
      ],
    );
    db.close();
  }));

// ------------------------------------------------------------------------------------------------------ side by side

each(
  "Connections at different moments stand side by side while others follow",
  (Database) =>
    withHistory(8, async (folder, replica) => {
      const dbs = [2, 4, 6, 8].map((txid) => replica.connect(Database, { asOf: BigInt(txid) }));
      const [follows, moved] = [replica.connect(Database), replica.connect(Database)];
      set(moved, at(6));
      for (let round = 9; round <= 12; round++) {
        folder.step(`INSERT INTO h VALUES (${round}, 'later')`);
        assert.equal(await replica.refresh(), BigInt(round));
        assert.deepEqual(dbs.map((db) => seenBy(db)), [2, 4, 6, 8]);
        assert.equal(seenBy(follows), round);
        assert.equal(seenBy(moved), 5);
        assert.deepEqual(
          dbs.map((db) => valueOf(db, "SELECT litestream_time()")),
          [2, 4, 6, 8].map((n) => `txid:${shown(n)}`),
        );
      }
      set(moved, "latest");
      assert.equal(seenBy(moved), 12);
      folder.step("INSERT INTO h VALUES (13, 'later')");
      await replica.refresh();
      assert.equal(seenBy(moved), 13);
      for (const db of dbs) {
        set(db, "latest");
        assert.equal(seenBy(db), 13);
      }
      for (const db of [...dbs, follows, moved]) db.close();
    }),
);

each(
  "Tables that did not exist yet are not there, and come back",
  (Database) =>
    withReplicaFolder({}, async (folder) => {
      folder.record("CREATE TABLE first (a); INSERT INTO first VALUES ('1')");
      folder.snapshot();
      folder.step("CREATE TABLE second (a); INSERT INTO second VALUES ('2')");
      folder.step("ALTER TABLE first ADD COLUMN b DEFAULT 'b'");
      folder.step("DROP TABLE second; CREATE TABLE third (a); INSERT INTO third VALUES ('3')");
      await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
      const db = replica.connect(Database);
      const tables = () =>
        rowsOf(db, "SELECT name FROM sqlite_schema ORDER BY name").map(({ name }) => name).join(" ");
      for (let round = 0; round < 3; round++) {
        set(db, at(2));
        assert.equal(tables(), "first");
        assert.match(thrownBy(() => rowsOf(db, "SELECT * FROM second")).message, /no such table: second/);
        assert.deepEqual(rowsOf(db, "SELECT * FROM first"), [{ a: "1" }]);
        set(db, at(3));
        assert.equal(tables(), "first second");
        assert.deepEqual(rowsOf(db, "SELECT * FROM second"), [{ a: "2" }]);
        set(db, at(4));
        // node:sqlite in Deno takes the columns of `*` from before the first step, when SQLite has not seen the schema yet.
        assert.equal(tables(), "first second");
        assert.deepEqual(rowsOf(db, "SELECT * FROM first"), [{ a: "1", b: "b" }]);
        set(db, "latest");
        assert.equal(tables(), "first third");
        assert.deepEqual(rowsOf(db, "SELECT * FROM third"), [{ a: "3" }]);
        assert.deepEqual(rowsOf(db, "PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
      }
      db.close();
    }),
);

each(
  "A schema of another line of history with the same schema version is not taken for the one before",
  (Database) =>
    withReplicaFolder({}, (before) =>
      withReplicaFolder({}, async (after) => {
        // A migration goes wrong, the primary is restored from before it and migrated again: the version counts the same.
        for (const folder of [before, after]) folder.record("CREATE TABLE t (a); INSERT INTO t VALUES ('t')");
        before.snapshot();
        before.step("CREATE TABLE one (a); INSERT INTO one VALUES ('one')");
        after.record("INSERT INTO t VALUES ('restored')");
        after.record("CREATE TABLE two (a); INSERT INTO two VALUES ('two')");
        before.put(before.pathOf(9, 1, 3), after.encode(1, 3));
        const version = "PRAGMA schema_version";
        assert.deepEqual(before.rows(version), after.rows(version));
        await using replica = await openReplica(before.url, { pollIntervalMs: 0 });
        const db = replica.connect(Database);
        for (let round = 0; round < 2; round++) {
          assert.deepEqual(rowsOf(db, "SELECT * FROM two"), [{ a: "two" }]);
          set(db, at(2, 1));
          assert.deepEqual(rowsOf(db, "SELECT * FROM one"), [{ a: "one" }]);
          assert.match(thrownBy(() => rowsOf(db, "SELECT * FROM two")).message, /no such table: two/);
          set(db, "latest");
        }
        db.close();
      })),
);

for (const way of ["a snapshot", "a transaction", "a rebuilt plan"] as const) {
  each(
    `A schema that comes by ${way} with another past and the same schema version is not taken for the one before`,
    (Database) =>
      withReplicaFolder({}, (before) =>
        withReplicaFolder({}, async (after) => {
          for (const folder of [before, after]) {
            folder.record("CREATE TABLE t (a); INSERT INTO t VALUES ('t')");
          }
          before.snapshot();
          before.step("CREATE TABLE one (a); INSERT INTO one VALUES ('one')");
          await using replica = await openReplica(before.url, { pollIntervalMs: 0 });
          const db = replica.connect(Database);
          assert.deepEqual(rowsOf(db, "SELECT * FROM one"), [{ a: "one" }]);
          after.record("INSERT INTO t VALUES ('restored')");
          after.record("CREATE TABLE two (a); INSERT INTO two VALUES ('two'); UPDATE t SET a = 'all pages'");
          if (way === "a transaction") before.put(before.pathOf(0, 3, 3), after.encode(3, 3));
          else before.put(before.pathOf(9, 1, 3), after.encode(1, 3));
          if (way === "a rebuilt plan") {
            after.record("INSERT INTO t VALUES ('more')");
            before.put(before.pathOf(9, 1, 4), after.encode(1, 4));
            before.delete(9, 1, 3);
          }
          assert.equal(await replica.refresh(), way === "a rebuilt plan" ? 4n : 3n);
          assert.deepEqual(rowsOf(db, "SELECT * FROM two"), [{ a: "two" }]);
          assert.match(thrownBy(() => rowsOf(db, "SELECT * FROM one")).message, /no such table: one/);
          db.close();
        })),
  );
}

// ------------------------------------------------------------------------------------------------------- requests

test("Connections to the same moment ask for nothing twice, and pages are shared between moments", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record(
      `${noiseSql(1000)}; CREATE TABLE h (n INTEGER PRIMARY KEY, x TEXT); INSERT INTO h VALUES (1, 'a')`,
    );
    folder.snapshot();
    for (let n = 2; n <= 12; n++) folder.step(`INSERT INTO h VALUES (${n}, 'row ${n}')`);
    await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    const whole = (db: ReplicaDatabase) => {
      seenBy(db);
      return valueOf(db, "SELECT sum(length(x)) FROM n");
    };
    const newest = replica.connect();
    whole(newest);
    const first = replica.connect({ asOf: 5n });
    let mark = replica.stats();
    whole(first);
    // What both have in common is there already; what differs is a few pages that came with their files.
    assert.ok(replica.stats(mark).bytes < 64 * 1024, `${replica.stats(mark).bytes} bytes`);
    mark = replica.stats();
    for (let i = 0; i < 5; i++) asOf(replica, 5n, whole);
    for (let i = 0; i < 5; i++) asOf(replica, at(6), whole); // the same state by its time
    const { getRequests, listRequests, misses } = replica.stats(mark);
    // Times of files are asked for once, at the first moment given as a time.
    assert.ok(getRequests <= 12, `${getRequests} objects were read`);
    assert.ok(listRequests <= 20, `${listRequests} listings`);
    assert.equal(misses, 0);
    mark = replica.stats();
    for (let i = 0; i < 5; i++) asOf(replica, at(6), whole);
    for (let i = 0; i < 5; i++) asOf(replica, at(5, 500), whole);
    assert.equal(replica.stats(mark).getRequests, 0);
    assert.equal(replica.stats(mark).misses, 0);
    first.close();
    newest.close();
  }));

test("What was just seen can be named at once", () =>
  withHistory(3, async (folder, replica) => {
    asOf(replica, 3n, (db) => assert.equal(seenBy(db), 3)); // and a listing is remembered
    for (let n = 4; n <= 8; n++) {
      folder.step(`INSERT INTO h VALUES (${n}, 'new')`);
      const txid = await replica.refresh();
      asOf(replica, txid, (db) => assert.equal(seenBy(db), n));
      asOf(replica, "9999-12-31T23:59:59Z", (db) => assert.equal(seenBy(db), n));
    }
  }));

// ---------------------------------------------------------------------------------------------------- asOf and path

test("connect() takes a Date, a TXID and text; what cannot be is refused with the reason as its cause", () =>
  withHistory(6, (_folder, replica) => {
    const good: readonly (readonly [AsOf, number])[] = [
      [new Date(START_MS + 3000), 2],
      [4n, 4],
      [at(5), 4],
      ["txid:0000000000000005", 5],
      ["1700000004", 3],
      ["latest", 6],
      ["now", 6],
      ["1 minute ago", 6],
      [6n, 6],
      [1n, 1],
    ];
    for (const [moment, seen] of good) asOf(replica, moment, (db) => assert.equal(seenBy(db), seen));
    for (const moment of [new Date(NaN), "", 5, null, true, {}, "x".repeat(201)]) {
      assert.throws(() => replica.connect({ asOf: moment as AsOf }), TypeError);
      assert.throws(() => replica.path({ asOf: moment as AsOf }), TypeError);
    }
    for (const moment of [-1n, 1n << 64n]) assert.throws(() => replica.connect({ asOf: moment }), RangeError);
    for (const moment of ["garbage", "txid:5", new Date(8.64e15)]) {
      for (const act of [() => replica.connect({ asOf: moment }), () => replica.path({ asOf: moment })]) {
        const error = thrownBy(act);
        assert.ok(error instanceof TypeError && error.cause instanceof TypeError, `${error}: ${error.cause}`);
        assert.match(error.message, /^Cannot connect to file:.*: Cannot read time /);
      }
    }
    for (const moment of [7n, 1n << 63n, at(1), new Date(0)]) {
      const error = thrownBy(() => replica.connect({ asOf: moment }));
      assert.ok(
        error instanceof RestorePlanError && error.cause instanceof RestorePlanError,
        `${error}: ${error.cause}`,
      );
      assert.deepEqual([error.fault, error.cause.fault], ["unreachable", "unreachable"]);
      assert.throws(() => replica.path({ asOf: moment }), { name: "RestorePlanError", fault: "unreachable" });
      assert.match(
        error.message,
        /^Cannot connect to file:.*: Cannot (make restore plan|find a state before)/,
      );
    }
    assert.equal(replica.txid, 6n);
  }));

each(
  "connect() tells the same reason as often as it fails",
  (Database) =>
    withHistory(2, (_folder, replica) => {
      for (let i = 0; i < 3; i++) {
        const { cause, message } = thrownBy(() => replica.connect(Database, { asOf: 9n }));
        assert.ok(cause instanceof RestorePlanError, `time ${i + 1}: ${cause}`);
        assert.match(message, /^Cannot connect to file:.*: Cannot make restore plan: files reach TXID/);
      }
      asOf(replica, 1n, (db) => assert.equal(seenBy(db), 1));
    }),
);

test("A long text that is no moment is called that", () =>
  withHistory(2, (_folder, replica) => {
    for (
      const text of ["ä".repeat(100), "ä".repeat(127), "ä".repeat(150), "日".repeat(199), "x".repeat(200)]
    ) {
      const error = thrownBy(() => replica.connect({ asOf: text }));
      const reason = error instanceof TypeError ? error : error.cause;
      assert.ok(reason instanceof TypeError, `${text.length} characters: ${error}`);
    }
  }));

each("Two moments in one query, through ATTACH", (Database) =>
  withHistory(7, (_folder, replica) => {
    const db = replica.connect(Database, { asOf: 6n });
    db.exec(`ATTACH '${replica.path({ asOf: new Date(START_MS + 3001) })}' AS was`);
    const late = "SELECT main.h.n FROM main.h LEFT JOIN was.h USING (n) WHERE was.h.n IS NULL ORDER BY 1";
    assert.deepEqual(rowsOf(db, late), [{ n: 4 }, { n: 5 }, { n: 6 }]);
    assert.equal(valueOf(db, "PRAGMA was.litestream_time"), at(3, 1));
    assert.equal(valueOf(db, "PRAGMA was.litestream_txid"), shown(3));
    assert.equal(valueOf(db, "PRAGMA litestream_txid"), shown(6));
    db.exec(`PRAGMA was.litestream_time = '${at(5)}'`);
    assert.deepEqual(rowsOf(db, late), [{ n: 5 }, { n: 6 }]);
    db.exec("PRAGMA was.litestream_time = latest");
    assert.deepEqual(rowsOf(db, late), []);
    assert.equal(valueOf(db, "SELECT count(*) FROM was.h"), 7);
    assert.equal(valueOf(db, "SELECT litestream_txid()"), shown(6));
    db.exec("DETACH was");
    db.exec(`ATTACH '${replica.path({ asOf: 1n })}' AS was`);
    assert.equal(valueOf(db, "SELECT count(*) FROM was.h"), 1);
    db.close();
  }));

each("A path is good for one ATTACH; the second says so", (Database) =>
  withHistory(3, (_folder, replica) => {
    const db = replica.connect(Database);
    const path = replica.path({ asOf: 2n });
    db.exec(`ATTACH '${path}' AS a`);
    const error = thrownBy(() => db.exec(`ATTACH '${path}' AS b`));
    const told = `${error.message} ${replica.lastError?.message} ${valueOf(db, "PRAGMA litestream_error")}`;
    assert.match(told, /used twice/);
    assert.equal(valueOf(db, "SELECT count(*) FROM a.h"), 2);
    db.close();
  }));

each(
  "A past state can be copied out, and kept beside another in a TEMP table",
  (Database) =>
    withHistory(6, async (folder, replica) => {
      const db = replica.connect(Database, { asOf: 3n });
      const copy = `${folder.home}/copy.db`;
      db.exec(`VACUUM INTO '${copy}'`);
      const plain = await openPlain(copy);
      assert.deepEqual(plain.all("SELECT count(*) AS n FROM h"), [{ n: 3 }]);
      assert.deepEqual(plain.all("PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
      plain.close();
      db.exec("CREATE TEMP TABLE was AS SELECT * FROM h");
      set(db, "latest");
      assert.deepEqual(rowsOf(db, "SELECT n FROM h EXCEPT SELECT n FROM was"), [{ n: 4 }, { n: 5 }, {
        n: 6,
      }]);
      assert.match(thrownBy(() => db.exec("INSERT INTO h VALUES (9, 'no')")).message, /readonly/);
      db.close();
    }),
);

test("path() says at once when its moment cannot be reached", () =>
  withHistory(3, (_folder, replica) => {
    for (let i = 0; i < 2; i++) {
      const error = thrownBy(() => replica.path({ asOf: 9n }));
      assert.ok(
        error instanceof ReplicaError && error.cause instanceof RestorePlanError,
        `${error}: ${error.cause}`,
      );
    }
    for (let i = 0; i < 100; i++) replica.path({ asOf: 2n }); // that nobody uses
    withConnection(replica, undefined, (db) => assert.equal(seenBy(db), 3));
  }));

test("path() fails with words once the replica is closed", () =>
  withHistory(2, async (_folder, replica) => {
    await replica.close();
    assert.throws(() => replica.path({ asOf: 1n }), { name: "ReplicaClosedError" });
  }));

// -------------------------------------------------------------------------------------------- files that disappear

each(
  "A past state goes on through other files of the same TXID when its own are deleted",
  (Database) =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(1500));
      folder.snapshot();
      for (const id of [5, 700, 1400]) folder.step(`UPDATE n SET x = randomblob(900) WHERE id = ${id}`);
      folder.record("DELETE FROM n WHERE id > 100");
      folder.write(0, 5, 5);
      await using replica = await openReplica(folder.url, { pollIntervalMs: 0, cacheBytesMax: 1024 * 1024 });
      const db = replica.connect(Database, { asOf: 3n });
      assert.equal(valueOf(db, "SELECT count(*) FROM n WHERE id < 20"), 19);
      folder.snapshot(3);
      folder.delete(9, 1, 1);
      folder.delete(0, 2, 2);
      folder.delete(0, 3, 3);
      assert.equal(valueOf(db, "SELECT count(*) FROM n WHERE length(x) = 900"), 1500);
      assert.equal(valueOf(db, "SELECT litestream_txid()"), shown(3));
      assert.equal(replica.lastError, undefined);
      asOf(replica, 3n, (other) => assert.equal(valueOf(other, "SELECT count(*) FROM n"), 1500));
      db.close();
    }),
);

each(
  "A past state that no files make up any more fails with words; another moment can be set",
  (Database) =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(1500));
      folder.snapshot();
      folder.step("UPDATE n SET x = randomblob(900) WHERE id = 7");
      folder.step("DELETE FROM n WHERE id > 1000");
      await using replica = await openReplica(folder.url, { pollIntervalMs: 0, cacheBytesMax: 1024 * 1024 });
      const db = replica.connect(Database, { asOf: 2n });
      assert.equal(valueOf(db, "SELECT count(*) FROM n WHERE id < 20"), 19);
      folder.snapshot(3);
      folder.delete(9, 1, 1);
      folder.delete(0, 2, 2);
      for (let again = 0; again < 2; again++) {
        thrownBy(() => rowsOf(db, "SELECT sum(length(x)) FROM n"));
        const { lastError } = replica;
        assert.ok(lastError instanceof StateGoneError, String(lastError));
        assert.match(lastError.message, /^Cannot read TXID 0000000000000002 of .*: its files were deleted/);
        assert.ok(lastError.cause instanceof ObjectGoneError);
        assert.match(
          String(valueOf(db, "PRAGMA litestream_error")),
          /StateGoneError: Cannot read TXID 0{15}2/,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, LISTING_MS));
      assert.match(thrownBy(() => set(db, at(2, 1))).message, /Cannot find a state before/);
      set(db, "latest");
      assert.equal(valueOf(db, "SELECT count(*) FROM n"), 1000);
      db.close();
    }),
);

test(
  "A past state that was gone can be asked for again when its files are put back",
  { timeout: 60_000 },
  async () => {
    for (const how of ["the same file", "a copy"]) {
      await withReplicaFolder({}, async (folder) => {
        folder.record(noiseSql(1500));
        folder.snapshot();
        folder.record("DELETE FROM n WHERE id > 1000");
        folder.write(0, 2, 2);
        await using replica = await openReplica(folder.url, {
          pollIntervalMs: 0,
          cacheBytesMax: 1024 * 1024,
        });
        const db = replica.connect({ asOf: 1n });
        folder.snapshot(2);
        const file = folder.pathOf(9, 1, 1);
        renameSync(file, `${folder.home}/away`);
        thrownBy(() => rowsOf(db, "SELECT sum(length(x)) FROM n"));
        assert.ok(replica.lastError instanceof StateGoneError, String(replica.lastError));
        if (how === "a copy") folder.snapshot(1);
        else renameSync(`${folder.home}/away`, file);
        await new Promise((resolve) => setTimeout(resolve, LISTING_MS));
        set(db, "txid:0000000000000001");
        for (const again of [db, replica.connect({ asOf: 1n })]) {
          assert.equal(valueOf(again, "SELECT count(length(x)) FROM n"), 1500, how);
          again.close();
        }
      });
    }
  },
);

each(
  "Past connections and a replica that is replaced: the old is never mixed with the new",
  async (Database) => {
    await withReplicaFolder({}, (old) =>
      withReplicaFolder({}, async (fresh) => {
        for (const [folder, tables] of [[old, ["a", "b"]], [fresh, ["b", "a"]]] as const) {
          const name = folder === old ? "old" : "new";
          // The same schema version, other root pages.
          folder.record(
            tables.map((t) => `CREATE TABLE ${t} (x); INSERT INTO ${t} VALUES ('${name} ${t}');`).join("\n"),
          );
          folder.snapshot();
          for (let n = 2; n <= 4; n++) {
            folder.step(`INSERT INTO a VALUES ('${name} ${n}'); ${n === 4 ? noiseSql(600) : ""}`);
          }
        }
        fresh.step("INSERT INTO a VALUES ('new 5')");
        await using replica = await openReplica(old.url, { pollIntervalMs: 0, onReplaced: "follow" });
        const last = "SELECT x FROM a ORDER BY rowid DESC LIMIT 1";
        const [follows, past, kept] = [
          replica.connect(Database),
          replica.connect(Database, { asOf: 3n }),
          replica.connect(Database, { asOf: 3n }),
        ];
        for (const db of [past, kept]) assert.equal(valueOf(db, last), "old 3");
        assert.equal(valueOf(follows, last), "old 4");
        old.replaceBy(fresh);
        assert.equal(await replica.refresh(), 5n);
        assert.equal(valueOf(follows, last), "new 5");
        assert.equal(valueOf(follows, "SELECT x FROM b"), "new b");
        assert.equal(valueOf(kept, last), "old 3"); // all of it was in memory
        set(past, "txid:0000000000000003");
        assert.equal(valueOf(past, last), "new 3");
        assert.equal(valueOf(past, "SELECT x FROM b"), "new b");
        asOf(replica, 2n, (db) => assert.equal(valueOf(db, last), "new 2"));
        asOf(replica, 3n, (db) => assert.equal(valueOf(db, last), "new 3"));
        assert.equal(valueOf(kept, last), "old 3");
        for (const db of [follows, past, kept]) db.close();
      }));
  },
);

test("A past connection whose replica was replaced cannot read the new files as its own", async () => {
  await withReplicaFolder({}, (old) =>
    withReplicaFolder({}, async (fresh) => {
      for (const folder of [old, fresh]) {
        folder.record(noiseSql(1500));
        folder.snapshot();
        folder.step(`UPDATE n SET x = '${folder === old ? "old" : "new"}'`);
      }
      await using replica = await openReplica(old.url, {
        pollIntervalMs: 0,
        onReplaced: "follow",
        cacheBytesMax: 1024 * 1024,
      });
      const past = replica.connect({ asOf: 1n });
      assert.equal(valueOf(past, "SELECT count(*) FROM n WHERE id < 20"), 19);
      old.replaceBy(fresh);
      await replica.refresh();
      thrownBy(() => rowsOf(past, "SELECT sum(length(x)) FROM n"));
      assert.ok(replica.lastError instanceof StateGoneError, String(replica.lastError));
      set(past, "latest");
      assert.deepEqual(rowsOf(past, "SELECT DISTINCT x FROM n"), [{ x: "new" }]);
      past.close();
    }));
});

// ----------------------------------------------------------------------------------------------- cached statements

type Statement = ReturnType<ReplicaDatabase["prepare"]>;

each(
  "A PRAGMA is answered when SQLite prepares it, the functions at each step",
  (Database) =>
    withHistory(5, (_folder, replica) => {
      const db = replica.connect(Database);
      const [pragma, functions, rows, toThree, toFive, toLatest] = [
        "PRAGMA litestream_time",
        "SELECT litestream_txid() AS txid, litestream_time() AS time",
        "SELECT count(*) AS n FROM h",
        `SELECT litestream_set_time('${at(3)}') AS v`,
        `SELECT litestream_set_time('${at(5)}') AS v`,
        "SELECT litestream_set_time('latest') AS v",
      ].map((sql) => db.prepare(sql)) as [Statement, Statement, Statement, Statement, Statement, Statement];
      const told = () => ({ ...functions.all()[0] });
      assert.deepEqual({ ...toThree.all()[0] }, { v: null });
      // Of its first run it depends on the driver whether it tells what was so when it was prepared.
      assert.ok([at(3), at(5)].includes(String(Object.values(pragma.all()[0]!)[0])));
      assert.deepEqual(Object.values(pragma.all()[0]), [at(3)]); // SQLite prepares a PRAGMA anew for each further run
      assert.deepEqual(told(), { txid: shown(2), time: at(3) });
      assert.equal(rows.all()[0].n, 2);
      toFive.all();
      assert.deepEqual(told(), { txid: shown(4), time: at(5) });
      assert.equal(rows.all()[0].n, 4);
      toLatest.all();
      assert.equal(rows.all()[0].n, 5);
      toThree.all();
      assert.equal(rows.all()[0].n, 2);
      for (const statement of [pragma, functions, rows, toThree, toFive, toLatest]) {
        (statement as { finalize?(): void }).finalize?.();
      }
      db.close();
    }),
);
