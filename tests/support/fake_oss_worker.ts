/**
 * A {@link FakeOss} on a thread of its own: SQLite holds the test's own while it reads.
 *
 * @module
 */
import { parentPort } from "node:worker_threads";
import { FakeOss } from "./fake_oss.ts";

const fake = await FakeOss.start();
parentPort!.postMessage({ endpoint: fake.endpoint, ...fake.options });
parentPort!.on("message", () => void fake.close().then(() => parentPort!.close()));
