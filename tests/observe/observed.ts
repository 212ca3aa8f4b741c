/**
 * What tests of an observer share: a replica in a fake S3 server, and an observer that keeps what it hears.
 *
 * @module
 */
import type { OpenOptions, ReplicaObserver, RequestSpan, TransactionSpan } from "../../mod.ts";
import { formatLtxFileName } from "../../src/ltx/txid.ts";
import { ltxKey } from "../../src/storage/layout.ts";
import { noiseSql } from "../replica/drivers.ts";
import { FakeS3 } from "../support/fake_s3.ts";
import { withReplicaFolder } from "../support/replica_folder.ts";

/** Keeps what it is told. */
export class Kept implements ReplicaObserver {
  readonly requests: RequestSpan[] = [];
  readonly transactions: TransactionSpan[] = [];
  lostCount = 0;

  readonly request = (span: RequestSpan): void => void this.requests.push(span);
  readonly transaction = (span: TransactionSpan): void => void this.transactions.push(span);
  readonly lost = (count: number): void => void (this.lostCount += count);
}

/** Key of a file in a bucket, below `db/`. */
export function bucketKey(level: number, minTxid: number, maxTxid: number): string {
  const name = formatLtxFileName({ minTxid: BigInt(minTxid), maxTxid: BigInt(maxTxid) });
  return `db/${ltxKey("s3", level, name)}`;
}

/** A server with a table of noise, 1000 rows, of which an index alone comes with the opening. */
export async function serveNoise(): Promise<FakeS3> {
  const s3 = await FakeS3.start();
  await withReplicaFolder({}, (folder) => {
    folder.record(noiseSql(1000));
    s3.put(bucketKey(9, 1, 1), folder.encode(1, 1));
  });
  return s3;
}

/** How a replica there is opened. */
export function optionsOf({ options }: FakeS3): OpenOptions {
  const { accessKeyId, secretAccessKey, region } = options;
  return { credentials: { accessKeyId, secretAccessKey }, region, pollIntervalMs: 0 };
}
