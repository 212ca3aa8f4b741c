/** What a connection in WASM is like: values, parameters, errors, moments, other threads. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { BudgetError, type OpenOptions, openReplica, type Replica, ReplicaClosedError } from "../../mod.ts";
import type { WasmDatabase } from "../../src/drivers/wasm_sqlite.ts";
import { assertSame, NOISE_SUM, noiseSql, tableSql, valueOf } from "../replica/drivers.ts";
import { openPlain } from "../support/sqlite.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";

interface Place {
  readonly folder: ReplicaFolder;
  readonly replica: Replica;
  readonly db: WasmDatabase;
}

/** A test over a replica that `sql` makes, open in WASM with one connection. */
function wasmTest(
  name: string,
  sql: string,
  use: (place: Place) => unknown,
  options: OpenOptions = {},
): void {
  test(name, { timeout: 60_000 }, () =>
    withReplicaFolder({}, async (folder) => {
      folder.record(sql);
      folder.snapshot();
      await using replica = await openReplica(folder.url, { sqlite: "wasm", ...options });
      using db = replica.connect() as WasmDatabase;
      await use({ folder, replica, db });
    }));
}

wasmTest(
  "values come as they are: integers past 2^53 as bigint, blobs as bytes, text in any script",
  tableSql(1),
  ({ db }) => {
    const sql =
      `SELECT 9007199254740991 AS safe, 9007199254740992 AS big, -9223372036854775808 AS least, 1.5 AS float,
    x'00ff80' AS blob, x'' AS empty, 'zaïre 東京 😀' AS text, '' AS none, 'a' || char(0) || 'b' AS zero, NULL AS nil, 1e999 AS inf`;
    assert.deepEqual(db.prepare(sql).get(), {
      safe: 9007199254740991,
      big: 9007199254740992n,
      least: -9223372036854775808n,
      float: 1.5,
      blob: Uint8Array.of(0, 255, 128),
      empty: new Uint8Array(0),
      text: "zaïre 東京 😀",
      none: "",
      zero: "a\0b",
      nil: null,
      inf: Infinity,
    });
    const statement = db.prepare("SELECT 7 AS seven, '" + "é".repeat(40_000) + "' AS long, 8 AS __proto__");
    statement.setReadBigInts(true);
    const row = statement.get()!;
    assert.deepEqual([row.seven, (row.long as string).length], [7n, 40_000]);
    assert.deepEqual(Object.keys(row), ["seven", "long", "__proto__"]);
  },
);

wasmTest("parameters by position and by name, of every kind", tableSql(1), ({ db }) => {
  const kinds = "SELECT ?1 AS value, typeof(?1) AS type";
  const given: [unknown, unknown, string][] = [
    [null, null, "null"],
    [undefined, null, "null"],
    [true, 1, "integer"],
    [-0.5, -0.5, "real"],
    [2 ** 31, 2 ** 31, "integer"],
    [-(2 ** 53 - 1), -(2 ** 53 - 1), "integer"],
    [2 ** 60, 2 ** 60, "real"],
    [-(2n ** 63n), -(2n ** 63n), "integer"],
    ["日本\0x", "日本\0x", "text"],
    [Uint8Array.of(1, 2, 3).subarray(1), Uint8Array.of(2, 3), "blob"],
    [new Uint8Array(0), new Uint8Array(0), "blob"],
    [new Uint8Array(300_000).fill(7), new Uint8Array(300_000).fill(7), "blob"],
  ];
  const statement = db.prepare(kinds);
  for (const [value, read, type] of given) assert.deepEqual(statement.get(value), { value: read, type });
  assert.deepEqual(db.prepare("SELECT :a AS a, $b AS b, @c AS c").get({ a: 1, $b: 2, "@c": 3 }), {
    a: 1,
    b: 2,
    c: 3,
  });
  assert.deepEqual(db.prepare("SELECT ? AS a, ? AS b").values(["x", "y"]), [["x", "y"]]);
  assert.deepEqual(db.prepare("SELECT ?1 AS a").get(), { a: null }, "what was bound before is bound no more");
  assert.throws(() => statement.get({ nobody: 1 }), /Cannot bind parameter "nobody"/);
  assert.throws(() => statement.get(2n ** 63n), /expected an integer of 64 bits/);
  assert.throws(() => statement.get(Symbol("x")), /Cannot bind parameter 1: symbol/);
  assert.throws(() => statement.get(1, 2), /column index out of range/);
});

