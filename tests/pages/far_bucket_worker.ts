/**
 * The thread of a far bucket.
 *
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { FakeS3 } from "../support/fake_s3.ts";
import type { FarBucket, FarBucketStart } from "./far_bucket.ts";

const { latencyMs, objects } = workerData as FarBucketStart;
const fake = await FakeS3.start({ latencyMs });
for (const [key, path] of objects) await fake.putFile(key, path);
const { accessKeyId, secretAccessKey } = fake.options;
const credentials = { accessKeyId, secretAccessKey };
parentPort!.postMessage({ url: fake.url("/db"), credentials } satisfies FarBucket);
