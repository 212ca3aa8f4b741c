/** What a moment costs to find among 10,000 objects, counted at the server. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openReplica } from "../../mod.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import { FakeS3, type LoggedRequest } from "../support/fake_s3.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";
import { Random } from "../support/random.ts";
import { modelTxid, type TimedFile } from "./past_model.ts";
import { Reader } from "./reader.ts";

const START_MS = 1_700_000_000_000;
const TRANSACTIONS = 7_680;
const LATENCY_MS = 40;

/** How long after its creation a file stands in the listing, by level, in ms: S3 tells the upload in whole seconds. */
const UPLOAD_MS = [1500, 4000, 20_000, 60_000, 0, 0, 0, 0, 0, 5000];

/** Puts a long history into a store, all levels of it, nothing deleted. */
async function fill(s3: FakeS3): Promise<TimedFile[]> {
  const files: TimedFile[] = [];
  await withReplicaFolder({ pageSize: 512 }, (folder) => {
    const write = (level: number, minTxid: number, maxTxid: number) => {
      const createdMs = START_MS + maxTxid * 1000;
      const modifiedMs = Math.ceil((createdMs + UPLOAD_MS[level]!) / 1000) * 1000;
      const name = formatLtxFileName({ minTxid: BigInt(minTxid), maxTxid: BigInt(maxTxid) });
      s3.put(ltxKey("s3", level, name), folder.encode(minTxid, maxTxid), { modifiedMs });
      files.push({ level, minTxid, maxTxid, createdMs });
    };
    folder.record("CREATE TABLE state (n INTEGER); INSERT INTO state VALUES (1)");
    write(9, 1, 1);
    write(0, 1, 1);
    for (let n = 2; n <= TRANSACTIONS; n++) {
      folder.record(`UPDATE state SET n = ${n}`);
      write(0, n, n);
      for (const [level, size] of [[1, 4], [2, 16], [3, 160]] as const) {
        if (n % size === 0) write(level, n - size + 1, n);
      }
      if (n % 100 === 0) write(9, 1, n);
    }
  });
  return files;
}

/** The most header reads that the search may take: 2·log₂ n + 4 on each level. */
function readsMax(files: readonly TimedFile[]): number {
  const counts = new Map<number, number>();
  for (const { level } of files) counts.set(level, (counts.get(level) ?? 0) + 1);
  return [...counts.values()].reduce((sum, count) => sum + Math.floor(2 * Math.log2(count) + 4), 0);
}

const isHeader = ({ range }: LoggedRequest) => range === "bytes=0-99";
/** The longest chain of requests each of which came when the one before had been answered. */
function depthOf(log: readonly LoggedRequest[]): number {
  const depths: number[] = [];
  for (const [i, { atMs }] of log.entries()) {
    let depth = 1;
    for (let before = 0; before < i; before++) {
      if (log[before]!.atMs + LATENCY_MS <= atMs) depth = Math.max(depth, depths[before]! + 1);
    }
    depths.push(depth);
  }
  return Math.max(...depths);
}

const isListing = ({ key }: LoggedRequest) => key === "";

