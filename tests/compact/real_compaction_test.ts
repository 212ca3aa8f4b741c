/**
 * Compaction held against Litestream itself: its restore reads what we make, and what its daemon makes of the
 * same files is the same.
 *
 * @module
 */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { cpSync, existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Compactor } from "../../src/compact/compactor.ts";
import { mergeFiles } from "../../src/compact/ltx_merge.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import type { Lz4 } from "../../src/ltx/lz4.ts";
import { FolderStore } from "../../src/storage/folder.ts";
import { type FolderLocation, parseReplicaUrl } from "../../src/storage/replica_url.ts";
import { listReplica } from "../../src/view/listing.ts";
import { makeRestorePlan, type ReplicaFile } from "../../src/view/restore_plan.ts";
import { nativeLz4 } from "../support/native_lz4.ts";
import {
  type Daemon,
  folderUrl,
  litestreamBinary,
  litestreamFrameBinary,
  replicate,
  restore,
  skipWithout,
  withFolder,
} from "../support/real.ts";
import type { PlainDatabase } from "../support/sqlite.ts";

const noDaemon = skipWithout({ litestream: litestreamBinary() });
const noOlder = noDaemon || skipWithout({ "older litestream": litestreamFrameBinary() });

const HOUR = 3_600_000;

function storeOf(path: string): FolderStore {
  return new FolderStore(parseReplicaUrl(folderUrl(path)) as FolderLocation);
}

async function filesIn(store: FolderStore): Promise<ReplicaFile[]> {
  return (await listReplica(store, "folder")).files;
}

/** Grows, changes, shrinks and grows again; each round a transaction of the replica. */
async function workload(sqlite: PlainDatabase, daemon: Daemon): Promise<void> {
  sqlite.all("PRAGMA auto_vacuum = INCREMENTAL");
  sqlite.exec("VACUUM; CREATE TABLE t(a INTEGER PRIMARY KEY, b BLOB); CREATE INDEX i ON t(b)");
  for (let round = 0; round < 24; round++) {
    sqlite.exec(`INSERT INTO t(b) SELECT randomblob(900) FROM (VALUES (1), (2), (3), (4), (5))`);
    if (round % 4 === 1) sqlite.exec(`UPDATE t SET b = zeroblob(${round * 300}) WHERE a % 7 = 1`);
    if (round % 6 === 3) {
      sqlite.exec("DELETE FROM t WHERE a % 3 > 0");
      sqlite.all("PRAGMA incremental_vacuum");
    }
    await daemon.sync();
  }
}

