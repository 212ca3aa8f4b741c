/**
 * The thread of a {@link GcsFront}, so that a query may block the one that tests. It tells its origin.
 *
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { GcsFront } from "./gcs_front.ts";

const front = await GcsFront.start(workerData as string);
parentPort!.postMessage(front.endpoint);
