import assert from "node:assert/strict";
import { mkdtemp, readdir, rm, utimes } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { litestreamBinary, restore, skipWithout } from "../support/real.ts";
import { openLocal } from "../support/local_database.ts";

const noLitestream = skipWithout({ litestream: litestreamBinary() });

/** Makes everything in a replica look as if it had been written so long ago. */
async function age(folder: string, ms: number): Promise<void> {
  const time = new Date(Date.now() - ms);
  for (const name of await readdir(folder, { recursive: true })) {
    if (name.endsWith(".ltx")) await utimes(join(folder, name), time, time);
  }
}

async function levelsOf(folder: string): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (const name of await readdir(folder, { recursive: true })) {
    const [, level] = /^ltx\/(\d)\/.*\.ltx$/.exec(name) ?? [];
    if (level) counts[level] = (counts[level] ?? 0) + 1;
  }
  return counts;
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 200; i++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`not within 10 s: ${what}`);
}

test(
  "a writer compacts what is due when it opens, and its readers and litestream go on",
  { skip: noLitestream, timeout: 120_000 },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "upkeep-test-"));
    const replicaFolder = join(folder, "replica");
    const url = `file://${replicaFolder}`;
    const options = {
      write: true,
      bufferPath: join(folder, "log"),
      syncIntervalMs: 0,
      cacheBytesMax: 2 ** 20,
    };
    try {
      const first = await openReplica(url, { ...options, compact: false });
      const db = first.connect();
      db.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT)");
      for (let i = 0; i < 12; i++) {
        db.exec(`INSERT INTO t VALUES (${i}, printf('%.*c', 200000, 'x'))`);
        await first.sync();
      }
      db.close();
      await first.close();
      assert.deepEqual(await levelsOf(replicaFolder), { 0: 12 });
      await age(replicaFolder, 3 * 60 * 60_000);
      await using second = await openReplica(url, options);
      const again = second.connect();
      await until("level 0 is covered and deleted", async () => {
        const levels = await levelsOf(replicaFolder);
        return (levels[0] ?? 0) <= 1 && levels[1] === 1 && levels[9] === 1;
      });
      // Its own view's files were deleted: what it reads, and writes, is as before.
      assert.equal(again.prepare("SELECT sum(length(body)) AS n FROM t").get().n, 12 * 200_000);
      again.exec("UPDATE t SET body = 'after' WHERE id = 3");
      assert.equal(await second.sync(), 13n);
      assert.deepEqual({ ...again.prepare("PRAGMA integrity_check").get() }, { integrity_check: "ok" });
      again.close();
      const out = join(folder, "out.db");
      await restore(url, out);
      const local = await openLocal(out);
      assert.equal(local.prepare("SELECT sum(length(body)) AS n FROM t").get().n, 11 * 200_000 + 5);
      local.close();
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
);
