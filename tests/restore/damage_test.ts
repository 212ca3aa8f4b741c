/** Files that are damaged or go while they are restored: an error and no file, never a wrong one. */
import assert from "node:assert/strict";
import { existsSync, rmSync, truncateSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { noiseSql } from "../replica/drivers.ts";
import { Random } from "../support/random.ts";
import { Bucket, withTarget } from "./restoring.ts";

const SEED = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31);

/** Stores a snapshot that decodes well and has another page than its checksum says. */
function forge(bucket: Bucket, pgno: number): void {
  const forged = bucket.folder.encode(1, 1, (page, at) => at === pgno ? page.map((byte) => byte ^ 1) : page);
  bucket.s3.put(bucket.key(9, 1, 1), forged);
}

const mismatch = { name: "LtxFormatError", message: /its checksum is [0-9a-f]{16}, expected/ };

test("a file that does not fit to its checksum is refused, and nothing is left", async () => {
  await using bucket = await Bucket.make();
  forge(bucket, 300);
  await using replica = await bucket.open();
  await assert.rejects(replica.restore(bucket.target.path), mismatch);
  assert.deepEqual(bucket.target.names(), []);
});

test("it is refused, too, by a restore that goes on behind the damage", async () => {
  await using bucket = await Bucket.make();
  forge(bucket, 300);
  await bucket.interrupt();
  await using replica = await bucket.open();
  await assert.rejects(replica.restore(bucket.target.path), mismatch);
  assert.deepEqual(bucket.target.names(), []);
});

test("it is refused, too, when nothing tells any more how far it was checked", async () => {
  await using bucket = await Bucket.make();
  forge(bucket, 300);
  await bucket.interrupt({ share: 0.8 });
  truncateSync(`${bucket.target.path}.partial-check`, 5);
  await using replica = await bucket.open();
  await assert.rejects(replica.restore(bucket.target.path), mismatch);
  assert.deepEqual(bucket.target.names(), []);
});

/** Leaves a sound snapshot of the next transaction in the place of the forged one. */
function mend(bucket: Bucket): void {
  bucket.put(9, 1, 2);
  bucket.remove(9, 1, 1);
  bucket.remove(0, 2, 2);
}

test("nothing is kept of a file that was deleted before all of it was checked", async () => {
  await using bucket = await Bucket.make();
  forge(bucket, 300);
  {
    await using replica = await bucket.open();
    bucket.onRead(8, () => mend(bucket));
    await replica.restore(bucket.target.path);
    bucket.target.assertIs(3);
  }
  rmSync(bucket.target.path);
  bucket.put(9, 1, 1);
  bucket.put(0, 2, 2);
  bucket.remove(9, 1, 2);
  forge(bucket, 300);
  await bucket.interrupt({ share: 0.8 });
  mend(bucket);
  await using replica = await bucket.open();
  await replica.restore(bucket.target.path);
  bucket.target.assertIs(3);
});

test(`a flipped bit is refused wherever it is (seed ${SEED})`, () =>
  withTarget(async (folder, target) => {
    const random = new Random(SEED);
    folder.record(noiseSql(1500));
    folder.snapshot();
    const size = folder.sizeOf(9, 1, 1);
    for (let i = 0; i < 25; i++) {
      const at = 20_000 + random.next(size - 60_000); // behind what is read when it is opened, before what is
      const flip = (bytes: Uint8Array) => void (bytes[at]! ^= 1 << random.next(8));
      folder.damage({ level: 9, minTxid: 1, maxTxid: 1 }, flip);
      const replica = await openReplica(folder.url);
      try {
        await assert.rejects(replica.restore(target.path), { name: "LtxFormatError" }, `byte ${at}`);
        assert.deepEqual(target.names(), []);
      } finally {
        await replica.close();
      }
      folder.snapshot();
    }
  }));

test("files that are deleted meanwhile give way to others that end at the same TXID", async () => {
  await using bucket = await Bucket.make();
  await using replica = await bucket.open();
  bucket.onRead(3, () => {
    bucket.put(9, 1, 2);
    bucket.remove(9, 1, 1);
    bucket.remove(0, 2, 2);
  });
  await replica.restore(bucket.target.path);
  bucket.target.assertIs(3);
  const kinds = new Set(bucket.s3.log.filter(({ status }) => status === 404).map(({ key }) => key));
  assert.ok(kinds.has(bucket.key(9, 1, 1)));
});

test("a state whose files are deleted is told of; what came of it is gone on with when they are back", async () => {
  await using bucket = await Bucket.make();
  const { path } = bucket.target;
  const snapshot = bucket.s3.get(bucket.key(9, 1, 1))!;
  const since = bucket.s3.log.length;
  {
    await using replica = await bucket.open();
    bucket.onRead(8, () => bucket.remove(9, 1, 1));
    const gone = { name: "StateGoneError", message: /^Cannot restore TXID 0000000000000003 of / };
    await assert.rejects(replica.restore(path, { asOf: 3n }), gone);
    assert.ok(!existsSync(path));
  }
  const came = bucket.checkedShare();
  bucket.release();
  bucket.s3.put(bucket.key(9, 1, 1), snapshot);
  const read = await bucket.resume();
  assert.ok(
    Math.abs(read - (1 - came)) < 0.02,
    `read ${read} after ${came}, ${bucket.s3.log.length - since} requests`,
  );
});

test("a state whose files are deleted before anything came leaves nothing", async () => {
  await using bucket = await Bucket.make();
  await using replica = await bucket.open();
  bucket.onRead(1, () => bucket.remove(9, 1, 1));
  const gone = { name: "StateGoneError", message: /^Cannot restore TXID 0000000000000001 of / };
  await assert.rejects(replica.restore(bucket.target.path, { asOf: 1n }), gone);
  assert.deepEqual(bucket.target.names(), []);
});

test("a database that takes the replica's place meanwhile is not mixed with it", async () => {
  await using bucket = await Bucket.make();
  await using other = await Bucket.make();
  await using replica = await bucket.open();
  bucket.onRead(3, () => {
    for (const key of bucket.s3.keys()) bucket.s3.put(key, other.s3.get(key)!);
  });
  const gone = {
    name: "StateGoneError",
    message: /nothing tells that what is there now is the same database/,
  };
  await assert.rejects(replica.restore(bucket.target.path), gone);
  assert.ok(!existsSync(bucket.target.path));
});

test("requests that fail are made again", async () => {
  await using bucket = await Bucket.make();
  const { target } = bucket;
  await using replica = await bucket.open();
  for (
    const fault of [{ kind: "reset" }, { kind: "cut", after: 100_000 }, {
      kind: "status",
      status: 503,
    }] as const
  ) {
    bucket.onRead(2, () => fault);
    await replica.restore(target.path, { force: true });
    target.assertIs(3);
  }
});
