/** A restore that ended early: the next one goes on with what is there, if it is surely of the same state. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { ReplicaClosedError } from "../../mod.ts";
import { Bucket } from "./restoring.ts";

test("an aborted restore lets go of its file, and the next one asks for the rest alone", async () => {
  await using bucket = await Bucket.make();
  await bucket.interrupt();
  const share = bucket.checkedShare();
  assert.ok(share > 0.4 && share < 0.8, `${share} came`);
  const read = await bucket.resume();
  assert.ok(Math.abs(read - (1 - share)) < 0.02, `read ${read} after ${share}`);
});

test("the same where page 1 comes from the file that was not put to its end", async () => {
  await using bucket = await Bucket.make();
  await bucket.interrupt({ asOf: 1n });
  const share = bucket.checkedShare();
  const read = await bucket.resume(1);
  assert.ok(Math.abs(read - (1 - share)) < 0.02, `read ${read} after ${share}`);
});

test("a restore that had all pages and could not take its place asks for none", async () => {
  await using bucket = await Bucket.make();
  const { target } = bucket;
  bucket.onRead(5, () => writeFileSync(target.path, "mine"));
  await using replica = await bucket.open();
  await assert.rejects(replica.restore(target.path), { name: "LocalFileError", message: /there is a file/ });
  assert.equal(readFileSync(target.path, "utf8"), "mine");
  rmSync(target.path);
  const since = bucket.s3.log.length;
  await replica.restore(target.path);
  target.assertIs(3);
  assert.equal(bucket.snapshotBytes(since), 0);
});

test("a restore of another state begins anew", async () => {
  await using bucket = await Bucket.make();
  await bucket.interrupt({ asOf: 2n });
  assert.ok(await bucket.resume() > 0.95);
});

test("a restore of a replica that was made anew in the same place begins anew", async () => {
  await using bucket = await Bucket.make();
  await bucket.interrupt();
  await using other = await Bucket.make();
  for (const key of bucket.s3.keys()) bucket.s3.put(key, other.s3.get(key)!);
  await using replica = await bucket.open();
  await replica.restore(bucket.target.path);
  assert.equal(Buffer.compare(readFileSync(bucket.target.path), other.folder.bytesAt(3)), 0);
});

test("a whole database that waits for its place is not taken for that of another replica", async () => {
  await using bucket = await Bucket.make();
  await using other = await Bucket.make();
  const { path } = bucket.target;
  await using replica = await bucket.open();
  bucket.onRead(5, () => writeFileSync(path, "mine"));
  await assert.rejects(replica.restore(path), { name: "LocalFileError", message: /there is a file/ });
  for (const key of bucket.s3.keys()) bucket.s3.put(key, other.s3.get(key)!);
  await using again = await bucket.open();
  await again.restore(path, { force: true });
  assert.equal(Buffer.compare(readFileSync(path), other.folder.bytesAt(3)), 0);
});

test("torn pages and lost helpers are no harm", async () => {
  await using bucket = await Bucket.make();
  const { path } = bucket.target;
  const damages: Record<string, () => void> = {
    "a page": () => {
      const bytes = readFileSync(`${path}.partial`);
      bytes.fill(1, 4096 * 40 + 100, 4096 * 41);
      writeFileSync(`${path}.partial`, bytes);
    },
    "the end of the pages": () => truncateSync(`${path}.partial`, 4096 * 300 + 17),
    "the end of the checksums": () => truncateSync(`${path}.partial-sums`, 8 * 300 + 3),
    "the mark": () => truncateSync(`${path}.partial-check`, 11),
    "the record": () => truncateSync(`${path}.partial-state`, 40),
    "the pages": () => truncateSync(`${path}.partial`, 0),
  };
  for (const [what, damage] of Object.entries(damages)) {
    await bucket.interrupt();
    damage();
    await using replica = await bucket.open();
    await replica.restore(path, { force: true });
    assert.deepEqual(bucket.target.names(), ["out.db"], what);
    bucket.target.assertHas(3);
    rmSync(path);
  }
});

test("closing the replica ends a restore, which another one goes on with", async () => {
  await using bucket = await Bucket.make();
  const replica = await bucket.open();
  const held = bucket.holdReads(0.5);
  const restoring = assert.rejects(replica.restore(bucket.target.path), ReplicaClosedError);
  await held;
  await replica.close();
  await restoring;
  bucket.release();
  assert.ok(!existsSync(bucket.target.path));
  await bucket.resume();
});

test("two restores to one path: the second is refused, the first goes on", async () => {
  await using bucket = await Bucket.make();
  const { target } = bucket;
  await using replica = await bucket.open();
  const held = bucket.holdReads(0.5, { kind: "reset" });
  const first = replica.restore(target.path);
  await held;
  await using other = await bucket.open();
  const taken = {
    name: "LocalFileError",
    isTaken: true,
    message: /^Cannot restore to ".*out\.db": another /,
  };
  for (const second of [replica, other]) await assert.rejects(second.restore(target.path), taken);
  bucket.release();
  await first;
  target.assertIs(3);
});
