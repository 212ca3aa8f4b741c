import assert from "node:assert/strict";
import { test } from "node:test";
import { Comparison } from "../../src/diff/comparison.ts";
import { diffDatabases } from "../../src/diff/diff.ts";
import { ReplicaError } from "../../src/errors.ts";
import {
  changedPages,
  changeLine,
  type ChangingDatabase,
  diff,
  FilePages,
  linesOf,
  withDatabase,
} from "./database_pair.ts";

const TEN_THOUSAND = `
  CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, size INT);
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
    INSERT INTO t SELECT i, 'row number ' || i, i * 7 FROM n;`;

/** Rows with 50,000 characters each. */
function longRows(table: string, count: number): string {
  return `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${count})
    INSERT INTO ${table} SELECT i, i || replace(hex(zeroblob(25000)), '0', 'x') FROM n;`;
}

/** Pages of a kind in a tree, by SQLite's own account where it has one, or else by their type byte. */
function countPages(state: FilePages, type: number): number {
  let count = 0;
  for (let offset = 0; offset < state.bytes.length; offset += state.pageSize) {
    if (state.bytes[offset] === type) count++;
  }
  return count;
}

async function readsOf(
  database: ChangingDatabase,
  sql: string,
): Promise<{ lines: string[]; reads: number; changed: number }> {
  const from = database.state();
  database.db.exec(sql);
  const to = database.state();
  const lines = (await diff(from, to)).map(changeLine);
  return { lines, reads: from.reads.length + to.reads.length, changed: changedPages(from, to).length };
}

test("diffDatabases() reads the interior pages and the leaf of one row updated among 10,000", async () => {
  await withDatabase({ pageSize: 512 }, async (database) => {
    database.db.exec(TEN_THOUSAND);
    const interior = countPages(database.state(), 0x05);
    const leaves = countPages(database.state(), 0x0d);
    const { lines, reads } = await readsOf(database, "UPDATE t SET name = 'other' WHERE id = 5000");
    assert.deepEqual(lines, ["update t id=5000"]);
    assert.ok(interior >= 2 && leaves > 300);
    // Page 1 and the row's leaf of both states, the first leaf, and the interior pages once.
    assert.ok(reads <= interior + 6, `${reads} pages read, ${interior} interior`);
  });
});

test("diffDatabases() reads no more where the table has indices whose pages changed too", async () => {
  await withDatabase({ pageSize: 1024 }, async (database) => {
    database.db.exec(`${TEN_THOUSAND} CREATE INDEX a ON t(name); CREATE INDEX b ON t(size)`);
    const interior = countPages(database.state(), 0x05);
    const { lines, reads, changed } = await readsOf(
      database,
      "UPDATE t SET name = 'other', size = 1 WHERE id = 5000; INSERT INTO t VALUES (20000, 'n', 5)",
    );
    assert.deepEqual(lines, ["update t id=5000", "insert t id=20000"]);
    assert.ok(
      reads <= interior + 4 + 3 * changed,
      `${reads} pages read, ${interior} interior, ${changed} changed`,
    );
  });
});

test("diffDatabases() finds a row that changed in one overflow page only", async () => {
  for (const rest of ["", "WITHOUT ROWID"]) {
    await withDatabase({ pageSize: 1024 }, async (database) => {
      database.db.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT) ${rest}; ${longRows("t", 40)}`);
      const from = database.state();
      database.db.exec(
        "UPDATE t SET body = substr(body, 1, 30000) || '#' || substr(body, 30002) WHERE id = 23",
      );
      const to = database.state();
      assert.ok(changedPages(from, to).length <= 2, "header and one overflow page");
      assert.deepEqual((await diff(from, to)).map(changeLine), ["update t id=23"]);
    });
  }
});

test("diffDatabases() finds it beside a change of another row on the same leaf", async () => {
  await withDatabase({ pageSize: 1024 }, async (database) => {
    database.db.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT); ${longRows("t", 40)}`);
    const lines = await linesOf(
      database,
      `UPDATE t SET body = substr(body, 1, 30000) || '#' || substr(body, 30002) WHERE id = 23;
       UPDATE t SET body = 'short' WHERE id = 22; DELETE FROM t WHERE id = 24;`,
    );
    assert.deepEqual(lines, ["update t id=22", "update t id=23", "delete t id=24"]);
  });
});

