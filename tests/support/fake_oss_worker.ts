/**
 * A {@link FakeOss} on a thread of its own, with which it ends: SQLite holds the test's own while it reads.
 *
 * @module
 */
import { parentPort } from "node:worker_threads";
import { FakeOss } from "./fake_oss.ts";

const fake = await FakeOss.start();
parentPort!.postMessage({ endpoint: fake.endpoint, ...fake.options });
