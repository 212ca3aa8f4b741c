import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
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
