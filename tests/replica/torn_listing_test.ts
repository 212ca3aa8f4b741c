import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openReplica } from "../../mod.ts";
import { encodeFile } from "../../src/ltx/encoder.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { makeReplica } from "../soak/soak_support.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { FaultSchedule } from "../support/faults.ts";
import { lz4 } from "../support/lz4.ts";

/** A snapshot at TXID 1 and two files at level 0, by key. */
async function chain(): Promise<Map<string, Uint8Array>> {
  const source = await makeReplica(50);
  const name = formatLtxFileName({ minTxid: 1n, maxTxid: 1n });
  const snapshot = await readFile(fileURLToPath(`${source.url}/ltx/9/${name}`));
  await source.remove();
  const { header: { pageSize, commit }, frames } = decodeFile(snapshot, lz4);
  const first = { pgno: 1, page: frames[0]!.page };
  const files = new Map<string, Uint8Array>([[`db/0009/${name}`, snapshot]]);
  for (const txid of [2n, 3n]) {
    const range = { minTxid: txid, maxTxid: txid };
    const fields = { pageSize, commit, ...range, timestampMs: 1_700_000_000_000 };
    files.set(`db/0000/${formatLtxFileName(range)}`, encodeFile(fields, [first], { lz4 }));
  }
  return files;
}

const hidden = { kind: "staleListing", hide: /0000000000000002-/ } as const;

test("openReplica() lists once more where a file was compacted between two listings", async () => {
  const faults = new FaultSchedule([{ fault: hidden, on: "list", key: "000", times: 1 }]);
  await using server = await FakeS3.start({ faults });
  for (const [key, bytes] of await chain()) server.put(key, bytes);
  const { endpoint, options: { accessKeyId, secretAccessKey } } = server;
  await using replica = await openReplica("s3://bucket/db", {
    endpoint,
    credentials: { accessKeyId, secretAccessKey },
  });
  assert.equal(replica.txid, 3n);
  assert.equal(replica.stats().listRequests, 2);
});

test("openReplica() tells a gap that is there at the second look too", async () => {
  const faults = new FaultSchedule([{ fault: hidden, on: "list", key: "000" }]);
  await using server = await FakeS3.start({ faults });
  for (const [key, bytes] of await chain()) server.put(key, bytes);
  const { endpoint, options: { accessKeyId, secretAccessKey } } = server;
  const opening = openReplica("s3://bucket/db", { endpoint, credentials: { accessKeyId, secretAccessKey } });
  await assert.rejects(opening, { name: "RestorePlanError", fault: "gap" });
});

test("points() and levels() list once more where a snapshot was replaced while it was listed", async () => {
  const faults = new FaultSchedule([]);
  await using server = await FakeS3.start({ faults });
  for (const [key, bytes] of await chain()) server.put(key, bytes);
  const { endpoint, options: { accessKeyId, secretAccessKey } } = server;
  const options = { endpoint, credentials: { accessKeyId, secretAccessKey }, pollIntervalMs: 0 };
  await using replica = await openReplica("s3://bucket/db", options);
  const fault = { kind: "staleListing", hide: /0000000000000001-0000000000000001/ } as const;
  server.options.faults = new FaultSchedule([{ fault, on: "list", key: "000", times: 1 }]);
  assert.deepEqual((await replica.points()).map(({ txid }) => txid), [1n, 2n, 3n]);
  server.options.faults = new FaultSchedule([{ fault, on: "list", key: "000", times: 1 }]);
  assert.deepEqual((await replica.levels()).map(({ level, files }) => [level, files]), [[0, 2], [9, 1]]);
});
