/** `diff()` through the whole stack: what it tells agrees with SQL, and costs what differs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadNative } from "../../ffi/mod.ts";
import {
  type AsOf,
  type Change,
  openReplica,
  type Replica,
  ReplicaError,
  RestorePlanError,
} from "../../mod.ts";
import { findShim } from "../../src/shim_path.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { Random } from "../support/random.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { noiseSql, rowsOf } from "./drivers.ts";

/** Live views, objects, runs and chunks of the shim, and its replicas. */
async function census(): Promise<{ views: number; objects: number; all: number[] }> {
  const native = await loadNative(findShim());
  const words = new Uint32Array(16);
  native.calls.ls_census(new Uint8Array(words.buffer), words.length);
  const all = [...words.subarray(0, 5)];
  return { views: all[0]!, objects: all[1]!, all };
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let i = 0; i < 100; i++) {
    if (await holds()) return;
    await sleep(50);
  }
  assert.fail(`not within 5 s: ${what}`);
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function changesOf(replica: Replica, from: AsOf, to?: AsOf, tables?: string[]): Promise<Change[]> {
  const changes: Change[] = [];
  for await (const change of replica.diff(from, to, tables && { tables })) changes.push(change);
  return changes;
}

function show(changes: Iterable<Change>): string[] {
  return [...changes].map((change) => {
    const key = "key" in change ? ` ${Object.entries(change.key).map(([k, v]) => `${k}=${v}`).join()}` : "";
    return `${change.kind} ${change.table}${key}`;
  });
}

/** A table's rows by key, each as one text. */
function rowsByKey(folder: ReplicaFolder, replica: Replica, txid: number, table: string, keys: string[]) {
  const db = replica.connect({ asOf: BigInt(txid) });
  assert.ok(folder.txid >= txid);
  const quoted = rowsOf(db, `SELECT name FROM pragma_table_info('${table}')`).map(({ name }) =>
    `quote("${name}")`
  );
  const key = keys.map((name) => `'${name}=' || "${name}"`).join(" || ',' || ");
  const sql = `SELECT ${key} AS key, ${quoted.join(" || ',' || ")} AS row FROM "${table}"`;
  const rows = new Map(rowsOf(db, sql).map(({ key, row }) => [String(key), String(row)]));
  db.close();
  return rows;
}

test(
  "diff() tells the rows that SQL tells, by primary key",
  { timeout: 120_000 },
  () =>
    withReplicaFolder({ pageSize: 1024 }, async (folder) => {
      const tables: readonly (readonly [name: string, sql: string, keys: string[]])[] = [
        ["ints", "CREATE TABLE ints (id INTEGER PRIMARY KEY, a TEXT)", ["id"]],
        ["plain", "CREATE TABLE plain (a TEXT)", ["rowid"]],
        ["texts", "CREATE TABLE texts (k TEXT PRIMARY KEY, a TEXT)", ["k"]],
        ["pairs", "CREATE TABLE pairs (k TEXT, n INTEGER, a TEXT, PRIMARY KEY (k, n)) WITHOUT ROWID", [
          "k",
          "n",
        ]],
      ];
      const random = new Random(4);
      folder.record(tables.map(([, sql]) => sql).join(";"));
      folder.snapshot();
      const write = (count: number) => {
        let sql = "";
        for (let i = 0; i < count; i++) {
          const n = random.next(400);
          const text = `hex(randomblob(${random.next(5) === 0 ? 2000 : 20}))`;
          sql += [
            `INSERT OR REPLACE INTO ints VALUES (${n}, ${text});`,
            `INSERT INTO plain VALUES (${text});`,
            `INSERT OR REPLACE INTO texts VALUES ('k${n}', ${text});`,
            `INSERT OR REPLACE INTO pairs VALUES ('k${n % 9}', ${n}, ${text});`,
            `UPDATE ints SET a = ${text} WHERE id = ${n};`,
            `DELETE FROM ints WHERE id = ${n};`,
            `DELETE FROM plain WHERE rowid = ${n};`,
            `DELETE FROM texts WHERE k = 'k${n}';`,
            `DELETE FROM pairs WHERE n = ${n};`,
          ][random.next(9)];
        }
        return sql;
      };
      folder.step(write(2000));
      for (let n = 3; n <= 10; n++) folder.step(write(n === 7 ? 400 : 15));
      folder.snapshot(6);
      await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
      for (
        const [from, to] of [[9, 10], [3, 5], [2, 10], [10, 2], [5, 7], [6, 6], [1, 10], [10, 1]] as const
      ) {
        const wanted: string[] = [];
        for (const [name, , keys] of tables) {
          const [before, after] = [from, to].map((txid) => rowsByKey(folder, replica, txid, name, keys));
          for (const [key, row] of after!) {
            const was = before!.get(key);
            if (was === undefined) wanted.push(`insert ${name} ${key}`);
            else if (was !== row) wanted.push(`update ${name} ${key}`);
          }
          for (const key of before!.keys()) if (!after!.has(key)) wanted.push(`delete ${name} ${key}`);
        }
        const found = show(await changesOf(replica, BigInt(from), BigInt(to)));
        assert.deepEqual(found.sort(), wanted.sort(), `from ${from} to ${to}`);
      }
    }),
);