wasmTest(
  "rows one by one, and a statement that is used again meanwhile or given up",
  tableSql(100),
  ({ db }) => {
    const statement = db.prepare("SELECT id FROM t ORDER BY id");
    const ids: unknown[] = [];
    for (const { id } of statement.iterate()) {
      ids.push(id);
      if (ids.length === 3) break;
    }
    assert.deepEqual(ids, [1, 2, 3]);
    assert.equal(statement.all().length, 100);
    assert.deepEqual(statement.columnNames, ["id"]);
    const left = statement.iterate();
    left.next();
    statement.finalize();
    statement.finalize();
    assert.throws(() => left.next(), /it was finalized/);
    assert.throws(() => statement.all(), /it was finalized/);
    for (let i = 0; i < 2_000; i++) {
      assert.equal(
        db.prepare("SELECT count(*) AS n FROM t WHERE id = ?").get(i % 200)!.n,
        i % 200 > 0 && i % 200 <= 100 ? 1 : 0,
      );
    }
  },
);

wasmTest(
  "what would write is refused in SQLite's words; TEMP tables are not",
  tableSql(10),
  ({ db, folder }) => {
    for (const sql of ["INSERT INTO t (a) VALUES (1)", "DELETE FROM t", "CREATE TABLE u (x)", "VACUUM"]) {
      assert.throws(() => db.exec(sql), (error: Error & { errcode?: number }) => {
        assert.match(error.message, /readonly database/, sql);
        assert.equal(error.errcode! & 0xff, 8);
        return true;
      });
      assert.throws(() => db.prepare(sql).run(), /readonly database/);
    }
    assert.throws(() => db.exec("ATTACH '/tmp/x.db' AS x"), /unable to open database/);
    assert.throws(() => db.prepare("SELEC 1"), /near "SELEC": syntax error/);
    assert.throws(() => db.prepare("  -- nothing"), /the text has none/);
    db.exec("CREATE TEMP TABLE kept AS SELECT * FROM t WHERE id <= 4; CREATE INDEX temp.k ON kept (a)");
    const { changes, lastInsertRowid } = db.prepare("INSERT INTO kept (id) VALUES (?), (?)").run(100, 200);
    assert.deepEqual([changes, lastInsertRowid], [2, 6]);
    assert.equal(valueOf(db, "SELECT count(*) FROM kept JOIN t USING (id)"), 4);
    assertSame(db, folder);
  },
);

wasmTest(
  "SQLite's extensions are there: full text, R-tree, JSON, mathematics, local time",
  tableSql(10),
  ({ db }) => {
    db.exec(
      "CREATE VIRTUAL TABLE temp.f USING fts5(x); INSERT INTO f VALUES ('a replica of pages'), ('a page')",
    );
    assert.deepEqual(db.prepare("SELECT rowid FROM f WHERE f MATCH 'replica'").values(), [[1]]);
    db.exec("CREATE VIRTUAL TABLE temp.r USING rtree(id, a, b); INSERT INTO r VALUES (1, 0, 5), (2, 7, 9)");
    assert.deepEqual(db.prepare("SELECT id FROM r WHERE a > 6").values(), [[2]]);
    assert.equal(
      valueOf(db, "SELECT round(sqrt(2), 6) || json_extract('{\"a\":[3]}', '$.a[0]')"),
      "1.4142143",
    );
    const local = new Date(1_700_000_000_000);
    const wanted = local.getHours() * 60 + local.getMinutes();
    const found = valueOf(db, "SELECT strftime('%H:%M', 1700000000, 'unixepoch', 'localtime')") as string;
    assert.equal(Number(found.slice(0, 2)) * 60 + Number(found.slice(3)), wanted);
    const behind = Date.now() / 1000 - (valueOf(db, "SELECT unixepoch('now')") as number);
    assert.ok(behind >= 0 && behind < 5, String(behind));
    assert.notEqual(valueOf(db, "SELECT hex(randomblob(16))"), valueOf(db, "SELECT hex(randomblob(16))"));
  },
);

