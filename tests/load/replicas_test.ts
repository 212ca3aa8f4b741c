/** Many replicas in one process, in a bucket and in folders, all followed. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { openReplica, type Replica } from "../../mod.ts";
import { valueOf, withConnection } from "../replica/drivers.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { LongHistory, putHistory, writeHistory } from "../support/long_history.ts";
import { withFolder } from "../support/real.ts";
import { size } from "./size.ts";

const COUNT = size(60, 300);
const SHAPE = { transactions: 4, snapshots: [1] };

test(`${COUNT} replicas are opened at once, each follows its own, and none is mistaken for another`, {
  timeout: 120_000,
}, () =>
  withFolder(async (folder) => {
    await using s3 = await FakeS3.start({ verify: false });
    const { accessKeyId, secretAccessKey, region } = s3.options;
    const bucket = { credentials: { accessKeyId, secretAccessKey }, region };
    const first = await LongHistory.make();
    const places = Array.from({ length: COUNT }, (_, i) => {
      const history = first.withBase(i * 1000);
      const isBucket = i % 2 === 0;
      const put = isBucket
        ? (files: Parameters<typeof writeHistory>[1]) => putHistory(s3, `db${i}`, files)
        : (files: Parameters<typeof writeHistory>[1]) => writeHistory(join(folder, `db${i}`), files);
      put(history.files(SHAPE));
      const open = () =>
        isBucket ? openReplica(s3.url(`/db${i}`), bucket) : openReplica(`file://${folder}/db${i}`);
      return { history, put, open };
    });
    const replicas = await Promise.all(places.map(({ open }) => open()));
    const check = (replica: Replica, i: number, txid: number) => {
      const value = withConnection(replica, undefined, (db) => valueOf(db, "SELECT n FROM state"));
      assert.equal(value, places[i]!.history.valueAt(txid), `replica ${i}`);
    };
    replicas.forEach((replica, i) => check(replica, i, SHAPE.transactions));
    const next = SHAPE.transactions + 1;
    for (const { history, put } of places) put([history.file(0, next, next)]);
    await Promise.all(replicas.map((replica) => replica.waitFor(BigInt(next))));
    replicas.forEach((replica, i) => check(replica, i, next));
    await Promise.all(replicas.map((replica) => replica.close()));
  }));