test("diffDatabases() does not read the chains of long rows whose neighbour changed", async () => {
  await withDatabase({ pageSize: 1024 }, async (database) => {
    database.db.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT); ${longRows("t", 40)}`);
    database.db.exec("INSERT INTO t VALUES (100, 'short')");
    const { lines, reads } = await readsOf(database, "UPDATE t SET body = 'other' WHERE id = 100");
    assert.deepEqual(lines, ["update t id=100"]);
    assert.ok(reads < 20, `${reads} pages read`);
  });
});

test("diffDatabases() finds nothing where rows moved only", async () => {
  await withDatabase({ pageSize: 512 }, async (database) => {
    database.db.exec(
      `${TEN_THOUSAND} CREATE TABLE gone(a); CREATE TABLE w(a TEXT, b, PRIMARY KEY(b, a)) WITHOUT ROWID;
      INSERT INTO gone SELECT name FROM t; INSERT INTO w SELECT name, id % 10 FROM t; DROP TABLE gone;`,
    );
    assert.deepEqual(await linesOf(database, "VACUUM"), []);
    const lines = await linesOf(
      database,
      "DELETE FROM t WHERE id = 17; INSERT INTO t VALUES (-5, 'first', 1); VACUUM",
    );
    assert.deepEqual(lines, ["insert t id=-5", "delete t id=17"]);
  });
});

test("diffDatabases() gives keys by type, whole", async () => {
  await withDatabase({}, async (database) => {
    database.db.exec(
      "CREATE TABLE k(a, __proto__ TEXT, PRIMARY KEY(a, __proto__)) WITHOUT ROWID; CREATE TABLE r(x)",
    );
    const from = database.state();
    database.db.exec(
      `INSERT INTO k VALUES (9223372036854775807, 'big'), (-9007199254740991, ''), (1.5, 'é😀'),
      ('text', char(0, 65)), (x'00ff', 'blob'), (0, 'zero'), (1, 'one');
      INSERT INTO r(rowid, x) VALUES (-9223372036854775808, 1), (140737488355328, 2), (-1, 3), (1099511627776, 4)`,
    );
    const keys = (await diff(from, database.state())).map((change) =>
      "key" in change ? Object.values(change.key) : change.kind
    );
    assert.deepEqual(keys, [
      [-9007199254740991, ""],
      [0, "zero"],
      [1, "one"],
      [1.5, "é😀"],
      [9223372036854775807n, "big"],
      ["text", "\0A"],
      [new Uint8Array([0, 255]), "blob"],
      [-9223372036854775808n],
      [-1],
      [1099511627776],
      [140737488355328],
    ]);
  });
});

test("diffDatabases() takes a row replaced under another rowid for the same row", async () => {
  await withDatabase({}, async (database) => {
    database.db.exec(
      "CREATE TABLE kv(k TEXT PRIMARY KEY COLLATE NOCASE, v); INSERT INTO kv VALUES ('a', 1), ('b', 2), ('c', 3)",
    );
    const lines = await linesOf(
      database,
      "REPLACE INTO kv VALUES ('a', 9); REPLACE INTO kv VALUES ('b', 2); UPDATE kv SET k = 'C' WHERE k = 'c'",
    );
    assert.deepEqual(lines, ["update kv k='C'", "update kv k='a'"]);
  });
});

test("diffDatabases() compares keys as they are where the table was made anew with another collation", async () => {
  const make = (collation: string) => `CREATE TABLE kv(k TEXT PRIMARY KEY ${collation}, v) WITHOUT ROWID`;
  const cases = [
    ["", "COLLATE NOCASE", ["delete kv k='A'", "update kv k='a'", "delete kv k='a '"]],
    ["COLLATE NOCASE", "", ["insert kv k='A'", "insert kv k='B'", "update kv k='a'", "delete kv k='a '"]],
    ["", "COLLATE RTRIM", ["insert kv k='B'", "update kv k='a'", "delete kv k='a '"]],
  ] as const;
  for (const [before, after, expected] of cases) {
    await withDatabase({}, async (database) => {
      const fill = "INSERT OR IGNORE INTO kv VALUES";
      database.db.exec(`${make(before)}; ${fill} ('a', 1), ('A', 2), ('a ', 3), ('b', 4)`);
      const again = `DROP TABLE kv; ${make(after)}; ${fill} ('b', 4), ('a', 9), ('A', 2), ('B', 5)`;
      assert.deepEqual(await linesOf(database, again), ["schema-changed kv", ...expected]);
    });
  }
});

test("diffDatabases() tells created, dropped, altered and renamed tables, in the names' order", async () => {
  await withDatabase({}, async (database) => {
    database.db.exec(`CREATE TABLE a(x); INSERT INTO a VALUES (1); CREATE TABLE b(x INTEGER PRIMARY KEY, y);
      INSERT INTO b VALUES (1, 2), (2, 3); CREATE TABLE c(x); INSERT INTO c VALUES (1); CREATE VIEW v AS SELECT 1;
      CREATE TABLE d(id INTEGER PRIMARY KEY, k); INSERT INTO d VALUES (4, 5)`);
    const lines = await linesOf(
      database,
      `DROP TABLE a; ALTER TABLE b ADD COLUMN z DEFAULT 5; UPDATE b SET y = 9 WHERE x = 2; CREATE TABLE e(x);
       INSERT INTO e VALUES (7); ALTER TABLE c RENAME TO f; CREATE INDEX i ON b(y); DROP VIEW v; ANALYZE;
       DROP TABLE d; CREATE TABLE d(id INTEGER, k TEXT PRIMARY KEY); INSERT INTO d VALUES (4, 'five')`,
    );
    assert.deepEqual(lines, [
      "table-dropped a",
      "schema-changed b",
      "update b x=2",
      "table-dropped c",
      "schema-changed d",
      "delete d id=4",
      "insert d k='five'",
      "table-created e",
      "insert e rowid=1",
      "table-created f",
      "insert f rowid=1",
    ]);
  });
});

test("diffDatabases() leaves internal and virtual tables out, and gives the tables asked for only", async () => {
  await withDatabase({}, async (database) => {
    database.db.exec(
      "CREATE TABLE s(id INTEGER PRIMARY KEY AUTOINCREMENT, x); CREATE TABLE o(x); INSERT INTO s(x) VALUES (1)",
    );
    const from = database.state();
    database.db.exec(
      "INSERT INTO s(x) VALUES (2); INSERT INTO o VALUES (2); CREATE VIRTUAL TABLE f USING fts5(x)",
    );
    const to = database.state();
    const all = (await diff(from, to)).map(changeLine);
    assert.ok(all.every((line) => !/sqlite_| f( |$)/.test(line)) && all.includes("table-created f_idx"));
    const asked = await diff(from, to, { tables: ["SQLITE_sequence", "S"] });
    assert.deepEqual(asked.map(changeLine), ["insert s id=2", "update sqlite_sequence rowid=1"]);
    assert.deepEqual(await diff(from, to, { tables: [] }), []);
    assert.equal((await diff(to, from, { tables: ["f_idx"] })).length, 1, "one of them has it");
    for (const name of ["absent", "f", ""]) {
      await assert.rejects(diff(from, to, { tables: ["s", name] }), (error: Error) => {
        assert.ok(error instanceof ReplicaError);
        assert.match(
          error.message,
          /^Cannot compare table "\w*": neither state has one of that name, expected a table /,
        );
        return /such as f_config, f_content, f_data, f_docsize, f_idx, o, s, sqlite_sequence$/.test(
          error.message,
        );
      });
    }
  });
});

test("diffDatabases() begins and ends with an empty database", async () => {
  await withDatabase({}, async (database) => {
    const empty = new FilePages(new Uint8Array(0), database.pageSize);
    database.db.exec("CREATE TABLE t(x); INSERT INTO t VALUES (1)");
    const full = database.state();
    assert.deepEqual((await diff(empty, full)).map(changeLine), ["table-created t", "insert t rowid=1"]);
    assert.deepEqual((await diff(full, empty)).map(changeLine), ["table-dropped t"]);
    assert.deepEqual(await diff(empty, empty), []);
    assert.deepEqual(await diff(full, full), []);
  });
});

test("diffDatabases() compares states of other page sizes whole", async () => {
  await withDatabase({ pageSize: 512 }, async (database) => {
    database.db.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT); ${longRows("t", 5)}`);
    const from = database.state();
    database.db.exec(
      "PRAGMA page_size = 8192; VACUUM; UPDATE t SET body = substr(body, 1, 40000) || '#' WHERE id = 3",
    );
    const to = new FilePages(database.state().bytes, 8192);
    const changed = new Set([1]);
    const lines = (await Array.fromAsync(diffDatabases({ from, to, changed }))).map(changeLine);
    assert.deepEqual(lines, ["update t id=3"]);
  });
});

