import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openReplica, register } from "../../mod.ts";
import { drivers, thrownBy, valueOf } from "../replica/drivers.ts";

/** `SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI`. */
const WRITE_URI = 0x46;

for (const driver of drivers) {
  test(`${driver.name}: a database opened by URI is written to where the URI says so`, async () => {
    const folder = await mkdtemp(join(tmpdir(), "uri-write-test-"));
    const url = `file://${folder}/replica`;
    const log = join(folder, "log");
    const uri = (more: string) => `file:x.db?vfs=litestream&replica_url=${encodeURIComponent(url)}${more}`;
    const open = (more: string) =>
      driver.name === "bun:sqlite"
        ? new driver.Database(uri(more), WRITE_URI)
        : new driver.Database(uri(more));
    const writing = `&write_enabled=true&sync_interval=1h&buffer_path=${encodeURIComponent(log)}`;
    try {
      const registration = await register();
      const db = open(writing);
      db.exec("CREATE TABLE t(x); INSERT INTO t VALUES (1)");
      const beside = open(writing);
      beside.exec("INSERT INTO t VALUES (2)");
      assert.equal(valueOf(db, "SELECT count(*) FROM t"), 2);
      assert.ok(existsSync(`${log}.1`), "the log is where the URI says");
      db.close();
      beside.close();
      // The writer before may be just about to be closed.
      const again = open(writing);
      assert.equal(valueOf(again, "SELECT count(*) FROM t"), 2);
      again.exec("PRAGMA litestream_durable = on; INSERT INTO t VALUES (3)");
      const reader = open("&poll_interval=10ms");
      assert.equal(valueOf(reader, "SELECT count(*) FROM t"), 3);
      assert.match(thrownBy(() => reader.exec("INSERT INTO t VALUES (4)")).message, /readonly/);
      reader.close();
      again.exec("PRAGMA litestream_durable = off; INSERT INTO t VALUES (4)");
      again.close();
      await registration.close();
      await using replica = await openReplica(url);
      assert.equal(valueOf(replica.connect(), "SELECT count(*) FROM t"), 4);
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  });
}

test("LITESTREAM_WRITE_ENABLED, _SYNC_INTERVAL and _BUFFER_PATH are options of the environment", async () => {
  const { makeConfig } = await import("../../src/replica_config.ts");
  const set = {
    LITESTREAM_WRITE_ENABLED: "TRUE",
    LITESTREAM_SYNC_INTERVAL: "250ms",
    LITESTREAM_BUFFER_PATH: "/somewhere/log",
  };
  const { write } = makeConfig("file:///replica", {}, set);
  assert.equal(write?.syncIntervalMs, 250);
  assert.equal(write?.path, "/somewhere/log");
  const given = makeConfig("file:///replica", { syncIntervalMs: 0, bufferPath: "/other" }, set);
  assert.equal(given.write?.syncIntervalMs, 0);
  assert.equal(given.write?.path, "/other");
  assert.equal(makeConfig("file:///replica", { write: false }, set).write, undefined);
  assert.equal(makeConfig("file:///replica", {}, {}).write, undefined);
  assert.throws(
    () => makeConfig("file:///replica", {}, { ...set, LITESTREAM_SYNC_INTERVAL: "soon" }),
    /Cannot use LITESTREAM_SYNC_INTERVAL: "soon", expected a duration/,
  );
});
