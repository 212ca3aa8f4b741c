import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { withPlace } from "./hydrating.ts";
import {
  type HydrationRecord,
  readRecord,
  recordPath,
  writeRecord,
} from "../../src/hydrate/hydration_record.ts";

const RECORD: HydrationRecord = {
  name: "s3://bucket/db",
  pageSize: 4096,
  commit: 12,
  txid: 10n,
  lastTxid: 11n,
  timeMs: 1_700_000_000_000,
  seenMs: 1_700_000_000_001,
  isWhole: false,
  files: [{ level: 0, key: "k", etag: "e", size: 5, modifiedMs: 6, minTxid: 10n, maxTxid: 11n }],
  last: undefined,
};

test("readRecord() gives what was written, and nothing once any byte of it has changed or is gone", async () => {
  const folder = await mkdtemp(join(tmpdir(), "hydration-record-"));
  try {
    const path = join(folder, "copy.db");
    await writeRecord(path, RECORD);
    assert.deepEqual(await readRecord(path), RECORD);
    const whole = await readFile(recordPath(path));
    for (let at = 0; at < whole.length; at++) {
      const flipped = Uint8Array.from(whole);
      flipped[at]! ^= 1;
      for (const bytes of [flipped, whole.subarray(0, at)]) {
        await writeFile(recordPath(path), bytes);
        assert.equal(await readRecord(path), undefined, `byte ${at}`);
      }
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

test(
  "the record of a whole copy keeps up with a database that never rests",
  { timeout: 60_000 },
  () =>
    withPlace({}, async (place) => {
      const { folder } = place;
      folder.step("CREATE TABLE t (x); INSERT INTO t VALUES (randomblob(20000))");
      await using replica = await place.openWhole({ pollIntervalMs: 50 });
      const first = BigInt(place.record().txid);
      for (const untilMs = Date.now() + 8_000; Date.now() < untilMs;) {
        folder.step("UPDATE t SET x = randomblob(20000)");
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
      assert.ok(BigInt(place.record().txid) > first + 4n, `TXID ${place.record().txid}, first ${first}`);
      assert.ok(replica.txid > first + 4n);
    }),
);