test("diff() takes moments as connect() does, the newest unless told, and the tables asked for", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record("CREATE TABLE a (id INTEGER PRIMARY KEY); CREATE TABLE b (id INTEGER PRIMARY KEY)");
    folder.snapshot();
    for (let n = 2; n <= 5; n++) folder.step(`INSERT INTO a VALUES (${n}); INSERT INTO b VALUES (${n})`);
    await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    const [four, five] = [["insert a id=4", "insert b id=4"], ["insert a id=5", "insert b id=5"]];
    assert.deepEqual(show(await changesOf(replica, 4n)), five);
    assert.deepEqual(show(await changesOf(replica, new Date(1_700_000_005_000))), five);
    assert.deepEqual(show(await changesOf(replica, "2023-11-14T22:13:24Z", "1700000005")), four);
    assert.deepEqual(show(await changesOf(replica, 4n, "now", ["B"])), ["insert b id=5"]);
    assert.deepEqual(show(await changesOf(replica, 1n, 3n, ["a"])), ["insert a id=2", "insert a id=3"]);
    assert.deepEqual(show(await changesOf(replica, 3n, 1n, ["a"])), ["delete a id=2", "delete a id=3"]);
    assert.deepEqual(await changesOf(replica, "latest", "latest"), []);
    await assert.rejects(
      changesOf(replica, 1n, 5n, ["nothing"]),
      /^ReplicaError: Cannot compare table "nothing": neither state has one of that name, expected a table .* such as a, b$/,
    );
    folder.step("INSERT INTO a VALUES (6)");
    const seen = await replica.refresh();
    assert.deepEqual(show(await changesOf(replica, 5n, seen)), ["insert a id=6"]);
  }));

test("diff() refuses moments that cannot be understood or reached with words", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record("CREATE TABLE a (id INTEGER PRIMARY KEY)");
    folder.snapshot();
    await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    for (const [from, to] of [[9n, "latest"], ["latest", 9n], ["1990-01-01T00:00:00Z", 1n]] as const) {
      await assert.rejects(changesOf(replica, from, to), (error) => {
        assert.ok(
          error instanceof RestorePlanError || (error as Error).cause instanceof RestorePlanError,
          String(error),
        );
        assert.ok(error instanceof ReplicaError);
        return true;
      });
    }
    for (const moment of ["garbage", "", new Date(NaN), 5 as unknown as AsOf]) {
      await assert.rejects(changesOf(replica, moment), (error) => {
        const reason = error instanceof ReplicaError ? error.cause : error;
        return reason instanceof TypeError;
      });
    }
    assert.deepEqual(await changesOf(replica, 1n), []);
  }));

