import assert from "node:assert/strict";
import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { goVfsLibrary, queryGoVfs } from "../support/go_vfs.ts";
import { openLocal } from "../support/local_database.ts";
import { folderUrl, litestreamBinary, replicate, restore, skipWithout, withFolder } from "../support/real.ts";
import { makeReplicaZoo } from "../support/zoo.ts";

const noZoo = skipWithout({ litestream: litestreamBinary() });
const noGo = skipWithout({ litestream: litestreamBinary(), "the Go VFS": goVfsLibrary() });

/** Bytes of the database header that a writer must not change by accident: format versions and change counter. */
async function headOf(path: string): Promise<{ versions: number[]; counter: number }> {
  const bytes = await readFile(path);
  return { versions: [...bytes.subarray(18, 20)], counter: bytes.readUInt32BE(24) };
}

test(
  "W7: a replica that a daemon wrote is written on: sizes, encodings, WAL mode kept",
  { skip: noZoo },
  () =>
    withFolder(async (folder) => {
      for (const { name, folder: source, txid, pageSize } of await makeReplicaZoo()) {
        const copy = join(folder, name);
        await cp(source, copy, { recursive: true });
        const url = folderUrl(copy);
        const before = join(folder, `${name}-before.db`);
        await restore(url, before);
        const options = {
          write: true,
          bufferPath: join(folder, `${name}.log`),
          syncIntervalMs: 0,
          compact: false,
        };
        await using replica = await openReplica(url, options);
        const db = replica.connect();
        db.exec("CREATE TABLE ours(id INTEGER PRIMARY KEY, body TEXT)");
        for (let i = 0; i < 20; i++) db.exec(`INSERT INTO ours VALUES (${i}, printf('%.*c', 700, 'x'))`);
        assert.equal(await replica.sync(), txid + 1n, name);
        db.close();
        const after = join(folder, `${name}-after.db`);
        await restore(url, after);
        const restored = await openLocal(after);
        assert.deepEqual(
          { ...restored.prepare("PRAGMA integrity_check").get() },
          { integrity_check: "ok" },
          name,
        );
        assert.equal(restored.prepare("SELECT count(*) AS n FROM ours").get().n, 20, name);
        assert.equal(restored.prepare("PRAGMA page_size").get().page_size, pageSize);
        restored.close();
        const [old, now] = [await headOf(before), await headOf(after)];
        assert.deepEqual(now.versions, old.versions, name);
        assert.equal(now.counter, old.counter + 21, name);
      }
    }),
);

test(
  "the Go VFS reads what we write, and a daemon goes on from a restored copy",
  { skip: noGo },
  () =>
    withFolder(async (folder) => {
      const url = folderUrl(join(folder, "replica"));
      const options = { write: true, bufferPath: join(folder, "log"), syncIntervalMs: 0 };
      const replica = await openReplica(url, options);
      const db = replica.connect();
      db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT)");
      for (let i = 0; i < 30; i++) {
        db.exec(`INSERT INTO t VALUES (${i}, printf('%.*c', ${i * 100}, 'x'))`);
        if (i % 10 === 9) await replica.sync();
      }
      const sql = ["SELECT count(*) AS n, sum(length(body)) AS s FROM t", "PRAGMA integrity_check"];
      const [[row], [check]] = await queryGoVfs({ url, sql }) as [Record<string, number>[], object[]];
      assert.deepEqual({ ...row }, { n: 30, s: 43_501 });
      assert.deepEqual(Object.values(check!), ["ok"]);
      db.exec("DELETE FROM t WHERE id > 20");
      db.exec("VACUUM"); // the Go VFS sees the old size after that, whoever wrote it
      db.close();
      await replica.close();
      const copy = join(folder, "copy.db");
      await restore(url, copy);
      await replicate({
        db: copy,
        url,
        run: async (sqlite, daemon) => {
          sqlite.exec("INSERT INTO t VALUES (100, 'the daemon')");
          await daemon.sync();
        },
        waitFor: [0],
      });
      await using again = await openReplica(url);
      const read = again.connect();
      assert.equal(read.prepare("SELECT body FROM t WHERE id = 100").get().body, "the daemon");
      assert.equal(read.prepare("SELECT count(*) AS n FROM t").get().n, 22);
      read.close();
    }),
);
