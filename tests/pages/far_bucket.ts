/**
 * A bucket on a thread of its own, whose answers take their time: a reader that waits cannot outrun what is read ahead.
 *
 * @module
 */
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { ltxKey } from "../../src/storage/layout.ts";
import type { ReplicaFolder } from "../support/replica_folder.ts";

/** Time before an answer, in ms: much longer than threads take to come to their turns. */
const LATENCY_MS = 2;

/** What its thread is given. */
export interface FarBucketStart {
  readonly latencyMs: number;
  /** Keys, and the files that have their bytes. */
  readonly objects: readonly (readonly [key: string, path: string])[];
}

/** What its thread tells: where it is, and with which keys it is asked. */
export interface FarBucket {
  readonly url: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
}

/** Gives `use` what opens the replica that lies in a folder as one in a bucket. */
export async function withFarBucket(
  folder: ReplicaFolder,
  use: (bucket: FarBucket) => Promise<void>,
): Promise<void> {
  const names = readdirSync(folder.path, { recursive: true }).map(String).filter((name) =>
    name.endsWith(".ltx")
  );
  const objects = names.map((name) => [keyOf(name), join(folder.path, name)] as const);
  const start: FarBucketStart = { latencyMs: LATENCY_MS, objects };
  const worker = new Worker(new URL("./far_bucket_worker.ts", import.meta.url), { workerData: start });
  try {
    const [bucket] = await once(worker, "message");
    await use(bucket as FarBucket);
  } finally {
    await worker.terminate();
  }
}

/** The key in a bucket of what lies at `ltx/LEVEL/NAME` of a folder. */
function keyOf(name: string): string {
  const [level, file] = name.split(/[/\\]/).slice(-2);
  return `db/${ltxKey("s3", Number(level), file!)}`;
}