test("R14: a moment among 10,000 files takes few requests", { timeout: 300_000 }, async () => {
  await using s3 = await FakeS3.start({ verify: false });
  const files = await fill(s3);
  assert.ok(files.length >= 10_000, `${files.length} objects`);
  const { accessKeyId, secretAccessKey } = s3.options;
  await using replica = await openReplica(s3.url(), {
    credentials: { accessKeyId, secretAccessKey },
    region: s3.options.region,
    pollIntervalMs: 0,
  });
  const reader = await Reader.start({ shared: replica.share(), timeoutMs: 60_000 });
  const random = new Random(7);
  const bound = readsMax(files);
  const figures: { headers: number; listings: number; others: number; rounds: number; ms: number }[] = [];
  s3.options.latencyMs = LATENCY_MS;
  const moments = [1001, 2_000_500, 4_000_000, 7_679_999, 7_680_001, 9_999_000];
  for (let i = 0; i < 6; i++) moments.push(2000 + random.next(TRANSACTIONS * 1000));
  for (const afterMs of moments) {
    const momentMs = START_MS + afterMs;
    await new Promise((resolve) => setTimeout(resolve, 550)); // no listing is shared
    s3.log.length = 0;
    const set = await reader.ask(`SELECT litestream_set_time('${new Date(momentMs).toISOString()}')`);
    assert.equal(set.error, undefined);
    const log = [...s3.log];
    const rounds = depthOf(log);
    const { rows } = await reader.ask("SELECT n FROM state");
    assert.deepEqual(
      rows,
      [{ n: modelTxid(candidates(files, momentMs), momentMs) }],
      new Date(momentMs).toISOString(),
    );
    const headers = log.filter(isHeader).length;
    const listings = log.filter(isListing).length;
    figures.push({ headers, listings, others: log.length - headers - listings, rounds, ms: set.ms });
    assert.ok(headers <= bound, `${headers} headers were read, expected at most ${bound}`);
    assert.ok(listings <= 18, `${listings} listings`);
    assert.ok(figures.at(-1)!.others <= 20, `${figures.at(-1)!.others} other requests`);
  }
  const most = (of: keyof typeof figures[number]) => Math.max(...figures.map((figure) => figure[of]));
  const middle = (of: keyof typeof figures[number]) =>
    figures.map((figure) => figure[of]).sort((a, b) => a - b)[figures.length >> 1];
  const first = figures[0]!;
  // Eight pages of level 0, three of headers at most for each halving, the files.
  assert.ok(most("rounds") <= 24, `${most("rounds")} round trips`);
  console.log(
    `a moment among ${files.length} objects: at most ${
      most("headers")
    } headers (first ${first.headers}, bound ${bound}), ` +
      `${most("listings")} listings, ${most("others")} other requests; at most ${
        most("rounds")
      } round trips of ` +
      `${LATENCY_MS} ms (${middle("rounds")} in the middle), ${middle("ms")} ms in the middle`,
  );
  s3.log.length = 0;
  const last = new Date(START_MS + moments.at(-1)!).toISOString();
  const again = await reader.ask(`SELECT litestream_set_time('${last}')`);
  assert.equal(again.error, undefined);
  assert.equal(s3.log.filter((request) => !isListing(request)).length, 0);
  await reader.close();
});

/** The files that matter for a moment: the model tries every path, and there are 10,000. */
function candidates(files: readonly TimedFile[], momentMs: number): TimedFile[] {
  const before = files.filter(({ level, createdMs }) => level === 9 && createdMs < momentMs);
  const base = before.reduce((newest, file) => file.maxTxid > newest.maxTxid ? file : newest);
  return [
    base,
    ...files.filter(({ level, minTxid }) =>
      level === 0 && minTxid > base.maxTxid && minTxid < base.maxTxid + 200
    ),
  ];
}

test("A moment that is long in coming ends at the connection's timeout, or by interrupt()", {
  timeout: 60_000,
}, async () => {
  await using s3 = await FakeS3.start({ verify: false });
  await withReplicaFolder({}, async (folder) => {
    folder.record("CREATE TABLE t (n); INSERT INTO t VALUES (1)");
    s3.put("0009/0000000000000001-0000000000000001.ltx", folder.encode(1, 1));
    folder.record("INSERT INTO t VALUES (2)");
    s3.put("0000/0000000000000002-0000000000000002.ltx", folder.encode(2, 2));
    const { accessKeyId, secretAccessKey, region } = s3.options;
    await using replica = await openReplica(s3.url(), {
      credentials: { accessKeyId, secretAccessKey },
      region,
      pollIntervalMs: 0,
    });
    const [hasty, patient] = [
      await Reader.start({ shared: replica.share(), timeoutMs: 300 }),
      await Reader.start({ shared: replica.share(), timeoutMs: 20_000 }),
    ];
    s3.options.latencyMs = 3000;
    const set = "SELECT litestream_set_time('2023-11-14T22:13:22Z')";
    const late = await hasty.ask(set);
    assert.match(late.error?.message ?? "", /DeadlineError: .* 300 ms/);
    assert.ok(late.ms < 1500, `${late.ms} ms`);
    const began = performance.now();
    const asked = patient.ask(set);
    await new Promise((resolve) => setTimeout(resolve, 300));
    replica.interrupt();
    const interrupted = await asked;
    assert.ok(interrupted.error, "it was not interrupted");
    assert.ok(performance.now() - began < 1500, `${performance.now() - began} ms`);
    s3.options.latencyMs = 0;
    for (const reader of [hasty, patient]) {
      assert.deepEqual((await reader.ask("SELECT count(*) AS n FROM t")).rows, [{ n: 2 }]); // nothing was moved
      assert.equal((await reader.ask(set)).error, undefined);
      assert.deepEqual((await reader.ask("SELECT count(*) AS n FROM t")).rows, [{ n: 1 }]);
      await reader.close();
    }
  });
});
