/** A state becomes a plain file: every kind of moment, whole or not at all. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { joinReplica, openReplica, type RestoreProgress } from "../../mod.ts";
import { Random } from "../support/random.ts";
import type { ReplicaFolder } from "../support/replica_folder.ts";
import { noiseSql, tableSql } from "../replica/drivers.ts";
import { Bucket, LARGE_ROWS, withTarget } from "./restoring.ts";

/** When the transactions of a folder were written, by their headers. */
const timeOf = (txid: number) => new Date(1_700_000_000_000 + txid * 1000);

const noPipe = process.platform === "win32" && "Windows has no pipes in folders";

/** A snapshot, a merged file, and files of one transaction. */
function makeHistory(folder: ReplicaFolder): void {
  folder.step(noiseSql(1500));
  folder.snapshot();
  for (let i = 0; i < 3; i++) folder.step(`UPDATE n SET x = randomblob(900) WHERE id % 50 = ${i}`);
  folder.write(1, 2, 4);
  folder.step("DELETE FROM n WHERE id > 1400; VACUUM");
  folder.step("INSERT INTO n SELECT id + 10000, randomblob(900) FROM n WHERE id < 300");
}

test("restore() makes the file of any kind of moment", () =>
  withTarget(async (folder, target) => {
    makeHistory(folder);
    await using replica = await openReplica(folder.url);
    const late = new Date(timeOf(4).getTime() + 1);
    const moments = [
      [undefined, 6],
      ["latest", 6],
      [3n, 3],
      [4n, 4],
      [late, 4],
      [late.toISOString(), 4],
      [timeOf(6), 5],
      ["txid:0000000000000001", 1],
      ["1 second ago", 6],
    ] as const;
    for (const [asOf, txid] of moments) {
      const { commitAt, pageSize } = { commitAt: folder.commitAt(txid), pageSize: 4096 };
      const options = { force: true, ...(asOf !== undefined && { asOf }) };
      const restored = await replica.restore(target.path, options);
      assert.deepEqual(restored, { txid: BigInt(txid), commit: commitAt, pageSize }, String(asOf));
      target.assertIs(txid);
    }
  }));

for (const pageSize of [512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536]) {
  test(`restore() makes files of pages of ${pageSize} bytes that grow and shrink`, () =>
    withTarget(async (folder, target) => {
      makeHistory(folder);
      await using replica = await openReplica(folder.url, { cacheBytesMax: 1024 * 1024 });
      for (let txid = 1; txid <= folder.txid; txid++) {
        assert.equal(
          (await replica.restore(target.path, { asOf: BigInt(txid), force: true })).pageSize,
          pageSize,
        );
        target.assertIs(txid);
      }
    }, { pageSize }));
}

test("restore() refuses what is no moment, or none of the replica's, and leaves nothing", () =>
  withTarget(async (folder, target) => {
    makeHistory(folder);
    await using replica = await openReplica(folder.url);
    const { path } = target;
    await assert.rejects(replica.restore(path, { asOf: "no moment" }), { name: "TypeError" });
    await assert.rejects(replica.restore(path, { asOf: new Date(NaN) }), { name: "TypeError" });
    await assert.rejects(replica.restore(path, { asOf: 99n }), {
      name: "RestorePlanError",
      fault: "unreachable",
    });
    await assert.rejects(replica.restore(path, { asOf: timeOf(-5) }), { name: "RestorePlanError" });
    for (const bad of ["", "a\0b", 3]) {
      await assert.rejects(replica.restore(bad as string), { name: "TypeError" });
    }
    assert.deepEqual(target.names(), []);
  }));

test("restore() takes a path from where the process is", () =>
  withTarget(async (folder, target) => {
    makeHistory(folder);
    await using replica = await openReplica(folder.url);
    const up = "../".repeat(process.cwd().split("/").length - 1);
    await replica.restore(up + target.path.slice(1));
    target.assertIs(6);
  }));

