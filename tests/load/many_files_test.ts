/** Thousands of files on level 0: opened, followed, looked back into, listed. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openReplica, type Replica } from "../../mod.ts";
import { Reader } from "../replica/reader.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { LongHistory, putHistory, writeHistory } from "../support/long_history.ts";
import { withFolder } from "../support/real.ts";
import { size } from "./size.ts";

const TRANSACTIONS = size(1_500, 10_000);
const SNAPSHOTS = [1, TRANSACTIONS - 100];
/** Files that make up one state. */
const PLANNED = size(400, 10_000);

/** What holds of a replica with thousands of files; `put` adds the next transaction's. */
async function testLong(replica: Replica, history: LongHistory, put: (txid: number) => void): Promise<void> {
  const reader = await Reader.start({ shared: replica.share() });
  const value = async () => (await reader.ask("SELECT n FROM state")).rows[0]?.n;
  assert.equal(await value(), history.valueAt(TRANSACTIONS));

  put(TRANSACTIONS + 1);
  assert.equal(await replica.refresh(), BigInt(TRANSACTIONS + 1));
  assert.equal(await value(), history.valueAt(TRANSACTIONS + 1));

  const middle = TRANSACTIONS / 2;
  const moment = new Date(history.timeOf(middle) + 1).toISOString();
  assert.equal((await reader.ask(`SELECT litestream_set_time('${moment}')`)).error, undefined);
  assert.equal(await value(), history.valueAt(middle));

  const points = await replica.points();
  assert.deepEqual(
    points.map(({ txid }) => Number(txid)),
    Array.from({ length: points.length }, (_, i) => i + 1),
  );
  assert.equal(points.length, TRANSACTIONS + 1);
  await reader.close();
}

test(`${TRANSACTIONS} files in a bucket: newest state, the next one, one in the middle, all points`, {
  timeout: 120_000,
}, async () => {
  await using s3 = await FakeS3.start({ verify: false });
  const history = await LongHistory.make();
  putHistory(s3, "db", history.files({ transactions: TRANSACTIONS, snapshots: SNAPSHOTS }));
  const { accessKeyId, secretAccessKey, region } = s3.options;
  const credentials = { accessKeyId, secretAccessKey };
  await using replica = await openReplica(s3.url("/db"), { credentials, region, pollIntervalMs: 0 });
  const opened = s3.log.length;
  assert.ok(opened <= 10 + 9 + 1 + TRANSACTIONS - SNAPSHOTS.at(-1)!, `${opened} requests to open`);
  await testLong(replica, history, (txid) => putHistory(s3, "db", [history.file(0, txid, txid)]));
});

test(`${TRANSACTIONS} files in a folder: newest state, the next one, one in the middle, all points`, {
  timeout: 120_000,
}, () =>
  withFolder(async (folder) => {
    const history = await LongHistory.make();
    writeHistory(folder, history.files({ transactions: TRANSACTIONS, snapshots: SNAPSHOTS }));
    await using replica = await openReplica(`file://${folder}`, { pollIntervalMs: 0 });
    await testLong(replica, history, (txid) => writeHistory(folder, [history.file(0, txid, txid)]));
  }));

test(`a plan of ${PLANNED} files makes up one state, and the next`, { timeout: 120_000 }, async () => {
  await using s3 = await FakeS3.start({ verify: false });
  const history = await LongHistory.make();
  putHistory(s3, "db", history.files({ transactions: PLANNED, snapshots: [1] }));
  const { accessKeyId, secretAccessKey, region } = s3.options;
  const credentials = { accessKeyId, secretAccessKey };
  await using replica = await openReplica(s3.url("/db"), { credentials, region, pollIntervalMs: 0 });
  const reader = await Reader.start({ shared: replica.share() });
  for (let txid = PLANNED; txid < PLANNED + 5; txid++) {
    assert.equal(await replica.refresh(), BigInt(txid));
    assert.deepEqual((await reader.ask("SELECT n FROM state")).rows, [{ n: history.valueAt(txid) }]);
    putHistory(s3, "db", [history.file(0, txid + 1, txid + 1)]);
  }
  await reader.close();
});