/** The same, and on until the daemon has made three files on level 1. */
async function longWorkload(path: string, sqlite: PlainDatabase, daemon: Daemon): Promise<void> {
  await workload(sqlite, daemon);
  const level1 = join(path, "ltx", "1");
  while (!existsSync(level1) || readdirSync(level1).length < 3) {
    sqlite.exec("INSERT INTO t(b) VALUES (randomblob(500))");
    await daemon.sync();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function restored(path: string, folder: string, txid: bigint): Promise<Buffer> {
  const out = join(folder, `restored-${txid}-${Math.random()}.db`);
  await restore(folderUrl(path), out, { txid });
  return readFileSync(out);
}

for (const pageSize of [512, 4096, 65536]) {
  test(`litestream restore reads what run() leaves, page size ${pageSize}`, { skip: noDaemon }, async () => {
    const lz4 = await nativeLz4();
    await withFolder(async (folder) => {
      const [db, path, before] = [join(folder, "db"), join(folder, "replica"), join(folder, "before")];
      const levels = ["24h"];
      const url = folderUrl(path);
      const txid = await replicate({
        db,
        url,
        pageSize,
        levels,
        snapshotInterval: "24h",
        run: workload,
        waitFor: [0],
      });
      cpSync(path, before, { recursive: true, preserveTimestamps: true });
      const store = storeOf(path);
      let nowMs = Date.now();
      const compactor = new Compactor({ store, layout: "folder", lz4, now: () => nowMs });
      const check = async (txids: readonly bigint[]) => {
        for (const at of txids) {
          const [ours, theirs] = await Promise.all([
            restored(path, folder, at),
            restored(before, folder, at),
          ]);
          assert.ok(ours.equals(theirs), `TXID ${at}`);
        }
        await restore(url, join(folder, `newest-${nowMs}`));
        assert.ok(readFileSync(join(folder, `newest-${nowMs}`)).equals(readFileSync(db)));
      };
      nowMs += 2 * HOUR;
      const first = await compactor.run();
      assert.deepEqual(first.failures, []);
      assert.ok(first.made.some((key) => key.startsWith("ltx/3/")), `${first.made}`);
      assert.ok(first.removed.length >= 20, `${first.removed.length} removed`);
      await check([txid]);
      nowMs += 30 * HOUR;
      await compactor.run();
      nowMs += 30 * HOUR;
      const last = await compactor.run();
      assert.deepEqual([last.failures, last.foreign], [[], []]);
      const levelsLeft = new Set((await filesIn(store)).map(({ level }) => level));
      assert.deepEqual([...levelsLeft], [0, 1, 2, 3, 9]);
      await check([txid]);
    });
  });
}

test(
  "litestream restore reads every TXID while run() compacts level by level",
  { skip: noDaemon },
  async () => {
    const lz4 = await nativeLz4();
    await withFolder(async (folder) => {
      const [db, path, before] = [join(folder, "db"), join(folder, "replica"), join(folder, "before")];
      const options = { db, url: folderUrl(path), levels: ["24h"], snapshotInterval: "24h", waitFor: [0] };
      const txid = await replicate({ ...options, run: workload });
      // A daemon compacts when it begins: all there was by then, which may be all there is.
      for (const level of readdirSync(join(path, "ltx"))) {
        if (level !== "0") rmSync(join(path, "ltx", level), { recursive: true });
      }
      cpSync(path, before, { recursive: true, preserveTimestamps: true });
      const nowMs = Date.now() + 2 * HOUR;
      const schedule = {
        levelsMs: [1000, 2000],
        snapshotMs: 3000,
        snapshotRetentionMs: 100 * HOUR,
        l0RetentionMs: 100 * HOUR,
      };
      const store = storeOf(path);
      const report = await new Compactor({ store, layout: "folder", lz4, schedule, now: () => nowMs }).run();
      assert.equal(report.made.length, 3, `${report.made}`);
      for (let at = 1n; at <= txid; at += 5n) {
        assert.ok(
          (await restored(path, folder, at)).equals(await restored(before, folder, at)),
          `TXID ${at}`,
        );
      }
    });
  },
);

/** The files on level 0 that hold exactly these TXIDs, or those before them where they must begin at 1. */
function level0Of(files: readonly ReplicaFile[], { minTxid, maxTxid }: ReplicaFile): ReplicaFile[] {
  const level0 = files.filter((file) =>
    file.level === 0 && file.maxTxid <= maxTxid && file.minTxid >= minTxid
  );
  return makeRestorePlan(minTxid === 1n ? level0 : [standIn(level0[0]!), ...level0]).filter(({ key }) =>
    key !== ""
  );
}

/** What a plan that begins in the middle begins from. */
function standIn(first: ReplicaFile): ReplicaFile {
  return { ...first, key: "", level: 9, minTxid: 1n, maxTxid: first.minTxid - 1n };
}

async function mergeWhole(files: readonly ReplicaFile[], store: FolderStore, lz4: Lz4): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of mergeFiles(files, { store, lz4 })) chunks.push(chunk);
  return Buffer.concat(chunks);
}

for (
  const [name, binary, skip] of [
    ["0.5.17", litestreamBinary(), noDaemon],
    ["0.5.15", litestreamFrameBinary(), noOlder],
  ] as const
) {
  test(`mergeFiles() makes of the same files what litestream ${name} made`, { skip }, async () => {
    const lz4 = await nativeLz4();
    await withFolder(async (folder) => {
      const path = join(folder, "replica");
      await replicate({
        db: join(folder, "db"),
        url: folderUrl(path),
        run: (sqlite, daemon) => longWorkload(path, sqlite, daemon),
        ...(binary && { binary }),
      });
      const store = storeOf(path);
      const files = await filesIn(store);
      const counts = new Map<number, number>();
      for (const file of files.filter(({ level }) => level > 0)) {
        const theirs = decodeFile(readFileSync(join(path, file.key)), lz4, { key: file.key });
        const ours = decodeFile(await mergeWhole(level0Of(files, file), store, lz4), lz4, { key: file.key });
        assert.deepEqual(ours.index.pgnos, theirs.index.pgnos, file.key);
        ours.frames.forEach(({ page, pgno }, i) => {
          if (Buffer.compare(page, theirs.frames[i]!.page) !== 0) assert.fail(`page ${pgno} of ${file.key}`);
        });
        // a snapshot has the time it was made at, and where in the WAL that was
        const { timestampMs, walOffset, walSize, walSalt1, walSalt2, ...header } = theirs.header;
        const whole = file.level === 9 ? {} : { timestampMs, walOffset, walSize, walSalt1, walSalt2 };
        assert.deepEqual({ ...ours.header, ...header, ...whole }, ours.header, file.key);
        counts.set(file.level, (counts.get(file.level) ?? 0) + 1);
      }
      assert.deepEqual([...counts.keys()].sort(), [1, 2, 3, 9]);
      assert.ok(counts.get(1)! >= 3, `${[...counts]}`);
    });
  });
}
