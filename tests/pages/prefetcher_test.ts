/** What reading ahead is for: the same rows in fewer round trips, for not many more bytes. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { openReplica, type ReplicaStats } from "../../mod.ts";
import { rowsOf, withConnection } from "../replica/drivers.ts";
import { ASKED } from "../replica/following.ts";
import { type ReplicaFolder, withReplicaFolder } from "../support/replica_folder.ts";
import { type FarBucket, withFarBucket } from "./far_bucket.ts";
import { fillWorkloads, type Layout, type Workload, workloads } from "./workloads.ts";

const SEEDS = [7, 19];

/** Bytes that a workload may move, as a multiple of what it moves when each page is waited for. */
const BYTES_MAX = 4;

/** Workloads whose way can be told by its first pages, however readers and core take turns. */
const FORESEEN = ["full scan", "reverse scan", "covering index", "blobs"];

/** On a database of 1 MB, which comes in a few pieces of 256 KiB, guesses can break up what would have come together. */
const SLACK = 3;

/** A replica in a folder, and as it is read. */
interface Place {
  readonly folder: ReplicaFolder;
  readonly bucket: FarBucket;
}

/** Runs a workload on a replica that has nothing in memory yet; gives what it cost. */
async function costOf(
  { folder, bucket }: Place,
  { name, queries }: Workload,
  prefetch: "auto" | "off",
): Promise<ReplicaStats> {
  await using replica = await openReplica(bucket.url, {
    ...ASKED,
    credentials: bucket.credentials,
    prefetch,
  });
  const opened = replica.stats();
  withConnection(replica, undefined, (db) => {
    for (const sql of queries) assert.deepEqual(rowsOf(db, sql), folder.rows(sql), name);
  });
  return replica.stats(opened);
}

interface Round {
  readonly pageSize: number;
  readonly layout: Layout;
  readonly seed: number;
  /** Of the database. */
  readonly scale: number;
  /** Round trips that guesses may cost. */
  readonly slack: number;
}

function withPlace(
  { pageSize, layout, seed, scale }: Omit<Round, "slack">,
  use: (place: Place) => Promise<void>,
): Promise<void> {
  return withReplicaFolder({ pageSize }, async (folder) => {
    fillWorkloads(folder, layout, seed, scale);
    await withFarBucket(folder, (bucket) => use({ folder, bucket }));
  });
}

function testAll({ pageSize, layout, seed, scale, slack }: Round): void {
  const of = `pages of ${pageSize} bytes, rows ${layout}, scale ${scale}, seed ${seed}`;
  test(`Prefetcher gives all workloads the source's rows: ${of}`, () =>
    withPlace({ pageSize, layout, seed, scale }, async (place) => {
      for (const workload of workloads(seed, scale)) {
        const { name } = workload;
        const off = await costOf(place, workload, "off");
        const auto = await costOf(place, workload, "auto");
        assert.equal(off.aheadPages, 0);
        assert.ok(
          auto.bytes <= off.bytes * BYTES_MAX,
          `${name}: ${auto.bytes} bytes in place of ${off.bytes}`,
        );
        const isForeseen = FORESEEN.includes(name);
        assert.ok(!isForeseen || auto.aheadPages > 0, `${name}: nothing came ahead`);
        assert.ok(
          auto.roundTrips <= off.roundTrips + (isForeseen ? 0 : slack),
          `${name}: ${auto.roundTrips} round trips in place of ${off.roundTrips}`,
        );
      }
    }));
}

for (const layout of ["in order", "scattered"] satisfies Layout[]) {
  for (const pageSize of [1024, 4096, 16_384]) {
    for (const seed of SEEDS) testAll({ pageSize, layout, seed, scale: 1, slack: SLACK });
  }
  testAll({ pageSize: 4096, layout, seed: 7, scale: 6, slack: 0 });
}