test("diff() names tables that were created, dropped and changed", () =>
  withReplicaFolder({}, async (folder) => {
    folder.record("CREATE TABLE goes (id INTEGER PRIMARY KEY); CREATE TABLE stays (id INTEGER PRIMARY KEY)");
    folder.snapshot();
    folder.step("INSERT INTO goes VALUES (1), (2); INSERT INTO stays VALUES (1)");
    folder.step(
      "DROP TABLE goes; CREATE TABLE comes (id INTEGER PRIMARY KEY); INSERT INTO comes VALUES (7), (8)",
    );
    folder.step("ALTER TABLE stays ADD COLUMN b");
    folder.step("VACUUM");
    await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    const there = ["table-created comes", "insert comes id=7", "insert comes id=8"];
    assert.deepEqual(show(await changesOf(replica, 2n, 3n)), [...there, "table-dropped goes"]);
    assert.deepEqual(show(await changesOf(replica, 3n, 2n)), [
      "table-dropped comes",
      "table-created goes",
      "insert goes id=1",
      "insert goes id=2",
    ]);
    assert.deepEqual(show(await changesOf(replica, 3n, 4n)), ["schema-changed stays"]);
    assert.deepEqual(await changesOf(replica, 4n, 5n), []);
    assert.deepEqual(show(await changesOf(replica, 2n)), [
      ...there,
      "table-dropped goes",
      "schema-changed stays",
    ]);
  }));

test(
  "diff() reads pages only where they differ",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(12_000));
      folder.snapshot();
      folder.step("UPDATE n SET x = randomblob(900) WHERE id IN (100, 6000, 11000)");
      folder.step("DELETE FROM n WHERE id = 5000; INSERT INTO n VALUES (20000, x'00')");
      const size = folder.sizeOf(9, 1, 1);
      assert.ok(size > 10_000_000);
      await using replica = await openReplica(folder.url, { pollIntervalMs: 0, cacheBytesMax: 1024 * 1024 });
      const mark = replica.stats();
      assert.deepEqual(show(await changesOf(replica, 1n, 3n)), [
        "update n id=100",
        "delete n id=5000",
        "update n id=6000",
        "update n id=11000",
        "insert n id=20000",
      ]);
      const { bytes, getRequests } = replica.stats(mark);
      assert.ok(bytes < size / 10, `${bytes} of ${size} bytes`);
      assert.ok(getRequests < 60, `${getRequests} requests`);
    }),
);

test(
  "diff() can be broken off anywhere, and leaves nothing behind",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({ pageSize: 1024 }, async (folder) => {
      folder.record("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)");
      folder.snapshot();
      folder.step(
        "WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 5000) INSERT INTO t SELECT i, 'x' FROM i",
      );
      folder.step("UPDATE t SET x = 'y' WHERE id > 4000");
      await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
      assert.equal((await changesOf(replica, 1n)).length, 5000);
      assert.equal((await changesOf(replica, 2n)).length, 1000);
      await sleep(100);
      const before = await census();
      for (const stop of [0, 1, 2, 999, 1000, 1001, 3500]) {
        let seen = 0;
        for await (const change of replica.diff(1n)) {
          assert.equal(change.kind, "insert");
          if (seen++ === stop) break;
        }
        assert.equal(seen, stop + 1);
      }
      for (let i = 0; i < 20; i++) void replica.diff(1n); // never begun
      for (let i = 0; i < 10; i++) await replica.diff(1n).return(undefined); // ended before it began
      const thrown = new Error("enough");
      await assert.rejects(
        (async () => {
          for await (const _change of replica.diff(2n)) throw thrown;
        })(),
        thrown,
      );
      await until("views and objects are as before", async () => {
        const { views, objects } = await census();
        return views === before.views && objects === before.objects;
      });
      assert.equal((await changesOf(replica, 2n)).length, 1000);
    }),
);

