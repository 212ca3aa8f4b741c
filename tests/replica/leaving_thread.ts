/**
 * A thread that opens a replica of its own, reads it, tells so, and closes nothing: it is terminated.
 *
 * @module
 */
import { parentPort, workerData } from "node:worker_threads";
import { type OpenOptions, openReplica } from "../../mod.ts";

const { url, options } = workerData as { url: string; options: OpenOptions };
const replica = await openReplica(url, options);
if (options.hydrate) await replica.hydrated();
const db = replica.connect();
db.exec("SELECT count(*) FROM t");
db.close();
parentPort!.postMessage(String(replica.txid));
setInterval(() => {}, 1_000);