wasmTest(
  "a transaction sees one state while others come; moments by option, PRAGMA, function and ATTACH",
  tableSql(10),
  async ({ folder, replica, db }) => {
    db.exec("BEGIN");
    assert.equal(valueOf(db, "SELECT sum(a) FROM t"), folder.rows("SELECT sum(a) AS s FROM t")[0]!.s);
    const before = valueOf(db, "SELECT sum(a) FROM t");
    folder.step("UPDATE t SET a = a + 1");
    assert.equal(await replica.refresh(), 2n);
    assert.equal(valueOf(db, "SELECT sum(a) FROM t"), before);
    db.exec("COMMIT");
    assert.equal(valueOf(db, "SELECT sum(a) FROM t"), (before as number) + 10);
    using past = replica.connect({ asOf: 1n }) as WasmDatabase;
    assert.equal(valueOf(past, "SELECT sum(a) FROM t"), before);
    db.exec(`ATTACH '${replica.path({ asOf: 1n })}' AS past`);
    assert.equal(valueOf(db, "SELECT count(*) FROM (SELECT a FROM t EXCEPT SELECT a - 0 FROM past.t)"), 10);
    db.exec("PRAGMA litestream_time = 'txid:0000000000000001'");
    assert.equal(valueOf(db, "SELECT sum(a) FROM main.t"), before);
    db.prepare("SELECT litestream_set_time('latest')").get();
    assert.equal(valueOf(db, "SELECT litestream_txid()"), "0000000000000002");
    assert.throws(() => db.exec("PRAGMA litestream_time = 'no such time'"), /no such time/);
  },
);

wasmTest(
  "a bound on requests ends a read with words, and counters are told",
  noiseSql(2_000),
  ({ replica, db }) => {
    using bounded = replica.connect({ maxRequests: 1 }) as WasmDatabase;
    assert.throws(() => bounded.prepare(NOISE_SUM).all());
    assert.ok(replica.lastError instanceof BudgetError, String(replica.lastError));
    db.prepare(NOISE_SUM).all();
    assert.ok(replica.stats({ connection: db }).connection.hits > 0);
  },
);

/** 20 MB of noise, of which a quarter fits in memory: pages are loaded and given up while four threads read. */
wasmTest(
  "threads that joined read the same, while pages come and go",
  noiseSql(20_000),
  async ({ folder, replica, db }) => {
    const expected = JSON.stringify(folder.rows(NOISE_SUM));
    const workers = Array.from(
      { length: 3 },
      () =>
        new Worker(new URL("./joining_worker.ts", import.meta.url), {
          workerData: { shared: replica.share(), sql: NOISE_SUM, rounds: 3 },
        }),
    );
    const answers = workers.map((worker) => once(worker, "message"));
    for (let i = 0; i < 2; i++) assert.equal(JSON.stringify(db.prepare(NOISE_SUM).all()), expected);
    for (const answer of answers) assert.deepEqual(await answer, [[expected]]);
    await Promise.all(workers.map((worker) => worker.terminate()));
    assert.ok(replica.stats().pagesEvicted > 0);
  },
  { cacheBytesMax: 5_000_000 },
);