test("restore() leaves a file alone that is there, unless told otherwise", () =>
  withTarget(async (folder, target) => {
    makeHistory(folder);
    await using replica = await openReplica(folder.url);
    const { path } = target;
    const refused = {
      name: "LocalFileError",
      isTaken: false,
      message: /^Cannot restore to ".*out\.db": there is /,
    };
    for (const name of ["out.db", "out.db-wal", "out.db-journal"]) {
      writeFileSync(join(target.folder, name), "mine");
      await assert.rejects(replica.restore(path), refused);
      assert.equal(readFileSync(join(target.folder, name), "utf8"), "mine");
      assert.deepEqual(target.names(), [name]);
      await replica.restore(path, { force: true });
      target.assertIs(6);
      await replica.restore(path, { force: true, asOf: 2n });
      target.assertIs(2);
      await assert.rejects(replica.restore(path), refused);
      rmSync(path);
    }
    mkdirSync(path);
    await assert.rejects(replica.restore(path, { force: true }), {
      name: "LocalFileError",
      message: /a folder/,
    });
  }));

test(
  "restore() replaces no folder, pipe or device, and does not say that force would",
  { skip: noPipe },
  () =>
    withTarget(async (folder, target) => {
      makeHistory(folder);
      await using replica = await openReplica(folder.url);
      const refuses = async (path: string, kind: string) => {
        const before = lstatSync(path);
        for (const force of [false, true]) {
          await assert.rejects(replica.restore(path, { force }), {
            name: "LocalFileError",
            message: `Cannot restore to "${path}": there is ${kind}, expected a file or none`,
          });
        }
        assert.deepEqual([lstatSync(path).ino, lstatSync(path).mode], [before.ino, before.mode]);
      };
      const { path } = target;
      spawnSync("mkfifo", [path]);
      await refuses(path, "a pipe");
      rmSync(path);
      symlinkSync("/dev/null", path);
      await refuses(path, "a device");
      rmSync(path);
      mkdirSync(path);
      await refuses(path, "a folder");
      assert.deepEqual(target.names(), ["out.db"]);
    }),
);

test("restore() takes no folder's path, and names the folder that is not there", () =>
  withTarget(async (folder, target) => {
    makeHistory(folder);
    await using replica = await openReplica(folder.url);
    const path = join(target.folder, "new", "/");
    await assert.rejects(replica.restore(path), {
      name: "TypeError",
      message: `Cannot restore to "${path}": a folder's path, expected a file's`,
    });
    const inside = join(path, "out.db");
    await assert.rejects(replica.restore(inside), {
      name: "LocalFileError",
      message: `Cannot restore to "${inside}": there is no folder "${
        join(target.folder, "new")
      }", expected a folder`,
    });
    assert.deepEqual(target.names(), []);
  }));

for (const kind of ["throws", "rejects"] as const) {
  test(`restore() ends with what its listener ${kind}, wherever it is, and lets go of the file`, () =>
    withTarget(async (folder, target) => {
      makeHistory(folder);
      await using replica = await openReplica(folder.url);
      for (const at of [0, 1]) {
        const error = new Error("of the listener");
        const onProgress = ({ pages, pagesTotal }: RestoreProgress): void | Promise<void> => {
          if (at === 1 && pages < pagesTotal) return;
          if (kind === "rejects") return Promise.reject(error);
          throw error;
        };
        const options = { force: true, onProgress: onProgress as (progress: RestoreProgress) => void };
        await assert.rejects(replica.restore(target.path, options), (found) => found === error);
      }
      await replica.restore(target.path, { force: true });
      target.assertIs(6);
    }));
}