test("diffDatabases() reads around bytes reserved at the pages' ends", async () => {
  await withDatabase({ pageSize: 1024 }, async (database) => {
    database.db.exec(`CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT)`);
    const before = reserve(database.state());
    const path = `${database.home}/reserved.db`;
    const reserved = await database.open(before, "reserved");
    reserved.exec(longRows("t", 12));
    const from = await readState(path, 1024);
    reserved.exec(
      "UPDATE t SET body = substr(body, 1, 30000) || '#' || substr(body, 30002) WHERE id = 7; DELETE FROM t WHERE id = 9",
    );
    const to = await readState(path, 1024);
    reserved.close();
    assert.equal(to.bytes[20], 32);
    assert.deepEqual((await diff(from, to)).map(changeLine), ["update t id=7", "delete t id=9"]);
  });
});

/** A database of empty tables, made to reserve 32 bytes of each page: cells move down, free space ends there. */
function reserve(state: FilePages): FilePages {
  const bytes = state.bytes.slice();
  const { pageSize } = state;
  const view = new DataView(bytes.buffer);
  bytes[20] = 32;
  for (let start = 0; start < bytes.length; start += pageSize) {
    const header = start === 0 ? 100 : start;
    const content = view.getUint16(header + 5);
    bytes.copyWithin(start + content - 32, start + content, start + pageSize);
    view.setUint16(header + 5, content - 32);
    for (let i = 0; i < view.getUint16(header + 3); i++) {
      const pointer = header + 8 + 2 * i;
      view.setUint16(pointer, view.getUint16(pointer) - 32);
    }
    bytes.fill(0, start + pageSize - 32, start + pageSize);
  }
  return new FilePages(bytes, pageSize);
}

