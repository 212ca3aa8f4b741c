import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openReplica, type Replica } from "../../mod.ts";
import { encodeFile } from "../../src/ltx/encoder.ts";
import { decodeFile } from "../../src/ltx/file.ts";
import { decodeHeader, HEADER_SIZE } from "../../src/ltx/header.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { makeReplica } from "../soak/soak_support.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { FaultSchedule } from "../support/faults.ts";
import { lz4 } from "../support/lz4.ts";
import { Reader } from "./reader.ts";

/** A snapshot at TXID 1 and two files at level 0, by key; they were written a second after one another. */
async function chain(): Promise<Map<string, Uint8Array>> {
  const source = await makeReplica(50);
  const name = formatLtxFileName({ minTxid: 1n, maxTxid: 1n });
  const snapshot = await readFile(fileURLToPath(`${source.url}/ltx/9/${name}`));
  await source.remove();
  const { header: { pageSize, commit, timestampMs }, frames } = decodeFile(snapshot, lz4);
  const first = { pgno: 1, page: frames[0]!.page };
  const files = new Map<string, Uint8Array>([[`db/0009/${name}`, snapshot]]);
  for (const txid of [2n, 3n]) {
    const range = { minTxid: txid, maxTxid: txid };
    const fields = { pageSize, commit, ...range, timestampMs: timestampMs + Number(txid) * 1000 };
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

/** A moment by which all of {@link chain} was written. */
const LATER = "9999-12-31T23:59:59Z";

/** Opens {@link chain}, and then has the next listings lack a file: so many of them, or all. */
async function withTorn(
  { hide, times }: { hide: RegExp; times?: number },
  use: (replica: Replica, server: FakeS3, files: Map<string, Uint8Array>) => Promise<void>,
): Promise<void> {
  await using server = await FakeS3.start({ faults: new FaultSchedule([]) });
  const files = await chain();
  for (const [key, bytes] of files) server.put(key, bytes);
  const { endpoint, options: { accessKeyId, secretAccessKey } } = server;
  const options = { endpoint, credentials: { accessKeyId, secretAccessKey }, pollIntervalMs: 0 };
  await using replica = await openReplica("s3://bucket/db", options);
  const fault = { kind: "staleListing", hide } as const;
  server.options.faults = new FaultSchedule([{ fault, on: "list", key: "000", ...(times && { times }) }]);
  await use(replica, server, files);
}

/** The TXID that a connection at a moment sees, and how many listings that took. */
async function seenAt(
  replica: Replica,
  server: FakeS3,
  moment: string,
): Promise<[txid: number, listings: number]> {
  const reader = await Reader.start({ shared: replica.share(), timeoutMs: 20_000 }); // the store is on this thread
  server.log.length = 0;
  const { error } = await reader.ask(`SELECT litestream_set_time('${moment}')`);
  assert.equal(error, undefined);
  const listings = server.log.filter(({ key }) => key === "").length;
  const { rows } = await reader.ask("SELECT litestream_txid() AS txid");
  await reader.close();
  return [Number.parseInt(String(rows![0]!.txid), 16), listings];
}

test("A moment whose listing is whole takes one listing", () =>
  withTorn({ hide: /nothing/ }, async (replica, server) => {
    assert.deepEqual(await seenAt(replica, server, LATER), [3, 1]);
  }));

test("A moment is listed once more where a file before it is missing, or the newest that was seen", async () => {
  for (const hide of [/0000000000000002-/, /0000000000000003-/]) {
    await withTorn({ hide, times: 1 }, async (replica, server) => {
      assert.deepEqual(await seenAt(replica, server, LATER), [3, 2], String(hide));
    });
  }
});

test("A moment before the newest state that was seen need not reach that", () =>
  withTorn({ hide: /0000000000000003-/ }, async (replica, server, files) => {
    const { timestampMs } = decodeHeader([...files.values()].at(-1)!.subarray(0, HEADER_SIZE));
    assert.deepEqual(await seenAt(replica, server, new Date(timestampMs).toISOString()), [2, 1]);
  }));

test("A gap before a moment is believed that the last of three listings has too", async () => {
  for (const [hide, txid] of [[/0000000000000002-/, 1], [/0000000000000003-/, 2]] as const) {
    await withTorn({ hide }, async (replica, server) => {
      assert.deepEqual(await seenAt(replica, server, LATER), [txid, 3], String(hide));
    });
  }
});

test("restore() of a moment lists once more where a file before it is missing", async () => {
  const folder = await mkdtemp(join(tmpdir(), "torn-"));
  try {
    for (const [i, hide] of [/0000000000000002-/, /0000000000000003-/].entries()) {
      await withTorn({ hide, times: 1 }, async (replica) => {
        const { txid } = await replica.restore(join(folder, `${i}.db`), { asOf: LATER });
        assert.equal(txid, 3n, String(hide));
      });
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});