wasmTest("two replicas at once, and one that was closed", tableSql(20), async ({ folder, replica, db }) => {
  const other = await openReplica(folder.url, { sqlite: "wasm" });
  const theirs = other.connect() as WasmDatabase;
  db.exec(`ATTACH '${other.path()}' AS other`);
  assert.equal(valueOf(db, "SELECT count(*) FROM t JOIN other.t AS o USING (id)"), 20);
  await other.close();
  assert.throws(() => theirs.prepare("SELECT * FROM t").all());
  assert.throws(() => other.connect(), ReplicaClosedError);
  theirs.close();
  theirs.close();
  assert.equal(theirs.isOpen, false);
  assert.throws(() => theirs.exec("SELECT 1"), /it was closed/);
  assert.equal(valueOf(replica.connect(), "SELECT count(*) FROM t"), 20);
});

wasmTest(
  "restore(), diff() and points() work, for they are the core's",
  tableSql(500),
  async ({ folder, replica }) => {
    folder.step("UPDATE t SET a = -1 WHERE id = 7");
    await replica.refresh();
    const path = `${folder.home}/restored.db`;
    await replica.restore(path);
    const restored = await openPlain(path);
    assert.deepEqual(restored.all("PRAGMA integrity_check"), [{ integrity_check: "ok" }]);
    assert.deepEqual(restored.all("SELECT * FROM t"), folder.rows("SELECT * FROM t"));
    restored.close();
    const changes = [];
    for await (
      const { kind, key } of replica.diff(1n) as AsyncIterable<{ kind: string; key?: unknown }>
    ) changes.push([kind, key]);
    assert.deepEqual(changes, [["update", { id: 7 }]]);
    assert.deepEqual((await replica.points()).map(({ txid }) => txid).at(-1), 2n);
  },
);

wasmTest("what WASM cannot do is refused with words", tableSql(1), async ({ folder, replica }) => {
  for (
    const options of [{ write: true }, { hydrate: true }, { hydrate: "/tmp/x.db" }, {
      cacheBytesMax: 2 ** 30,
    }]
  ) {
    await assert.rejects(
      openReplica(folder.url, { sqlite: "wasm", ...options }),
      /^TypeError: Cannot use option sqlite: "wasm", and/,
    );
  }
  await assert.rejects(
    openReplica(folder.url, { sqlite: "java" as "wasm" }),
    /Cannot use option sqlite: "java"/,
  );
  const { DatabaseSync } = await import("node:sqlite");
  assert.throws(() => replica.connect(DatabaseSync), /by class DatabaseSync: its SQLite runs in WASM/);
});

wasmTest(
  "a mark at the beginning of a text stays",
  "CREATE TABLE t (a); INSERT INTO t VALUES (char(65279) || 'id'), (char(65279) || printf('%060d', 1))",
  ({ db }) => {
    const texts = db.prepare("SELECT a, length(a) AS n FROM t").all() as { a: string; n: number }[];
    assert.deepEqual(texts.map(({ a }) => a), ["\ufeffid", `\ufeff${"1".padStart(60, "0")}`]);
    assert.deepEqual(texts.map(({ a, n }) => a.length - n), [0, 0]);
    assert.equal(valueOf(db, "SELECT count(*) FROM t WHERE a = ?", texts[0]!.a), 1);
  },
);

wasmTest(
  "a statement names its columns as they are when it is run",
  "CREATE TABLE t (a, b); INSERT INTO t VALUES ('a', 'b')",
  async ({ db, replica, folder }) => {
    const statement = db.prepare("SELECT * FROM t");
    assert.deepEqual(statement.all(), [{ a: "a", b: "b" }]);
    folder.step("DROP TABLE t; CREATE TABLE t (b, a); INSERT INTO t VALUES ('b', 'a')");
    await replica.refresh();
    assert.deepEqual(statement.all(), [{ b: "b", a: "a" }]);
    assert.deepEqual(statement.columnNames, ["b", "a"]);
  },
);