test(
  "diff() ends with its signal's reason, at once, and asks for no page after it",
  { timeout: 60_000 },
  async () => {
    await using s3 = await FakeS3.start({ verify: false });
    await withReplicaFolder({}, async (folder) => {
      folder.record(noiseSql(6_000));
      s3.put("0009/0000000000000001-0000000000000001.ltx", folder.encode(1, 1));
      folder.record("UPDATE n SET x = randomblob(900) WHERE id = 6000");
      s3.put("0009/0000000000000001-0000000000000002.ltx", folder.encode(1, 2));
      const { accessKeyId, secretAccessKey, region } = s3.options;
      await using replica = await openReplica(s3.url(), {
        credentials: { accessKeyId, secretAccessKey },
        region,
        pollIntervalMs: 0,
        cacheBytesMax: 1024 * 1024,
      });
      const reason = new Error("enough");
      await assert.rejects(replica.diff(1n, 2n, { signal: AbortSignal.abort(reason) }).next(), reason);
      s3.options.latencyMs = 30;
      const abort = new AbortController();
      const diff = replica.diff(1n, 2n, { signal: abort.signal });
      const next = diff.next();
      await sleep(500);
      const began = performance.now();
      abort.abort(reason);
      await assert.rejects(next, reason);
      assert.ok(performance.now() - began < 200);
      await replica.refresh(); // which the core begins after it has heard of the end
      const asked = s3.log.length;
      await sleep(800);
      assert.equal(s3.log.length - asked, 0, "requests after the end");
      s3.options.latencyMs = 0;
      assert.deepEqual(show(await changesOf(replica, 1n, 2n)), ["update n id=6000"]);
    });
  },
);

test(
  "diff() goes on with its two states while the writer goes on",
  { timeout: 60_000 },
  () =>
    withReplicaFolder({ pageSize: 1024 }, async (folder) => {
      folder.record("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)");
      folder.snapshot();
      folder.step(
        "WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 6000) INSERT INTO t SELECT i, 'x' FROM i",
      );
      await using replica = await openReplica(folder.url, { pollIntervalMs: 20 });
      const ids: unknown[] = [];
      let steps = 0;
      for await (const change of replica.diff(1n)) {
        assert.ok(change.kind === "insert");
        ids.push(change.key.id);
        if (ids.length % 1000 !== 500) continue;
        folder.step(
          `DELETE FROM t WHERE id % 7 = ${steps++}; INSERT INTO t VALUES (${10_000 + steps}, 'new')`,
        );
        if (steps === 3) {
          folder.snapshot(); // and compaction takes the files that the diff reads
          folder.write(1, 2, 3);
          folder.snapshot(2);
          folder.delete(0, 2, 2);
        }
        await replica.refresh();
      }
      assert.deepEqual(ids, Array.from({ length: 6000 }, (_, i) => i + 1));
      assert.equal(replica.txid, BigInt(folder.txid));
      const last = BigInt(folder.txid);
      assert.equal(show(await changesOf(replica, last - 1n, last)).at(-1), `insert t id=${10_000 + steps}`);
    }),
);

test("Several diffs run side by side with queries, and a closed replica ends them with words", {
  timeout: 60_000,
}, () =>
  withReplicaFolder({ pageSize: 1024 }, async (folder) => {
    folder.record("CREATE TABLE t (id INTEGER PRIMARY KEY, x TEXT)");
    folder.snapshot();
    for (let n = 1; n <= 6; n++) {
      folder.step(`WITH RECURSIVE i(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM i WHERE i < 500)
        INSERT INTO t SELECT ${n} * 1000 + i, 'x' FROM i`);
    }
    const replica = await openReplica(folder.url, { pollIntervalMs: 0 });
    const db = replica.connect();
    const counts = await Promise.all([1n, 2n, 3n, 4n, 5n, 6n, 7n].map(async (from) => {
      let count = 0;
      for await (const _change of replica.diff(from)) {
        if (count++ % 100 === 0) assert.equal(rowsOf(db, "SELECT count(*) AS n FROM t")[0]!.n, 3000);
      }
      return count;
    }));
    assert.deepEqual(counts, [3000, 2500, 2000, 1500, 1000, 500, 0]);
    const open = replica.diff(1n);
    await open.next();
    db.close();
    await replica.close();
    await assert.rejects(
      (async () => {
        for await (const _change of open) { /* what is here already may still come */ }
      })(),
      ReplicaError,
    );
    await assert.rejects(replica.diff(1n).next(), { name: "ReplicaClosedError" });
  }));