async function readState(path: string, pageSize: number): Promise<FilePages> {
  const { readFile } = await import("node:fs/promises");
  return new FilePages(new Uint8Array(await readFile(path)), pageSize);
}

test("diffDatabases() ends with the signal's reason, and lets timers run meanwhile", async () => {
  await withDatabase({ pageSize: 512 }, async (database) => {
    database.db.exec(TEN_THOUSAND);
    const from = database.state();
    database.db.exec(
      "UPDATE t SET size = size + 1; CREATE TABLE w(a TEXT PRIMARY KEY); INSERT INTO w SELECT name FROM t",
    );
    const to = database.state();
    const early = AbortSignal.abort(new Error("too early"));
    await assert.rejects(diff(from, to, { signal: early }), /too early/);
    let last = performance.now();
    let longestMs = 0;
    const timer = setInterval(() => {
      longestMs = Math.max(longestMs, performance.now() - last);
      last = performance.now();
    }, 1);
    assert.equal((await diff(from, to)).length, 20_001);
    clearInterval(timer);
    assert.ok(longestMs < 500, `${longestMs} ms without a turn`);
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error("enough")), 5);
    await assert.rejects(diff(from, to, { signal: controller.signal }), /enough/);
  });
});

test("diffDatabases() gives changes while it reads, and stops reading with its consumer", async () => {
  await withDatabase({ pageSize: 512 }, async (database) => {
    database.db.exec(TEN_THOUSAND);
    const from = database.state();
    database.db.exec("UPDATE t SET size = size + 1");
    const to = database.state();
    for await (const change of diffDatabases({ from, to, changed: changedPages(from, to) })) {
      assert.equal(changeLine(change), "update t id=1");
      break;
    }
    assert.ok(to.reads.length < countPages(to, 0x05) + 20);
  });
});

test("diffDatabases() rejects what is no database, and passes the source's error on", async () => {
  const noise = new FilePages(new Uint8Array(8192).fill(7), 4096);
  await assert.rejects(diff(noise, noise), ReplicaError);
  const failing = { pageSize: 4096, commit: 3, page: () => Promise.reject(new Error("unreachable")) };
  const input = { from: failing, to: failing, changed: new Set<number>() };
  await assert.rejects(Array.fromAsync(diffDatabases(input)), /unreachable/);
  const short = { ...failing, page: () => Promise.resolve(new Uint8Array(100)) };
  await assert.rejects(Comparison.open({ from: short, to: short, changed: new Set() }), ReplicaError);
});