test("restore() leaves a file alone that is in the way of its own", () =>
  withTarget(async (folder, target) => {
    makeHistory(folder);
    await using replica = await openReplica(folder.url);
    writeFileSync(`${target.path}.partial`, "mine");
    const inTheWay = { name: "LocalFileError", message: /out\.db\.partial" is in the way/ };
    await assert.rejects(replica.restore(target.path, { force: true }), inTheWay);
    assert.deepEqual(target.names(), ["out.db.partial"]);
  }));

test("restore() makes no file of a replica of which nothing is stored yet", () =>
  withTarget(async (folder, target) => {
    await using replica = await openReplica(folder.url, {
      write: true,
      bufferPath: join(folder.home, "log"),
    });
    await assert.rejects(replica.restore(target.path), { name: "RestorePlanError", fault: "empty" });
    assert.deepEqual(target.names(), []);
  }));

test("restore() of a replica that is written to makes what is stored", () =>
  withTarget(async (folder, target) => {
    makeHistory(folder);
    const bufferPath = join(folder.home, "log");
    await using replica = await openReplica(folder.url, {
      write: true,
      bufferPath,
      syncIntervalMs: 0,
      compact: false,
    });
    const db = replica.connect();
    db.exec("DELETE FROM n");
    await replica.restore(target.path);
    target.assertIs(6);
    await replica.sync();
    assert.equal((await replica.restore(target.path, { force: true })).txid, 7n);
    db.close();
    const again = await openReplica(folder.url);
    const seen = again.connect();
    assert.deepEqual(seen.prepare("SELECT count(*) AS n FROM n").all().map(({ n }) => n), [0]);
    seen.close();
    await again.close();
  }));

test("restore() of a hydrated replica, and of one just being hydrated", async () => {
  await using bucket = await Bucket.make();
  const { target } = bucket;
  await using replica = await bucket.open({ hydrate: true });
  await replica.restore(target.path);
  target.assertIs(3);
  await replica.hydrated();
  await replica.restore(target.path, { force: true });
  target.assertIs(3);
  assert.equal(replica.hydration?.phase, "whole");
});

test("restore() tells how far it is, and no number goes back", async () => {
  await using bucket = await Bucket.make({ latencyMs: 30, bytesPerSecond: 40e6 });
  await using replica = await bucket.open();
  const told: RestoreProgress[] = [];
  const { commit } = await replica.restore(bucket.target.path, {
    onProgress: (progress) => told.push(progress),
  });
  assert.ok(told.length >= 2, `told ${told.length} times`);
  for (const [i, now] of told.entries()) {
    const before = told[i - 1] ?? { bytes: 0, bytesTotal: 0, pages: 0, pagesTotal: commit };
    assert.ok(now.bytes >= before.bytes && now.bytes <= now.bytesTotal, JSON.stringify(told));
    assert.ok(now.pages >= before.pages && now.pages <= commit, JSON.stringify(told));
    assert.equal(now.pagesTotal, commit);
  }
  const last = told.at(-1)!;
  assert.equal(last.bytes, last.bytesTotal);
  assert.equal(last.pages, commit);
  assert.ok(last.bytes > 0.9 * bucket.s3.get(bucket.key(9, 1, 1))!.length);
});

test("restore() is for the thread that opened the replica", () =>
  withTarget(async (folder, target) => {
    makeHistory(folder);
    await using replica = await openReplica(folder.url);
    const joined = await joinReplica(replica.share());
    await assert.rejects(joined.restore(target.path), {
      name: "ReplicaError",
      message: /opened on another thread/,
    });
  }));

test("restore() goes on while states change and connections read", () =>
  withTarget(async (folder, target) => {
    folder.step(noiseSql(LARGE_ROWS));
    folder.snapshot();
    const random = new Random(7);
    await using replica = await openReplica(folder.url, { cacheBytesMax: 2 * 1024 * 1024 });
    const db = replica.connect();
    let isDone = false;
    const restoring = replica.restore(target.path).finally(() => isDone = true);
    do {
      folder.step(`UPDATE n SET x = randomblob(900) WHERE id = ${1 + random.next(19_000)}`);
      await replica.refresh();
      const rows = db.prepare("SELECT count(*) AS n FROM n WHERE id % 7 = 3").all();
      assert.deepEqual(rows.map(({ n }) => n), [2857]);
    } while (!isDone);
    assert.equal((await restoring).txid, 1n);
    target.assertIs(1);
    db.close();
  }));

for (const left of ["nothing that was known", "a file that was known"]) {
  test(`restore() of the newest state makes the one that is newest by then where its files are gone and ${left} is left`, () =>
    withTarget(async (folder, target) => {
      folder.record(tableSql(50));
      folder.snapshot();
      folder.step("UPDATE t SET a = 1");
      folder.step("UPDATE t SET a = 2");
      await using replica = await openReplica(folder.url, { pollIntervalMs: 0 });
      folder.step("UPDATE t SET a = 3");
      folder.snapshot();
      folder.delete(9, 1, 1);
      folder.delete(0, 2, 2);
      if (left.startsWith("nothing")) folder.delete(0, 3, 3);
      for (let time = 0; time < 2; time++) {
        const { txid } = await replica.restore(target.path, { force: true });
        assert.equal(txid, 4n);
        target.assertIs(4);
      }
    }));
}
